//! Operations carried out, lost or late, events delivered in any order, time, crashes.

use galaxy_core::ledger::*;

use crate::sim::*;
use crate::steps::Fate;
use crate::world::*;

impl Sim {
    pub(crate) fn op(&mut self, n: u8, fate: Fate) {
        if self.w.ops.is_empty() {
            return;
        }
        let at = usize::from(n) % self.w.ops.len();
        let write = self.w.ops.remove(at).expect("in range");
        let lost = Outcome::Unknown("no answer".to_owned());
        let cloud = matches!(write.op, Op::Assign(_) | Op::Unassign(_));
        let failed = Outcome::CloudFailed("no answer".to_owned());
        let outcome = match (fate, &write.op) {
            (Fate::Done, op) => self.apply(write.addr, op),
            (Fate::AnswerLost, op) => {
                self.apply(write.addr, op);
                if cloud { failed } else { lost }
            }
            (Fate::Late | Fate::Refused, _) if cloud => failed,
            (Fate::Refused, _) => Outcome::Refused("the API server says no".to_owned()),
            (Fate::Late, Op::Read) => lost,
            (Fate::Late, op) => {
                self.strays.push((write.addr, op.clone()));
                lost
            }
        };
        self.w.report(&write, outcome);
    }

    pub(crate) fn land_op(&mut self, n: u8) {
        if !self.strays.is_empty() {
            let (addr, op) = self.strays.remove(usize::from(n) % self.strays.len());
            if !n.is_multiple_of(4) {
                self.apply(addr, &op);
            }
        }
    }

    /// Events of one kind come in order; those of different kinds do not wait for each other.
    pub(crate) fn deliver_one(&mut self, n: u8) {
        if self.w.api.events.is_empty() {
            return;
        }
        let kind = self.w.api.events[usize::from(n) % self.w.api.events.len()].stream();
        let at = self.w.api.events.iter().position(|event| event.stream() == kind).expect("found before");
        let event = self.w.api.events.remove(at).expect("found above");
        self.hear(event);
    }

    pub(crate) fn deliver_all(&mut self) {
        while let Some(event) = self.w.api.events.pop_front() {
            self.hear(event);
        }
    }

    pub(crate) fn hear(&mut self, event: Event) {
        if matches!(event, Event::Pod(_) | Event::PodGone(_) | Event::Workload(_) | Event::Address(_)) {
            self.past.push(event.clone());
            if self.past.len() > 40 {
                self.past.remove(0);
            }
        }
        let expected = self.expected_of(&event);
        self.w.deliver(event);
        self.check_expected(expected);
    }

    /// An event comes again, late.
    pub(crate) fn replay(&mut self, n: u8) {
        let Some(event) = pick(&self.past, n) else { return };
        // Objects are only ever observed by their one watch, which does not go back behind a deletion.
        if !matches!(&event, Event::Address(stored) if self.w.api.raw(stored.record.addr).is_none()) {
            self.w.deliver(event);
        }
    }

    /// The watch of pods broke; what the new list lacks is merely missing.
    pub(crate) fn relist(&mut self) {
        self.w.api.events.retain(|event| !matches!(event, Event::Pod(_) | Event::PodGone(_)));
        for view in self.w.api.pods.values().cloned().collect::<Vec<_>>() {
            self.w.deliver(Event::Pod(view));
        }
        let mut missing: Vec<Uid> = self.w.told.pods.keys().cloned().collect();
        missing.retain(|uid| !self.w.api.pods.contains_key(uid));
        for uid in missing {
            self.w.call(|ledger, now| ledger.pod_missing(now, &uid));
        }
    }

    pub(crate) fn prove(&mut self) {
        if let Some(doubt) = self.w.proofs.pop_front() {
            self.w.prove(&doubt);
        }
    }

    pub(crate) fn pass(&mut self, n: u8) {
        let seconds = [0, 1, 1, 2, 5, 16, 61, 601][usize::from(n) % 8];
        let end = self.w.now.plus_secs(seconds).plus_micros(6_000);
        for _ in 0..1000 {
            match self.w.ledger.next_deadline().filter(|&at| at <= end) {
                Some(at) => {
                    self.w.now = self.w.now.max(at);
                    self.w.call(|ledger, now| ledger.tick(now));
                }
                None => {
                    self.w.now = self.w.now.max(end);
                    return;
                }
            }
        }
        panic!("the ledger wants to be ticked without end");
    }

    /// What is under way when galaxy-ipam stops is done, lost, or comes late.
    pub(crate) fn scatter(&mut self, n: u8) {
        let mut dice = u32::from(n).wrapping_mul(2_654_435_761);
        let mut roll = || {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            dice >> 28
        };
        for write in std::mem::take(&mut self.w.ops) {
            match roll() % 3 {
                0 => {
                    self.apply(write.addr, &write.op);
                }
                // Nobody knows how far a cloud call came, but it does not come later.
                1 if !matches!(write.op, Op::Assign(_) | Op::Unassign(_)) => self.strays.push((write.addr, write.op)),
                _ => {}
            }
        }
        for sent in std::mem::take(&mut self.bindings) {
            match roll() % 3 {
                0 => {
                    self.w.api.bind(&sent.uid, &sent.node, &sent.grants);
                }
                1 => self.stray_bindings.push(sent),
                _ => {}
            }
        }
        self.binds.clear();
    }

    pub(crate) fn crash(&mut self, n: u8) {
        self.scatter(n);
        self.past.clear();
        self.forget_sets();
        self.w.start();
        self.leads = true;
    }

    pub(crate) fn lead(&mut self) {
        if !self.leads {
            self.scatter(7);
            self.forget_sets();
            self.w.load();
            self.w.call(|ledger, now| ledger.set_active(now, true));
            self.leads = true;
        }
    }
}
