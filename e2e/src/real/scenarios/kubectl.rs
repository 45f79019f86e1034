//! What people do with kubectl: apply in both ways, scale, roll, drain.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::kubectl;
use crate::{Cluster, Lab, Setup, Workload};

/// Writes an object to a file that kubectl can read, and returns its path.
fn file(c: &Cluster, name: &str, object: &Value) -> Result<String> {
    let path = c.plane()?.dir().join(format!("{name}.json"));
    std::fs::write(&path, object.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.display().to_string())
}

fn text(workload: &Workload) -> Result<Value> {
    Ok(serde_json::to_value(workload.manifest())?)
}

/// A Deployment applied by the client, rolled by another apply, then taken over by server-side apply and rolled again.
pub async fn apply_by_client_and_by_server(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 8)).await?;
    let web = Workload::deployment("web").replicas(2).immutable();
    kubectl(&c, &["apply", "-f", &file(&c, "web", &text(&web)?)?]).await?;
    let first = c.ips(&web).await?;
    let web = web.image("nginx:2");
    let path = file(&c, "web", &text(&web)?)?;
    kubectl(&c, &["apply", "-f", &path]).await?;
    kubectl(&c, &["rollout", "status", "deployment/web", "--timeout=120s"]).await?;
    let second = c.ips(&web).await?;
    ensure!(kubectl(&c, &["apply", "-f", &path]).await?.contains("unchanged"));
    let web = web.image("nginx:3").annotate("team", "blue");
    let path = file(&c, "web", &text(&web)?)?;
    kubectl(&c, &["apply", "--server-side", "--force-conflicts", "-f", &path]).await?;
    kubectl(&c, &["rollout", "status", "deployment/web", "--timeout=120s"]).await?;
    let third = c.ips(&web).await?;
    let all: BTreeSet<&String> = first.iter().chain(&second).chain(&third).collect();
    ensure!(all.len() <= 3, "{first:?} {second:?} {third:?}");
    // The annotation that galaxy-ipam writes is not in anybody's way, nor are the objects that people make.
    let pod = file(&c, "pod", &text(&Workload::pod("p"))?)?;
    kubectl(&c, &["apply", "--server-side", "-f", &pod]).await?;
    let ip = c.ip(&Workload::pod("p")).await?;
    kubectl(&c, &["apply", "--server-side", "-f", &pod]).await?;
    ensure!(c.ip(&Workload::pod("p")).await? == ip);
    let reserved = json!({
        "apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP",
        "metadata": {"name": "10.64.1.17", "labels": {"reserved": "by-hand"}}, "spec": {"key": "pool__kept_", "policy": 2},
    });
    let path = file(&c, "reserved", &reserved)?;
    kubectl(&c, &["apply", "-f", &path]).await?;
    kubectl(&c, &["apply", "--server-side", "--force-conflicts", "-f", &path]).await?;
    let listed = kubectl(&c, &["get", "fip"]).await?;
    ensure!(listed.lines().count() == all.len() + 3, "{listed}");
    c.settled().await
}

/// scale, rollout restart, undo, pause and resume.
pub async fn scale_and_roll(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 8)).await?;
    let web = Workload::deployment("web").replicas(3).immutable();
    kubectl(&c, &["apply", "-f", &file(&c, "web", &text(&web)?)?]).await?;
    c.up(&web).await?;
    kubectl(&c, &["set", "image", "deployment/web", "main=nginx:2"]).await?;
    kubectl(&c, &["rollout", "status", "deployment/web", "--timeout=120s"]).await?;
    let set: BTreeSet<String> = c.see().await?.owned_by(&web).into_iter().map(|address| address.ip.clone()).collect();
    for round in [&["rollout", "restart", "deployment/web"][..], &["rollout", "undo", "deployment/web"]] {
        kubectl(&c, round).await?;
        kubectl(&c, &["rollout", "status", "deployment/web", "--timeout=120s"]).await?;
    }
    let now: BTreeSet<String> = c.see().await?.owned_by(&web).into_iter().map(|address| address.ip.clone()).collect();
    ensure!(set == now && set.len() == 4, "{set:?} became {now:?}");
    kubectl(&c, &["rollout", "pause", "deployment/web"]).await?;
    kubectl(&c, &["set", "image", "deployment/web", "main=nginx:4"]).await?;
    kubectl(&c, &["scale", "deployment", "web", "--replicas=5"]).await?;
    c.until("five pods run", |seen| seen.of(&web).iter().filter(|pod| pod.is_up()).count() == 5).await?;
    kubectl(&c, &["rollout", "resume", "deployment/web"]).await?;
    kubectl(&c, &["rollout", "status", "deployment/web", "--timeout=120s"]).await?;
    kubectl(&c, &["scale", "deployment", "web", "--replicas=1"]).await?;
    c.until("one pod and one address with its spare are left", |seen| {
        seen.of(&web).len() == 1 && seen.owned_by(&web).len() <= 2
    })
    .await?;
    ensure!(c.most_addresses(&web) <= 6, "{} at once", c.most_addresses(&web));
    c.settled().await
}

/// Drain evicts, within a disruption budget; what keeps its addresses comes back elsewhere with them.
pub async fn drain(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(3, 12)).await?;
    let (web, db) = (
        Workload::deployment("web").replicas(4).immutable(),
        Workload::stateful_set("db").replicas(2).immutable().on_node("a1"),
    );
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    c.create("poddisruptionbudgets", &budget).await?;
    c.apply(&web).await?;
    c.apply(&db).await?;
    let (ips, pods) = (c.ips(&web).await?, c.up(&db).await?);
    for node in ["a1", "a2"] {
        let arguments = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"];
        kubectl(&c, &arguments).await?;
        let now = c.up(&web).await?;
        ensure!(now.iter().all(|pod| pod.node != node), "a pod is back on {node}");
        ensure!(now.iter().flat_map(|pod| pod.ips.clone()).collect::<BTreeSet<_>>() == ips, "other addresses");
    }
    // These may run on the drained node only.
    let kept: BTreeSet<String> = pods.iter().flat_map(|pod| pod.ips.clone()).collect();
    let owned: BTreeSet<String> = c.see().await?.owned_by(&db).into_iter().map(|address| address.ip.clone()).collect();
    ensure!(owned == kept, "{owned:?} of {kept:?} are kept");
    kubectl(&c, &["uncordon", "a1"]).await?;
    let again = c.up(&db).await?;
    ensure!(again.iter().zip(&pods).all(|(new, old)| new.ips == old.ips && new.uid != old.uid), "other addresses");
    c.settled().await
}
