//! What a user does with workloads and pods.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, EvictParams, Patch, PatchParams, PostParams, PropagationPolicy},
};
use serde_json::{Value, json};

use super::Cluster;
use crate::workload::{Kind, Workload};

impl Cluster {
    fn api_of(&self, workload: &Workload) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &workload.namespace, &workload.kind.resource())
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a workload, or a pod, and its namespace if need be.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn apply(&self, workload: &Workload) -> Result<()> {
        if workload.namespace != "default" {
            self.namespace(&workload.namespace).await?;
        }
        if workload.kind == Kind::TApp {
            self.define(&crate::workload::tapp_crd()).await?;
        }
        let made = self.api_of(workload).create(&PostParams::default(), &workload.manifest()).await;
        made.with_context(|| format!("creating {}", workload.name))?;
        Ok(())
    }

    /// Makes the object what the workload says now.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn change(&self, workload: &Workload) -> Result<()> {
        let manifest = workload.text();
        let annotations = &manifest["metadata"]["annotations"];
        let patch = json!({"metadata": {"annotations": annotations}, "spec": manifest["spec"]});
        self.patch(workload, &patch).await
    }

    /// Patches the object by JSON merge.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn patch(&self, workload: &Workload, patch: &Value) -> Result<()> {
        let params = PatchParams::default();
        self.api_of(workload).patch(&workload.name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Scales it, as `kubectl scale` does.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn scale(&self, workload: &mut Workload, replicas: u32) -> Result<()> {
        workload.set_replicas(replicas);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.api_of(workload).patch_scale(&workload.name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Rolls it to another image.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn roll(&self, workload: &mut Workload, image: &str) -> Result<()> {
        workload.set_image(image);
        self.change(workload).await
    }

    /// Pauses a Deployment's rollout, or lets it go on.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn pause(&self, workload: &Workload, paused: bool) -> Result<()> {
        self.patch(workload, &json!({"spec": {"paused": paused}})).await
    }

    /// Deletes it, its pods in the background.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn delete(&self, workload: &Workload) -> Result<()> {
        let params =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        self.api_of(workload).delete(&workload.name, &params).await?;
        Ok(())
    }

    /// Deletes a pod in `default`.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn delete_pod(&self, name: &str) -> Result<()> {
        self.pods("default").delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes a pod in `default` without waiting for its kubelet.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn force_delete_pod(&self, name: &str) -> Result<()> {
        self.pods("default").delete(name, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    /// Evicts a pod in `default`.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn evict_pod(&self, name: &str) -> Result<()> {
        self.pods("default").evict(name, &EvictParams::default()).await?;
        Ok(())
    }

    /// Ends a pod in `default` as its kubelet would: phase Succeeded or Failed.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn finish_pod(&self, name: &str, phase: &str) -> Result<()> {
        let ready = json!({"type": "Ready", "status": "False", "reason": "PodCompleted"});
        let patch = json!({"status": {"phase": phase, "conditions": [ready]}});
        self.pods("default").patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(())
    }

    /// Changes the annotations of a pod in `default`; null removes one.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn annotate_pod(&self, name: &str, annotations: &Value) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        self.pods("default").patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// A pod in `default`, whole.
    ///
    /// # Errors
    /// There is none.
    pub async fn get_pod(&self, name: &str) -> Result<Pod> {
        Ok(self.pods("default").get(name).await?)
    }
}
