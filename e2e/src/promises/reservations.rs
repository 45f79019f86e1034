//! Addresses that an administrator reserves with the label `reserved`.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{Lab, Setup, Workload};

/// A reserved address is handed out to nobody until its object is deleted; who waits then has it.
pub async fn a_reserved_address_is_handed_out_to_nobody(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    c.reserve("10.64.1.10", "pool__reserved-for-node_").await?;
    let web = Workload::deployment("web").replicas(2);
    c.apply(&web).await?;
    c.one_waits(&web, "NoAddress").await?;
    c.sweep().await?;
    let seen = c.see().await?;
    ensure!(seen.addresses["10.64.1.10"].key() == "pool__reserved-for-node_", "{seen}");
    let listed = c.get("/v1/ip?keyword=reserved-for-node").await?.json();
    let entry = &listed["content"][0];
    ensure!(entry["ip"] == "10.64.1.10" && entry["note"] == "AdminReserved", "{listed}");
    ensure!(entry.get("releasable").is_none() && entry.get("status").is_none(), "{listed}");
    c.delete_floating_ip("10.64.1.10").await?;
    c.up(&web).await?;
    c.settled().await
}

/// Who reads the columns of `kubectl get floatingips` sees that an administrator has the address, and as whose.
pub async fn a_reservation_shows_its_label_and_is_never_written(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    c.reserve("10.64.1.10", "pool__reserved-for-node_").await?;
    c.poll("the reservation is known", || async {
        Ok(c.get("/v1/ip?keyword=reserved-for-node").await?.body.contains("10.64.1.10").then_some(()))
    })
    .await?;
    c.sweep().await?;
    let request = http::Request::get("/apis/galaxy.k8s.io/v1alpha1/floatingips/10.64.1.10")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())?;
    let table: Value = c.client().request(request).await?;
    let columns = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let at = |name: &str| columns.iter().position(|column| column["name"] == name).unwrap_or(usize::MAX);
    let cells = &table["rows"][0]["cells"];
    ensure!(cells[at("Name")] == "10.64.1.10" && cells[at("Reserved")] == "this-is-not-for-pods", "{table}");
    let object = &c.see().await?.addresses["10.64.1.10"].object;
    ensure!(object.metadata.generation == Some(1) && object.spec.address.is_none(), "written by somebody: {object:?}");
    c.settled().await
}

/// An object that nobody can read keeps its address from everybody, and is counted until it is gone.
pub async fn an_odd_object_is_counted_and_left_alone(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 1)).await?;
    let object = json!({
        "apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP", "metadata": {"name": "10.64.1.10"},
        "spec": {"key": "junk", "attribute": "{", "policy": 1},
    });
    let odd = async |count: f64| {
        c.poll(format!("odd objects: {count}"), || async {
            Ok((c.metric("galaxy_ipam_odd_objects").await? == Some(count)).then_some(()))
        })
        .await
    };
    c.create("floatingips", &object).await?;
    odd(1.0).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.waits("p", "NoAddress").await?;
    c.delete_floating_ip("10.64.1.10").await?;
    odd(0.0).await?;
    c.up(&pod).await?;
    c.settled().await
}

/// The label on an address in use keeps it for the administrator when the pod is gone.
pub async fn the_label_on_an_address_in_use_keeps_it_when_the_pod_is_gone(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let (pod, fence) = (Workload::pod("p"), Workload::pod("fence"));
    c.apply(&pod).await?;
    c.apply(&fence).await?;
    let (ip, other) = (c.ip(&pod).await?, c.ip(&fence).await?);
    c.label_floating_ip(&ip, true).await?;
    c.delete_pod("p").await?;
    c.delete_pod("fence").await?;
    // The one without the label is freed, the other is the administrator's now.
    c.free(&other).await?;
    c.poll("the address is shown as reserved", || async {
        let shown = c.get("/v1/ip?size=100").await?.json()["content"].clone();
        let entry =
            shown.as_array().and_then(|all| all.iter().find(|entry| entry["ip"] == *ip).cloned()).unwrap_or_default();
        Ok((entry["note"] == "AdminReserved" && entry.get("releasable").is_none()).then_some(()))
    })
    .await?;
    c.sweep().await?;
    let next = Workload::deployment("next").replicas(2);
    c.apply(&next).await?;
    c.one_waits(&next, "NoAddress").await?;
    c.label_floating_ip(&ip, false).await?;
    c.delete_floating_ip(&ip).await?;
    c.up(&next).await?;
    c.settled().await
}

/// The label taken away: a reservation like any other, which a user may release.
pub async fn without_the_label_it_is_a_reservation_like_any_other(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 1)).await?;
    c.reserve("10.64.1.10", "pool__reserved-for-node_").await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.waits("p", "NoAddress").await?;
    c.label_floating_ip("10.64.1.10", false).await?;
    let entries = c
        .poll("it is shown as releasable", || async {
            let entries = c.get("/v1/ip?poolName=reserved-for-node").await?.json()["content"].clone();
            Ok((entries[0]["releasable"] == true).then_some(entries))
        })
        .await?;
    ensure!(c.see().await?.pod("p").is_some_and(|pod| pod.node.is_empty()));
    ensure!(c.post("/v1/ip", &json!({ "ips": entries })).await?.status == 200);
    c.up(&pod).await?;
    c.settled().await
}
