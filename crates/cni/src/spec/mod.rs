//! The CNI protocol, 0.1.0 to 1.1.0: what a runtime passes in, and what it may read back.

mod error;
mod netconf;
mod request;
mod result;
mod version;

pub use error::{Error, code};
pub use netconf::{Attachment, NetConf};
pub(crate) use netconf::{asked_version, decode};
pub use request::{Args, Command, Request, is_id, is_interface_name};
pub use result::{AddResult, Dns, Interface, IpConfig, Route};
pub use version::{Version, version_reply};

#[cfg(test)]
mod tests;
