//! Nodes: kubelets that register, send heartbeats and report pods as running, completed or crashed. Nothing runs on them, unless they are
//! given a [`Runtime`].
//!
//! A node can be powered off: it falls silent, and pods deleted there stay Terminating until it is powered on again.

mod kubelet;
mod pod_status;
mod runtime;
mod spec;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, EvictParams, PostParams},
};
use tokio::sync::watch;

use crate::control::{
    Caches, Context,
    informer::{Change, ObjectKey},
    meta::Meta,
    pods,
    workqueue::WorkQueue,
};
pub use pod_status::{BEHAVIOUR, Behaviour, floating_ips};
pub use runtime::Runtime;
pub use spec::{NodeSpec, RACK_LABEL};

/// Nodes registered at the same time.
const REGISTRATIONS: usize = 32;

/// Times of the kubelets.
#[derive(Clone, Debug)]
pub struct NodesConfig {
    /// How often a lease is renewed; never if absent (for very many nodes, which then must not be watched either).
    pub heartbeat: Option<Duration>,
    /// How long a pod takes from bound to running.
    pub start_delay: Duration,
    /// How long it takes from deleted to gone, at most its grace period.
    pub stop_delay: Duration,
    /// How long a pod runs that completes or fails.
    pub lifetime: Duration,
    /// What makes pods' sandboxes; without it pods are made up.
    pub runtime: Option<Arc<dyn Runtime>>,
}

impl Default for NodesConfig {
    fn default() -> Self {
        Self {
            heartbeat: Some(Duration::from_secs(10)),
            start_delay: Duration::from_millis(20),
            stop_delay: Duration::from_millis(50),
            lifetime: Duration::from_secs(1),
            runtime: None,
        }
    }
}

/// A handle on all kubelets; clones share them.
#[derive(Clone)]
pub struct Nodes(Arc<Inner>);

struct Inner {
    ctx: Context,
    caches: Caches,
    config: NodesConfig,
    queue: WorkQueue<ObjectKey>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Kubelet>,
    behaviours: HashMap<ObjectKey, Behaviour>,
    /// By pod uid.
    pods: HashMap<String, Memory>,
    overlay: Overlay,
}

struct Kubelet {
    spec: NodeSpec,
    /// Whether it has power; `false` for good ends its heartbeat when the node is removed.
    power: watch::Sender<bool>,
    context: Context,
}

/// What a kubelet remembers of a pod.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// When it saw the pod first.
    seen: Timestamp,
    /// When it saw that the pod is to go.
    stopping: Option<Timestamp>,
    /// Its address in the made-up overlay network, if it needs one.
    overlay: Option<Ipv4Addr>,
}

impl Nodes {
    /// Runs kubelets until `ctx` is shut down. There are no nodes yet.
    pub fn start(ctx: &Context, caches: &Caches, config: NodesConfig) -> Self {
        let queue = WorkQueue::new(ctx.clock.clone());
        let nodes = Self(Arc::new(Inner {
            ctx: ctx.clone(),
            caches: caches.clone(),
            config,
            queue: queue.clone(),
            state: Mutex::default(),
        }));
        let (feeder, feed) = (nodes.clone(), queue.clone());
        ctx.spawn(async move {
            let mut changes = feeder.0.caches.pods.subscribe();
            while let Some(Change { old, new }) = changes.recv().await {
                match (old, new) {
                    (_, Some(pod)) if pods::node_name(&pod).is_some() => feed.add(ObjectKey::of(&*pod)),
                    (Some(pod), None) => feeder.forget(pod.uid()),
                    _ => {}
                }
            }
        });
        let worker = nodes.clone();
        queue.run(ctx, move |key| kubelet::reconcile(worker.clone(), key));
        nodes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers nodes and switches them on. Nodes that exist already are taken over.
    ///
    /// # Errors
    /// The API server refuses one.
    pub async fn add(&self, specs: impl IntoIterator<Item = NodeSpec>) -> kube::Result<()> {
        let register = |spec: NodeSpec| {
            let nodes = self.clone();
            async move { nodes.register(spec).await }
        };
        let registrations = stream::iter(specs).map(register);
        registrations.buffer_unordered(REGISTRATIONS).try_collect().await
    }

    async fn register(&self, spec: NodeSpec) -> kube::Result<()> {
        let api: Api<Node> = Api::all(self.0.ctx.client.clone());
        let node: Node = serde_json::from_value(spec.object()).map_err(kube::Error::SerdeError)?;
        match api.create(&PostParams::default(), &node).await {
            Ok(_) => {}
            Err(error) if pods::already_exists(&error) => {}
            Err(error) => return Err(error),
        }
        kubelet::report_ready(&self.0.ctx, &self.0.caches, &spec).await?;
        let (power, on) = watch::channel(true);
        let context = self.0.ctx.child();
        if let Some(period) = self.0.config.heartbeat {
            let caches = self.0.caches.clone();
            context.spawn(kubelet::heartbeat(context.clone(), caches, spec.clone(), period, on));
        }
        let name = spec.name.clone();
        self.state().nodes.insert(name.clone(), Kubelet { spec, power, context });
        self.revisit(&name);
        Ok(())
    }

    /// Switches a node off: no heartbeats, and whatever happens to its pods is not noticed.
    pub fn power_off(&self, name: &str) {
        self.power(name, false);
    }

    /// Switches a node on again: it becomes ready and finishes what was asked of it meanwhile.
    pub fn power_on(&self, name: &str) {
        self.power(name, true);
        self.revisit(name);
    }

    fn power(&self, name: &str, on: bool) {
        if let Some(kubelet) = self.state().nodes.get(name) {
            kubelet.power.send_replace(on);
        }
        if let Some(runtime) = self.0.config.runtime.clone() {
            let name = name.to_owned();
            self.0.ctx.spawn(async move {
                if let Err(error) = runtime.power(&name, on).await {
                    tracing::error!("{error:#}");
                }
            });
        }
    }

    /// Whether there is such a node and it has power.
    pub fn is_on(&self, name: &str) -> bool {
        self.state().nodes.get(name).is_some_and(|kubelet| *kubelet.power.borrow())
    }

    /// Takes a node away for good: its kubelet stops and its Node object is deleted. Its pods are left to the pod garbage collector.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn remove(&self, name: &str) -> kube::Result<()> {
        let kubelet = self.state().nodes.remove(name);
        if let Some(kubelet) = kubelet {
            kubelet.context.shutdown().await;
        }
        let api: Api<Node> = Api::all(self.0.ctx.client.clone());
        match api.delete(name, &DeleteParams::default()).await {
            Err(error) if !pods::is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes a pod fare otherwise than its annotation says, from now on.
    pub fn set_behaviour(&self, namespace: &str, pod: &str, behaviour: Behaviour) {
        let key = ObjectKey::new(namespace, pod);
        self.state().behaviours.insert(key.clone(), behaviour);
        self.0.queue.add(key);
    }

    /// Asks for the eviction of a pod, as `kubectl drain` does.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn evict(&self, namespace: &str, pod: &str) -> kube::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.0.ctx.client.clone(), namespace);
        api.evict(pod, &EvictParams::default()).await.map(drop)
    }

    /// Has all pods of a node looked at again.
    fn revisit(&self, name: &str) {
        let pods = self.0.caches.pods.all();
        let here = pods.iter().filter(|pod| pods::node_name(pod) == Some(name));
        here.for_each(|pod| self.0.queue.add(ObjectKey::of(&**pod)));
    }

    /// The node's description, if it has power.
    fn running(&self, name: &str) -> Option<NodeSpec> {
        let state = self.state();
        let kubelet = state.nodes.get(name).filter(|kubelet| *kubelet.power.borrow())?;
        Some(kubelet.spec.clone())
    }

    fn behaviour(&self, pod: &Pod) -> Behaviour {
        let state = self.state();
        let given = state.behaviours.get(&ObjectKey::of(pod));
        given.copied().unwrap_or_else(|| Behaviour::of(pod))
    }

    /// What is remembered of the pod; begins to remember it.
    fn memory(&self, pod: &Pod) -> Memory {
        let now = self.0.ctx.clock.now();
        let mut state = self.state();
        let memory =
            state.pods.entry(pod.uid().to_owned()).or_insert(Memory { seen: now, stopping: None, overlay: None });
        if pod.is_deleting() {
            memory.stopping.get_or_insert(now);
        }
        *memory
    }

    /// The pod's addresses: the floating ones, else the node's, else one of the overlay network.
    fn addresses(&self, pod: &Pod, node: &NodeSpec) -> Vec<IpAddr> {
        let floating = floating_ips(pod);
        if !floating.is_empty() {
            return floating;
        }
        let reported = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
        let reported: Vec<IpAddr> = reported.filter_map(|ip| ip.ip.parse().ok()).collect();
        if !reported.is_empty() {
            return reported;
        }
        if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
            return node.internal_ip.into_iter().collect();
        }
        let mut state = self.state();
        let State { pods, overlay, .. } = &mut *state;
        let Some(memory) = pods.get_mut(pod.uid()) else { return Vec::new() };
        let address = *memory.overlay.get_or_insert_with(|| overlay.take());
        vec![address.into()]
    }

    /// The pod's object is gone; its sandbox is not always gone before.
    fn forget(&self, uid: &str) {
        let nodes = self.clone();
        let mut state = self.state();
        if let Some(address) = state.pods.remove(uid).and_then(|memory| memory.overlay) {
            state.overlay.used.remove(&address);
        }
        if self.0.config.runtime.is_some() {
            let uid = uid.to_owned();
            self.0.ctx.spawn(async move {
                if let Err(error) = nodes.stop_sandbox(&uid).await {
                    tracing::error!(uid, "sandbox left behind: {error:#}");
                }
            });
        }
    }

    async fn run_sandbox(&self, pod: &Pod, node: &NodeSpec) -> anyhow::Result<()> {
        let Some(runtime) = &self.0.config.runtime else { return Ok(()) };
        runtime.run_sandbox(pod, &node.name).await?;
        // Who was forgotten meanwhile is not stopped by anybody else.
        let now = self.0.caches.pods.get(&ObjectKey::of(pod));
        if now.is_none_or(|now| now.uid() != pod.uid()) { runtime.stop_sandbox(pod.uid()).await } else { Ok(()) }
    }

    async fn stop_sandbox(&self, uid: &str) -> anyhow::Result<()> {
        match &self.0.config.runtime {
            Some(runtime) => runtime.stop_sandbox(uid).await,
            None => Ok(()),
        }
    }
}

/// A made-up overlay network, 172.16.0.0/12.
#[derive(Default)]
struct Overlay {
    used: HashSet<Ipv4Addr>,
    next: u32,
}

impl Overlay {
    /// An address that no pod has; the search goes round, so an address rests before it is used again.
    fn take(&mut self) -> Ipv4Addr {
        const SIZE: u32 = (1 << 20) - 2;
        let base = u32::from(Ipv4Addr::new(172, 16, 0, 1));
        for _ in 0..SIZE {
            let address = Ipv4Addr::from(base + self.next % SIZE);
            self.next = (self.next + 1) % SIZE;
            if self.used.insert(address) {
                break;
            }
        }
        Ipv4Addr::from(base + (self.next + SIZE - 1) % SIZE)
    }
}
