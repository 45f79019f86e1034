//! ReplicaSets: so many pods of one template.

use std::{cmp::Reverse, collections::HashMap};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
    core::v1::Pod,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{create_pods, feed, itself, owner_of};
use crate::control::{
    Caches, Context,
    informer::ObjectKey,
    meta::{Meta, selects},
    pods,
    workqueue::{Again, WorkQueue},
};

/// Pods made or deleted in one go.
const BURST: usize = 500;
const COMPONENT: &str = "replicaset-controller";

pub(super) fn start(ctx: &Context, caches: &Caches) {
    let queue = WorkQueue::new(ctx.clock.clone());
    feed(ctx, &caches.replica_sets, &queue, itself);
    feed(ctx, &caches.pods, &queue, owner_of("ReplicaSet"));
    let (state, caches) = (ctx.clone(), caches.clone());
    queue.run(ctx, move |key| reconcile(state.clone(), caches.clone(), key));
}

async fn reconcile(ctx: Context, caches: Caches, key: ObjectKey) -> anyhow::Result<Again> {
    caches.pods.synced().await;
    let Some(set) = caches.replica_sets.get(&key) else { return Ok(None) };
    let spec = &set.spec;
    let owned = caches.pods.owned_by(set.uid());
    let active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let mut outcome = Ok(());
    if !set.is_deleting() {
        if active.len() < wanted {
            outcome = create(&ctx, &caches, &set, (wanted - active.len()).min(BURST)).await;
        } else if active.len() > wanted {
            let count = (active.len() - wanted).min(BURST);
            let mut ranked: Vec<&Pod> = active.iter().map(|pod| &***pod).collect();
            rank(&mut ranked);
            for pod in &ranked[..count] {
                outcome = pods::delete(&ctx.client, &caches.pods, pod, None).await;
                if outcome.is_err() {
                    break;
                }
                let text = format!("Deleted pod: {}", pod.name());
                caches.recorder.normal(COMPONENT, &*set, "SuccessfulDelete", text);
            }
        }
    }
    let again = update_status(&ctx, &caches, &set, outcome.as_ref().err()).await?;
    outcome?;
    Ok(again)
}

async fn create(ctx: &Context, caches: &Caches, set: &ReplicaSet, count: usize) -> kube::Result<()> {
    let Some(template) = &set.spec.template else { return Ok(()) };
    let owner = pods::controller_reference("apps/v1", "ReplicaSet", set);
    let mut pod = pods::from_template(template, set.ns(), owner);
    pod.metadata.generate_name = Some(format!("{}-", set.name()));
    create_pods(ctx, &caches.pods, vec![pod; count]).await
}

/// Sorts pods so that those to be deleted first come first: unassigned, then pending, then not ready, then cheap to delete, then
/// on a node with many of their kind, then ready for a short time only, then often restarted, then young.
pub(super) fn rank(pods: &mut [&Pod]) {
    let mut crowd: HashMap<String, usize> = HashMap::new();
    for node in pods.iter().filter_map(|pod| pods::node_name(pod)) {
        *crowd.entry(node.to_owned()).or_insert(0) += 1;
    }
    pods.sort_by_cached_key(|pod| {
        let node = pods::node_name(pod);
        let phase = match pods::phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let cost: i32 = pod
            .annotation("controller.kubernetes.io/pod-deletion-cost")
            .and_then(|cost| cost.parse().ok())
            .unwrap_or(0);
        let crowd = node.and_then(|node| crowd.get(node)).copied().unwrap_or(0);
        let restarts = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let restarts = restarts.map(|container| container.restart_count).max().unwrap_or(0);
        (
            node.is_some(),
            phase,
            pods::is_ready(pod),
            cost,
            Reverse(crowd),
            Reverse(pods::ready_since(pod).unwrap_or(Timestamp::MIN)),
            Reverse(restarts),
            Reverse(pod.created()),
        )
    });
}

async fn update_status(
    ctx: &Context,
    caches: &Caches,
    set: &ReplicaSet,
    failure: Option<&kube::Error>,
) -> anyhow::Result<Again> {
    let spec = &set.spec;
    let now = ctx.clock.now();
    let owned = caches.pods.owned_by(set.uid());
    let mut status = ReplicaSetStatus { observed_generation: Some(set.generation()), ..ReplicaSetStatus::default() };
    let labels = spec.template.as_ref().and_then(|template| template.metadata.as_ref());
    let labels = labels.and_then(|metadata| metadata.labels.clone());
    let (mut labelled, mut ready, mut available, mut terminating) = (0, 0, 0, 0);
    let mut again: Again = None;
    for pod in &owned {
        if pods::is_finished(pod) {
            continue;
        }
        if pod.is_deleting() {
            terminating += 1;
            continue;
        }
        status.replicas += 1;
        let selector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
            match_labels: labels.clone(),
            ..Default::default()
        };
        labelled += i32::from(selects(&selector, pod.metadata.labels.as_ref()));
        if !pods::is_ready(pod) {
            continue;
        }
        ready += 1;
        match pods::availability(pod, spec.min_ready_seconds.unwrap_or(0), now) {
            Ok(()) => available += 1,
            Err(Some(left)) => again = Some(again.map_or(left, |again| again.min(left))),
            Err(None) => {}
        }
    }
    status.fully_labeled_replicas = Some(labelled);
    status.ready_replicas = Some(ready);
    status.available_replicas = Some(available);
    status.terminating_replicas = Some(terminating);
    let old = set.status.clone().unwrap_or_default();
    if let Some(error) = failure {
        let known = old.conditions.iter().flatten().find(|it| it.type_.as_deref() == Some("ReplicaFailure"));
        let since = known.and_then(|known| known.last_transition_time.clone());
        status.conditions = Some(vec![ReplicaSetCondition {
            type_: Some("ReplicaFailure".into()),
            status: Some("True".into()),
            reason: Some("FailedCreate".into()),
            message: Some(error.to_string()),
            last_transition_time: Some(since.unwrap_or(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now))),
        }]);
        if known.is_none_or(|known| known.message.as_deref() != Some(&error.to_string())) {
            caches.recorder.warning(COMPONENT, set, "FailedCreate", format!("Error creating: {error}"));
        }
    }
    if normal(&old) == normal(&status) {
        return Ok(again);
    }
    let api: Api<ReplicaSet> = Api::namespaced(ctx.client.clone(), set.ns());
    let conditions = status.conditions.clone().unwrap_or_default();
    let mut body = serde_json::to_value(&status)?;
    body["conditions"] = serde_json::to_value(conditions)?;
    let patch = Patch::Merge(json!({"metadata": {"uid": set.uid()}, "status": body}));
    match api.patch_status(set.name(), &PatchParams::default(), &patch).await {
        Ok(set) => caches.replica_sets.record(set),
        Err(error) if pods::is_gone(&error) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(again)
}

/// The status with what is absent told apart from 0 no more.
fn normal(status: &ReplicaSetStatus) -> ReplicaSetStatus {
    let count = |count: Option<i32>| Some(count.unwrap_or(0));
    ReplicaSetStatus {
        fully_labeled_replicas: count(status.fully_labeled_replicas),
        ready_replicas: count(status.ready_replicas),
        available_replicas: count(status.available_replicas),
        terminating_replicas: count(status.terminating_replicas),
        conditions: Some(status.conditions.clone().unwrap_or_default()),
        ..status.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_useful_pods_go_first() {
        let pod = |name: &str, node: Option<&str>, phase: &str, ready: bool| -> Pod {
            let ready = if ready { "True" } else { "False" };
            let pod = json!({
                "metadata": {"name": name},
                "spec": {"containers": [], "nodeName": node},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
            });
            serde_json::from_value(pod).unwrap()
        };
        let pods = [
            pod("ready-alone", Some("n1"), "Running", true),
            pod("ready-crowded", Some("n2"), "Running", true),
            pod("starting", Some("n2"), "Running", false),
            pod("pending", Some("n3"), "Pending", false),
            pod("unassigned", None, "Pending", false),
        ];
        let mut ranked: Vec<&Pod> = pods.iter().collect();
        rank(&mut ranked);
        let names: Vec<_> = ranked.iter().map(|pod| pod.name()).collect();
        assert_eq!(names, ["unassigned", "pending", "starting", "ready-crowded", "ready-alone"]);
    }
}
