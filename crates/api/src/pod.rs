//! A pod as Galaxy sees it: the few members that decide about addresses.
//!
//! Read from extender requests and made from watched pods, so that both speak of the same thing.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use galaxy_core::{ReleasePolicy, policy::UnknownPolicy};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::{
    names,
    wire::{List, Map, Text, from_members},
};

/// The members of a pod that Galaxy needs. Absent strings are empty, unreadable times and addresses are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodView {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`: which version of the pod this is.
    pub resource_version: String,
    /// Those of [`names::POD_ANNOTATIONS`] that the pod has.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.ownerReferences`.
    pub owners: Vec<OwnerRef>,
    /// `metadata.creationTimestamp`.
    pub created_at: Option<Timestamp>,
    /// `metadata.deletionTimestamp`: the deadline by which kubelet must have stopped it.
    pub deletion_deadline: Option<Timestamp>,
    /// `metadata.deletionGracePeriodSeconds`.
    pub deletion_grace_seconds: Option<i64>,
    /// `spec.nodeName`; empty while unscheduled.
    pub node_name: String,
    /// Any container requests [`names::RESOURCE`].
    pub wants_floating_ip: bool,
    /// `spec.priority`.
    pub priority: i32,
    /// `spec.schedulerName`.
    pub scheduler_name: String,
    /// `status.phase`.
    pub phase: String,
    /// `status.reason`.
    pub reason: String,
    /// `status.conditions`.
    pub conditions: Vec<PodConditionView>,
    /// `status.podIPs`, the addresses that kubelet confirms.
    pub ips: Vec<IpAddr>,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerRef {
    /// Group and version, as `apps/v1`; only the version for the core group.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner, in the pod's namespace.
    pub name: String,
    /// Uid of the owner.
    pub uid: String,
    /// The owner that manages the pod.
    pub controller: bool,
}

/// One entry of `status.conditions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodConditionView {
    /// `type`, as `PodScheduled`.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason in one word.
    pub reason: String,
    /// Message for people.
    pub message: String,
    /// When it was last looked at.
    pub last_probe_time: Option<Timestamp>,
    /// When `status` last changed.
    pub last_transition_time: Option<Timestamp>,
}

impl OwnerRef {
    /// Group part of [`OwnerRef::api_version`]; empty for the core group.
    pub fn api_group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

impl PodView {
    /// The value of an annotation, if the pod has it and it is not empty.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The release policy annotation, if it is none of the words that mean something, and they matter.
    pub fn unknown_release_policy(&self) -> Option<UnknownPolicy> {
        let [policy, pool] =
            [names::RELEASE_POLICY_ANNOTATION, names::POOL_ANNOTATION].map(|annotation| self.annotation(annotation));
        ReleasePolicy::unknown_word(policy, pool)
    }

    /// The owner that manages this pod.
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owners.iter().find(|owner| owner.controller)
    }

    /// Whether its containers have ended for good.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&PodConditionView> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

impl fmt::Display for PodView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

from_members!(<'de> PodView {
    "metadata" => |pod, meta: Metadata| meta.fill(pod);
    "spec" => |pod, spec: Spec| spec.fill(pod);
    "status" => |pod, status: Status| status.fill(pod);
});

#[derive(Default)]
struct Metadata(PodView);

impl Metadata {
    fn fill(self, pod: &mut PodView) {
        let read = self.0;
        pod.name = read.name;
        pod.namespace = read.namespace;
        pod.uid = read.uid;
        pod.resource_version = read.resource_version;
        pod.annotations = read.annotations;
        pod.owners = read.owners;
        pod.created_at = read.created_at;
        pod.deletion_deadline = read.deletion_deadline;
        pod.deletion_grace_seconds = read.deletion_grace_seconds;
    }
}

from_members!(<'de> Metadata {
    "name" => |meta, name: String| meta.0.name = name;
    "namespace" => |meta, namespace: String| meta.0.namespace = namespace;
    "uid" => |meta, uid: String| meta.0.uid = uid;
    "resourceVersion" => |meta, version: String| meta.0.resource_version = version;
    "annotations" => |meta, all: Map<String>| meta.0.annotations = relevant(all.0);
    "ownerReferences" => |meta, owners: List<OwnerRef>| meta.0.owners = owners.0;
    "creationTimestamp" => |meta, time: Text<'de>| meta.0.created_at = time.0.parse().ok();
    "deletionTimestamp" => |meta, time: Text<'de>| meta.0.deletion_deadline = time.0.parse().ok();
    "deletionGracePeriodSeconds" => |meta, seconds: i64| meta.0.deletion_grace_seconds = Some(seconds);
});

from_members!(<'de> OwnerRef {
    "apiVersion" => |owner, version: String| owner.api_version = version;
    "kind" => |owner, kind: String| owner.kind = kind;
    "name" => |owner, name: String| owner.name = name;
    "uid" => |owner, uid: String| owner.uid = uid;
    "controller" => |owner, controller: bool| owner.controller = controller;
});

#[derive(Default)]
struct Spec(PodView);

impl Spec {
    fn fill(self, pod: &mut PodView) {
        let read = self.0;
        pod.node_name = read.node_name;
        pod.wants_floating_ip = read.wants_floating_ip;
        pod.priority = read.priority;
        pod.scheduler_name = read.scheduler_name;
    }
}

from_members!(<'de> Spec {
    "nodeName" => |spec, name: String| spec.0.node_name = name;
    "priority" => |spec, priority: i32| spec.0.priority = priority;
    "schedulerName" => |spec, name: String| spec.0.scheduler_name = name;
    "containers" => |spec, all: List<Container>| spec.0.wants_floating_ip = all.0.iter().any(|c| c.0.0.0);
});

#[derive(Default)]
struct Container(Resources);
#[derive(Default)]
struct Resources(Requests);
/// Whether the resource is among the requests.
#[derive(Default)]
struct Requests(bool);

from_members!(<'de> Container { "resources" => |container, resources: Resources| container.0 = resources; });
from_members!(<'de> Resources { "requests" => |resources, requests: Requests| resources.0 = requests; });

impl<'de> Deserialize<'de> for Requests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Requests;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = false;
                while let Some((key, IgnoredAny)) = map.next_entry::<Text<'_>, IgnoredAny>()? {
                    found |= key.0 == names::RESOURCE;
                }
                Ok(Requests(found))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[derive(Default)]
struct Status(PodView);

impl Status {
    fn fill(self, pod: &mut PodView) {
        let read = self.0;
        pod.phase = read.phase;
        pod.reason = read.reason;
        pod.conditions = read.conditions;
        pod.ips = read.ips;
    }
}

from_members!(<'de> Status {
    "phase" => |status, phase: String| status.0.phase = phase;
    "reason" => |status, reason: String| status.0.reason = reason;
    "conditions" => |status, conditions: List<PodConditionView>| status.0.conditions = conditions.0;
    "podIPs" => |status, ips: List<PodIp<'de>>| status.0.ips = ips.0.iter().filter_map(|ip| ip.0.0.parse().ok()).collect();
});

from_members!(<'de> PodConditionView {
    "type" => |condition, kind: String| condition.kind = kind;
    "status" => |condition, status: String| condition.status = status;
    "reason" => |condition, reason: String| condition.reason = reason;
    "message" => |condition, message: String| condition.message = message;
    "lastProbeTime" => |condition, time: Text<'de>| condition.last_probe_time = time.0.parse().ok();
    "lastTransitionTime" => |condition, time: Text<'de>| condition.last_transition_time = time.0.parse().ok();
});

#[derive(Default)]
struct PodIp<'a>(Text<'a>);
from_members!(<'de> PodIp<'de> { "ip" => |pod_ip, ip: Text<'de>| pod_ip.0 = ip; });

fn relevant(mut annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations.retain(|name, _| names::POD_ANNOTATIONS.contains(&name.as_str()));
    annotations
}

impl From<&Pod> for PodView {
    fn from(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let annotations = meta.annotations.iter().flatten();
        let mut view = PodView {
            name: text(&meta.name),
            namespace: text(&meta.namespace),
            uid: text(&meta.uid),
            resource_version: text(&meta.resource_version),
            annotations: annotations
                .filter(|(name, _)| names::POD_ANNOTATIONS.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            owners: meta
                .owner_references
                .iter()
                .flatten()
                .map(|owner| OwnerRef {
                    api_version: owner.api_version.clone(),
                    kind: owner.kind.clone(),
                    name: owner.name.clone(),
                    uid: owner.uid.clone(),
                    controller: owner.controller == Some(true),
                })
                .collect(),
            created_at: meta.creation_timestamp.as_ref().map(|time| time.0),
            deletion_deadline: meta.deletion_timestamp.as_ref().map(|time| time.0),
            deletion_grace_seconds: meta.deletion_grace_period_seconds,
            ..PodView::default()
        };
        if let Some(spec) = &pod.spec {
            view.node_name = text(&spec.node_name);
            view.priority = spec.priority.unwrap_or_default();
            view.scheduler_name = text(&spec.scheduler_name);
            view.wants_floating_ip = spec.containers.iter().any(|container| {
                let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
                requests.is_some_and(|requests| requests.contains_key(names::RESOURCE))
            });
        }
        if let Some(status) = &pod.status {
            view.phase = text(&status.phase);
            view.reason = text(&status.reason);
            view.ips = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
            view.conditions = status
                .conditions
                .iter()
                .flatten()
                .map(|condition| PodConditionView {
                    kind: condition.type_.clone(),
                    status: condition.status.clone(),
                    reason: text(&condition.reason),
                    message: text(&condition.message),
                    last_probe_time: condition.last_probe_time.as_ref().map(|time| time.0),
                    last_transition_time: condition.last_transition_time.as_ref().map(|time| time.0),
                })
                .collect();
        }
        view
    }
}
