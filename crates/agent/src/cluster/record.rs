//! What is kept of an object.

use std::{collections::BTreeMap, net::IpAddr};

use galaxy_api::{
    floatingip::{FloatingIP, State},
    names::{ARGS_ANNOTATION, NETWORKS_ANNOTATION, RESOURCE},
};
use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;

/// What matters of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// The uid that kubelet uses for a static pod, of which the API server knows a mirror.
    pub static_uid: Option<String>,
    /// Node.
    pub node: String,
    /// Requests a floating IP.
    pub wants_ip: bool,
    /// Annotation with addresses.
    pub args: String,
    /// Annotation with networks.
    pub networks: String,
}

impl Pod {
    pub(super) fn read(pod: &core::Pod) -> Self {
        let metadata = &pod.metadata;
        let annotations: Option<&BTreeMap<String, String>> = metadata.annotations.as_ref();
        let annotation = |name: &str| annotations.and_then(|all| all.get(name)).cloned();
        let spec = pod.spec.as_ref();
        let wants = |container: &core::Container| {
            let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
            requests.is_some_and(|requests| requests.contains_key(RESOURCE))
        };
        Pod {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            static_uid: annotation("kubernetes.io/config.mirror").and(annotation("kubernetes.io/config.hash")),
            node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            wants_ip: spec.is_some_and(|spec| spec.containers.iter().any(wants)),
            args: annotation(ARGS_ANNOTATION).unwrap_or_default(),
            networks: annotation(NETWORKS_ANNOTATION).unwrap_or_default(),
        }
    }

    /// Whether kubelet means this pod by a uid.
    pub(super) fn is(&self, uid: &str) -> bool {
        self.uid == uid || self.static_uid.as_deref() == Some(uid)
    }
}

/// Who has an address, as its FloatingIP says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name of the pod; the key of an object that does not say it.
    pub pod: String,
    /// Uid of the pod; empty if it has none.
    pub uid: String,
    /// Node of the pod; empty if it has none.
    pub node: String,
    /// The pod has it, rather than may have had it or is to have it.
    pub held: bool,
    /// The address with the prefix length of its subnet.
    pub address: Option<IpNet>,
    /// Gateway of the subnet.
    pub gateway: Option<IpAddr>,
    /// VLAN id.
    pub vlan: Option<u16>,
}

impl Holder {
    pub(super) fn read(object: &FloatingIP) -> Option<(IpAddr, Self)> {
        let ip = object.ip()?;
        let spec = &object.spec;
        let old = spec.attribute_or_default();
        let namespace = spec.owner.as_ref().map(|owner| owner.namespace.as_str());
        let (pod, uid) = match &spec.pod {
            Some(pod) => {
                (namespace.map_or(pod.name.clone(), |namespace| format!("{namespace}/{}", pod.name)), pod.uid.clone())
            }
            None => (spec.key.clone(), if spec.state.is_none() { old.uid } else { String::new() }),
        };
        let node = match spec.state {
            None => spec.node.clone().unwrap_or(old.node_name),
            Some(_) => spec.node.clone().unwrap_or_default(),
        };
        let held = matches!(spec.state, None | Some(State::Bound | State::Held));
        let address = spec.address.filter(|net| net.addr() == ip);
        Some((ip, Holder { pod, uid, node, held, address, gateway: spec.gateway, vlan: spec.vlan }))
    }

    /// Whether a pod on a node has it.
    pub(super) fn confirms(&self, uid: &str, node: &str) -> bool {
        self.held && !uid.is_empty() && self.uid == uid && self.node == node
    }
}
