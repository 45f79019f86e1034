//! Preemption: a pod that matters more takes the room of lesser ones, and never an address that they still have.

use anyhow::{Result, ensure};
use galaxy_api::names::RESOURCE;
use serde_json::{Value, json};

use crate::{Cluster, Lab, Setup, Workload};

async fn high(c: &Cluster) -> Result<()> {
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000,
    });
    c.create("priorityclasses", &class).await?;
    Ok(())
}

/// CPUs of which a node has room for one such pod only.
fn large() -> Value {
    json!({"requests": {"cpu": "20", RESOURCE: "1"}, "limits": {"cpu": "20", RESOURCE: "1"}})
}

/// For want of CPU a lesser pod has to go; the important one has an address of its own, the victim keeps its own.
pub async fn a_lesser_pod_makes_room(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 4)).await?;
    high(&c).await?;
    let db = Workload::stateful_set("db").replicas(2).immutable().resources(&large());
    c.apply(&db).await?;
    let before = c.up(&db).await?;
    let important = Workload::pod("important").pod_spec("priorityClassName", &json!("high")).resources(&large());
    c.apply(&important).await?;
    let ip = c.ip(&important).await?;
    ensure!(before.iter().all(|pod| pod.ip() != ip), "it has the address of its victim, which is kept");
    c.until("the victim is made again and waits for CPU", |seen| {
        seen.of(&db).iter().any(|pod| pod.node.is_empty() && before.iter().all(|old| old.uid != pod.uid))
    })
    .await?;
    ensure!(c.see().await?.owned_by(&db).len() == 2, "the victim's address was freed");
    c.delete_pod("important").await?;
    let after = c.up(&db).await?;
    ensure!(after.iter().zip(&before).all(|(new, old)| new.ips == old.ips), "other addresses");
    c.settled().await
}

/// Neither room nor an address is left: the victim, which keeps nothing, gives both.
pub async fn a_victim_gives_its_room_and_its_address(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    high(&c).await?;
    let (lesser, small) = (Workload::deployment("lesser").resources(&large()), Workload::pod("small"));
    c.apply(&lesser).await?;
    c.apply(&small).await?;
    let (ip, kept) = (c.ip(&lesser).await?, c.up(&small).await?.remove(0));
    let important = Workload::pod("important").pod_spec("priorityClassName", &json!("high")).resources(&large());
    c.apply(&important).await?;
    ensure!(c.ip(&important).await? == ip);
    ensure!(
        c.see().await?.pod("small").is_some_and(|pod| pod.uid == kept.uid && pod.is_up()),
        "small was preempted too"
    );
    c.settled().await
}
