//! Events of the cluster. They may come late, twice or out of order: versions and uids tell.

use super::Ledger;
use super::entry::{Claim, WorkloadIx};
use super::ids::{APPS, Model, Time, Uid, WorkloadId};
use super::pods::{Pod, Stage};
use super::record::State;
use super::verdict::{Doubt, Notice, PodRef};
use super::view::{KindStatus, NodeView, PodView, PoolView, ReplicaSetView, WorkloadView};
use super::waiting::Timer;
use crate::addr::Addr;
use crate::policy::ReleasePolicy;

impl Ledger {
    /// A pod as a watch, a request or a quorum read shows it.
    pub fn pod_observed(&mut self, now: Time, view: PodView) {
        let uid = view.uid.clone();
        if !self.admit(now, &view) {
            return;
        }
        let (old, newly_bound) = match self.pods.get_mut(&uid) {
            Some(pod) => {
                let newly_bound = pod.view.node.is_none() && view.node.is_some();
                // What was known before says nothing about a pod that a list since has lacked.
                pod.missing &= view.version <= pod.view.version;
                let mut view = view;
                if view.node.is_none() && pod.view.node.is_some() {
                    // Our own Binding is ahead of the cache; a pod never loses its node.
                    view.node = pod.view.node.clone();
                    view.annotated = pod.view.annotated.clone();
                }
                (Some(std::mem::replace(&mut pod.view, view)), newly_bound)
            }
            None => {
                let newly_bound = view.node.is_some();
                self.insert_pod(view);
                (None, newly_bound)
            }
        };
        self.resolve(now, &uid);
        let Some(pod) = self.pods.get(&uid) else { return };
        let view = &pod.view;
        if let (Some(ix), Some(_)) = (pod.workload, view.deletion_deadline) {
            self.workloads.get_mut(ix).leaving.insert(uid.clone());
        }
        let refused_anew = pod.hold.as_ref().is_some_and(|hold| {
            // Our own refusals end holds in filter; told late, they say nothing of the hold that came after.
            let anew = view.unschedulable.is_some() && view.unschedulable != hold.unschedulable;
            view.version > hold.version && anew && !view.refused_by_us
        });
        if view.phase.is_finished() {
            if !pod.finished {
                self.finish(now, &uid);
            }
        } else if view.deletion_deadline.is_some() && view.node.is_none() || refused_anew {
            self.drop_hold(now, &uid);
        }
        let Some(pod) = self.pods.get(&uid) else { return };
        if let Some(deadline) = pod.view.deletion_deadline {
            self.timers.insert((deadline.plus_secs(1), Timer::Deadline(uid.clone())));
            self.stop_waiting(&uid);
        }
        if newly_bound {
            self.seen_bound(now, &uid);
        } else if self.pods.get(&uid).is_some_and(|pod| pod.view.refused_by_us)
            && old.as_ref().is_none_or(|old| old.unschedulable.is_none())
        {
            // The leader before us refused it, and its condition comes only now.
            self.refused_before(now, &uid);
        }
        let Some(pod) = self.pods.get(&uid) else { return };
        let view = &pod.view;
        let edited = old
            .as_ref()
            .is_some_and(|old| (old.policy, &old.pool, &old.ranges) != (view.policy, &view.pool, &view.ranges));
        if old
            .as_ref()
            .is_none_or(|old| (&old.annotated, &old.ips, old.phase) != (&view.annotated, &view.ips, view.phase))
        {
            self.adopt(now, &uid);
        }
        if edited {
            self.more_supply(now);
        }
    }

    /// Whether the event is news about a pod that is not known to be gone. A newer pod of the same name proves the older
    /// one gone: the API has one object per name.
    fn admit(&mut self, now: Time, view: &PodView) -> bool {
        if self.pods.is_gone(&view.uid) {
            return false;
        }
        if let Some(known) = self.pods.get(&view.uid) {
            return view.version >= known.view.version;
        }
        if let Some(other) = self.pods.named(&view.namespace, &view.name) {
            if other.view.version >= view.version {
                return false;
            }
            let other = other.view.uid.clone();
            self.pod_gone(now, &other);
        }
        true
    }

    fn insert_pod(&mut self, view: PodView) {
        self.pods.by_name.insert((view.namespace.clone(), view.name.clone()), view.uid.clone());
        let pod = Pod {
            workload: None,
            replica_set: None,
            hold: None,
            bind: None,
            last_bind: None,
            refused: None,
            offered: false,
            missing: false,
            finished: false,
            view,
        };
        self.pods.by_uid.insert(pod.view.uid.clone(), pod);
    }

    /// Meets a pod in a request: news if it is newer than the cache, which may lag.
    pub(super) fn meet(&mut self, now: Time, view: &PodView) {
        let known = self.pods.get(&view.uid);
        if known.is_some_and(|pod| view.version <= pod.view.version) {
            return;
        }
        // What no watch has shown yet may vanish between two watches: the sweep asks unless one shows it until then.
        let missing = known.is_none_or(|pod| pod.missing);
        self.pod_observed(now, view.clone());
        if let Some(pod) = self.pods.get_mut(&view.uid) {
            pod.missing = missing;
        }
    }

    /// Takes a pod as a quorum read shows it. The sweep goes on asking for it until a watch has shown it too.
    pub fn pod_read(&mut self, now: Time, view: &PodView) {
        self.meet(now, view);
    }

    /// Finds the pod's workload by its controllers, as soon as they are known.
    fn resolve(&mut self, now: Time, uid: &Uid) {
        let Some(pod) = self.pods.get(uid) else { return };
        if pod.workload.is_some() {
            return;
        }
        let (namespace, name) = (pod.view.namespace.clone(), pod.view.name.clone());
        let mut set = None;
        let id = match &pod.view.controller {
            None => WorkloadId::bare_pod(&namespace, &name),
            Some(c) if &*c.kind == "ReplicaSet" && &*c.group == APPS => {
                let Some(view) = self.replica_sets.get(&c.uid) else {
                    let set = c.uid.clone();
                    self.pods.unresolved.entry(set).or_default().insert(uid.clone());
                    return;
                };
                set = Some(c.uid.clone());
                match &view.controller {
                    Some(owner) => WorkloadId::new(&owner.group, &owner.kind, &namespace, &owner.name),
                    None => WorkloadId::replica_set(&namespace, &c.name),
                }
            }
            Some(c) => WorkloadId::new(&c.group, &c.kind, &namespace, &c.name),
        };
        let ix = self.workloads.intern(&id);
        let leaving = pod.view.deletion_deadline.is_some();
        let workload = self.workloads.get_mut(ix);
        workload.pods.insert(uid.clone());
        if leaving {
            workload.leaving.insert(uid.clone());
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.workload = Some(ix);
            pod.replica_set = set;
        }
        self.recount(uid);
        let wants_scale = self.pods.get(uid).is_some_and(|pod| pod.view.policy == ReleasePolicy::Immutable);
        if wants_scale && id.model() == Model::Custom {
            self.want_kind(&id);
        }
        self.more_supply(now);
    }

    /// Asks for a watch on a custom kind, once.
    pub(super) fn want_kind(&mut self, id: &WorkloadId) {
        let key = (id.group.clone(), id.kind.clone());
        if self.kinds.contains_key(&key) {
            return;
        }
        self.out.notices.push(Notice::WatchKind { group: key.0.clone(), kind: key.1.clone() });
        self.kinds.insert(key, KindStatus::Starting);
    }

    /// The pod succeeded or failed for good: its addresses go their way while its object stays.
    fn finish(&mut self, now: Time, uid: &Uid) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.finished = true;
        let policy = pod.view.policy;
        self.drop_hold(now, uid);
        self.stop_waiting(uid);
        self.end_bind(uid, Err("the pod has finished".to_owned()));
        self.release_pod(now, uid, Some(policy), true);
        self.undispute(now, uid);
        self.more_supply(now);
    }

    /// The pod is seen with a node: settles the bind under way and what the pod has beyond its need (rules 7 and 8).
    fn seen_bound(&mut self, now: Time, uid: &Uid) {
        let Some(pod) = self.pods.get(uid) else { return };
        let Some(node) = pod.view.node.clone() else { return };
        let bind = pod.bind.clone();
        let annotated: Vec<Addr> = pod.view.annotated.iter().copied().map(Addr::from).collect();
        let foreign = bind
            .as_ref()
            .is_some_and(|bind| bind.node != node || bind.addrs.iter().any(|addr| !annotated.contains(addr)));
        if bind.is_some() {
            let elsewhere = bind.as_ref().is_some_and(|bind| bind.node != node);
            let result = if elsewhere { Err(format!("the pod is bound to node {node}")) } else { Ok(()) };
            self.end_bind(uid, result);
        }
        self.drop_hold(now, uid);
        self.pod_served(uid);
        if !self.active {
            return;
        }
        if foreign {
            let policy = self.pods.get(uid).map(|pod| pod.view.policy);
            for slot in self.table.slots_of(uid) {
                if self.table.at(slot).is_of(uid) && !annotated.contains(&self.table.at(slot).addr) {
                    self.release_slot(now, slot, policy, true);
                }
            }
        }
        self.follow_pod(now, uid);
        self.free_surplus(now, uid);
    }

    /// Records the node of a bound pod on the addresses it uses, should the claim have been made on another.
    pub(super) fn follow_pod(&mut self, now: Time, uid: &Uid) {
        let Some(pod) = self.pods.get(uid).filter(|pod| pod.is_bound()) else { return };
        let Some(node) = pod.view.node.clone() else { return };
        let annotated: Vec<Addr> = pod.view.annotated.iter().copied().map(Addr::from).collect();
        let node = Some(self.names.intern(&node));
        for slot in self.table.slots_of(uid) {
            let entry = self.table.at(slot);
            if !entry.is_of(uid) || !annotated.contains(&entry.addr) {
                continue;
            }
            match entry.claim.clone().filter(|claim| claim.node != node) {
                Some(claim) => self.set_claim(now, slot, Some(Claim { node, ..claim })),
                // The cloud may not know yet, if the Binding was a former leader's.
                None => self.plan(now, slot),
            }
        }
    }

    /// Frees what a bound pod owns beyond its request and its annotation lacks (rule 8).
    pub(super) fn free_surplus(&mut self, now: Time, uid: &Uid) {
        let Some(pod) = self.pods.get(uid) else { return };
        if !pod.is_bound() || pod.bind.is_some() || !self.active {
            return;
        }
        let (units, policy, ix) = (pod.units() as usize, pod.view.policy, pod.workload);
        let named = ix.is_some_and(|ix| self.workloads.get(ix).id.model() != Model::Fungible);
        let annotated: Vec<Addr> = pod.view.annotated.iter().copied().map(Addr::from).collect();
        let mut owned = self.table.slots_of(uid);
        owned.retain(|&slot| self.table.at(slot).is_of(uid));
        let mut count = owned.len();
        if named && count >= units {
            // What is still kept under the pod's name could not be routed: it has been replaced (rule 11).
            let name = self.short_name(ix, &pod.view.name);
            for slot in ix.map(|ix| self.table.slots_named(ix, &name)).unwrap_or_default() {
                if self.table.at(slot).state() == Some(State::Reserved) {
                    self.free(now, slot);
                }
            }
        }
        for slot in owned {
            if count <= units {
                break;
            }
            if annotated.contains(&self.table.at(slot).addr) {
                continue;
            }
            count -= 1;
            if named { self.free(now, slot) } else { self.release_slot(now, slot, Some(policy), true) }
        }
    }

    /// The pod object is gone for certain: a watch said DELETED, or quorum does not have this uid.
    pub fn pod_gone(&mut self, now: Time, uid: &Uid) {
        self.pods.bury(now, uid);
        let Some(pod) = self.pods.get(uid) else {
            self.release_pod(now, uid, None, false);
            return;
        };
        let (policy, finished) = (pod.view.policy, pod.finished);
        self.drop_hold(now, uid);
        self.stop_waiting(uid);
        self.end_bind(uid, Err("the pod is gone".to_owned()));
        self.undispute(now, uid);
        let Some(pod) = self.pods.by_uid.remove(uid) else { return };
        let name = (pod.view.namespace.clone(), pod.view.name.clone());
        if self.pods.by_name.get(&name) == Some(uid) {
            self.pods.by_name.remove(&name);
        }
        if let Some(ix) = pod.workload {
            let workload = self.workloads.get_mut(ix);
            workload.pods.remove(uid);
            workload.leaving.remove(uid);
        }
        if let Some(controller) = pod.view.controller.as_ref().filter(|_| pod.workload.is_none())
            && let Some(pods) = self.pods.unresolved.get_mut(&controller.uid)
        {
            pods.remove(uid);
            if pods.is_empty() {
                self.pods.unresolved.remove(&controller.uid);
            }
        }
        self.recount(uid);
        self.release_pod(now, uid, Some(policy), finished);
        self.more_supply(now);
    }

    /// A cache re-list lacks the pod: not proved, so the sweep will ask (rule 9).
    pub fn pod_missing(&mut self, _now: Time, uid: &Uid) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.missing = true;
        }
    }

    /// A quorum read says the pod is there after all.
    pub fn pod_alive(&mut self, _now: Time, uid: &Uid) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.missing = false;
        }
    }

    /// Whether a pod of this uid is known.
    pub fn knows_pod(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_some()
    }

    /// A node appeared or changed.
    pub fn node_observed(&mut self, now: Time, view: NodeView) {
        let name = view.name.clone();
        let known = self.nodes.get(&name);
        if known.is_some_and(|node| node.view == view) {
            return;
        }
        let moved = known.is_none_or(|node| node.view.ips != view.ips);
        let class = self.space.class_of(&view.ips);
        self.nodes.by_name.insert(name.clone(), super::cluster::Node { view, class });
        if moved {
            self.forget_offers();
            self.more_supply(now);
        }
        self.node_changed(now, &name);
    }

    /// A node is gone.
    pub fn node_gone(&mut self, now: Time, name: &str) {
        if self.nodes.by_name.remove(name).is_some() {
            self.node_changed(now, name);
        }
    }

    fn node_changed(&mut self, now: Time, name: &str) {
        if self.active {
            self.lift_quarantines(now, name);
        }
        // Pods may be stuck now, or no more (rules 17 and 18).
        self.more_supply(now);
    }

    /// A workload appeared or changed.
    pub fn workload_observed(&mut self, now: Time, view: WorkloadView) {
        let ix = self.workloads.intern(&view.id);
        let workload = self.workloads.get_mut(ix);
        let late = workload.seen.is_some_and(|seen| seen >= view.version);
        if late || workload.buried.as_ref() == Some(&view.uid) {
            return;
        }
        workload.seen = Some(view.version);
        let view = WorkloadView { id: workload.id.clone(), ..view };
        let before = workload.view.replace(Box::new(view));
        workload.gone = false;
        let after = workload.view.as_ref();
        let scaled_down = before.as_ref().is_some_and(|b| b.replicas > after.and_then(|a| a.replicas));
        let same = before
            .as_ref()
            .zip(after)
            .is_some_and(|(b, a)| WorkloadView { version: a.version, ..(**b).clone() } == **a);
        if same {
            return;
        }
        self.reconcile_workload(now, ix, scaled_down);
        self.more_supply(now);
    }

    /// A workload is gone for certain; `uid` names the incarnation, where known.
    pub fn workload_gone(&mut self, now: Time, id: &WorkloadId, uid: Option<&Uid>) {
        let Some(ix) = self.workloads.find(id) else { return };
        let workload = self.workloads.get_mut(ix);
        if let (Some(view), Some(uid)) = (&workload.view, uid)
            && &view.uid != uid
        {
            return;
        }
        let known = workload.view.take().map(|view| view.uid);
        workload.buried = uid.cloned().or(known).or(workload.buried.take());
        workload.gone = true;
        self.reconcile_workload(now, ix, true);
        self.more_supply(now);
    }

    /// A ReplicaSet appeared or changed.
    pub fn replica_set_observed(&mut self, now: Time, view: ReplicaSetView) {
        if self.replica_sets.get(&view.uid).is_some_and(|known| known.version >= view.version) {
            return;
        }
        let new = self.replica_sets.get(&view.uid).is_none();
        let uid = view.uid.clone();
        self.replica_sets.put(view);
        if new {
            let waiting_for_it =
                |pod: &&Pod| pod.workload.is_none() && pod.view.controller.as_ref().is_some_and(|c| c.uid == uid);
            let pods: Vec<Uid> =
                self.pods.by_uid.values().filter(waiting_for_it).map(|pod| pod.view.uid.clone()).collect();
            for pod in pods {
                self.resolve(now, &pod);
            }
        }
        self.more_supply(now);
    }

    /// A ReplicaSet is gone.
    pub fn replica_set_gone(&mut self, now: Time, uid: &Uid) {
        if self.replica_sets.remove(uid).is_some() {
            self.more_supply(now);
        }
    }

    /// A Pool object appeared or changed.
    pub fn named_pool_observed(&mut self, now: Time, view: PoolView) {
        let name = view.name.clone();
        self.names.intern(&name);
        if self.pools.put(view) {
            self.named_pool_changed(now, &name);
        }
    }

    /// A Pool object is gone. Its addresses stay reserved, as documented.
    pub fn named_pool_gone(&mut self, now: Time, uid: &Uid) {
        if let Some(name) = self.pools.remove(uid) {
            self.named_pool_changed(now, &name);
        }
    }

    fn named_pool_changed(&mut self, now: Time, name: &super::ids::Str) {
        self.pool_changed(name);
        if self.active && self.synced {
            self.fill_pool(now, name);
        }
        self.more_supply(now);
    }

    /// How far the objects of a custom kind are known.
    pub fn kind_status(&mut self, now: Time, group: &str, kind: &str, status: KindStatus) {
        let key = (group.into(), kind.into());
        if self.kinds.get(&key) == Some(&status) {
            return;
        }
        let synced = status == KindStatus::Synced;
        self.kinds.insert(key, status);
        if synced {
            let of_kind = |id: &WorkloadId| &*id.group == group && &*id.kind == kind;
            let all: Vec<WorkloadIx> =
                self.workloads.iter().filter(|(_, workload)| of_kind(&workload.id)).map(|(ix, _)| ix).collect();
            for ix in all {
                self.reconcile_workload(now, ix, false);
            }
        }
        self.more_supply(now);
    }

    pub(super) fn drop_hold(&mut self, now: Time, uid: &Uid) {
        if self.pods.get(uid).is_some_and(|pod| pod.hold.is_some()) {
            self.set_hold(uid, None);
            self.more_supply(now);
        }
    }

    /// Asks for a quorum read at once instead of at the next sweep.
    pub(super) fn prove(&mut self, doubt: Doubt) {
        let notice = Notice::Prove(doubt);
        if !self.out.notices.contains(&notice) {
            self.out.notices.push(notice);
        }
    }

    pub(super) fn pod_ref(&self, uid: &Uid) -> Option<PodRef> {
        self.pods.get(uid).map(Pod::reference)
    }

    /// Ends a bind for everybody who asked for it.
    pub(super) fn end_bind(&mut self, uid: &Uid, result: Result<(), String>) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if let Some(bind) = pod.bind.take() {
            pod.last_bind = Some((bind.node, result));
            self.out.progress.push(uid.clone());
        }
    }

    /// The stage of the bind under way.
    pub(super) fn stage(&self, uid: &Uid) -> Option<Stage> {
        self.pods.get(uid)?.bind.as_ref().map(|bind| bind.stage)
    }
}
