//! Which nodes are offered, and how the scheduler is answered.

use anyhow::{Result, ensure};
use galaxy_sandbox::apiserver::{Action, Gate, Rule};
use serde_json::json;

use crate::{Lab, Setup, Workload, setup::pools};

/// Row 11: what a pod must reuse is chosen among the nodes it may go to.
pub async fn row_11_a_reservation_elsewhere_does_not_pin_the_pod(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 5), (1, 5)])).await?;
    let first = Workload::deployment("web").pool("blue").on_node("a1");
    c.apply(&first).await?;
    c.up(&first).await?;
    c.delete(&first).await?;
    c.no_pods(&first).await?;
    let second = Workload::deployment("api").pool("blue").on_node("b1");
    c.apply(&second).await?;
    ensure!(c.ip(&second).await?.starts_with("10.64.2."));
    c.set_pool("green", 1, false).await?;
    let third = Workload::deployment("sized").pool("green").on_node("b1");
    c.apply(&third).await?;
    ensure!(c.ip(&third).await?.starts_with("10.64.2."));
    c.settled().await
}

/// Row 12: a reserved address does not confine a Deployment to subnets that are full.
pub async fn row_12_a_reservation_does_not_confine_the_deployment(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 1), (1, 5)])).await?;
    let mut web = Workload::deployment("web").replicas(2).immutable();
    c.apply(&web).await?;
    let pods = c.up(&web).await?;
    c.cordon("a1", true).await?;
    for pod in pods {
        c.delete_pod(&pod.name).await?;
    }
    let pods = c.up(&web).await?;
    ensure!(pods.iter().all(|pod| pod.node == "b1"), "a pod is elsewhere than on b1");
    c.sweep().await?;
    c.until("the set is as large as the Deployment", |seen| seen.owned_by(&web).len() == 2).await?;
    c.cordon("a1", false).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.up(&web).await?;
    c.settled().await
}

/// Row 17: a write that hangs holds up its own pod and nobody else.
pub async fn row_17_a_hanging_write_holds_up_nobody_else(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let gate = Gate::new();
    let hang = Rule::new(Action::Hold(gate.clone())).verb("create").resource("floatingips").times(1);
    c.server()?.faults().add(hang);
    let slow = Workload::pod("slow");
    c.apply(&slow).await?;
    gate.arrived(1).await;
    let web = Workload::deployment("web").replicas(5);
    c.apply(&web).await?;
    c.up(&web).await?;
    ensure!(c.see().await?.pod("slow").is_some_and(|pod| pod.node.is_empty()));
    gate.open();
    c.up(&slow).await?;
    c.settled().await
}

/// Row 18: a scheduler with `nodeCacheCapable` is served.
pub async fn row_18_node_names_are_enough(lab: Lab) -> Result<()> {
    crate::promises::extender::a_scheduler_that_sends_names_only(lab).await
}

/// Row 19: preempt writes nothing, and leaves alone who does not want an address.
pub async fn row_19_preempt_is_read_only(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    c.set_pool("blue", 1, false).await?;
    let pod = Workload::pod("p-1").pool("blue").on_node("nowhere");
    let plain = Workload::pod("plain").plain().never().on_node("nowhere");
    c.apply(&pod).await?;
    c.apply(&plain).await?;
    let victims =
        json!({"a1": {"Pods": [{"UID": "u"}], "NumPDBViolations": 0}, "ghost": {"Pods": [], "NumPDBViolations": 0}});
    for (name, kept) in [("p-1", 1), ("plain", 2)] {
        let pod = serde_json::to_value(c.get_pod(name).await?)?;
        let answer = c.extender("/v1/preempt", &json!({"Pod": pod, "NodeNameToMetaVictims": victims})).await?.json();
        let nodes = answer["NodeNameToMetaVictims"].as_object().map_or(0, serde_json::Map::len);
        ensure!(nodes == kept, "{name}: {answer}");
    }
    ensure!(c.see().await?.addresses.is_empty());
    c.settled().await
}

/// Row 20: nodes are known from their watch, so that no request waits for one, and changes of address and deletions count.
pub async fn row_20_a_node_that_changes_its_address_is_noticed(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 3), (0, 3)])).await?;
    let first = Workload::pod("first");
    c.apply(&first).await?;
    ensure!(c.ip(&first).await?.starts_with("10.64.1."));
    c.readdress("a1", "10.0.2.99").await?;
    c.poll("the node is in the other rack", || async {
        let pod = serde_json::to_value(c.get_pod("first").await?)?;
        let answer = c.extender("/v1/priority", &json!({"Pod": pod, "NodeNames": ["a1"]})).await?.json();
        let score = answer[0]["Score"].as_i64().or(answer[0]["score"].as_i64());
        Ok((score == Some(10)).then_some(()))
    })
    .await?;
    let second = Workload::pod("second");
    c.apply(&second).await?;
    ensure!(c.ip(&second).await?.starts_with("10.64.2."));
    ensure!(c.server()?.calls().count("get", "nodes", "galaxy-ipam") == 0);
    c.settled().await
}

/// Row 21: a node in several node subnets uses the pools of all of them.
pub async fn row_21_a_node_in_several_subnets_uses_them_all(lab: Lab) -> Result<()> {
    let pool = |number: u32, subnet: &str| {
        json!({
            "nodeSubnets": [subnet], "ips": [format!("10.64.{number}.10")], "subnet": format!("10.64.{number}.0/24"),
            "gateway": format!("10.64.{number}.1"),
        })
    };
    let all = json!([pool(1, "10.0.1.0/24"), pool(2, "10.0.1.0/24"), pool(3, "10.0.0.0/16"), pool(4, "10.0.1.11/32")]);
    let c = lab.cluster(Setup::one_rack(1, 0).pools(&all)).await?;
    let web = Workload::deployment("web").replicas(4);
    c.apply(&web).await?;
    ensure!(c.ips(&web).await? == (1..=4).map(|n| format!("10.64.{n}.10")).collect());
    c.settled().await
}

/// Row 32: a standby, or a replica without configuration, has both ports open, is healthy and says that it is not ready.
pub async fn row_32_a_standby_is_healthy_and_not_ready(lab: Lab) -> Result<()> {
    let setup =
        Setup::one_rack(1, 3).unconfigured().flag("--leader-elect=true").flag("--leader-elect-retry-period=100ms");
    let c = lab.cluster(setup).await?;
    for base in [c.backend().api_url(), c.backend().extender_url()] {
        let healthy = c.http().get(&format!("{base}/healthy")).await?;
        ensure!(healthy.status == 200 && healthy.body == "ok", "{healthy:?}");
        ensure!(c.http().get(&format!("{base}/readyz")).await?.status == 503);
    }
    c.configure(&pools(1)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.up(&pod).await?;
    ensure!(c.get("/readyz").await?.status == 200);
    ensure!(c.metric("galaxy_ipam_leader").await? == Some(1.0));
    c.settled().await
}

/// Row 62: bodies without a pod, or that are null, are answered.
pub async fn row_62_bodies_without_a_pod_are_answered(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    for path in ["/v1/filter", "/v1/priority", "/v1/bind", "/v1/preempt"] {
        for body in
            [json!(null), json!({}), json!({"Pod": null, "Nodes": null, "NodeNames": null, "NodeNameToVictims": null})]
        {
            let answer = c.extender(path, &body).await?;
            ensure!([200, 500].contains(&answer.status) && !answer.body.is_empty(), "{path} {body}: {answer:?}");
        }
    }
    c.settled().await
}
