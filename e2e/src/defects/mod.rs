//! The defects of the original, contract §10: for each that is in scope, a scenario named after what now holds.
//!
//! Rows that a promise shows already are short here and say where the rest is.

pub mod cloud;
pub mod configuration;
pub mod http_api;
pub mod nodes;
pub mod ownership;
pub mod ranges;
pub mod workloads;
