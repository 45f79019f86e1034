//! `cargo xtask bench cluster`: galaxy-ipam on a real control plane, against the limit of the API server, one row per target.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{Profile, program, root};

/// Builds everything, measures, prints one row per target. Fails if one is missed.
pub(crate) fn run(only: &[String], short: bool) -> Result<ExitCode> {
    galaxy_plane::build(galaxy_plane::NEWEST)?;
    let ipam = program("galaxy-ipam", Profile::Release)?;
    let mut bench = Command::new(program("galaxy-bench", Profile::Release)?);
    bench.arg("--ipam").arg(ipam).args(only.iter().map(|row| format!("--only={row}")));
    bench.args(short.then_some("--short"));
    let status = bench.current_dir(root()).status().context("cannot start galaxy-bench")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
