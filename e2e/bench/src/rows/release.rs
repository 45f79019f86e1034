//! Many pods that go at one moment: how fast their addresses are released, and what binds feel of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::binds::AT_ONCE;
use crate::{
    Scale, etcd,
    extender::{Extender, drive},
    ground::{Ground, Service},
    objects::node_name,
    report::{Report, Target, Times},
};

const LIMIT: Duration = Duration::from_secs(300);
const DELETED: [&str; 3] = [r#"verb="delete""#, r#"resource="floatingips""#, r#"result="ok""#];

pub(crate) async fn run(ground: &mut Ground, scale: &Scale, report: &mut Report) -> Result<()> {
    ground.reserve(scale.allocated).await?;
    ground.etcd.load(ground.raw.stored(0..scale.burst)).await?;
    ground.occupy("first", 500, scale.burst).await?;
    ground.occupy("second", 501, scale.burst).await?;
    let mut service = ground.service(&[]).await?;
    service.idle().await?;

    let raw = async |from: usize| {
        let client = ground.raw.clone();
        let delete = move |number: usize| {
            let client = client.clone();
            async move { client.delete(from + number).await }
        };
        drive(scale.burst / 2, AT_ONCE, delete).await
    };
    let (half, _) = raw(0).await?;
    let ours = released(ground, &service, "first", scale.burst).await?;
    let (other, _) = raw(scale.burst / 2).await?;
    let rate = |time: Duration| scale.burst as f64 / time.as_secs_f64();
    let (ours, theirs) = (rate(ours), rate(half + other));
    report.row(
        format!("{} pods deleted at once: releases/s ÷ raw deletes/s", scale.burst),
        ours / theirs,
        Target::AtLeast(0.8),
        format!("{ours:.0} releases/s, {theirs:.0} deletes/s"),
    );

    let pods = Arc::new(ground.pods("meanwhile", 502, scale.burst, true).await?);
    let nodes = scale.nodes;
    let bind = |from: usize| {
        let (calls, pods) = (service.calls.clone(), pods.clone());
        move |number: usize| {
            let (calls, pods) = (calls.clone(), pods.clone());
            async move { calls.bind(&pods[from + number], &node_name(number % nodes)).await }
        }
    };
    // Connections are opened by the first few.
    drive(20, 1, bind(0)).await?;
    let quiet_count = scale.slice;
    let (_, quiet) = drive(quiet_count, 1, bind(20)).await?;
    let mut meanwhile = Times::default();
    let mut next = 20 + quiet_count;
    let released = released(ground, &service, "second", scale.burst);
    // Only a failure ends it.
    let binds = async {
        loop {
            let pod = pods.get(next).context("no pods are left to bind")?;
            let begun = Instant::now();
            service.calls.bind(pod, &node_name(next % nodes)).await?;
            meanwhile.extend([begun.elapsed()]);
            next += 1;
        }
    };
    let took = tokio::select! {
        released = released => released?,
        broken = binds => return broken,
    };
    report.row(
        "binds' p99 meanwhile ÷ quiet",
        meanwhile.percentile(99) / quiet.percentile(99),
        Target::AtMost(2.0),
        format!(
            "quiet {}; meanwhile {} ({} binds, {:.0} releases/s)",
            quiet.text(),
            meanwhile.text(),
            next - 20 - quiet_count,
            rate(took)
        ),
    );
    ground.released(2 * scale.burst);
    ground.etcd.remove(&format!("{}meanwhile", etcd::PODS)).await?;
    service.idle().await?;
    service.end().await
}

/// Removes the pods of a name at one moment; how long their addresses take to be released.
async fn released(ground: &Ground, service: &Service, pods: &str, count: usize) -> Result<Duration> {
    let deleted = async |calls: &Extender| calls.metric("galaxy_ipam_api_writes_total", &DELETED).await;
    let before = deleted(&service.calls).await?;
    let begun = Instant::now();
    let gone = ground.etcd.remove(&format!("{}{pods}-", etcd::PODS)).await?;
    ensure!(gone == count, "{gone} of {count} pods were there");
    while deleted(&service.calls).await? < before + count as f64 {
        ensure!(begun.elapsed() < LIMIT, "not all addresses were released");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(begun.elapsed())
}
