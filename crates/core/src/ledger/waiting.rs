//! Pods that wait for an address, and the passing of time: who waits is woken (rule 16).

use super::Ledger;
use super::ids::{Time, Uid};
use super::pods::Refused;
use super::promises::Promises;
use super::space::Class;
use super::verdict::{Notice, Reason, Refusal};
use crate::addr::Addr;
use crate::policy::ReleasePolicy;

/// What happens at a point in time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Look who can be woken.
    Wakes,
    /// The reuse delay of an address ends.
    Cool,
    /// An operation is tried again.
    Retry(Addr),
    /// A quarantine ends.
    Quarantine(Addr),
    /// A hold ends.
    Hold(Uid),
    /// A woken pod had its time.
    Patience(Uid),
    /// A refused pod is told so by its condition.
    Report(Uid),
    /// The deadline of a pod's deletion passes.
    Deadline(Uid),
    /// A pod is woken again because its nodes were a sample.
    Sample(Uid),
}

/// Supply events within this time are looked at together.
const WAKE_DELAY_MICROS: i64 = 5_000;
const WAKE_DELAY_PER_POD_MICROS: i64 = 20;
/// The condition of a refused pod is written this long after the answer, never from within filter.
const REPORT_DELAY_MICROS: i64 = 300_000;
/// Pre-allocation waits this long for woken pods, in seconds.
const FILL_DELAY_SECS: i64 = 1;
/// The longest pause between wakes of a pod whose offers are samples, in seconds.
const SAMPLE_MAX_SECS: i64 = 60;

impl Ledger {
    /// Addresses became available, or a limit rose.
    pub(super) fn more_supply(&mut self, now: Time) {
        if !self.supply && self.active && (!self.waiting.is_empty() || !self.shortfall.is_empty()) {
            self.supply = true;
            // Many waiting pods are looked at less often.
            let delay = WAKE_DELAY_MICROS + WAKE_DELAY_PER_POD_MICROS * self.waiting.len() as i64;
            self.timers.insert((now.plus_micros(delay), Timer::Wakes));
        }
    }

    /// The scheduler was told no on every node.
    pub(super) fn refuse(&mut self, now: Time, uid: &Uid, refusal: Refusal, offered: Option<Vec<Class>>) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let waits = !refusal.reason.needs_edit();
        let before = pod.refused.take();
        let sampled = before.as_ref().filter(|_| offered.is_none()).map_or(0, |refused| refused.sampled);
        pod.refused = Some(Box::new(Refused {
            refusal,
            since: before.as_ref().map_or(now, |refused| refused.since),
            waits,
            woken: None,
            forfeited: false,
            presumed: false,
            sampled,
            not_before: None,
            offered,
        }));
        if waits {
            self.waiting.insert(uid.clone());
        } else {
            self.waiting.remove(uid);
        }
        self.timers.insert((now.plus_micros(REPORT_DELAY_MICROS), Timer::Report(uid.clone())));
        if before.is_some_and(|refused| refused.woken.is_some()) {
            // What it was woken for may serve the next.
            self.more_supply(now);
        }
        let sample = self.pods.get(uid).is_some_and(|pod| {
            pod.refused.as_ref().is_some_and(|refused| refused.waits && refused.offered.is_none())
                && self.evaluate(pod, &self.cluster_classes(), &Promises::default()).is_ok()
        });
        if sample {
            let at = now.plus_secs((1_i64 << sampled.min(6)).min(SAMPLE_MAX_SECS));
            self.timers.insert((at, Timer::Sample(uid.clone())));
            if let Some(refused) = self.pods.get_mut(uid).and_then(|pod| pod.refused.as_mut()) {
                refused.not_before = Some(at);
            }
        }
    }

    /// The scheduler was offered a node: the pod waits no more, until it is refused again.
    pub(super) fn accepted(&mut self, uid: &Uid) {
        self.waiting.remove(uid);
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.refused = None;
        }
    }

    /// The pod is bound: if it had waited, its condition says that it has what it waited for.
    pub(super) fn pod_served(&mut self, uid: &Uid) {
        self.stop_waiting(uid);
        if !self.active {
            return;
        }
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if pod.view.condition.as_ref().is_some_and(|(status, _)| !status) {
            pod.view.condition = Some((true, "Allocated".into()));
            let pod = pod.reference();
            let message = "the pod has its floating IP".to_owned();
            self.out.notices.push(Notice::Condition { pod, status: true, reason: "Allocated", message });
        }
    }

    pub(super) fn stop_waiting(&mut self, uid: &Uid) {
        self.accepted(uid);
    }

    /// After a start, an unscheduled pod that the scheduler gave up on counts as refused.
    pub(super) fn refused_before(&mut self, now: Time, uid: &Uid) {
        if self.readiness().is_err() {
            return;
        }
        let Some(pod) = self.pods.get(uid) else { return };
        let view = &pod.view;
        let sleeps = view.unschedulable.is_some() && view.node.is_none() && view.deletion_deadline.is_none();
        if !sleeps || pod.offered || pod.refused.is_some() || pod.bind.is_some() || pod.hold.is_some() || pod.finished {
            return;
        }
        let text = "no address could be had when the scheduler last tried";
        let refusal = Refusal { reason: Reason::NoAddress, text: text.to_owned(), detail: text.to_owned() };
        let presumed = !view.refused_by_us;
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.refused = Some(Box::new(Refused {
                refusal,
                since: now,
                waits: true,
                woken: None,
                forfeited: false,
                presumed,
                offered: None,
                sampled: 0,
                not_before: None,
            }));
        }
        self.waiting.insert(uid.clone());
        self.more_supply(now);
    }

    /// Offers that were made on other nodes or another configuration say nothing any more.
    pub(super) fn forget_offers(&mut self) {
        for uid in &self.waiting {
            if let Some(refused) = self.pods.by_uid.get_mut(uid).and_then(|pod| pod.refused.as_mut()) {
                refused.offered = None;
            }
        }
    }

    /// The classes that have a node.
    fn cluster_classes(&self) -> Vec<Class> {
        let mut classes: Vec<Class> = self.nodes.by_name.values().filter_map(|node| node.class).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Time passes: fires the timers that are due.
    pub fn tick(&mut self, now: Time) {
        while let Some((at, _)) = self.timers.first() {
            if *at > now {
                break;
            }
            if let Some((_, timer)) = self.timers.pop_first() {
                self.fire(now, timer);
            }
        }
    }

    fn fire(&mut self, now: Time, timer: Timer) {
        match timer {
            Timer::Wakes => {
                self.supply = false;
                self.wake_all(now);
            }
            Timer::Cool => {
                if let Some(next) = self.space.cool(now.plus_secs(-self.settings.reuse_delay_secs)) {
                    self.timers.insert((next.plus_secs(self.settings.reuse_delay_secs), Timer::Cool));
                }
            }
            Timer::Retry(addr) => self.retry(now, addr),
            Timer::Quarantine(addr) => {
                let slot = self.table.slot(addr);
                let over = slot
                    .and_then(|slot| self.table.at(slot).claim.as_ref())
                    .is_some_and(|claim| claim.updated_at.plus_secs(self.settings.quarantine_secs) <= now);
                if let (Some(slot), true, true) = (slot, over, self.active) {
                    self.lift(now, slot);
                }
            }
            Timer::Hold(uid) => {
                if self.pods.get(&uid).and_then(|pod| pod.hold.as_ref()).is_some_and(|hold| hold.expires <= now) {
                    self.drop_hold(now, &uid);
                }
            }
            Timer::Patience(uid) => self.lose_patience(now, &uid),
            Timer::Report(uid) => self.report(&uid),
            Timer::Deadline(uid) => self.report_stuck(&uid),
            Timer::Sample(uid) => self.wake_sampled(now, &uid),
        }
    }

    fn lose_patience(&mut self, now: Time, uid: &Uid) {
        let patience = self.settings.wake_patience_secs;
        let Some(refused) = self.pods.get_mut(uid).and_then(|pod| pod.refused.as_mut()) else { return };
        if refused.woken.is_some_and(|at| at.plus_secs(patience) <= now) {
            refused.woken = None;
            refused.forfeited = true;
            self.more_supply(now);
        }
    }

    /// Tells a workload that a pod of it is stuck on a dead node, and the ways out (rule 18).
    fn report_stuck(&mut self, uid: &Uid) {
        let Some(pod) = self.pods.get(uid).filter(|pod| self.active && self.is_stuck(pod)) else { return };
        if pod.view.policy == ReleasePolicy::Default {
            return;
        }
        let (Some(ix), Some(node)) = (pod.workload, &pod.view.node) else { return };
        if !self.nodes.may_still_run(node) {
            return;
        }
        let name = &pod.view.name;
        let message = format!(
            "pod {name} is stuck on node {node}, which is not ready, and keeps its floating IP: delete node {node}, \
             taint it node.kubernetes.io/out-of-service, or force delete pod {name}"
        );
        let workload = self.workloads.get(ix);
        let (id, uid) = (workload.id.clone(), workload.view.as_ref().map(|view| view.uid.clone()));
        self.out.notices.push(Notice::WorkloadEvent {
            workload: id,
            uid,
            warning: true,
            reason: "PodStuckOnDeadNode",
            message,
        });
    }

    /// Writes the condition of a refused pod, once per change of reason.
    fn report(&mut self, uid: &Uid) {
        if !self.active {
            return;
        }
        let Some(pod) = self.pods.get_mut(uid) else { return };
        let Some(refused) = &pod.refused else { return };
        if pod.view.deletion_deadline.is_some() || pod.view.node.is_some() {
            return;
        }
        let reason = refused.refusal.reason.as_str();
        if pod.view.condition.as_ref().is_some_and(|(status, known)| !status && **known == *reason) {
            return;
        }
        pod.view.condition = Some((false, reason.into()));
        let message = refused.refusal.detail.clone();
        let pod = pod.reference();
        self.out.notices.push(Notice::PodEvent { pod: pod.clone(), warning: true, reason, message: message.clone() });
        self.out.notices.push(Notice::Condition { pod, status: false, reason, message });
    }

    /// Wakes as many waiting pods as can now be served, by priority, then age.
    fn wake_all(&mut self, now: Time) {
        if self.readiness().is_err() {
            return;
        }
        let mut order: Vec<(i64, Time, Uid)> = self
            .waiting
            .iter()
            .filter_map(|uid| self.pods.get(uid))
            .map(|pod| (-i64::from(pod.view.priority), pod.view.created, pod.view.uid.clone()))
            .collect();
        order.sort_unstable();
        let everywhere = self.cluster_classes();
        let mut promises = Promises::default();
        let mut woken = Vec::new();
        let mut lent = Vec::new();
        for (_, _, uid) in order {
            let Some(pod) = self.pods.get(&uid) else { continue };
            let Some(refused) = &pod.refused else { continue };
            if refused.forfeited {
                continue;
            }
            if refused.not_before.is_some_and(|at| at > now) {
                continue;
            }
            let classes = refused.offered.as_ref().unwrap_or(&everywhere);
            let Ok(offer) = self.evaluate(pod, classes, &promises) else { continue };
            let asleep = refused.woken.is_none();
            // One that may never come is woken too, but keeps nobody else asleep.
            if !refused.presumed {
                self.promise(pod, &offer, &mut promises);
            }
            for addr in std::mem::take(&mut promises.lent) {
                promises.addrs.insert(addr);
                lent.extend(self.space.take(addr).map(|freed_at| (addr, freed_at)));
            }
            if asleep {
                woken.push(uid);
            }
        }
        for (addr, freed_at) in lent {
            self.space.give(addr, freed_at);
        }
        let served = !promises.is_empty();
        for uid in woken {
            self.wake(now, &uid);
        }
        if !served {
            self.fill_pools(now);
        } else if !self.shortfall.is_empty() {
            // Pods go before pre-allocation.
            self.timers.insert((now.plus_secs(FILL_DELAY_SECS), Timer::Wakes));
        }
    }

    fn wake_sampled(&mut self, now: Time, uid: &Uid) {
        let Some(pod) = self.pods.get(uid) else { return };
        let sleeps = pod.refused.as_ref().is_some_and(|refused| refused.offered.is_none() && refused.woken.is_none());
        if !sleeps || self.evaluate(pod, &self.cluster_classes(), &Promises::default()).is_err() {
            return;
        }
        if let Some(refused) = self.pods.get_mut(uid).and_then(|pod| pod.refused.as_mut()) {
            refused.sampled += 1;
            refused.not_before = None;
        }
        self.wake(now, uid);
    }

    fn wake(&mut self, now: Time, uid: &Uid) {
        let patience = now.plus_secs(self.settings.wake_patience_secs);
        let Some(pod) = self.pods.get_mut(uid) else { return };
        if pod.view.deletion_deadline.is_some() {
            return;
        }
        let Some(refused) = &mut pod.refused else { return };
        refused.woken = Some(now);
        // The reason stays: being refused for it again is no news, and no write.
        let reason = refused.refusal.reason.as_str();
        let message = format!("{} (tried again since, when that seemed to be over)", refused.refusal.detail);
        pod.view.condition = Some((false, reason.into()));
        let pod = pod.reference();
        self.timers.insert((patience, Timer::Patience(uid.clone())));
        self.out.notices.push(Notice::Wake { pod, reason, message });
    }
}
