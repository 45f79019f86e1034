//! The periodic sweep: what the caches say is gone is listed for proof; nothing is freed here (rule 9).

use std::collections::HashSet;

use super::Ledger;
use super::entry::WorkloadIx;
use super::ids::{Model, Time, Uid, WorkloadId};
use super::record::State;
use super::verdict::{Doubt, Notice, PodRef};
use crate::policy::ReleasePolicy;

impl Ledger {
    /// Lists what has to be proved by quorum reads. Without doubts it costs no API call.
    pub fn sweep(&mut self, now: Time) -> Vec<Doubt> {
        if self.readiness().is_err() {
            return Vec::new();
        }
        // An admin's addresses are in no index, but they remember their workload all the same.
        let claims = self.table.entries().filter_map(|(_, entry)| entry.claim.as_ref());
        let used: HashSet<WorkloadIx> = claims.filter_map(|claim| claim.workload).collect();
        self.workloads.forget_unused(|ix| used.contains(&ix));
        let mut doubts: Vec<Doubt> = Vec::new();
        let mut kinds: Vec<WorkloadId> = Vec::new();
        let mut unknown_workloads = std::collections::BTreeSet::new();
        for (_, entry) in self.table.entries() {
            let Some(claim) = &entry.claim else { continue };
            let Some(ix) = claim.workload else { continue };
            let workload = self.workloads.get(ix);
            match claim.state {
                State::Bound => {
                    let Some(name) = self.pod_name(claim) else { continue };
                    let namespace = workload.id.namespace.clone();
                    let uid = match &claim.pod_uid {
                        Some(uid) => uid.clone(),
                        // An old record without a uid: the pod of that name, if it is alive, will be adopted.
                        None => Uid::from(""),
                    };
                    if self.pods.get(&uid).is_none() {
                        doubts.push(Doubt::Pod(PodRef { namespace, name: name.as_str().into(), uid }));
                    }
                }
                State::Reserved if claim.policy == ReleasePolicy::Immutable => {
                    if workload.view.is_none() && !workload.gone && unknown_workloads.insert(ix) {
                        doubts.push(Doubt::Workload(workload.id.clone()));
                    }
                    if workload.id.model() == Model::Custom {
                        kinds.push(workload.id.clone());
                    }
                }
                State::Reserved | State::Quarantined | State::Admin => {}
            }
        }
        doubts.extend(self.pods.by_uid.values().filter(|pod| pod.missing).map(|pod| Doubt::Pod(pod.reference())));
        kinds.sort();
        kinds.dedup();
        for id in kinds {
            self.want_kind(&id);
        }
        let bound: Vec<Uid> =
            self.pods.by_uid.values().filter(|pod| pod.is_bound()).map(|pod| pod.view.uid.clone()).collect();
        for uid in bound {
            self.free_surplus(now, &uid);
        }
        let workloads: Vec<_> = self.workloads.iter().map(|(ix, _)| ix).collect();
        for ix in workloads {
            self.reconcile_workload(now, ix, false);
        }
        self.fill_pools(now);
        self.report_surplus();
        self.more_supply(now);
        doubts
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
            .entries()
            .filter(|(_, entry)| {
                entry.claim.as_ref().is_some_and(|claim| {
                    claim.state == State::Bound
                        && claim.pod_uid.is_none()
                        && self.pod_name(claim).as_deref() == Some(name)
                        && claim.workload.is_some_and(|ix| &*self.workloads.get(ix).id.namespace == namespace)
                })
            })
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            self.release_slot(now, slot, None, false);
        }
    }
}
