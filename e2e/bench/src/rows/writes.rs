//! Calls of the API server for each pod, counted on the way.

use std::sync::Arc;

use anyhow::Result;

use crate::{
    Scale, etcd,
    extender::drive,
    ground::{Ground, Service},
    objects::{Pod, node_name},
    proxy::{Calls, Counter},
    report::{Report, Target},
};

const AT_ONCE: usize = 16;
/// One conflict for each hundred writes that succeed.
const CONFLICT_EVERY: usize = 101;

struct Bench<'a> {
    ground: &'a Ground,
    service: Service,
    counter: Counter,
    nodes: usize,
}

pub(crate) async fn run(ground: &mut Ground, scale: &Scale, report: &mut Report) -> Result<()> {
    let counter = Counter::start(ground.plane.client()).await?;
    let service = ground.service(&[format!("--master=http://127.0.0.1:{}", counter.port)]).await?;
    let mut bench = Bench { ground, service, counter, nodes: scale.slice };
    let pods = scale.slice;
    bench.calls().await?;

    let fresh = bench.fresh("fresh", 700, pods).await?;
    let released = bench.gone("fresh", pods).await?;
    bench.ordinals(701, pods).await?;
    let kept = bench.gone("seedwork", 0).await?;
    let reused = bench.ordinals(702, pods).await?;
    let mut reads = 0;
    for (what, calls, target) in [
        ("fresh", &fresh, 2.0),
        ("reused", &reused, 2.0),
        ("released", &released, 1.0),
        ("released and kept by its policy", &kept, 1.0),
    ] {
        reads += count(calls, false);
        report.row(
            format!("API writes of a pod that is {what}"),
            count(calls, true) as f64 / pods as f64,
            Target::AtMost(target),
            text(calls),
        );
    }
    report.row("API reads of all these pods", reads as f64, Target::AtMost(0.0), "");

    bench.gone("seedwork", 0).await?;
    bench.counter.conflict_every(CONFLICT_EVERY);
    let mut all = Calls::new();
    for calls in [
        bench.fresh("upset", 703, pods).await?,
        bench.gone("upset", pods).await?,
        bench.ordinals(704, pods).await?,
        bench.gone("seedwork", 0).await?,
    ] {
        for (call, times) in calls {
            *all.entry(call).or_default() += times;
        }
    }
    let needed = pods * (2 + 1 + 2 + 1);
    report.row(
        "API calls with 1 % conflicts ÷ writes that are needed",
        (count(&all, true) + count(&all, false)) as f64 / needed as f64,
        Target::AtMost(1.02),
        text(&all),
    );
    bench.service.end().await
}

impl Bench<'_> {
    /// Pods that never were; calls until all are bound.
    async fn fresh(&mut self, name: &str, kind: u16, count: usize) -> Result<Calls> {
        let pods = self.ground.pods(name, kind, count, true).await?;
        self.bind(pods).await
    }

    /// Pods of the workload that keeps its addresses.
    async fn ordinals(&mut self, kind: u16, count: usize) -> Result<Calls> {
        let pods = self.ground.ordinals(kind, count).await?;
        self.bind(pods).await
    }

    async fn bind(&mut self, pods: Vec<Pod>) -> Result<Calls> {
        let (calls, nodes, count, pods) = (self.service.calls.clone(), self.nodes, pods.len(), Arc::new(pods));
        let bind = move |number: usize| {
            let (calls, pods) = (calls.clone(), pods.clone());
            async move {
                // Answers that tell the scheduler to come again are taken at their word.
                let mut tries = 5;
                loop {
                    match calls.bind(&pods[number], &node_name(number % nodes)).await {
                        Err(_) if tries > 0 => tries -= 1,
                        done => return done,
                    }
                }
            }
        };
        drive(count, AT_ONCE, bind).await?;
        self.calls().await
    }

    /// Pods that are deleted.
    async fn gone(&mut self, name: &str, _count: usize) -> Result<Calls> {
        self.ground.etcd.remove(&format!("{}{name}-", etcd::PODS)).await?;
        self.service.knows(0).await?;
        self.calls().await
    }

    /// The calls since the last time, once nothing is under way.
    async fn calls(&mut self) -> Result<Calls> {
        self.service.idle().await?;
        Ok(self.counter.take())
    }
}

fn count(calls: &Calls, writes: bool) -> usize {
    calls.iter().filter(|(call, _)| call.starts_with("GET ") != writes).map(|(_, times)| times).sum()
}

fn text(calls: &Calls) -> String {
    calls.iter().map(|(call, times)| format!("{times} {call}")).collect::<Vec<_>>().join(", ")
}
