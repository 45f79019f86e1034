//! Binds and filters with many addresses allocated, against the same with few on another control plane beside it.

use std::{sync::Arc, time::Instant};

use anyhow::Result;

use super::filter;
use crate::{
    Scale,
    extender::drive,
    ground::Ground,
    objects::node_name,
    report::{Report, Target, Times},
};

/// Addresses that are few.
const FEW: usize = 1_000;
/// Nodes that a filter names.
const OFFERED: usize = 1_000;

pub(crate) async fn run(large: &mut Ground, small: &mut Ground, scale: &Scale, report: &mut Report) -> Result<()> {
    small.reserve(FEW).await?;
    large.reserve(scale.most).await?;
    let nodes = scale.nodes;
    let offer = filter::names(OFFERED.min(nodes));
    let mut services = [large.service(&[]).await?, small.service(&[]).await?];
    let mut binds = [Times::default(), Times::default()];
    let mut filters = [Times::default(), Times::default()];
    let per_round = scale.slice / 4;
    for round in 0..=scale.rounds {
        for (at, ground) in [&*large, &*small].into_iter().enumerate() {
            let calls = services[at].calls.clone();
            let pods = Arc::new(ground.pods(&format!("size{round}"), 600 + round as u16, per_round, true).await?);
            for _ in 0..per_round {
                let begun = Instant::now();
                calls.filter(offer.clone()).await?;
                if round > 0 {
                    filters[at].extend([begun.elapsed()]);
                }
            }
            let bind = move |number: usize| {
                let (calls, pods) = (calls.clone(), pods.clone());
                async move { calls.bind(&pods[number], &node_name(number % nodes)).await }
            };
            let (_, times) = drive(per_round, 1, bind).await?;
            if round > 0 {
                binds[at].merge(times);
            }
        }
    }
    for (what, [many, few]) in [("bind", binds), ("filter", filters)] {
        report.row(
            format!("{what} p50 at {} allocated ÷ at {FEW}", scale.most),
            many.percentile(50) / few.percentile(50),
            Target::AtMost(1.2),
            format!("{:.2} ms, {:.2} ms", many.percentile(50), few.percentile(50)),
        );
    }
    for service in &mut services {
        service.end().await?;
    }
    Ok(())
}
