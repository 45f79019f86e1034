//! The scenarios.

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use anyhow::{Context, Result, ensure};
use galaxy_nodes::{Cluster, Part};
use galaxy_plane::wait_for;
use kube::{ResourceExt, api::DeleteParams};
use serde_json::json;

use crate::{
    lab::{
        PATIENCE, addresses, answers, cordon, create, delete, gap, node_of, nothing_left, pods, policy, ready, scale,
        successor, workload,
    },
    say,
};

type Outcome<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A scenario; it leaves the cluster as it found it. Told whether to run with full numbers.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Whether it is run on every container runtime.
    pub(crate) core: bool,
    pub(crate) run: for<'a> fn(&'a Cluster, bool) -> Outcome<'a>,
}

macro_rules! scenarios {
    ($($core:literal $name:ident)*) => {
        &[$(Scenario { name: stringify!($name), core: $core, run: |cluster, long| Box::pin($name(cluster, long)) }),*]
    };
}

pub(crate) const SCENARIOS: &[Scenario] = scenarios! {
    true workloads_answer_on_their_floating_ips
    true a_moved_pod_keeps_its_address
    true three_addresses_on_three_interfaces
    false late_dels_spare_the_successor
    true power_cut_and_reboot
    true parts_are_killed_under_load
    true pods_come_and_go
};

async fn workloads_answer_on_their_floating_ips(cluster: &Cluster, _long: bool) -> Result<()> {
    create(cluster, workload("Deployment", "web", 4, policy("immutable"))).await?;
    create(cluster, workload("StatefulSet", "sts", 2, policy("never"))).await?;
    let mut all = ready(cluster, "web", 4).await?;
    all.extend(ready(cluster, "sts", 2).await?);
    let nodes: std::collections::BTreeSet<&str> = all.iter().map(node_of).collect::<Result<_>>()?;
    ensure!(nodes.len() == 2, "all pods are on {nodes:?}");
    for pod in &all {
        answers(cluster, pod).await?;
    }
    delete(cluster, "Deployment", "web").await.context("web")?;
    // Policy never: its addresses are kept, and given back.
    let before = addresses(&all[4])?;
    let params = DeleteParams::default();
    let sets: kube::Api<k8s_openapi::api::apps::v1::StatefulSet> =
        kube::Api::namespaced(cluster.plane().client(), "default");
    sets.delete("sts", &params).await?;
    wait_for("the end of the set's pods", PATIENCE, async || {
        let left = pods(cluster).list(&Default::default()).await?.items.len();
        ensure!(left == 0, "{left} pods are left");
        Ok(())
    })
    .await?;
    create(cluster, workload("StatefulSet", "sts", 2, policy("immutable"))).await?;
    let again = ready(cluster, "sts", 2).await?;
    ensure!(addresses(&again[0])? == before, "{:?} instead of {before:?}", addresses(&again[0])?);
    answers(cluster, &again[0]).await?;
    delete(cluster, "StatefulSet", "sts").await
}

async fn a_moved_pod_keeps_its_address(cluster: &Cluster, _long: bool) -> Result<()> {
    create(cluster, workload("StatefulSet", "moving", 1, policy("immutable"))).await?;
    let mut pod = ready(cluster, "moving", 1).await?.remove(0);
    for _ in 0..2 {
        answers(cluster, &pod).await?;
        let (from, address) = (node_of(&pod)?.to_owned(), addresses(&pod)?);
        cordon(cluster, &from, true).await?;
        let mut moved = None;
        let silence = gap(cluster, address[0], async {
            pods(cluster).delete(&pod.name_any(), &DeleteParams::default()).await?;
            moved = Some(successor(cluster, &pod).await?);
            // Long enough for an answer.
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(())
        })
        .await?;
        cordon(cluster, &from, false).await?;
        pod = moved.context("no successor")?;
        ensure!(node_of(&pod)? != from && addresses(&pod)? == address, "{from} {address:?}: {pod:?}");
        say(&format!("       {} did not answer for {} ms when its pod moved", address[0], silence.as_millis()));
    }
    answers(cluster, &pod).await?;
    delete(cluster, "StatefulSet", "moving").await
}

async fn three_addresses_on_three_interfaces(cluster: &Cluster, _long: bool) -> Result<()> {
    let ranges =
        json!({"request_ip_range": [["10.77.0.200~10.77.0.209"], ["10.77.0.210"], ["10.77.0.220~10.77.0.229"]]});
    let annotations = json!({
        "k8s.v1.cni.galaxy.io/args": ranges.to_string(), "k8s.v1.cni.galaxy.io/release-policy": "immutable",
    });
    create(cluster, workload("StatefulSet", "router", 1, annotations)).await?;
    let pod = ready(cluster, "router", 1).await?.remove(0);
    let all = addresses(&pod)?;
    ensure!(all.len() == 3 && all[1].to_string() == "10.77.0.210", "{all:?}");
    answers(cluster, &pod).await?;
    // Not nothing_left, which counts one address a pod; so the set goes first.
    delete(cluster, "StatefulSet", "router").await
}

/// containerd calls DEL three times for a sandbox, twice of them 20 to 45 s after its end.
async fn late_dels_spare_the_successor(cluster: &Cluster, _long: bool) -> Result<()> {
    create(cluster, workload("StatefulSet", "late", 1, policy("immutable"))).await?;
    let pod = ready(cluster, "late", 1).await?.remove(0);
    let node = cluster.node(node_of(&pod)?)?;
    let other = cluster.nodes().iter().find(|other| other.name() != node.name()).context("one node")?;
    cordon(cluster, other.name(), true).await?;
    pods(cluster).delete(&pod.name_any(), &DeleteParams::default()).await?;
    let new = successor(cluster, &pod).await?;
    cordon(cluster, other.name(), false).await?;
    ensure!(addresses(&new)? == addresses(&pod)? && node_of(&new)? == node.name(), "{new:?}");
    let before = dels(cluster, node.name()).await?;
    let silence = gap(cluster, addresses(&new)?[0], async {
        wait_for("late DELs", PATIENCE, async || {
            let late = dels(cluster, node.name()).await? - before;
            ensure!(late >= 2.0, "{late} DELs after the first");
            Ok(())
        })
        .await
    })
    .await?;
    ensure!(silence < Duration::from_secs(1), "the successor was silent for {silence:?}");
    answers(cluster, &new).await?;
    delete(cluster, "StatefulSet", "late").await
}

/// How many DELs the agent of a node has answered.
async fn dels(cluster: &Cluster, node: &str) -> Result<f64> {
    let url = format!("http://{}:9042", cluster.node(node)?.address());
    let client = kube::Client::try_from(kube::Config::new(url.parse()?))?;
    let metrics = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let counts = metrics.lines().filter(|line| {
        line.starts_with("galaxy_agent_cni_duration_seconds_count")
            && line.contains("\"DEL\"")
            && line.contains("plugin=\"\"")
    });
    Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

async fn power_cut_and_reboot(cluster: &Cluster, _long: bool) -> Result<()> {
    create(cluster, workload("StatefulSet", "lasting", 4, policy("immutable"))).await?;
    let before = ready(cluster, "lasting", 4).await?;
    let node = cluster.node(node_of(&before[0])?)?;
    node.cut_power().await?;
    let address = addresses(&before[0])?[0];
    ensure!(cluster.get(address).await.is_err(), "{address} answers without power");
    for pod in before.iter().filter(|pod| node_of(pod).is_ok_and(|name| name != node.name())) {
        ensure!(cluster.get(addresses(pod)?[0]).await.is_ok(), "{} is silent", pod.name_any());
    }
    // Its pods are evicted; they end when it is back.
    wait_for("the eviction", PATIENCE, async || {
        let pod = pods(cluster).get(&before[0].name_any()).await?;
        pod.metadata.deletion_timestamp.map(drop).context("it is not being deleted")
    })
    .await?;
    node.boot().await?;
    cluster.ready().await?;
    successor(cluster, &before[0]).await?;
    let after = ready(cluster, "lasting", 4).await?;
    for (old, new) in before.iter().zip(&after) {
        ensure!(addresses(old)? == addresses(new)?, "{} changed its address", old.name_any());
        answers(cluster, new).await?;
    }
    delete(cluster, "StatefulSet", "lasting").await
}

async fn parts_are_killed_under_load(cluster: &Cluster, long: bool) -> Result<()> {
    let mut workloads =
        [workload("StatefulSet", "steady", 2, policy("immutable")), workload("Deployment", "load", 0, json!({}))];
    for workload in &mut workloads {
        // A node without kubelet or containerd is NotReady; that shall not evict them.
        workload["spec"]["template"]["spec"]["tolerations"] = json!([{"operator": "Exists", "effect": "NoExecute"}]);
    }
    for workload in workloads {
        create(cluster, workload).await?;
    }
    let steady = ready(cluster, "steady", 2).await?;
    let load = async {
        for round in 0.. {
            scale(cluster, "load", if round % 2 == 0 { 12 } else { 2 }).await?;
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        anyhow::Ok(())
    };
    let disturb = async {
        for round in 0..if long { 6 } else { 2 } {
            for node in cluster.nodes() {
                node.kill(Part::Kubelet)?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                node.start(Part::Kubelet).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                node.kill(Part::Containerd)?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                node.start(Part::Containerd).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                // None where kubelet is just making it anew.
                let _ = node.run("sh", &["-c", "kill -9 $(pidof galaxy)"]).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            for pod in &steady {
                let address = addresses(pod)?[0];
                ensure!(cluster.get(address).await.is_ok(), "round {round}: {address} is silent");
            }
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = load => done?,
        done = disturb => done?,
    }
    scale(cluster, "load", 12).await?;
    for pod in ready(cluster, "load", 12).await? {
        answers(cluster, &pod).await?;
    }
    cluster.ready().await?;
    for pod in &steady {
        answers(cluster, pod).await?;
    }
    delete(cluster, "Deployment", "load").await?;
    delete(cluster, "StatefulSet", "steady").await
}

async fn pods_come_and_go(cluster: &Cluster, long: bool) -> Result<()> {
    let (count, rounds) = if long { (100, 10) } else { (30, 2) };
    create(cluster, workload("Deployment", "many", 0, json!({}))).await?;
    for round in 1..=rounds {
        let start = std::time::Instant::now();
        scale(cluster, "many", count).await?;
        let all = ready(cluster, "many", count).await?;
        let up = start.elapsed();
        let mut owner = BTreeMap::new();
        for pod in &all {
            for address in addresses(pod)? {
                let before = owner.insert(address, pod.name_any());
                ensure!(before.is_none(), "{address} belongs to {before:?} and {}", pod.name_any());
            }
        }
        for (address, name) in &owner {
            let line = cluster.get(*address).await?;
            ensure!(line.split(' ').next() == Some(name), "{address} of {name} answers {line}");
        }
        scale(cluster, "many", 0).await?;
        nothing_left(cluster, "many").await?;
        for address in owner.keys() {
            // One that is gone costs its patience, so only a few are asked.
            if address.to_string().ends_with('0') {
                ensure!(cluster.get(*address).await.is_err(), "{address} answers after its pod's end");
            }
        }
        let all = start.elapsed();
        say(&format!(
            "       round {round}: {count} pods ready in {:.1} s, all gone after {:.1} s",
            up.as_secs_f32(),
            all.as_secs_f32()
        ));
    }
    delete(cluster, "Deployment", "many").await
}
