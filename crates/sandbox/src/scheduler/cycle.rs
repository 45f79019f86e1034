//! One pod's way through a scheduling cycle.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::{Api, api::PostParams, core::ObjectMeta};
use rand::Rng;
use serde_json::Value;

use super::{
    Bound, COMPONENT, Scheduler,
    cache::{NodeInfo, PodInfo},
    extender::{Extender, ExtenderError},
    filter::{Filter, Plugin, Refusal, summary},
    preemption::{self, Attempt, Outcome},
    sampling, score,
    status::Verdict,
};
use crate::control::{Caches, Context, meta::Meta};

/// The longest that a Binding without an extender may take. Real time.
const BIND_DEADLINE: Duration = Duration::from_secs(10);

/// Why a pod found no node.
enum Failure {
    /// Every node was refused.
    Unschedulable(BTreeMap<String, Refusal>),
    /// It could not be decided.
    Error(String),
}

impl From<ExtenderError> for Failure {
    fn from(error: ExtenderError) -> Self {
        Self::Error(error.to_string())
    }
}

impl Scheduler {
    /// Finds a node for `pod` and starts binding it, or puts it back.
    pub(super) async fn cycle(&mut self, pod: Arc<PodInfo>) {
        if self.cache.is_assumed(&pod.uid) {
            return;
        }
        let found = self.place(&pod).await;
        let failure = match found {
            Ok(node) => return self.bind(pod, node),
            Err(failure) => failure,
        };
        match failure {
            Failure::Error(message) => self.error(&pod, message),
            Failure::Unschedulable(refusals) => self.unschedulable(&pod, &refusals).await,
        }
    }

    async fn place(&mut self, pod: &PodInfo) -> Result<String, Failure> {
        if self.cache.nodes().is_empty() {
            return Err(Failure::Unschedulable(BTreeMap::new()));
        }
        let mut refusals = BTreeMap::new();
        let mut feasible = self.nominated_node(pod).await;
        if feasible.is_empty() {
            feasible = self.search(pod, &mut refusals);
            feasible = self.ask_extenders(pod, feasible, &mut refusals).await?;
        }
        let nodes: Vec<&NodeInfo> = feasible.iter().filter_map(|name| self.cache.nodes().get(name)).collect();
        let best = match nodes.len() {
            0 => return Err(Failure::Unschedulable(refusals)),
            1 => return Ok(nodes[0].name().to_owned()),
            _ => self.best(pod, &nodes).await,
        };
        Ok(best[self.rng.random_range(0..best.len())].clone())
    }

    /// The node that room was made on for this pod, if it can take the pod now.
    async fn nominated_node(&self, pod: &PodInfo) -> Vec<String> {
        let status = pod.pod.status.as_ref();
        let name = status.and_then(|status| status.nominated_node_name.as_deref());
        let Some(node) = name.and_then(|name| self.cache.nodes().get(name)) else { return Vec::new() };
        let filter = Filter::new(pod, &self.cache, &self.ignored, &HashSet::new());
        if filter.check(node, &self.nominated_to(node.name(), pod)).is_err() {
            return Vec::new();
        }
        let passed = self.ask_extenders(pod, vec![node.name().to_owned()], &mut BTreeMap::new()).await;
        passed.unwrap_or_default()
    }

    /// Looks for enough nodes that can take the pod, beginning where the last search ended.
    fn search(&mut self, pod: &PodInfo, refusals: &mut BTreeMap<String, Refusal>) -> Vec<String> {
        let nodes = self.cache.nodes();
        let wanted = sampling::nodes_to_find(self.config.percentage_of_nodes_to_score, nodes.len());
        let start = self.next_start % nodes.len().max(1);
        let filter = Filter::new(pod, &self.cache, &self.ignored, &HashSet::new());
        let mut feasible = Vec::new();
        let mut looked_at = 0;
        for (name, node) in nodes.iter().skip(start).chain(nodes.iter().take(start)) {
            if feasible.len() >= wanted {
                break;
            }
            looked_at += 1;
            match filter.check(node, &self.nominated_to(name, pod)) {
                Ok(()) => feasible.push(name.clone()),
                Err(refusal) => {
                    refusals.insert(name.clone(), refusal);
                }
            }
        }
        self.next_start = (start + looked_at) % nodes.len().max(1);
        feasible
    }

    /// Pods at least as important that room was made for on this node.
    fn nominated_to(&self, node: &str, pod: &PodInfo) -> Vec<&PodInfo> {
        let all = self.nominated.values();
        let others = all
            .filter(|(nominated, other)| nominated == node && other.uid != pod.uid && other.priority >= pod.priority);
        others.map(|(_, other)| &**other).collect()
    }

    async fn ask_extenders(
        &self,
        pod: &PodInfo,
        mut feasible: Vec<String>,
        refusals: &mut BTreeMap<String, Refusal>,
    ) -> Result<Vec<String>, Failure> {
        for extender in &self.extenders {
            if feasible.is_empty() {
                break;
            }
            if extender.config.filter_verb.is_empty() || !extender.is_interested(&pod.pod) {
                continue;
            }
            let nodes: Vec<&NodeInfo> = feasible.iter().filter_map(|name| self.cache.nodes().get(name)).collect();
            let answer = match extender.filter(pod, &nodes).await {
                Ok(answer) => answer,
                Err(error) if extender.config.ignorable => {
                    tracing::info!(%error, "ignorable extender failed");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let refusal = |reason: &String, unresolvable| Refusal {
                plugin: Plugin::Extender,
                reasons: vec![reason.clone()],
                unresolvable,
            };
            for (name, reason) in &answer.failed {
                refusals.insert(name.clone(), refusal(reason, false));
            }
            // Where a node stands in both, this one wins.
            for (name, reason) in &answer.unresolvable {
                refusals.insert(name.clone(), refusal(reason, true));
            }
            // A node that is simply missing is refused without a word.
            let passed: HashSet<&String> = answer.nodes.iter().collect();
            for name in feasible.iter().filter(|name| !passed.contains(name)) {
                refusals.entry(name.clone()).or_insert_with(|| Refusal {
                    plugin: Plugin::Extender,
                    reasons: Vec::new(),
                    unresolvable: true,
                });
            }
            feasible = answer.nodes;
        }
        Ok(feasible)
    }

    /// The nodes with the most points; at least one if there are nodes.
    async fn best(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<String> {
        let mut extra: HashMap<String, i64> = HashMap::new();
        for extender in &self.extenders {
            if extender.config.prioritize_verb.is_empty() || !extender.is_interested(&pod.pod) {
                continue;
            }
            // Points are a wish: an extender that gives none does not hold the pod up.
            match extender.prioritize(pod, nodes).await {
                Ok(points) => points.into_iter().for_each(|(name, points)| *extra.entry(name).or_insert(0) += points),
                Err(error) => tracing::info!(%error, "extender gave no points"),
            }
        }
        let scores = score::scores(pod, nodes);
        let totals: Vec<(i64, &str)> = nodes
            .iter()
            .zip(scores)
            .map(|(node, score)| (score + extra.get(node.name()).copied().unwrap_or(0), node.name()))
            .collect();
        let top = totals.iter().map(|(score, _)| *score).max().unwrap_or(0);
        let best = totals.iter().filter(|(score, _)| *score == top);
        best.map(|(_, name)| (*name).to_owned()).collect()
    }

    fn bind(&mut self, pod: Arc<PodInfo>, node: String) {
        self.cache.assume(pod.clone(), &node);
        let binder = self
            .extenders
            .iter()
            .find(|extender| !extender.config.bind_verb.is_empty() && extender.is_interested(&pod.pod))
            .cloned();
        let (ctx, bound) = (self.ctx.clone(), self.bound.clone());
        self.ctx.spawn(async move {
            let outcome = bind(&ctx, binder.as_deref(), &pod, &node).await;
            let _ = bound.send(Bound { pod, node, outcome });
        });
    }

    /// Puts back a pod about which nothing could be decided.
    pub(super) fn error(&mut self, pod: &PodInfo, message: String) {
        // A pod that is gone, or seen bound although the answer was lost, needs nothing more.
        if self.queue.place(&pod.uid).is_none() {
            return;
        }
        self.queue.failed(&pod.uid, self.ctx.clock.now());
        self.tell(pod, "SchedulerError", message, None);
    }

    async fn unschedulable(&mut self, pod: &Arc<PodInfo>, refusals: &BTreeMap<String, Refusal>) {
        if self.cache.nodes().is_empty() {
            // Nobody refused it, so no event can be told to concern it: it is tried again after a pause.
            self.queue.failed(&pod.uid, self.ctx.clock.now());
            return self.tell(pod, "Unschedulable", "no nodes available to schedule pods".to_owned(), None);
        }
        let plugins: BTreeSet<Plugin> = refusals.values().map(|refusal| refusal.plugin).collect();
        let attempt = Attempt { pod, cache: &self.cache, ignored: &self.ignored, refusals, extenders: &self.extenders };
        let mut message = summary(self.cache.nodes().len(), refusals);
        let nominated = match attempt.run(&mut self.rng).await {
            Outcome::NotNow(reason) => {
                message.push_str(&format!(" preemption: {reason}"));
                None
            }
            Outcome::Hopeless(reason) => {
                message.push_str(&format!(" preemption: {reason}"));
                self.nominated.remove(&pod.uid);
                Some(String::new())
            }
            Outcome::Victims { node, victims } => {
                message.push_str(&format!(
                    " preemption: found a potential placement for pod on node {node}, preempting {} victims",
                    victims.len()
                ));
                self.nominated.insert(pod.uid.clone(), (node.clone(), pod.clone()));
                self.evict(pod, &node, &victims);
                Some(node)
            }
        };
        self.queue.refused(&pod.uid, plugins, self.ctx.clock.now());
        self.tell(pod, "Unschedulable", message, nominated);
    }

    fn evict(&self, pod: &Arc<PodInfo>, node: &str, victims: &[String]) {
        let there = self.cache.nodes().get(node);
        for victim in victims.iter().filter_map(|uid| there?.pods.get(uid)) {
            if victim.pod.is_deleting() {
                continue;
            }
            let (ctx, caches): (Context, Caches) = (self.ctx.clone(), self.caches.clone());
            let (victim, pod, node) = (victim.clone(), pod.clone(), node.to_owned());
            self.ctx.spawn(async move {
                for attempt in 0..5 {
                    match preemption::remove(&ctx, &caches, &victim.pod, &pod.pod, &node).await {
                        Ok(()) => return,
                        Err(error) => tracing::debug!(%error, victim = victim.pod.name(), "preemption failed"),
                    }
                    tokio::time::sleep(Duration::from_millis(20) * 2_u32.pow(attempt)).await;
                }
            });
        }
    }

    fn tell(&self, pod: &PodInfo, reason: &'static str, message: String, nominated: Option<String>) {
        let recorder = &self.caches.recorder;
        recorder.warning(COMPONENT, &*pod.pod, "FailedScheduling", message.as_str());
        self.status.write(Verdict { pod: pod.pod.clone(), reason, message, nominated });
    }
}

async fn bind(ctx: &Context, binder: Option<&Extender>, pod: &PodInfo, node: &str) -> Result<(), String> {
    if let Some(extender) = binder {
        match extender.bind(&pod.pod, node).await {
            Err(error) if extender.config.ignorable => tracing::info!(%error, "ignorable extender did not bind"),
            outcome => return outcome.map_err(|error| error.to_string()),
        }
    }
    let binding = Binding {
        metadata: ObjectMeta {
            name: pod.pod.metadata.name.clone(),
            namespace: pod.pod.metadata.namespace.clone(),
            uid: Some(pod.uid.clone()),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), pod.pod.ns());
    let params = PostParams::default();
    let call = api.create_subresource::<Binding, Value>("binding", pod.pod.name(), &params, &binding);
    match tokio::time::timeout(BIND_DEADLINE, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("binding rejected: {error}")),
        Err(_) => Err(format!("binding rejected: no answer within {BIND_DEADLINE:?}")),
    }
}
