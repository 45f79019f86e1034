//! What only real controllers, a real scheduler, a real API server and kubectl can show.

pub mod access;
pub mod controllers;
pub mod dead_nodes;
pub mod kubectl;
pub mod migration;
pub mod preemption;
pub mod rollouts;
pub mod waking;

use anyhow::{Result, ensure};

use super::lab::here;
use crate::Cluster;

/// Runs kubectl, which must succeed, and returns what it printed.
async fn kubectl(c: &Cluster, arguments: &[&str]) -> Result<String> {
    let output = here(c.plane()?.kubectl(arguments))?;
    ensure!(output.success, "kubectl {}: {}{}", arguments.join(" "), output.stdout, output.stderr);
    Ok(output.stdout)
}
