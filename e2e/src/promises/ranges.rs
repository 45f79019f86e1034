//! Several addresses per pod, from ranges that the pod names.

use anyhow::{Result, ensure};
use galaxy_api::names::ARGS_ANNOTATION;
use serde_json::{Value, json};

use crate::{
    Lab, Setup, Workload,
    setup::{NodeSetup, rack_pool},
};

/// The cluster that the example of float-ip.md needs.
fn documented() -> Setup {
    let nodes = [("a1", "10.0.9.11"), ("a2", "10.0.9.12")];
    let nodes = nodes.map(|(name, address)| NodeSetup { name: name.into(), address: address.into() });
    Setup::new(
        nodes.into(),
        &json!([{
            "nodeSubnets": ["10.0.9.0/24"], "ips": ["10.0.0.2~10.0.0.30", "10.0.0.60~10.0.0.80", "10.0.0.200~10.0.0.238"],
            "subnet": "10.0.0.0/24", "gateway": "10.0.0.1",
        }]),
    )
}

const DOCUMENTED: &str =
    r#"{"request_ip_range":[["10.0.0.200~10.0.0.238"],["10.0.0.2~10.0.0.30"],["10.0.0.60~10.0.0.80"]]}"#;

/// The example of float-ip.md, and the very annotation that comes back.
pub async fn the_documented_pod_gets_its_three_addresses(lab: Lab) -> Result<()> {
    let c = lab.cluster(documented()).await?;
    let pod = Workload::pod("p").annotate(ARGS_ANNOTATION, DOCUMENTED);
    c.apply(&pod).await?;
    let args = c.up(&pod).await?.remove(0).args;
    let expected = concat!(
        r#"{"request_ip_range":[["10.0.0.200~10.0.0.238"],["10.0.0.2~10.0.0.30"],["10.0.0.60~10.0.0.80"]],"#,
        r#""common":{"ipinfos":[{"ip":"10.0.0.200/24","vlan":0,"gateway":"10.0.0.1"},"#,
        r#"{"ip":"10.0.0.2/24","vlan":0,"gateway":"10.0.0.1"},{"ip":"10.0.0.60/24","vlan":0,"gateway":"10.0.0.1"}]}}"#,
    );
    ensure!(args == expected, "{args}");
    c.settled().await?;
    c.delete_pod("p").await?;
    c.until("all three are free", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}

/// Alternatives of a list are one address; the order of the lists is the order of the addresses.
pub async fn alternatives_make_one_address(lab: Lab) -> Result<()> {
    let c = lab.cluster(documented()).await?;
    let first = Workload::pod("first").ranges(&json!([["10.0.0.60"], ["10.0.0.5~10.0.0.6", "10.0.0.70~10.0.0.70"]]));
    c.apply(&first).await?;
    let pod = c.up(&first).await?.remove(0);
    ensure!(pod.ips == ["10.0.0.60", "10.0.0.5"], "{:?}", pod.ips);
    let args: Value = serde_json::from_str(&pod.args)?;
    ensure!(args["request_ip_range"] == json!([["10.0.0.60"], ["10.0.0.5~10.0.0.6", "10.0.0.70"]]), "{}", pod.args);
    let second = Workload::pod("second").ranges(&json!([["10.0.0.5", "10.0.0.70"]]));
    c.apply(&second).await?;
    ensure!(c.ip(&second).await? == "10.0.0.70");
    c.settled().await
}

/// Who can be served is served: the lists are matched, not served first come.
pub async fn overlapping_lists_are_matched(lab: Lab) -> Result<()> {
    let c = lab.cluster(documented()).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.0.0.2~10.0.0.4"], ["10.0.0.2~10.0.0.3"], ["10.0.0.2"]]));
    c.apply(&pod).await?;
    let ips = c.up(&pod).await?.remove(0).ips;
    ensure!(ips == ["10.0.0.4", "10.0.0.3", "10.0.0.2"], "{ips:?}");
    c.settled().await
}

/// All or nothing: a pod that cannot have all its addresses takes none, and is served when the missing one comes free.
pub async fn all_or_nothing_and_woken_when_complete(lab: Lab) -> Result<()> {
    let c = lab.cluster(documented()).await?;
    let holder = Workload::pod("holder").ranges(&json!([["10.0.0.60"]]));
    c.apply(&holder).await?;
    c.up(&holder).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.0.0.2"], ["10.0.0.60"]]));
    c.apply(&pod).await?;
    c.waits("p", "NoAddress").await?;
    ensure!(c.see().await?.is_free("10.0.0.2"), "half of it was taken");
    c.delete_pod("holder").await?;
    ensure!(c.up(&pod).await?[0].ips == ["10.0.0.2", "10.0.0.60"]);
    c.settled().await
}

/// A StatefulSet's pod keeps all its addresses.
pub async fn a_stateful_pod_keeps_all_its_addresses(lab: Lab) -> Result<()> {
    let c = lab.cluster(documented()).await?;
    let db = Workload::stateful_set("db").immutable().annotate(ARGS_ANNOTATION, DOCUMENTED);
    c.apply(&db).await?;
    let before = c.up(&db).await?.remove(0);
    c.delete_pod("db-0").await?;
    let after = c.up(&db).await?.remove(0);
    ensure!(after.uid != before.uid && after.ips == before.ips, "{:?} became {:?}", before.ips, after.ips);
    c.delete(&db).await?;
    c.until("all three are free", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}

/// Pods of a Deployment take any reserved address, so ranges and a policy contradict each other: refused, and said.
pub async fn a_reserving_deployment_cannot_ask_for_ranges(lab: Lab) -> Result<()> {
    let c = lab.cluster(documented()).await?;
    let web = Workload::deployment("web").immutable().ranges(&json!([["10.0.0.2~10.0.0.4"]]));
    c.apply(&web).await?;
    let pod = c.one_waits(&web, "UnsupportedPolicy").await?;
    let message = pod.floating.map(|condition| condition.message).unwrap_or_default();
    ensure!(message.contains("request_ip_range"), "{message}");
    let plain = Workload::deployment("plain").replicas(2).ranges(&json!([["10.0.0.2~10.0.0.4"]]));
    c.apply(&plain).await?;
    ensure!(c.ips(&plain).await? == ["10.0.0.2", "10.0.0.3"].map(str::to_owned).into());
    c.settled().await
}

/// The pod goes to a node that all its addresses are routable to.
pub async fn the_node_must_route_every_address(lab: Lab) -> Result<()> {
    let pools = json!([rack_pool(1, 10), rack_pool(2, 10)]);
    let c = lab.cluster(Setup::racks(&[(2, 0), (2, 0)]).pools(&pools)).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.64.1.10~10.64.1.19", "10.64.2.15"], ["10.64.2.10~10.64.2.12"]]));
    c.apply(&pod).await?;
    let pod = c.up(&pod).await?.remove(0);
    ensure!(pod.node.starts_with('b') && pod.ips == ["10.64.2.15", "10.64.2.10"], "{} {:?}", pod.node, pod.ips);
    let args: Value = serde_json::from_str(&pod.args)?;
    ensure!(
        args["common"]["ipinfos"][0] == json!({"ip": "10.64.2.15/24", "vlan": 2, "gateway": "10.64.2.1"}),
        "{}",
        pod.args
    );
    c.settled().await
}
