//! Wire formats against the literal examples of the contract and of the user documentation, requests that
//! kube-scheduler really sent, and tables of bad input.

mod annotation;
mod config;
mod crds;
mod extender;
mod floatingip;
mod http;
mod pool;
