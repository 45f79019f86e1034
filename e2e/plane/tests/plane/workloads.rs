//! Real controllers and the scheduler bring pods to nodes that kwok plays.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use galaxy_plane::{Plane, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Applies a manifest by kubectl.
pub(crate) async fn apply(plane: &Plane, manifest: &Value) -> Result<()> {
    let path = plane.dir().join("manifest.json");
    std::fs::write(&path, manifest.to_string())?;
    plane.apply(&path).await
}

/// A Deployment of so many pods, spread over nodes.
pub(crate) fn deployment_of(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [{"name": "c", "image": "web:1"}],
                    "topologySpreadConstraints": [{
                        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": {"app": name}},
                    }],
                },
            },
        },
    })
}

/// Pods of an app that run, and are not being deleted.
pub(crate) async fn running(plane: &Plane, app: &str) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(plane.client(), "default");
    let mut pods = pods.list(&ListParams::default().labels(&format!("app={app}"))).await?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none() && phase(pod) == "Running");
    Ok(pods)
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(crate) async fn deployment(plane: &Plane) -> Result<()> {
    apply(plane, &deployment_of("web", 3)).await?;
    let pods = wait_for("three running pods", SOON, async || {
        let pods = running(plane, "web").await?;
        ensure!(pods.len() == 3, "{} run", pods.len());
        Ok(pods)
    })
    .await?;
    for pod in &pods {
        let status = pod.status.as_ref().context("no status")?;
        // Kwok adds to the conditions of others.
        for wanted in ["PodScheduled", "Ready"] {
            let conditions = status.conditions.as_deref().unwrap_or_default();
            ensure!(
                conditions.iter().any(|condition| condition.type_ == wanted && condition.status == "True"),
                "no {wanted}: {conditions:?}"
            );
        }
        ensure!(
            status.pod_ip.is_some() && status.host_ip.as_deref().is_some_and(|ip| ip.starts_with("10.0.")),
            "{status:?}"
        );
    }
    let rollout = plane.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).await?;
    ensure!(rollout.success && rollout.stdout.contains("successfully rolled out"), "{rollout:?}");
    let deleted = plane.kubectl(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=60s"]).await?;
    ensure!(deleted.success, "{deleted:?}");
    Ok(())
}

pub(crate) async fn job(plane: &Plane) -> Result<()> {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "web:1"}]}});
    apply(
        plane,
        &json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": "default"},
            "spec": {"completions": 2, "parallelism": 2, "template": template},
        }),
    )
    .await?;
    let done = plane.kubectl(&["wait", "--for=condition=Complete", "job/once", "--timeout=60s"]).await?;
    ensure!(done.success, "{done:?}");
    Ok(())
}

/// A pod's address is the one in galaxy-ipam's annotation.
pub(crate) async fn address_of_galaxy(plane: &Plane) -> Result<()> {
    let args = json!({"common": {"ipinfos": [{"ip": "10.64.1.10/24", "vlan": 1, "gateway": "10.64.1.1"}]}}).to_string();
    let pods: Api<Pod> = Api::namespaced(plane.client(), "default");
    let pod = json!({
        "metadata": {"name": "addressed", "annotations": {"k8s.v1.cni.galaxy.io/args": args}},
        "spec": {"containers": [{"name": "c", "image": "web:1"}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    wait_for("the pod to run", SOON, async || {
        let pod = pods.get("addressed").await?;
        ensure!(phase(&pod) == "Running", "it is {}", phase(&pod));
        let ip = pod.status.and_then(|status| status.pod_ip);
        ensure!(ip.as_deref() == Some("10.64.1.10"), "its address is {ip:?}");
        Ok(())
    })
    .await
}

/// A service account's kubeconfig has its rights and no others.
pub(crate) async fn service_account(plane: &Plane) -> Result<()> {
    let kubeconfig = plane.kubeconfig_of("kube-system", "replicaset-controller").await?;
    let client = plane.client_by(&kubeconfig).await?;
    Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?;
    let secrets = Api::<k8s_openapi::api::core::v1::Secret>::all(client).list(&ListParams::default()).await;
    ensure!(matches!(&secrets, Err(kube::Error::Api(status)) if status.code == 403), "{secrets:?}");
    Ok(())
}
