//! A cluster whose time the test moves by hand, at the times that real clusters have.

mod support;

use std::time::Duration;

use galaxy_sandbox::{clock::Clock, cluster::Options, controllers::ControllersConfig, nodes::NodesConfig};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::ListParams;
use serde_json::json;
use support::{
    api, create, eventually, extender::Extender, floating_pod, is_ready, node, node_of, pod, pods, quick, start,
};

/// Long enough for what the clock does not allow yet to happen if it were wrong.
const QUIET: Duration = Duration::from_millis(300);

fn by_hand(clock: &Clock) -> Options {
    Options {
        clock: clock.clone(),
        controllers: ControllersConfig::default(),
        kubelets: NodesConfig { start_delay: Duration::ZERO, stop_delay: Duration::ZERO, ..NodesConfig::default() },
        ..quick()
    }
}

async fn ready(client: &kube::Client, name: &str) -> String {
    let conditions = node(client, name).await.status.unwrap().conditions.unwrap();
    conditions.into_iter().find(|it| it.type_ == "Ready").unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_noticed_after_40_seconds_and_its_pods_go_300_later() {
    let clock = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
    let (cluster, client) = start(by_hand(&clock)).await;
    let template = support::template("web", "v1", json!({}));
    let spec = json!({"replicas": 6, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    create::<Deployment>(&client, json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let there = eventually("six pods", || async {
        let pods = pods(&client, "web").await;
        (pods.len() == 6 && pods.iter().all(is_ready)).then_some(pods)
    })
    .await;
    let home = node_of(&there[0]).unwrap();
    cluster.nodes.power_off(&home);
    clock.advance(Duration::from_secs(30));
    tokio::time::sleep(QUIET).await;
    assert_eq!(ready(&client, &home).await, "True");
    // One jump past the grace period; the monitor's next look is due at a multiple of 5 seconds.
    clock.advance(Duration::from_secs(20));
    eventually("the node unknown", || async { (ready(&client, &home).await == "Unknown").then_some(()) }).await;
    for other in (1..=6).map(|n| format!("node-{n}")).filter(|name| *name != home) {
        assert_eq!(ready(&client, &other).await, "True", "{other}");
    }
    eventually("its pod not ready", || async {
        let pod = pod(&client, &support::name(&there[0])).await?;
        (!is_ready(&pod)).then_some(())
    })
    .await;
    clock.advance(Duration::from_secs(295));
    tokio::time::sleep(QUIET).await;
    let doomed = pod(&client, &support::name(&there[0])).await.unwrap();
    assert_eq!(doomed.metadata.deletion_timestamp, None);
    clock.advance(Duration::from_secs(6));
    eventually("its pod deleted", || async {
        pod(&client, &support::name(&there[0])).await?.metadata.deletion_timestamp
    })
    .await;
    eventually("six pods elsewhere", || async {
        let pods = pods(&client, "web").await;
        let elsewhere = pods.iter().filter(|pod| is_ready(pod) && node_of(pod).as_ref() != Some(&home)).count();
        (elsewhere == 6).then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_retried_after_1_2_4_8_10_seconds() {
    let extender = Extender::start().await;
    extender.answer(|_, _| json!({"error": "starting"}));
    let clock = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
    let (cluster, client) = start(Options { extender: Some(extender.config()), ..by_hand(&clock) }).await;
    create::<Pod>(&client, floating_pod("a")).await;
    for (calls, pause) in (1..).zip([1, 2, 4, 8, 10, 10]) {
        let called = || async { (extender.calls("filter", "a").len() == calls).then_some(()) };
        eventually(&format!("call {calls}"), called).await;
        // The condition tells that the cycle is over, so that the pause has begun.
        eventually("the event", || async {
            let events = api::<k8s_openapi::api::core::v1::Event>(&client).list(&ListParams::default()).await.ok()?;
            let count = events.items.iter().find(|it| it.reason.as_deref() == Some("FailedScheduling"))?.count?;
            (usize::try_from(count) == Ok(calls)).then_some(())
        })
        .await;
        clock.advance(Duration::from_millis(pause * 1000 - 1));
        tokio::time::sleep(QUIET / 3).await;
        assert_eq!(extender.calls("filter", "a").len(), calls, "not before {pause} s");
        clock.advance(Duration::from_millis(1));
    }
    cluster.stop().await;
}
