//! Which nodes can take a pod, as far as the scheduler itself can tell.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm, Pod, PodAffinityTerm, Taint};

use super::cache::{Cache, NodeInfo, PodInfo};
use crate::control::{
    meta::{Meta, matches_term, selects},
    pods,
};

/// Who refused a node. The names are kube-scheduler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    /// The node is cordoned.
    NodeUnschedulable,
    /// The pod names another node.
    NodeName,
    /// The node has a taint that the pod does not tolerate.
    TaintToleration,
    /// The node's labels are not those asked for.
    NodeAffinity,
    /// The node has not enough left.
    NodeResourcesFit,
    /// Pods nearby are wanted or unwanted.
    InterPodAffinity,
    /// An HTTP extender refused.
    Extender,
}

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who says so.
    pub plugin: Plugin,
    /// In words; each counts by itself in the pod's condition.
    pub reasons: Vec<String>,
    /// Whether removing other pods would not help.
    pub unresolvable: bool,
}

impl Refusal {
    fn new(plugin: Plugin, reason: &str, unresolvable: bool) -> Self {
        Self { plugin, reasons: vec![reason.to_owned()], unresolvable }
    }
}

/// What a cycle knows of one pod before it looks at nodes.
pub struct Filter<'a> {
    pod: &'a PodInfo,
    ignored: &'a BTreeSet<String>,
    nearby: Nearby,
}

impl<'a> Filter<'a> {
    /// Prepares to filter nodes for `pod`. Resources in `ignored` are not counted; pods in `without` are taken to be gone.
    pub fn new(pod: &'a PodInfo, cache: &Cache, ignored: &'a BTreeSet<String>, without: &HashSet<&str>) -> Self {
        Self { pod, ignored, nearby: Nearby::new(pod, cache, without) }
    }

    /// Whether `node` can take the pod next to pods nominated for it, which use `nominated` (the pods among them: one each).
    pub fn check(&self, node: &NodeInfo, nominated: &[&PodInfo]) -> Result<(), Refusal> {
        unschedulable(self.pod, &node.node)?;
        node_name(self.pod, &node.node)?;
        taints(self.pod, &node.node)?;
        node_affinity(self.pod, &node.node)?;
        fits(self.pod, node, nominated, self.ignored)?;
        self.nearby.check(&node.node)
    }
}

/// Whether one plugin by itself has no objection to an otherwise empty node.
pub(super) fn passes(plugin: Plugin, pod: &PodInfo, node: &NodeInfo) -> bool {
    match plugin {
        Plugin::NodeUnschedulable => unschedulable(pod, &node.node).is_ok(),
        Plugin::NodeName => node_name(pod, &node.node).is_ok(),
        Plugin::TaintToleration => taints(pod, &node.node).is_ok(),
        Plugin::NodeAffinity => node_affinity(pod, &node.node).is_ok(),
        Plugin::NodeResourcesFit => fits(pod, node, &[], &BTreeSet::new()).is_ok(),
        Plugin::InterPodAffinity | Plugin::Extender => true,
    }
}

fn unschedulable(pod: &PodInfo, node: &Node) -> Result<(), Refusal> {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let taint =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    let tolerated = || pods::tolerates(pods::tolerations(&pod.pod), &taint).next().is_some();
    match cordoned && !tolerated() {
        true => Err(Refusal::new(Plugin::NodeUnschedulable, "node(s) were unschedulable", true)),
        false => Ok(()),
    }
}

fn node_name(pod: &PodInfo, node: &Node) -> Result<(), Refusal> {
    match pods::node_name(&pod.pod) {
        Some(name) if name != node.name() => {
            Err(Refusal::new(Plugin::NodeName, "node(s) didn't match the requested node name", true))
        }
        _ => Ok(()),
    }
}

fn taints(pod: &PodInfo, node: &Node) -> Result<(), Refusal> {
    let tolerations = pods::tolerations(&pod.pod);
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut hard = taints.filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    match hard.any(|taint| pods::tolerates(tolerations, taint).next().is_none()) {
        true => Err(Refusal::new(Plugin::TaintToleration, "node(s) had untolerated taint(s)", true)),
        false => Ok(()),
    }
}

fn node_affinity(pod: &PodInfo, node: &Node) -> Result<(), Refusal> {
    match selects_node(&pod.pod, node) {
        true => Ok(()),
        false => Err(Refusal::new(Plugin::NodeAffinity, "node(s) didn't match Pod's node affinity/selector", true)),
    }
}

/// Whether the pod's node selector and required node affinity allow `node`.
pub fn selects_node(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let mut wanted = spec.node_selector.iter().flatten();
    if !wanted.all(|(key, value)| node.label(key) == Some(value)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    // The terms are alternatives; an empty one matches nothing.
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches_node(term, node)))
}

fn matches_node(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let wanted = |values: &Option<Vec<String>>| values.clone().unwrap_or_default();
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|it| matches_term(node.label(&it.key), &it.operator, &wanted(&it.values)))
        && fields
            .iter()
            .all(|it| it.key == "metadata.name" && matches_term(Some(node.name()), &it.operator, &wanted(&it.values)))
}

fn fits(pod: &PodInfo, node: &NodeInfo, nominated: &[&PodInfo], ignored: &BTreeSet<String>) -> Result<(), Refusal> {
    let mut reasons = Vec::new();
    let mut unresolvable = false;
    let nominated: Vec<_> = nominated.iter().filter(|other| !node.pods.contains_key(&other.uid)).collect();
    let room = node.allocatable.get("pods").copied().unwrap_or(0) / 1000;
    let there = i128::try_from(node.pods.len() + nominated.len()).unwrap_or(i128::MAX);
    if there >= room {
        reasons.push("Too many pods".to_owned());
    }
    for (name, amount) in &pod.requests {
        if *amount == 0 || ignored.contains(name) {
            continue;
        }
        let all = node.allocatable.get(name).copied().unwrap_or(0);
        let used = node.used.get(name).copied().unwrap_or(0);
        let promised: i128 = nominated.iter().filter_map(|other| other.requests.get(name)).sum();
        if *amount > all - used - promised {
            reasons.push(format!("Insufficient {name}"));
            unresolvable |= *amount > all;
        }
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Refusal { plugin: Plugin::NodeResourcesFit, reasons, unresolvable }),
    }
}

/// What affinity between pods says about places, as label key and value of nodes.
#[derive(Default)]
struct Nearby {
    /// Where pods are that the pod avoids.
    avoided: BTreeSet<(String, String)>,
    /// Where pods are that avoid the pod.
    unwelcome: BTreeSet<(String, String)>,
    /// For each required term, its key and the values where a matching pod is; `None` if the pod may be the first.
    required: Vec<(String, Option<BTreeSet<String>>)>,
}

impl Nearby {
    fn new(pod: &PodInfo, cache: &Cache, without: &HashSet<&str>) -> Self {
        let mut nearby = Self::default();
        if pod.affinity().is_empty() && pod.anti_affinity().is_empty() && !cache.has_avoiding() {
            return nearby;
        }
        let mut found: Vec<BTreeSet<String>> = vec![BTreeSet::new(); pod.affinity().len()];
        for node in cache.nodes().values() {
            let value = |term: &PodAffinityTerm| node.node.label(&term.topology_key).map(str::to_owned);
            for other in node.pods.values().filter(|other| !without.contains(other.uid.as_str())) {
                for term in pod.anti_affinity() {
                    if let (true, Some(value)) = (matches_pod(term, pod, other), value(term)) {
                        nearby.avoided.insert((term.topology_key.clone(), value));
                    }
                }
                for term in other.anti_affinity() {
                    if let (true, Some(value)) = (matches_pod(term, other, pod), value(term)) {
                        nearby.unwelcome.insert((term.topology_key.clone(), value));
                    }
                }
                for (term, values) in pod.affinity().iter().zip(&mut found) {
                    if matches_pod(term, pod, other) {
                        values.extend(value(term));
                    }
                }
            }
        }
        for (term, values) in pod.affinity().iter().zip(found) {
            let first = values.is_empty() && matches_pod(term, pod, pod);
            nearby.required.push((term.topology_key.clone(), (!first).then_some(values)));
        }
        nearby
    }

    fn check(&self, node: &Node) -> Result<(), Refusal> {
        let refuse = |reason, unresolvable| Err(Refusal::new(Plugin::InterPodAffinity, reason, unresolvable));
        let here = |(key, value): &(String, String)| node.label(key) == Some(value);
        for (key, values) in &self.required {
            let value = node.label(key);
            let near = match values {
                Some(values) => value.is_some_and(|value| values.contains(value)),
                None => value.is_some(),
            };
            if !near {
                return refuse("node(s) didn't match pod affinity rules", true);
            }
        }
        if self.avoided.iter().any(here) {
            return refuse("node(s) didn't match pod anti-affinity rules", false);
        }
        if self.unwelcome.iter().any(here) {
            return refuse("node(s) didn't satisfy existing pods anti-affinity rules", false);
        }
        Ok(())
    }
}

/// Whether a term of `owner` means `other`. Namespace selectors other than "all" are not looked at.
fn matches_pod(term: &PodAffinityTerm, owner: &PodInfo, other: &PodInfo) -> bool {
    let namespaces = term.namespaces.as_deref().unwrap_or_default();
    let namespace = other.pod.ns();
    let in_namespace = match namespaces.is_empty() && term.namespace_selector.is_none() {
        true => namespace == owner.pod.ns(),
        false => namespaces.iter().any(|name| name == namespace) || term.namespace_selector.is_some(),
    };
    let selector = term.label_selector.as_ref();
    in_namespace && selector.is_some_and(|selector| selects(selector, other.pod.metadata.labels.as_ref()))
}

/// Refusals by node, and the sentence that tells them: `0/6 nodes are available: 4 A, 2 B.`
pub fn summary(nodes: usize, refusals: &BTreeMap<String, Refusal>) -> String {
    let reasons = refusals.values().flat_map(|refusal| &refusal.reasons);
    let mut histogram: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons.filter(|reason| !reason.is_empty()) {
        *histogram.entry(reason).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = histogram.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    counts.sort();
    let mut text = format!("0/{nodes} nodes are available:");
    if !counts.is_empty() {
        text = format!("{text} {}.", counts.join(", "));
    }
    text
}
