//! The scheduler against an extender: what it asks, when it asks again, and what it tells the pod.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use galaxy_sandbox::{
    cluster::Options,
    nodes::NodeSpec,
    scheduler::{ExtenderConfig, SchedulerConfig},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use support::{
    create, eventually,
    extender::{Extender, offered, pass, refuse},
    floating_pod, node_of, pod, quick, start,
};

/// A pause long enough for a call that must not come; events take a few milliseconds.
const QUIET: Duration = Duration::from_millis(300);

fn with(extender: ExtenderConfig) -> Options {
    Options { extender: Some(extender), ..quick() }
}

async fn scheduled(client: &kube::Client, name: &str) -> String {
    eventually(&format!("{name} scheduled"), || async { pod(client, name).await.and_then(|pod| node_of(&pod)) }).await
}

/// Waits until the pod was refused and calls about it have ceased; how many there were.
async fn settled(extender: &Extender, name: &str) -> usize {
    eventually(&format!("{name} asleep"), || async {
        let before = extender.calls("filter", name).len();
        tokio::time::sleep(QUIET).await;
        (before > 0 && extender.calls("filter", name).len() == before).then_some(before)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_refused_through_the_maps_sleeps_until_something_concerns_it() {
    let extender = Extender::start().await;
    extender.answer(|verb, body| match (verb, body["Pod"]["metadata"]["name"].as_str()) {
        ("filter", Some("waits")) => refuse(body, "FloatingIPPlugin:NoFIPLeft no address is left", true),
        _ => pass(verb, body),
    });
    let (cluster, client) = start(with(extender.config())).await;
    create::<Pod>(&client, floating_pod("other")).await;
    scheduled(&client, "other").await;
    create::<Pod>(&client, floating_pod("waits")).await;
    // The first refusal writes the condition; that change of the pod's own brings the second, which says the same.
    assert_eq!(settled(&extender, "waits").await, 2);
    let refused = pod(&client, "waits").await.unwrap();
    let condition = support::condition(&refused, "PodScheduled").unwrap();
    assert_eq!(condition.reason.as_deref(), Some("Unschedulable"));
    assert_eq!(
        condition.message.as_deref(),
        Some(
            "0/6 nodes are available: 6 FloatingIPPlugin:NoFIPLeft no address is left. \
             preemption: 0/6 nodes are available: 6 Preemption is not helpful for scheduling."
        )
    );

    // A condition that somebody else writes wakes it within milliseconds.
    let start = Instant::now();
    let wake = json!({"status": {"conditions": [
        {"type": "galaxy.k8s.io/FloatingIP", "status": "False", "reason": "Wake", "lastProbeTime": "2026-01-01T00:00:00Z"}
    ]}});
    let pods: Api<Pod> = support::api(&client);
    pods.patch_status("waits", &PatchParams::default(), &Patch::Strategic(wake)).await.unwrap();
    eventually("a filter call after the condition", || async {
        (extender.calls("filter", "waits").len() == 3).then_some(())
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(settled(&extender, "waits").await, 3);

    // A pod that is deleted wakes it too, one that comes does not.
    create::<Pod>(&client, floating_pod("third")).await;
    scheduled(&client, "third").await;
    assert_eq!(settled(&extender, "waits").await, 3);
    pods.delete("other", &DeleteParams::default()).await.unwrap();
    eventually("a filter call after the deletion", || async {
        (extender.calls("filter", "waits").len() == 4).then_some(())
    })
    .await;

    // So does a node whose labels change; its heartbeats do not.
    assert_eq!(settled(&extender, "waits").await, 4);
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {"new": "label"}}}));
    nodes.patch("node-1", &PatchParams::default(), &label).await.unwrap();
    eventually("a filter call after the label", || async {
        (extender.calls("filter", "waits").len() == 5).then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_extender_is_retried_with_growing_pauses() {
    let extender = Extender::start().await;
    let left = Arc::new(AtomicUsize::new(3));
    extender.answer(move |verb, body| {
        let fails =
            verb == "filter" && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if fails { json!({"error": "not the leader"}) } else { pass(verb, body) }
    });
    let mut options = with(extender.config());
    options.scheduler.pod_initial_backoff = Duration::from_millis(100);
    options.scheduler.pod_max_backoff = Duration::from_millis(1000);
    let (cluster, client) = start(options).await;
    create::<Pod>(&client, floating_pod("a")).await;
    eventually("the error in the condition", || async {
        let pod = pod(&client, "a").await?;
        let condition = support::condition(&pod, "PodScheduled")?;
        let (reason, message) = (condition.reason.as_deref(), condition.message.as_deref());
        (reason == Some("SchedulerError") && message == Some("not the leader")).then_some(())
    })
    .await;
    scheduled(&client, "a").await;
    let calls = extender.timed("filter", "a");
    assert_eq!(calls.len(), 4);
    let pauses: Vec<_> = calls.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_millis()).collect();
    assert!(pauses[0] >= 100 && pauses[1] >= 200 && pauses[2] >= 400, "{pauses:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pods_that_want_the_resource_are_sent_and_in_the_configured_form() {
    let extender = Extender::start().await;
    let config = ExtenderConfig { node_cache_capable: true, ..extender.config() };
    let (cluster, client) = start(with(config)).await;
    create::<Pod>(&client, floating_pod("wants")).await;
    create::<Pod>(
        &client,
        json!({"metadata": {"name": "plain"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    )
    .await;
    scheduled(&client, "wants").await;
    scheduled(&client, "plain").await;
    assert!(extender.calls("filter", "plain").is_empty());
    let call = &extender.calls("filter", "wants")[0];
    assert!(call["Nodes"].is_null());
    let mut offered = offered(call);
    offered.sort();
    assert_eq!(offered, ["node-1", "node-2", "node-3", "node-4", "node-5", "node-6"]);
    assert_eq!(call["Pod"]["spec"]["schedulerName"], "default-scheduler");
    assert!(call["Pod"]["kind"].is_null() && call["Pod"]["status"]["phase"] == "Pending");
    assert_eq!(extender.calls("priority", "wants").len(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_the_extender_decide_and_bindings_go_on_side_by_side() {
    let extender = Extender::start().await;
    extender.answer(|verb, body| match verb {
        "priority" => {
            let points = offered(body)
                .into_iter()
                .map(|node| json!({"Host": node, "Score": if node == "node-4" { 10 } else { 0 }}));
            Value::Array(points.collect())
        }
        "bind" => json!({"Error": "assigning"}),
        _ => pass(verb, body),
    });
    let config = ExtenderConfig { weight: 10, bind_verb: "bind".into(), ..extender.config() };
    let mut options = with(config);
    options.scheduler.pod_initial_backoff = Duration::from_millis(200);
    let (cluster, client) = start(options).await;
    extender.delay(Duration::from_millis(100));
    for name in ["a", "b", "c", "d"] {
        create::<Pod>(&client, floating_pod(name)).await;
    }
    for name in ["a", "b", "c", "d"] {
        let bind = eventually("a bind call", || async { extender.calls("bind", name).first().cloned() }).await;
        let uid = support::uid(&pod(&client, name).await.unwrap());
        assert_eq!(bind, json!({"PodName": name, "PodNamespace": "default", "PodUID": uid, "Node": "node-4"}));
        // A failed binding is tried again after a pause, and the pod says why.
        eventually("another bind call", || async { (extender.calls("bind", name).len() > 1).then_some(()) }).await;
        let pod = pod(&client, name).await.unwrap();
        assert_eq!(support::condition(&pod, "PodScheduled").unwrap().message.as_deref(), Some("assigning"));
    }
    assert!(extender.most_open() > 1, "filter and bind calls never overlapped");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_cluster_is_offered_in_samples_that_move_on() {
    let extender = Extender::start().await;
    let config = ExtenderConfig { node_cache_capable: true, ..extender.config() };
    let mut options = with(config);
    options.nodes = NodeSpec::racks(250, 3);
    options.kubelets.heartbeat = None;
    options.controllers.node_monitor_grace = Duration::MAX;
    let (cluster, client) = start(options).await;
    for name in ["a", "b"] {
        create::<Pod>(&client, floating_pod(name)).await;
        scheduled(&client, name).await;
    }
    // 48 % of 250.
    let (a, b) = (offered(&extender.calls("filter", "a")[0]), offered(&extender.calls("filter", "b")[0]));
    assert_eq!((a.len(), b.len()), (120, 120));
    assert!(a.iter().all(|node| !b.contains(node)), "the second sample begins where the first ended");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_extender_its_pods_wait_and_go_on_when_it_is_told() {
    let extender = Extender::start().await;
    let (cluster, client) = start(quick()).await;
    create::<Pod>(&client, floating_pod("a")).await;
    eventually("a refusal", || async {
        let pod = pod(&client, "a").await?;
        let message = support::condition(&pod, "PodScheduled")?.message.clone()?;
        message.starts_with("0/6 nodes are available: 6 Insufficient tke.cloud.tencent.com/eni-ip.").then_some(())
    })
    .await;
    cluster.set_extender(Some(extender.config()));
    scheduled(&client, "a").await;
    assert_eq!(extender.calls("filter", "a").len(), 1);
    cluster.stop().await;
}

/// A node full of pods of low priority, and one of high priority that needs their room.
async fn full_node(extender: &Extender) -> (galaxy_sandbox::cluster::SandboxCluster, kube::Client) {
    let mut options = with(extender.config());
    options.nodes = vec![NodeSpec::new("n1", std::net::Ipv4Addr::new(10, 0, 0, 1))];
    let (cluster, client) = start(options).await;
    for (name, value) in [("low", 0), ("high", 1000)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        let classes: Api<k8s_openapi::api::scheduling::v1::PriorityClass> = Api::all(client.clone());
        classes.create(&Default::default(), &support::from(class)).await.unwrap();
    }
    for name in ["low-1", "low-2"] {
        create::<Pod>(&client, sized(name, "15", "low")).await;
        scheduled(&client, name).await;
    }
    (cluster, client)
}

fn sized(name: &str, cpu: &str, class: &str) -> Value {
    let mut pod = floating_pod(name);
    pod["spec"]["priorityClassName"] = class.into();
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu.into();
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_high_priority_takes_the_place_of_one_of_low_priority() {
    let extender = Extender::start().await;
    let (cluster, client) = full_node(&extender).await;
    create::<Pod>(&client, sized("high", "10", "high")).await;
    assert_eq!(scheduled(&client, "high").await, "n1");
    let calls = extender.calls("preempt", "high");
    assert_eq!(calls.len(), 1);
    let victims = calls[0]["NodeNameToVictims"]["n1"]["Pods"].as_array().unwrap();
    assert_eq!(victims.len(), 1, "one of the two is enough");
    assert!(calls[0]["NodeNameToMetaVictims"].is_null());
    let victim = victims[0]["metadata"]["name"].as_str().unwrap();
    eventually("the victim gone", || async { pod(&client, victim).await.is_none().then_some(()) }).await;
    let last = extender.calls("filter", "high").pop().unwrap();
    assert_eq!(last["Pod"]["status"]["nominatedNodeName"], "n1");
    assert!(
        last["Pod"]["status"]["conditions"][0]["message"]
            .as_str()
            .unwrap()
            .ends_with("preemption: found a potential placement for pod on node n1, preempting 1 victims")
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_can_forbid_preemption() {
    let extender = Extender::start().await;
    extender.answer(|verb, body| match verb {
        "preempt" => json!({"NodeNameToMetaVictims": {}}),
        _ => pass(verb, body),
    });
    let (cluster, client) = full_node(&extender).await;
    create::<Pod>(&client, sized("high", "10", "high")).await;
    eventually("the refusal", || async {
        let pod = pod(&client, "high").await?;
        let message = support::condition(&pod, "PodScheduled")?.message.clone()?;
        message.ends_with("preemption: no candidate node for preemption").then_some(())
    })
    .await;
    assert_eq!(support::pods(&client, "low-1").await.len() + support::pods(&client, "low-2").await.len(), 2);
    cluster.stop().await;
}

/// Rule 15: with `failedNodes` alone a pod of high priority spins; with the other map too it is calm.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_in_both_maps_are_calm_and_in_one_they_spin() {
    for (calm, range) in [(true, 1..=3), (false, 30..=100_000)] {
        let extender = Extender::start().await;
        extender.answer(move |verb, body| match (verb, body["Pod"]["metadata"]["name"].as_str()) {
            ("filter", Some("high")) => refuse(body, "FloatingIPPlugin:NoFIPLeft", calm),
            _ => pass(verb, body),
        });
        let mut options = with(extender.config());
        options.nodes = NodeSpec::racks(24, 3);
        let (cluster, client) = start(options).await;
        let classes: Api<k8s_openapi::api::scheduling::v1::PriorityClass> = Api::all(client.clone());
        let class = support::from(json!({"metadata": {"name": "high"}, "value": 1000}));
        classes.create(&Default::default(), &class).await.unwrap();
        for n in 0..24 {
            create::<Pod>(&client, floating_pod(&format!("low-{n}"))).await;
        }
        for n in 0..24 {
            scheduled(&client, &format!("low-{n}")).await;
        }
        create::<Pod>(&client, sized("high", "1", "high")).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let calls = extender.calls("filter", "high").len();
        assert!(range.contains(&calls), "{calls} filter calls, calm: {calm}");
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_avoid_each_other_are_kept_apart() {
    let options = Options { scheduler: SchedulerConfig { seed: Some(1), ..SchedulerConfig::default() }, ..quick() };
    let (cluster, client) = start(options).await;
    let mut nodes = Vec::new();
    for n in 0..6 {
        let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "solo"}}});
        let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        let pod = json!({
            "metadata": {"name": format!("solo-{n}"), "labels": {"app": "solo"}},
            "spec": {"affinity": affinity, "containers": [{"name": "c", "image": "i"}]},
        });
        create::<Pod>(&client, pod.clone()).await;
        if n < 6 {
            nodes.push(scheduled(&client, &format!("solo-{n}")).await);
        }
    }
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 6);
    cluster.stop().await;
}
