//! What scenarios are written with.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use galaxy_api::floatingip::FloatingIP;
use galaxy_nodes::{Cluster, WEB};
use galaxy_plane::wait_for;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{Node as KubeNode, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

/// How long anything may take; long, for machines that are busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A workload whose pods have floating IPs and answer HTTP.
pub(crate) fn workload(kind: &str, name: &str, replicas: usize, annotations: Value) -> Value {
    let one = json!({"tke.cloud.tencent.com/eni-ip": "1"});
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "web", "image": WEB, "resources": {"requests": one, "limits": one}}],
                },
            },
        },
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!(name);
        object["spec"]["podManagementPolicy"] = json!("Parallel");
    }
    object
}

pub(crate) fn policy(policy: &str) -> Value {
    json!({"k8s.v1.cni.galaxy.io/release-policy": policy})
}

pub(crate) fn pods(cluster: &Cluster) -> Api<Pod> {
    Api::namespaced(cluster.plane().client(), "default")
}

pub(crate) async fn create(cluster: &Cluster, object: Value) -> Result<()> {
    let client = cluster.plane().client();
    if object["kind"] == "StatefulSet" {
        let api: Api<StatefulSet> = Api::namespaced(client, "default");
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    } else {
        let api: Api<Deployment> = Api::namespaced(client, "default");
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    }
    Ok(())
}

pub(crate) async fn scale(cluster: &Cluster, name: &str, replicas: usize) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(cluster.plane().client(), "default");
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Deletes a workload and checks that nothing of its pods is left.
pub(crate) async fn delete(cluster: &Cluster, kind: &str, name: &str) -> Result<()> {
    let client = cluster.plane().client();
    if kind == "StatefulSet" {
        Api::<StatefulSet>::namespaced(client, "default").delete(name, &DeleteParams::default()).await?;
    } else {
        Api::<Deployment>::namespaced(client, "default").delete(name, &DeleteParams::default()).await?;
    }
    nothing_left(cluster, name).await
}

/// Waits until a workload has so many pods, all ready, and returns them.
pub(crate) async fn ready(cluster: &Cluster, name: &str, count: usize) -> Result<Vec<Pod>> {
    let api = pods(cluster);
    wait_for(&format!("{count} pods of {name}"), PATIENCE, async || {
        let listed = api.list(&ListParams::default().labels(&format!("app={name}"))).await?.items;
        let ready = listed.iter().filter(|pod| is_ready(pod)).count();
        ensure!(ready == count && listed.len() == count, "{ready} of {} are ready", listed.len());
        Ok(listed)
    })
    .await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until a pod of this name is ready that is not this one.
pub(crate) async fn successor(cluster: &Cluster, old: &Pod) -> Result<Pod> {
    let api = pods(cluster);
    wait_for(&format!("the successor of {}", old.name_any()), PATIENCE, async || {
        let pod = api.get(&old.name_any()).await?;
        ensure!(pod.uid() != old.uid() && is_ready(&pod), "it is not ready");
        Ok(pod)
    })
    .await
}

pub(crate) fn node_of(pod: &Pod) -> Result<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).context("a pod without a node")
}

/// The addresses in a pod's annotation. The first is its status's.
pub(crate) fn addresses(pod: &Pod) -> Result<Vec<IpAddr>> {
    let text = pod.annotations().get("k8s.v1.cni.galaxy.io/args").context("a pod without addresses")?;
    let args: Value = serde_json::from_str(text)?;
    let infos = args["common"]["ipinfos"].as_array().context("no ipinfos")?;
    let parse = |info: &Value| -> Result<IpAddr> {
        Ok(info["ip"].as_str().unwrap_or_default().split('/').next().unwrap_or_default().parse()?)
    };
    let all: Vec<IpAddr> = infos.iter().map(parse).collect::<Result<_>>()?;
    let status = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    ensure!(status == all.first().map(IpAddr::to_string), "{}: status has {status:?}, not {all:?}", pod.name_any());
    Ok(all)
}

/// Checks that a pod, and it alone, answers at its addresses, from the underlay and from every node.
pub(crate) async fn answers(cluster: &Cluster, pod: &Pod) -> Result<()> {
    let all = addresses(pod)?;
    for address in &all {
        let mut lines = vec![("the underlay", cluster.get(*address).await?)];
        for node in cluster.nodes() {
            lines.push((node.name(), node.get(*address).await?));
        }
        for (from, line) in lines {
            let mut words = line.split_whitespace();
            ensure!(words.next() == Some(&*pod.name_any()), "{address} asked from {from}: {line}");
            let has: BTreeSet<IpAddr> = words.map(str::parse).collect::<Result<_, _>>()?;
            ensure!(has == all.iter().copied().collect(), "{} has {has:?}, not {all:?}", pod.name_any());
        }
    }
    Ok(())
}

/// Waits until a workload has no pods and no addresses, and the nodes nothing of Galaxy's for pods that are gone.
pub(crate) async fn nothing_left(cluster: &Cluster, name: &str) -> Result<()> {
    let api = pods(cluster);
    let ips: Api<FloatingIP> = Api::all(cluster.plane().client());
    wait_for(&format!("the end of {name}"), PATIENCE, async || {
        let left = api.list_metadata(&ListParams::default().labels(&format!("app={name}"))).await?.items.len();
        ensure!(left == 0, "{left} pods are left");
        let live = api.list_metadata(&ListParams::default()).await?.items.len();
        let owned = ips.list(&ListParams::default()).await?.items.len();
        ensure!(owned == live, "{owned} FloatingIPs for {live} pods");
        let mut devices = 0;
        let mut states = 0;
        for node in cluster.nodes() {
            let links = node.run("ip", &["-o", "link"]).await?;
            devices += links.lines().filter(|line| line.contains("gx")).count();
            let proxies = node.run("ip", &["neigh", "show", "proxy"]).await?.lines().count();
            states += node.run("ls", &["/var/lib/cni/galaxy"]).await?.lines().count();
            ensure!(proxies <= live, "{} answers for {proxies} addresses of {live} pods", node.name());
        }
        ensure!(devices == live && states == live, "{devices} devices and {states} state files for {live} pods");
        Ok(())
    })
    .await
}

/// Takes a node out of scheduling, or back.
pub(crate) async fn cordon(cluster: &Cluster, node: &str, yes: bool) -> Result<()> {
    let api: Api<KubeNode> = Api::all(cluster.plane().client());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": yes}}));
    api.patch(node, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// How long an address did not answer, from the last answer of the old pod until the first of the new.
pub(crate) async fn gap(
    cluster: &Cluster,
    address: IpAddr,
    silent: impl Future<Output = Result<()>>,
) -> Result<Duration> {
    let mut last = Instant::now();
    let mut longest = Duration::ZERO;
    let asking = async {
        loop {
            if cluster.get(address).await.is_ok() {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        done = silent => done?,
        () = asking => bail!("never"),
    }
    Ok(longest.max(last.elapsed()))
}
