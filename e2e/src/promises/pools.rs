//! Pools: addresses that several workloads share.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use galaxy_api::{Pool, floatingip::State, names::SYSTEM_NAMESPACE, pool};
use serde_json::json;

use crate::{Lab, Seen, Setup, Workload, setup};

fn addresses(seen: &Seen, pool: &str) -> BTreeSet<String> {
    seen.in_pool(pool).into_iter().map(|address| address.ip.clone()).collect()
}

fn reserved(seen: &Seen, pool: &str) -> usize {
    seen.in_pool(pool).into_iter().filter(|address| address.state() == Some(State::Reserved)).count()
}

fn condition(pool: &Pool, type_: &str) -> (String, String) {
    let conditions = pool.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map(|condition| (condition.status.clone(), condition.reason.clone())).unwrap_or_default()
}

fn real_size(pool: &Pool) -> u64 {
    pool.status.as_ref().map_or(0, |status| status.real_size)
}

/// Without a size a pool grows with the replicas, is always `never`, and its addresses serve any Deployment that names it.
pub async fn an_unsized_pool_grows_and_is_shared(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(2).pool("blue").immutable();
    c.apply(&web).await?;
    let pods = c.up(&web).await?;
    let seen = c.see().await?;
    let address = &seen.addresses[pods[0].ip()];
    ensure!(address.key() == format!("pool__blue_dp_default_web_{}", pods[0].name), "key {}", address.key());
    ensure!(address.object.spec.policy == 2, "a pool forces never");
    c.scale(&mut web, 4).await?;
    let ips = c.ips(&web).await?;
    c.scale(&mut web, 1).await?;
    c.up(&web).await?;
    c.until("three addresses are reserved in the pool", |seen| reserved(seen, "blue") == 3).await?;
    let seen = c.see().await?;
    let keys: BTreeSet<&str> =
        seen.in_pool("blue").iter().filter(|it| it.state() == Some(State::Reserved)).map(|it| it.key()).collect();
    ensure!(keys == ["pool__blue_"].into(), "{keys:?}");
    // Another Deployment, in another namespace.
    let api = Workload::deployment("api").replicas(3).pool("blue").namespace("shop");
    c.apply(&api).await?;
    let theirs = c.ips(&api).await?;
    ensure!(theirs.is_subset(&ips) && theirs.len() == 3, "{theirs:?} are not of {ips:?}");
    // All are kept when both are gone.
    c.delete(&api).await?;
    c.delete(&web).await?;
    c.until("four addresses are reserved in the pool", |seen| reserved(seen, "blue") == 4).await?;
    ensure!(addresses(&c.see().await?, "blue") == ips);
    c.settled().await
}

/// The newest reservation of the pool is taken first, whoever gave it up.
pub async fn the_newest_reservation_of_the_pool_is_reused_first(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    let (web, api) = (Workload::deployment("web").pool("blue"), Workload::deployment("api").pool("blue"));
    c.apply(&web).await?;
    c.apply(&api).await?;
    let (first, second) = (c.ip(&web).await?, c.ip(&api).await?);
    for (workload, ip) in [(&web, &first), (&api, &second)] {
        c.delete(workload).await?;
        c.reserved(ip).await?;
    }
    let next = Workload::deployment("next").pool("blue");
    c.apply(&next).await?;
    ensure!(c.ip(&next).await? == second);
    c.settled().await
}

/// A sized pool never has more pods than its size, whatever the replicas; raising the size serves who waits.
pub async fn a_sized_pool_limits_all_its_deployments(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 20)).await?;
    c.set_pool("blue", 3, false).await?;
    let web = Workload::deployment("web").replicas(2).pool("blue");
    let api = Workload::deployment("api").replicas(2).pool("blue").namespace("shop");
    c.apply(&web).await?;
    c.up(&web).await?;
    c.apply(&api).await?;
    c.one_waits(&api, "LimitReached").await?;
    c.until("three pods are up", |seen| seen.pods.iter().filter(|pod| pod.is_up()).count() == 3).await?;
    ensure!(addresses(&c.see().await?, "blue").len() == 3);
    c.set_pool("blue", 4, false).await?;
    c.up(&api).await?;
    ensure!(addresses(&c.see().await?, "blue").len() == 4);
    c.settled().await
}

/// Many pods at once do not overrun the size.
pub async fn a_burst_of_pods_does_not_overrun_the_size(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(3, 20), (3, 20)])).await?;
    c.set_pool("blue", 5, false).await?;
    let all: Vec<_> = (0..4).map(|n| Workload::deployment(&format!("web{n}")).replicas(4).pool("blue")).collect();
    for web in &all {
        c.apply(web).await?;
    }
    c.until("five pods are up and eleven wait", |seen| {
        let up = seen.pods.iter().filter(|pod| pod.is_up()).count();
        up == 5 && seen.pods.iter().filter(|pod| pod.waits_for() == "LimitReached").count() == 11
    })
    .await?;
    let most: usize = all.iter().map(|web| c.most_addresses(web)).sum();
    ensure!(most == 5, "{most} addresses were used");
    c.settled().await
}

/// Blue-green: with a pool of twice the size, the new Deployment starts beside the old one and the set stays.
pub async fn blue_green_keeps_the_set(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 20)).await?;
    c.set_pool("blue-green", 4, false).await?;
    let make = |name: &str| Workload::deployment(name).replicas(2).pool("blue-green");
    let (mut old, mut new) = ("web-blue", "web-green");
    c.apply(&make(old)).await?;
    c.up(&make(old)).await?;
    let mut set = BTreeSet::new();
    for round in 0..3 {
        c.apply(&make(new)).await?;
        c.up(&make(new)).await?;
        let now = addresses(&c.see().await?, "blue-green");
        ensure!(now.len() == 4 && (round == 0 || now == set), "{set:?} became {now:?}");
        set = now;
        c.delete(&make(old)).await?;
        c.until("two addresses are reserved", |seen| reserved(seen, "blue-green") == 2).await?;
        std::mem::swap(&mut old, &mut new);
    }
    c.settled().await
}

/// The Pool of float-ip.md as it stands there: no namespace, no preAllocateIP. It counts where it was made.
pub async fn the_documented_pool_object_counts_in_any_namespace(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    c.set_pool_in("default", "example-pool", &json!({"size": 4})).await?;
    let web = Workload::deployment("web").replicas(5).pool("example-pool").namespace("shop");
    c.apply(&web).await?;
    c.until("four pods are up and one waits", |seen| {
        let pods = seen.of(&web);
        pods.iter().filter(|pod| pod.is_up()).count() == 4 && pods.iter().any(|pod| pod.waits_for() == "LimitReached")
    })
    .await?;
    c.pool_until("default", "example-pool", "is accepted with 4 addresses", |pool| {
        condition(pool, pool::ACCEPTED).0 == "True" && real_size(pool) == 4
    })
    .await?;
    c.settled().await
}

/// Names of pools are cluster-wide: kube-system's counts, else the oldest; the others say so.
pub async fn of_pools_with_one_name_one_counts(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    c.namespace("shop").await?;
    c.set_pool_in("default", "blue", &json!({"size": 1})).await?;
    c.pool_until("default", "blue", "is accepted", |pool| condition(pool, pool::ACCEPTED).0 == "True").await?;
    c.set_pool_in("shop", "blue", &json!({"size": 2})).await?;
    let taken = |pool: &Pool| condition(pool, pool::ACCEPTED) == ("False".to_owned(), pool::NAME_TAKEN.to_owned());
    c.pool_until("shop", "blue", "is not accepted", taken).await?;
    let web = Workload::deployment("web").replicas(3).pool("blue");
    c.apply(&web).await?;
    let up = |seen: &Seen, n| seen.pods.iter().filter(|pod| pod.is_up()).count() == n;
    c.until("one pod is up", |seen| up(seen, 1) && seen.pods.iter().any(|pod| !pod.waits_for().is_empty())).await?;
    c.set_pool("blue", 3, false).await?;
    c.pool_until("default", "blue", "is not accepted any more", taken).await?;
    c.up(&web).await?;
    c.delete_pool(SYSTEM_NAMESPACE, "blue").await?;
    c.pool_until("default", "blue", "is accepted again", |pool| condition(pool, pool::ACCEPTED).0 == "True").await?;
    c.settled().await
}

/// Pre-allocation by HTTP reserves up to the size, and pods take those.
pub async fn pre_allocation_by_http(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    let answer = c.post("/v1/pool", &json!({"name": "blue", "size": 4, "preAllocateIP": true})).await?;
    ensure!(answer.status == 200, "{answer:?}");
    ensure!(answer.json() == json!({"code": 200, "message": "", "realPoolSize": 4}), "{}", answer.body);
    let seen = c.see().await?;
    let set = addresses(&seen, "blue");
    ensure!(set.len() == 4 && reserved(&seen, "blue") == 4, "{seen}");
    for address in seen.in_pool("blue") {
        ensure!(address.key() == "pool__blue_" && address.object.spec.policy == 2, "{seen}");
    }
    let web = Workload::deployment("web").replicas(4).pool("blue");
    c.apply(&web).await?;
    ensure!(c.ips(&web).await? == set);
    let answer = c.get("/v1/pool/blue").await?;
    let pool = json!({"name": "blue", "size": 4, "preAllocateIP": true});
    ensure!(answer.json() == json!({"code": 200, "message": "", "pool": pool}), "{}", answer.body);
    c.settled().await
}

/// Pre-allocation by an object made with kubectl; the status shows the real size.
pub async fn pre_allocation_by_object(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 3), (1, 3)])).await?;
    c.set_pool("blue", 5, true).await?;
    c.pool_until(SYSTEM_NAMESPACE, "blue", "has 5 addresses", |pool| {
        let status = pool.status.clone().unwrap_or_default();
        (status.real_size, status.used, status.reserved) == (5, 0, 5)
            && condition(pool, pool::PRE_ALLOCATED).0 == "True"
    })
    .await?;
    ensure!(reserved(&c.see().await?, "blue") == 5);
    let web = Workload::deployment("web").replicas(2).pool("blue");
    c.apply(&web).await?;
    c.up(&web).await?;
    c.pool_until(SYSTEM_NAMESPACE, "blue", "has 2 of 5 used", |pool| {
        let status = pool.status.clone().unwrap_or_default();
        (status.real_size, status.used, status.reserved) == (5, 2, 3)
    })
    .await?;
    c.settled().await
}

/// A shortfall is a condition, and is made good when addresses come free.
pub async fn a_shortfall_is_made_good_when_addresses_come_free(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 4)).await?;
    let others = Workload::deployment("others").replicas(2);
    c.apply(&others).await?;
    c.up(&others).await?;
    c.set_pool("blue", 5, true).await?;
    c.pool_until(SYSTEM_NAMESPACE, "blue", "is 3 short", |pool| {
        real_size(pool) == 2
            && condition(pool, pool::PRE_ALLOCATED) == ("False".to_owned(), pool::NO_ENOUGH_IPS.to_owned())
    })
    .await?;
    c.delete(&others).await?;
    c.pool_until(SYSTEM_NAMESPACE, "blue", "is 1 short", |pool| real_size(pool) == 4).await?;
    c.configure(&setup::pools(6)).await?;
    c.pool_until(SYSTEM_NAMESPACE, "blue", "is full", |pool| {
        real_size(pool) == 5 && condition(pool, pool::PRE_ALLOCATED).0 == "True"
    })
    .await?;
    ensure!(reserved(&c.see().await?, "blue") == 5);
    c.settled().await
}

/// By HTTP a shortfall is 202 with the size reached; satisfied is 200 though nothing is free any more.
pub async fn a_shortfall_by_http_is_accepted_with_the_real_size(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    let set = |size: u32| json!({"name": "blue", "size": size, "preAllocateIP": true});
    let answer = c.post("/v1/pool", &set(5)).await?;
    ensure!(answer.status == 202, "{answer:?}");
    ensure!(answer.json() == json!({"code": 202, "message": "No enough IPs", "realPoolSize": 3}), "{}", answer.body);
    let answer = c.post("/v1/pool", &set(3)).await?;
    ensure!(answer.json() == json!({"code": 200, "message": "", "realPoolSize": 3}), "{}", answer.body);
    c.settled().await
}

/// A pool of size 0, or by HTTP of none, as the original read it: everybody waits and is told what to raise. An object needs a size.
pub async fn a_pool_without_room_has_everybody_wait(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    let mut object = json!({
        "apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "Pool", "metadata": {"name": "green", "namespace": "kube-system"},
    });
    for (size, word) in [(json!(null), "Required"), (json!(-1), "-1"), (json!(1_i64 << 40), "1099511627776")] {
        object["size"] = size;
        match c.create("pools", &object).await {
            Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains(word) => {}
            other => anyhow::bail!("{object}: {other:?}"),
        }
    }
    for body in [json!({"name": "blue"}), json!({"name": "blue", "size": 0, "preAllocateIP": true})] {
        let answer = c.post("/v1/pool", &body).await?;
        ensure!(answer.status == 200, "{body}: {answer:?}");
    }
    let shown = c.get("/v1/pool/blue").await?.json();
    ensure!(shown["pool"] == json!({"name": "blue", "size": 0, "preAllocateIP": true}), "{shown}");
    let web = Workload::deployment("web").pool("blue");
    c.apply(&web).await?;
    let name = c.one_waits(&web, "LimitReached").await?.name;
    let condition = c.waits(&name, "LimitReached").await?;
    ensure!(condition.message.contains("\"blue\"") && condition.message.contains("Pool.size"), "{}", condition.message);
    c.set_pool("blue", 1, false).await?;
    c.up(&web).await?;
    c.settled().await
}

/// Pods of a StatefulSet keep their own addresses in a pool, and count towards its size for Deployments.
pub async fn stateful_pods_in_a_pool_count(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    c.set_pool("blue", 3, false).await?;
    let db = Workload::stateful_set("db").replicas(2).pool("blue");
    c.apply(&db).await?;
    let before = c.up(&db).await?;
    let key = c.see().await?.addresses[before[1].ip()].key().to_owned();
    ensure!(key == "pool__blue_sts_default_db_db-1", "key {key}");
    let mut web = Workload::deployment("web").replicas(2).pool("blue");
    c.apply(&web).await?;
    c.one_waits(&web, "LimitReached").await?;
    c.scale(&mut web, 1).await?;
    c.up(&web).await?;
    c.delete_pod("db-1").await?;
    c.until("db-1 is back with its address", |seen| {
        seen.pod("db-1").is_some_and(|pod| pod.is_up() && pod.uid != before[1].uid && pod.ips == before[1].ips)
    })
    .await?;
    c.settled().await
}

/// Deleting the Pool object keeps its addresses reserved in the pool.
pub async fn deleting_a_pool_keeps_its_addresses(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    c.set_pool("blue", 2, true).await?;
    c.until("two addresses are reserved", |seen| reserved(seen, "blue") == 2).await?;
    let answer = c.http().delete(&format!("{}/v1/pool/blue", c.backend().api_url())).await?;
    ensure!(answer.status == 200 && answer.json() == json!({"code": 200, "message": ""}), "{answer:?}");
    let answer = c.get("/v1/pool/blue").await?;
    ensure!(answer.status == 404 && answer.json()["code"] == 404, "{answer:?}");
    c.sweep().await?;
    ensure!(reserved(&c.see().await?, "blue") == 2);
    let web = Workload::deployment("web").replicas(2).pool("blue");
    let set = addresses(&c.see().await?, "blue");
    c.apply(&web).await?;
    ensure!(c.ips(&web).await? == set);
    c.settled().await
}
