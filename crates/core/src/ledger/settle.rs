//! What follows from how a pod stands: it was bound, it finished, its bind ended.

use super::Ledger;
use super::entry::Claim;
use super::ids::{Model, Time, Uid};
use super::pods::{Pod, Stage};
use super::record::State;
use super::verdict::{Doubt, Notice, PodRef};
use crate::addr::Addr;

impl Ledger {
    /// The pod succeeded or failed for good: its addresses go their way while its object stays.
    pub(super) fn finish(&mut self, now: Time, uid: &Uid) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod.finished = true;
        let policy = pod.view.policy;
        self.note_leaving(uid);
        self.drop_hold(now, uid);
        self.stop_waiting(uid);
        self.end_bind(uid, Err("the pod has finished".to_owned()));
        self.release_pod(now, uid, Some(policy), true);
        self.undispute(now, uid);
        self.more_supply(now);
    }

    /// The pod is seen with a node: settles the bind under way and what the pod has beyond its need (rules 7 and 8).
    pub(super) fn seen_bound(&mut self, now: Time, uid: &Uid) {
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
