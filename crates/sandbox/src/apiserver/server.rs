//! The server as its users hold it.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use http::{HeaderValue, header};
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc};

use super::{
    api::Api,
    calls::Calls,
    faults::Faults,
    gc,
    review::User,
    serve,
    store::{Key, Store},
};
use crate::clock::Clock;

/// How a server is started.
pub struct Options {
    /// The time of all timestamps, watch timeouts and grace periods.
    pub clock: Clock,
    /// Where it listens. Port 0 picks a free one.
    pub address: SocketAddr,
    /// Whom TokenReviews and SubjectAccessReviews know.
    pub users: Vec<User>,
}

impl Default for Options {
    /// The machine's time, and a free port on the loopback interface.
    fn default() -> Self {
        Self { clock: Clock::real(), address: SocketAddr::from(([127, 0, 0, 1], 0)), users: Vec::new() }
    }
}

/// A running API server. It stops when it is dropped.
pub struct Server {
    api: Arc<Api>,
    address: SocketAddr,
}

impl Server {
    /// Starts a server that knows the namespaces of every cluster and nothing else.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(options.address)
            .await
            .with_context(|| format!("cannot listen on {}", options.address))?;
        let address = listener.local_addr()?;
        let (garbage, work) = mpsc::unbounded_channel();
        let api = Arc::new(Api::new(options.clock, options.users, Store::new(garbage)));
        seed(&api);
        tokio::spawn(gc::run(Arc::downgrade(&api), work, api.stop.clone()));
        tokio::spawn(serve::serve(api.clone(), listener));
        Ok(Self { api, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the API, such as `http://127.0.0.1:34567`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig file for kubectl.
    pub fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "galaxy-sandbox",
            "clusters": [{"name": "galaxy-sandbox", "cluster": {"server": self.url()}}],
            "contexts": [{"name": "galaxy-sandbox", "context": {"cluster": "galaxy-sandbox", "user": "admin", "namespace": "default"}}],
            "users": [{"name": "admin", "user": {}}],
        });
        // JSON is YAML.
        format!("{config:#}\n")
    }

    /// The configuration of a client whose `User-Agent` is `agent`.
    pub fn config(&self, agent: &str) -> kube::Config {
        let url = self.url().parse().expect("a socket address makes a URI");
        let mut config = kube::Config::new(url);
        if let Ok(agent) = HeaderValue::from_str(agent) {
            config.headers.push((header::USER_AGENT, agent));
        }
        config
    }

    /// A client whose `User-Agent` is `agent`, by which rules and counters can tell it from others.
    ///
    /// # Panics
    /// If rustls cannot be set up, which plain HTTP does not need but the client's construction does.
    pub fn client(&self, agent: &str) -> kube::Client {
        // A second installation is refused, and right so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        kube::Client::try_from(self.config(agent)).expect("a client for plain HTTP")
    }

    /// The clock that the server lives by.
    pub fn clock(&self) -> &Clock {
        &self.api.clock
    }

    /// The faults in force.
    pub fn faults(&self) -> &Faults {
        &self.api.faults
    }

    /// The record of all calls.
    pub fn calls(&self) -> &Calls {
        &self.api.calls
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.api.store().revision()
    }

    /// Freezes the watch cache of a resource (`pods`, `floatingips.galaxy.k8s.io`), or of all: lists at revision 0 show the present state
    /// and watches show nothing new until [`Server::release_cache`]. Reads and lists without a revision go on to see every write.
    pub fn hold_cache(&self, resource: Option<&str>) {
        self.api.store().hold(resource);
    }

    /// Lets the watch cache catch up.
    pub fn release_cache(&self, resource: Option<&str>) {
        self.api.store().release(resource);
    }

    /// Forgets the history, as etcd's compaction does after one more write: watches from all revisions so far get 410 Gone, and so
    /// do old continue tokens.
    pub fn compact(&self) {
        self.api.store().compact();
    }

    /// Ends all open watches, as a restart of an API server does. Clients may come back at once.
    pub fn close_watches(&self) {
        self.api.watch_epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Closes all connections and the listener.
    pub fn stop(&self) {
        self.api.stop.cancel();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The namespaces that every cluster has.
fn seed(api: &Api) {
    let now = super::object::time(api.clock.now());
    let mut store = api.store();
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": now,
                "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        store.put(&Key::new("namespaces", "", name), namespace);
    }
}
