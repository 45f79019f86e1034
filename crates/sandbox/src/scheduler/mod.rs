//! A scheduler that behaves towards its extenders, and towards the pods that they refuse, as kube-scheduler does.
//!
//! One task owns queue and cache. It takes one pod at a time through a cycle ([`cycle`]); binding goes on in tasks of its own. What
//! happens in the cluster meanwhile waits in channels and is looked at when the cycle is over, so no event that could help a pod
//! just refused is missed.

pub mod cache;
pub mod config;
mod cycle;
pub mod event;
pub mod extender;
pub mod filter;
pub mod preemption;
pub mod queue;
pub mod sampling;
pub mod score;
pub mod status;
pub mod wire;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::{mpsc, watch};

use crate::control::{Caches, Context, informer::Change, meta::Meta, pods};
use cache::{Cache, PodInfo};
pub use config::{ExtenderConfig, ManagedResource, SchedulerConfig};
use event::ClusterEvent;
use extender::Extender;
use queue::Queue;
use status::StatusWriter;

/// The name under which it writes events.
const COMPONENT: &str = "default-scheduler";

/// A handle on a running scheduler.
#[derive(Clone, Debug)]
pub struct Handle {
    extenders: watch::Sender<Vec<ExtenderConfig>>,
}

impl Handle {
    /// Replaces the extenders; every waiting pod is tried again.
    pub fn set_extenders(&self, extenders: Vec<ExtenderConfig>) {
        self.extenders.send_replace(extenders);
    }
}

/// How a binding ended.
struct Bound {
    pod: Arc<PodInfo>,
    node: String,
    outcome: Result<(), String>,
}

struct Scheduler {
    ctx: Context,
    caches: Caches,
    config: SchedulerConfig,
    extenders: Vec<Arc<Extender>>,
    ignored: BTreeSet<String>,
    queue: Queue,
    cache: Cache,
    /// Pods that wait for victims to leave a node, by uid.
    nominated: HashMap<String, (String, Arc<PodInfo>)>,
    /// Where the next search for nodes begins.
    next_start: usize,
    status: StatusWriter,
    bound: mpsc::UnboundedSender<Bound>,
    rng: StdRng,
}

/// Schedules pods until `ctx` is shut down.
pub fn start(ctx: &Context, caches: &Caches, config: SchedulerConfig) -> Handle {
    let (extenders, changed) = watch::channel(config.extenders.clone());
    let (bound, outcomes) = mpsc::unbounded_channel();
    let mut scheduler = Scheduler {
        queue: Queue::new(&config),
        cache: Cache::default(),
        nominated: HashMap::new(),
        next_start: 0,
        status: StatusWriter::start(ctx, caches.pods.clone()),
        rng: config.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64),
        extenders: Vec::new(),
        ignored: BTreeSet::new(),
        ctx: ctx.clone(),
        caches: caches.clone(),
        config,
        bound,
    };
    ctx.spawn(async move {
        scheduler.caches.synced().await;
        scheduler.run(changed, outcomes).await;
    });
    Handle { extenders }
}

impl Scheduler {
    async fn run(
        &mut self,
        mut extenders: watch::Receiver<Vec<ExtenderConfig>>,
        mut bound: mpsc::UnboundedReceiver<Bound>,
    ) {
        let mut nodes = self.caches.nodes.subscribe();
        let mut pods = self.caches.pods.subscribe();
        let configured = extenders.borrow_and_update().clone();
        self.set_extenders(configured);
        loop {
            while let Ok(change) = nodes.try_recv() {
                self.node(change);
            }
            while let Ok(change) = pods.try_recv() {
                self.pod(change);
            }
            while let Ok(outcome) = bound.try_recv() {
                self.bound(outcome);
            }
            if let Some(pod) = self.queue.pop(self.ctx.clock.now()) {
                self.cycle(pod).await;
                continue;
            }
            let deadline = self.queue.next_deadline();
            tokio::select! {
                Some(change) = nodes.recv() => self.node(change),
                Some(change) = pods.recv() => self.pod(change),
                Some(outcome) = bound.recv() => self.bound(outcome),
                Ok(()) = extenders.changed() => {
                    let configured = extenders.borrow_and_update().clone();
                    self.set_extenders(configured);
                }
                () = self.ctx.clock.sleep_until(deadline) => {}
            }
        }
    }

    fn set_extenders(&mut self, configured: Vec<ExtenderConfig>) {
        self.ignored = config::ignored_resources(&configured);
        self.extenders = configured.into_iter().map(|config| Arc::new(Extender::new(config))).collect();
        self.happened(&ClusterEvent::Any, None);
    }

    fn happened(&mut self, event: &ClusterEvent, except: Option<&str>) {
        self.queue.event(event, except, self.ctx.clock.now());
    }

    fn node(&mut self, change: Change<Node>) {
        match (change.old, change.new) {
            (None, Some(node)) => {
                self.cache.set_node(node.clone());
                self.happened(&ClusterEvent::NodeAdded(node), None);
            }
            (Some(old), Some(node)) => {
                let difference = event::node_change(&old, &node);
                self.cache.set_node(node.clone());
                if let Some(difference) = difference {
                    self.happened(&ClusterEvent::NodeUpdated(node, difference), None);
                }
            }
            (Some(node), None) => self.cache.remove_node(node.name()),
            (None, None) => {}
        }
    }

    fn pod(&mut self, change: Change<Pod>) {
        let Change { old, new } = change;
        let Some(pod) = new.filter(|pod| !pods::is_finished(pod)) else {
            if let Some(pod) = old {
                self.pod_gone(&pod);
            }
            return;
        };
        let uid = pod.uid();
        if let Some(node) = pods::node_name(&pod) {
            let waited = self.queue.remove(uid);
            self.nominated.remove(uid);
            if waited {
                self.status.forget(uid);
            }
            let relabelled = old.is_some_and(|old| old.metadata.labels != pod.metadata.labels);
            if self.cache.set_pod(&pod, node) || relabelled {
                self.happened(&ClusterEvent::PodAssigned, None);
            }
        } else if pod.is_deleting() {
            self.queue.remove(uid);
            self.nominated.remove(uid);
        } else if self.is_mine(&pod) {
            self.queue.upsert(pod, self.ctx.clock.now());
        }
    }

    fn pod_gone(&mut self, pod: &Pod) {
        let uid = pod.uid();
        self.queue.remove(uid);
        self.status.forget(uid);
        self.nominated.remove(uid);
        if self.cache.remove_pod(uid) {
            self.happened(&ClusterEvent::PodGone, None);
        }
    }

    /// Whether the pod is this scheduler's, and free to be scheduled.
    fn is_mine(&self, pod: &Pod) -> bool {
        let Some(spec) = &pod.spec else { return false };
        let name = spec.scheduler_name.as_deref().unwrap_or("default-scheduler");
        name == self.config.name && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
    }

    fn bound(&mut self, Bound { pod, node, outcome }: Bound) {
        let uid = &pod.uid;
        match outcome {
            Ok(()) => {
                let text = format!("Successfully assigned {}/{} to {node}", pod.pod.ns(), pod.pod.name());
                self.caches.recorder.normal(COMPONENT, &*pod.pod, "Scheduled", text);
                self.queue.remove(uid);
                self.nominated.remove(uid);
                self.status.forget(uid);
            }
            Err(message) => {
                self.cache.forget(uid);
                // The room that was held for it is free again.
                self.happened(&ClusterEvent::PodGone, Some(uid));
                self.error(&pod, message);
            }
        }
    }
}
