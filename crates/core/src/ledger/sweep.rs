//! The periodic sweep: what the caches say is gone is listed for proof; nothing is freed here (rule 9).

use std::collections::HashSet;

use super::Ledger;
use super::entry::{Slot, WorkloadIx};
use super::ids::{Model, Time, Uid};
use super::record::State;
use super::verdict::{Doubt, Notice, PodRef};
use crate::addr::Addr;
use crate::policy::ReleasePolicy;

/// How far a sweep has come. It is made in pieces, so that no bind waits for one of a million addresses.
#[derive(Debug, Default)]
pub struct Sweep {
    stage: Stage,
    /// Workloads that were asked about.
    asked: HashSet<WorkloadIx>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Start,
    /// From this address on.
    Addresses(Addr),
    /// Bound pods yet to be looked at.
    Pods(Vec<Uid>),
    /// Workloads from this position on.
    Workloads(usize),
    Over,
}

/// Addresses, pods or workloads of one piece.
const PIECE: usize = 1_000;

impl Ledger {
    /// Lists what has to be proved by quorum reads. Without doubts it costs no API call.
    pub fn sweep(&mut self, now: Time) -> Vec<Doubt> {
        let mut sweep = Sweep::default();
        let mut doubts = Vec::new();
        while let Some(more) = self.sweep_piece(now, &mut sweep) {
            doubts.extend(more);
        }
        doubts
    }

    /// Goes on with a sweep: what has to be proved, or none once it is over. Other calls may come between two pieces.
    pub fn sweep_piece(&mut self, now: Time, sweep: &mut Sweep) -> Option<Vec<Doubt>> {
        if self.readiness().is_err() {
            return None;
        }
        let mut doubts = Vec::new();
        sweep.stage = match std::mem::take(&mut sweep.stage) {
            Stage::Start => {
                self.forget_workloads();
                Stage::Addresses(Addr::V4_MIN)
            }
            Stage::Addresses(first) => {
                let slots: Vec<Slot> = self.table.slots_from(first).take(PIECE + 1).collect();
                for &slot in slots.iter().take(PIECE) {
                    doubts.extend(self.doubt(slot, sweep));
                }
                match slots.get(PIECE) {
                    Some(&next) => Stage::Addresses(self.table.at(next).addr),
                    None => {
                        let missing = self.pods.by_uid.values().filter(|pod| pod.missing);
                        doubts.extend(missing.map(|pod| Doubt::Pod(pod.reference())));
                        let bound = self.pods.by_uid.values().filter(|pod| pod.is_bound());
                        Stage::Pods(bound.map(|pod| pod.view.uid.clone()).collect())
                    }
                }
            }
            Stage::Pods(mut pods) => {
                for uid in pods.split_off(pods.len().saturating_sub(PIECE)) {
                    self.free_surplus(now, &uid);
                }
                if pods.is_empty() { Stage::Workloads(0) } else { Stage::Pods(pods) }
            }
            Stage::Workloads(first) => {
                let some: Vec<WorkloadIx> = self.workloads.range(first..first + PIECE).map(|(ix, _)| ix).collect();
                for ix in some {
                    self.reconcile_workload(now, ix, false);
                }
                if first + PIECE < self.workloads.end() {
                    Stage::Workloads(first + PIECE)
                } else {
                    self.fill_pools(now);
                    self.report_surplus();
                    self.more_supply(now);
                    Stage::Over
                }
            }
            Stage::Over => return None,
        };
        Some(doubts)
    }

    fn forget_workloads(&mut self) {
        // An admin's addresses do not count for a workload, but they remember theirs all the same.
        let claims = self.table.ownerless().filter_map(|slot| self.table.at(slot).claim.as_ref());
        let remembered: HashSet<WorkloadIx> = claims.filter_map(|claim| claim.workload).collect();
        let table = &self.table;
        self.workloads.forget_unused(|ix| table.counts_of_workload(ix).total() > 0 || remembered.contains(&ix));
    }

    /// What is to be proved about one address.
    fn doubt(&mut self, slot: Slot, sweep: &mut Sweep) -> Option<Doubt> {
        let claim = self.table.at(slot).claim.as_ref()?;
        let ix = claim.workload?;
        let workload = self.workloads.get(ix);
        match claim.state {
            State::Bound => {
                // An old record without a uid: the pod of that name, if it is alive, will be adopted.
                let uid = claim.pod_uid.clone().unwrap_or_else(|| Uid::from(""));
                if self.pods.get(&uid).is_some() {
                    return None;
                }
                let (namespace, name) = (workload.id.namespace.clone(), self.pod_name(claim)?.as_str().into());
                Some(Doubt::Pod(PodRef { namespace, name, uid }))
            }
            State::Reserved if claim.policy == ReleasePolicy::Immutable && sweep.asked.insert(ix) => {
                let id = workload.id.clone();
                let unknown = workload.view.is_none() && !workload.gone;
                if id.model() == Model::Custom {
                    self.want_kind(&id);
                }
                unknown.then_some(Doubt::Workload(id))
            }
            State::Reserved | State::Quarantined | State::Admin => None,
        }
    }

    /// Reports Deployments whose pods have more addresses than they may: two deciders have overlapped (rule 12).
    fn report_surplus(&mut self) {
        let mut events = Vec::new();
        for (ix, workload) in self.workloads.iter() {
            let Some(view) = workload.view.as_ref().filter(|_| workload.id.model() == Model::Fungible) else {
                continue;
            };
            let keeping = |uid: &Uid| {
                let pod = self.pods.get(uid)?;
                (pod.view.policy != ReleasePolicy::Default && self.pool_size(pod).is_none()).then_some(())
            };
            // Pods on their way out are no surplus.
            let bound = self.table.counts_of_workload(ix).bound.saturating_sub(workload.leaving.len() as u32);
            let limit = view.replicas.unwrap_or(0) + self.spare_allowance(view, self.stuck_pods(ix).next().is_some());
            if bound > limit && view.replicas.is_some_and(|n| n > 0) && workload.pods.iter().find_map(keeping).is_some()
            {
                let message =
                    format!("pods have {bound} addresses, {limit} are allowed; the surplus is freed as pods go");
                let (workload, uid) = (workload.id.clone(), Some(view.uid.clone()));
                events.push(Notice::WorkloadEvent { workload, uid, warning: true, reason: "AddressSurplus", message });
            }
        }
        self.out.notices.extend(events);
    }

    /// A quorum read says that the pod an old record names (without a uid) does not exist.
    pub fn unnamed_pod_gone(&mut self, now: Time, namespace: &str, name: &str) {
        let slots: Vec<_> = self
            .table
            .unnamed()
            .filter(|&slot| {
                self.table.at(slot).claim.as_ref().is_some_and(|claim| {
                    self.pod_name(claim).as_deref() == Some(name)
                        && claim.workload.is_some_and(|ix| &*self.workloads.get(ix).id.namespace == namespace)
                })
            })
            .collect();
        for slot in slots {
            self.release_slot(now, slot, None, false);
        }
    }
}
