//! The cluster as a scenario holds it.

mod audit;
mod http;
mod nodes;
mod objects;
mod seen;
mod wait;
mod workloads;

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use futures::future::BoxFuture;
use galaxy_plane::Plane;
use galaxy_sandbox::{apiserver::Server, clock::Clock};
use kube::Client;

pub use self::http::{Http, Reply, query};
use crate::setup::Setup;
use audit::Audit;
pub use seen::{Seen, SeenAddress, SeenCondition, SeenNode, SeenPod};

/// Makes clusters, one after the other or side by side.
#[derive(Clone)]
pub struct Lab(Arc<dyn Start>);

/// What a lab is made of.
pub trait Start: Send + Sync {
    /// Makes a cluster whose nodes are ready and whose galaxy-ipam serves.
    fn start(&self, setup: Setup) -> BoxFuture<'_, Result<Box<dyn Backend>>>;
}

impl Lab {
    /// A lab that makes clusters this way.
    pub fn new(start: impl Start + 'static) -> Self {
        Self(Arc::new(start))
    }

    /// A new cluster. It ends when it is dropped.
    ///
    /// # Errors
    /// It does not come up.
    pub async fn cluster(&self, setup: Setup) -> Result<Cluster> {
        let backend = self.0.start(setup).await?;
        let audit = Audit::start(backend.client());
        let cluster = Cluster { client: backend.client(), http: Http::default(), audit, backend };
        // A galaxy-ipam that is not ready may not have made its definitions yet.
        cluster.poll("FloatingIPs are served", || async { Ok(cluster.see().await.ok()) }).await?;
        Ok(cluster)
    }
}

/// What differs between an embedded cluster and a real one.
pub trait Backend: Send + Sync {
    /// A client that no injected fault touches.
    fn client(&self) -> Client;

    /// Base URL of galaxy-ipam's HTTP API, without a slash at the end.
    fn api_url(&self) -> String;

    /// Base URL of the extender, without a slash at the end.
    fn extender_url(&self) -> String;

    /// Cuts a node off: its kubelet falls silent, its pods may run on.
    fn power_off<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Lets the node come back.
    fn power_on<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Stops galaxy-ipam as `kubectl delete pod` does: it may finish what is under way.
    fn stop_ipam(&self) -> BoxFuture<'_, Result<()>>;

    /// Kills galaxy-ipam in the middle of whatever it does.
    fn kill_ipam(&self);

    /// Starts galaxy-ipam again and returns when it serves, or with `ready` false when it listens.
    fn start_ipam(&self, ready: bool) -> BoxFuture<'_, Result<()>>;

    /// Has galaxy-ipam sweep, and returns when it has.
    fn sweep(&self) -> BoxFuture<'_, Result<()>>;

    /// Checks what only an embedded galaxy-ipam shows: the ledger's counters and indexes. Panics if they are off.
    fn check(&self) {}

    /// Lets the cluster's time pass.
    fn pass(&self, time: Duration) -> BoxFuture<'_, ()>;

    /// How long a condition may take to come true: long enough that only a mistake takes longer.
    fn patience(&self) -> Duration;

    /// The cluster's time, where it can be moved.
    fn clock(&self) -> Option<&Clock>;

    /// The API server, where faults can be injected and calls counted.
    fn server(&self) -> Option<&Server>;

    /// Has the scheduler ask the extender at another URL until the end of the scenario; with `sample` it looks, as it does by
    /// default, at a sample of the nodes only.
    fn reroute<'a>(&'a self, url: &'a str, sample: bool) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { anyhow::bail!("this cluster's scheduler cannot be sent to {url} (sample: {sample})") })
    }

    /// The real control plane, if that is what it is.
    fn plane(&self) -> Option<&Plane> {
        None
    }
}

/// A cluster with galaxy-ipam in it.
pub struct Cluster {
    client: Client,
    http: Http,
    audit: Audit,
    backend: Box<dyn Backend>,
}

impl Cluster {
    /// A client of the API server.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// What differs between clusters.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The cluster's time, where it can be moved.
    ///
    /// # Errors
    /// This cluster lives in real time.
    pub fn clock(&self) -> Result<&Clock> {
        self.backend.clock().ok_or_else(|| anyhow::anyhow!("this cluster's time cannot be moved"))
    }

    /// The API server with its faults and counters.
    ///
    /// # Errors
    /// This cluster has a real one.
    pub fn server(&self) -> Result<&Server> {
        self.backend.server().ok_or_else(|| anyhow::anyhow!("this cluster's API server takes no faults"))
    }

    /// The control plane with kubectl and its components.
    ///
    /// # Errors
    /// This cluster is embedded.
    pub fn plane(&self) -> Result<&Plane> {
        self.backend.plane().ok_or_else(|| anyhow::anyhow!("this cluster has no real control plane"))
    }

    /// Lets the cluster's time pass.
    pub async fn pass(&self, time: Duration) {
        self.backend.pass(time).await;
    }

    /// Stops and starts galaxy-ipam.
    ///
    /// # Errors
    /// It does not come up again.
    pub async fn restart_ipam(&self) -> Result<()> {
        self.backend.stop_ipam().await?;
        self.backend.start_ipam(true).await
    }

    /// Kills and starts galaxy-ipam.
    ///
    /// # Errors
    /// It does not come up again.
    pub async fn crash_ipam(&self) -> Result<()> {
        self.backend.kill_ipam();
        self.backend.start_ipam(true).await
    }

    /// Has galaxy-ipam sweep, and returns when it has.
    ///
    /// # Errors
    /// It is not there.
    pub async fn sweep(&self) -> Result<()> {
        self.backend.sweep().await
    }

    /// A user's HTTP client.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// GET of the HTTP API; `path` begins with a slash.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.http.get(&format!("{}{path}", self.backend.api_url())).await
    }

    /// POST to the HTTP API.
    ///
    /// # Errors
    /// No answer.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Reply> {
        self.http.post(&format!("{}{path}", self.backend.api_url()), body).await
    }

    /// POST to the extender as a scheduler sends it, such as `/v1/filter`.
    ///
    /// # Errors
    /// No answer.
    pub async fn extender(&self, path: &str, body: &serde_json::Value) -> Result<Reply> {
        self.http.post(&format!("{}{path}", self.backend.extender_url()), body).await
    }

    /// The value of a metric with exactly these labels, as `galaxy_x{a="b"}`; none if it is not there.
    ///
    /// # Errors
    /// No answer.
    pub async fn metric(&self, name: &str) -> Result<Option<f64>> {
        let body = self.get("/metrics").await?.body;
        let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.and_then(|value| value.trim().parse().ok()))
    }
}
