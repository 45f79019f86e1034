//! galaxy-ipam

pub mod cli;
pub mod cloud;
pub mod http;
pub mod metrics;
