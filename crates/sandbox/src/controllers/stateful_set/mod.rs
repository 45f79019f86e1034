//! StatefulSets: pods with names that last.

mod plan;
mod revision;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus},
    core::v1::{Pod, PodTemplateSpec},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{create_pod, feed, itself, owner_of};
use crate::control::{
    Caches, Context,
    informer::{Informer, ObjectKey},
    meta::Meta,
    pods,
    workqueue::{Again, WorkQueue},
};
use plan::{Member, Step, Wish, plan};
use revision::Revisions;

const COMPONENT: &str = "statefulset-controller";
/// The label that names the revision a pod was made from.
const REVISION_LABEL: &str = "controller-revision-hash";

pub(super) fn start(ctx: &Context, caches: &Caches) {
    let queue = WorkQueue::new(ctx.clock.clone());
    let revisions: Informer<ControllerRevision> = Informer::start(ctx, Api::all(ctx.client.clone()));
    feed(ctx, &caches.stateful_sets, &queue, itself);
    feed(ctx, &caches.pods, &queue, owner_of("StatefulSet"));
    let (state, caches) = (ctx.clone(), caches.clone());
    queue.run(ctx, move |key| reconcile(state.clone(), caches.clone(), revisions.clone(), key));
}

async fn reconcile(
    ctx: Context,
    caches: Caches,
    cache: Informer<ControllerRevision>,
    key: ObjectKey,
) -> anyhow::Result<Again> {
    caches.pods.synced().await;
    cache.synced().await;
    let Some(set) = caches.stateful_sets.get(&key) else { return Ok(None) };
    let spec = &set.spec;
    if set.is_deleting() {
        return Ok(None);
    }
    let revisions = Revisions::of(&ctx, &cache, &set, spec).await?;
    let outcome = act(&ctx, &caches, &set, spec, &revisions).await;
    update_status(&ctx, &caches, &set, spec, &revisions).await?;
    revisions.clean_up(&ctx, &cache, &caches, &set).await?;
    outcome
}

/// The pod's ordinal, if it has the name of a member.
fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let number = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    number.parse().ok()
}

fn partition(spec: &StatefulSetSpec) -> Option<i32> {
    let strategy = spec.update_strategy.as_ref();
    let kind = strategy.and_then(|strategy| strategy.type_.as_deref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    (kind != Some("OnDelete")).then(|| rolling.and_then(|rolling| rolling.partition).unwrap_or(0))
}

fn start_ordinal(spec: &StatefulSetSpec) -> i32 {
    spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
}

async fn act(
    ctx: &Context,
    caches: &Caches,
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    revisions: &Revisions,
) -> anyhow::Result<Again> {
    let now = ctx.clock.now();
    let owned = caches.pods.owned_by(set.uid());
    let mut again: Option<Duration> = None;
    let mut members = Vec::new();
    for pod in &owned {
        let Some(ordinal) = ordinal(set, pod) else { continue };
        let running = pods::phase(pod) == "Running" && pods::is_ready(pod);
        let available = pods::availability(pod, spec.min_ready_seconds.unwrap_or(0), now);
        if let Err(Some(left)) = available {
            again = Some(again.map_or(left, |again| again.min(left)));
        }
        members.push(Member {
            ordinal,
            terminating: pod.is_deleting(),
            finished: pods::is_finished(pod),
            available: running && available.is_ok(),
            updated: pod.label(REVISION_LABEL) == Some(revisions.update.name()),
        });
    }
    let wish = Wish {
        ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
        start: start_ordinal(spec),
        replicas: spec.replicas.unwrap_or(1),
        partition: partition(spec),
    };
    for step in plan(wish, &members) {
        match step {
            Step::Create(ordinal) => {
                let old = partition(spec).is_some_and(|partition| ordinal < wish.start + partition);
                let revision = if old { &revisions.current } else { &revisions.update };
                let template = revision::template(revision).unwrap_or_else(|| spec.template.clone());
                let pod = member(set, spec, &template, revision.name(), ordinal);
                let name = pod.name().to_owned();
                create_pod(ctx, &caches.pods, pod).await?;
                let text = format!("create Pod {name} in StatefulSet {} successful", set.name());
                caches.recorder.normal(COMPONENT, set, "SuccessfulCreate", text);
            }
            Step::Delete(doomed) => {
                for pod in owned.iter().filter(|pod| ordinal(set, pod) == Some(doomed)) {
                    pods::delete(&ctx.client, &caches.pods, pod, None).await?;
                    let text = format!("delete Pod {} in StatefulSet {} successful", pod.name(), set.name());
                    caches.recorder.normal(COMPONENT, set, "SuccessfulDelete", text);
                }
            }
        }
    }
    Ok(again)
}

fn member(set: &StatefulSet, spec: &StatefulSetSpec, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let owner = pods::controller_reference("apps/v1", "StatefulSet", set);
    let mut pod = pods::from_template(template, set.ns(), owner);
    let name = format!("{}-{ordinal}", set.name());
    pod.metadata.labels.get_or_insert_default().extend([
        ("statefulset.kubernetes.io/pod-name".to_owned(), name.clone()),
        ("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string()),
        (REVISION_LABEL.to_owned(), revision.to_owned()),
    ]);
    if let Some(pod) = &mut pod.spec {
        pod.hostname = Some(name.clone());
        pod.subdomain = spec.service_name.clone().filter(|service| !service.is_empty());
    }
    pod.metadata.name = Some(name);
    pod
}

async fn update_status(
    ctx: &Context,
    caches: &Caches,
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    revisions: &Revisions,
) -> anyhow::Result<()> {
    let old = set.status.clone().unwrap_or_default();
    let now = ctx.clock.now();
    let pods: Vec<Arc<Pod>> = caches.pods.owned_by(set.uid());
    let count =
        |is: &dyn Fn(&Pod) -> bool| i32::try_from(pods.iter().filter(|pod| is(pod)).count()).unwrap_or(i32::MAX);
    let running = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod);
    let of = |revision: &str| count(&|pod| !pod.is_deleting() && pod.label(REVISION_LABEL) == Some(revision));
    let ready = count(&running);
    let mut status = StatefulSetStatus {
        observed_generation: Some(set.generation()),
        replicas: count(&|_| true),
        ready_replicas: Some(ready),
        available_replicas: Some(count(&|pod| {
            running(pod) && pods::availability(pod, spec.min_ready_seconds.unwrap_or(0), now).is_ok()
        })),
        current_replicas: Some(of(revisions.current.name())),
        updated_replicas: Some(of(revisions.update.name())),
        current_revision: Some(revisions.current.name().to_owned()),
        update_revision: Some(revisions.update.name().to_owned()),
        collision_count: Some(old.collision_count.unwrap_or(0)),
        conditions: old.conditions.clone(),
    };
    let wanted = spec.replicas.unwrap_or(1);
    if partition(spec).is_some() && (status.updated_replicas, status.replicas, ready) == (Some(wanted), wanted, wanted)
    {
        status.current_revision.clone_from(&status.update_revision);
        status.current_replicas = status.updated_replicas;
    }
    if old == status {
        return Ok(());
    }
    let api: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), set.ns());
    let patch = Patch::Merge(json!({"metadata": {"uid": set.uid()}, "status": status}));
    match api.patch_status(set.name(), &PatchParams::default(), &patch).await {
        Ok(set) => caches.stateful_sets.record(set),
        Err(error) if pods::is_gone(&error) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
