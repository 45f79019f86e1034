//! Deployments, and ReplicaSets of their own.

use anyhow::{Result, ensure};
use galaxy_api::floatingip::State;
use serde_json::json;

use super::{count, owned};
use crate::{Lab, Setup, Workload};

/// No policy: the address is freed with the pod, and its successor takes another.
pub async fn without_a_policy_the_address_is_freed_with_the_pod(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 5)).await?;
    let web = Workload::deployment("web");
    c.apply(&web).await?;
    let pod = c.up(&web).await?.remove(0);
    let seen = c.see().await?;
    let address = &seen.addresses[pod.ip()];
    ensure!(address.key() == format!("dp_default_web_{}", pod.name), "key {}", address.key());
    ensure!(address.object.spec.policy == 0 && address.state() == Some(State::Bound), "{seen}");
    c.delete_pod(&pod.name).await?;
    c.free(pod.ip()).await?;
    let successor = c.up(&web).await?.remove(0);
    ensure!(successor.uid != pod.uid);
    c.settled().await
}

/// An empty annotation, and one that is no policy, are the same as none.
pub async fn an_empty_or_unknown_policy_is_none(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 4)).await?;
    for (name, policy) in [("empty", ""), ("loud", "Immutable"), ("odd", "forever")] {
        let web = Workload::deployment(name).policy(policy);
        c.apply(&web).await?;
        let pod = c.up(&web).await?.remove(0);
        ensure!(c.see().await?.addresses[pod.ip()].object.spec.policy == 0, "policy {policy:?}");
        c.delete(&web).await?;
        c.free(pod.ip()).await?;
    }
    c.settled().await
}

/// Immutable: pods come and go, the set of addresses stays.
pub async fn immutable_keeps_the_set_of_addresses(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let web = Workload::deployment("web").replicas(3).immutable();
    c.apply(&web).await?;
    let before = c.up(&web).await?;
    let ips = c.ips(&web).await?;
    for pod in &before {
        c.delete_pod(&pod.name).await?;
    }
    ensure!(c.ips(&web).await? == ips, "the successors have other addresses");
    c.settled().await?;
    ensure!(owned(&c.see().await?, &web) == ips);
    Ok(())
}

/// Among several reservations of the workload, the one that was given up last is taken first.
pub async fn the_newest_reservation_is_reused_first(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    let mut web = Workload::deployment("web").replicas(4).never();
    c.apply(&web).await?;
    c.up(&web).await?;
    c.scale(&mut web, 1).await?;
    let last = c.up(&web).await?.remove(0);
    c.until("three addresses are reserved", |seen| count(seen, &web, State::Reserved) == 3).await?;
    c.scale(&mut web, 0).await?;
    c.reserved(last.ip()).await?;
    c.scale(&mut web, 1).await?;
    let next = c.up(&web).await?.remove(0);
    ensure!(next.ip() == last.ip(), "{} instead of {}", next.ip(), last.ip());
    c.settled().await
}

/// Immutable: scale-down frees exactly the surplus.
pub async fn immutable_frees_the_surplus_on_scale_down(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(4).immutable();
    c.apply(&web).await?;
    let ips = c.ips(&web).await?;
    c.scale(&mut web, 2).await?;
    let rest = c.ips(&web).await?;
    ensure!(rest.is_subset(&ips));
    c.until("two addresses are left", |seen| owned(seen, &web) == rest).await?;
    c.scale(&mut web, 3).await?;
    ensure!(rest.is_subset(&c.ips(&web).await?));
    c.settled().await
}

/// Immutable: no replicas, no addresses.
pub async fn immutable_scaled_to_zero_keeps_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let mut web = Workload::deployment("web").replicas(2).immutable();
    c.apply(&web).await?;
    c.up(&web).await?;
    c.scale(&mut web, 0).await?;
    c.no_pods(&web).await?;
    c.until("nothing is kept", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}

/// Immutable: everything is freed with the Deployment, reserved addresses too.
pub async fn immutable_frees_everything_with_the_deployment(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(2).immutable();
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.up(&web).await?;
    c.until("the spare is reserved", |seen| count(seen, &web, State::Reserved) == 1).await?;
    c.delete(&web).await?;
    c.until("nothing is kept", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}

/// Never: scale-down and deletion keep every address, and a Deployment of the same name has them again.
pub async fn never_keeps_everything_for_the_same_name(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(3).never();
    c.apply(&web).await?;
    let ips = c.ips(&web).await?;
    c.scale(&mut web, 1).await?;
    c.up(&web).await?;
    c.until("two addresses are reserved", |seen| count(seen, &web, State::Reserved) == 2).await?;
    c.delete(&web).await?;
    c.no_pods(&web).await?;
    c.until("three addresses are reserved", |seen| count(seen, &web, State::Reserved) == 3).await?;
    let seen = c.see().await?;
    for address in seen.owned_by(&web) {
        ensure!(address.key() == "dp_default_web_" && address.object.spec.policy == 2, "{seen}");
        ensure!(address.pod_uid().is_empty() && address.object.spec.node.is_none(), "{seen}");
    }
    c.sweep().await?;
    let again = Workload::deployment("web").replicas(3).never();
    c.apply(&again).await?;
    ensure!(c.ips(&again).await? == ips, "the new Deployment has other addresses");
    c.settled().await
}

/// An evicted pod is finished: without a policy its address is freed, with one its successor has it.
pub async fn eviction_releases_by_policy(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let (plain, kept) = (Workload::deployment("plain"), Workload::deployment("kept").immutable());
    c.apply(&plain).await?;
    c.apply(&kept).await?;
    let (first, second) = (c.up(&plain).await?.remove(0), c.up(&kept).await?.remove(0));
    c.evict_pod(&first.name).await?;
    c.evict_pod(&second.name).await?;
    c.free(first.ip()).await?;
    c.up(&plain).await?;
    ensure!(c.ip(&kept).await? == second.ip());
    c.settled().await
}

/// Without a surge a Deployment never has more addresses than replicas.
pub async fn without_a_surge_the_limit_is_the_replicas(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    let mut web = Workload::deployment("web").replicas(3).immutable().strategy(&strategy);
    c.apply(&web).await?;
    let ips = c.ips(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    ensure!(c.ips(&web).await? == ips);
    ensure!(c.most_addresses(&web) == 3, "{} addresses at once", c.most_addresses(&web));
    c.settled().await
}

/// A ReplicaSet of its own is a workload of its own.
pub async fn a_replica_set_of_its_own_keeps_its_addresses(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut set = Workload::replica_set("web-5d").replicas(2).immutable();
    c.apply(&set).await?;
    let pods = c.up(&set).await?;
    let ips = c.ips(&set).await?;
    let seen = c.see().await?;
    let key = seen.addresses[pods[0].ip()].key().to_owned();
    ensure!(key == format!("replicasets_default_web-5d_{}", pods[0].name), "key {key}");
    c.delete_pod(&pods[0].name).await?;
    ensure!(c.ips(&set).await? == ips);
    c.scale(&mut set, 1).await?;
    let rest = c.ips(&set).await?;
    c.until("one address is left", |seen| owned(seen, &set) == rest).await?;
    c.delete(&set).await?;
    c.until("nothing is kept", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}
