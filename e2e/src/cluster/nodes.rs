//! What happens to nodes.

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::Cluster;

impl Cluster {
    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Cuts a node off and waits until the cluster calls it not ready.
    ///
    /// # Errors
    /// That does not happen.
    pub async fn node_dies(&self, node: &str) -> Result<()> {
        self.backend.power_off(node).await?;
        self.until(format!("node {node} is not ready"), |seen| {
            seen.nodes.iter().any(|seen| seen.name == node && !seen.ready)
        })
        .await
    }

    /// Lets a node come back and waits until it is ready.
    ///
    /// # Errors
    /// That does not happen.
    pub async fn node_returns(&self, node: &str) -> Result<()> {
        self.backend.power_on(node).await?;
        self.until(format!("node {node} is ready"), |seen| {
            seen.nodes.iter().any(|seen| seen.name == node && seen.ready)
        })
        .await
    }

    /// Deletes the Node object.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn delete_node(&self, node: &str) -> Result<()> {
        self.nodes().delete(node, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Adds a taint.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn taint(&self, node: &str, key: &str, effect: &str) -> Result<()> {
        // Others write taints too: decided on the version read, and again if that changed.
        for _ in 0..20 {
            let found = self.nodes().get(node).await?;
            let mut taints = serde_json::to_value(found.spec.and_then(|spec| spec.taints).unwrap_or_default())?;
            if let Some(taints) = taints.as_array_mut() {
                taints.push(json!({"key": key, "effect": effect}));
            }
            let lock = json!({ "resourceVersion": found.metadata.resource_version });
            let patch = Patch::Merge(json!({"metadata": lock, "spec": {"taints": taints}}));
            match self.nodes().patch(node, &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                result => return Ok(result.map(drop)?),
            }
        }
        anyhow::bail!("node {node} is being changed all the time")
    }

    /// Closes a node for new pods, or opens it again.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn cordon(&self, node: &str, closed: bool) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": closed}}));
        self.nodes().patch(node, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Gives a node another InternalIP.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn readdress(&self, node: &str, address: &str) -> Result<()> {
        let addresses = json!([{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": node}]);
        let patch = Patch::Merge(json!({"status": {"addresses": addresses}}));
        self.nodes().patch_status(node, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// The Node objects as a scheduler sends them.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn node_items(&self) -> Result<Vec<Value>> {
        let nodes = self.nodes().list(&Default::default()).await?;
        Ok(nodes.items.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    }
}
