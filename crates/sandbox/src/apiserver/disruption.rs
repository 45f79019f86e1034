//! PodDisruptionBudgets: whether one more pod may go.
//!
//! The status of a budget is computed when an eviction asks, not kept up to date by a controller.

use serde_json::{Value, json};

use super::{
    Status,
    api::Op,
    object::{self, Object, condition, int, items, meta_mut, text},
    selector::LabelSelector,
    store::{Key, Store},
};

const BUDGETS: &str = "poddisruptionbudgets.policy";

/// The numbers of a budget at this moment.
struct Count {
    expected: i64,
    desired: i64,
    healthy: i64,
}

/// Whether the budgets let `pod` go; a budget that does is written with one disruption less.
///
/// # Errors
/// 429 naming the budget that forbids it; 500 if two budgets select the pod.
pub(super) fn allow(op: &mut Op<'_>, pod: &Object) -> Result<(), Status> {
    let namespace = object::namespace(pod);
    let budgets: Vec<Object> = op
        .store
        .list(BUDGETS, Some(namespace))
        .into_iter()
        .filter(|b| LabelSelector::from_object(&b["spec"]["selector"]).matches(pod))
        .collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let count = count(op.store, budget, namespace);
    let ready = is_healthy(pod);
    let allowed = count.healthy - count.desired;
    // A pod that is not ready disrupts nothing further as long as the rest is healthy enough.
    let always = text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
    let ok = if ready { allowed > 0 } else { always || count.healthy >= count.desired };
    if !ok {
        let mut status =
            Status::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
        status.details.insert(
            "causes".into(),
            json!([{"reason": "DisruptionBudget", "message": format!(
                "The disruption budget {} needs {} healthy pods and has {} currently",
                object::name(budget), count.desired, count.healthy
            )}]),
        );
        return Err(status);
    }
    if !op.dry_run {
        let left = (allowed - i64::from(ready)).max(0);
        let mut value = (**budget).clone();
        value["status"] = json!({
            "observedGeneration": int(budget, "/metadata/generation").unwrap_or(1),
            "disruptionsAllowed": left, "currentHealthy": count.healthy,
            "desiredHealthy": count.desired, "expectedPods": count.expected,
        });
        let _ = meta_mut(&mut value);
        op.store.put(&Key::new(BUDGETS, namespace, object::name(budget)), value);
    }
    Ok(())
}

fn is_healthy(pod: &Value) -> bool {
    !object::is_terminating(pod) && condition(pod, "Ready").is_some_and(|c| c["status"] == "True")
}

fn count(store: &Store, budget: &Value, namespace: &str) -> Count {
    let selector = LabelSelector::from_object(&budget["spec"]["selector"]);
    let pods: Vec<Object> = store
        .list("pods", Some(namespace))
        .into_iter()
        .filter(|p| selector.matches(p))
        .filter(|p| !matches!(text(p, "/status/phase"), "Succeeded" | "Failed"))
        .collect();
    let healthy = pods.iter().filter(|p| is_healthy(p)).count();
    let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
    let pods_now = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let (min, max) = (&budget["spec"]["minAvailable"], &budget["spec"]["maxUnavailable"]);
    let (expected, desired) = if let Some(n) = min.as_i64() {
        (pods_now, n)
    } else if min.is_string() {
        let expected = expected(store, &pods, namespace);
        (expected, portion(min, expected))
    } else {
        let expected = expected(store, &pods, namespace);
        (expected, (expected - portion(max, expected)).max(0))
    };
    Count { expected, desired, healthy }
}

/// A number, or a percentage of `of` rounded up.
fn portion(value: &Value, of: i64) -> i64 {
    match (value.as_i64(), value.as_str()) {
        (Some(n), _) => n,
        (_, Some(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (of * percent + 99) / 100
        }
        _ => 0,
    }
}

/// How many pods the workloads of these pods want in all.
fn expected(store: &Store, pods: &[Object], namespace: &str) -> i64 {
    let mut seen = std::collections::BTreeMap::new();
    for pod in pods {
        let mut current = pod.clone();
        // Pod → ReplicaSet → Deployment at most.
        for _ in 0..3 {
            let owner = items(&current, "/metadata/ownerReferences")
                .iter()
                .find(|o| o["controller"] == true)
                .and_then(|o| store.by_uid(text(o, "/uid")))
                .filter(|key| key.namespace == namespace)
                .and_then(|key| store.get(key).map(|object| (key, object.clone())));
            let Some((key, object)) = owner else {
                break;
            };
            let replicas = store
                .registry
                .by_storage(&key.storage)
                .and_then(|r| r.scale.clone())
                .and_then(|scale| int(&object, &scale.spec_replicas));
            current = object;
            if items(&current, "/metadata/ownerReferences").is_empty() {
                seen.insert(object::uid(&current).to_string(), replicas.unwrap_or(1));
            }
        }
    }
    seen.values().sum()
}
