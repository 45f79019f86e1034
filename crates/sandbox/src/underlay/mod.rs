//! Nodes and pods as real network namespaces, which takes root: a bridge is the underlay between the nodes, each node runs the agent
//! `galaxy`, each pod with a floating IP is attached by galaxy-sdn and the agent, and answers by HTTP.
//!
//! Nothing outside of these namespaces is changed. They have no names, so they go with the last process that is in them, and the agents go
//! with this process, however it ends.

mod cni;
mod machine;
mod probe;
mod sandbox;
mod switch;

use std::{
    collections::{BTreeMap, HashMap},
    fmt, fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use anyhow::Context;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use galaxy_cni::netlink::Netns;
use galaxy_core::PoolConfig;
use k8s_openapi::api::core::v1::Pod;

use crate::{
    control::meta::Meta,
    nodes::{Runtime, floating_ips},
};
use cni::{Call, Pause};
use machine::Machine;
use sandbox::Sandbox;
use switch::Switch;

pub use probe::{Answer, ping};

/// What nodes are made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// This program: it is also the agent (`galaxy-sandbox agent`) and the plugin (`galaxy-sandbox plugin`).
    pub program: PathBuf,
    /// What agents log to the standard error.
    pub log_level: String,
    /// A folder that is not there yet, for what nodes have on their disks.
    pub folder: PathBuf,
    /// Name and address of each node.
    pub nodes: Vec<(String, IpAddr)>,
    /// Which addresses they route for pods.
    pub pools: Vec<PoolConfig>,
}

/// The underlay with its nodes. All is gone when it is dropped.
pub struct Underlay(Arc<Inner>);

/// The runtime of its nodes.
struct Inner {
    plan: Plan,
    switch: Mutex<Switch>,
    /// Where the API server listens in this process's namespace.
    api: OnceLock<SocketAddr>,
    /// Nodes that are namespaces.
    nodes: BTreeMap<String, Mutex<Node>>,
    /// Sandboxes by pod uid. What happens to one waits for what happened to it before.
    sandboxes: Mutex<HashMap<String, Slot>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Sandbox>>>;

#[derive(Default)]
struct Node {
    /// None without power.
    machine: Option<Arc<Machine>>,
    /// Sandboxes that a power cut ended: the runtime tells the plugins when it is back.
    late: Vec<Pause>,
}

impl Underlay {
    /// Makes the bridge. Nodes are made by [`Underlay::boot`].
    ///
    /// # Errors
    /// This user or this kernel cannot have it; nothing stays behind.
    pub fn make(plan: Plan) -> anyhow::Result<Self> {
        let switch = Switch::make(&plan.pools)?;
        // A kernel without 802.1Q can have only the nodes whose pods need no VLAN.
        let real = plan.nodes.iter().filter(|(_, ip)| switch.serves(&plan.pools, *ip));
        let nodes = real.map(|(name, _)| (name.clone(), Mutex::default())).collect();
        let folder = &plan.folder;
        let created = fs::DirBuilder::new().mode(0o700).create(folder);
        created.with_context(|| format!("cannot create {}", folder.display()))?;
        let (api, sandboxes) = Default::default();
        Ok(Self(Arc::new(Inner { switch: Mutex::new(switch), api, nodes, sandboxes, plan })))
    }

    /// The container runtime of these nodes.
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(&self.0) as Arc<dyn Runtime>
    }

    /// Whether a node is a namespace.
    pub fn has(&self, node: &str) -> bool {
        self.0.nodes.contains_key(node)
    }

    /// The namespace of the underlay, for other programs to enter.
    pub fn path(&self) -> PathBuf {
        lock(&self.0.switch).ns().path().to_owned()
    }

    /// Starts all nodes and waits until their agents are ready.
    ///
    /// # Errors
    /// A node cannot be made, or its agent does not become ready.
    pub async fn boot(&self, api: SocketAddr) -> anyhow::Result<()> {
        let _ = self.0.api.set(api);
        let booted = join_all(self.0.nodes.keys().map(|node| self.0.boot(node))).await;
        booted.into_iter().collect()
    }

    /// Asks addresses by ping and HTTP from the underlay; each must answer as the pod that it belongs to, see [`greeting`].
    pub async fn ask(&self, wanted: Vec<(IpAddr, String)>) -> BTreeMap<IpAddr, Answer> {
        let ns = lock(&self.0.switch).ns().clone();
        let asked = tokio::task::spawn_blocking(move || probe::ask(&ns, &wanted)).await;
        asked.unwrap_or_default()
    }

    /// What an address answers by HTTP, as seen from the underlay.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, ip: IpAddr) -> anyhow::Result<String> {
        let ns = lock(&self.0.switch).ns().clone();
        Ok(tokio::task::spawn_blocking(move || ns.within(|| probe::http(ip))).await???)
    }
}

/// What a pod says by HTTP.
pub fn greeting(pod: &str, uid: &str, node: &str) -> String {
    format!("pod {pod} on {node}, uid {uid}\n")
}

impl Drop for Underlay {
    fn drop(&mut self) {
        for node in self.0.nodes.values() {
            lock(node).machine = None;
        }
        lock(&self.0.sandboxes).clear();
        let _ = fs::remove_dir_all(&self.0.plan.folder);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Underlay").field("nodes", &self.nodes.keys()).finish_non_exhaustive()
    }
}

impl Inner {
    async fn boot(&self, name: &str) -> anyhow::Result<()> {
        let (Some(node), Some(api)) = (self.nodes.get(name), self.api.get()) else { return Ok(()) };
        let address = self.plan.nodes.iter().position(|(other, _)| other == name).context("an unknown node")?;
        let machine = {
            let mut switch = lock(&self.switch);
            Machine::start(&self.plan, address, &mut switch, *api).with_context(|| format!("node {name}"))?
        };
        let machine = Arc::new(machine);
        machine.ready().await.with_context(|| format!("the agent of node {name}"))?;
        let late = {
            let mut node = lock(node);
            node.machine = Some(Arc::clone(&machine));
            std::mem::take(&mut node.late)
        };
        for pause in late {
            machine.call(Call::Del, &pause, None).await?;
        }
        Ok(())
    }

    fn machine(&self, node: &str) -> Option<Arc<Machine>> {
        lock(self.nodes.get(node)?).machine.clone()
    }

    async fn run(&self, pod: &Pod, node: &str) -> anyhow::Result<()> {
        if !self.nodes.contains_key(node) || floating_ips(pod).is_empty() {
            return Ok(());
        }
        let slot = Arc::clone(lock(&self.sandboxes).entry(pod.uid().to_owned()).or_default());
        let mut slot = slot.lock().await;
        if slot.is_some() {
            return Ok(());
        }
        let machine = self.machine(node).with_context(|| format!("node {node} is starting"))?;
        let pause = Pause::of(pod);
        let ns = tokio::task::spawn_blocking(Netns::make).await??;
        machine.call(Call::Add, &pause, Some(&ns)).await?;
        *slot = Some(Sandbox::serve(pause, node, ns).await?);
        Ok(())
    }

    async fn stop(&self, uid: &str) -> anyhow::Result<()> {
        let Some(slot) = lock(&self.sandboxes).get(uid).cloned() else { return Ok(()) };
        let mut slot = slot.lock().await;
        if let Some(sandbox) = &*slot {
            match self.machine(&sandbox.node) {
                Some(machine) => machine.call(Call::Del, &sandbox.pause, Some(&sandbox.ns)).await?,
                None => self.later(sandbox),
            }
        }
        *slot = None;
        lock(&self.sandboxes).remove(uid);
        Ok(())
    }

    /// Leaves a sandbox of a node without power to its next start.
    fn later(&self, sandbox: &Sandbox) {
        if let Some(node) = self.nodes.get(&sandbox.node) {
            lock(node).late.push(sandbox.pause.clone());
        }
    }

    /// Ends the sandboxes of a node that has lost its power.
    async fn cut(&self, node: &str) {
        let slots: Vec<Slot> = lock(&self.sandboxes).values().cloned().collect();
        for slot in slots {
            let mut slot = slot.lock().await;
            if let Some(sandbox) = slot.take_if(|sandbox| sandbox.node == node) {
                self.later(&sandbox);
            }
        }
    }
}

impl Runtime for Inner {
    fn run_sandbox<'a>(&'a self, pod: &'a Pod, node: &'a str) -> BoxFuture<'a, anyhow::Result<()>> {
        self.run(pod, node).boxed()
    }

    fn stop_sandbox<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, anyhow::Result<()>> {
        self.stop(uid).boxed()
    }

    fn power<'a>(&'a self, node: &'a str, on: bool) -> BoxFuture<'a, anyhow::Result<()>> {
        async move {
            let Some(state) = self.nodes.get(node) else { return Ok(()) };
            if on {
                let is_on = lock(state).machine.is_some();
                return if is_on { Ok(()) } else { self.boot(node).await };
            }
            lock(state).machine = None;
            self.cut(node).await;
            Ok(())
        }
        .boxed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
