//! What the loops ask of pods.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Container, Pod, PodCondition, PodSpec, PodTemplateSpec, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
    core::ObjectMeta,
};
use serde_json::{Value, json};

use super::{
    informer::{Informer, ObjectKey},
    meta::Meta,
    quantity,
};
use crate::clock::after;

/// The pod's phase, "Pending" if it has none yet.
pub fn phase(pod: &Pod) -> &str {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.unwrap_or("Pending")
}

/// Whether the pod has run to its end, well or not.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod counts for its controller: neither finished nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !pod.is_deleting()
}

/// The node that the pod is bound to.
pub fn node_name(pod: &Pod) -> Option<&str> {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    name.filter(|name| !name.is_empty())
}

/// A condition of the pod by type.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the pod is Ready.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Since when the pod is Ready.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether the pod is available, Ready for `min_ready_seconds` that is, and if not yet, how long that takes still.
pub fn availability(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Result<(), Option<Duration>> {
    let Some(since) = ready_since(pod) else {
        return match is_ready(pod) && min_ready_seconds <= 0 {
            true => Ok(()),
            false => Err(None),
        };
    };
    let wait = Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or(0));
    match Duration::try_from(after(since, wait).duration_since(now)) {
        Ok(left) if !left.is_zero() => Err(Some(left)),
        _ => Ok(()),
    }
}

/// The pod's priority.
pub fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

/// What the scheduler reserves for the pod, by resource, in thousandths: the sum over its containers or the largest init
/// container, whichever is more, plus overhead. A limit stands in for a missing request.
pub fn requests(spec: &PodSpec) -> BTreeMap<String, i128> {
    let mut total = BTreeMap::new();
    for container in &spec.containers {
        for (name, amount) in container_requests(container) {
            *total.entry(name).or_insert(0) += amount;
        }
    }
    for container in spec.init_containers.iter().flatten() {
        for (name, amount) in container_requests(container) {
            let entry = total.entry(name).or_insert(0);
            *entry = (*entry).max(amount);
        }
    }
    for (name, amount) in spec.overhead.iter().flatten() {
        *total.entry(name.clone()).or_insert(0) += quantity::milli(amount);
    }
    total
}

fn container_requests(container: &Container) -> BTreeMap<String, i128> {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let all = limits.into_iter().flatten().chain(requests.into_iter().flatten());
    all.map(|(name, amount)| (name.clone(), quantity::milli(amount))).collect()
}

/// Whether one of `tolerations` tolerates `taint`.
pub fn tolerates<'a>(tolerations: &'a [Toleration], taint: &'a Taint) -> impl Iterator<Item = &'a Toleration> {
    tolerations.iter().filter(move |toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        let value = toleration.value.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        (effect.is_empty() || effect == taint.effect)
            && (key == taint.key || (key.is_empty() && exists))
            && (exists || value == taint.value.as_deref().unwrap_or_default())
    })
}

/// The pod's tolerations.
pub fn tolerations(pod: &Pod) -> &[Toleration] {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
    tolerations.unwrap_or_default()
}

/// A pod as `template` says, owned by `owner`.
pub fn from_template(template: &PodTemplateSpec, namespace: &str, owner: OwnerReference) -> Pod {
    let given = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            labels: given.labels,
            annotations: given.annotations,
            finalizers: given.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The reference by which an object of `kind` controls its dependents.
pub fn controller_reference<K: Meta>(api_version: &str, kind: &str, owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: owner.name().to_owned(),
        uid: owner.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Deletes this very pod; that it is gone already is success. `grace` overrides the pod's own period in seconds.
pub async fn delete(client: &Client, cache: &Informer<Pod>, pod: &Pod, grace: Option<u32>) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.ns());
    let params = DeleteParams {
        grace_period_seconds: grace,
        preconditions: Some(Preconditions { uid: Some(pod.uid().to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(pod.name(), &params).await.map(|answer| answer.left()) {
        // A pod that is deleted gracefully is answered with, and the watch tells when it is gone.
        Ok(Some(answer)) if answer.is_deleting() && grace != Some(0) => cache.record(answer),
        Ok(_) => {}
        Err(error) if is_gone(&error) => cache.forget(&ObjectKey::of(pod), pod.uid()),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether the answer says that the object asked for, by name and uid, does not exist.
pub fn is_gone(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            status.is_not_found() || (status.is_conflict() && status.message.contains("UID in precondition"))
        }
        _ => false,
    }
}

/// Whether the answer is a conflict: what we decided on has changed.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

/// Whether the answer is that the name is taken.
pub fn already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

/// A condition for a status patch. The transition time is that of `pod`'s present condition if the status stays the same.
pub fn condition_patch(
    pod: &Pod,
    kind: &str,
    status: &str,
    reason: Option<&str>,
    message: Option<&str>,
    now: Timestamp,
) -> Value {
    let present = condition(pod, kind).filter(|present| present.status == status);
    let since = present.and_then(|present| present.last_transition_time.clone());
    let mut patch = json!({
        "type": kind,
        "status": status,
        "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now)),
    });
    // An explicit null takes away what the condition said before.
    patch["reason"] = reason.into();
    patch["message"] = message.into();
    if pod.generation() > 0 {
        patch["observedGeneration"] = pod.generation().into();
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn requests_take_limits_and_init_containers_into_account() {
        let spec = spec(json!({
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "x/ip": "1"}}},
                {"name": "b", "resources": {"requests": {"cpu": "200m"}}},
            ],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "250m", "memory": "1"}}}],
        }));
        let expected = [("cpu", 300), ("memory", 1000), ("x/ip", 1000)];
        assert_eq!(requests(&spec), expected.map(|(name, amount)| (name.to_owned(), amount)).into());
    }

    #[test]
    fn tolerations_match_taints() {
        let taint: Taint = serde_json::from_value(json!({"key": "k", "value": "v", "effect": "NoExecute"})).unwrap();
        for (toleration, expected) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), false),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "value": "w"}), false),
            (json!({"key": "l", "operator": "Exists"}), false),
        ] {
            let text = toleration.to_string();
            let tolerations = [serde_json::from_value(toleration).unwrap()];
            assert_eq!(tolerates(&tolerations, &taint).next().is_some(), expected, "{text}");
        }
    }
}
