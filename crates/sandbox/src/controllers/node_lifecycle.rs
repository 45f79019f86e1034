//! Nodes that stop answering: found, tainted, and their pods evicted when they tolerate it no longer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Pod, Taint},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{ControllersConfig, feed, itself};
use crate::{
    clock::after,
    control::{
        Caches, Context,
        informer::{Change, Informer, ObjectKey},
        meta::Meta,
        pods,
        workqueue::{Again, WorkQueue},
    },
};

const COMPONENT: &str = "node-controller";
/// Where kubelets renew their leases.
pub(crate) const LEASE_NAMESPACE: &str = "kube-node-lease";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// What a node that looks dead is given before it is called so. Real time: where the clock jumps, kubelets jump after it.
const SECOND_LOOK: Duration = Duration::from_millis(100);
/// How many such looks a clock that is moved by hand, in jumps of any size, makes worthwhile.
const LOOKS_AFTER_JUMP: usize = 10;

pub(super) fn start(ctx: &Context, caches: &Caches, config: &ControllersConfig) {
    let leases: Informer<Lease> = Informer::start(ctx, Api::namespaced(ctx.client.clone(), LEASE_NAMESPACE));
    let monitor = Monitor {
        ctx: ctx.clone(),
        caches: caches.clone(),
        leases,
        grace: config.node_monitor_grace,
        seen: HashMap::new(),
        looked: ctx.clock.now(),
    };
    ctx.spawn(monitor.run(config.node_monitor_period));

    let queue = WorkQueue::new(ctx.clock.clone());
    feed(ctx, &caches.nodes, &queue, itself);
    feed(ctx, &caches.pods, &queue, |change: &Change<Pod>| {
        let bound = change.new.iter().filter(|pod| !pod.is_deleting());
        bound.filter_map(|pod| pods::node_name(pod)).map(|node| ObjectKey::new("", node)).collect()
    });
    let (state, caches, longest) = (ctx.clone(), caches.clone(), config.max_toleration);
    queue.run(ctx, move |key| reconcile(state.clone(), caches.clone(), longest, key));
}

/// The node's condition Ready.
fn ready(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready")
}

/// Whether the node is ready; one without the condition counts as ready.
pub(crate) fn is_ready(node: &Node) -> bool {
    ready(node).is_none_or(|condition| condition.status == "True")
}

/// Watches heartbeats.
struct Monitor {
    ctx: Context,
    caches: Caches,
    leases: Informer<Lease>,
    grace: Duration,
    /// By node uid, the last sign of life and when it was given.
    seen: HashMap<String, (Sign, Timestamp)>,
    /// When it looked last.
    looked: Timestamp,
}

/// A sign of life: renewal of the lease, heartbeat of condition Ready.
type Sign = (Option<Timestamp>, Option<Timestamp>);

impl Monitor {
    async fn run(mut self, period: Duration) {
        self.caches.synced().await;
        loop {
            let looks = if self.ctx.clock.is_manual() { LOOKS_AFTER_JUMP } else { 1 };
            let mut silent = self.silent();
            for _ in 0..looks {
                if silent.is_empty() {
                    break;
                }
                tokio::time::sleep(SECOND_LOOK).await;
                silent = self.silent();
            }
            for node in silent {
                if let Err(error) = self.call_unknown(&node).await {
                    tracing::debug!(%error, node = node.name(), "not marked; it will be tried again");
                }
            }
            self.ctx.clock.sleep(period).await;
        }
    }

    /// The nodes without a sign of life for too long that are not called unknown yet.
    fn silent(&mut self) -> Vec<Arc<Node>> {
        let now = self.ctx.clock.now();
        let nodes = self.caches.nodes.all();
        let known: HashSet<&str> = nodes.iter().map(|node| node.uid()).collect();
        self.seen.retain(|uid, _| known.contains(uid.as_str()));
        let mut silent = Vec::new();
        for node in nodes {
            let lease = self.leases.get(&ObjectKey::new(LEASE_NAMESPACE, node.name()));
            let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
            let beat = ready(&node).and_then(|condition| condition.last_heartbeat_time.as_ref().map(|time| time.0));
            let sign = (renewed, beat);
            // A new sign came since the last look. Its own time says when, as far as the node's clock can be trusted.
            let told = sign.0.max(sign.1).unwrap_or(now).max(self.looked).min(now);
            let entry = self.seen.entry(node.uid().to_owned()).or_insert((sign, told));
            if entry.0 != sign {
                *entry = (sign, told);
            }
            let unknown = ready(&node).is_some_and(|condition| condition.status == "Unknown");
            if after(entry.1, self.grace) < now && !unknown {
                silent.push(node);
            }
        }
        self.looked = now;
        silent
    }

    async fn call_unknown(&mut self, node: &Node) -> kube::Result<()> {
        let now = Time(self.ctx.clock.now());
        let present = ready(node);
        let reason = if present.is_some() { "NodeStatusUnknown" } else { "NodeStatusNeverUpdated" };
        let message = match present {
            Some(_) => "Kubelet stopped posting node status.",
            None => "Kubelet never posted node status.",
        };
        let mut kinds: Vec<&str> = vec!["Ready"];
        let others = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        kinds.extend(others.map(|condition| condition.type_.as_str()).filter(|kind| *kind != "Ready"));
        let conditions: Vec<_> = kinds
            .iter()
            .map(|kind| {
                let beat = present.and_then(|condition| condition.last_heartbeat_time.clone());
                json!({
                    "type": kind, "status": "Unknown", "reason": reason, "message": message,
                    "lastHeartbeatTime": beat.unwrap_or_else(|| now.clone()), "lastTransitionTime": now,
                })
            })
            .collect();
        // Decided on this very version: a kubelet that came back meanwhile wins.
        let lock = json!({"uid": node.uid(), "resourceVersion": node.metadata.resource_version});
        let patch = json!({"metadata": lock, "status": {"conditions": conditions}});
        let api: Api<Node> = Api::all(self.ctx.client.clone());
        let patched = api.patch_status(node.name(), &PatchParams::default(), &Patch::Strategic(patch)).await?;
        // Our own write is no sign of life.
        let beat = ready(&patched).and_then(|condition| condition.last_heartbeat_time.as_ref().map(|time| time.0));
        if let Some((sign, _)) = self.seen.get_mut(node.uid()) {
            sign.1 = beat;
        }
        let text = format!("Node {} status is now: NodeNotReady", node.name());
        self.caches.recorder.normal(COMPONENT, node, "NodeNotReady", text);
        self.caches.nodes.record(patched);
        Ok(())
    }
}

async fn reconcile(ctx: Context, caches: Caches, longest: Option<Duration>, key: ObjectKey) -> anyhow::Result<Again> {
    let Some(node) = caches.nodes.get(&key) else { return Ok(None) };
    let node = taint(&ctx, &caches, node).await?;
    let lasting: Vec<Taint> = taints(&node).filter(|taint| taint.effect == "NoExecute").cloned().collect();
    if lasting.is_empty() && is_ready(&node) {
        return Ok(None);
    }
    let all = caches.pods.all();
    let here = all.iter().filter(|pod| pods::node_name(pod) == Some(node.name()));
    let mut again: Again = None;
    for pod in here {
        if !is_ready(&node) && pods::is_ready(pod) {
            mark_not_ready(&ctx, &caches, pod).await?;
        }
        if pod.is_deleting() || lasting.is_empty() {
            continue;
        }
        let Some(due) = eviction(pod, &lasting, longest, ctx.clock.now()) else { continue };
        let left = ctx.clock.until(due);
        if left.is_zero() {
            evict(&ctx, &caches, pod).await?;
        } else {
            again = Some(again.map_or(left, |again| again.min(left)));
        }
    }
    Ok(again)
}

fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

/// Gives the node the taints that its conditions call for, and takes the others of ours away.
async fn taint(ctx: &Context, caches: &Caches, node: Arc<Node>) -> anyhow::Result<Arc<Node>> {
    let status = ready(&node).map_or("True", |condition| condition.status.as_str());
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let mut wanted: Vec<(&str, &str)> = match status {
        "True" => Vec::new(),
        "False" => vec![(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
        _ => vec![(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
    };
    if cordoned {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Taint| [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str());
    let is = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let mut target: Vec<Taint> =
        taints(&node).filter(|taint| !ours(taint) || wanted.iter().any(|wish| is(taint, *wish))).cloned().collect();
    for wish in wanted {
        if !target.iter().any(|taint| is(taint, wish)) {
            target.push(Taint {
                key: wish.0.into(),
                effect: wish.1.into(),
                value: None,
                time_added: Some(Time(ctx.clock.now())),
            });
        }
    }
    if taints(&node).eq(&target) {
        return Ok(node);
    }
    let lock = json!({"uid": node.uid(), "resourceVersion": node.metadata.resource_version});
    let patch = json!({"metadata": lock, "spec": {"taints": target}});
    let api: Api<Node> = Api::all(ctx.client.clone());
    let patched = api.patch(node.name(), &PatchParams::default(), &Patch::Merge(patch)).await?;
    caches.nodes.record(patched.clone());
    Ok(Arc::new(patched))
}

/// When the pod has to go because of `taints`; never if it tolerates them for good.
fn eviction(pod: &Pod, taints: &[Taint], longest: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    let due = |taint: &Taint| -> Option<Timestamp> {
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        let mut tolerated = false;
        let mut shortest: Option<Duration> = None;
        for toleration in pods::tolerates(pods::tolerations(pod), taint) {
            tolerated = true;
            if let Some(seconds) = toleration.toleration_seconds {
                let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                shortest = Some(shortest.map_or(time, |shortest| shortest.min(time)));
            }
        }
        match (tolerated, shortest) {
            (false, _) => Some(since),
            (true, Some(time)) => Some(after(since, longest.map_or(time, |longest| longest.min(time)))),
            (true, None) => None,
        }
    };
    taints.iter().filter_map(due).min()
}

async fn mark_not_ready(ctx: &Context, caches: &Caches, pod: &Pod) -> anyhow::Result<()> {
    let condition = pods::condition_patch(pod, "Ready", "False", None, None, ctx.clock.now());
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
    patch_pod(ctx, caches, pod, patch).await
}

async fn evict(ctx: &Context, caches: &Caches, pod: &Pod) -> anyhow::Result<()> {
    let (reason, message) = (Some("DeletionByTaintManager"), Some("Taint manager: deleting due to NoExecute taint"));
    let condition = pods::condition_patch(pod, "DisruptionTarget", "True", reason, message, ctx.clock.now());
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
    patch_pod(ctx, caches, pod, patch).await?;
    let text = format!("Marking for deletion Pod {}/{}", pod.ns(), pod.name());
    caches.recorder.normal("taint-eviction-controller", pod, "TaintManagerEviction", text);
    Ok(pods::delete(&ctx.client, &caches.pods, pod, None).await?)
}

async fn patch_pod(ctx: &Context, caches: &Caches, pod: &Pod, patch: serde_json::Value) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), pod.ns());
    let params = PatchParams::default();
    match api.patch_status(pod.name(), &params, &Patch::Strategic(patch)).await {
        Ok(pod) => caches.pods.record(pod),
        Err(error) if pods::is_gone(&error) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_decide_when_a_pod_goes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let taint =
            Taint { key: UNREACHABLE.into(), effect: "NoExecute".into(), value: None, time_added: Some(Time(at(100))) };
        let tolerate =
            |seconds: Option<i64>| json!({"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": seconds});
        for (tolerations, longest, expected) in [
            (vec![], None, Some(at(100))),
            (vec![tolerate(Some(300))], None, Some(at(400))),
            (vec![tolerate(Some(300))], Some(20), Some(at(120))),
            (vec![tolerate(Some(10))], Some(20), Some(at(110))),
            (vec![tolerate(Some(300)), tolerate(Some(5))], None, Some(at(105))),
            (vec![tolerate(None)], Some(20), None),
        ] {
            let spec = json!({"containers": [], "tolerations": tolerations});
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
            let longest = longest.map(Duration::from_secs);
            assert_eq!(eviction(&pod, std::slice::from_ref(&taint), longest, at(500)), expected, "{spec}");
        }
    }
}
