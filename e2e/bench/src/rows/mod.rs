//! One file a target.

pub(crate) mod binds;
pub(crate) mod filter;
pub(crate) mod memory;
pub(crate) mod ready;
pub(crate) mod release;
pub(crate) mod scheduler;
pub(crate) mod size;
pub(crate) mod writes;
