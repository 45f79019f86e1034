//! The HTTP API on port 9041.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{Lab, Setup, Workload, setup::rack_pool};

async fn refused_release(c: &crate::Cluster, entry: Value) -> Result<String> {
    let answer = c.post("/v1/ip", &json!({"ips": [entry]})).await?;
    ensure!(answer.status == 202, "{entry}: {answer:?}");
    Ok(answer.json()["reasons"][0].as_str().unwrap_or_default().to_owned())
}

/// Row 40: an administrator's address is not released by HTTP, an unknown one is not reported as released, and without
/// appType a StatefulSet is meant, as documented.
pub async fn row_40_release_honours_the_label_and_the_documented_default(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    c.reserve("10.64.1.14", "pool__reserved-for-node_").await?;
    c.poll("the reservation is seen", || async {
        Ok(c.get("/v1/ip?keyword=reserved-for-node").await?.body.contains("10.64.1.14").then_some(()))
    })
    .await?;
    let reason = refused_release(&c, json!({"ip": "10.64.1.14", "poolName": "reserved-for-node"})).await?;
    ensure!(reason.contains("10.64.1.14") && reason.contains("reserved by an administrator"), "{reason}");
    ensure!(!c.see().await?.is_free("10.64.1.14"));
    let reason =
        refused_release(&c, json!({"ip": "192.0.2.1", "appName": "sts", "podName": "sts-0", "namespace": "default"}))
            .await?;
    ensure!(reason.contains("192.0.2.1") && reason.contains("no configured pool"), "{reason}");
    let sts = Workload::stateful_set("sts").never();
    c.apply(&sts).await?;
    let ip = c.ip(&sts).await?;
    c.delete(&sts).await?;
    c.reserved(&ip).await?;
    let entry = json!({"ip": ip, "appName": "sts", "podName": "sts-0", "namespace": "default"});
    ensure!(c.post("/v1/ip", &json!({"ips": [entry]})).await?.status == 200);
    ensure!(c.see().await?.is_free(&ip));
    c.settled().await
}

/// Row 41: addresses of bare pods can be listed and released, and `deployments` means deployments.
pub async fn row_41_bare_pods_and_plural_kinds_work(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let (pod, web) = (Workload::pod("p-1").never(), Workload::deployment("web").never());
    for workload in [&pod, &web] {
        c.apply(workload).await?;
        let ip = c.ip(workload).await?;
        c.delete(workload).await?;
        c.reserved(&ip).await?;
    }
    for path in ["/v1/ip?appType=NULL&namespace=default", "/v1/ip?appType=deployments&appName=web&namespace=default"] {
        let shown = c.get(path).await?.json();
        ensure!(shown["totalElements"] == 1, "{path}: {shown}");
        let answer = c.post("/v1/ip", &json!({"ips": shown["content"]})).await?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
    }
    ensure!(c.see().await?.addresses.is_empty());
    c.settled().await
}

/// Row 42: cart-1 is not cart-10, a namespace alone is a query, addresses sort as numbers, pages are stable.
pub async fn row_42_queries_are_exact_and_sorted_by_number(lab: Lab) -> Result<()> {
    let mut pool = rack_pool(1, 0);
    pool["ips"] = json!(["10.64.1.5~10.64.1.16"]);
    let c = lab.cluster(Setup::one_rack(2, 0).pools(&json!([pool]))).await?;
    let cart = Workload::stateful_set("cart").replicas(11).namespace("shop");
    c.apply(&cart).await?;
    c.up(&cart).await?;
    let list = |path: &'static str| async { anyhow::Ok(c.get(path).await?.json()) };
    let one = list("/v1/ip?namespace=shop&appName=cart&podName=cart-1").await?;
    ensure!(one["totalElements"] == 1 && one["content"][0]["podName"] == "cart-1", "{one}");
    ensure!(list("/v1/ip?namespace=shop").await?["totalElements"] == 11);
    ensure!(list("/v1/ip?namespace=default").await?["totalElements"] == 0);
    let everything = list("/v1/ip?size=100").await?;
    let ips: Vec<IpAddr> = everything["content"]
        .as_array()
        .map(|all| all.iter().filter_map(|entry| entry["ip"].as_str()?.parse().ok()).collect())
        .unwrap_or_default();
    ensure!(ips.len() == 12 && ips.is_sorted(), "{ips:?}");
    let mut paged = Vec::new();
    for path in
        ["/v1/ip?size=5&page=0&sort=policy", "/v1/ip?size=5&page=1&sort=policy", "/v1/ip?size=5&page=2&sort=policy"]
    {
        let page = list(path).await?;
        ensure!(page["totalPages"] == 3 && page["totalElements"] == 12, "{page}");
        paged.extend(
            page["content"].as_array().cloned().unwrap_or_default().into_iter().map(|entry| entry["ip"].to_string()),
        );
    }
    let distinct: std::collections::BTreeSet<_> = paged.iter().collect();
    ensure!(distinct.len() == 12, "{paged:?}");
    let beyond = list("/v1/ip?size=5&page=7").await?;
    ensure!(beyond["number"] == 7 && beyond["numberOfElements"] == 0 && beyond["last"] == true, "{beyond}");
    c.settled().await
}

/// Row 43: pre-allocation that is satisfied says so though no address is free.
pub async fn row_43_a_satisfied_pool_is_reported_as_such(lab: Lab) -> Result<()> {
    crate::promises::pools::a_shortfall_by_http_is_accepted_with_the_real_size(lab).await
}
