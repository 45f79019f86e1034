//! What the ledger promises, one readable scenario for each promise, row and rule.

#[path = "../world/mod.rs"]
mod world;

mod allocation;
mod binding;
mod cloud;
mod configuration;
mod events;
mod keeping;
mod limits;
mod nodes;
mod pools;
mod ranges;
mod rollouts;
mod users;
mod waiting;
