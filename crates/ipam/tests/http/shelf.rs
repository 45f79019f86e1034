//! A service whose answers a test sets by hand.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard},
};

use futures::future::{BoxFuture, ready};
use galaxy_api::Pool;
use galaxy_core::{
    Addr, FipKey, ReleasePolicy,
    ledger::{
        AddressInfo, Model, OwnerQuery, Phase, PodRef, PoolStatus, PoolView, ReleaseRequest, ReleaseStep, State, Time,
        Uid, WorkloadId,
    },
};
use galaxy_ipam::{http::Backend, metrics::Snapshot};
use kube::ResourceExt;
use tokio::sync::watch;

pub(crate) fn addr(text: &str) -> Addr {
    text.parse().unwrap()
}

/// What the test set and what was asked.
pub(crate) struct Things {
    pub(crate) ready: Result<(), String>,
    pub(crate) synced: Result<(), String>,
    pub(crate) addresses: BTreeMap<Addr, AddressInfo>,
    /// Steps that releases of an address take; Done when there are no more.
    pub(crate) steps: HashMap<Addr, VecDeque<ReleaseStep>>,
    pub(crate) asked: Vec<ReleaseRequest>,
    pub(crate) proved: Vec<PodRef>,
    pub(crate) proof: Result<(), String>,
    pub(crate) pools: HashMap<String, PoolStatus>,
    /// Whether a Pool that is written counts, and is still being filled then.
    pub(crate) counts: bool,
    pub(crate) settling: bool,
    pub(crate) deleted: Vec<Uid>,
}

pub(crate) struct Shelf {
    things: Mutex<Things>,
    settled: watch::Sender<u64>,
}

impl Default for Shelf {
    fn default() -> Self {
        let things = Things {
            ready: Ok(()),
            synced: Ok(()),
            addresses: BTreeMap::new(),
            steps: HashMap::new(),
            asked: Vec::new(),
            proved: Vec::new(),
            proof: Ok(()),
            pools: HashMap::new(),
            counts: true,
            settling: false,
            deleted: Vec::new(),
        };
        Shelf { things: Mutex::new(things), settled: watch::Sender::new(0) }
    }
}

impl Shelf {
    pub(crate) fn things(&self) -> MutexGuard<'_, Things> {
        self.things.lock().unwrap()
    }

    /// Configures an address that nobody has.
    pub(crate) fn free(&self, ip: &str) {
        let addr = addr(ip);
        let info = AddressInfo {
            addr,
            state: None,
            orphaned: false,
            disputed: false,
            workload: None,
            pod_name: None,
            pod_uid: None,
            pool: None,
            node: None,
            policy: ReleasePolicy::Default,
            spare: false,
            released_at: None,
            updated_at: None,
            key: None,
            phase: None,
        };
        self.things().addresses.insert(addr, info);
    }

    /// Gives an address to what a key says, with this policy; a pod's is bound and running.
    pub(crate) fn give(&self, ip: &str, key: &str, policy: ReleasePolicy) {
        let parts = FipKey::parse(key);
        let workload = match &*parts.prefix {
            "" => None,
            "dp_" => Some(WorkloadId::deployment(&parts.namespace, &parts.app)),
            "sts_" => Some(WorkloadId::stateful_set(&parts.namespace, &parts.app)),
            "replicasets_" => Some(WorkloadId::replica_set(&parts.namespace, &parts.app)),
            "NULL_" => Some(WorkloadId::bare_pod(&parts.namespace, &parts.pod)),
            other => Some(WorkloadId::new("example.org", other.trim_end_matches('_'), &parts.namespace, &parts.app)),
        };
        assert!(workload.as_ref().is_none_or(|id| parts.prefix != "NULL_" || id.model() == Model::Bare));
        let pod = Some(parts.pod.as_str()).filter(|pod| !pod.is_empty());
        self.free(ip);
        self.change(ip, |info| {
            info.state = Some(if pod.is_some() { State::Bound } else { State::Reserved });
            info.workload = workload;
            info.pod_name = pod.map(Into::into);
            info.pod_uid = pod.map(|pod| Uid::from(format!("uid-of-{pod}")));
            info.pool = parts.pool.as_deref().map(Into::into);
            info.policy = policy;
            info.updated_at = Some(Time(1_709_625_612_500_000));
            info.phase = pod.map(|_| Phase::Running);
        });
    }

    /// Changes an address.
    pub(crate) fn change(&self, ip: &str, change: impl FnOnce(&mut AddressInfo)) {
        change(self.things().addresses.get_mut(&addr(ip)).unwrap());
    }

    /// Says that something has settled.
    pub(crate) fn settle(&self) {
        self.settled.send_modify(|count| *count += 1);
    }

    /// Waits until somebody listens to what settles.
    pub(crate) async fn listened(&self) {
        while self.settled.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl Backend for Shelf {
    fn ready(&self) -> Result<(), String> {
        self.things().ready.clone()
    }

    fn synced(&self) -> Result<(), String> {
        self.things().synced.clone()
    }

    fn addresses_from(&self, first: Addr, take: usize) -> Vec<AddressInfo> {
        let things = self.things();
        let owned = things.addresses.range(first..).map(|(_, info)| info).filter(|info| info.state.is_some());
        owned.take(take).cloned().collect()
    }

    /// A shelf has no indexes.
    fn addresses_of(&self, _: &OwnerQuery<'_>) -> Option<Vec<Addr>> {
        None
    }

    fn describe(&self, addrs: &[Addr]) -> Vec<AddressInfo> {
        addrs.iter().filter_map(|addr| self.things().addresses.get(addr).cloned()).collect()
    }

    fn page(&self, skip: u128, take: usize) -> (u128, Vec<AddressInfo>) {
        let things = self.things();
        let page = things.addresses.values().skip(usize::try_from(skip).unwrap_or(usize::MAX)).take(take);
        (things.addresses.len() as u128, page.cloned().collect())
    }

    fn release(&self, request: &ReleaseRequest) -> ReleaseStep {
        self.things().asked.push(request.clone());
        self.release_poll(request.addr)
    }

    fn release_poll(&self, addr: Addr) -> ReleaseStep {
        let mut things = self.things();
        let next = things.steps.get_mut(&addr).and_then(VecDeque::pop_front);
        next.unwrap_or(ReleaseStep::Done)
    }

    fn pool_status(&self, name: &str) -> PoolStatus {
        self.things().pools.get(name).cloned().unwrap_or_default()
    }

    fn pool_written(&self, pool: &Pool) {
        let mut things = self.things();
        let (counts, settling) = (things.counts, things.settling);
        let status = things.pools.entry(pool.name_any()).or_default();
        if counts {
            status.object = Some(PoolView {
                uid: pool.uid().unwrap_or_default().into(),
                namespace: pool.namespace().unwrap_or_default().into(),
                name: pool.name_any().into(),
                version: 1,
                created: Time(0),
                size: pool.spec.limit().ok(),
                pre_allocate: pool.spec.pre_allocate_ip,
            });
            status.settling = settling;
        }
    }

    fn pool_deleted(&self, uid: &Uid) {
        self.things().deleted.push(uid.clone());
    }

    fn settled(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    fn prove<'a>(&'a self, pod: &'a PodRef) -> BoxFuture<'a, Result<(), String>> {
        let mut things = self.things();
        things.proved.push(pod.clone());
        Box::pin(ready(things.proof.clone()))
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }
}
