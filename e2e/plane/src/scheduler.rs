//! The configuration of kube-scheduler.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Name of the configuration file in the plane's folder.
pub(crate) const FILE: &str = "scheduler.json";

/// What is shipped for the cluster's own scheduler.
const SHIPPED: &str = include_str!("../../../deploy/scheduler/kubeadm.yaml");

/// A `KubeSchedulerConfiguration`. The plane adds the kubeconfig, lifts the client's rate limit and turns leader election off.
#[derive(Clone, Debug)]
pub struct Scheduler(Value);

impl Default for Scheduler {
    /// The default scheduler without any extender.
    fn default() -> Self {
        Self(json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}))
    }
}

impl Scheduler {
    /// The shipped configuration with galaxy-ipam at this URL, as `http://127.0.0.1:9040`. It gets the nodes of a request by name only if
    /// `names_only` (nodeCacheCapable).
    pub fn with_galaxy(url: &str, names_only: bool) -> Self {
        let mut document: Value = serde_saphyr::from_str(SHIPPED).expect("deploy/scheduler/kubeadm.yaml is YAML");
        let extender = &mut document["extenders"][0];
        extender["urlPrefix"] = json!(format!("{}/v1", url.trim_end_matches('/')));
        extender["nodeCacheCapable"] = json!(names_only);
        if let Some(extender) = extender.as_object_mut().filter(|_| !url.starts_with("https:")) {
            extender.retain(|member, _| !["enableHTTPS", "tlsConfig"].contains(&&**member));
        }
        Self(document)
    }

    /// From a configuration document, YAML or JSON.
    ///
    /// # Errors
    /// It is no `KubeSchedulerConfiguration`.
    pub fn from_yaml(document: &str) -> Result<Self> {
        let value: Value = serde_saphyr::from_str(document).context("the scheduler configuration is no YAML")?;
        ensure!(
            value["kind"] == "KubeSchedulerConfiguration",
            "kind {} is no KubeSchedulerConfiguration",
            value["kind"]
        );
        Ok(Self(value))
    }

    /// The document, to change.
    pub fn document(&mut self) -> &mut Value {
        &mut self.0
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let mut document = self.0.clone();
        document["clientConnection"] =
            json!({"kubeconfig": dir.join("scheduler.kubeconfig"), "qps": 5000, "burst": 5000});
        document["leaderElection"] = json!({"leaderElect": false});
        std::fs::write(dir.join(FILE), document.to_string()).context("cannot write the scheduler configuration")
    }
}
