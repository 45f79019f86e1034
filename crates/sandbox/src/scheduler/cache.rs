//! What the scheduler knows of nodes and of the pods on them, those it has only just assigned included.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm};

use super::{
    score::{self, Weight},
    wire,
};
use crate::control::{meta::Meta, pods, quantity};

/// A pod with what is asked of it often.
#[derive(Debug)]
pub struct PodInfo {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its uid.
    pub uid: String,
    /// Its priority.
    pub priority: i32,
    /// What it asks for, in thousandths.
    pub requests: BTreeMap<String, i128>,
    /// What it is taken to use when nodes are compared.
    pub weight: Weight,
}

impl PodInfo {
    /// Looks into `pod`.
    pub fn new(pod: Arc<Pod>) -> Self {
        let requests = pod.spec.as_ref().map(pods::requests).unwrap_or_default();
        Self {
            uid: pod.uid().to_owned(),
            priority: pods::priority(&pod),
            weight: score::weight(&requests),
            requests,
            pod,
        }
    }

    /// Terms that say near which pods it must not be.
    pub fn anti_affinity(&self) -> &[PodAffinityTerm] {
        let affinity = self.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let terms = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        terms.and_then(|terms| terms.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
    }

    /// Terms that say near which pods it must be.
    pub fn affinity(&self) -> &[PodAffinityTerm] {
        let affinity = self.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let terms = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        terms.and_then(|terms| terms.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
    }
}

/// A node and the pods on it.
#[derive(Debug)]
pub struct NodeInfo {
    /// The node.
    pub node: Arc<Node>,
    /// Its pods by uid.
    pub pods: BTreeMap<String, Arc<PodInfo>>,
    /// What it can give, in thousandths.
    pub allocatable: BTreeMap<String, i128>,
    /// What its pods ask for, in thousandths.
    pub used: BTreeMap<String, i128>,
    /// What its pods are taken to use when nodes are compared.
    pub weight: Weight,
    /// How many of its pods each controller has here, by the controller's uid.
    pub controllers: HashMap<String, i64>,
    json: OnceLock<String>,
}

impl NodeInfo {
    /// A node without pods.
    pub fn empty(node: Arc<Node>) -> Self {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let amounts = allocatable.into_iter().flatten();
        Self {
            allocatable: amounts.map(|(name, amount)| (name.clone(), quantity::milli(amount))).collect(),
            node,
            pods: BTreeMap::new(),
            used: BTreeMap::new(),
            weight: Weight::default(),
            controllers: HashMap::new(),
            json: OnceLock::new(),
        }
    }

    /// This node with `pods` on it.
    pub fn with_pods(&self, pods: impl IntoIterator<Item = Arc<PodInfo>>) -> Self {
        let mut info = Self::empty(self.node.clone());
        pods.into_iter().for_each(|pod| info.add(pod));
        info
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// The node as the extender is sent it.
    pub fn json(&self) -> &str {
        self.json.get_or_init(|| wire::node(&self.node).to_string())
    }

    /// Puts a pod on the node.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(&pod.uid);
        for (name, amount) in &pod.requests {
            *self.used.entry(name.clone()).or_insert(0) += amount;
        }
        self.weight += pod.weight;
        if let Some(owner) = pod.pod.controller_uid() {
            *self.controllers.entry(owner.to_owned()).or_insert(0) += 1;
        }
        self.pods.insert(pod.uid.clone(), pod);
    }

    /// Takes a pod from the node.
    pub fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            for (name, amount) in &pod.requests {
                *self.used.entry(name.clone()).or_insert(0) -= amount;
            }
            self.weight -= pod.weight;
            if let Some(owner) = pod.pod.controller_uid()
                && let Some(count) = self.controllers.get_mut(owner)
            {
                *count -= 1;
                if *count == 0 {
                    self.controllers.remove(owner);
                }
            }
        }
    }
}

/// All nodes and the pods on them.
#[derive(Debug, Default)]
pub struct Cache {
    nodes: BTreeMap<String, NodeInfo>,
    /// Pods on nodes that are not known.
    homeless: HashMap<String, Arc<PodInfo>>,
    /// Pod uid to its node and whether the API server has not confirmed it yet.
    placed: HashMap<String, (String, bool)>,
    /// Uids of pods that keep others away.
    avoiding: HashSet<String>,
}

impl Cache {
    /// Whether any pod keeps others away.
    pub fn has_avoiding(&self) -> bool {
        !self.avoiding.is_empty()
    }

    /// The nodes by name.
    pub fn nodes(&self) -> &BTreeMap<String, NodeInfo> {
        &self.nodes
    }

    /// Takes notice of a node or its new form.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.name().to_owned();
        let mut info = NodeInfo::empty(node);
        if let Some(old) = self.nodes.remove(&name) {
            old.pods.into_values().for_each(|pod| info.add(pod));
        }
        let home = |uid: &String| self.placed.get(uid).is_some_and(|(node, _)| *node == name);
        for (_, pod) in self.homeless.extract_if(|uid, _| home(uid)) {
            info.add(pod);
        }
        self.nodes.insert(name, info);
    }

    /// Drops a node; its pods stay known.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.remove(name) {
            self.homeless.extend(info.pods);
        }
    }

    /// Takes notice of a bound pod. Whether it was not known to be on that node.
    pub fn set_pod(&mut self, pod: &Arc<Pod>, node: &str) -> bool {
        let news = self.placed.get(pod.uid()).is_none_or(|(known, _)| known != node);
        self.place(Arc::new(PodInfo::new(pod.clone())), node, false);
        news
    }

    /// Counts a pod on a node before it is bound.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.place(pod, node, true);
    }

    /// Takes back [`Cache::assume`]; a pod that turned out to be bound stays.
    pub fn forget(&mut self, uid: &str) {
        if self.is_assumed(uid) {
            self.remove_pod(uid);
        }
    }

    /// Whether the pod is assigned but not confirmed to be bound.
    pub fn is_assumed(&self, uid: &str) -> bool {
        matches!(self.placed.get(uid), Some((_, true)))
    }

    /// Drops a pod. Whether it was on a node.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some((node, _)) = self.placed.remove(uid) else { return false };
        self.homeless.remove(uid);
        self.avoiding.remove(uid);
        if let Some(info) = self.nodes.get_mut(&node) {
            info.remove(uid);
        }
        true
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: &str, assumed: bool) {
        self.remove_pod(&pod.uid);
        self.placed.insert(pod.uid.clone(), (node.to_owned(), assumed));
        if !pod.anti_affinity().is_empty() {
            self.avoiding.insert(pod.uid.clone());
        }
        match self.nodes.get_mut(node) {
            Some(info) => info.add(pod),
            None => {
                self.homeless.insert(pod.uid.clone(), pod);
            }
        }
    }
}
