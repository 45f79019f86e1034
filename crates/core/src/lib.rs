//! The pure heart of Galaxy's IP address management.
//!
//! Everything here is a decision on data in memory: no async, no clock, no I/O, no Kubernetes client. Time, objects and
//! events are passed in; verdicts and lists of writes come out.
//!
//! | module | concern |
//! | --- | --- |
//! | [`addr`] | one IPv4 or IPv6 address, its neighbours and its object name |
//! | [`range`] | `a~b` ranges and sorted sets of them |
//! | [`freeset`] | the free addresses, kept as runs |
//! | [`policy`] | when an address is freed |
//! | [`key`] | the key strings of `FloatingIP` objects |
//! | [`topology`] | pools, their addresses, and which nodes reach them |
//! | [`matching`] | one distinct address for each of several range lists |

pub mod addr;
pub mod freeset;
pub mod key;
pub mod ledger;
pub mod matching;
pub mod policy;
pub mod range;
pub mod topology;

#[cfg(test)]
mod testing;

pub use addr::{Addr, Family};
pub use freeset::FreeSet;
pub use key::{AppKind, FipKey};
pub use matching::match_lists;
pub use policy::{ReleasePolicy, UnknownPolicy};
pub use range::{IpRange, RangeError, RangeSet};
pub use topology::{ClassId, Pool, PoolConfig, PoolId, Topology, TopologyError, Warning};
