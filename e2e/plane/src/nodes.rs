//! Nodes that kwok plays: made in racks, switched off and on.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use ipnet::IpNet;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node as KubeNode};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{Plane, wait_for};

/// Label whose value `on` makes kwok play a node and its pods.
pub(crate) const POWER: &str = "plane.test/power";

/// How long nodes may take to become Ready.
const READY: Duration = Duration::from_secs(60);

/// A node to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// InternalIP.
    pub address: IpAddr,
}

/// Nodes whose InternalIPs are in one subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rack {
    /// What the nodes' names begin with; a number from 1 on follows.
    pub name: String,
    /// Subnet of the InternalIPs, which begin at its eleventh address.
    pub subnet: IpNet,
    /// Number of nodes.
    pub nodes: usize,
}

impl Rack {
    /// Racks `a`, `b` … of so many nodes each: rack number r has nodes 10.0.r.11 … (at most 240).
    ///
    /// # Errors
    /// More than 26 racks, or too many nodes in one.
    pub fn letters(nodes: &[usize]) -> Result<Vec<Self>> {
        let rack = |(number, nodes): (u8, &usize)| {
            let name = char::from(b'a' + number).to_string();
            Ok(Self { name, subnet: format!("10.0.{}.0/24", number + 1).parse()?, nodes: *nodes })
        };
        ensure!(nodes.len() <= 26, "{} racks are more than there are letters", nodes.len());
        (0..).zip(nodes).map(rack).collect()
    }

    /// Its nodes.
    ///
    /// # Errors
    /// The subnet has too few addresses.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        let nodes: Vec<Node> = (1..=self.nodes)
            .zip(self.subnet.hosts().skip(10))
            .map(|(number, address)| Node { name: format!("{}{number}", self.name), address })
            .collect();
        ensure!(nodes.len() == self.nodes, "rack {}: {} has no room for {} nodes", self.name, self.subnet, self.nodes);
        Ok(nodes)
    }
}

impl Plane {
    fn nodes(&self) -> Api<KubeNode> {
        Api::all(self.client())
    }

    /// Makes nodes and returns once all are Ready.
    ///
    /// # Errors
    /// The API server refuses one, or one does not become Ready within a minute.
    pub async fn create_nodes(&self, nodes: &[Node]) -> Result<()> {
        self.forget_leases(nodes).await.context("cannot remove old Leases")?;
        let api = &self.nodes();
        let create = |node: &Node| {
            let object = node_object(node);
            async move {
                let object: KubeNode = serde_json::from_value(object)?;
                api.create(&PostParams::default(), &object).await.map(drop).map_err(anyhow::Error::from)
            }
        };
        stream::iter(nodes.iter().map(create))
            .buffer_unordered(16)
            .try_collect::<()>()
            .await
            .context("cannot create nodes")?;
        let names: std::collections::BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        wait_for("nodes to become Ready", READY, async || {
            let listed = api.list(&ListParams::default()).await?;
            let ready = |node: &&KubeNode| {
                node.metadata.name.as_deref().is_some_and(|name| names.contains(name)) && ready(node) && !tainted(node)
            };
            let count = listed.items.iter().filter(ready).count();
            ensure!(count == names.len(), "{count} of {} nodes are Ready", names.len());
            // Kwok plays no pod of a node whose Lease it does not hold, nor later one that it has passed over.
            let held = self.leases().list_metadata(&ListParams::default()).await?.items;
            let held = held.iter().filter(|lease| names.contains(&*lease.name_any())).count();
            ensure!(held == names.len(), "{held} of {} nodes have a Lease", names.len());
            Ok(())
        })
        .await
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client(), "kube-node-lease")
    }

    /// Removes the Leases that nodes of these names left behind: else the garbage collector does, some time after the new nodes are
    /// Ready.
    async fn forget_leases(&self, nodes: &[Node]) -> Result<()> {
        let api = self.leases();
        for lease in api.list_metadata(&ListParams::default()).await?.items {
            let name = lease.name_any();
            if nodes.iter().any(|node| node.name == name) {
                match api.delete(&name, &DeleteParams::default()).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    result => drop(result?),
                }
            }
        }
        Ok(())
    }

    /// Cuts a node's power: from now on its kubelet does nothing. Its pods stay as they are, and once they are deleted, Terminating.
    ///
    /// The node controller calls it NotReady after [`Options::node_grace`](crate::Options::node_grace); see [`Plane::node_not_ready`].
    ///
    /// # Errors
    /// There is no such node, or kwok does not let go of it.
    pub async fn power_off(&self, node: &str) -> Result<()> {
        self.switch(node, "off").await?;
        wait_for(&format!("kwok to let go of node {node}"), READY, async || {
            ensure!(!self.played_nodes().await?.iter().any(|played| played == node), "it still plays it");
            Ok(())
        })
        .await
    }

    /// Gives a node its power back and waits until it is Ready. Its kubelet then finishes what it finds Terminating.
    ///
    /// # Errors
    /// There is no such node, or it does not become Ready within a minute.
    pub async fn power_on(&self, node: &str) -> Result<()> {
        self.switch(node, "on").await?;
        self.node_ready(node, true).await
    }

    /// Waits until the cluster calls a node not ready.
    ///
    /// # Errors
    /// That does not happen within the grace period and a minute more.
    pub async fn node_not_ready(&self, node: &str) -> Result<()> {
        self.node_ready(node, false).await
    }

    /// Deletes the Node object.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn delete_node(&self, node: &str) -> Result<()> {
        self.nodes()
            .delete(node, &DeleteParams::default())
            .await
            .with_context(|| format!("cannot delete node {node}"))?;
        Ok(())
    }

    async fn node_ready(&self, node: &str, wanted: bool) -> Result<()> {
        let api = self.nodes();
        let state = if wanted { "Ready" } else { "NotReady" };
        wait_for(&format!("node {node} to become {state}"), READY * 2, async || {
            if ready(&api.get(node).await?) != wanted {
                bail!("it is not {state}");
            }
            Ok(())
        })
        .await
    }

    async fn switch(&self, node: &str, power: &str) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"labels": {POWER: power}}}));
        self.nodes()
            .patch(node, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("cannot switch node {node} {power}"))?;
        Ok(())
    }

    /// The nodes that kwok plays at this moment, by its service discovery.
    async fn played_nodes(&self) -> Result<Vec<String>> {
        let answer = self.ask(crate::Component::Kwok, "/discovery/prometheus").await?;
        let targets: Vec<Value> = serde_json::from_str(&answer).context("kwok's answer is no list")?;
        let node = |target: &Value| Some(target["labels"]["__metrics_path__"].as_str()?.rsplit('/').next()?.to_owned());
        Ok(targets.iter().filter_map(node).collect())
    }
}

fn node_object(node: &Node) -> Value {
    let resources = json!({"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "250"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": {
            POWER: "on", "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        }},
        "status": {
            "addresses": [{"type": "InternalIP", "address": node.address}, {"type": "Hostname", "address": node.name}],
            "allocatable": resources, "capacity": resources,
        },
    })
}

fn ready(node: &KubeNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether the node controller has not yet taken the taint back that every new node has.
fn tainted(node: &KubeNode) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().any(|taint| taint.key == "node.kubernetes.io/not-ready")
}
