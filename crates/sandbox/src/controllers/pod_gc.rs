//! Left-over pods: of nodes that are gone, never scheduled but deleted, and on nodes declared out of service.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{ControllersConfig, node_lifecycle};
use crate::{
    clock::after,
    control::{Caches, Context, informer::ObjectKey, meta::Meta, pods},
};

/// The taint by which a person says that nothing runs on a node any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub(super) fn start(ctx: &Context, caches: &Caches, config: &ControllersConfig) {
    let (ctx, caches, config) = (ctx.clone(), caches.clone(), config.clone());
    ctx.clone().spawn(async move {
        caches.synced().await;
        // Since when pods name a node that is not there.
        let mut missing: HashMap<String, Timestamp> = HashMap::new();
        loop {
            if let Err(error) = collect(&ctx, &caches, &config, &mut missing).await {
                tracing::debug!(%error, "pod garbage left for the next round");
            }
            ctx.clock.sleep(config.pod_gc_period).await;
        }
    });
}

async fn collect(
    ctx: &Context,
    caches: &Caches,
    config: &ControllersConfig,
    missing: &mut HashMap<String, Timestamp>,
) -> kube::Result<()> {
    let now = ctx.clock.now();
    let pods = caches.pods.all();
    let node = |pod: &Pod| -> Option<Arc<Node>> { caches.nodes.get(&ObjectKey::new("", pods::node_name(pod)?)) };
    missing.retain(|name, _| caches.nodes.get(&ObjectKey::new("", name)).is_none());
    for pod in &pods {
        match (pods::node_name(pod), node(pod)) {
            (None, _) if pod.is_deleting() => remove(ctx, caches, pod, None).await?,
            (None, _) => {}
            (Some(name), None) => {
                let since = *missing.entry(name.to_owned()).or_insert(now);
                let nodes: Api<Node> = Api::all(ctx.client.clone());
                if after(since, config.pod_gc_quarantine) <= now && nodes.get_opt(name).await?.is_none() {
                    let message = "PodGC: node no longer exists";
                    remove(ctx, caches, pod, Some(message)).await?;
                }
            }
            (Some(_), Some(node)) if pod.is_deleting() && is_out_of_service(&node) => {
                remove(ctx, caches, pod, None).await?
            }
            (Some(_), Some(_)) => {}
        }
    }
    Ok(())
}

fn is_out_of_service(node: &Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    !node_lifecycle::is_ready(node) && taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Marks the pod failed, since nobody else will, and deletes it without grace.
async fn remove(ctx: &Context, caches: &Caches, pod: &Pod, message: Option<&str>) -> kube::Result<()> {
    if !pods::is_finished(pod) {
        let mut status = json!({"phase": "Failed"});
        if message.is_some() {
            let reason = Some("DeletionByPodGC");
            let condition = pods::condition_patch(pod, "DisruptionTarget", "True", reason, message, ctx.clock.now());
            status["conditions"] = json!([condition]);
        }
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
        let api: Api<Pod> = Api::namespaced(ctx.client.clone(), pod.ns());
        match api.patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(pod) => caches.pods.record(pod),
            Err(error) if pods::is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    pods::delete(&ctx.client, &caches.pods, pod, Some(0)).await
}
