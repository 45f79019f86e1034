//! From the start of the process until galaxy-ipam decides, against only listing and decoding the FloatingIPs.

use std::time::Instant;

use anyhow::{Result, ensure};
use galaxy_api::FloatingIP;
use kube::{Api, api::ListParams};

use crate::{
    Scale,
    ground::{Ground, pause},
    report::{Report, Target, median},
};

const TURNS: usize = 5;

pub(crate) async fn run(ground: &mut Ground, scale: &Scale, report: &mut Report) -> Result<()> {
    ground.reserve(scale.listed).await?;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        pause().await;
        let begun = Instant::now();
        let client = ground.plane.client_by(&ground.plane.kubeconfig()).await?;
        let listed = Api::<FloatingIP>::all(client).list(&ListParams::default()).await?;
        ensure!(listed.items.len() == scale.listed, "{} FloatingIPs", listed.items.len());
        let raw = begun.elapsed().as_secs_f64();
        drop(listed);
        pause().await;
        let mut service = ground.service(&[]).await?;
        service.end().await?;
        // The first turn fills the caches of the API server.
        if turn > 0 {
            let took = service.took.as_secs_f64();
            ours.push(took);
            theirs.push(raw);
            ratios.push(took / raw);
        }
    }
    report.row(
        format!("ready at {} FloatingIPs ÷ raw list and decode", scale.listed),
        median(ratios),
        Target::AtMost(1.3),
        format!("{:.2} s, {:.2} s", median(ours), median(theirs)),
    );
    Ok(())
}
