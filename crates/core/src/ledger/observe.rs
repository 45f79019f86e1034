//! Events of nodes, workloads and pools. They may come late, twice or out of order: versions and uids tell.

use super::Ledger;
use super::entry::WorkloadIx;
use super::ids::{Str, Time, Uid, WorkloadId};
use super::view::{KindStatus, NodeView, PoolView, ReplicaSetView, WorkloadView};

impl Ledger {
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
        self.note_leaving_from(name);
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
            for pod in self.pods.unresolved.remove(&uid).unwrap_or_default() {
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

    fn named_pool_changed(&mut self, now: Time, name: &Str) {
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
}
