//! The agent on a node of namespaces, with an API server in memory and a container runtime that is told what to say.

mod bad_input;
mod collect;
mod confirm;
mod crash;
mod lab;
mod lifecycle;
mod networks;
mod wire;
