//! Binds against raw pairs of writes.

use std::sync::Arc;

use anyhow::Result;

use crate::{
    Scale, etcd,
    extender::drive,
    ground::{Ground, pause},
    objects::node_name,
    report::{Rates, Report, Target},
};

/// Binds, or pairs, at once.
pub(crate) const AT_ONCE: usize = 32;

pub(crate) async fn run(ground: &mut Ground, scale: &Scale, report: &mut Report) -> Result<()> {
    ground.reserve(scale.allocated).await?;
    let mut service = ground.service(&[]).await?;
    let mut rates = Rates::of(scale.slice);
    let nodes = scale.nodes;
    for round in 0..=scale.rounds {
        let ours = Arc::new(ground.pods(&format!("bind{round}"), 100 + round as u16, scale.slice, true).await?);
        let theirs = Arc::new(ground.pods(&format!("raw{round}"), 300 + round as u16, scale.slice, false).await?);
        let (mut our_time, mut their_time) = (None, None);
        for mine in [round % 2 == 0, round % 2 == 1] {
            if mine {
                let (calls, pods) = (service.calls.clone(), ours.clone());
                let bind = move |number: usize| {
                    let (calls, pods) = (calls.clone(), pods.clone());
                    async move { calls.bind(&pods[number], &node_name(number % nodes)).await }
                };
                our_time = Some(drive(scale.slice, AT_ONCE, bind).await?);
            } else {
                let (raw, pods, first) = (ground.raw.clone(), theirs.clone(), round * scale.slice);
                let pair = move |number: usize| {
                    let (raw, pods) = (raw.clone(), pods.clone());
                    async move { raw.pair(first + number, &pods[number], &node_name(number % nodes)).await }
                };
                their_time = Some(drive(scale.slice, AT_ONCE, pair).await?);
            }
            pause().await;
        }
        // The first round opens connections.
        if let (Some((ours, _)), Some((theirs, _)), 1..) = (our_time, their_time, round) {
            rates.turn(ours, theirs);
        }
    }
    report.row(
        format!("binds/s ÷ raw pairs/s, {} of 1,000,000 addresses allocated", ground.allocated()),
        rates.ratio(),
        Target::AtLeast(0.8),
        rates.text("binds", "pairs"),
    );
    ground.etcd.remove(&format!("{}bind", etcd::PODS)).await?;
    ground.etcd.remove(&format!("{}raw", etcd::PODS)).await?;
    ground.etcd.remove(etcd::RAW).await?;
    service.idle().await?;
    service.end().await
}
