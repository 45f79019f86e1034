//! How many addresses the pods of a pool or a Deployment may have (rules 12, 17, 18).

use super::Ledger;
use super::entry::{Slot, Sym, WorkloadIx};
use super::ids::{Model, Uid};
use super::pods::Pod;
use super::promises::Promises;
use super::refusal::{NO_FIP_LEFT, plain, refusal};
use super::verdict::{Reason, Refusal};
use super::view::WorkloadView;
use crate::policy::ReleasePolicy;

impl Ledger {
    /// The size that counts for a pod's pool, if it has one.
    pub(super) fn pool_size(&self, pod: &Pod) -> Option<(Sym, u32)> {
        let name = pod.view.pool.as_ref()?;
        Some((self.names.find(name)?, self.pools.effective(name)?.size?))
    }

    /// How many pods beyond its replicas a Deployment may have with addresses (rule 17).
    pub(super) fn spare_allowance(&self, view: &WorkloadView, rolling_past_stuck: bool) -> u32 {
        match view.spare_addresses {
            Some(n) => n.min(view.max_surge),
            None => u32::from(view.surges_first || rolling_past_stuck),
        }
    }

    /// Whether a limit forbids the pod one more address now (rules 12, 17, 18).
    pub(super) fn check_limit(&self, pod: &Pod, promises: &Promises) -> Result<bool, Refusal> {
        if let Some((pool, size)) = self.pool_size(pod) {
            let owned = self.table.slots_of(&pod.view.uid).len() as u32;
            let units = pod.units().saturating_sub(owned);
            // What the pod itself holds is not in its way.
            let held = pod.hold.as_ref().filter(|hold| hold.pool == Some(pool)).map_or(0, |hold| hold.units);
            // What is kept for a pod name counts as used for all others, or its pod could not come back.
            let in_pool = |slot: &&Slot| self.table.at(**slot).claim.as_ref().is_some_and(|c| c.pool == Some(pool));
            let named = self.kept_by_name(pod).map_or(0, |kept| kept.iter().filter(in_pool).count() as u32);
            let counts = self.table.counts_of_pool(pool);
            let used = counts.bound
                + counts.named.saturating_sub(named)
                + self.pool_holds.get(&pool).copied().unwrap_or(0).saturating_sub(held)
                + promises.pools.get(&pool).copied().unwrap_or(0);
            if used.saturating_add(units) > size {
                let name = self.names.get(pool);
                return Err(refusal(
                    Reason::LimitReached,
                    format!(
                        "{NO_FIP_LEFT} pool {name:?}: size {size} is reached; raise Pool.size or wait for a release"
                    ),
                    format!(
                        "reached pool {name:?} size limit: {used} of {size} addresses are used; raise Pool.size or wait for a release"
                    ),
                ));
            }
            return Ok(true);
        }
        let Some(ix) = pod.workload else { return Ok(false) };
        let workload = self.workloads.get(ix);
        if pod.view.policy == ReleasePolicy::Default || workload.id.model() != Model::Fungible {
            return Ok(false);
        }
        self.check_deployment(pod, ix, promises).map(|()| true)
    }

    fn check_deployment(&self, pod: &Pod, ix: WorkloadIx, promises: &Promises) -> Result<(), Refusal> {
        let workload = self.workloads.get(ix);
        let id = &workload.id;
        let Some(view) = &workload.view else {
            return Err(plain(
                Reason::WorkloadUnknown,
                format!("{NO_FIP_LEFT} {id} does not exist, so no address may be kept for it"),
            ));
        };
        let replicas = view.replicas.unwrap_or(0);
        let held = pod.hold.as_ref().filter(|hold| hold.workload == Some(ix)).map_or(0, |hold| hold.units);
        let used = self.table.counts_of_workload(ix).bound
            + workload.holds.saturating_sub(held)
            + promises.workloads.get(&ix).copied().unwrap_or(0);
        let rs_used = |uid: &Uid| {
            let own = u32::from(self.counted.get(&pod.view.uid) == Some(uid));
            let used = self.replica_set_used.get(uid).copied().unwrap_or(0).saturating_sub(own);
            used + promises.replica_sets.get(uid).copied().unwrap_or(0)
        };
        let mut older_replicas = 0;
        let mut newest_used = None;
        let mut own_full = false;
        let mut rolling_past_stuck = false;
        let stuck = self.stuck_pods(ix).find(|other| other.replica_set == pod.replica_set);
        if let Some(own) = pod.replica_set.as_ref().filter(|_| &*id.kind == "Deployment") {
            let Some(set) = self.replica_sets.get(own) else {
                return Err(plain(
                    Reason::WorkloadUnknown,
                    format!("{NO_FIP_LEFT} the ReplicaSet of {id} is not known yet"),
                ));
            };
            let owner = set.controller.as_ref().map(|c| c.uid.clone()).unwrap_or_else(|| view.uid.clone());
            let mut newest = Some(0);
            for other in self.replica_sets.of(&owner) {
                newest = newest.zip(other.revision).map(|(a, b)| a.max(b));
            }
            let (Some(newest), Some(revision)) = (newest, set.revision) else {
                return Err(plain(
                    Reason::WorkloadUnknown,
                    format!(
                        "{NO_FIP_LEFT} a ReplicaSet of {id} has no revision yet (deployment.kubernetes.io/revision)"
                    ),
                ));
            };
            if revision == newest {
                older_replicas = self.replica_sets.of(&owner).filter(|o| o.uid != *own).map(|o| o.replicas).sum();
                newest_used = Some(rs_used(own));
                rolling_past_stuck = stuck.is_none() && self.stuck_pods(ix).next().is_some();
            }
            if let (Some(stuck), false) = (stuck, view.replace_on_node_failure)
                && rs_used(own) >= set.replicas
            {
                let (name, node) = (&stuck.view.name, stuck.view.node.as_deref().unwrap_or(""));
                return Err(refusal(
                    Reason::PredecessorStuck,
                    format!("{NO_FIP_LEFT} a pod of {id} is stuck on a node that is not ready and keeps its address"),
                    format!(
                        "pod {name} is being deleted on node {node}, which is not ready: it may still run and keeps its address for its successor; \
                             delete node {node}, taint it node.kubernetes.io/out-of-service, or force delete pod {name}; \
                             annotation galaxy.k8s.io/on-node-failure: replace on the Deployment lets successors take another address"
                    ),
                ));
            }
        }
        let stuck_extra = if view.replace_on_node_failure { self.stuck_pods(ix).count() as u32 } else { 0 };
        if let Some(set) = pod.replica_set.as_ref().and_then(|own| self.replica_sets.get(own)) {
            // The spare is for another version: the successor of a pod that is ending waits for that very address.
            own_full = rs_used(&set.uid) >= set.replicas.saturating_add(stuck_extra);
        }
        let spare = self.spare_allowance(view, rolling_past_stuck) + stuck_extra;
        let limit = if replicas == 0 { 0 } else { replicas.saturating_add(spare) };
        let over_all = used >= limit;
        let over_newest = newest_used.is_some_and(|own| own >= limit.saturating_sub(older_replicas));
        if own_full && !over_all && !over_newest {
            return Err(refusal(
                Reason::LimitReached,
                format!("{NO_FIP_LEFT} the ReplicaSet of {id} has all its addresses and has to wait for releasing"),
                format!(
                    "{id} has {used} addresses; a pod of the same version is ending and its successor gets its address"
                ),
            ));
        }
        if !over_all && !over_newest {
            return Ok(());
        }
        let way = if view.spare_addresses == Some(0) {
            "annotation galaxy.k8s.io/spare-addresses is 0: raise it or let maxUnavailable be at least 1"
        } else {
            "wait for releasing, raise spec.replicas, or let annotation galaxy.k8s.io/spare-addresses be up to maxSurge"
        };
        Err(refusal(
            Reason::LimitReached,
            format!(
                "{NO_FIP_LEFT} {id} may have {limit} addresses for {replicas} replicas and has to wait for releasing"
            ),
            format!("{id} has allocated {used} of {limit} addresses with replicas of {replicas}; {way}"),
        ))
    }
}
