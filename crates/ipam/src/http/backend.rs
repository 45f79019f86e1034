//! What the API needs of the service.

use std::time::Duration;

use futures::future::BoxFuture;
use galaxy_api::Pool;
use galaxy_core::{
    Addr,
    ledger::{AddressInfo, OwnerQuery, PodRef, PoolStatus, ReleaseRequest, ReleaseStep, Uid},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::metrics::Snapshot;

/// The service behind the API: the ledger, and the few reads of the cluster that a user's request needs.
///
/// The methods that are not async hold the ledger's lock shortly and see to what the ledger then wants done.
pub trait Backend: Send + Sync + 'static {
    /// Whether this replica decides now: it leads, knows the cluster and has a configuration.
    ///
    /// # Errors
    /// What is missing.
    fn ready(&self) -> Result<(), String>;

    /// What `/readyz` says: how this replica stands, beginning with `ok`.
    ///
    /// # Errors
    /// Calls that come here are not answered as they should be; why.
    fn standing(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(std::future::ready(self.ready().map(|()| "ok: leader".to_owned())))
    }

    /// Whether this replica knows the cluster, so that lists are complete. A standby does.
    ///
    /// # Errors
    /// What is missing.
    fn synced(&self) -> Result<(), String>;

    /// Up to `take` addresses that have an owner, from `first` on, ascending.
    fn addresses_from(&self, first: Addr, take: usize) -> Vec<AddressInfo>;

    /// Addresses, in no order, among which are all whose owner is as asked; none if every address has to be looked at.
    fn addresses_of(&self, owner: &OwnerQuery<'_>) -> Option<Vec<Addr>>;

    /// What is known of these addresses; one that nobody has is left out.
    fn describe(&self, addrs: &[Addr]) -> Vec<AddressInfo>;

    /// How many addresses are configured or have an object, and `take` of them from position `skip`, ascending.
    fn page(&self, skip: u128, take: usize) -> (u128, Vec<AddressInfo>);

    /// Asks for an address to be released.
    fn release(&self, request: &ReleaseRequest) -> ReleaseStep;

    /// How far the release is.
    fn release_poll(&self, addr: Addr) -> ReleaseStep;

    /// A named pool.
    fn pool_status(&self, name: &str) -> PoolStatus;

    /// A Pool was written; this is what came back. The watch will say the same later.
    fn pool_written(&self, pool: &Pool);

    /// A Pool was deleted.
    fn pool_deleted(&self, uid: &Uid);

    /// A number that grows whenever a release or a pool has settled.
    fn settled(&self) -> watch::Receiver<u64>;

    /// Reads a pod from quorum and tells the ledger what is there.
    ///
    /// # Errors
    /// The pod could not be read; why.
    fn prove<'a>(&'a self, pod: &'a PodRef) -> BoxFuture<'a, Result<(), String>>;

    /// The numbers for a scrape.
    fn snapshot(&self) -> Snapshot;
}

/// How long to wait for a word that something has settled before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Waits until it is worth looking again. False once the deadline has passed or the service stops.
///
/// The receiver must be older than the last look, so that a change in between is not missed.
pub(super) async fn change(settled: &mut watch::Receiver<u64>, deadline: Instant) -> bool {
    if Instant::now() >= deadline {
        return false;
    }
    match timeout_at(deadline.min(Instant::now() + LOOK_AGAIN), settled.changed()).await {
        Ok(changed) => changed.is_ok(),
        Err(_) => true,
    }
}
