//! The configuration: taken as a whole or not at all, and never a reason to take an address from its owner (rule 5).

use anyhow::{Result, ensure};
use galaxy_api::floatingip::State;
use serde_json::json;

use crate::{
    Lab, Setup, Workload,
    setup::{pools, rack_pool},
};

/// An address that leaves the configuration stays with its owner, is shown as orphaned, and is not handed out again.
pub async fn an_address_that_leaves_the_configuration_stays_with_its_owner(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 2)).await?;
    let db = Workload::stateful_set("db").replicas(2).immutable();
    c.apply(&db).await?;
    let before = c.up(&db).await?;
    let mut moved = rack_pool(1, 0);
    moved["ips"] = json!(["10.64.1.100~10.64.1.109"]);
    c.reconfigure(&json!([moved])).await?;
    c.sweep().await?;
    ensure!(c.up(&db).await?.iter().zip(&before).all(|(new, old)| new.uid == old.uid && new.ips == old.ips));
    ensure!(c.metric("galaxy_ipam_orphaned_addresses").await? == Some(2.0));
    let listed = c.get("/v1/ip?podName=db-0&namespace=default&appName=db").await?.json();
    ensure!(listed["content"][0]["note"] == "Orphaned", "{listed}");
    // Whoever comes now gets a configured address.
    let other = Workload::pod("other");
    c.apply(&other).await?;
    ensure!(c.ip(&other).await?.starts_with("10.64.1.10"));
    // Once given up it is not handed out again.
    c.delete(&db).await?;
    for pod in &before {
        c.free(pod.ip()).await?;
    }
    ensure!(c.metric("galaxy_ipam_orphaned_addresses").await? == Some(0.0));
    let many = Workload::deployment("many").replicas(9);
    c.apply(&many).await?;
    ensure!(c.ips(&many).await?.is_disjoint(&before.iter().map(|pod| pod.ip().to_owned()).collect()));
    c.settled().await
}

/// An orphaned address that comes back is an address like any other.
pub async fn an_address_that_comes_back_is_like_any_other(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 2), (1, 2)])).await?;
    let pod = Workload::pod("p").on_node("a1");
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    c.reconfigure(&json!([rack_pool(2, 2)])).await?;
    ensure!(c.metric("galaxy_ipam_orphaned_addresses").await? == Some(1.0));
    c.reconfigure(&json!([rack_pool(1, 2), rack_pool(2, 2)])).await?;
    ensure!(c.metric("galaxy_ipam_orphaned_addresses").await? == Some(0.0));
    c.delete_pod("p").await?;
    c.free(&ip).await?;
    let both = Workload::deployment("both").replicas(2).on_node("a1");
    c.apply(&both).await?;
    ensure!(c.ips(&both).await?.contains(&ip));
    c.settled().await
}

/// Addresses that come into the configuration serve who waits.
pub async fn a_larger_configuration_serves_who_waits(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let web = Workload::deployment("web").replicas(3);
    c.apply(&web).await?;
    c.one_waits(&web, "NoAddress").await?;
    c.reconfigure(&pools(3)).await?;
    c.up(&web).await?;
    c.settled().await
}

/// A node subnet that comes into the configuration opens its nodes.
pub async fn a_new_node_subnet_opens_its_nodes(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 2), (1, 2)]).pools(&pools(2))).await?;
    let pod = Workload::pod("p").on_node("b1");
    c.apply(&pod).await?;
    c.waits("p", "NodeNotConfigured").await?;
    c.reconfigure(&json!([rack_pool(1, 2), rack_pool(2, 2)])).await?;
    ensure!(c.ip(&pod).await?.starts_with("10.64.2."));
    c.settled().await
}

/// A document that cannot be used is refused as a whole, with an event that names pool and value; the old one stays in force.
pub async fn a_refused_document_leaves_the_old_one_in_force(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 3)).await?;
    let first = Workload::pod("first");
    c.apply(&first).await?;
    let ip = c.ip(&first).await?;
    let generation = c.generation().await?;
    let mut overlapping = rack_pool(2, 0);
    overlapping["ips"] = json!(["10.64.2.10~10.64.2.20"]);
    let mut same = overlapping.clone();
    same["ips"] = json!(["10.64.2.15"]);
    let both = json!([rack_pool(1, 3), overlapping, same]).to_string();
    for (document, parts) in [
        ("", &["empty"][..]),
        ("null", &["null"]),
        ("[]", &["[]"]),
        ("[{]", &["floatingips"]),
        (&both, &["10.64.2.15", "10.64.2.10~10.64.2.20"]),
    ] {
        let text = c.refused_configuration(document).await?;
        ensure!(parts.iter().all(|part| text.contains(part)), "{document:?}: {text}");
    }
    ensure!(c.generation().await? == generation);
    c.sweep().await?;
    ensure!(c.see().await?.state(&ip) == Some(State::Bound));
    let second = Workload::pod("second");
    c.apply(&second).await?;
    c.up(&second).await?;
    c.settled().await
}

/// Without the ConfigMap, or without its key, the configuration that was in force stays so.
pub async fn a_missing_document_leaves_the_old_one_in_force(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    let first = Workload::pod("first");
    c.apply(&first).await?;
    c.up(&first).await?;
    c.configure_text(None).await?;
    c.event("ConfigMap", "floatingip-config", "ConfigurationRefused").await?;
    let second = Workload::pod("second");
    c.apply(&second).await?;
    c.up(&second).await?;
    c.settled().await
}

/// Without any configuration nothing is decided, and all is served as soon as there is one.
pub async fn pods_are_served_as_soon_as_there_is_a_configuration(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3).unconfigured()).await?;
    let web = Workload::deployment("web").replicas(2);
    c.apply(&web).await?;
    c.until("a pod cannot be scheduled", |seen| {
        seen.of(&web).iter().any(|pod| pod.scheduled.as_ref().is_some_and(|it| it.status == "False"))
    })
    .await?;
    c.poll("readiness names what is missing", || async {
        let ready = c.get("/readyz").await?;
        Ok((ready.status == 503 && ready.body.contains("floatingip-config")).then_some(()))
    })
    .await?;
    ensure!(c.get("/healthy").await?.body == "ok");
    c.configure_text(Some("[{\"gateway\":\"x\"}]")).await?;
    c.event("ConfigMap", "floatingip-config", "ConfigurationRefused").await?;
    c.configure(&pools(3)).await?;
    c.up(&web).await?;
    ensure!(c.get("/readyz").await?.status == 200);
    c.settled().await
}

/// An address that changes pool keeps its owner; who is bound from now on gets the new pool's gateway and vlan.
pub async fn an_address_that_changes_pool_keeps_its_owner(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 2)).await?;
    let db = Workload::stateful_set("db").immutable();
    c.apply(&db).await?;
    let before = c.up(&db).await?.remove(0);
    let mut other = rack_pool(1, 2);
    other["gateway"] = "10.64.1.254".into();
    other["vlan"] = 77.into();
    c.reconfigure(&json!([other])).await?;
    let same = c.up(&db).await?.remove(0);
    ensure!(same.uid == before.uid && same.args == before.args, "a running pod was touched");
    c.delete_pod("db-0").await?;
    let after = c.up(&db).await?.remove(0);
    ensure!(after.ips == before.ips);
    let args: serde_json::Value = serde_json::from_str(&after.args)?;
    let info = json!({"ip": format!("{}/24", after.ip()), "vlan": 77, "gateway": "10.64.1.254"});
    ensure!(args["common"]["ipinfos"][0] == info, "{args}");
    c.settled().await
}
