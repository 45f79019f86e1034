//! Bad input: whatever is malformed gets an error that names the field and the value, the service stays up, and nothing changes
//! (rule 19). One cluster for all tables, so that the next table meets whatever harm the one before did.

mod annotations;
mod configurations;
mod extender;
mod http_api;
mod objects;
mod observed;
mod table;

use anyhow::{Context, Result, ensure};
use galaxy_e2e::{Setup, Workload, sandbox};
use http::Method;

use observed::{Log, Panics};
use table::Table;

/// How many rows there must be, whatever becomes of the tables.
const ROWS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_named_and_changes_nothing() {
    let (log, panics) = (Log::capture(), Panics::record());
    if let Err(error) = run(log, panics).await {
        panic!("{error:#}");
    }
}

async fn run(log: Log, panics: Panics) -> Result<()> {
    let mut setup = Setup::racks(&[(2, 20), (1, 4)]);
    setup.nodes.push(galaxy_e2e::setup::NodeSetup { name: "stray".into(), address: "192.0.2.1".into() });
    let c = sandbox::lab().cluster(setup).await?;

    // What bad input could harm: addresses in use, reserved for a name, in a pool and by an administrator.
    let (web, gone) = (Workload::deployment("web").replicas(2).immutable(), Workload::stateful_set("gone").never());
    for workload in [&web, &gone] {
        c.apply(workload).await?;
        c.up(workload).await?;
    }
    let kept = c.ip(&gone).await?;
    c.delete(&gone).await?;
    c.reserved(&kept).await?;
    c.set_pool("blue", 2, true).await?;
    c.until("the pool is filled", |seen| seen.in_pool("blue").len() == 2).await?;
    c.reserve("10.64.1.29", "pool__reserved-for-node_").await?;
    // Never scheduled, so that the extender can be asked about it.
    let asked = Workload::pod("asked").on_node("nowhere");
    c.apply(&asked).await?;

    let mut table = Table::begin(c, log, panics).await?;
    annotations::rows(&mut table).await?;
    table.unharmed("annotations").await?;
    configurations::rows(&mut table).await?;
    table.unharmed("configurations").await?;
    extender::rows(&mut table).await?;
    table.unharmed("extender requests").await?;
    http_api::rows(&mut table).await?;
    table.unharmed("HTTP requests").await?;
    objects::rows(&mut table).await?;
    table.unharmed("objects").await?;

    let (c, rows) = table.end()?;
    ensure!(rows >= ROWS, "only {rows} rows");
    // A good document after all the bad ones, and the service still does its work.
    c.reconfigure(&serde_json::json!([galaxy_e2e::setup::rack_pool(1, 20), galaxy_e2e::setup::rack_pool(2, 5)]))
        .await?;
    for base in [c.backend().api_url(), c.backend().extender_url()] {
        let answer = c.http().send(Method::GET, &format!("{base}/readyz"), None, "").await?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    c.delete_pod("asked").await?;
    c.up(&web).await.context("the Deployment from before")?;
    c.settled().await
}
