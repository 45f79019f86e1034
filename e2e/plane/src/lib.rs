//! A real Kubernetes control plane for tests: etcd, kube-apiserver, kube-controller-manager and kube-scheduler as they are released,
//! with [kwok] for the kubelets. Everything runs on free ports of 127.0.0.1 and dies with its owner, however that ends.
//!
//! The programs are built once from Go modules by [`build`] (`cargo xtask cluster build`); [`Plane::start`] runs them.
//!
//! [kwok]: https://kwok.sigs.k8s.io

mod access;
mod binaries;
mod certificates;
mod commands;
mod files;
mod ipam;
mod nodes;
mod plane;
mod ports;
mod process;
mod scheduler;
mod wait;

pub use access::Output;
pub use binaries::{Binaries, NEWEST, Runtime, build, build_nodes, root, target, versions};
pub use certificates::{Authority, Certified, Subject};
pub use commands::Component;
pub use ipam::{Ipam, IpamOptions};
pub use nodes::{Node, Rack};
pub use plane::{Options, Plane, RealNodes, forget};
pub use ports::free_ports;
pub use process::{Guard, Process, Signal};
pub use scheduler::Scheduler;
pub use wait::wait_for;
