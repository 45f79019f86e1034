//! What a call works with: the host's namespace and what is passed in for it.

use std::{io, path::PathBuf};

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
    /// How addresses are announced again after a call.
    pub(crate) announcer: Announcer,
    /// DEL leaves devices, made silent, to [`Node::remove_condemned`].
    pub(crate) deferred: bool,
}

/// How addresses are announced again after a call.
#[derive(Clone)]
pub(crate) enum Announcer {
    /// They are announced once.
    Once,
    /// By a process of this program.
    Process(PathBuf),
    /// By a thread of this process.
    Thread,
}

impl Node {
    /// The node whose namespace the calling thread is in.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn here() -> std::io::Result<Self> {
        Ok(Self::of(Netns::current()?))
    }

    /// The node whose namespace is `host`.
    pub fn of(host: Netns) -> Self {
        Node { host, tap: None, announcer: Announcer::Once, deferred: false }
    }

    /// Namespace of the host.
    pub fn host(&self) -> &Netns {
        &self.host
    }

    /// Lets `tap` see, and fail, every netlink message.
    #[must_use]
    pub fn with_tap(self, tap: Tap) -> Self {
        Node { tap: Some(tap), ..self }
    }

    /// Announces addresses again by running `program`, which must be this plugin.
    #[must_use]
    pub fn with_announcer(self, program: PathBuf) -> Self {
        Node { announcer: Announcer::Process(program), ..self }
    }

    /// Announces addresses again from a thread, for a caller that lives on.
    #[must_use]
    pub fn with_announcing_thread(self) -> Self {
        Node { announcer: Announcer::Thread, ..self }
    }

    /// Lets DEL answer when the addresses are silent and their routes gone; who calls it must call
    /// [`Node::remove_condemned`] soon. The kernel waits as long for a hundred devices as for one.
    #[must_use]
    pub fn with_deferred_removal(self) -> Self {
        Node { deferred: true, ..self }
    }

    /// Deletes all devices that DEL has left, also those of a process that was killed.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn remove_condemned(&self) -> io::Result<()> {
        Net::open(&self.host, self.tap.clone())?.delete_condemned()
    }

    pub(crate) fn net(&self) -> Result<Net, Error> {
        self.open(&self.host)
    }

    pub(crate) fn open(&self, ns: &Netns) -> Result<Net, Error> {
        Net::open(ns, self.tap.clone())
            .map_err(|error| Error::network(format!("cannot enter the namespace {}", ns.path().display()), &error))
    }
}
