//! Real Kubernetes nodes for tests: kubelets with containerd beside a real control plane, each node in namespaces of its own, all on one
//! bridged network, the underlay; with galaxy-ipam, and the agent as a DaemonSet from its own image.
//!
//! [`underlay::enter`] runs a future in the network namespace that the control plane lives in; [`Cluster::start`] there starts a cluster.
//! Programs are built by `cargo xtask cluster build --nodes`. All of it needs root, and leaves nothing behind however its owner ends.

mod cgroups;
mod cluster;
mod forward;
pub mod image;
mod node;
mod runtime;
pub mod underlay;

pub use cluster::{AGENT, Built, Cluster, Options, WEB};
pub use forward::forward;
pub use node::{Node, Part};
