//! What becomes of an address when its pod is gone, and of reservations when their workload changes.

use super::Ledger;
use super::entry::{Claim, Keeper, Slot, WorkloadIx};
use super::ids::{Model, Time, Uid};
use super::record::State;
use super::support::{is_indexed, ordinal};
use super::waiting::Timer;
use crate::policy::ReleasePolicy;

/// What a released address becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// Free.
    Free,
    /// Reserved for the pod name.
    Pod,
    /// Reserved for any pod of the workload.
    Workload,
    /// Reserved for any pod of the pool.
    Pool,
}

impl Ledger {
    /// Lets go of everything a pod has. `finished`: its containers are known to have stopped.
    pub(super) fn release_pod(&mut self, now: Time, uid: &Uid, policy: Option<ReleasePolicy>, finished: bool) {
        for slot in self.table.slots_of(uid) {
            if self.table.at(slot).is_of(uid) {
                self.release_slot(now, slot, policy, finished);
            }
        }
    }

    /// Lets go of one address of a pod that is gone, by `policy` (the pod's own where known, else the stored one).
    pub(super) fn release_slot(&mut self, now: Time, slot: Slot, policy: Option<ReleasePolicy>, finished: bool) {
        if !self.active {
            return;
        }
        let Some(claim) = self.table.at(slot).claim.clone() else { return };
        if self.table.at(slot).labelled {
            // No pod has it any more: it is the admin's, and its object stays as it is.
            self.set_claim(now, slot, Some(Claim { state: State::Admin, any_pod: false, ..claim }));
            return;
        }
        let policy = policy.unwrap_or(claim.policy);
        let risky = !finished
            && claim.state == State::Bound
            && claim.node.is_some_and(|node| self.nodes.may_still_run(self.names.get(node)));
        if risky {
            self.quarantine(now, slot, claim, policy);
        } else {
            self.settle(now, slot, claim, policy);
        }
    }

    /// Its pod vanished while the node was not ready: kept from all but its own workload (rule 9).
    fn quarantine(&mut self, now: Time, slot: Slot, claim: Claim, policy: ReleasePolicy) {
        let fungible = claim.workload.is_some_and(|ix| self.workloads.get(ix).id.model() == Model::Fungible);
        let any_pod = fungible && policy != ReleasePolicy::Default;
        let addr = self.table.at(slot).addr;
        self.timers.insert((now.plus_secs(self.settings.quarantine_secs), Timer::Quarantine(addr)));
        let quarantined =
            Claim { state: State::Quarantined, policy, any_pod, released: true, updated_at: now, ..claim };
        self.set_claim(now, slot, Some(quarantined));
        if any_pod {
            self.more_supply(now);
        }
    }

    /// The rule of contract §4.3, with the mends of design.md.
    fn settle(&mut self, now: Time, slot: Slot, claim: Claim, policy: ReleasePolicy) {
        let keep = self.keep(&claim, policy);
        let workload = claim.workload;
        let reserved = Claim {
            state: State::Reserved,
            policy,
            released: true,
            any_pod: matches!(keep, Keep::Workload | Keep::Pool),
            workload: if keep == Keep::Pool { None } else { claim.workload },
            pool: if keep == Keep::Workload { None } else { claim.pool },
            spare: claim.spare && keep == Keep::Workload,
            node: None,
            pod_name: if keep == Keep::Pod { claim.pod_name } else { None },
            pod_uid: None,
            updated_at: now,
        };
        self.set_claim(now, slot, (keep != Keep::Free).then_some(reserved));
        if keep != Keep::Free {
            self.more_supply(now);
        }
        if let Some(ix) = workload {
            self.trim(now, ix, false);
        }
    }

    fn keep(&self, claim: &Claim, policy: ReleasePolicy) -> Keep {
        let Some(ix) = claim.workload else {
            return if policy == ReleasePolicy::Never { Keep::Pool } else { Keep::Free };
        };
        let workload = self.workloads.get(ix);
        let id = &workload.id;
        let name = &*self.pod_name(claim).unwrap_or_default();
        match (id.model(), policy) {
            (_, ReleasePolicy::Default) => Keep::Free,
            (Model::Fungible, ReleasePolicy::Never) if claim.pool.is_some() => Keep::Pool,
            (Model::Fungible, ReleasePolicy::Never) => Keep::Workload,
            (Model::Fungible, ReleasePolicy::Immutable) => match &workload.view {
                Some(view) => {
                    let counts = self.table.counts_of_workload(ix);
                    let replicas = view.replicas.unwrap_or(0);
                    let fits = replicas > 0 && counts.total() <= replicas.saturating_add(counts.spare);
                    if fits { Keep::Workload } else { Keep::Free }
                }
                None if workload.gone => Keep::Free,
                None => Keep::Workload,
            },
            (Model::StatefulSet, ReleasePolicy::Never) => Keep::Pod,
            (Model::Custom | Model::Bare, ReleasePolicy::Never) if is_indexed(id, name) => Keep::Pod,
            (Model::StatefulSet | Model::Custom, ReleasePolicy::Immutable) if self.ordinal_in_use(ix, name) => {
                Keep::Pod
            }
            _ => Keep::Free,
        }
    }

    /// Whether the workload still has a place for a pod of this name. What is not known for certain counts as yes.
    fn ordinal_in_use(&self, ix: WorkloadIx, pod_name: &str) -> bool {
        let workload = self.workloads.get(ix);
        let Some(ordinal) = ordinal(pod_name) else { return false };
        match &workload.view {
            Some(view) => view.replicas.is_none_or(|replicas| {
                let start = u64::from(view.ordinal_start);
                ordinal >= start && ordinal < start + u64::from(replicas)
            }),
            None => !workload.gone,
        }
    }

    /// Re-judges what is reserved for a workload after it changed or went away.
    pub(super) fn reconcile_workload(&mut self, now: Time, ix: WorkloadIx, scaled_down: bool) {
        if !self.active || !self.synced {
            return;
        }
        let workload = self.workloads.get(ix);
        if workload.view.is_none() && !workload.gone {
            return;
        }
        match workload.id.model() {
            Model::Fungible => self.trim(now, ix, scaled_down),
            Model::StatefulSet | Model::Custom | Model::Bare => {
                for slot in self.table.slots_of_workload(ix).collect::<Vec<_>>() {
                    let Some(claim) = self.table.at(slot).claim.clone() else { continue };
                    if claim.state == State::Reserved && self.keep(&claim, claim.policy) == Keep::Free {
                        self.free(now, slot);
                    }
                }
            }
        }
    }

    /// Gives an address up altogether; one with the admin's label is left to the admin.
    pub(super) fn free(&mut self, now: Time, slot: Slot) {
        let entry = self.table.at(slot);
        let claim = entry.claim.clone().filter(|_| entry.labelled);
        self.set_claim(now, slot, claim.map(|c| Claim { state: State::Admin, any_pod: false, ..c }));
    }

    /// Brings the reserved addresses of a Deployment within replicas plus marked spares (rule 17), oldest first.
    ///
    /// A scale-down also ends the spare: the next rollout grows the set again.
    pub(super) fn trim(&mut self, now: Time, ix: WorkloadIx, scaled_down: bool) {
        let workload = self.workloads.get(ix);
        if workload.id.model() != Model::Fungible || (workload.view.is_none() && !workload.gone) {
            return;
        }
        let counts = self.table.counts_of_workload(ix);
        if counts.trimmable == 0 && counts.spare == 0 {
            return;
        }
        let (replicas, allowed) = match &workload.view {
            Some(view) => {
                let stuck = self.stuck_pods(ix).next().is_some();
                (view.replicas.unwrap_or(0), self.spare_allowance(view, stuck))
            }
            None => (0, 0),
        };
        let target = if replicas == 0 || scaled_down { 0 } else { allowed.min(counts.spare) };
        if counts.spare > target {
            self.unmark(now, ix, counts.spare - target);
        }
        let surplus = counts.total().saturating_sub(replicas.saturating_add(target));
        let surplus = if surplus < counts.kept && self.none_keeps(ix) { counts.kept } else { surplus };
        if surplus.min(counts.trimmable) == 0 {
            return;
        }
        let age = |this: &Self, slot: Slot| this.table.at(slot).claim.as_ref().map(|c| (c.spare, c.updated_at));
        let mut slots: Vec<Slot> =
            self.table.all_kept(Keeper::Workload(ix)).filter(|&slot| self.may_trim(slot)).collect();
        slots.sort_by_key(|&slot| age(self, slot));
        for slot in slots.into_iter().take(surplus as usize) {
            self.free(now, slot);
        }
    }

    /// Takes the mark of the spare off `count` addresses.
    fn unmark(&mut self, now: Time, ix: WorkloadIx, count: u32) {
        let marked = |slot: &Slot| self.table.at(*slot).claim.as_ref().is_some_and(|claim| claim.spare);
        let slots: Vec<Slot> = self.table.slots_of_workload(ix).filter(marked).take(count as usize).collect();
        for slot in slots {
            let claim = self.table.at(slot).claim.clone().map(|claim| Claim { spare: false, ..claim });
            self.set_claim(now, slot, claim);
        }
    }

    /// The workload has pods, and none of them asks for an address to be kept any more.
    fn none_keeps(&self, ix: WorkloadIx) -> bool {
        let mut pods = self.workloads.get(ix).pods.iter().filter_map(|uid| self.pods.get(uid)).peekable();
        pods.peek().is_some() && pods.all(|pod| pod.view.policy == ReleasePolicy::Default)
    }

    /// A reservation that a smaller set gives up: `never` keeps its own, and one that a hold fixes is about to be used.
    fn may_trim(&self, slot: Slot) -> bool {
        let entry = self.table.at(slot);
        let Some(claim) = &entry.claim else { return false };
        claim.state == State::Reserved && claim.policy != ReleasePolicy::Never && !self.held.contains_key(&entry.addr)
    }

    /// Marks a pod's fresh address as the spare if its Deployment has more pods than replicas now (rule 17).
    pub(super) fn mark_spare(&mut self, now: Time, ix: WorkloadIx, slot: Slot) {
        let workload = self.workloads.get(ix);
        let Some(view) = workload.view.as_ref().filter(|_| workload.id.model() == Model::Fungible) else { return };
        let counts = self.table.counts_of_workload(ix);
        let allowed = self.spare_allowance(view, self.stuck_pods(ix).next().is_some());
        if counts.spare >= counts.bound.saturating_sub(view.replicas.unwrap_or(0)).min(allowed) {
            return;
        }
        let claim = self.table.at(slot).claim.clone().filter(|claim| !claim.spare);
        if let Some(claim) = claim {
            self.set_claim(now, slot, Some(Claim { spare: true, ..claim }));
        }
    }

    /// Ends quarantines on a node that is ready again, gone or vouched to be off.
    pub(super) fn lift_quarantines(&mut self, now: Time, node: &str) {
        if self.nodes.may_still_run(node) {
            return;
        }
        let Some(sym) = self.names.find(node) else { return };
        let of_node = |slot: &Slot| self.table.at(*slot).claim.as_ref().is_some_and(|c| c.node == Some(sym));
        for slot in self.table.quarantined().filter(of_node).collect::<Vec<_>>() {
            self.lift(now, slot);
        }
    }

    /// Ends the quarantine of one address: its policy says what becomes of it.
    pub(super) fn lift(&mut self, now: Time, slot: Slot) {
        let Some(claim) = self.table.at(slot).claim.clone() else { return };
        if claim.state == State::Quarantined {
            let policy = claim.policy;
            self.settle(now, slot, claim, policy);
        }
    }
}
