//! The cloud provider: told before a pod uses an address and before an address is freed, each address by itself (rule 20).

use anyhow::{Result, ensure};
use galaxy_api::names::ARGS_ANNOTATION;
use galaxy_ipam::cloud::fake::{Call, FakeProvider, Mood};
use serde_json::json;

use crate::{Cluster, Lab, SeenPod, Setup, Workload};

/// A cluster with a provider.
async fn with_cloud(lab: &Lab, addresses: usize) -> Result<(Cluster, FakeProvider)> {
    let cloud = FakeProvider::start().await?;
    let c = lab.cluster(Setup::one_rack(2, addresses).cloud(&cloud.address())).await?;
    Ok((c, cloud))
}

fn assigned(pod: &SeenPod, ip: &str) -> Call {
    Call { assign: true, node: pod.node.clone(), ip: ip.to_owned() }
}

fn unassigned(pod: &SeenPod, ip: &str) -> Call {
    Call { assign: false, ..assigned(pod, ip) }
}

/// Assigned before the pod is bound, unassigned before the address is free.
pub async fn assigned_before_use_and_unassigned_before_free(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 3).await?;
    cloud.on_assign(Mood::Stall);
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    cloud.arrived(1).await;
    let seen = c.see().await?;
    ensure!(seen.pod("p").is_some_and(|pod| pod.node.is_empty()), "bound before it is assigned\n{seen}");
    cloud.on_assign(Mood::Obey);
    let pod = c.up(&pod).await?.remove(0);
    ensure!(cloud.routes().get(&pod.ip().parse()?) == Some(&pod.node));
    cloud.on_unassign(Mood::Stall);
    let calls = cloud.calls().len();
    c.delete_pod("p").await?;
    cloud.arrived(calls + 1).await;
    ensure!(!c.see().await?.is_free(pod.ip()), "free before it is unassigned");
    cloud.on_unassign(Mood::Obey);
    c.free(pod.ip()).await?;
    ensure!(cloud.routes().is_empty(), "{:?}", cloud.routes());
    c.settled().await
}

/// A slow assignment runs on in the background; the pod is bound when it is done, with that address on that node.
pub async fn a_slow_assignment_runs_on(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 3).await?;
    cloud.on_assign(Mood::Stall);
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    cloud.arrived(1).await;
    let call = cloud.calls().remove(0);
    // The bind is answered long before the scheduler gives up on it, and the scheduler tries again.
    let told = c.event("Pod", "p", "FailedScheduling").await?;
    ensure!(told.contains("assign"), "{told}");
    cloud.on_assign(Mood::Obey);
    let pod = c.up(&pod).await?.remove(0);
    ensure!(pod.node == call.node && pod.ip() == call.ip, "{call:?} but {} on {}", pod.ip(), pod.node);
    c.settled().await
}

/// While one assignment stalls, other pods are served.
pub async fn a_stalled_assignment_keeps_nobody_else_waiting(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 5).await?;
    cloud.on_unassign(Mood::Stall);
    let first = Workload::pod("first");
    c.apply(&first).await?;
    let old = c.up(&first).await?.remove(0);
    let calls = cloud.calls().len();
    c.delete_pod("first").await?;
    cloud.arrived(calls + 1).await;
    let second = Workload::deployment("second").replicas(3);
    c.apply(&second).await?;
    ensure!(!c.ips(&second).await?.contains(old.ip()));
    cloud.on_unassign(Mood::Obey);
    c.free(old.ip()).await?;
    c.settled().await
}

/// A refused assignment fails the bind and is tried again.
pub async fn a_refused_assignment_is_tried_again(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 1).await?;
    cloud.on_assign(Mood::Refuse("no room on the network card".into()));
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    cloud.arrived(2).await;
    let told = c.event("Pod", "p", "FailedScheduling").await?;
    ensure!(told.contains("no room on the network card"), "{told}");
    cloud.on_assign(Mood::Obey);
    let pod = c.up(&pod).await?.remove(0);
    ensure!(cloud.routes().get(&pod.ip().parse()?) == Some(&pod.node));
    c.settled().await
}

/// A pod that is deleted while its assignment stalls or fails leaves nothing behind, neither here nor there.
pub async fn a_pod_deleted_while_it_is_assigned_leaves_nothing(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 2).await?;
    for mood in [Mood::Obey, Mood::DoAndBreak, Mood::Refuse("no".into())] {
        cloud.on_assign(Mood::Stall);
        let calls = cloud.calls().len();
        c.apply(&Workload::pod("p")).await?;
        cloud.arrived(calls + 1).await;
        c.delete_pod("p").await?;
        c.until("the pod is gone", |seen| seen.pod("p").is_none()).await?;
        cloud.on_assign(mood.clone());
        c.until(format!("nothing is left after {mood:?}"), |seen| seen.addresses.is_empty()).await?;
        ensure!(cloud.routes().is_empty(), "{mood:?}: {:?}", cloud.routes());
    }
    c.settled().await
}

/// A lost answer is no answer: the call is repeated, and the address is neither lost nor given away.
pub async fn a_lost_answer_is_asked_again(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 1).await?;
    cloud.on_assign(Mood::DoAndBreak);
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    cloud.arrived(1).await;
    cloud.on_assign(Mood::Obey);
    let old = c.up(&pod).await?.remove(0);
    cloud.on_unassign(Mood::DoAndBreak);
    let calls = cloud.calls().len();
    c.delete_pod("p").await?;
    cloud.arrived(calls + 1).await;
    cloud.on_unassign(Mood::Obey);
    c.free(old.ip()).await?;
    ensure!(cloud.routes().is_empty(), "{:?}", cloud.routes());
    c.settled().await
}

/// Each address of a pod is assigned and unassigned by itself.
pub async fn every_address_of_a_pod_is_assigned_and_unassigned(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 10).await?;
    let ranges = json!({"request_ip_range": [["10.64.1.12"], ["10.64.1.10"], ["10.64.1.14~10.64.1.19"]]});
    let pod = Workload::pod("p").annotate(ARGS_ANNOTATION, &ranges.to_string());
    c.apply(&pod).await?;
    let pod = c.up(&pod).await?.remove(0);
    ensure!(pod.ips == ["10.64.1.12", "10.64.1.10", "10.64.1.14"], "{:?}", pod.ips);
    let calls = cloud.calls();
    for ip in &pod.ips {
        ensure!(calls.contains(&assigned(&pod, ip)), "{ip}: {calls:?}");
    }
    c.delete_pod("p").await?;
    c.until("all are free", |seen| seen.addresses.is_empty()).await?;
    let calls = cloud.calls();
    for ip in &pod.ips {
        ensure!(calls.contains(&unassigned(&pod, ip)), "{ip}: {calls:?}");
    }
    ensure!(cloud.routes().is_empty());
    c.settled().await
}

/// An address that moves with its pod is taken from the old node before it is given to the new one.
pub async fn a_moving_address_leaves_the_old_node_first(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 3).await?;
    let db = Workload::stateful_set("db").immutable();
    c.apply(&db).await?;
    let old = c.up(&db).await?.remove(0);
    c.cordon(&old.node, true).await?;
    c.delete_pod("db-0").await?;
    let new = c.up(&db).await?.remove(0);
    ensure!(new.ips == old.ips && new.node != old.node);
    let calls: Vec<Call> = cloud.calls().into_iter().filter(|call| call.ip == old.ip()).collect();
    let expected = [assigned(&old, old.ip()), unassigned(&old, old.ip()), assigned(&new, new.ip())];
    ensure!(calls == expected, "{calls:?}");
    c.settled().await
}

/// A provider that goes away and comes back: everything goes on.
pub async fn a_provider_that_goes_away_and_comes_back(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 3).await?;
    let address = cloud.address();
    drop(cloud);
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.event("Pod", "p", "FailedScheduling").await?;
    let cloud = FakeProvider::restart(&address).await?;
    let pod = c.up(&pod).await?.remove(0);
    ensure!(cloud.routes().get(&pod.ip().parse()?) == Some(&pod.node));
    c.settled().await
}

/// A release by HTTP unassigns first.
pub async fn a_release_by_http_unassigns_first(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 3).await?;
    let sts = Workload::stateful_set("sts").never();
    c.apply(&sts).await?;
    let ip = c.ip(&sts).await?;
    c.delete(&sts).await?;
    c.reserved(&ip).await?;
    let entry =
        json!({"ip": ip, "appName": "sts", "podName": "sts-0", "namespace": "default", "appType": "statefulset"});
    let answer = c.post("/v1/ip", &json!({"ips": [entry]})).await?;
    ensure!(answer.status == 200, "{answer:?}");
    ensure!(c.see().await?.is_free(&ip) && cloud.routes().is_empty(), "{:?}", cloud.routes());
    c.settled().await
}

/// A restart in the middle of an assignment: it is asked for again or undone, never forgotten.
pub async fn a_restart_in_the_middle_of_an_assignment(lab: Lab) -> Result<()> {
    let (c, cloud) = with_cloud(&lab, 2).await?;
    cloud.on_assign(Mood::Stall);
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    cloud.arrived(1).await;
    c.crash_ipam().await?;
    cloud.on_assign(Mood::Obey);
    let pod = c.up(&pod).await?.remove(0);
    ensure!(cloud.routes().get(&pod.ip().parse()?) == Some(&pod.node), "{:?}", cloud.routes());
    c.delete_pod("p").await?;
    c.until("nothing is left", |seen| seen.addresses.is_empty()).await?;
    ensure!(cloud.routes().is_empty(), "{:?}", cloud.routes());
    c.settled().await
}
