//! A small world round the ledger: a fake API server, a scheduler, controllers and kubelets, and time moved by hand.
//!
//! [`World`] performs what the ledger wants done and delivers what happens to it. Scenarios let it do so at once
//! ([`World::settle`]); a test of an interleaving keeps operations and events back and lets them out one by one.
#![allow(dead_code, reason = "each test binary uses a part of it")]

mod api;
mod build;
mod deployments;
mod mirror;
mod scheduler;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use galaxy_core::Addr;
use galaxy_core::ledger::*;
use galaxy_core::topology::{PoolConfig, Topology};

pub(crate) use api::{Api, Event};
pub(crate) use build::*;
pub(crate) use deployments::{Deploy, Strategy};
pub(crate) use mirror::Mirror;
pub(crate) use scheduler::Verdict;

/// The world as a test sees it.
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) settings: Settings,
    pub(crate) now: Time,
    pub(crate) api: Api,
    /// What the ledger was told.
    pub(crate) told: Mirror,
    /// Whether [`World::settle`] does anything: a test of interleavings switches it off.
    pub(crate) settles: bool,
    pub(crate) config: Vec<PoolConfig>,
    /// Operations the ledger wants done; at most one for each address (rule 2).
    pub(crate) ops: VecDeque<Write>,
    /// Quorum reads the ledger wants at once.
    pub(crate) proofs: VecDeque<Doubt>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) settled: Vec<Addr>,
    /// What is answered when a watch on a custom kind is asked for.
    pub(crate) kinds: BTreeMap<(String, String), KindStatus>,
    /// Pods the scheduler does not try before something wakes them.
    pub(crate) asleep: BTreeSet<Uid>,
    /// Nodes a pod may run on; all if it is not listed.
    pub(crate) selectors: BTreeMap<Uid, Vec<Str>>,
    pub(crate) deployments: Vec<Deploy>,
    /// Wakes so far, by pod.
    pub(crate) wakes: BTreeMap<Uid, usize>,
    pub(crate) writes: usize,
}

impl World {
    /// A world with the usual configuration and nodes, and an active ledger.
    pub(crate) fn new() -> Self {
        World::with(Settings::default(), racks())
    }

    pub(crate) fn with(settings: Settings, config: Vec<PoolConfig>) -> Self {
        let mut world = World {
            ledger: Ledger::new(settings),
            settings,
            now: Time(1_700_000_000_000_000),
            api: Api::default(),
            told: Mirror::default(),
            settles: true,
            config,
            ops: VecDeque::new(),
            proofs: VecDeque::new(),
            notices: Vec::new(),
            settled: Vec::new(),
            kinds: BTreeMap::new(),
            asleep: BTreeSet::new(),
            selectors: BTreeMap::new(),
            deployments: Vec::new(),
            wakes: BTreeMap::new(),
            writes: 0,
        };
        for (name, ip) in [("a1", "10.1.0.1"), ("a2", "10.1.0.2"), ("b1", "10.1.1.1"), ("c1", "10.1.2.1")] {
            world.api.put_node(node(name, ip));
        }
        world.start();
        world
    }

    pub(crate) fn topology(&self) -> Topology {
        Topology::build(self.config.clone()).expect("a valid configuration").0
    }

    /// Starts a ledger that knows nothing but what the API tells it.
    pub(crate) fn start(&mut self) {
        self.ledger = Ledger::new(self.settings);
        self.told = Mirror::default();
        self.ops.clear();
        self.proofs.clear();
        self.api.events.clear();
        let topology = self.topology();
        self.call(|ledger, now| ledger.configure(now, topology));
        self.list_everything();
        self.load();
        self.call(|ledger, now| ledger.loaded(now));
        self.call(|ledger, now| ledger.set_active(now, true));
    }

    /// The caches list everything but the addresses.
    pub(crate) fn list_everything(&mut self) {
        for event in self.api.everything() {
            self.deliver(event);
        }
    }

    /// The quorum list of all addresses.
    pub(crate) fn load(&mut self) {
        let list: Vec<Stored> = self.api.list();
        self.ops.clear();
        self.call(|ledger, now| ledger.load(now, list));
    }

    /// One call of the ledger: what it leaves to be done is taken over, and its state is checked.
    pub(crate) fn call<R>(&mut self, call: impl FnOnce(&mut Ledger, Time) -> R) -> R {
        self.now = self.now.plus_micros(1);
        let result = call(&mut self.ledger, self.now);
        self.collect();
        self.ledger.check_invariants();
        result
    }

    fn collect(&mut self) {
        let out = self.ledger.drain();
        for write in out.writes {
            let double = self.ops.iter().any(|op| op.addr == write.addr);
            assert!(!double, "a second operation for {} while one is under way (rule 2)", write.addr);
            self.writes += usize::from(!matches!(write.op, Op::Read | Op::Assign(_) | Op::Unassign(_)));
            self.ops.push_back(write);
        }
        self.settled.extend(out.settled);
        for notice in out.notices {
            match &notice {
                Notice::Wake { pod, reason, .. } => {
                    self.api.patch_condition(&pod.uid, false, reason);
                    self.asleep.remove(&pod.uid);
                    *self.wakes.entry(pod.uid.clone()).or_default() += 1;
                }
                Notice::Condition { pod, status, reason, .. } => self.api.patch_condition(&pod.uid, *status, reason),
                Notice::Prove(doubt) => self.proofs.push_back(doubt.clone()),
                _ => {}
            }
            if let Notice::WatchKind { group, kind } = &notice {
                let key = (group.to_string(), kind.to_string());
                if let Some(status) = self.kinds.get(&key).cloned() {
                    self.api.events.push_back(Event::Kind(key.0, key.1, status));
                }
            }
            self.notices.push(notice);
        }
    }

    /// Performs operations, delivers events and answers quorum reads until nothing is left.
    pub(crate) fn settle(&mut self) {
        if !self.settles {
            return;
        }
        for _ in 0..10_000 {
            if let Some(write) = self.ops.pop_front() {
                self.perform(write);
            } else if let Some(event) = self.api.events.pop_front() {
                self.deliver(event);
            } else if let Some(doubt) = self.proofs.pop_front() {
                self.prove(&doubt);
            } else {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Performs one operation and reports its outcome.
    pub(crate) fn perform(&mut self, write: Write) {
        let outcome = self.api.apply(write.addr, &write.op);
        self.report(&write, outcome);
    }

    pub(crate) fn report(&mut self, write: &Write, outcome: Outcome) {
        self.call(|ledger, now| ledger.outcome(now, write.addr, write.ticket, outcome));
    }

    /// The operation under way for an address, taken out so that the test decides how it ends.
    pub(crate) fn take_op(&mut self, addr: Addr) -> Write {
        let at = self.ops.iter().position(|op| op.addr == addr);
        let at = at.unwrap_or_else(|| panic!("no operation for {addr} in {:?}", self.ops));
        self.ops.remove(at).expect("found above")
    }

    pub(crate) fn deliver(&mut self, event: Event) {
        self.told.hear(&event);
        self.call(|ledger, now| match event {
            Event::Pod(view) => ledger.pod_observed(now, view),
            Event::PodGone(uid) => ledger.pod_gone(now, &uid),
            Event::Address(stored) => ledger.address_observed(now, stored),
            Event::AddressGone(addr, object) => ledger.address_deleted(now, addr, &object),
            Event::Node(view) => ledger.node_observed(now, view),
            Event::NodeGone(name) => ledger.node_gone(now, &name),
            Event::Workload(view) => ledger.workload_observed(now, view),
            Event::WorkloadGone(id, uid) => ledger.workload_gone(now, &id, uid.as_ref()),
            Event::ReplicaSet(view) => ledger.replica_set_observed(now, view),
            Event::ReplicaSetGone(uid) => ledger.replica_set_gone(now, &uid),
            Event::Pool(view) => ledger.named_pool_observed(now, view),
            Event::PoolGone(uid) => ledger.named_pool_gone(now, &uid),
            Event::Kind(group, kind, status) => ledger.kind_status(now, &group, &kind, status),
        });
    }

    /// Answers a doubt by what the API holds.
    pub(crate) fn prove(&mut self, doubt: &Doubt) {
        match doubt {
            Doubt::Pod(pod) => match self.api.pod_named(&pod.namespace, &pod.name) {
                Some(view) => {
                    let same = view.uid == pod.uid;
                    self.deliver(Event::Pod(view));
                    if same {
                        self.call(|ledger, now| ledger.pod_alive(now, &pod.uid));
                    } else if !pod.uid.is_empty() {
                        self.deliver(Event::PodGone(pod.uid.clone()));
                    }
                }
                None if pod.uid.is_empty() => {
                    self.call(|ledger, now| ledger.unnamed_pod_gone(now, &pod.namespace, &pod.name));
                }
                None => self.deliver(Event::PodGone(pod.uid.clone())),
            },
            Doubt::Workload(id) => match self.api.workloads.get(id).cloned() {
                Some(view) => self.deliver(Event::Workload(view)),
                None => self.deliver(Event::WorkloadGone(id.clone(), None)),
            },
        }
    }

    /// Sweeps, with answers from quorum.
    pub(crate) fn sweep(&mut self) {
        for doubt in self.call(|ledger, now| ledger.sweep(now)) {
            self.prove(&doubt);
        }
        self.settle();
    }

    /// Lets time pass: the ledger is ticked whenever it wants to, and everything settles each time.
    pub(crate) fn pass(&mut self, seconds: i64) {
        let end = self.now.plus_secs(seconds);
        for _ in 0..10_000 {
            match self.ledger.next_deadline().filter(|&at| at <= end) {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.call(|ledger, now| ledger.tick(now));
                    self.settle();
                }
                None => {
                    self.now = self.now.max(end);
                    return;
                }
            }
        }
        panic!("the ledger wants to be ticked without end");
    }

    /// A new configuration comes into force.
    pub(crate) fn configure(&mut self, config: Vec<PoolConfig>) {
        self.config = config;
        let topology = self.topology();
        self.call(|ledger, now| ledger.configure(now, topology));
        self.settle();
    }

    /// A user's release.
    pub(crate) fn release(&mut self, addr: Addr, key: &str) -> ReleaseStep {
        let request = ReleaseRequest { addr, key: key.to_owned() };
        for _ in 0..4 {
            match self.call(|ledger, now| ledger.release(now, &request)) {
                ReleaseStep::Prove(pod) => self.prove(&Doubt::Pod(pod)),
                ReleaseStep::Wait => {
                    self.settle();
                    return self.call(|ledger, now| ledger.release_poll(now, addr));
                }
                done => return done,
            }
            self.settle();
        }
        panic!("the release of {addr} does not end")
    }

    /// What the API holds about an address.
    pub(crate) fn record(&self, addr: &str) -> Option<Record> {
        self.api.read(ip(addr)).map(|stored| stored.record)
    }

    pub(crate) fn state(&self, addr: &str) -> Option<State> {
        self.record(addr).map(|record| record.state)
    }

    /// Addresses that have an object, with their keys.
    pub(crate) fn objects(&self) -> BTreeMap<Addr, String> {
        self.api.list().into_iter().map(|s| (s.record.addr, s.record.fip_key().to_string())).collect()
    }

    /// Addresses of a workload, whatever their state.
    pub(crate) fn addresses_of(&self, id: &WorkloadId) -> BTreeSet<Addr> {
        let all = self.api.list().into_iter().map(|stored| stored.record);
        all.filter(|record| record.workload.as_ref() == Some(id)).map(|record| record.addr).collect()
    }

    /// Notices since the last call.
    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(crate) fn was_woken(&self, uid: &Uid) -> bool {
        self.wakes.contains_key(uid)
    }
}
