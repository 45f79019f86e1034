//! What kube-scheduler sends.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    names,
    pod::PodView,
    wire::{self, List, Map, Text, Walk, from_members, shorten},
};

/// Body of `filter` and `priority`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtenderArgs<'a> {
    /// The pod to place.
    pub pod: Option<PodView>,
    /// Whole candidate nodes, from a scheduler that does not trust the extender's cache.
    pub nodes: Option<Vec<NodeItem<'a>>>,
    /// Names of candidate nodes (`nodeCacheCapable: true`).
    pub node_names: Option<Vec<Cow<'a, str>>>,
}

impl<'a> ExtenderArgs<'a> {
    /// Reads a body in one pass: one with thousands of whole nodes has tens of megabytes.
    ///
    /// # Errors
    /// Syntax errors and wrong types, with the path to the value and its position.
    pub fn read(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        let read = std::str::from_utf8(body).ok().and_then(Self::walk);
        // What is wrong with a bad one, serde says best.
        read.map_or_else(|| wire::from_slice(body), Ok)
    }

    /// Reads the same as serde does, if nothing is wrong.
    fn walk(body: &'a str) -> Option<Self> {
        let mut walk = Walk::new(body);
        let mut args = ExtenderArgs::default();
        walk.members(|walk, name| {
            if walk.null() {
                return Some(());
            }
            if name.eq_ignore_ascii_case("Pod") {
                args.pod = Some(walk.value()?.0);
            } else if name.eq_ignore_ascii_case("NodeNames") {
                let names: List<Text<'a>> = walk.value()?.0;
                args.node_names = Some(names.into_texts());
            } else if name.eq_ignore_ascii_case("Nodes") {
                args.nodes = Some(walk_nodes(walk)?);
            } else {
                walk.value::<IgnoredAny>()?;
            }
            Some(())
        })?;
        walk.end().map(|()| args)
    }

    /// Names of the candidates, in the order sent, whichever form they came in.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.node_names.iter().flatten().map(AsRef::as_ref);
        let nodes = if self.node_names.is_none() { self.nodes.as_deref() } else { None };
        names.chain(nodes.into_iter().flatten().map(|node| node.view.name.as_str()))
    }
}

from_members!(<'de> ExtenderArgs<'de> {
    "Pod" => |args, pod: PodView| args.pod = Some(pod);
    "Nodes" => |args, nodes: NodeItems<'de>| args.nodes = Some(nodes.0);
    "NodeNames" => |args, names: List<Text<'de>>| args.node_names = Some(names.into_texts());
});

impl<'a> List<Text<'a>> {
    fn into_texts(self) -> Vec<Cow<'a, str>> {
        self.0.into_iter().map(|text| text.0).collect()
    }
}

impl ExtenderArgs<'_> {
    /// Takes the pod out, if it can be told from others.
    ///
    /// # Errors
    /// There is none, or its name, namespace or uid is missing.
    pub fn take_pod(&mut self) -> Result<PodView, BadMember> {
        let pod = self.pod.take().ok_or(BadMember::Missing("Pod"))?;
        let members = [
            ("Pod.metadata.name", &pod.name),
            ("Pod.metadata.namespace", &pod.namespace),
            ("Pod.metadata.uid", &pod.uid),
        ];
        let missing = members.iter().find(|(_, value)| value.is_empty()).map(|(member, _)| *member);
        match missing {
            // Only who asks for an address has to be known again.
            Some(member) if pod.wants_floating_ip => Err(BadMember::Missing(member)),
            _ => Ok(pod),
        }
    }
}

/// `Nodes`, a `v1.NodeList`.
#[derive(Default)]
struct NodeItems<'a>(Vec<NodeItem<'a>>);

from_members!(<'de> NodeItems<'de> { "items" => |nodes, items: List<NodeItem<'de>>| nodes.0 = items.0; });

fn walk_nodes<'a>(walk: &mut Walk<'a>) -> Option<Vec<NodeItem<'a>>> {
    let mut nodes = Vec::new();
    walk.members(|walk, name| {
        if !name.eq_ignore_ascii_case("items") {
            return walk.value::<IgnoredAny>().map(drop);
        }
        if walk.null() {
            return Some(());
        }
        nodes.clear();
        walk.items(|walk| {
            if let (Some(view), raw) = walk.value::<Option<NodeView>>()? {
                nodes.push(NodeItem { raw, view });
            }
            Some(())
        })
    })?;
    Some(nodes)
}

/// A candidate node as sent, with the members that Galaxy reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeItem<'a> {
    /// The node's JSON text, for the answer.
    pub raw: &'a str,
    /// What was read of it.
    pub view: NodeView,
}

impl<'de> Deserialize<'de> for NodeItem<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let view = serde_json::from_str(raw).map_err(serde::de::Error::custom)?;
        Ok(NodeItem { raw, view })
    }
}

/// The members of a node that filtering needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeView {
    /// `metadata.name`.
    pub name: String,
    /// Addresses of type `InternalIP` in the order given; those that do not parse are left out.
    pub internal_ips: Vec<IpAddr>,
}

#[derive(Default)]
struct Named(String);
#[derive(Default)]
struct Addresses<'a>(List<NodeAddress<'a>>);
#[derive(Default)]
struct NodeAddress<'a> {
    kind: Text<'a>,
    address: Text<'a>,
}

from_members!(<'de> NodeView {
    "metadata" => |node, meta: Named| node.name = meta.0;
    "status" => |node, status: Addresses<'de>| node.internal_ips = internal_ips(&status.0.0);
});
from_members!(<'de> Named { "name" => |named, name: String| named.0 = name; });
from_members!(<'de> Addresses<'de> { "addresses" => |status, all: List<NodeAddress<'de>>| status.0 = all; });
from_members!(<'de> NodeAddress<'de> {
    "type" => |address, kind: Text<'de>| address.kind = kind;
    "address" => |address, value: Text<'de>| address.address = value;
});

fn internal_ips(addresses: &[NodeAddress<'_>]) -> Vec<IpAddr> {
    let internal = addresses.iter().filter(|address| address.kind.0 == "InternalIP");
    internal.filter_map(|address| address.address.0.parse().ok()).collect()
}

/// Body of `bind`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindArgs {
    /// Name of the pod.
    pub pod_name: String,
    /// Its namespace.
    pub pod_namespace: String,
    /// Its uid, by which addresses are owned.
    pub pod_uid: String,
    /// The node that the scheduler chose.
    pub node: String,
}

from_members!(<'de> BindArgs {
    "PodName" => |args, name: String| args.pod_name = name;
    "PodNamespace" => |args, namespace: String| args.pod_namespace = namespace;
    "PodUID" => |args, uid: String| args.pod_uid = uid;
    "Node" => |args, node: String| args.node = node;
});

impl BindArgs {
    /// Checks that nothing is missing, and that names are names: they become parts of a URL.
    ///
    /// # Errors
    /// Which member is wrong, with its value.
    pub fn validate(&self) -> Result<(), BadMember> {
        let members = [
            ("PodName", &self.pod_name),
            ("PodNamespace", &self.pod_namespace),
            ("PodUID", &self.pod_uid),
            ("Node", &self.node),
        ];
        for (member, value) in members {
            if value.is_empty() {
                return Err(BadMember::Missing(member));
            }
            let fits = if member == "PodUID" { value.len() <= names::MAX_NAME_BYTES } else { names::is_name(value) };
            if !fits {
                return Err(BadMember::NoName { member, value: shorten(value).into_owned() });
            }
        }
        Ok(())
    }
}

/// A member of a request that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMember {
    /// It is needed.
    #[error("bad request: {0} is missing or empty")]
    Missing(&'static str),
    /// It is not what an object is named.
    #[error("bad request: {member} {value:?} is not the name of an object")]
    NoName {
        /// Which.
        member: &'static str,
        /// Start of its value.
        value: String,
    },
}

/// Body of `preempt`.
#[derive(Debug, Clone, Default)]
pub struct PreemptArgs {
    /// The pod that needs room.
    pub pod: Option<PodView>,
    /// The victims on each node, by uid. Made from whole pods where the scheduler sent those.
    pub victims: BTreeMap<String, MetaVictims>,
}

/// Pods that would have to go from one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetaVictims {
    /// Their uids.
    pub pods: Vec<MetaPod>,
    /// How many PodDisruptionBudgets that would break.
    #[serde(rename = "NumPDBViolations")]
    pub pdb_violations: i64,
}

/// A victim by uid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MetaPod {
    /// Uid of the pod.
    #[serde(rename = "UID")]
    pub uid: String,
}

impl<'de> Deserialize<'de> for PreemptArgs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default)]
        struct Raw {
            pod: Option<PodView>,
            victims: BTreeMap<String, WholeVictims>,
            meta_victims: BTreeMap<String, MetaVictims>,
        }
        from_members!(<'de> Raw {
            "Pod" => |args, pod: PodView| args.pod = Some(pod);
            "NodeNameToVictims" => |args, victims: Map<WholeVictims>| args.victims = victims.0;
            "NodeNameToMetaVictims" => |args, victims: Map<MetaVictims>| args.meta_victims = victims.0;
        });
        let raw = Raw::deserialize(deserializer)?;
        let victims = if raw.meta_victims.is_empty() {
            raw.victims.into_iter().map(|(node, victims)| (node, victims.0)).collect()
        } else {
            raw.meta_victims
        };
        Ok(PreemptArgs { pod: raw.pod, victims })
    }
}

/// Victims sent as whole pods, of which only the uid is read.
#[derive(Default)]
struct WholeVictims(MetaVictims);
#[derive(Default)]
struct VictimPod(MetaPod);

from_members!(<'de> WholeVictims {
    "Pods" => |victims, pods: List<VictimPod>| victims.0.pods = pods.0.into_iter().map(|pod| pod.0).collect();
    "NumPDBViolations" => |victims, count: i64| victims.0.pdb_violations = count;
});
from_members!(<'de> VictimPod { "metadata" => |pod, meta: MetaPod| pod.0 = meta; });
from_members!(<'de> MetaVictims {
    "Pods" => |victims, pods: List<MetaPod>| victims.pods = pods.0;
    "NumPDBViolations" => |victims, count: i64| victims.pdb_violations = count;
});
from_members!(<'de> MetaPod { "uid" => |pod, uid: String| pod.uid = uid; });
