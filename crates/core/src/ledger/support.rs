//! Which release policies and requests a pod may have (contract §3.2).

use super::Ledger;
use super::ids::{APPS, Model, WorkloadId};
use super::pods::Pod;
use super::refusal::{NO_FIP_LEFT, plain};
use super::verdict::{Reason, Refusal};
use super::view::KindStatus;
use crate::policy::ReleasePolicy;
use crate::range::shown;

/// The integer after the last `-` of a pod name, as controllers that number their pods write it.
pub(super) fn ordinal(pod_name: &str) -> Option<u64> {
    let (_, digits) = pod_name.rsplit_once('-')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// Job and DaemonSet pods have random suffixes, which can be all digits.
fn numbers_its_pods(id: &WorkloadId) -> bool {
    !matches!((&*id.group, &*id.kind), ("batch", "Job" | "CronJob") | (APPS, "DaemonSet"))
}

pub(super) fn is_indexed(id: &WorkloadId, pod_name: &str) -> bool {
    numbers_its_pods(id) && ordinal(pod_name).is_some()
}

impl Ledger {
    /// Refuses what only an edit, or a CRD, can cure.
    pub(super) fn check_policy(&self, pod: &Pod) -> Result<(), Refusal> {
        let view = &pod.view;
        if let Err(error) = &view.ranges {
            return Err(plain(Reason::BadAnnotation, format!("{NO_FIP_LEFT} {error}")));
        }
        let Some(ix) = pod.workload else {
            let owner = view.controller.as_ref().map_or_else(String::new, |c| format!("{} {}", c.kind, c.name));
            return Err(plain(
                Reason::WorkloadUnknown,
                format!(
                    "{NO_FIP_LEFT} the controller of pod {}/{} ({owner}) is not known yet",
                    view.namespace, view.name
                ),
            ));
        };
        let id = &self.workloads.get(ix).id;
        let ranges = view.ranges.as_ref().is_ok_and(|lists| !lists.is_empty());
        // The pods of a ReplicaSet end in random characters, whatever controls the ReplicaSet.
        let indexed = is_indexed(id, &view.name) && pod.replica_set.is_none();
        // Who names a pool need not know that it implies a policy.
        let origin = view.pool.as_deref().map_or_else(String::new, |pool| format!(" of pool {:?}", shown(pool)));
        let unsupported = |why: &str, way: &str| {
            Err(plain(
                Reason::UnsupportedPolicy,
                format!(
                    "{NO_FIP_LEFT} release policy {}{origin} is not supported for pod {}/{}: {why}; {way}",
                    view.policy, view.namespace, view.name
                ),
            ))
        };
        match (id.model(), view.policy) {
            (_, ReleasePolicy::Default) | (Model::StatefulSet, _) => Ok(()),
            (Model::Fungible, _) if ranges => unsupported(
                "pods of a Deployment reuse any of its reserved addresses, so request_ip_range cannot be kept",
                "remove the ranges or the policy",
            ),
            (Model::Fungible, _) => Ok(()),
            (_, ReleasePolicy::Never) if indexed => Ok(()),
            (_, ReleasePolicy::Never) => unsupported(
                "not a stateful name, the name does not end in -<integer>",
                "use a StatefulSet, a Deployment or a workload that numbers its pods",
            ),
            (Model::Bare, ReleasePolicy::Immutable) => unsupported(
                "parent workload has no replicas, the pod has no controller",
                "use policy never or a workload",
            ),
            (Model::Custom, ReleasePolicy::Immutable) if !indexed => unsupported(
                "not a stateful name, the name does not end in -<integer>",
                "use a StatefulSet, a Deployment or a workload that numbers its pods",
            ),
            (Model::Custom, ReleasePolicy::Immutable) => self.check_kind(id),
        }
    }

    fn check_kind(&self, id: &WorkloadId) -> Result<(), Refusal> {
        match self.kinds.get(&(id.group.clone(), id.kind.clone())) {
            Some(KindStatus::Synced) => Ok(()),
            Some(KindStatus::Unavailable(why)) => Err(plain(
                Reason::KindUnavailable,
                format!(
                    "{NO_FIP_LEFT} release policy immutable needs the replicas of {id}: parent workload has no replicas: {why}"
                ),
            )),
            Some(KindStatus::Starting) | None => Err(plain(
                Reason::WorkloadUnknown,
                format!("{NO_FIP_LEFT} the watch on {} objects, for release policy immutable, is starting", id.kind),
            )),
        }
    }
}
