//! The scenarios on a real control plane.
//!
//! One plane serves many scenarios, one after the other: before each it is cleaned and given the nodes, the pools and the galaxy-ipam
//! that the scenario asks for. See [`run`] for who runs what.

pub(crate) mod clean;
pub(crate) mod custom;
mod lab;
mod list;
mod run;
pub mod scenarios;
mod watching;

pub use lab::Planes;
pub use run::{Args, run};
