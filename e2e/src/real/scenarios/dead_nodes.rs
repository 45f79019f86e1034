//! Nodes that fail with several workloads on them, under the real node, taint-eviction and garbage collection controllers.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use galaxy_api::{floatingip::State, names::OUT_OF_SERVICE_TAINT};

use crate::{Cluster, Lab, SeenPod, Setup, Workload};

/// How a person ends what is stuck on a dead node.
#[derive(Clone, Copy)]
enum WayOut {
    DeleteNode,
    OutOfService,
    ForceDelete,
}

/// A StatefulSet, a Deployment and a TApp lose a node: their pods come back elsewhere, each with the addresses that were theirs.
async fn everybody_returns(lab: Lab, way_out: WayOut) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(3, 20)).await?;
    let db = Workload::stateful_set("db").replicas(3).immutable();
    let web = Workload::deployment("web").replicas(4).immutable();
    let app = Workload::tapp("app").replicas(2).never();
    let all = [&db, &web, &app];
    for workload in all {
        c.apply(workload).await?;
    }
    let mut before = BTreeMap::new();
    for workload in all {
        before.insert(workload.name.clone(), c.up(workload).await?);
    }
    // The node with the most of them.
    let pods: Vec<&SeenPod> = before.values().flatten().collect();
    let node = ["a1", "a2", "a3"].into_iter().max_by_key(|node| pods.iter().filter(|pod| pod.node == *node).count());
    let node = node.unwrap_or("a1");
    let lost: Vec<&&SeenPod> = pods.iter().filter(|pod| pod.node == node).collect();
    c.node_dies(node).await?;
    c.until("everything on the node is to go", |seen| {
        lost.iter().all(|old| seen.pods.iter().any(|pod| pod.uid == old.uid && pod.deleting))
    })
    .await?;
    // While they may run, nobody has their addresses.
    c.sweep().await?;
    let seen = c.see().await?;
    ensure!(lost.iter().all(|old| seen.state(old.ip()) == Some(State::Bound)), "an address was freed\n{seen}");
    match way_out {
        WayOut::DeleteNode => c.delete_node(node).await?,
        WayOut::OutOfService => c.taint(node, OUT_OF_SERVICE_TAINT, "NoExecute").await?,
        WayOut::ForceDelete => {
            for old in &lost {
                c.force_delete_pod(&old.name).await?;
            }
        }
    }
    for workload in all {
        let (old, new) = (&before[&workload.name], c.up(workload).await?);
        ensure!(new.iter().all(|pod| pod.node != node), "{} runs on the dead node", workload.name);
        ensure!(addresses(old, workload) == addresses(&new, workload), "{}: other addresses", workload.name);
    }
    c.settled().await
}

/// By pod name where that lasts, else as a set.
fn addresses(pods: &[SeenPod], workload: &Workload) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods {
        let name = if workload.name == "web" { "web" } else { &pod.name };
        found.entry(name.to_owned()).or_default().extend(pod.ips.clone());
    }
    found.values_mut().for_each(|ips| ips.sort());
    found
}

/// The Node object is deleted.
pub async fn everybody_returns_when_the_node_is_deleted(lab: Lab) -> Result<()> {
    everybody_returns(lab, WayOut::DeleteNode).await
}

/// The node is tainted out of service.
pub async fn everybody_returns_when_the_node_is_out_of_service(lab: Lab) -> Result<()> {
    everybody_returns(lab, WayOut::OutOfService).await
}

/// The pods are force deleted.
pub async fn everybody_returns_when_the_pods_are_force_deleted(lab: Lab) -> Result<()> {
    everybody_returns(lab, WayOut::ForceDelete).await
}

/// A quarantine ends after the time of its flag, and not before.
pub async fn a_quarantine_ends_with_the_time_of_its_flag(lab: Lab) -> Result<()> {
    let c: Cluster = lab.cluster(Setup::one_rack(2, 1).flag("--quarantine=20s")).await?;
    let (old, other) = (Workload::pod("old"), Workload::pod("other"));
    c.apply(&old).await?;
    let pod = c.up(&old).await?.remove(0);
    c.node_dies(&pod.node).await?;
    c.force_delete_pod("old").await?;
    let since = std::time::Instant::now();
    c.until("the address is quarantined", |seen| seen.state(pod.ip()) == Some(State::Quarantined)).await?;
    c.apply(&other).await?;
    ensure!(c.ip(&other).await? == pod.ip());
    let took = since.elapsed();
    ensure!((Duration::from_secs(19)..Duration::from_secs(40)).contains(&took), "after {took:?}");
    c.settled().await
}
