//! What was promised, checked after every step against the fake API and against what the ledger was told.

use std::collections::{BTreeMap, BTreeSet};

use galaxy_core::ledger::*;
use galaxy_core::{Addr, ReleasePolicy};

use crate::naive::{self, Keep};
use crate::sim::Sim;
use crate::world::*;

/// What was allowed at some time of the case, and what may still be in use.
#[derive(Default)]
pub(crate) struct Watermarks {
    limits: BTreeMap<String, usize>,
    /// Addresses whose pod vanished from a dead node: (its workload, the node, until when).
    zombies: BTreeMap<Addr, (Option<WorkloadId>, Str, Time)>,
    sets: BTreeMap<WorkloadId, BTreeSet<Addr>>,
    unfinished: BTreeMap<WorkloadId, bool>,
}

/// What is expected of the addresses of a pod that an event says is gone or has finished.
pub(crate) type Expected = Vec<(AddressInfo, Keep)>;

impl Sim {
    /// Whether the ledger decides now.
    pub(crate) fn decides(&self) -> bool {
        self.leads
    }

    pub(crate) fn infos(&self) -> Vec<AddressInfo> {
        self.w.ledger.addresses().collect()
    }

    /// Pods of the API that are bound and have not finished.
    fn live(&self) -> impl Iterator<Item = &PodView> + '_ {
        self.w.api.pods.values().filter(|pod| pod.node.is_some() && !pod.phase.is_finished())
    }

    /// The live bound pod that uses an address.
    pub(crate) fn live_owner(&self, addr: Addr) -> Option<Uid> {
        self.live().find(|pod| pod.annotated.contains(&addr.ip())).map(|pod| pod.uid.clone())
    }

    pub(crate) fn check(&mut self) {
        self.check_owners();
        if self.decides() {
            self.check_limits();
            self.check_zombies();
            self.check_sets();
        }
    }

    /// No address has two owners, and none of a live pod is anybody else's, or free.
    fn check_owners(&self) {
        let mut owners: BTreeMap<Addr, &PodView> = BTreeMap::new();
        for pod in self.live() {
            for addr in pod.annotated.iter().copied().map(Addr::from) {
                if let Some(other) = owners.insert(addr, pod) {
                    panic!("{addr} is used by the pods {} and {}", other.name, pod.name);
                }
                if !self.decides() {
                    continue;
                }
                let info = self.w.ledger.info(addr);
                if info.is_none() {
                    // Out of the configuration and without an object: nobody is given it.
                    continue;
                }
                // Without an object, and not yet confirmed by its kubelet, it is withheld.
                let owned = info.as_ref().is_some_and(|info| {
                    info.state == Some(State::Admin) || info.disputed || info.pod_uid.as_ref() == Some(&pod.uid)
                });
                assert!(owned, "{addr} of the live pod {} ({}) is said to be {info:?}", pod.name, pod.uid);
            }
        }
    }

    /// An operation reaches the API: it must not take an address from a live pod (rules 1 and 6).
    pub(crate) fn apply(&mut self, addr: Addr, op: &Op) -> Outcome {
        let of = |sim: &Sim| sim.w.api.raw(addr).and_then(|record| record.pod_uid.clone());
        let owner = of(self).filter(|uid| self.live_owner(addr).as_ref() == Some(uid));
        let labelled = self.w.api.is_labelled(addr);
        let outcome = self.w.api.apply(addr, op);
        if owner.is_some() && owner != of(self) {
            panic!("{op:?} took {addr} from its live pod {owner:?}");
        }
        if labelled && !matches!(op, Op::Read | Op::Assign(_) | Op::Unassign(_)) {
            let written = matches!(outcome, Outcome::Stored(_) | Outcome::Gone) && of(self) != owner;
            assert!(!written || self.w.api.raw(addr).is_some(), "{op:?} deleted the admin's {addr}");
        }
        outcome
    }

    /// Pods that use addresses never exceed what was allowed at some time since (rules 12 and 17).
    fn check_limits(&mut self) {
        let infos = self.infos();
        let bound = || infos.iter().filter(|info| info.state == Some(State::Bound));
        let size = naive::pool_size(&self.w.told, "blue");
        let mut used: BTreeMap<&Uid, usize> = BTreeMap::new();
        for info in bound().filter(|info| info.pool.as_deref() == Some("blue")) {
            // What a pod has beyond its request is on its way out (rule 8).
            let uid = info.pod_uid.as_ref().expect("a bound address has a pod");
            let units = self.w.told.pods.get(uid).map_or(1, naive::units);
            let count = used.entry(uid).or_default();
            *count = (*count + 1).min(units);
        }
        let used: usize = used.values().sum();
        self.within("pool blue", used, size.map_or(usize::MAX, |size| size as usize));

        for deploy in self.w.deployments.clone() {
            if deploy.policy == ReleasePolicy::Default || (deploy.pool.is_some() && size.is_some()) {
                continue;
            }
            let pods: BTreeSet<&Uid> = bound()
                .filter(|info| info.workload.as_ref() == Some(&deploy.id))
                .filter_map(|info| info.pod_uid.as_ref())
                .collect();
            let limit = self.w.told.workloads.get(&deploy.id).map_or(0, |view| {
                naive::deployment_limit(view, naive::stuck(&self.w.told, &self.w.api, &deploy.id)) as usize
            });
            let name = format!("{} {}", deploy.id, deploy.uid);
            self.within(&name, pods.len(), limit);
        }
    }

    fn within(&mut self, name: &str, used: usize, limit: usize) {
        // What was in use before the limit was heard of stays, and so does what only now turns out to be in use.
        let high = self.marks.limits.entry(name.to_owned()).or_insert(used);
        *high = (*high).max(if self.binds_now { limit } else { limit.max(used) });
        assert!(used <= *high, "{name}: {used} pods have addresses, {high} was the most ever allowed");
    }

    /// An address that may still be in use on a dead node goes to nobody but its workload (rule 9).
    fn check_zombies(&mut self) {
        let (told, now, meddled) = (&self.w.told, self.w.now, &self.meddled);
        self.marks
            .zombies
            .retain(|addr, (_, node, until)| told.may_still_run(node) && now < *until && !meddled.contains(addr));
        for (addr, (workload, node, _)) in &self.marks.zombies {
            let record = self.w.api.raw(*addr).filter(|record| record.state == State::Bound);
            let other = record.is_some_and(|record| record.workload != *workload);
            assert!(!other, "{addr} may still run on {node} and was given to {record:?}");
        }
    }

    /// A Deployment's set shrinks only when there is more than its replicas (immutable), or never (never).
    fn check_sets(&mut self) {
        let infos = self.infos();
        let people = |addr: &Addr| self.meddled.contains(addr) || self.w.api.is_labelled(*addr);
        let mut sets = BTreeMap::new();
        let mut unfinished = BTreeMap::new();
        for deploy in &self.w.deployments {
            if deploy.policy == ReleasePolicy::Default || deploy.pool.is_some() {
                continue;
            }
            let of_it = infos.iter().filter(|info| info.workload.as_ref() == Some(&deploy.id)).map(|info| info.addr);
            let set: BTreeSet<Addr> = of_it.filter(|addr| !people(addr)).collect();
            let before = self.marks.sets.get(&deploy.id).into_iter().flatten().filter(|addr| !people(addr)).count();
            let replicas = self.w.told.workloads.get(&deploy.id).map_or(0, |view| view.replicas.unwrap_or(0)) as usize;
            let least = if deploy.policy == ReleasePolicy::Never { before } else { before.min(replicas) };
            // A claim that came to nothing, or was made in two places, is given up.
            let open = self.unfinished(&deploy.id);
            assert!(
                set.len() >= least || open || self.marks.unfinished.get(&deploy.id).copied().unwrap_or(true),
                "{} had {before} addresses and has {set:?}, with {replicas} replicas",
                deploy.id
            );
            sets.insert(deploy.id.clone(), set);
            unfinished.insert(deploy.id.clone(), open);
        }
        (self.marks.sets, self.marks.unfinished) = (sets, unfinished);
    }

    /// The ledger starts anew from the objects: what was deleted by hand meanwhile comes as a surprise.
    pub(crate) fn forget_sets(&mut self) {
        self.marks.sets.clear();
    }

    /// Whether a pod of the workload has claims that it may give up: unbound, or more than it needs.
    fn unfinished(&self, id: &WorkloadId) -> bool {
        let known = self.w.api.addresses().into_iter().filter_map(|addr| self.w.api.raw(addr));
        let all: Vec<&Record> = known.filter(|record| record.workload.as_ref() == Some(id)).collect();
        let objects_missing = self.infos().iter().any(|info| self.w.api.raw(info.addr).is_none());
        objects_missing
            || self.w.ledger.stats().pending > 0
            || all.iter().any(|record| {
                let pod = record.pod_uid.as_ref().and_then(|uid| self.w.api.pods.get(uid));
                record.state == State::Bound && pod.is_none_or(|pod| !pod.annotated.contains(&record.addr.ip()))
            })
    }

    /// What the addresses of a pod shall become that this event ends.
    pub(crate) fn expected_of(&self, event: &Event) -> Expected {
        if !self.decides() {
            return Vec::new();
        }
        let (uid, finished) = match event {
            Event::PodGone(uid) => (uid, false),
            Event::Pod(view) if view.phase.is_finished() => (&view.uid, true),
            _ => return Vec::new(),
        };
        let known = match event {
            Event::Pod(view) => Some(view),
            _ => self.w.told.pods.get(uid),
        };
        let Some(pod) = known.filter(|pod| finished || !pod.phase.is_finished()) else { return Vec::new() };
        let newest = self.w.told.pods.get(uid).is_none_or(|old| old.version <= pod.version);
        if !newest {
            return Vec::new();
        }
        let infos = self.infos();
        let of_pod = infos.iter().filter(|info| info.state == Some(State::Bound) && info.pod_uid.as_ref() == Some(uid));
        if of_pod.clone().count() > 1 && naive::lists(pod).is_none() {
            // One is kept and the others are not: which, is the ledger's choice.
            return Vec::new();
        }
        of_pod.map(|info| (info.clone(), naive::keep(info, pod, finished, &infos, &self.w.told))).collect()
    }

    pub(crate) fn check_expected(&mut self, expected: Expected) {
        for (was, keep) in expected {
            let is = self.w.ledger.info(was.addr);
            let state = is.as_ref().and_then(|info| info.state);
            let fits = match &keep {
                Keep::Free => state.is_none(),
                Keep::Name => state == Some(State::Reserved) && is.as_ref().is_some_and(|i| i.pod_name == was.pod_name),
                // Which of a set is given up is another matter, see `check_sets`.
                Keep::Workload => {
                    state.is_none()
                        || (state == Some(State::Reserved) && is.as_ref().is_some_and(|i| i.pod_name.is_none()))
                }
                Keep::Pool => {
                    state == Some(State::Reserved)
                        && is.as_ref().is_some_and(|i| i.workload.is_none() && i.pool == was.pool)
                }
                Keep::Quarantine => state == Some(State::Quarantined),
            };
            let labelled = state == Some(State::Admin);
            assert!(fits || labelled, "{was:?} should become {keep:?} and is {is:?}");
            if keep == Keep::Quarantine {
                let until = self.w.now.plus_secs(self.w.settings.quarantine_secs);
                let node = was.node.clone().expect("a quarantine has a node");
                self.marks.zombies.insert(was.addr, (was.workload.clone(), node, until));
            }
        }
    }

    /// Filters a pod and checks a refusal for want of addresses against a naive search.
    pub(crate) fn filter(&mut self, uid: &Uid, nodes: &[Str]) -> Verdict {
        let verdict = self.w.filter_nodes(uid, nodes);
        if let Verdict::Refused(refusal) = &verdict
            && refusal.reason == Reason::NoAddress
            && self.w.ledger.stats().pending == 0
        {
            let pod = self.w.api.pod(uid);
            for node in nodes {
                let Some(view) = self.w.told.nodes.get(node) else { continue };
                let servable = naive::address_for(pod, view, &self.w.config, &self.infos(), false);
                assert!(!servable, "{} is refused, but {node} could serve it: {refusal:?}", pod.name);
            }
        }
        if let Verdict::Refused(refusal) = &verdict
            && refusal.reason == Reason::LimitReached
        {
            let most = self.w.ledger.stats().holds * 3;
            let free = naive::limit_left(self.w.api.pod(uid), &self.w, &self.infos());
            assert!(free <= most as i64, "{free} units are left, {most} may be held: {refusal:?}");
        }
        verdict
    }

    /// What the ledger has for a pod before a bind: its own claims, and those kept for its name.
    pub(crate) fn claims_for(&self, uid: &Uid) -> Vec<AddressInfo> {
        let pod = self.w.api.pod(uid);
        let mine = |info: &AddressInfo| info.pod_uid.as_ref() == Some(uid) && info.state == Some(State::Bound);
        self.infos().into_iter().filter(|info| mine(info) || naive::kept_by_name(info, pod)).collect()
    }

    /// A bind uses what the pod has, else what is kept for its name, if its node routes it.
    pub(crate) fn check_choice(&self, uid: &Uid, node: &Str, before: &[AddressInfo]) {
        let pod = self.w.api.pod(uid);
        let Some(view) = self.w.told.nodes.get(node) else { return };
        if naive::lists(pod).is_some() {
            return;
        }
        let routed = |info: &&AddressInfo| naive::routes(view, info.addr, &self.w.config);
        let own: BTreeSet<Addr> =
            before.iter().filter(|i| i.pod_uid.as_ref() == Some(uid)).filter(routed).map(|i| i.addr).collect();
        let kept: BTreeSet<Addr> =
            before.iter().filter(|i| i.pod_uid.as_ref() != Some(uid)).filter(routed).map(|i| i.addr).collect();
        let wanted = if own.is_empty() { kept } else { own };
        let got = self.infos().into_iter().filter(|info| {
            info.pod_uid.as_ref() == Some(uid) && info.node.as_ref() == Some(node) && info.state == Some(State::Bound)
        });
        let got: BTreeSet<Addr> = got.map(|info| info.addr).collect();
        assert!(
            wanted.is_empty() || !got.is_disjoint(&wanted),
            "pod {} on {node} has or is promised {wanted:?} and gets {got:?}",
            pod.name
        );
    }

    /// A Binding names distinct addresses that the pod has, one of each list, written and routed to its node.
    pub(crate) fn check_grants(&self, uid: &Uid, node: &Str, grants: &[Grant]) {
        let told = self.w.told.pods.get(uid).expect("the ledger knows whom it binds");
        let addrs: Vec<Addr> = grants.iter().map(|grant| Addr::from(grant.ip)).collect();
        assert_eq!(addrs.iter().collect::<BTreeSet<_>>().len(), addrs.len(), "distinct: {addrs:?}");
        assert_eq!(addrs.len(), naive::units(told), "as many as asked for");
        for (addr, list) in addrs.iter().zip(naive::lists(told).into_iter().flatten()) {
            assert!(list.iter().any(|range| range.contains(*addr)), "{addr} is of its list");
        }
        for &addr in &addrs {
            let record = self.w.api.raw(addr);
            let written = record.is_some_and(|r| r.pod_uid.as_ref() == Some(uid) && r.node.as_ref() == Some(node));
            assert!(written, "the Binding of {addr} to {uid} on {node} goes out before its object: {record:?}");
            if self.w.settings.cloud {
                let nodes = self.w.api.cloud.get(&addr);
                assert!(
                    nodes.is_some_and(|nodes| nodes.contains(node)),
                    "{addr} is bound before it is routed to {node}"
                );
            }
        }
    }
}
