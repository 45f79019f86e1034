//! The whole service against the sandbox's API server, driven as the scheduler and kubectl would.

mod binds;
mod cluster;
mod extender;
mod faults;
mod lifecycle;
mod replicas;
mod replicas_over_tls;
mod site;
