//! Cluster events, and which of them may help a pod that was refused (kube-scheduler's queueing hints, on by default from 1.32).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::{
    cache::{NodeInfo, PodInfo},
    filter::{self, Plugin},
};
use crate::control::{meta::Meta, pods};

/// Something that happened in the cluster.
#[derive(Clone, Debug)]
pub enum ClusterEvent {
    /// A bound or assumed pod came, or its labels changed.
    PodAssigned,
    /// A bound or assumed pod is gone or finished.
    PodGone,
    /// A node came.
    NodeAdded(Arc<Node>),
    /// A node changed in a way that scheduling may care about.
    NodeUpdated(Arc<Node>, NodeChange),
    /// The waiting pod itself changed.
    PodUpdated(PodChange),
    /// Something that may concern any pod.
    Any,
}

/// Which parts of a node changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeChange {
    /// `status.allocatable`.
    pub allocatable: bool,
    /// Labels.
    pub labels: bool,
    /// Taints, or `spec.unschedulable`.
    pub taints: bool,
    /// Type or status of a condition.
    pub conditions: bool,
    /// Annotations.
    pub annotations: bool,
}

/// Which parts of a waiting pod changed. A change of anything else, `status.conditions` included, leaves all unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodChange {
    /// Labels.
    pub labels: bool,
    /// Tolerations.
    pub tolerations: bool,
    /// It asks for less.
    pub requests: bool,
}

/// How `new` differs from `old`; `None` if only in what no scheduler cares about, such as heartbeats and addresses.
pub fn node_change(old: &Node, new: &Node) -> Option<NodeChange> {
    let conditions = |node: &Node| -> Vec<(String, String)> {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.map(|condition| (condition.type_.clone(), condition.status.clone())).collect()
    };
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    let taints = |node: &Node| {
        let spec = node.spec.as_ref();
        let taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        (taints, spec.and_then(|spec| spec.unschedulable).unwrap_or(false))
    };
    let change = NodeChange {
        allocatable: allocatable(old) != allocatable(new),
        labels: old.metadata.labels != new.metadata.labels,
        taints: taints(old) != taints(new),
        conditions: conditions(old) != conditions(new),
        annotations: old.metadata.annotations != new.metadata.annotations,
    };
    (change != NodeChange::default()).then_some(change)
}

/// How a waiting pod changed; `None` if it is the same version.
pub fn pod_change(old: &Pod, new: &Pod) -> Option<PodChange> {
    if old.version() == new.version() && old.uid() == new.uid() {
        return None;
    }
    let requests = |pod: &Pod| pod.spec.as_ref().map(pods::requests).unwrap_or_default();
    let (before, after) = (requests(old), requests(new));
    Some(PodChange {
        labels: old.metadata.labels != new.metadata.labels,
        tolerations: pods::tolerations(old) != pods::tolerations(new),
        requests: before.iter().any(|(name, amount)| after.get(name).copied().unwrap_or(0) < *amount),
    })
}

/// Whether `event` may make schedulable a pod that `plugin` refused.
pub(super) fn concerns(event: &ClusterEvent, plugin: Plugin, pod: &PodInfo) -> bool {
    use ClusterEvent::{Any, NodeAdded, NodeUpdated, PodAssigned, PodGone, PodUpdated};
    let passes = |node: &Arc<Node>| filter::passes(plugin, pod, &NodeInfo::empty(node.clone()));
    match (plugin, event) {
        (_, Any) => true,
        // An extender gives no hints, so any event may be the one; but a pod that comes takes room, it does not make any.
        (Plugin::Extender, event) => !matches!(event, PodAssigned),
        (Plugin::NodeResourcesFit, PodGone) => true,
        (Plugin::NodeResourcesFit, PodUpdated(change)) => change.requests,
        (Plugin::NodeResourcesFit, NodeUpdated(node, change)) => change.allocatable && passes(node),
        (Plugin::TaintToleration | Plugin::NodeUnschedulable, PodUpdated(change)) => change.tolerations,
        (Plugin::TaintToleration | Plugin::NodeUnschedulable, NodeUpdated(node, change)) => {
            change.taints && passes(node)
        }
        (Plugin::NodeAffinity, NodeUpdated(node, change)) => change.labels && passes(node),
        (Plugin::InterPodAffinity, PodAssigned | PodGone) => true,
        (Plugin::InterPodAffinity, PodUpdated(change)) => change.labels,
        (Plugin::InterPodAffinity, NodeAdded(_)) => true,
        (Plugin::InterPodAffinity, NodeUpdated(_, change)) => change.labels,
        (_, NodeAdded(node)) => passes(node),
        _ => false,
    }
}
