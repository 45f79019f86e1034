//! DaemonSets: one pod on each node that suits.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus},
    core::v1::{Node, Pod, Toleration},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{create_pods, feed, itself, owner_of, rollout, template};
use crate::{
    control::{
        Caches, Context,
        informer::{Change, ObjectKey},
        meta::Meta,
        pods,
        workqueue::{Again, WorkQueue},
    },
    scheduler::filter::selects_node,
};

const REVISION_LABEL: &str = "controller-revision-hash";

pub(super) fn start(ctx: &Context, caches: &Caches) {
    let queue = WorkQueue::new(ctx.clock.clone());
    feed(ctx, &caches.daemon_sets, &queue, itself);
    feed(ctx, &caches.pods, &queue, owner_of("DaemonSet"));
    let sets = caches.daemon_sets.clone();
    feed(ctx, &caches.nodes, &queue, move |change: &Change<Node>| {
        let shape = |node: &Arc<Node>| (node.metadata.labels.clone(), node.spec.clone());
        let same = matches!((&change.old, &change.new), (Some(old), Some(new)) if shape(old) == shape(new));
        let sets = if same { Vec::new() } else { sets.all() };
        sets.iter().map(|set| ObjectKey::of(&**set)).collect()
    });
    let (state, caches) = (ctx.clone(), caches.clone());
    queue.run(ctx, move |key| reconcile(state.clone(), caches.clone(), key));
}

async fn reconcile(ctx: Context, caches: Caches, key: ObjectKey) -> anyhow::Result<Again> {
    caches.synced().await;
    let Some(set) = caches.daemon_sets.get(&key).filter(|set| !set.is_deleting()) else { return Ok(None) };
    let spec = &set.spec;
    let hash = template::hash(&spec.template, 0);
    let owned = caches.pods.owned_by(set.uid());
    let nodes = caches.nodes.all();
    let eligible: Vec<&Arc<Node>> = nodes.iter().filter(|node| suits(&set, spec, node)).collect();
    let has_pod = |name: &str| owned.iter().any(|pod| target(pod) == Some(name));
    let mut missing = Vec::new();
    for node in &eligible {
        if !has_pod(node.name()) {
            missing.push(daemon(&set, spec, &hash, node.name()));
        }
    }
    let on_eligible = |pod: &Pod| target(pod).is_some_and(|name| eligible.iter().any(|node| node.name() == name));
    for pod in owned.iter().filter(|pod| !pod.is_deleting()) {
        if !on_eligible(pod) || pods::is_finished(pod) {
            pods::delete(&ctx.client, &caches.pods, pod, None).await?;
        }
    }
    create_pods(&ctx, &caches.pods, missing).await?;
    replace_one(&ctx, &caches, spec, &hash, &owned, eligible.len()).await?;
    update_status(&ctx, &caches, &set, &hash, eligible.len(), &on_eligible).await?;
    Ok(None)
}

/// The node that the pod is on or meant for.
fn target(pod: &Pod) -> Option<&str> {
    pods::node_name(pod).or_else(|| {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let fields = required.node_selector_terms.first()?.match_fields.as_ref()?;
        fields.first()?.values.as_ref()?.first().map(String::as_str)
    })
}

fn tolerations() -> Vec<Toleration> {
    let keys = [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    let toleration = |(key, effect): (&str, &str)| Toleration {
        key: Some(format!("node.kubernetes.io/{key}")),
        operator: Some("Exists".into()),
        effect: Some(effect.into()),
        ..Toleration::default()
    };
    keys.into_iter().map(toleration).collect()
}

/// The pod for `node`. The scheduler binds it; the affinity leaves it no choice.
fn daemon(set: &DaemonSet, spec: &DaemonSetSpec, hash: &str, node: &str) -> Pod {
    let owner = pods::controller_reference("apps/v1", "DaemonSet", set);
    let mut pod = pods::from_template(&spec.template, set.ns(), owner);
    pod.metadata.generate_name = Some(format!("{}-", set.name()));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(REVISION_LABEL.into(), hash.to_owned());
    if let Some(spec) = &mut pod.spec {
        spec.tolerations.get_or_insert_default().extend(tolerations());
        let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
        let required = affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
        let field = serde_json::from_value(json!([{"key": "metadata.name", "operator": "In", "values": [node]}]));
        let field: Option<Vec<_>> = field.ok();
        if required.node_selector_terms.is_empty() {
            required.node_selector_terms.push(Default::default());
        }
        for term in &mut required.node_selector_terms {
            term.match_fields.clone_from(&field);
        }
    }
    pod
}

fn suits(set: &DaemonSet, spec: &DaemonSetSpec, node: &Node) -> bool {
    let owner = pods::controller_reference("apps/v1", "DaemonSet", set);
    let pod = pods::from_template(&spec.template, set.ns(), owner);
    let mut tolerated = tolerations();
    tolerated.extend(pods::tolerations(&pod).to_vec());
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut hard = taints.filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    selects_node(&pod, node) && hard.all(|taint| pods::tolerates(&tolerated, taint).next().is_some())
}

/// Deletes outdated pods, as many at a time as may be unavailable.
async fn replace_one(
    ctx: &Context,
    caches: &Caches,
    spec: &DaemonSetSpec,
    hash: &str,
    owned: &[Arc<Pod>],
    wanted: usize,
) -> anyhow::Result<()> {
    let strategy = spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return Ok(());
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let allowed = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let total = i32::try_from(wanted).unwrap_or(i32::MAX);
    let allowed = rollout::resolve(allowed, total, true).max(1);
    let up = owned.iter().filter(|pod| pods::is_active(pod) && pods::is_ready(pod)).count();
    let mut room = usize::try_from(allowed).unwrap_or(1).saturating_sub(wanted.saturating_sub(up));
    let outdated = |pod: &&Arc<Pod>| pods::is_active(pod) && pod.label(REVISION_LABEL) != Some(hash);
    for pod in owned.iter().filter(outdated) {
        // A pod that does not serve can go without making things worse.
        let serves = pods::is_ready(pod);
        if serves && room == 0 {
            continue;
        }
        room = room.saturating_sub(usize::from(serves));
        pods::delete(&ctx.client, &caches.pods, pod, None).await?;
    }
    Ok(())
}

async fn update_status(
    ctx: &Context,
    caches: &Caches,
    set: &DaemonSet,
    hash: &str,
    wanted: usize,
    on_eligible: &(dyn Fn(&Pod) -> bool + Sync),
) -> anyhow::Result<()> {
    let owned = caches.pods.owned_by(set.uid());
    let active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    let count =
        |is: &dyn Fn(&Pod) -> bool| i32::try_from(active.iter().filter(|pod| is(pod)).count()).unwrap_or(i32::MAX);
    let ready = count(&|pod| pods::is_ready(pod));
    let desired = i32::try_from(wanted).unwrap_or(i32::MAX);
    let status = DaemonSetStatus {
        current_number_scheduled: count(&|pod| on_eligible(pod)),
        desired_number_scheduled: desired,
        number_ready: ready,
        number_available: Some(ready),
        number_unavailable: Some((desired - ready).max(0)),
        number_misscheduled: count(&|pod| !on_eligible(pod)),
        updated_number_scheduled: Some(count(&|pod| pod.label(REVISION_LABEL) == Some(hash))),
        observed_generation: Some(set.generation()),
        collision_count: None,
        conditions: None,
    };
    if set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let api: Api<DaemonSet> = Api::namespaced(ctx.client.clone(), set.ns());
    let patch = Patch::Merge(json!({"metadata": {"uid": set.uid()}, "status": status}));
    match api.patch_status(set.name(), &PatchParams::default(), &patch).await {
        Ok(set) => caches.daemon_sets.record(set),
        Err(error) if pods::is_gone(&error) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
