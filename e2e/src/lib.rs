//! What Galaxy promises, as scenarios that run on any cluster.
//!
//! A scenario is an async function of a [`Lab`], the place that makes clusters; it uses of its [`Cluster`] only what a real one has.
//! Control of time and injected faults are capabilities that a lab may lack: `Cluster::clock` and `Cluster::server` are then none.
//! [`scenarios!`] names every scenario once, for whoever runs them: `tests/sandbox.rs` on the embedded sandbox, [`real`] on a real
//! control plane (`cargo xtask e2e`), where those of [`plane_scenarios!`] run too.

pub mod cluster;
pub mod defects;
mod ipam;
pub mod list;
pub mod promises;
pub mod races;
pub mod real;
pub mod sandbox;
pub mod setup;
pub mod storm;
pub mod workload;

pub use cluster::{Cluster, Lab, Reply, Seen, SeenPod};
pub use setup::Setup;
pub use workload::Workload;
