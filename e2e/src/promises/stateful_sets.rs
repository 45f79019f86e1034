//! StatefulSets: an address belongs to the name of a pod.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use galaxy_api::floatingip::State;
use serde_json::json;

use super::{count, owned};
use crate::{Cluster, Lab, Setup, Workload};

async fn by_name(c: &Cluster, set: &Workload) -> Result<BTreeMap<String, String>> {
    Ok(c.up(set).await?.into_iter().map(|pod| (pod.name.clone(), pod.ip().to_owned())).collect())
}

/// No policy: the address is freed with the pod.
pub async fn without_a_policy_the_address_is_freed_with_the_pod(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 5)).await?;
    let db = Workload::stateful_set("db");
    c.apply(&db).await?;
    let pod = c.up(&db).await?.remove(0);
    let key = c.see().await?.addresses[pod.ip()].key().to_owned();
    ensure!(key == "sts_default_db_db-0", "key {key}");
    c.delete_pod("db-0").await?;
    c.free(pod.ip()).await?;
    c.up(&db).await?;
    c.settled().await
}

/// Immutable: a pod that is recreated has the address that its name had.
pub async fn immutable_keeps_each_pod_its_address(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut db = Workload::stateful_set("db").replicas(3).immutable();
    c.apply(&db).await?;
    let before = by_name(&c, &db).await?;
    for name in before.keys() {
        c.delete_pod(name).await?;
    }
    ensure!(by_name(&c, &db).await? == before);
    c.roll(&mut db, "nginx:2").await?;
    ensure!(by_name(&c, &db).await? == before, "a rolling update changed addresses");
    c.evict_pod("db-1").await?;
    ensure!(by_name(&c, &db).await? == before, "an eviction changed addresses");
    c.settled().await
}

/// Immutable: scale-down frees the addresses of the ordinals that go, deletion all.
pub async fn immutable_frees_on_scale_down_and_deletion(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut db = Workload::stateful_set("db").replicas(3).immutable();
    c.apply(&db).await?;
    let before = by_name(&c, &db).await?;
    c.scale(&mut db, 1).await?;
    c.up(&db).await?;
    c.until("only db-0 has an address", |seen| owned(seen, &db) == [before["db-0"].clone()].into()).await?;
    c.scale(&mut db, 2).await?;
    ensure!(by_name(&c, &db).await?["db-0"] == before["db-0"]);
    c.delete(&db).await?;
    c.until("nothing is kept", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}

/// Never: nothing is freed, and a StatefulSet of the same name has it all again.
pub async fn never_keeps_everything_for_the_same_name(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut db = Workload::stateful_set("db").replicas(3).never();
    c.apply(&db).await?;
    let before = by_name(&c, &db).await?;
    c.scale(&mut db, 1).await?;
    c.until("two addresses are reserved", |seen| count(seen, &db, State::Reserved) == 2).await?;
    c.delete(&db).await?;
    c.until("three addresses are reserved", |seen| count(seen, &db, State::Reserved) == 3).await?;
    let seen = c.see().await?;
    let address = &seen.addresses[&before["db-2"]];
    ensure!(address.key() == "sts_default_db_db-2" && address.object.spec.policy == 2, "{seen}");
    ensure!(address.pod_uid().is_empty() && address.object.spec.node.is_none(), "{seen}");
    c.sweep().await?;
    let again = Workload::stateful_set("db").replicas(3).never();
    c.apply(&again).await?;
    ensure!(by_name(&c, &again).await? == before);
    c.settled().await
}

/// Ordinals may begin above zero: those in use are kept, those before the start are not.
pub async fn ordinals_count_from_their_start(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let db = Workload::stateful_set("db").replicas(2).immutable().spec("ordinals", &json!({"start": 5}));
    c.apply(&db).await?;
    let before = by_name(&c, &db).await?;
    ensure!(before.keys().eq(["db-5", "db-6"]), "{before:?}");
    c.delete_pod("db-6").await?;
    ensure!(by_name(&c, &db).await? == before);
    c.patch(&db, &json!({"spec": {"ordinals": {"start": 6}}})).await?;
    c.until("db-5 is gone and freed", |seen| seen.pod("db-5").is_none() && seen.is_free(&before["db-5"])).await?;
    ensure!(by_name(&c, &db).await?["db-6"] == before["db-6"]);
    c.settled().await
}

/// A pod that is recreated while the node it was on is full of others still has its address wherever it goes.
pub async fn the_address_follows_the_pod_to_another_node(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let db = Workload::stateful_set("db").immutable();
    c.apply(&db).await?;
    let before = c.up(&db).await?.remove(0);
    c.cordon(&before.node, true).await?;
    c.delete_pod("db-0").await?;
    let after = c.up(&db).await?.remove(0);
    ensure!(after.node != before.node && after.ip() == before.ip());
    c.settled().await
}
