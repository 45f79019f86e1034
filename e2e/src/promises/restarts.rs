//! galaxy-ipam goes away and comes back: the objects are all it needs.

use anyhow::{Result, ensure};
use galaxy_api::floatingip::State;
use serde_json::json;

use super::owned;
use crate::{Lab, Setup, Workload, workload::CRASHING};

/// Everybody keeps what they have, and newcomers get something else.
pub async fn a_restart_changes_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 12)).await?;
    let (web, db) =
        (Workload::deployment("web").replicas(2).immutable(), Workload::stateful_set("db").replicas(2).never());
    let plain = Workload::deployment("plain").replicas(2);
    for workload in [&web, &db, &plain] {
        c.apply(workload).await?;
    }
    for workload in [&web, &db, &plain] {
        c.up(workload).await?;
    }
    let before = c.see().await?;
    c.restart_ipam().await?;
    c.sweep().await?;
    let after = c.see().await?;
    for (ip, address) in &before.addresses {
        ensure!(after.addresses.get(ip).is_some_and(|now| now.object.spec == address.object.spec), "{before}{after}");
    }
    let more = Workload::deployment("more").replicas(6);
    c.apply(&more).await?;
    ensure!(c.ips(&more).await?.iter().all(|ip| before.is_free(ip)));
    c.settled().await
}

/// What happened while it was away is made up for: deletions, scale-downs, deleted workloads, new pods.
pub async fn what_happened_meanwhile_is_made_up_for(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 20)).await?;
    let mut web = Workload::deployment("web").replicas(3).immutable();
    let (db, gone) = (Workload::stateful_set("db").replicas(2).immutable(), Workload::stateful_set("gone").immutable());
    let pod = Workload::pod("p");
    for workload in [&web, &db, &gone, &pod] {
        c.apply(workload).await?;
    }
    for workload in [&web, &db, &gone, &pod] {
        c.up(workload).await?;
    }
    let kept = c.up(&db).await?;
    c.backend().kill_ipam();
    c.delete_pod("p").await?;
    c.delete(&gone).await?;
    c.scale(&mut web, 1).await?;
    c.delete_pod("db-0").await?;
    let new = Workload::deployment("new").replicas(2);
    c.apply(&new).await?;
    c.no_pods(&pod).await?;
    c.no_pods(&gone).await?;
    c.until("one pod of web is left", |seen| seen.of(&web).len() == 1).await?;
    c.backend().start_ipam(true).await?;
    c.up(&new).await?;
    ensure!(c.up(&db).await?[0].ips == kept[0].ips, "db-0 has another address");
    c.until("what is gone is freed", |seen| seen.addresses.len() == 5).await?;
    c.settled().await
}

/// Who waited before the restart is woken after it.
pub async fn who_waits_is_known_after_a_restart(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let (first, second) = (Workload::pod("first"), Workload::pod("second"));
    c.apply(&first).await?;
    c.up(&first).await?;
    c.apply(&second).await?;
    c.waits("second", "NoAddress").await?;
    c.restart_ipam().await?;
    c.delete_pod("first").await?;
    c.up(&second).await?;
    c.settled().await
}

/// An address that came free while nobody watched serves who waits.
pub async fn who_waits_is_served_after_a_restart(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let (first, second) = (Workload::pod("first"), Workload::pod("second"));
    c.apply(&first).await?;
    c.up(&first).await?;
    c.apply(&second).await?;
    c.waits("second", "NoAddress").await?;
    c.backend().kill_ipam();
    c.delete_pod("first").await?;
    c.no_pods(&first).await?;
    c.backend().start_ipam(true).await?;
    c.up(&second).await?;
    c.settled().await
}

/// In the middle of a rollout: it finishes, with one spare at most.
pub async fn in_the_middle_of_a_rollout(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(3).immutable().spec("minReadySeconds", &json!(10));
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.until("a new pod is bound", |seen| {
        seen.of(&web).iter().any(|pod| pod.image == "nginx:2" && !pod.node.is_empty())
    })
    .await?;
    c.crash_ipam().await?;
    c.up(&web).await?;
    c.restart_ipam().await?;
    c.roll(&mut web, "nginx:3").await?;
    c.up(&web).await?;
    c.until("there is one spare", |seen| owned(seen, &web).len() == 4).await?;
    ensure!(c.most_addresses(&web) <= 4, "{} at once", c.most_addresses(&web));
    c.settled().await
}

/// In the middle of a rollout that crashes: the old pods keep what they have.
pub async fn in_the_middle_of_a_crash_loop(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(2).immutable();
    c.apply(&web).await?;
    let before = c.up(&web).await?;
    c.roll(&mut web, CRASHING).await?;
    c.until("the new version is bound", |seen| {
        seen.of(&web).iter().any(|pod| pod.image == CRASHING && !pod.node.is_empty())
    })
    .await?;
    c.crash_ipam().await?;
    c.sweep().await?;
    c.delete_pod(&before[0].name).await?;
    c.until("an old pod is back with its address", |seen| {
        let old: Vec<_> = seen.of(&web).into_iter().filter(|pod| pod.image != CRASHING && pod.is_up()).collect();
        old.len() == 2 && old.iter().any(|pod| pod.uid != before[0].uid && pod.ips == before[0].ips)
    })
    .await?;
    c.settled().await
}

/// A quarantine outlives a restart.
pub async fn a_quarantine_outlives_a_restart(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let old = c.up(&pod).await?.remove(0);
    c.node_dies(&old.node).await?;
    c.force_delete_pod("p").await?;
    c.until("the address is quarantined", |seen| seen.state(old.ip()) == Some(State::Quarantined)).await?;
    c.restart_ipam().await?;
    let other = Workload::pod("other");
    c.apply(&other).await?;
    c.waits("other", "NoAddress").await?;
    ensure!(c.see().await?.state(old.ip()) == Some(State::Quarantined));
    c.node_returns(&old.node).await?;
    c.up(&other).await?;
    c.settled().await
}

/// Objects of the original, with key and attribute only, are understood: owners keep what they have.
pub async fn objects_of_the_original_are_understood(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 12)).await?;
    let (db, web) =
        (Workload::stateful_set("db").replicas(2).immutable(), Workload::deployment("web").replicas(2).immutable());
    c.apply(&db).await?;
    c.apply(&web).await?;
    let pods = [c.up(&db).await?, c.up(&web).await?].concat();
    c.backend().kill_ipam();
    // As the original would have written them.
    for address in c.see().await?.addresses.into_values() {
        let spec = &address.object.spec;
        let object = json!({
            "apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP", "metadata": {"name": address.ip},
            "spec": {"key": spec.key, "attribute": spec.attribute, "policy": spec.policy, "updateTime": "2024-03-05T08:00:12Z"},
        });
        c.delete_floating_ip(&address.ip).await?;
        c.create("floatingips", &object).await?;
    }
    for (ip, key) in
        [("10.64.1.19", "dp_shop_api_"), ("10.64.1.20", "pool__blue_"), ("10.64.1.21", "sts_default_db_db-7")]
    {
        let policy = if key.starts_with("pool") { 2 } else { 1 };
        let object = json!({
            "apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP", "metadata": {"name": ip},
            "spec": {"key": key, "attribute": "{\"NodeName\":\"\",\"Uid\":\"\"}", "policy": policy, "updateTime": "2024-03-05T08:00:12Z",
                "subnet": "10.64.1.0/24"},
        });
        c.create("floatingips", &object).await?;
    }
    c.backend().start_ipam(true).await?;
    c.sweep().await?;
    // Reserved for a Deployment that is gone, and for an ordinal that is not in use: freed. In a pool: kept.
    c.free("10.64.1.19").await?;
    c.free("10.64.1.21").await?;
    ensure!(!c.see().await?.is_free("10.64.1.20"));
    for pod in &pods {
        let seen = c.see().await?;
        ensure!(!seen.is_free(pod.ip()), "{} of {} was freed\n{seen}", pod.ip(), pod.name);
    }
    c.delete_pod("db-1").await?;
    ensure!(c.up(&db).await?[1].ips == pods[1].ips);
    for pod in &pods[2..] {
        c.delete_pod(&pod.name).await?;
    }
    ensure!(c.ips(&web).await? == pods[2..].iter().map(|pod| pod.ip().to_owned()).collect());
    c.settled().await
}

/// A running pod whose object is gone has it again: nobody else gets its address.
pub async fn a_running_pod_without_an_object_is_adopted(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 2)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    c.backend().kill_ipam();
    c.delete_floating_ip(&ip).await?;
    c.backend().start_ipam(true).await?;
    let web = Workload::deployment("web").replicas(2);
    c.apply(&web).await?;
    c.one_waits(&web, "NoAddress").await?;
    c.until("the pod has its object again", |seen| {
        let uid = seen.pod("p").map(|pod| pod.uid.clone()).unwrap_or_default();
        seen.addresses.get(&ip).is_some_and(|address| address.pod_uid() == uid)
    })
    .await?;
    c.settled().await
}
