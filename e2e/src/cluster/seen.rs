//! The cluster at one moment, as quorum reads show it.

use std::{collections::BTreeMap, fmt};

use galaxy_api::{
    FloatingIP,
    floatingip::State,
    names::{ARGS_ANNOTATION, POD_CONDITION, RESOURCE},
};
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde_json::Value;

use crate::workload::{Kind, Workload};

/// A condition of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCondition {
    /// True, False or Unknown.
    pub status: String,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
    /// lastProbeTime, in seconds since the epoch.
    pub probed: Option<i64>,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct SeenPod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// uid.
    pub uid: String,
    /// Label `app`.
    pub app: String,
    /// Label `pod-template-hash`.
    pub revision: String,
    /// Image of its first container.
    pub image: String,
    /// Asks for a floating IP.
    pub wants: bool,
    /// Node, empty if not bound.
    pub node: String,
    /// status.phase.
    pub phase: String,
    /// Condition Ready.
    pub ready: bool,
    /// Is being deleted.
    pub deleting: bool,
    /// Addresses of the annotation, without prefix.
    pub ips: Vec<String>,
    /// The annotation [`ARGS_ANNOTATION`], empty if there is none.
    pub args: String,
    /// Condition `galaxy.k8s.io/FloatingIP`.
    pub floating: Option<SeenCondition>,
    /// Condition PodScheduled.
    pub scheduled: Option<SeenCondition>,
    /// Its controller.
    pub controller: Option<OwnerReference>,
    /// resourceVersion.
    pub version: String,
}

/// A FloatingIP.
#[derive(Clone, Debug)]
pub struct SeenAddress {
    /// The address.
    pub ip: String,
    /// The object.
    pub object: FloatingIP,
}

impl SeenAddress {
    /// `spec.key`.
    pub fn key(&self) -> &str {
        &self.object.spec.key
    }

    /// `spec.state`.
    pub fn state(&self) -> Option<State> {
        self.object.spec.state
    }

    /// uid of the pod that has it, or empty.
    pub fn pod_uid(&self) -> String {
        let typed = self.object.spec.pod.as_ref().map(|pod| pod.uid.clone());
        typed.unwrap_or_else(|| self.object.spec.attribute_or_default().uid)
    }

    /// Node of the pod that has it, or empty.
    pub fn node(&self) -> String {
        let spec = &self.object.spec;
        let typed = spec.state.is_some().then(|| spec.node.clone().unwrap_or_default());
        typed.unwrap_or_else(|| spec.attribute_or_default().node_name)
    }

    /// Name of the pod that has it or for which it is kept, or empty.
    pub fn pod_name(&self) -> &str {
        self.object.spec.pod.as_ref().map_or("", |pod| &pod.name)
    }

    /// Whether the workload owns it.
    pub fn is_of(&self, workload: &Workload) -> bool {
        let kind = workload.kind.resource().kind;
        let owner = self.object.spec.owner.as_ref();
        owner.is_some_and(|owner| {
            owner.namespace == workload.namespace
                && (owner.kind == kind && owner.name == workload.name
                    || workload.kind == Kind::Pod && self.pod_name() == workload.name)
        })
    }
}

/// A node.
#[derive(Clone, Debug)]
pub struct SeenNode {
    /// Name.
    pub name: String,
    /// Condition Ready is True or absent.
    pub ready: bool,
}

/// Pods, FloatingIPs and nodes of one moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Pods of all namespaces.
    pub pods: Vec<SeenPod>,
    /// FloatingIPs by address.
    pub addresses: BTreeMap<String, SeenAddress>,
    /// Nodes.
    pub nodes: Vec<SeenNode>,
}

impl Seen {
    pub(super) async fn read(client: &Client) -> kube::Result<Self> {
        let all = ListParams::default();
        let (pods, fips, nodes) = tokio::try_join!(
            async { Api::<Pod>::all(client.clone()).list(&all).await },
            async { Api::<FloatingIP>::all(client.clone()).list(&all).await },
            async { Api::<Node>::all(client.clone()).list(&all).await },
        )?;
        let addresses = fips.items.into_iter().map(|object| {
            let ip = object.ip().map_or_else(|| object.name_any(), |ip| ip.to_string());
            (ip.clone(), SeenAddress { ip, object })
        });
        Ok(Self {
            pods: pods.items.iter().map(SeenPod::of).collect(),
            addresses: addresses.collect(),
            nodes: nodes.items.iter().map(SeenNode::of).collect(),
        })
    }

    /// The pods of a workload, those being deleted included, by name.
    pub fn of(&self, workload: &Workload) -> Vec<&SeenPod> {
        let mine = |pod: &&SeenPod| pod.namespace == workload.namespace && pod.app == workload.name;
        let mut pods: Vec<_> = self.pods.iter().filter(mine).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        pods
    }

    /// The pod of this name in the namespace `default`.
    pub fn pod(&self, name: &str) -> Option<&SeenPod> {
        self.pod_in("default", name)
    }

    /// The pod of this name.
    pub fn pod_in(&self, namespace: &str, name: &str) -> Option<&SeenPod> {
        self.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name)
    }

    /// The addresses that a workload owns, whatever their state.
    pub fn owned_by(&self, workload: &Workload) -> Vec<&SeenAddress> {
        self.addresses.values().filter(|address| address.is_of(workload)).collect()
    }

    /// The addresses of a pool, whatever their state.
    pub fn in_pool(&self, pool: &str) -> Vec<&SeenAddress> {
        self.addresses.values().filter(|address| address.object.spec.pool.as_deref() == Some(pool)).collect()
    }

    /// The state of an address; none if it is free.
    pub fn state(&self, ip: &str) -> Option<State> {
        self.addresses.get(ip)?.state()
    }

    /// Whether nobody has the address and it is kept for nobody.
    pub fn is_free(&self, ip: &str) -> bool {
        !self.addresses.contains_key(ip)
    }
}

impl SeenNode {
    fn of(node: &Node) -> Self {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        Self { name: node.name_any(), ready: ready.is_none_or(|ready| ready.status == "True") }
    }
}

impl SeenPod {
    pub(super) fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let condition = |type_: &str| {
            let conditions = status?.conditions.as_deref()?;
            let found = conditions.iter().find(|condition| condition.type_ == type_)?;
            Some(SeenCondition {
                status: found.status.clone(),
                reason: found.reason.clone().unwrap_or_default(),
                message: found.message.clone().unwrap_or_default(),
                probed: found.last_probe_time.as_ref().map(|time| time.0.as_second()),
            })
        };
        let label = |name: &str| pod.labels().get(name).cloned().unwrap_or_default();
        let args = pod.annotations().get(ARGS_ANNOTATION).cloned().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let wants = spec.is_some_and(|spec| {
            let requests =
                spec.containers.iter().filter_map(|container| container.resources.as_ref()?.requests.as_ref());
            requests.into_iter().any(|requests| requests.contains_key(RESOURCE))
        });
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            app: label("app"),
            revision: label("pod-template-hash"),
            image: spec.and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default(),
            wants,
            node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            phase: status.and_then(|status| status.phase.clone()).unwrap_or_default(),
            ready: condition("Ready").is_some_and(|ready| ready.status == "True"),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            ips: addresses(&args),
            args,
            floating: condition(POD_CONDITION),
            scheduled: condition("PodScheduled"),
            controller: pod.owner_references().iter().find(|owner| owner.controller == Some(true)).cloned(),
            version: pod.resource_version().unwrap_or_default(),
        }
    }

    /// Bound, ready and not being deleted.
    pub fn is_up(&self) -> bool {
        !self.node.is_empty() && self.ready && !self.deleting
    }

    /// Its containers are through.
    pub fn is_finished(&self) -> bool {
        self.phase == "Succeeded" || self.phase == "Failed"
    }

    /// Its first address, or empty.
    pub fn ip(&self) -> &str {
        self.ips.first().map_or("", String::as_str)
    }

    /// Why it waits for an address, by its condition; empty if it does not.
    pub fn waits_for(&self) -> &str {
        match &self.floating {
            Some(condition) if condition.status == "False" => &condition.reason,
            _ => "",
        }
    }
}

/// The addresses of `common.ipinfos`, without prefix.
fn addresses(args: &str) -> Vec<String> {
    let args: Value = serde_json::from_str(args).unwrap_or_default();
    let infos = args["common"]["ipinfos"].as_array().cloned().unwrap_or_default();
    let ip = |info: &Value| Some(info["ip"].as_str()?.split('/').next()?.to_owned());
    infos.iter().filter_map(ip).collect()
}

/// A table for whoever has to find out why a scenario failed.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("{}{}", node.name, if node.ready { "" } else { " (not ready)" }))
            .collect();
        writeln!(f, "nodes: {}", nodes.join(", "))?;
        writeln!(f, "{:<36} {:<6} {:<16} {:<24} condition", "pod", "node", "IP", "phase")?;
        for pod in &self.pods {
            let phase = [(pod.ready, " ready"), (pod.deleting, " deleting")];
            let phase: String = phase.iter().filter(|(is, _)| *is).fold(pod.phase.clone(), |all, (_, word)| all + word);
            let name = format!("{}/{}", pod.namespace, pod.name);
            write!(f, "{name:<36} {:<6} {:<16} {phase:<24}", pod.node, pod.ips.join(","))?;
            for (kind, condition) in [("FloatingIP", &pod.floating), ("PodScheduled", &pod.scheduled)] {
                if let Some(condition) = condition.as_ref().filter(|condition| condition.status != "True") {
                    write!(f, " {kind}={} {}: {}", condition.status, condition.reason, condition.message)?;
                }
            }
            writeln!(f)?;
        }
        writeln!(f, "{:<16} {:<12} {:<44} {:<6} pod uid", "address", "state", "key", "node")?;
        for address in self.addresses.values() {
            let spec = &address.object.spec;
            let state = spec.state.map_or_else(|| "-".to_owned(), |state| format!("{state:?}"));
            let spare = if spec.spare { " spare" } else { "" };
            let (node, uid) = (address.node(), address.pod_uid());
            writeln!(f, "{:<16} {state:<12} {:<44} {node:<6} {uid}{spare}", address.ip, spec.key)?;
        }
        Ok(())
    }
}
