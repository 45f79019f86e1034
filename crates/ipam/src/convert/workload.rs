//! Workloads: Deployments, StatefulSets, ReplicaSets and whatever has a scale subresource.

use std::collections::BTreeMap;

use galaxy_api::names::{
    ON_NODE_FAILURE_ANNOTATION, ON_NODE_FAILURE_REPLACE, REVISION_ANNOTATION, SPARE_ADDRESSES_ANNOTATION,
};
use galaxy_core::ledger::{APPS, Controller, ReplicaSetView, Uid, WorkloadId, WorkloadView};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;

use super::{uid, version};

/// What the API server fills in for absent `replicas`.
const DEFAULT_REPLICAS: i32 = 1;
/// What it fills in for absent `maxSurge` and `maxUnavailable`.
const DEFAULT_SHARE: &str = "25%";

/// A Deployment.
pub(crate) fn deployment(object: &Deployment) -> WorkloadView {
    let spec = &object.spec;
    let replicas = count(spec.replicas);
    let strategy = spec.strategy.clone().unwrap_or_default();
    let (max_surge, max_unavailable) = rollout(&strategy, replicas);
    WorkloadView {
        replicas: Some(replicas),
        max_surge,
        surges_first: max_unavailable == Some(0),
        ..view(APPS, "Deployment", &object.metadata, Some(&spec.template))
    }
}

/// A StatefulSet.
pub(crate) fn stateful_set(object: &StatefulSet) -> WorkloadView {
    let spec = &object.spec;
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
    WorkloadView {
        replicas: Some(count(spec.replicas)),
        ordinal_start: start.map_or(0, clamp),
        ..view(APPS, "StatefulSet", &object.metadata, Some(&spec.template))
    }
}

/// A ReplicaSet; the workload too if it is one of its own.
pub(crate) fn replica_set(object: &ReplicaSet) -> (ReplicaSetView, Option<WorkloadView>) {
    let (meta, spec) = (&object.metadata, &object.spec);
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| Controller {
        group: owner.api_version.split_once('/').map_or("", |(group, _)| group).into(),
        kind: owner.kind.as_str().into(),
        name: owner.name.as_str().into(),
        uid: owner.uid.as_str().into(),
    });
    let replicas = count(spec.replicas);
    let template = spec.template.as_ref();
    let own = controller
        .is_none()
        .then(|| WorkloadView { replicas: Some(replicas), ..view(APPS, "ReplicaSet", meta, template) });
    let set = ReplicaSetView {
        uid: uid(meta),
        namespace: meta.namespace.as_deref().unwrap_or_default().into(),
        name: meta.name.as_deref().unwrap_or_default().into(),
        version: version(meta),
        controller,
        replicas,
        revision: annotation(meta, REVISION_ANNOTATION).and_then(|revision| revision.parse().ok()),
    };
    (set, own)
}

/// An object of a custom kind, given the path to its replicas: absent there, nothing may be concluded from it.
pub(crate) fn custom(
    group: &str,
    kind: &str,
    meta: &ObjectMeta,
    object: &serde_json::Value,
    replicas_path: &[String],
) -> WorkloadView {
    let replicas = replicas_path.iter().try_fold(object, |value, member| value.get(member));
    let replicas = replicas.and_then(serde_json::Value::as_u64);
    let failure_policy = |annotations: &serde_json::Value| {
        annotations.get(ON_NODE_FAILURE_ANNOTATION).and_then(|value| value.as_str()) == Some(ON_NODE_FAILURE_REPLACE)
    };
    let template = object.pointer("/spec/template/metadata/annotations");
    let mut view = view(group, kind, meta, None);
    view.replicas = replicas.map(|replicas| u32::try_from(replicas).unwrap_or(u32::MAX));
    view.replace_on_node_failure |= template.is_some_and(failure_policy);
    view
}

/// What any workload has; the template's annotations count where the workload has none.
fn view(group: &str, kind: &str, meta: &ObjectMeta, template: Option<&PodTemplateSpec>) -> WorkloadView {
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let of_template = template.and_then(|template| template.metadata.as_ref());
    let value = |name| annotation(meta, name).or_else(|| of_template.and_then(|template| annotation(template, name)));
    WorkloadView {
        id: WorkloadId::new(group, kind, namespace, name),
        uid: uid(meta),
        version: version(meta),
        replicas: None,
        ordinal_start: 0,
        surges_first: false,
        max_surge: 0,
        spare_addresses: value(SPARE_ADDRESSES_ANNOTATION).and_then(|spare| spare.trim().parse().ok()),
        replace_on_node_failure: value(ON_NODE_FAILURE_ANNOTATION) == Some(ON_NODE_FAILURE_REPLACE),
    }
}

/// The id that a deleted object had.
pub(crate) fn id(group: &str, kind: &str, meta: &ObjectMeta) -> (WorkloadId, Uid) {
    let view = view(group, kind, meta, None);
    (view.id, view.uid)
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    let annotations: Option<&BTreeMap<String, String>> = meta.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(name)).map(String::as_str)
}

fn count(replicas: Option<i32>) -> u32 {
    clamp(replicas.unwrap_or(DEFAULT_REPLICAS))
}

fn clamp(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// maxSurge and maxUnavailable in pods, as the Deployment controller resolves them; no maxUnavailable for Recreate, which
/// takes all pods down first.
fn rollout(strategy: &DeploymentStrategy, replicas: u32) -> (u32, Option<u32>) {
    if strategy.type_.as_deref() == Some("Recreate") {
        return (0, None);
    }
    let rolling = strategy.rolling_update.as_ref();
    let default = IntOrString::String(DEFAULT_SHARE.to_owned());
    let surge = resolve(rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&default), replicas, true);
    let unavailable =
        resolve(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&default), replicas, false);
    // Both zero would never move: the controller then takes one pod down.
    (surge, Some(if surge == 0 && unavailable == 0 { 1 } else { unavailable.min(replicas) }))
}

fn resolve(value: &IntOrString, replicas: u32, up: bool) -> u32 {
    match value {
        IntOrString::Int(number) => clamp(*number),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|percent| percent.parse::<u32>().ok()).unwrap_or(0);
            let hundredths = u64::from(replicas) * u64::from(percent);
            let pods = if up { hundredths.div_ceil(100) } else { hundredths / 100 };
            u32::try_from(pods).unwrap_or(u32::MAX)
        }
    }
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
