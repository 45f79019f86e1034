//! Resident memory: what more addresses with pods add to a galaxy-ipam that has just become ready.

use anyhow::Result;

use crate::{
    Scale,
    ground::{Ground, pause},
    report::{Report, Target},
};

pub(crate) async fn run(ground: &mut Ground, scale: &Scale, report: &mut Report) -> Result<()> {
    ground.reserve(scale.listed).await?;
    let before = resident(ground).await?;
    let count = scale.allocated.saturating_sub(ground.allocated());
    ground.occupy("mem", 2, count).await?;
    let after = resident(ground).await?;
    report.row(
        "KiB of resident memory per allocated address with its pod",
        (after - before) / count as f64 / 1024.0,
        Target::AtMost(1.0),
        format!("{:.0} MiB with {} more than at {:.0} MiB", after / 1048576.0, count, before / 1048576.0),
    );
    Ok(())
}

async fn resident(ground: &Ground) -> Result<f64> {
    let mut service = ground.service(&[]).await?;
    pause().await;
    let bytes = service.resident().await?;
    service.end().await?;
    Ok(bytes)
}
