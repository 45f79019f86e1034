//! FloatingIP objects: the list a leader starts from, and watch events.

use super::Ledger;
use super::entry::{Flight, Slot, WorkloadIx};
use super::ids::{Str, Time, Uid};
use super::operate::same_content;
use super::record::{ObjectRef, State, Stored};
use super::space::Space;
use super::table::Table;
use crate::addr::Addr;

impl Ledger {
    /// Starts from the objects alone: a quorum list of all FloatingIPs. Whatever was believed of them is forgotten.
    pub fn load(&mut self, now: Time, objects: Vec<Stored>) {
        for uid in self.pods.by_uid.keys().cloned().collect::<Vec<_>>() {
            self.end_bind(&uid, Err("the objects are read again".to_owned()));
            self.set_hold(&uid, None);
        }
        self.out.writes.clear();
        self.table = Table::default();
        self.admin_keys.clear();
        self.counted.clear();
        self.replica_set_used.clear();
        let topology = std::mem::take(&mut self.space).topology;
        self.space = Space::new(std::sync::Arc::unwrap_or_clone(topology));
        for node in self.nodes.by_name.values_mut() {
            node.class = self.space.class_of(&node.view.ips);
        }
        for addr in self.annotated.disputed() {
            self.space.take(addr);
        }
        for stored in objects {
            let slot = self.occupy(stored.record.addr);
            self.accept(now, slot, stored);
        }
        self.forget_offers();
        if self.active && self.synced {
            self.reconcile_all(now);
        }
    }

    /// Brings everything that was loaded in line with the cluster as the caches show it.
    pub(super) fn reconcile_all(&mut self, now: Time) {
        let uids: Vec<Uid> = self.pods.by_uid.keys().cloned().collect();
        for uid in &uids {
            self.recount(uid);
            let Some(pod) = self.pods.get(uid) else { continue };
            if pod.view.phase.is_finished() {
                let policy = pod.view.policy;
                self.release_pod(now, uid, Some(policy), true);
            }
        }
        let workloads: Vec<WorkloadIx> = self.workloads.iter().map(|(ix, _)| ix).collect();
        for ix in workloads {
            self.reconcile_workload(now, ix, false);
        }
        let all: Vec<(Slot, State, Option<Str>)> = self
            .table
            .entries()
            .filter_map(|(slot, entry)| {
                let claim = entry.claim.as_ref()?;
                Some((slot, claim.state, claim.node.map(|node| self.names.get(node).clone())))
            })
            .collect();
        for (slot, state, node) in all {
            let over = node.as_ref().is_none_or(|node| !self.nodes.may_still_run(node));
            if state == State::Quarantined && over {
                self.lift(now, slot);
            }
            let gone = self.table.at(slot).claim.as_ref().and_then(|claim| claim.pod_uid.clone());
            if state == State::Bound && gone.is_some_and(|uid| self.pods.is_gone(&uid)) {
                self.release_slot(now, slot, None, false);
            }
            self.plan(now, slot);
        }
        self.adopt_all(now);
        for uid in &uids {
            self.follow_pod(now, uid);
            self.free_surplus(now, uid);
            self.refused_before(now, uid);
        }
        self.fill_pools(now);
        self.more_supply(now);
    }

    /// A watch shows an object.
    pub fn address_observed(&mut self, now: Time, stored: Stored) {
        let addr = stored.record.addr;
        let Some(slot) = self.table.slot(addr) else {
            let slot = self.occupy(addr);
            let uid = stored.record.pod_uid.clone();
            self.accept(now, slot, stored);
            if let Some(uid) = uid.filter(|_| self.active) {
                self.settle_stranger(now, &uid);
            }
            return;
        };
        let entry = self.table.at(slot);
        if entry.flight != Flight::Idle || entry.unknown {
            let ours =
                entry.claim.as_ref().is_some_and(|claim| same_content(&self.record(addr, claim), &stored.record));
            let entry = self.table.at_mut(slot);
            entry.echoed |= ours;
            entry.recheck |= !ours;
            return;
        }
        let known = entry.object.clone();
        if known.as_ref().is_some_and(|known| known.version >= stored.object.version) {
            return;
        }
        let wanted = entry.claim.clone().map(|claim| self.record(addr, &claim));
        let labelled = stored.record.state == State::Admin;
        let live = entry.claim.as_ref().is_some_and(|claim| {
            claim.state == State::Bound && claim.pod_uid.as_ref().is_some_and(|uid| self.pods.get(uid).is_some())
        });
        let entry = self.table.at_mut(slot);
        match wanted {
            Some(wanted) if same_content(&wanted, &stored.record) => {
                entry.object = Some(stored.object);
                entry.stored = true;
                entry.labelled = labelled;
            }
            Some(_) if live && labelled => {
                // The label is remembered for the day the pod lets go; the owner stays.
                entry.object = Some(stored.object);
                entry.labelled = true;
            }
            Some(_) if live => {
                // An address of a live pod is not given away by an edit (rule 6): write it again.
                entry.object = Some(stored.object);
                entry.labelled = false;
                entry.stored = false;
            }
            _ => self.accept(now, slot, stored),
        }
        self.plan(now, slot);
        self.more_supply(now);
    }

    /// A new object names a pod: a claim of another decider, or a create of ours that came late.
    pub(super) fn settle_stranger(&mut self, now: Time, uid: &Uid) {
        let finished = self.pods.get(uid).filter(|pod| pod.finished).map(|pod| pod.view.policy);
        if finished.is_some() || self.pods.is_gone(uid) {
            self.release_pod(now, uid, finished, finished.is_some());
        } else {
            self.free_surplus(now, uid);
        }
    }

    /// A watch says that an object is gone. That of a live pod is made again (rule 6).
    pub fn address_deleted(&mut self, now: Time, addr: Addr, object: &ObjectRef) {
        let Some(slot) = self.table.slot(addr) else { return };
        let entry = self.table.at_mut(slot);
        if entry.flight != Flight::Idle {
            entry.recheck |= entry.flight != Flight::Delete;
            return;
        }
        if entry.object.as_ref().is_none_or(|known| known.uid != object.uid) {
            return;
        }
        entry.object = None;
        entry.unknown = false;
        // The label went with it.
        entry.labelled = false;
        let keep = self.active
            && entry.claim.as_ref().is_some_and(|claim| {
                claim.state == State::Bound && claim.pod_uid.as_ref().is_none_or(|uid| !self.pods.is_gone(uid))
            });
        if keep {
            self.plan(now, slot);
        } else {
            self.give_up(now, slot);
        }
    }
}
