//! The scheduler extender as kube-scheduler calls it.

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::{Cluster, Lab, Setup, Workload};

async fn filter_body(c: &Cluster, pod: &str) -> Result<Value> {
    let pod = serde_json::to_value(c.get_pod(pod).await?)?;
    Ok(json!({"Pod": pod, "Nodes": {"metadata": {}, "items": c.node_items().await?}, "NodeNames": null}))
}

fn names(answer: &Value) -> Vec<&str> {
    let items = answer["nodes"]["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|node| node["metadata"]["name"].as_str()).collect()
}

/// Filter and preempt write nothing, however often they are called; they answer in the form asked.
pub async fn filter_and_preempt_write_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 2), (1, 0)])).await?;
    c.set_pool("blue", 2, false).await?;
    // No node has so much, so the scheduler itself never asks for these pods.
    let resource = galaxy_api::names::RESOURCE;
    let greedy = json!({"requests": {"cpu": "500", resource: "1"}, "limits": {resource: "1"}});
    let web = Workload::deployment("web").replicas(2).pool("blue").resources(&greedy);
    c.apply(&web).await?;
    let pods = c
        .wait("two pods are there", |seen| {
            Some(seen.of(&web))
                .filter(|pods| pods.len() == 2)
                .map(|pods| pods.into_iter().map(|pod| pod.name.clone()).collect::<Vec<_>>())
        })
        .await?;
    for _ in 0..3 {
        for pod in &pods {
            let body = filter_body(&c, pod).await?;
            let answer = c.extender("/v1/filter", &body).await?.json();
            ensure!(names(&answer) == ["a1"], "{answer}");
            let why = answer["failedNodes"]["b1"].as_str().unwrap_or_default();
            ensure!(why.starts_with("FloatingIPPlugin:NoFIPLeft"), "{answer}");
            ensure!(answer["failedAndUnresolvableNodes"]["b1"] == why, "{answer}");
            let body = json!({"Pod": body["Pod"], "NodeNames": ["a1", "b1"]});
            let answer = c.extender("/v1/filter", &body).await?.json();
            ensure!(answer["nodenames"] == json!(["a1"]) || answer["NodeNames"] == json!(["a1"]), "{answer}");
            let victims = json!({"a1": {"Pods": [{"UID": "u"}], "NumPDBViolations": 1}, "b1": {"Pods": [{"UID": "v"}], "NumPDBViolations": 0}});
            let body = json!({"Pod": body["Pod"], "NodeNameToMetaVictims": victims});
            let answer = c.extender("/v1/preempt", &body).await?.json();
            let kept = json!({"a1": {"Pods": [{"UID": "u"}], "NumPDBViolations": 1}});
            ensure!(answer["NodeNameToMetaVictims"] == kept, "{answer}");
        }
    }
    ensure!(c.see().await?.addresses.is_empty());
    c.settled().await
}

/// A pod that does not want the resource: every node passes.
pub async fn a_pod_that_wants_nothing_passes_everywhere(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 0), (1, 0)])).await?;
    let pod = Workload::pod("p").plain();
    c.apply(&pod).await?;
    let answer = c.extender("/v1/filter", &filter_body(&c, "p").await?).await?.json();
    ensure!(names(&answer) == ["a1", "b1"], "{answer}");
    ensure!(answer.get("failedNodes").is_none() && answer.get("error").is_none(), "{answer}");
    c.settled().await
}

/// Nodes are told apart: unknown ones, such as no node subnet has, and such without an address left.
pub async fn refused_nodes_say_why(lab: Lab) -> Result<()> {
    let mut setup = Setup::racks(&[(1, 0), (1, 2)]);
    setup.nodes.push(crate::setup::NodeSetup { name: "x1".into(), address: "10.9.9.9".into() });
    let c = lab.cluster(setup).await?;
    let pod = Workload::pod("p").on_node("nowhere");
    c.apply(&pod).await?;
    let pod = serde_json::to_value(c.get_pod("p").await?)?;
    let body = json!({"pod": pod, "nodenames": ["a1", "b1", "x1", "ghost"], "nodes": null});
    let answer = c.extender("/v1/filter", &body).await?.json();
    let failed = &answer["failedNodes"];
    for (node, word) in [
        ("a1", "FloatingIPPlugin:NoFIPLeft"),
        ("x1", "FloatingIPPlugin:NoFIPConfigNode"),
        ("ghost", "FloatingIPPlugin:UnknowNode"),
    ] {
        ensure!(failed[node].as_str().is_some_and(|text| text.starts_with(word)), "{node}: {answer}");
    }
    ensure!(failed.get("b1").is_none(), "{answer}");
    c.settled().await
}

/// Prioritize prefers the rack with more addresses left, so that load evens out.
pub async fn load_evens_out_between_racks(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(2, 10), (2, 10)])).await?;
    let first =
        Workload::deployment("first").replicas(6).pod_spec("nodeSelector", &json!({"kubernetes.io/hostname": "a1"}));
    c.apply(&first).await?;
    c.up(&first).await?;
    let probe = Workload::pod("probe").on_node("nowhere");
    c.apply(&probe).await?;
    let answer = c.extender("/v1/priority", &filter_body(&c, "probe").await?).await?.json();
    let score = |node: &str| {
        let all = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        let entry = all.iter().find(|entry| entry["Host"] == node || entry["host"] == node);
        entry.and_then(|entry| entry["Score"].as_i64().or(entry["score"].as_i64()))
    };
    ensure!(score("a1") == Some(4) && score("b1") == Some(10), "{answer}");
    c.settled().await
}

/// Bind is idempotent by uid and node, and fails for who is not there.
pub async fn bind_is_idempotent(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 5)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let pod = c.up(&pod).await?.remove(0);
    let body = |uid: &str, node: &str| json!({"PodName": "p", "PodNamespace": "default", "PodUID": uid, "Node": node});
    let again = c.extender("/v1/bind", &body(&pod.uid, &pod.node)).await?;
    ensure!(again.status == 200 && again.json() == json!({"Error": ""}), "{again:?}");
    let other = if pod.node == "a1" { "a2" } else { "a1" };
    for (uid, node) in [(&*pod.uid, other), ("00000000-0000-0000-0000-000000000000", &*pod.node)] {
        let refused = c.extender("/v1/bind", &body(uid, node)).await?.json();
        ensure!(refused["Error"].as_str().is_some_and(|text| !text.is_empty()), "{uid} on {node}: {refused}");
    }
    let seen = c.see().await?;
    ensure!(seen.addresses.len() == 1 && seen.pod("p").is_some_and(|now| now.args == pod.args), "{seen}");
    c.settled().await
}

/// A scheduler that sends names only works as well.
pub async fn a_scheduler_that_sends_names_only(lab: Lab) -> Result<()> {
    let mut setup = Setup::racks(&[(2, 3), (2, 3)]);
    setup.names_only = true;
    let c = lab.cluster(setup).await?;
    let mut web = Workload::deployment("web").replicas(4).immutable();
    c.apply(&web).await?;
    let ips = c.ips(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    ensure!(c.ips(&web).await?.iter().filter(|ip| ips.contains(*ip)).count() >= 3);
    c.settled().await
}

/// Routing errors as the original gave them.
pub async fn requests_that_make_no_sense(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let url = |path: &str| format!("{}{path}", c.backend().extender_url());
    ensure!(c.http().get(&url("/v1/filter")).await?.status == 405);
    ensure!(c.http().get(&url("/v1/nothing")).await?.status == 404);
    ensure!(c.http().send(Method::POST, &url("/v1/filter"), None, "{}").await?.status == 415);
    let answer = c.http().send(Method::POST, &url("/v1/filter"), Some("application/json"), "{").await?;
    ensure!(answer.status == 500 && !answer.body.is_empty(), "{answer:?}");
    c.settled().await
}
