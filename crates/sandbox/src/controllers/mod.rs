//! The controllers of kube-controller-manager that Galaxy's promises depend on.

pub mod custom;
mod daemon_set;
mod deployment;
mod job;
mod node_lifecycle;
mod pod_gc;
mod replica_set;
pub mod rollout;
mod stateful_set;
mod template;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::control::{
    Caches, Context,
    informer::{Change, Informer, ObjectKey},
    meta::Meta,
    workqueue::WorkQueue,
};
pub use custom::CustomWorkload;
pub(crate) use node_lifecycle::LEASE_NAMESPACE;

/// Times and kinds; the defaults are kube-controller-manager's.
#[derive(Clone, Debug)]
pub struct ControllersConfig {
    /// How often nodes are looked at for missing heartbeats.
    pub node_monitor_period: Duration,
    /// How long after its last heartbeat a node is taken to be unreachable.
    pub node_monitor_grace: Duration,
    /// The longest that a pod may tolerate a node that is not ready or unreachable, whatever it says; for tests and demos.
    pub max_toleration: Option<Duration>,
    /// How often left-over pods are looked for.
    pub pod_gc_period: Duration,
    /// How long a node must be gone before its pods are.
    pub pod_gc_quarantine: Duration,
    /// Workloads of custom kinds that make pods by ordinal.
    pub custom: Vec<CustomWorkload>,
}

impl Default for ControllersConfig {
    fn default() -> Self {
        Self {
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace: Duration::from_secs(40),
            max_toleration: None,
            pod_gc_period: Duration::from_secs(20),
            pod_gc_quarantine: Duration::from_secs(40),
            custom: Vec::new(),
        }
    }
}

/// Runs all controllers until `ctx` is shut down.
pub fn start(ctx: &Context, caches: &Caches, config: &ControllersConfig) {
    deployment::start(ctx, caches);
    replica_set::start(ctx, caches);
    stateful_set::start(ctx, caches);
    daemon_set::start(ctx, caches);
    job::start(ctx, caches);
    node_lifecycle::start(ctx, caches, config);
    pod_gc::start(ctx, caches, config);
    for workload in &config.custom {
        custom::start(ctx, caches, workload.clone());
    }
}

/// Feeds `queue` with what `map` makes of each change in `informer`, once the cache is complete.
fn feed<K, F>(ctx: &Context, informer: &Informer<K>, queue: &WorkQueue<ObjectKey>, map: F)
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + Sync + 'static,
    F: Fn(&Change<K>) -> Vec<ObjectKey> + Send + 'static,
{
    let (informer, queue) = (informer.clone(), queue.clone());
    ctx.spawn(async move {
        informer.synced().await;
        let mut changes = informer.subscribe();
        while let Some(change) = changes.recv().await {
            map(&change).into_iter().for_each(|key| queue.add(key));
        }
    });
}

/// The object itself.
fn itself<K: kube::Resource>(change: &Change<K>) -> Vec<ObjectKey> {
    vec![ObjectKey::of(&**change.object())]
}

/// The controller of the object, before and after the change, if it is of `kind`.
fn owner_of<K: kube::Resource>(kind: &'static str) -> impl Fn(&Change<K>) -> Vec<ObjectKey> {
    move |change| {
        let forms = change.old.iter().chain(&change.new);
        let mut keys: Vec<_> = forms
            .filter_map(|object| {
                let owner = object.controller_ref().filter(|owner| owner.kind == kind)?;
                Some(ObjectKey::new(object.ns(), &owner.name))
            })
            .collect();
        keys.dedup();
        keys
    }
}

/// Makes pods, at most so many at a time: 1, 2, 4 …, stopping at the first failure, so that a broken template costs little.
async fn create_pods(ctx: &Context, cache: &Informer<Pod>, pods: Vec<Pod>) -> kube::Result<()> {
    let mut left = pods.into_iter().peekable();
    let mut batch = 1;
    while left.peek().is_some() {
        let creations = left.by_ref().take(batch).map(|pod| create_pod(ctx, cache, pod));
        for outcome in futures::future::join_all(creations).await {
            outcome?;
        }
        batch *= 2;
    }
    Ok(())
}

async fn create_pod(ctx: &Context, cache: &Informer<Pod>, pod: Pod) -> kube::Result<()> {
    let api: kube::Api<Pod> = kube::Api::namespaced(ctx.client.clone(), pod.ns());
    let made = api.create(&kube::api::PostParams::default(), &pod).await?;
    cache.record(made);
    Ok(())
}
