//! What the original lost or let pass when its address pools changed.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use galaxy_ipam::cloud::fake::FakeProvider;
use serde_json::{Value, json};

use crate::{
    Lab, Setup, Workload,
    setup::{NodeSetup, pools, rack_pool},
};

/// Row 1: nothing that is in use or reserved is deleted with the configuration, and the provider goes on routing it.
pub async fn row_01_a_configuration_change_deletes_no_floating_ip(lab: Lab) -> Result<()> {
    let cloud = FakeProvider::start().await?;
    let c = lab.cluster(Setup::one_rack(1, 3).cloud(&cloud.address())).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    c.reserve("10.64.1.12", "pool__reserved-for-node_").await?;
    for document in ["[]", "null", ""] {
        c.refused_configuration(document).await?;
    }
    c.reconfigure(&json!([rack_pool(2, 5)])).await?;
    c.sweep().await?;
    let seen = c.see().await?;
    ensure!(!seen.is_free(&ip) && !seen.is_free("10.64.1.12"), "{seen}");
    ensure!(cloud.routes().contains_key(&ip.parse::<IpAddr>()?));
    c.settled().await
}

/// Row 2: claims and releases that happen while a configuration comes into force are neither lost nor undone.
pub async fn row_02_a_configuration_change_in_the_middle_loses_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 20)).await?;
    let mut web = Workload::deployment("web").replicas(8);
    c.apply(&web).await?;
    for round in 0..6 {
        c.configure(&pools(20 - round % 2)).await?;
        c.scale(&mut web, if round % 2 == 0 { 3 } else { 9 }).await?;
        c.configure(&pools(20 + round % 2)).await?;
        c.up(&web).await?;
    }
    c.until("every address has its pod", |seen| seen.addresses.len() == web.wanted()).await?;
    c.settled().await
}

/// Row 22: pools that overlap are refused, and both are named.
pub async fn row_22_overlapping_pools_are_refused_and_named(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let mut other = rack_pool(1, 9);
    other["nodeSubnets"] = json!(["10.0.7.0/24"]);
    let text = c.refused_configuration(&json!([rack_pool(1, 5), other]).to_string()).await?;
    ensure!(text.contains("10.64.1.10~10.64.1.14") && text.contains("10.64.1.10~10.64.1.18"), "{text}");
    c.settled().await
}

/// Row 31: an empty value is no configuration.
pub async fn row_31_an_empty_value_is_no_configuration(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3).unconfigured()).await?;
    c.configure_text(Some("")).await?;
    let text = c.event("ConfigMap", "floatingip-config", "ConfigurationRefused").await?;
    ensure!(text.contains("empty"), "{text}");
    ensure!(c.get("/readyz").await?.status == 503);
    c.configure(&pools(1)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.up(&pod).await?;
    c.settled().await
}

/// Row 33: IPv6 addresses are addresses.
pub async fn row_33_ipv6_addresses_are_handed_out(lab: Lab) -> Result<()> {
    let nodes = vec![NodeSetup { name: "a1".into(), address: "fd00:1::11".into() }];
    let all = json!([{
        "nodeSubnets": ["fd00:1::/64"], "ips": ["fd00:2::ffff:fffe~fd00:2::1:0:1"], "subnet": "fd00:2::/64", "gateway": "fd00:2::1", "vlan": 3,
    }]);
    let c = lab.cluster(Setup::new(nodes, &all)).await?;
    let db = Workload::stateful_set("db").replicas(4).immutable();
    c.apply(&db).await?;
    let pods = c.up(&db).await?;
    let ips = c.ips(&db).await?;
    let expected = ["fd00:2::ffff:fffe", "fd00:2::ffff:ffff", "fd00:2::1:0:0", "fd00:2::1:0:1"];
    ensure!(ips == expected.map(str::to_owned).into(), "{ips:?}");
    let args: Value = serde_json::from_str(&pods[0].args)?;
    let info = json!({"ip": format!("{}/64", pods[0].ip()), "vlan": 3, "gateway": "fd00:2::1"});
    ensure!(args["common"]["ipinfos"][0] == info, "{args}");
    let object = &c.see().await?.addresses["fd00:2::1:0:0"].object;
    ensure!(object.metadata.name.as_deref() == Some("fd00-0002-0000-0000-0000-0001-0000-0000"), "{object:?}");
    c.delete_pod("db-2").await?;
    ensure!(c.ips(&db).await? == ips);
    c.settled().await
}

/// Row 34: the network comes from the gateway; vlan and pool size are checked.
pub async fn row_34_vlan_and_pool_size_are_checked(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    let mut pool = rack_pool(1, 3);
    pool["vlan"] = 4095.into();
    let text = c.refused_configuration(&json!([pool]).to_string()).await?;
    ensure!(text.contains("vlan") && text.contains("4095"), "{text}");
    let answer = c.post("/v1/pool", &json!({"name": "blue", "size": -1})).await?;
    ensure!(answer.status == 400 && answer.body.contains("-1"), "{answer:?}");
    pool["vlan"] = 4094.into();
    pool["subnet"] = "0.0.0.0/24".into();
    c.reconfigure(&json!([pool])).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let args: Value = serde_json::from_str(&c.up(&pod).await?[0].args)?;
    ensure!(args["common"]["ipinfos"][0]["ip"] == "10.64.1.10/24", "{args}");
    c.settled().await
}
