//! One kubelet's work: heartbeats, and pods one at a time.

use std::time::Duration;

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::json;
use tokio::sync::watch;

use super::{NodeSpec, Nodes, pod_status::Report};
use crate::{
    clock::after,
    control::{Caches, Context, informer::ObjectKey, meta::Meta, pods, workqueue::Again},
    controllers::LEASE_NAMESPACE,
};

/// The pause after a failed heartbeat. Real time.
const RETRY: Duration = Duration::from_millis(50);
/// How long a lease is good for, in seconds.
const LEASE_SECONDS: i32 = 40;

/// Keeps the node's lease fresh, and its status Ready, while it has power.
pub(super) async fn heartbeat(
    ctx: Context,
    caches: Caches,
    spec: NodeSpec,
    period: Duration,
    mut power: watch::Receiver<bool>,
) {
    loop {
        let on = *power.borrow_and_update();
        if on && let Err(error) = beat(&ctx, &caches, &spec).await {
            tracing::debug!(%error, node = spec.name, "heartbeat failed");
            tokio::time::sleep(RETRY).await;
            continue;
        }
        tokio::select! {
            () = ctx.clock.sleep(period), if on => {}
            changed = power.changed() => if changed.is_err() { return },
        }
    }
}

async fn beat(ctx: &Context, caches: &Caches, spec: &NodeSpec) -> kube::Result<()> {
    renew(ctx, spec).await?;
    let node = caches.nodes.get(&ObjectKey::new("", &spec.name));
    let status = node.as_ref().and_then(|node| node.status.as_ref());
    let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True");
    match node {
        // Somebody deleted the object: a kubelet does not come back from that.
        None if caches.nodes.is_synced() => Ok(()),
        _ if is_ready => Ok(()),
        _ => report_ready(ctx, caches, spec).await,
    }
}

async fn renew(ctx: &Context, spec: &NodeSpec) -> kube::Result<()> {
    let api: Api<Lease> = Api::namespaced(ctx.client.clone(), LEASE_NAMESPACE);
    let now = MicroTime(ctx.clock.now());
    let patch = Patch::Merge(json!({"spec": {"renewTime": now}}));
    match api.patch(&spec.name, &PatchParams::default(), &patch).await {
        Err(error) if pods::is_gone(&error) => {}
        outcome => return outcome.map(drop),
    }
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(spec.name.clone()),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(spec.name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}

/// Reports the node's whole status, Ready included.
pub(super) async fn report_ready(ctx: &Context, caches: &Caches, spec: &NodeSpec) -> kube::Result<()> {
    let api: Api<Node> = Api::all(ctx.client.clone());
    let patch = Patch::Strategic(json!({"status": spec.status(ctx.clock.now())}));
    let node = api.patch_status(&spec.name, &PatchParams::default(), &patch).await?;
    caches.nodes.record(node);
    Ok(())
}

/// Brings one pod further.
pub(super) async fn reconcile(nodes: Nodes, key: ObjectKey) -> anyhow::Result<Again> {
    let (ctx, caches) = (&nodes.0.ctx, &nodes.0.caches);
    let Some(pod) = caches.pods.get(&key) else { return Ok(None) };
    let Some(node) = pods::node_name(&pod).and_then(|name| nodes.running(name)) else { return Ok(None) };
    let memory = nodes.memory(&pod);
    let clock = &ctx.clock;
    let finished = pods::is_finished(&pod);
    if !pod.is_deleting() && finished {
        nodes.stop_sandbox(pod.uid()).await?;
        return Ok(None);
    }
    let started = after(memory.seen, nodes.0.config.start_delay);
    let report = |pod: &Pod| {
        let addresses = nodes.addresses(pod, &node);
        let lifetime = nodes.0.config.lifetime;
        Report::new(nodes.behaviour(pod), addresses, node.internal_ip, started, lifetime, clock.now())
    };
    if let Some(since) = memory.stopping {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let left = clock.until(after(since, grace.min(nodes.0.config.stop_delay)));
        if !left.is_zero() {
            return Ok(Some(left));
        }
        nodes.stop_sandbox(pod.uid()).await?;
        // A pod that ran is reported to have ended before it vanishes.
        if !finished && pods::phase(&pod) == "Running" {
            say(ctx, caches, &pod, &report(&pod).stopped()).await?;
        }
        pods::delete(&ctx.client, &caches.pods, &pod, Some(0)).await?;
        return Ok(None);
    }
    let left = clock.until(started);
    if !left.is_zero() {
        return Ok(Some(left));
    }
    let report = report(&pod);
    if report.is_over() {
        nodes.stop_sandbox(pod.uid()).await?;
    } else {
        nodes.run_sandbox(&pod, &node).await?;
    }
    if !report.is_said_by(&pod) {
        say(ctx, caches, &pod, &report).await?;
    }
    Ok(report.again)
}

async fn say(ctx: &Context, caches: &Caches, pod: &Pod, report: &Report) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), pod.ns());
    let patch = Patch::Strategic(report.patch(pod, ctx.clock.now()));
    match api.patch_status(pod.name(), &PatchParams::default(), &patch).await {
        Ok(pod) => caches.pods.record(pod),
        Err(error) if pods::is_gone(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
