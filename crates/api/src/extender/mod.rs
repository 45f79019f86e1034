//! The scheduler extender protocol, version 1.
//!
//! Requests are read in any letter case with `null` anywhere and borrow from the body: a filter call may carry
//! thousands of whole nodes, of which Galaxy needs two members. Answers repeat the nodes' text untouched.

mod request;
mod response;

pub use request::{BadMember, BindArgs, ExtenderArgs, MetaPod, MetaVictims, NodeItem, NodeView, PreemptArgs};
pub use response::{BindResult, FilterResult, HostPriority, PreemptResult};
