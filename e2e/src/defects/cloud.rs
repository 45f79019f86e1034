//! The cloud provider.

use std::time::Duration;

use anyhow::{Result, ensure};
use galaxy_ipam::cloud::fake::{FakeProvider, Mood};
use serde_json::json;

use crate::{Lab, Setup, Workload};

/// Row 9: every address of a pod with several is unassigned, though one of them fails at first.
pub async fn row_09_every_address_of_a_pod_is_unassigned(lab: Lab) -> Result<()> {
    let cloud = FakeProvider::start().await?;
    let c = lab.cluster(Setup::one_rack(1, 5).cloud(&cloud.address())).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.64.1.10"], ["10.64.1.11"], ["10.64.1.12"]]));
    c.apply(&pod).await?;
    c.up(&pod).await?;
    cloud.on_unassign(Mood::Break("gone for a walk".into()));
    let calls = cloud.calls().len();
    c.delete_pod("p").await?;
    cloud.arrived(calls + 3).await;
    c.sweep().await?;
    ensure!(c.see().await?.addresses.len() == 3, "freed before it is unassigned");
    cloud.on_unassign(Mood::Obey);
    c.until("all are free", |seen| seen.addresses.is_empty()).await?;
    ensure!(cloud.routes().is_empty(), "{:?}", cloud.routes());
    ensure!(cloud.calls().iter().all(|call| !call.node.is_empty()), "row 37: {:?}", cloud.calls());
    c.settled().await
}

/// Row 30: a slow provider does not keep the scheduler waiting beyond its 5 s.
pub async fn row_30_a_slow_provider_does_not_keep_the_scheduler_waiting(lab: Lab) -> Result<()> {
    let cloud = FakeProvider::start().await?;
    let c = lab.cluster(Setup::one_rack(1, 3).cloud(&cloud.address())).await?;
    cloud.on_assign(Mood::Stall);
    let pod = Workload::pod("p").pod_spec("schedulerName", &json!("nobody"));
    c.apply(&pod).await?;
    let uid = c.get_pod("p").await?.metadata.uid;
    let body = json!({"PodName": "p", "PodNamespace": "default", "PodUID": uid, "Node": "a1"});
    let start = std::time::Instant::now();
    let answer = c.extender("/v1/bind", &body).await?.json();
    ensure!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    ensure!(answer["Error"].as_str().is_some_and(|text| text.contains("assign")), "{answer}");
    // Until it is done only that node passes.
    let pod = serde_json::to_value(c.get_pod("p").await?)?;
    let answer = c.extender("/v1/filter", &json!({"Pod": pod, "NodeNames": ["a1"]})).await?.json();
    ensure!(answer["failedNodes"].get("a1").is_none(), "{answer}");
    cloud.on_assign(Mood::Obey);
    c.poll("bind succeeds", || async {
        Ok((c.extender("/v1/bind", &body).await?.json() == json!({"Error": ""})).then_some(()))
    })
    .await?;
    c.settled().await
}

/// Row 37: the provider is never told to take an address from no node.
pub async fn row_37_unassign_names_its_node(lab: Lab) -> Result<()> {
    let cloud = FakeProvider::start().await?;
    let c = lab.cluster(Setup::one_rack(2, 6).cloud(&cloud.address())).await?;
    let mut web = Workload::deployment("web").replicas(2).immutable();
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.up(&web).await?;
    c.scale(&mut web, 0).await?;
    c.until("nothing is kept", |seen| seen.addresses.is_empty()).await?;
    ensure!(cloud.calls().iter().all(|call| !call.node.is_empty()), "{:?}", cloud.calls());
    ensure!(cloud.routes().is_empty());
    c.settled().await
}
