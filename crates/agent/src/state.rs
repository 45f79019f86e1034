//! What was done for each sandbox, on disk: written before anything is done, removed when all is undone.

mod legacy;
mod store;

use galaxy_cni::netlink::Netns;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use store::{Store, Stored};

use crate::cluster::PodRef;

/// Version of the format. A later version only adds members; readers pass over those that they do not know.
pub const VERSION: u32 = 1;

/// What was done for one interface name of one sandbox.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// See [`VERSION`].
    pub version: u32,
    /// `CNI_CONTAINERID`
    pub container_id: String,
    /// `CNI_IFNAME` of the runtime's call.
    pub ifname: String,
    /// `CNI_NETNS`
    #[serde(default)]
    pub netns: String,
    /// Device and inode of the namespace, lest another one has got its path.
    #[serde(default)]
    pub netns_id: Option<(u64, u64)>,
    /// The pod.
    #[serde(default)]
    pub pod: PodRef,
    /// Start of the first ADD in seconds since 1970.
    #[serde(default)]
    pub created: i64,
    /// All of ADD succeeded.
    #[serde(default)]
    pub complete: bool,
    /// Networks in the order of ADD.
    pub networks: Vec<Attachment>,
}

/// One network of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Name of the network.
    pub network: String,
    /// `CNI_IFNAME` for its plugins.
    pub ifname: String,
    /// `CNI_ARGS` for its plugins.
    pub args: String,
    /// Configurations of its plugins in the order of ADD, as they were then.
    pub plugins: Vec<Value>,
    /// What its last plugin answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
}

impl Sandbox {
    /// The namespace's path if it still is the namespace that ADD saw, else nothing.
    pub fn live_netns(&self) -> String {
        let same = netns_id(&self.netns).is_some_and(|id| self.netns_id == Some(id));
        if same { self.netns.clone() } else { String::new() }
    }
}

/// Device and inode of a namespace; none if it is gone.
pub fn netns_id(path: &str) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    // What is no namespace cannot be opened as one for long; its inode still tells it from others.
    Netns::open(path).ok()?;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
