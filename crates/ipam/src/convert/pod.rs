//! Pods.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use galaxy_api::annotation::PodArgs;
use galaxy_api::names;
use galaxy_api::pod::{OwnerRef, PodView as WirePod};
use galaxy_core::ReleasePolicy;
use galaxy_core::ledger::{Controller, Phase, PodView, Time, Uid};

use super::parse_version;
use crate::clock::from_timestamp;

/// Condition that pod GC sets on a pod it ends; its reason then is [`BY_POD_GC`].
const DISRUPTION_TARGET: &str = "DisruptionTarget";
const BY_POD_GC: &str = "DeletionByPodGC";

/// The text of the args annotation; none when empty.
pub(crate) fn args_text(pod: &WirePod) -> Option<&str> {
    pod.annotation(names::ARGS_ANNOTATION)
}

/// A pod that wants floating addresses as the ledger knows it.
pub(crate) fn pod_view(pod: &WirePod) -> PodView {
    let pool = pod.annotation(names::POOL_ANNOTATION);
    let args = PodArgs::parse(args_text(pod).unwrap_or_default()).map_err(|error| error.to_string());
    let annotated = args
        .as_ref()
        .map_or_else(|_| Vec::new(), |args| args.ip_infos().iter().map(|info| info.ip.addr()).collect::<Vec<IpAddr>>());
    PodView {
        uid: Uid::from(pod.uid.as_str()),
        namespace: pod.namespace.as_str().into(),
        name: pod.name.as_str().into(),
        version: parse_version(&pod.resource_version),
        created: pod.created_at.map_or(Time(0), from_timestamp),
        policy: ReleasePolicy::from_annotations(pod.annotation(names::RELEASE_POLICY_ANNOTATION), pool),
        pool: pool.map(Into::into),
        ranges: args.map(|args| args.ranges),
        controller: controller(&pod.owners).map(|owner| Controller {
            group: owner.api_group().into(),
            kind: owner.kind.as_str().into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
        }),
        node: Some(pod.node_name.as_str()).filter(|node| !node.is_empty()).map(Into::into),
        phase: phase_of(pod),
        deletion_deadline: pod.deletion_deadline.map(from_timestamp),
        priority: pod.priority,
        unschedulable: unschedulable(pod),
        refused_by_us: refused_by_us(pod),
        ips: pod.ips.clone(),
        annotated,
        condition: pod
            .condition(names::POD_CONDITION)
            .map(|condition| (condition.status == "True", condition.reason.as_str().into())),
    }
}

/// The reference that says it is the controller, else the only one: the original asked for no more.
fn controller(owners: &[OwnerRef]) -> Option<&OwnerRef> {
    owners.iter().find(|owner| owner.controller).or(match owners {
        [only] => Some(only),
        _ => None,
    })
}

/// The phase, and what it proves.
fn phase_of(pod: &WirePod) -> Phase {
    match pod.phase.as_str() {
        "" | "Pending" => Phase::Pending,
        "Running" => Phase::Running,
        "Succeeded" => Phase::Succeeded,
        "Failed" => {
            let by_pod_gc = |condition: &galaxy_api::pod::PodConditionView| {
                condition.status == "True" && condition.reason == BY_POD_GC
            };
            let ended_by_gc = pod.reason == BY_POD_GC || pod.condition(DISRUPTION_TARGET).is_some_and(by_pod_gc);
            if ended_by_gc { Phase::FailedByPodGc } else { Phase::Failed }
        }
        _ => Phase::Unknown,
    }
}

/// The scheduler quotes a reason of ours.
fn refused_by_us(pod: &WirePod) -> bool {
    pod.condition("PodScheduled")
        .is_some_and(|condition| condition.status == "False" && condition.message.contains("FloatingIPPlugin:"))
}

/// Two refusals of the scheduler differ in it.
fn unschedulable(pod: &WirePod) -> Option<u64> {
    let condition = pod.condition("PodScheduled").filter(|condition| condition.status == "False")?;
    let mut hasher = DefaultHasher::new();
    (&condition.reason, &condition.message).hash(&mut hasher);
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.as_nanosecond());
    (time(condition.last_probe_time), time(condition.last_transition_time)).hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> PodView {
        pod_view(&serde_json::from_value::<WirePod>(json).unwrap())
    }

    #[test]
    fn the_controller_is_the_one_that_says_so_else_the_only_owner() {
        let owner = |name: &str, controller: Option<bool>| serde_json::json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name, "controller": controller});
        for (owners, expected) in [
            (vec![], None),
            (vec![owner("a", None)], Some("a")),
            (vec![owner("a", None), owner("b", Some(true))], Some("b")),
            (vec![owner("a", None), owner("b", Some(false))], None),
        ] {
            let view = pod(serde_json::json!({"metadata": {"ownerReferences": owners}}));
            assert_eq!(view.controller.as_ref().map(|c| &*c.name), expected);
            assert!(view.controller.is_none_or(|c| &*c.group == "apps"));
        }
    }

    #[test]
    fn a_failure_written_by_pod_gc_proves_nothing() {
        for (status, phase) in [
            (serde_json::json!({}), Phase::Pending),
            (serde_json::json!({"phase": "Running"}), Phase::Running),
            (serde_json::json!({"phase": "Failed", "reason": "Evicted"}), Phase::Failed),
            (serde_json::json!({"phase": "Failed", "reason": "DeletionByPodGC"}), Phase::FailedByPodGc),
            (
                serde_json::json!({"phase": "Failed", "conditions": [
                    {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]}),
                Phase::FailedByPodGc,
            ),
            (serde_json::json!({"phase": "Unknown"}), Phase::Unknown),
        ] {
            assert_eq!(pod(serde_json::json!({ "status": status })).phase, phase, "{status}");
        }
    }

    #[test]
    fn refusals_are_told_apart_by_what_the_scheduler_wrote() {
        let refused = |message: &str| {
            pod(serde_json::json!({"status": {"conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}}))
            .unschedulable
        };
        assert_eq!(refused("0/3 nodes"), refused("0/3 nodes"));
        assert_ne!(refused("0/3 nodes"), refused("0/4 nodes"));
        let bound = serde_json::json!({"status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}});
        assert_eq!(pod(bound).unschedulable, None);
    }

    #[test]
    fn annotations_are_a_request_and_an_answer() {
        let args = r#"{"request_ip_range":[["10.0.0.2~10.0.0.9"],["10.0.1.1"]],
            "common":{"ipinfos":[{"ip":"10.0.0.2/24","vlan":2,"gateway":"10.0.0.1"}]}}"#;
        let view = pod(serde_json::json!({"metadata": {"resourceVersion": "77", "annotations": {
            "k8s.v1.cni.galaxy.io/args": args,
            "k8s.v1.cni.galaxy.io/release-policy": "immutable",
            "tke.cloud.tencent.com/eni-ip-pool": "blue"}}}));
        assert_eq!(view.version, 77);
        assert_eq!(view.policy, ReleasePolicy::Never, "a pool forces never");
        assert_eq!(view.pool.as_deref(), Some("blue"));
        assert_eq!(view.ranges.unwrap().len(), 2);
        assert_eq!(view.annotated, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        let bad = pod(serde_json::json!({"metadata": {"annotations": {"k8s.v1.cni.galaxy.io/args": "{"}}}));
        assert!(bad.ranges.unwrap_err().contains("k8s.v1.cni.galaxy.io/args"));
    }
}
