//! The planner: from the difference between claim and object to the one operation that is due, and back from its outcome.

use super::Ledger;
use super::entry::{Claim, Flight, Slot};
use super::ids::{Time, Uid};
use super::pods::Pod;
use super::record::{ObjectRef, Record, State, Stored};
use super::verdict::{Notice, Op, Outcome, Write};
use super::view::Phase;
use super::waiting::Timer;
use crate::addr::Addr;

impl Ledger {
    /// Starts the operation that is due for an address, if none is under way.
    pub(super) fn plan(&mut self, now: Time, slot: Slot) {
        self.start_due(now, slot);
        self.table.note_pending(slot);
    }

    fn start_due(&mut self, now: Time, slot: Slot) {
        let entry = self.table.at(slot);
        if entry.flight != Flight::Idle {
            return;
        }
        let nothing = entry.claim.is_none() && entry.object.is_none() && !entry.unknown;
        if nothing && (entry.assigned.is_none() || !self.active) {
            self.vacate(now, slot);
            return;
        }
        if !self.active || entry.waiting {
            return;
        }
        let due = self.due(slot);
        let Some((flight, op)) = due else { return };
        self.ticket = self.ticket.wrapping_add(1);
        let ticket = self.ticket;
        let entry = self.table.at_mut(slot);
        entry.flight = flight;
        entry.changed = false;
        entry.ticket = ticket;
        if matches!(flight, Flight::Assign | Flight::Unassign) {
            // Even a call that fails may have had its effect: until one succeeds nobody knows where the address is routed.
            entry.assigned_for_certain = false;
        }
        if flight == Flight::Assign {
            entry.assigned = entry.claim.as_ref().and_then(|claim| claim.node);
        }
        let addr = entry.addr;
        self.out.writes.push(Write { addr, ticket: u64::from(ticket), op });
    }

    fn due(&self, slot: Slot) -> Option<(Flight, Op)> {
        let entry = self.table.at(slot);
        if entry.unknown {
            return Some((Flight::Read, Op::Read));
        }
        let node = entry.claim.as_ref().and_then(|claim| claim.node);
        if let Some(assigned) = entry.assigned.filter(|&assigned| Some(assigned) != node) {
            return Some((Flight::Unassign, Op::Unassign(self.names.get(assigned).clone())));
        }
        match (&entry.claim, &entry.object) {
            (None, None) => None,
            (None, Some(object)) => Some((Flight::Delete, Op::Delete(object.clone()))),
            (Some(claim), _) if claim.state == State::Admin => None,
            (Some(claim), None) => Some((Flight::Store, Op::Create(self.record(entry.addr, claim)))),
            (Some(claim), Some(object)) if !entry.stored => {
                Some((Flight::Store, Op::Update(object.clone(), self.record(entry.addr, claim))))
            }
            (Some(claim), Some(_)) => {
                let sure = |node| entry.assigned == Some(node) && entry.assigned_for_certain;
                let node = claim.node.filter(|&node| self.settings.cloud && !sure(node))?;
                let name = self.names.get(node);
                let used = claim.pod_uid.as_ref().and_then(|uid| self.node_of_use(uid)).is_some_and(|n| n == *name);
                used.then(|| (Flight::Assign, Op::Assign(name.clone())))
            }
        }
    }

    /// The record that a claim is written as.
    pub(super) fn record(&self, addr: Addr, claim: &Claim) -> Record {
        let workload = claim.workload.map(|ix| self.workloads.get(ix));
        Record {
            addr,
            state: claim.state,
            workload: workload.map(|w| w.id.clone()),
            workload_uid: workload.and_then(|w| w.view.as_ref()).map(|view| view.uid.clone()),
            pod_name: self.pod_name(claim).map(String::into_boxed_str),
            pod_uid: claim.pod_uid.clone(),
            pool: claim.pool.map(|sym| self.names.get(sym).clone()),
            node: claim.node.map(|sym| self.names.get(sym).clone()),
            policy: claim.policy,
            spare: claim.spare,
            released_at: (claim.released && claim.state != State::Bound).then_some(claim.updated_at),
            updated_at: claim.updated_at,
            key: self.admin_keys.get(&addr).cloned(),
        }
    }

    /// Nobody has it and no object says otherwise: it is free.
    fn vacate(&mut self, now: Time, slot: Slot) {
        let addr = self.table.at(slot).addr;
        let used = self.table.at(slot).used;
        self.table.vacate(slot);
        self.admin_keys.remove(&addr);
        self.out.settled.push(addr);
        if !self.annotated.is_disputed(addr) {
            self.make_free(now, addr, used);
        }
    }

    pub(super) fn make_free(&mut self, now: Time, addr: Addr, was_used: bool) {
        let freed_at = (was_used && self.settings.reuse_delay_secs > 0).then_some(now);
        if self.space.give(addr, freed_at) {
            if freed_at.is_some() {
                self.timers.insert((now.plus_secs(self.settings.reuse_delay_secs), Timer::Cool));
            }
            self.more_supply(now);
        }
    }

    /// Takes the outcome of an operation; one with an old ticket is ignored.
    pub fn outcome(&mut self, now: Time, addr: Addr, ticket: u64, outcome: Outcome) {
        let Some(slot) = self.table.slot(addr) else { return };
        let entry = self.table.at_mut(slot);
        if u64::from(entry.ticket) != ticket || entry.flight == Flight::Idle {
            return;
        }
        let flight = std::mem::replace(&mut entry.flight, Flight::Idle);
        entry.unknown |= std::mem::take(&mut entry.echoed) && matches!(outcome, Outcome::Refused(_));
        let settled = !matches!(outcome, Outcome::Refused(_) | Outcome::Unknown(_) | Outcome::CloudFailed(_));
        if settled {
            entry.failures = 0;
        }
        match (flight, outcome) {
            (Flight::Store, Outcome::Stored(object)) => {
                entry.object = Some(object);
                entry.stored = !entry.changed;
                entry.used = true;
            }
            (Flight::Delete, Outcome::Gone) => entry.object = None,
            (Flight::Store | Flight::Delete, Outcome::Stale | Outcome::Unknown(_)) => entry.unknown = true,
            (Flight::Store, Outcome::Gone) => entry.unknown = true,
            (Flight::Store | Flight::Delete, Outcome::Refused(text)) => self.write_refused(now, slot, &text),
            (Flight::Read, Outcome::Read(found)) => {
                entry.unknown = false;
                self.read_back(now, slot, found.map(|stored| *stored));
            }
            (Flight::Read, _) => self.retry_later(now, slot),
            (Flight::Assign, Outcome::CloudDone) => entry.assigned_for_certain = true,
            (Flight::Assign, outcome) => self.assign_failed(now, slot, &outcome),
            (Flight::Unassign, Outcome::CloudDone) => entry.assigned = None,
            (Flight::Unassign, _) => self.retry_later(now, slot),
            (Flight::Store | Flight::Delete, _) => entry.unknown = true,
            (Flight::Idle, _) => {}
        }
        if let Some(slot) = self.table.slot(addr) {
            let entry = self.table.at_mut(slot);
            // A read, too, may have been answered before what was observed meanwhile.
            entry.unknown |= std::mem::take(&mut entry.recheck);
            self.report_progress(slot);
            self.plan(now, slot);
        }
    }

    fn report_progress(&mut self, slot: Slot) {
        let entry = self.table.at(slot);
        let ready = entry.is_stored();
        let addr = entry.addr;
        if let Some(uid) = entry.claim.as_ref().and_then(|claim| claim.pod_uid.clone()).filter(|_| ready)
            && self.stage(&uid).is_some()
        {
            self.out.progress.push(uid);
        }
        if ready {
            self.out.settled.push(addr);
        }
    }

    /// The API said no for good (forbidden, invalid): a claim that never had an object is given up, the rest is tried again.
    fn write_refused(&mut self, now: Time, slot: Slot, text: &str) {
        let entry = self.table.at(slot);
        let addr = entry.addr;
        let uid = entry.claim.as_ref().and_then(|claim| claim.pod_uid.clone());
        let text = format!("writing FloatingIP {} was refused: {text}", addr.object_name());
        self.user_errors.insert(addr, text.clone());
        self.out.settled.push(addr);
        let binding = uid.as_ref().is_some_and(|uid| self.stage(uid).is_some());
        if let Some(uid) = &uid {
            self.fail_bind(uid, text);
        }
        let created = self.table.at(slot).object.is_some();
        if !created && binding {
            self.set_claim(now, slot, None);
        } else {
            self.retry_later(now, slot);
        }
    }

    fn assign_failed(&mut self, now: Time, slot: Slot, outcome: &Outcome) {
        let entry = self.table.at(slot);
        let addr = entry.addr;
        let why = if let Outcome::CloudFailed(why) = outcome { why.as_str() } else { "no answer" };
        let Some(uid) = entry.claim.as_ref().and_then(|claim| claim.pod_uid.clone()) else { return };
        let node = entry.assigned.map(|node| self.names.get(node).clone()).unwrap_or_else(|| "".into());
        self.fail_bind(&uid, format!("the cloud provider did not assign {addr} to node {node}: {why}"));
        if self.node_of_use(&uid).is_some() {
            // The pod is there already.
            self.retry_later(now, slot);
        }
    }

    pub(super) fn retry_later(&mut self, now: Time, slot: Slot) {
        let entry = self.table.at_mut(slot);
        entry.failures = entry.failures.saturating_add(1);
        entry.waiting = true;
        let delay = 100_000_i64 << entry.failures.min(8);
        let addr = entry.addr;
        self.timers.insert((now.plus_micros(delay), Timer::Retry(addr)));
    }

    /// What a quorum read found where an operation had no clear outcome (rule 2).
    fn read_back(&mut self, now: Time, slot: Slot, found: Option<Stored>) {
        let Some(stored) = found else {
            let entry = self.table.at_mut(slot);
            let had_object = entry.object.take().is_some();
            entry.labelled = false;
            if had_object && matches!(entry.state(), Some(State::Reserved | State::Quarantined | State::Admin)) {
                // Somebody deleted a reservation by hand: that is their right.
                self.give_up(now, slot);
            }
            return;
        };
        let wanted = self.table.at(slot).claim.clone().map(|claim| self.record(stored.record.addr, &claim));
        let Some(wanted) = wanted else {
            // It shall be free: go on with the version that is there, unless somebody alive, or an admin, has it now.
            let owner = stored.record.pod_uid.clone().filter(|_| self.may_be_used(&stored.record));
            if owner.is_some() || stored.record.state == State::Admin {
                self.accept(now, slot, stored);
                if let Some(uid) = owner {
                    self.settle_stranger(now, &uid);
                }
            } else {
                self.table.at_mut(slot).object = Some(stored.object);
            }
            return;
        };
        if same_content(&wanted, &stored.record) {
            let entry = self.table.at_mut(slot);
            entry.object = Some(stored.object);
            entry.stored = true;
            return;
        }
        if wanted.state == State::Admin {
            // The admin has taken the label off: it is what it was before.
            let owner = stored.record.pod_uid.clone();
            self.accept(now, slot, stored);
            if let Some(uid) = owner {
                self.settle_stranger(now, &uid);
            }
            return;
        }
        let known = self.table.at(slot).object.clone();
        let same_object = known.as_ref().is_some_and(|known| known.uid == stored.object.uid);
        let same_pod = wanted.pod_uid.is_some() && wanted.pod_uid == stored.record.pod_uid;
        let taken = !same_pod && self.may_be_used(&stored.record);
        if same_pod || (same_object && !taken && stored.record.state != State::Admin) {
            // Ours, or as we left it but for the version: write again on what is there.
            let entry = self.table.at_mut(slot);
            entry.object = Some(stored.object);
            entry.stored = false;
            return;
        }
        self.lost_to(now, slot, stored);
    }

    /// Whether the record names a pod that may live: not proved gone, not finished.
    fn may_be_used(&self, record: &Record) -> bool {
        let over = |uid: &Uid| self.pods.is_gone(uid) || self.pods.get(uid).is_some_and(|pod| pod.finished);
        record.state == State::Bound && !record.pod_uid.as_ref().is_some_and(over)
    }

    /// Somebody else has the address: the record wins, and the pod that wanted it chooses another.
    fn lost_to(&mut self, now: Time, slot: Slot, stored: Stored) {
        let loser = self.table.at(slot).claim.as_ref().and_then(|claim| claim.pod_uid.clone());
        self.accept(now, slot, stored);
        if let Some(uid) = loser {
            self.choose_again(now, &uid);
        }
    }

    /// Takes over what an object says.
    pub(super) fn accept(&mut self, now: Time, slot: Slot, stored: Stored) {
        let addr = stored.record.addr;
        let claim = self.claim_of(&stored.record);
        let entry = self.table.at_mut(slot);
        entry.object = Some(stored.object);
        entry.used = true;
        entry.labelled = stored.record.state == State::Admin;
        if let (Some(node), true) = (claim.node, self.settings.cloud) {
            // How far it came nobody knows, unless its pod is up.
            entry.assigned = Some(node);
            let up = |pod: &Pod| pod.is_bound() && pod.view.phase == Phase::Running;
            entry.assigned_for_certain = claim.pod_uid.as_ref().is_some_and(|uid| self.pods.get(uid).is_some_and(up));
        }
        match &stored.record.key {
            Some(key) => {
                self.admin_keys.insert(addr, key.clone());
            }
            None if self.admin_keys.is_empty() => {}
            None => {
                self.admin_keys.remove(&addr);
            }
        }
        // No operation may start from the claim before the entry says that it is stored.
        self.table.at_mut(slot).waiting = true;
        self.set_claim(now, slot, Some(claim));
        let entry = self.table.at_mut(slot);
        entry.stored = true;
        entry.waiting = false;
        self.table.note_pending(slot);
        if stored.record.state == State::Quarantined {
            let until = stored.record.released_at.unwrap_or(stored.record.updated_at);
            self.timers.insert((until.plus_secs(self.settings.quarantine_secs), Timer::Quarantine(addr)));
        }
    }

    /// The claim that an object stands for.
    pub(super) fn claim_of(&mut self, record: &Record) -> Claim {
        let workload = record.workload.as_ref().map(|id| self.workloads.intern(id));
        let fungible = record.workload.as_ref().is_some_and(|id| id.model() == super::ids::Model::Fungible);
        let any_pod = match record.state {
            State::Reserved => record.pod_name.is_none() && (record.workload.is_none() || fungible),
            State::Quarantined => fungible && record.policy != crate::policy::ReleasePolicy::Default,
            State::Bound | State::Admin => false,
        };
        Claim {
            state: record.state,
            policy: record.policy,
            spare: record.spare,
            released: record.released_at.is_some(),
            any_pod,
            workload,
            pool: record.pool.as_ref().map(|pool| self.names.intern(pool)),
            node: record.node.as_ref().map(|node| self.names.intern(node)),
            pod_name: record.pod_name.as_deref().map(|name| self.short_name(workload, name)),
            pod_uid: record.pod_uid.clone(),
            updated_at: record.updated_at,
        }
    }

    /// A retry is due.
    pub(super) fn retry(&mut self, now: Time, addr: Addr) {
        if let Some(slot) = self.table.slot(addr) {
            self.table.at_mut(slot).waiting = false;
            self.plan(now, slot);
        }
    }

    /// Tells of an address that an annotation names although another pod owns it.
    pub(super) fn conflict(&mut self, uid: &Uid, addr: Addr) {
        let Some(pod) = self.pod_ref(uid) else { return };
        let message = format!("annotation names {addr}, which belongs to another owner; the address is not the pod's");
        self.out.notices.push(Notice::PodEvent { pod, warning: true, reason: "FloatingIPConflict", message });
    }
}

/// Whether two records say the same, times aside.
pub(super) fn same_content(a: &Record, b: &Record) -> bool {
    let strip = |record: &Record| Record {
        updated_at: Time(0),
        released_at: None,
        key: None,
        workload_uid: None,
        workload: record.workload.clone(),
        ..record.clone()
    };
    strip(a) == strip(b)
}

/// The version of an object, for tests and logs.
impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.uid, self.version)
    }
}
