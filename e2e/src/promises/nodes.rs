//! Nodes that die: an immutable pod comes back elsewhere with the same address, as soon as nothing can use it any more (rules 9, 18).

use std::time::Duration;

use anyhow::{Result, ensure};
use galaxy_api::{
    floatingip::State,
    names::{ON_NODE_FAILURE_ANNOTATION, ON_NODE_FAILURE_REPLACE, OUT_OF_SERVICE_TAINT},
};

use crate::{Cluster, Lab, SeenPod, Setup, Workload, workload::tolerate_dead_nodes};

/// Longer than an address is quarantined.
const QUARANTINE: Duration = Duration::from_secs(11 * 60);

/// Runs a workload with one pod, kills the pod's node and waits until the pod is to go but cannot.
async fn stuck(c: &Cluster, workload: &Workload) -> Result<SeenPod> {
    c.apply(workload).await?;
    let pod = c.up(workload).await?.remove(0);
    c.node_dies(&pod.node).await?;
    c.until(format!("{} is stuck on {}", pod.name, pod.node), |seen| {
        seen.pod(&pod.name).is_some_and(|now| now.uid == pod.uid && now.deleting)
    })
    .await?;
    Ok(pod)
}

/// Waits for the successor of a pod on a dead node, which must have its address.
async fn succeeds(c: &Cluster, workload: &Workload, old: &SeenPod) -> Result<()> {
    let new = c.up(workload).await?.remove(0);
    ensure!(new.uid != old.uid && new.node != old.node, "{} on {}", new.name, new.node);
    ensure!(new.ips == old.ips, "{:?} became {:?}", old.ips, new.ips);
    c.settled().await
}

/// A Deployment's pod on a dead node keeps its address; the successor waits, and says for whom and how to end it.
pub async fn a_deployments_successor_waits_and_says_for_whom(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let web = Workload::deployment("web").immutable();
    let old = stuck(&c, &web).await?;
    let waiting = c.one_waits(&web, "PredecessorStuck").await?;
    let message = waiting.floating.map(|condition| condition.message).unwrap_or_default();
    for part in
        [&*old.name, &*old.node, "delete node", OUT_OF_SERVICE_TAINT, "force delete", ON_NODE_FAILURE_ANNOTATION]
    {
        ensure!(message.contains(part), "{part:?} is missing in {message:?}");
    }
    c.sweep().await?;
    ensure!(c.see().await?.state(old.ip()) == Some(State::Bound), "the address of a pod that may run was freed");
    c.settled().await
}

/// Deployment: the node is deleted.
pub async fn a_deployment_moves_off_a_deleted_node(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let web = Workload::deployment("web").immutable();
    let old = stuck(&c, &web).await?;
    c.one_waits(&web, "PredecessorStuck").await?;
    c.delete_node(&old.node).await?;
    succeeds(&c, &web, &old).await
}

/// Deployment: the node is declared out of service.
pub async fn a_deployment_moves_off_a_node_out_of_service(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let web = Workload::deployment("web").immutable();
    let old = stuck(&c, &web).await?;
    c.one_waits(&web, "PredecessorStuck").await?;
    c.taint(&old.node, OUT_OF_SERVICE_TAINT, "NoExecute").await?;
    succeeds(&c, &web, &old).await
}

/// Deployment: the pod is force deleted; its own workload has the address at once.
pub async fn a_deployment_has_the_address_of_a_force_deleted_pod(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let web = Workload::deployment("web").immutable();
    let old = stuck(&c, &web).await?;
    c.one_waits(&web, "PredecessorStuck").await?;
    c.force_delete_pod(&old.name).await?;
    succeeds(&c, &web, &old).await
}

/// Deployment: the node comes back, the old pod ends, its successor has the address.
pub async fn a_deployment_goes_on_when_the_node_returns(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let web = Workload::deployment("web").immutable();
    let old = stuck(&c, &web).await?;
    c.one_waits(&web, "PredecessorStuck").await?;
    c.node_returns(&old.node).await?;
    let new = c.up(&web).await?.remove(0);
    ensure!(new.uid != old.uid && new.ips == old.ips);
    c.settled().await
}

/// `on-node-failure: replace` trades the address for availability; the surplus goes when the stuck pod is gone.
pub async fn replace_takes_another_address_and_gives_the_surplus_back(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let web = Workload::deployment("web").immutable().annotate(ON_NODE_FAILURE_ANNOTATION, ON_NODE_FAILURE_REPLACE);
    let web = web.annotate_workload(ON_NODE_FAILURE_ANNOTATION, ON_NODE_FAILURE_REPLACE);
    // Without a surge there is no spare either.
    let web = web.strategy(&serde_json::json!({"type": "Recreate"}));
    let old = stuck(&c, &web).await?;
    c.until("a successor is up", |seen| seen.of(&web).iter().any(|pod| pod.is_up() && pod.ips != old.ips)).await?;
    c.delete_node(&old.node).await?;
    c.up(&web).await?;
    c.until("one address is left", |seen| seen.owned_by(&web).len() == 1).await?;
    c.settled().await
}

/// StatefulSet: the node is deleted.
pub async fn a_stateful_pod_moves_off_a_deleted_node(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let db = Workload::stateful_set("db").immutable();
    let old = stuck(&c, &db).await?;
    c.delete_node(&old.node).await?;
    succeeds(&c, &db, &old).await
}

/// StatefulSet: the node is declared out of service.
pub async fn a_stateful_pod_moves_off_a_node_out_of_service(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let db = Workload::stateful_set("db").immutable();
    let old = stuck(&c, &db).await?;
    c.taint(&old.node, OUT_OF_SERVICE_TAINT, "NoExecute").await?;
    succeeds(&c, &db, &old).await
}

/// StatefulSet: the pod is force deleted.
pub async fn a_stateful_pod_is_force_deleted_and_keeps_its_address(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let db = Workload::stateful_set("db").immutable();
    let old = stuck(&c, &db).await?;
    c.force_delete_pod("db-0").await?;
    succeeds(&c, &db, &old).await
}

/// A custom workload's pod moves off a dead node too.
pub async fn a_custom_pod_moves_off_a_deleted_node(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let app = Workload::tapp("app").immutable();
    let old = stuck(&c, &app).await?;
    c.delete_node(&old.node).await?;
    succeeds(&c, &app, &old).await
}

/// A blink: the node is back before its pods have to go, and nothing changes.
pub async fn a_node_that_blinks_changes_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let db = Workload::stateful_set("db").replicas(2).immutable().pod_spec("tolerations", &tolerate_dead_nodes(3000));
    c.apply(&db).await?;
    let before = c.up(&db).await?;
    c.node_dies(&before[0].node).await?;
    c.sweep().await?;
    c.node_returns(&before[0].node).await?;
    let after = c.up(&db).await?;
    for (old, new) in before.iter().zip(&after) {
        ensure!(old.uid == new.uid && old.ips == new.ips, "{} changed", old.name);
    }
    c.settled().await
}

/// The only address of a cluster, quarantined with its dead node; a pod of somebody else waits for it.
async fn quarantined(c: &Cluster) -> Result<(SeenPod, Workload)> {
    let (old, other) = (Workload::pod("old"), Workload::pod("other"));
    let pod = stuck(c, &old).await?;
    c.force_delete_pod("old").await?;
    c.until("the address is quarantined", |seen| seen.state(pod.ip()) == Some(State::Quarantined)).await?;
    let seen = c.see().await?;
    let spec = &seen.addresses[pod.ip()].object.spec;
    ensure!(spec.released_at.is_some() && spec.node.as_deref() == Some(&*pod.node), "{seen}");
    c.apply(&other).await?;
    c.waits("other", "NoAddress").await?;
    c.sweep().await?;
    ensure!(c.see().await?.state(pod.ip()) == Some(State::Quarantined), "a sweep lifted the quarantine");
    Ok((pod, other))
}

/// The address of a pod that vanished from a dead node goes to nobody else until its time is over.
pub async fn a_quarantine_ends_with_its_time(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let (pod, other) = quarantined(&c).await?;
    c.clock()?.advance(QUARANTINE);
    ensure!(c.ip(&other).await? == pod.ip());
    c.settled().await
}

/// It ends when the node is ready again.
pub async fn a_quarantine_ends_when_the_node_returns(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let (pod, other) = quarantined(&c).await?;
    c.node_returns(&pod.node).await?;
    ensure!(c.ip(&other).await? == pod.ip());
    c.settled().await
}

/// It ends when the node is deleted.
pub async fn a_quarantine_ends_when_the_node_is_deleted(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let (pod, other) = quarantined(&c).await?;
    c.delete_node(&pod.node).await?;
    ensure!(c.ip(&other).await? == pod.ip());
    c.settled().await
}

/// It ends when the node is declared out of service.
pub async fn a_quarantine_ends_when_the_node_is_out_of_service(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let (pod, other) = quarantined(&c).await?;
    c.taint(&pod.node, OUT_OF_SERVICE_TAINT, "NoExecute").await?;
    ensure!(c.ip(&other).await? == pod.ip());
    c.settled().await
}

/// Pod GC writes Failed for pods of a node that is gone; that proves nothing while the node may come back, here it is gone for good.
pub async fn without_a_policy_the_successor_takes_another_address(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let web = Workload::deployment("web");
    let old = stuck(&c, &web).await?;
    c.until("a successor is up", |seen| seen.of(&web).iter().any(|pod| pod.is_up() && pod.ips != old.ips)).await?;
    ensure!(c.see().await?.state(old.ip()) == Some(State::Bound), "the old pod may still run");
    c.delete_node(&old.node).await?;
    c.free(old.ip()).await?;
    c.up(&web).await?;
    c.settled().await
}
