//! What galaxy-ipam and the agent have in common as programs: flags as Go programs read them, log lines, the API server's client.

mod boolean;
pub mod client;
mod duration;
pub mod legacy;
pub mod logging;

pub use boolean::parse_bool;
pub use duration::{BadDuration, parse_duration};
