//! What a call works with: the host's namespace and what is passed in for it.

use std::path::PathBuf;

use crate::{
    netlink::{Net, Netns, Tap},
    spec::Error,
};

/// The node that a plugin runs on.
#[derive(Clone)]
pub struct Node {
    /// Namespace of the host.
    pub(crate) host: Netns,
    /// Called before each netlink message.
    pub(crate) tap: Option<Tap>,
    /// Program to announce addresses again after a call; none to announce once.
    pub(crate) announcer: Option<PathBuf>,
}

impl Node {
    /// The node whose namespace the calling thread is in.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn here() -> std::io::Result<Self> {
        Ok(Node { host: Netns::current()?, tap: None, announcer: None })
    }

    /// Lets `tap` see, and fail, every netlink message.
    #[must_use]
    pub fn with_tap(self, tap: Tap) -> Self {
        Node { tap: Some(tap), ..self }
    }

    /// Announces addresses again by running `program`, which must be this plugin.
    #[must_use]
    pub fn with_announcer(self, program: PathBuf) -> Self {
        Node { announcer: Some(program), ..self }
    }

    pub(crate) fn net(&self) -> Result<Net, Error> {
        self.open(&self.host)
    }

    pub(crate) fn open(&self, ns: &Netns) -> Result<Net, Error> {
        Net::open(ns, self.tap.clone())
            .map_err(|error| Error::network(format!("cannot enter the namespace {}", ns.path().display()), &error))
    }
}
