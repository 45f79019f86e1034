//! A node that loses its power.

use anyhow::{Context, Result, ensure};
use galaxy_plane::{Plane, wait_for};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use crate::workloads::{SOON, apply, deployment_of, phase, running};

pub(crate) async fn power(plane: &Plane) -> Result<()> {
    apply(plane, &deployment_of("spread", 4)).await?;
    let pods = wait_for("four running pods", SOON, async || {
        let pods = running(plane, "spread").await?;
        ensure!(pods.len() == 4, "{} run", pods.len());
        Ok(pods)
    })
    .await?;
    let victim = &pods[0];
    let name = victim.metadata.name.as_deref().context("no name")?;
    let node = victim.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).context("not bound")?;

    plane.power_off(node).await?;
    plane.node_not_ready(node).await?;
    // Taints, eviction and replacement are the real controllers'.
    wait_for("replacements on other nodes", SOON, async || {
        let pods = running(plane, "spread").await?;
        ensure!(pods.len() == 4, "{} run", pods.len());
        ensure!(pods.iter().all(|pod| pod.metadata.name.as_deref() != Some(name)), "{name} is not evicted");
        Ok(())
    })
    .await?;
    let api: Api<Pod> = Api::namespaced(plane.client(), "default");
    let stuck = api.get(name).await.context("the pod on the dead node is gone")?;
    ensure!(stuck.metadata.deletion_timestamp.is_some() && phase(&stuck) == "Running", "{stuck:?}");

    plane.power_on(node).await?;
    wait_for("the returned node to finish its pod", SOON, async || {
        ensure!(api.get_opt(name).await?.is_none(), "{name} is still there");
        Ok(())
    })
    .await?;
    plane.delete_node(node).await?;
    let back = galaxy_plane::Node { name: node.to_owned(), address: "10.0.9.9".parse()? };
    plane.create_nodes(&[back]).await
}
