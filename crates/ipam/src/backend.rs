//! The service as the HTTP API sees it.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use galaxy_api::Pool;
use galaxy_core::Addr;
use galaxy_core::ledger::{AddressInfo, OwnerQuery, PodRef, PoolStatus, ReleaseRequest, ReleaseStep, Uid};
use tokio::sync::watch;

use crate::config::Configuration;
use crate::convert;
use crate::engine::Engine;
use crate::forward::Peers;
use crate::http::Backend;
use crate::metrics::Snapshot;
use crate::reads::Reader;

/// Answers the API's questions from the ledger.
pub(crate) struct ServiceBackend {
    engine: Arc<Engine>,
    reader: Arc<Reader>,
    peers: Arc<Peers>,
    configuration: Arc<Configuration>,
    /// Namespaces whose Pools count; empty = all.
    pool_namespaces: Vec<String>,
    /// What the start waits for; none once the caches are complete.
    starting: Mutex<Option<String>>,
}

impl ServiceBackend {
    pub(crate) fn new(
        engine: Arc<Engine>,
        reader: Arc<Reader>,
        peers: Arc<Peers>,
        configuration: Arc<Configuration>,
        pool_namespaces: Vec<String>,
    ) -> Self {
        let starting = Mutex::new(Some("starting".to_owned()));
        ServiceBackend { engine, reader, peers, configuration, pool_namespaces, starting }
    }

    /// What the start waits for.
    pub(crate) fn starting(&self, what: String) {
        *self.lock() = Some(what);
    }

    /// The caches are complete.
    pub(crate) fn set_synced(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for ServiceBackend {
    fn ready(&self) -> Result<(), String> {
        let problem = || self.configuration.problem().map(|problem| format!("; {problem}")).unwrap_or_default();
        self.synced()?;
        self.engine.read(|ledger| ledger.readiness()).map_err(|lacking| format!("{lacking}{}", problem()))
    }

    fn standing(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            let starting = self.synced().map_err(|what| format!("starting: {what}"));
            if self.engine.tenure.holds() {
                // The lease may be held although something else is missing.
                return self.ready().map(|()| "ok: leader".to_owned());
            }
            starting?;
            self.peers.standing().await
        })
    }

    fn synced(&self) -> Result<(), String> {
        self.lock().clone().map_or(Ok(()), Err)
    }

    fn addresses_from(&self, first: Addr, take: usize) -> Vec<AddressInfo> {
        self.engine.read(|ledger| ledger.addresses_from(first).take(take).collect())
    }

    fn addresses_of(&self, owner: &OwnerQuery<'_>) -> Option<Vec<Addr>> {
        self.engine.read(|ledger| ledger.addresses_of(owner))
    }

    fn describe(&self, addrs: &[Addr]) -> Vec<AddressInfo> {
        self.engine.read(|ledger| ledger.describe_all(addrs))
    }

    fn page(&self, skip: u128, take: usize) -> (u128, Vec<AddressInfo>) {
        self.engine.read(|ledger| ledger.page(skip, take))
    }

    fn release(&self, request: &ReleaseRequest) -> ReleaseStep {
        tracing::info!(ip = %request.addr, key = request.key, "release asked for");
        self.engine.with(|ledger, now| ledger.release(now, request))
    }

    fn release_poll(&self, addr: Addr) -> ReleaseStep {
        self.engine.with(|ledger, now| ledger.release_poll(now, addr))
    }

    fn pool_status(&self, name: &str) -> PoolStatus {
        self.engine.read(|ledger| ledger.pool_status(name))
    }

    fn pool_written(&self, pool: &Pool) {
        let view = convert::pool_view(pool);
        if self.pool_namespaces.is_empty() || self.pool_namespaces.iter().any(|counted| **counted == *view.namespace) {
            self.engine.with(|ledger, now| ledger.named_pool_observed(now, view));
        }
    }

    fn pool_deleted(&self, uid: &Uid) {
        self.engine.with(|ledger, now| ledger.named_pool_gone(now, uid));
    }

    fn settled(&self) -> watch::Receiver<u64> {
        self.engine.settled()
    }

    fn prove<'a>(&'a self, pod: &'a PodRef) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let read = self.reader.pod(pod).await;
            read.map(drop).map_err(|error| format!("pod {}/{} cannot be read: {error}", pod.namespace, pod.name))
        })
    }

    fn snapshot(&self) -> Snapshot {
        self.engine.read(|ledger| Snapshot { stats: ledger.stats(), topology: ledger.topology().cloned() })
    }
}
