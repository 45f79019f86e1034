//! The ledger: who has which address, and what follows from it.
//!
//! A plain struct fed by events and requests; it has no clock, no async and no client. Each call is a decision on data in
//! memory. What has to happen outside is left in the outbox ([`Ledger::drain`]): writes for the one writer, whose outcomes
//! come back through [`Ledger::outcome`], and notices for people.
//!
//! An address is described twice: by its *claim*, what it shall be, and by its *object*, what the API holds. A decision
//! changes the claim; the planner ([`operate`](self)) derives from the difference the one operation that is due, and never
//! starts a second before the first has a definite outcome (rule 2). An address is free only when it has neither.
//!
//! | file | concern |
//! | --- | --- |
//! | `ids`, `record`, `view`, `verdict` | the types that cross the border |
//! | `space` | free addresses and node classes |
//! | `entry`, `table`, `by_addr` | owned addresses, their indexes and counters |
//! | `uid`, `pod_name`, `sorted` | what keeps an address small |
//! | `cluster`, `workloads`, `pods` | what is known of nodes, pools, workloads and pods |
//! | `support`, `limits`, `stuck` | policy support, limits (rules 12, 17, 18) |
//! | `decide`, `lists`, `promises` | where a pod can be served, and with which addresses |
//! | `filter`, `bind`, `refusal` | the scheduler's calls |
//! | `keep` | what becomes of an address when its pod is gone |
//! | `observe`, `observe_pods`, `settle` | events of the cluster, and what follows from those of pods |
//! | `objects`, `adopt` | FloatingIP objects, and running pods that have none |
//! | `operate` | operations and their outcomes |
//! | `waiting` | refused pods, wakes (rule 16), time |
//! | `sweep` | doubts to be proved (rule 9) |
//! | `users`, `query`, `preallocate` | users' releases and queries, named pools |
//! | `invariants` | everything recomputed from scratch, for tests |

mod adopt;
mod bind;
mod by_addr;
mod cluster;
mod decide;
mod entry;
mod filter;
mod ids;
mod invariants;
mod keep;
mod limits;
mod lists;
mod objects;
mod observe;
mod observe_pods;
mod operate;
mod pod_name;
mod pods;
mod preallocate;
mod promises;
mod query;
mod record;
mod refusal;
mod settle;
mod sorted;
mod space;
mod stuck;
mod support;
mod sweep;
mod table;
mod uid;
mod users;
mod verdict;
mod view;
mod waiting;
mod workloads;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

pub use ids::*;
pub use record::*;
pub use sweep::Sweep;
pub use verdict::*;
pub use view::*;

use crate::addr::Addr;
use crate::topology::Topology;
use adopt::Annotated;
use cluster::{Kinds, NamedPools, Nodes, ReplicaSets};
use entry::{Claim, OUTSIDE, Slot, Sym, WorkloadIx};
use pod_name::PodName;
use pods::{Hold, Pods};
use space::Space;
use stuck::Leaving;
use table::{Names, Table};
use waiting::Timer;
use workloads::Workloads;

/// Delays and switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Addresses freed within this many seconds are taken last.
    pub reuse_delay_secs: i64,
    /// A hold ends after this many seconds.
    pub hold_secs: i64,
    /// A quarantine ends after this many seconds.
    pub quarantine_secs: i64,
    /// A woken pod that does not come within this many seconds forfeits its turn.
    pub wake_patience_secs: i64,
    /// There is a cloud provider: assign before use, unassign before free.
    pub cloud: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { reuse_delay_secs: 60, hold_secs: 600, quarantine_secs: 600, wake_patience_secs: 15, cloud: false }
    }
}

/// See the [module documentation](self).
pub struct Ledger {
    settings: Settings,
    active: bool,
    synced: bool,
    /// How many configurations came into force; 0 = none yet.
    generation: u64,
    space: Space,
    table: Table,
    names: Names,
    workloads: Workloads,
    replica_sets: ReplicaSets,
    nodes: Nodes,
    pools: NamedPools,
    kinds: Kinds,
    pods: Pods,
    /// Keys of admin objects, as they stand.
    admin_keys: HashMap<Addr, Box<str>>,
    /// Reserved addresses that a hold fixes.
    held: HashMap<Addr, Uid>,
    pool_holds: HashMap<Sym, u32>,
    /// Pods of a ReplicaSet that have an address or a hold.
    replica_set_used: HashMap<Uid, u32>,
    /// Pods counted there.
    counted: HashMap<Uid, Uid>,
    annotated: Annotated,
    leaving: Leaving,
    /// Pods that hold something.
    holds: usize,
    waiting: BTreeSet<Uid>,
    shortfall: HashMap<Str, u32>,
    timers: BTreeSet<(Time, Timer)>,
    /// Addresses became available, or limits rose: look who can be woken.
    supply: bool,
    user_errors: HashMap<Addr, String>,
    ticket: u32,
    out: Outbox,
}

impl Ledger {
    /// An inactive ledger without configuration: it learns, writes nothing, and answers "not now".
    pub fn new(settings: Settings) -> Self {
        Ledger {
            settings,
            active: false,
            synced: false,
            generation: 0,
            space: Space::default(),
            table: Table::default(),
            names: Names::default(),
            workloads: Workloads::default(),
            replica_sets: ReplicaSets::default(),
            nodes: Nodes::default(),
            pools: NamedPools::default(),
            kinds: Kinds::default(),
            pods: Pods::default(),
            admin_keys: HashMap::new(),
            held: HashMap::new(),
            pool_holds: HashMap::new(),
            replica_set_used: HashMap::new(),
            counted: HashMap::new(),
            annotated: Annotated::default(),
            leaving: Leaving::default(),
            holds: 0,
            waiting: BTreeSet::new(),
            shortfall: HashMap::new(),
            timers: BTreeSet::new(),
            supply: false,
            user_errors: HashMap::new(),
            ticket: 0,
            out: Outbox::default(),
        }
    }

    /// Takes what the last calls want done.
    pub fn drain(&mut self) -> Outbox {
        std::mem::take(&mut self.out)
    }

    /// The topology in force, if there is one.
    pub fn topology(&self) -> Option<&Arc<Topology>> {
        (self.generation > 0).then_some(&self.space.topology)
    }

    /// Whether decisions may be made: leader, caches and configuration there. The text says what is missing.
    pub fn readiness(&self) -> Result<(), &'static str> {
        if !self.active {
            Err("not the leader")
        } else if self.generation == 0 {
            Err("no valid configuration was read yet (ConfigMap floatingip-config)")
        } else if !self.synced {
            Err("the caches are not complete yet")
        } else {
            Ok(())
        }
    }

    /// Puts a topology in force. No owner changes (rule 5): what the configuration no longer has stays with its owner.
    pub fn configure(&mut self, now: Time, topology: Topology) {
        let cooling: Vec<(Addr, Time)> = self.space.cooling().collect();
        self.space = Space::new(topology);
        self.generation += 1;
        let entries: Vec<(Slot, Addr)> = self.table.entries().map(|(slot, entry)| (slot, entry.addr)).collect();
        for (slot, addr) in entries {
            self.space.take(addr);
            self.table.set_net(slot, self.net_of(addr), self.space.topology.is_usable(addr));
        }
        for addr in self.annotated.disputed() {
            self.space.take(addr);
        }
        for (addr, since) in cooling {
            if self.space.is_available(addr) {
                self.space.take(addr);
                self.space.give(addr, Some(since));
            }
        }
        for node in self.nodes.by_name.values_mut() {
            node.class = self.space.class_of(&node.view.ips);
        }
        for pod in self.pods.by_uid.values_mut() {
            pod.clipped = OnceLock::new();
        }
        self.forget_offers();
        self.more_supply(now);
        if self.active && self.synced {
            self.adopt_all(now);
            self.fill_pools(now);
        }
    }

    /// Becomes leader or stops being it. Before deciding anything a new leader calls [`Ledger::load`] with a quorum list.
    pub fn set_active(&mut self, now: Time, active: bool) {
        if self.active == active {
            return;
        }
        self.active = active;
        if active {
            if self.synced {
                self.reconcile_all(now);
            }
            return;
        }
        for uid in self.pods.by_uid.keys().cloned().collect::<Vec<_>>() {
            self.end_bind(&uid, Err("no longer the leader".to_owned()));
            self.set_hold(&uid, None);
            self.accepted(&uid);
            if let Some(pod) = self.pods.get_mut(&uid) {
                pod.offered = false;
            }
        }
        self.waiting.clear();
        self.timers.clear();
        self.supply = false;
    }

    /// All caches have seen everything once.
    pub fn loaded(&mut self, now: Time) {
        self.synced = true;
        if self.active {
            self.reconcile_all(now);
        }
    }

    fn net_of(&self, addr: Addr) -> u32 {
        self.space.topology.pool_of(addr).map_or(OUTSIDE, |pool| pool.0)
    }

    /// The slot of `addr`, taken out of the free ones if it had none.
    fn occupy(&mut self, addr: Addr) -> Slot {
        let net = self.net_of(addr);
        self.space.take(addr);
        self.table.occupy(addr, net, self.space.topology.is_usable(addr))
    }

    /// The one way to change a claim: indexes, counters, pool status and the operation that is due follow.
    fn set_claim(&mut self, now: Time, slot: Slot, claim: Option<Claim>) {
        let old = self.table.at(slot).claim.as_ref().map(|c| (c.pod_uid.clone(), c.pool));
        let new = claim.as_ref().map(|c| (c.pod_uid.clone(), c.pool));
        self.table.set(slot, claim);
        for (uid, pool) in [old, new].into_iter().flatten() {
            if let Some(uid) = uid {
                self.recount(&uid);
            }
            if let Some(pool) = pool {
                let name = self.names.get(pool).clone();
                self.pool_changed(&name);
            }
        }
        self.plan(now, slot);
    }

    fn pool_changed(&mut self, name: &Str) {
        let notice = Notice::PoolChanged(name.clone());
        if self.active && self.out.notices.last() != Some(&notice) {
            self.out.notices.push(notice);
        }
    }

    /// Sets or drops a pod's hold, with every counter that knows of it.
    fn set_hold(&mut self, uid: &Uid, hold: Option<Hold>) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let hold = hold.map(Box::new);
        let old = std::mem::replace(&mut pod.hold, hold.clone());
        for (hold, add) in [(old, false), (hold, true)] {
            let Some(hold) = hold else { continue };
            self.holds = if add { self.holds + 1 } else { self.holds - 1 };
            let step = |count: &mut u32| *count = if add { *count + hold.units } else { *count - hold.units };
            if let Some(ix) = hold.workload {
                step(&mut self.workloads.get_mut(ix).holds);
            }
            if let Some(pool) = hold.pool {
                let count = self.pool_holds.entry(pool).or_default();
                step(count);
                if *count == 0 {
                    self.pool_holds.remove(&pool);
                }
            }
            if let Some(addr) = hold.addr {
                if add {
                    self.held.insert(addr, uid.clone());
                } else {
                    self.held.remove(&addr);
                }
            }
            let timer = (hold.expires, Timer::Hold(uid.clone()));
            if add {
                self.timers.insert(timer);
            } else {
                self.timers.remove(&timer);
            }
        }
        self.recount(uid);
    }

    /// The form of a pod's name for claims of a workload.
    fn short_name(&self, workload: Option<WorkloadIx>, pod: &str) -> PodName {
        PodName::new(workload.map(|ix| &*self.workloads.get(ix).id.name), pod)
    }

    /// The pod name of a claim.
    fn pod_name(&self, claim: &Claim) -> Option<String> {
        let workload = claim.workload.map(|ix| &*self.workloads.get(ix).id.name);
        claim.pod_name.as_ref().map(|name| name.text(workload))
    }

    /// Brings the count of its ReplicaSet in line with whether the pod has an address or a hold.
    fn recount(&mut self, uid: &Uid) {
        let now_in = self.pods.get(uid).and_then(|pod| {
            let occupies = pod.hold.is_some() || self.table.slots_of(uid).iter().any(|&s| self.table.at(s).is_of(uid));
            pod.replica_set.clone().filter(|_| occupies)
        });
        let was_in = match &now_in {
            Some(set) => self.counted.insert(uid.clone(), set.clone()),
            None => self.counted.remove(uid),
        };
        if was_in == now_in {
            return;
        }
        if let Some(set) = was_in
            && let Some(count) = self.replica_set_used.get_mut(&set)
        {
            *count -= 1;
            if *count == 0 {
                self.replica_set_used.remove(&set);
            }
        }
        if let Some(set) = now_in {
            *self.replica_set_used.entry(set).or_default() += 1;
        }
    }
}
