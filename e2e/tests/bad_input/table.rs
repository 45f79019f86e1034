//! The rows of all tables: how many, which are wrong, and whether anything changed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use galaxy_api::{FloatingIP, Pool};
use galaxy_e2e::{Cluster, Reply, Workload};
use http::Method;
use kube::{Api, ResourceExt, api::ListParams};

use crate::observed::{Log, Panics};

/// The longest an error may be, in bytes, however large the input.
const LONGEST: usize = 2048;

/// Rows checked against one cluster.
pub(crate) struct Table {
    /// The cluster.
    pub(crate) c: Cluster,
    log: Log,
    panics: Panics,
    before: State,
    rows: usize,
    wrong: Vec<String>,
}

/// What no bad input may change.
#[derive(Debug, PartialEq)]
struct State {
    /// uid and resourceVersion of every FloatingIP by name.
    addresses: BTreeMap<String, (String, String)>,
    /// uid and spec of every Pool by name.
    pools: BTreeMap<String, (String, i64, bool)>,
    /// How many configurations came into force.
    generation: u64,
}

impl State {
    async fn read(c: &Cluster) -> Result<Self> {
        let all = ListParams::default();
        let addresses = Api::<FloatingIP>::all(c.client()).list(&all).await?.items.into_iter();
        let pools = Api::<Pool>::all(c.client()).list(&all).await?.items.into_iter();
        let version = |object: &FloatingIP| object.resource_version().unwrap_or_default();
        Ok(Self {
            addresses: addresses.map(|it| (it.name_any(), (it.uid().unwrap_or_default(), version(&it)))).collect(),
            pools: pools
                .map(|it| (it.name_any(), (it.uid().unwrap_or_default(), it.spec.size, it.spec.pre_allocate_ip)))
                .collect(),
            generation: c.generation().await?,
        })
    }
}

impl Table {
    /// Begins with what is there now.
    pub(crate) async fn begin(c: Cluster, log: Log, panics: Panics) -> Result<Self> {
        let before = State::read(&c).await?;
        ensure!(before.addresses.len() == 6 && before.pools.len() == 1 && before.generation == 1, "{before:?}");
        Ok(Self { c, log, panics, before, rows: 0, wrong: Vec::new() })
    }

    /// A row: the error must have all parts, such as the field and the value, and must not be long.
    pub(crate) fn row(&mut self, input: &str, error: &str, parts: &[&str]) {
        self.rows += 1;
        let missing: Vec<&&str> = parts.iter().filter(|part| !error.contains(**part)).collect();
        if !missing.is_empty() || error.is_empty() {
            self.wrong.push(format!("{}: {missing:?} missing in: {}", start(input), start(error)));
        } else if error.len() > LONGEST {
            self.wrong.push(format!("{}: an error of {} bytes: {}", start(input), error.len(), start(error)));
        }
    }

    /// A row about an HTTP request.
    pub(crate) fn reply(&mut self, input: &str, reply: &Reply, status: u16, parts: &[&str]) {
        if reply.status != status {
            self.wrong.push(format!("{}: {} instead of {status}: {}", start(input), reply.status, start(&reply.body)));
        }
        self.row(input, &reply.body, parts);
    }

    /// What is tolerated rather than refused: not counted, but it must be as the contract has it.
    pub(crate) fn tolerated(&mut self, input: &str, fine: bool, found: &str) {
        if !fine {
            self.wrong.push(format!("{}: not tolerated as it should be: {}", start(input), start(found)));
        }
    }

    /// A row about what only the log can say.
    pub(crate) async fn logged(&mut self, input: &str, parts: &[&str]) -> Result<()> {
        let log = self.log.clone();
        let line = self.c.poll(format!("the log names {parts:?}"), || async { Ok(log.line(parts)) }).await?;
        self.row(input, &line, parts);
        Ok(())
    }

    /// The service is up, nothing panicked, nothing changed, and who comes is served.
    pub(crate) async fn unharmed(&mut self, after: &str) -> Result<()> {
        let panics = self.panics.all();
        ensure!(panics.is_empty(), "{after}: something panicked: {}", panics.join("\n"));
        for base in [self.c.backend().api_url(), self.c.backend().extender_url()] {
            for (path, body) in [("/healthy", "ok"), ("/readyz", "ok: leader")] {
                let answer = self.c.http().send(Method::GET, &format!("{base}{path}"), None, "").await?;
                ensure!(answer.status == 200 && answer.body == body, "{after}: {path}: {answer:?}");
            }
        }
        self.c.backend().check();
        let healthy = Workload::pod("healthy");
        self.c.apply(&healthy).await?;
        let ip = self.c.ip(&healthy).await.with_context(|| format!("{after}: a healthy pod"))?;
        self.c.delete_pod("healthy").await?;
        self.c.no_pods(&healthy).await?;
        self.c.free(&ip).await?;
        let now = State::read(&self.c).await?;
        ensure!(now == self.before, "{after}: changed from {:#?}\nto {now:#?}", self.before);
        self.c.settled().await
    }

    /// The cluster and the number of rows.
    ///
    /// # Errors
    /// Rows are wrong: all of them.
    pub(crate) fn end(self) -> Result<(Cluster, usize)> {
        println!("{} rows of bad input", self.rows);
        if !self.wrong.is_empty() {
            bail!("{} of {} rows:\n{}", self.wrong.len(), self.rows, self.wrong.join("\n"));
        }
        Ok((self.c, self.rows))
    }
}

/// As much of a text as one wants to read.
fn start(text: &str) -> &str {
    text.get(..text.floor_char_boundary(400)).unwrap_or(text)
}
