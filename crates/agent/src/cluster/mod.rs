//! What the agent knows of the cluster: the pods of its node, and the FloatingIPs of its node.

mod addresses;
mod pods;
mod record;
mod watch;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::Client;
use tokio::sync::watch as channel;

pub use pods::PodRef;
pub use record::{Holder, Pod};

use crate::{events::Events, metrics::Metrics};

/// The cluster as seen from one node.
pub struct Cluster {
    client: Client,
    node: String,
    known: Mutex<Known>,
    /// Told of every change of `known`.
    changed: channel::Sender<()>,
    metrics: Arc<Metrics>,
    pub(crate) events: Events,
}

#[derive(Default)]
struct Known {
    /// By namespace and name.
    pods: HashMap<(String, String), Pod>,
    addresses: HashMap<IpAddr, Holder>,
    /// Whether each watch has listed once.
    synced: [bool; 2],
}

impl Cluster {
    /// A view of a node that knows nothing yet.
    pub fn new(client: Client, node: String, metrics: Arc<Metrics>) -> Self {
        let events = Events::new(client.clone(), &node);
        Cluster { client, node, known: Mutex::default(), changed: channel::Sender::new(()), metrics, events }
    }

    /// Name of the node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// A client of the API server.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What is not known yet, if anything.
    pub fn lacking(&self) -> Option<&'static str> {
        match self.known().synced {
            [true, true] => None,
            [false, _] => Some("the pods of this node are not known yet; is the API server reachable?"),
            [true, false] => Some("the FloatingIPs of this node are not known yet; is their definition installed?"),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known());
        self.changed.send_replace(());
    }
}
