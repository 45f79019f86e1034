//! `FloatingIP`: one allocated or reserved address. The object is named by its address, so that the API server itself
//! refuses a second owner.

use std::net::IpAddr;

use galaxy_core::{ReleasePolicy, addr};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    names,
    wire::{from_members, lenient},
};

/// Bound on names of other objects in the schema, and on everything made of one.
const NAME_BYTES: u32 = 253;
/// Bound on `key` and `attribute`, which are made of several names.
const KEY_BYTES: u32 = 1024;

/// What is recorded of an address. Where `state` is set, the typed members are the truth, and `key` and `attribute` are
/// there for older readers.
// Reading takes any member that makes no sense as absent, so that one odd object never hides an address in use.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "galaxy.k8s.io",
    version = "v1alpha1",
    kind = "FloatingIP",
    plural = "floatingips",
    singular = "floatingip",
    shortname = "fip",
    category = "galaxy",
    derive = "PartialEq",
    doc = "An address that belongs to a pod or is kept for one. Written by galaxy-ipam; to reserve an address by hand, create an object with the label `reserved`.",
    selectable = ".spec.node",
    selectable = ".spec.owner.namespace",
    selectable = ".spec.pod.uid"
)]
#[serde(rename_all = "camelCase")]
pub struct FloatingIPSpec {
    /// Who has the address, as one string: `sts_shop_cart_cart-2`, `dp_shop_web_`, `pool__blue_`.
    #[serde(default, deserialize_with = "lenient")]
    #[schemars(length(max = KEY_BYTES))]
    pub key: String,

    /// Node and pod uid as a JSON string, for older readers: `{"NodeName":"worker-3","Uid":"6b1f0c9e-…"}`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = KEY_BYTES))]
    pub attribute: Option<String>,

    /// When the address is freed: 0 with the pod, 1 with its workload or on scale-down (immutable), 2 never.
    #[serde(default, deserialize_with = "lenient")]
    #[schemars(range(min = 0, max = 2))]
    pub policy: i64,

    /// When the address was last taken, given up or kept.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub update_time: Option<MicroTime>,

    /// What the address is for.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,

    /// The workload that the address belongs to; a bare pod is its own.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerReference>,

    /// The pod that has the address, or for which it is kept by name.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodReference>,

    /// Pool that the address is taken from and returns to.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = NAME_BYTES))]
    pub pool: Option<String>,

    /// Node of the pod; of a quarantined address, the node on which the old pod may still run.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = NAME_BYTES))]
    pub node: Option<String>,

    /// The address with the prefix length of its subnet: `10.0.0.5/24`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 43))]
    pub address: Option<IpNet>,

    /// Gateway of the subnet.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 39))]
    pub gateway: Option<IpAddr>,

    /// VLAN id of the subnet; 0 for none.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0, max = 4094))]
    pub vlan: Option<u16>,

    /// The one address that a Deployment has beyond its replicas, so that its rollouts can proceed.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "std::ops::Not::not")]
    pub spare: bool,

    /// When the last pod gave the address up; set while it is quarantined.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub released_at: Option<MicroTime>,

    /// Of objects before v1.0.7. Accepted, never read, never written.
    #[serde(default, deserialize_with = "lenient", skip_serializing)]
    #[schemars(length(max = 64))]
    pub subnet: Option<String>,
}

/// What an address is for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Claimed for a pod that is not bound yet, because something must happen first.
    Held,
    /// Belongs to a pod, from just before its binding on.
    Bound,
    /// Has no pod and is kept for a pod name, a workload or a pool.
    Reserved,
    /// A pod that may still run on an unreachable node had it.
    Quarantined,
}

/// The workload that an address belongs to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// API group without version; empty for the core group.
    #[serde(deserialize_with = "lenient")]
    #[schemars(length(max = NAME_BYTES))]
    pub api_group: String,
    /// Kind, as `StatefulSet`.
    #[serde(deserialize_with = "lenient")]
    #[schemars(length(max = NAME_BYTES))]
    pub kind: String,
    /// Namespace.
    #[serde(deserialize_with = "lenient")]
    #[schemars(length(max = NAME_BYTES))]
    pub namespace: String,
    /// Name.
    #[serde(deserialize_with = "lenient")]
    #[schemars(length(max = NAME_BYTES))]
    pub name: String,
    /// Uid; empty where it is not known.
    #[serde(deserialize_with = "lenient")]
    #[schemars(length(max = NAME_BYTES))]
    pub uid: String,
}

/// The pod of an address.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase", default)]
pub struct PodReference {
    /// Name, in the owner's namespace.
    #[serde(deserialize_with = "lenient")]
    #[schemars(length(max = NAME_BYTES))]
    pub name: String,
    /// Uid; empty while the address is only kept for the name.
    #[serde(deserialize_with = "lenient")]
    #[schemars(length(max = NAME_BYTES))]
    pub uid: String,
}

/// Content of `spec.attribute`.
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Attribute {
    /// Node of the pod; empty for none.
    pub node_name: String,
    /// Uid of the pod; empty for none.
    pub uid: String,
}

from_members!(<'de> Attribute {
    "NodeName" => |attribute, name: String| attribute.node_name = name;
    "Uid" => |attribute, uid: String| attribute.uid = uid;
});

impl Attribute {
    /// Reads the JSON string; an empty one means no node and no uid.
    ///
    /// # Errors
    /// The text is not such an object. Whoever has the address is then known by `key` alone.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        if json.is_empty() { Ok(Self::default()) } else { crate::wire::from_slice(json.as_bytes()) }
    }
}

impl std::fmt::Display for Attribute {
    /// The JSON string, always with both members.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}

impl FloatingIP {
    /// An object for an address.
    pub fn for_address(ip: IpAddr, spec: FloatingIPSpec) -> Self {
        FloatingIP::new(&addr::object_name(ip), spec)
    }

    /// The address that the object is named by; none if its name is not an address.
    pub fn ip(&self) -> Option<IpAddr> {
        addr::parse_object_name(self.metadata.name.as_deref()?)
    }

    /// Whether an administrator reserved the address.
    pub fn is_reserved_by_admin(&self) -> bool {
        self.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(names::RESERVED_LABEL))
    }
}

impl FloatingIPSpec {
    /// `policy`, if it is one.
    pub fn release_policy(&self) -> Option<ReleasePolicy> {
        ReleasePolicy::from_number(self.policy)
    }

    /// `attribute`; empty where it is absent or unreadable.
    pub fn attribute_or_default(&self) -> Attribute {
        self.attribute.as_deref().and_then(|json| Attribute::parse(json).ok()).unwrap_or_default()
    }
}
