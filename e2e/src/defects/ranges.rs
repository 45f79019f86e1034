//! Several addresses, asked for in the annotation.

use anyhow::{Result, ensure};
use galaxy_api::names::ARGS_ANNOTATION;
use serde_json::{Value, json};

use crate::{Lab, Setup, Workload};

/// Row 5: two equal lists get two addresses, each named once.
pub async fn row_05_overlapping_lists_get_distinct_addresses(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.64.1.10~10.64.1.11"], ["10.64.1.10~10.64.1.11"]]));
    c.apply(&pod).await?;
    let pod = c.up(&pod).await?.remove(0);
    ensure!(pod.ips.len() == 2 && pod.ips[0] != pod.ips[1], "{:?}", pod.ips);
    ensure!(c.see().await?.addresses.len() == 2);
    c.settled().await
}

/// Row 6: a range costs what it has in common with the pools, up to the last address of all.
pub async fn row_06_a_huge_range_costs_little_and_ends(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let all = Workload::pod("all").ranges(&json!([["0.0.0.0~255.255.255.255"], ["10.0.0.0~255.255.255.255"]]));
    c.apply(&all).await?;
    ensure!(c.up(&all).await?[0].ips.len() == 2);
    let mut ranges: Vec<String> =
        (0..9_000).map(|n| format!("11.{0}.{1}.0~11.{0}.{1}.255", n / 250, n % 250)).collect();
    ranges.push("10.64.1.12".to_owned());
    let many = Workload::pod("many").ranges(&json!([ranges]));
    c.apply(&many).await?;
    ensure!(c.ip(&many).await? == "10.64.1.12");
    c.settled().await
}

/// Row 14: three lists on three subnets have no node in common, and none is offered.
pub async fn row_14_lists_without_a_common_node_are_refused(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 5), (1, 5), (1, 5)])).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.64.1.10"], ["10.64.2.10"], ["10.64.3.10"]]));
    c.apply(&pod).await?;
    c.waits("p", "NoAddress").await?;
    ensure!(c.see().await?.addresses.is_empty());
    c.settled().await
}

/// Row 15: `[["a~b"],["a"]]` is served.
pub async fn row_15_lists_are_matched_not_served_first_come(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.64.1.10~10.64.1.11"], ["10.64.1.10"]]));
    c.apply(&pod).await?;
    ensure!(c.up(&pod).await?[0].ips == ["10.64.1.11", "10.64.1.10"]);
    let two = Workload::pod("two").ranges(&json!([["10.64.1.11"], ["10.64.1.11"]]));
    c.apply(&two).await?;
    c.waits("two", "NoAddress").await?;
    c.settled().await
}

/// Row 36: what else stands in the annotation stays there.
pub async fn row_36_unknown_members_of_the_annotation_stay(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    let mine =
        r#"{"request_ip_range":[["10.64.1.11"]],"mine":{"a":[1,null]},"common":{"dns":"10.1.1.1","ipinfos":[]}}"#;
    let pod = Workload::pod("p").annotate(ARGS_ANNOTATION, mine);
    c.apply(&pod).await?;
    let args: Value = serde_json::from_str(&c.up(&pod).await?[0].args)?;
    let infos = json!([{"ip": "10.64.1.11/24", "vlan": 1, "gateway": "10.64.1.1"}]);
    let expected = json!({"request_ip_range": [["10.64.1.11"]], "mine": {"a": [1, null]}, "common": {"dns": "10.1.1.1", "ipinfos": infos}});
    ensure!(args == expected, "{args}");
    c.settled().await
}
