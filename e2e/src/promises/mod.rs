//! One function per promise of float-ip.md and per row of the contract's tables of allocation and release.

pub mod bare_pods;
pub mod cloud;
pub mod config;
pub mod custom;
pub mod deployments;
pub mod extender;
pub mod http_api;
pub mod nodes;
pub mod pools;
pub mod ranges;
pub mod reservations;
pub mod restarts;
pub mod rollouts;
pub mod stateful_sets;
pub mod waiting;

use std::collections::BTreeSet;

use galaxy_api::floatingip::State;

use crate::{Seen, Workload};

/// The addresses that a workload owns, whatever their state.
fn owned(seen: &Seen, workload: &Workload) -> BTreeSet<String> {
    seen.owned_by(workload).into_iter().map(|address| address.ip.clone()).collect()
}

/// How many addresses of a workload are in this state.
fn count(seen: &Seen, workload: &Workload, state: State) -> usize {
    seen.owned_by(workload).into_iter().filter(|address| address.state() == Some(state)).count()
}
