//! `cargo xtask chaos`: faults on a real control plane with several replicas of galaxy-ipam under load.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::{Profile, program, root};

#[derive(Args)]
pub(crate) struct Chaos {
    /// A short run, as in CI: one seed, every kind of fault once.
    #[arg(long, conflicts_with = "seeds")]
    short: bool,
    /// How many seeds; each brings every kind of fault once, in an order of its own.
    #[arg(long, default_value_t = 16)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Minor version of Kubernetes.
    #[arg(long, default_value = galaxy_plane::NEWEST)]
    kubernetes: String,
    /// Number of galaxy-ipam replicas.
    #[arg(long, default_value_t = 3)]
    replicas: u8,
    /// Only faults whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// Runs it.
pub(crate) fn run(chaos: Chaos) -> Result<ExitCode> {
    galaxy_plane::build(&chaos.kubernetes)?;
    let program = program("galaxy-chaos", Profile::Debug)?;
    let seeds = if chaos.short { 1 } else { chaos.seeds };
    let arguments = [
        format!("--seeds={seeds}"),
        format!("--seed={}", chaos.seed),
        format!("--kubernetes={}", chaos.kubernetes),
        format!("--replicas={}", chaos.replicas),
        format!("--only={}", chaos.only),
    ];
    let mut command = Command::new(&program);
    let status = command.args(arguments).current_dir(root()).status().context("cannot start galaxy-chaos")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
