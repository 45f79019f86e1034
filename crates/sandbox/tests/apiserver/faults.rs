//! Injected faults do what they say, to whom they say.

use std::time::{Duration, Instant};

use futures::StreamExt;
use galaxy_sandbox::apiserver::{Action, EventAction, Gate, Rule, Status};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;

use super::{from, soon, start, status};

fn map(name: &str) -> ConfigMap {
    from(json!({"metadata": {"name": name}}))
}

#[tokio::test]
async fn errors_hit_whom_they_name() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let others: Api<ConfigMap> = Api::default_namespaced(server.client("somebody-else"));
    let rule = Rule::new(Action::error(500, "InternalError"))
        .verb("create")
        .resource("configmaps")
        .name("a")
        .agent("test")
        .skip(1)
        .times(2);
    let handle = server.faults().add(rule);
    let post = PostParams::default();
    others.create(&post, &map("a")).await.unwrap();
    maps.create(&post, &map("b")).await.unwrap();
    assert_eq!(status(maps.create(&post, &map("a")).await).0, 409, "the first is left alone");
    assert_eq!(status(maps.create(&post, &map("a")).await).0, 500);
    assert_eq!(status(maps.create(&post, &map("a")).await).0, 500);
    assert_eq!(status(maps.create(&post, &map("a")).await).0, 409);
    assert_eq!(handle.hits(), 2);
    let handle = server.faults().add(
        Rule::new(Action::conflict())
            .when(|call, body| call.verb == "create" && body.is_some_and(|b| b["data"]["x"] == "y")),
    );
    assert_eq!(
        status(maps.create(&post, &from(json!({"metadata": {"name": "c"}, "data": {"x": "y"}}))).await).1,
        "Conflict"
    );
    handle.remove();
    maps.create(&post, &map("c")).await.unwrap();
    assert_eq!(server.calls().count("create", "configmaps", "test"), 7);
    assert_eq!(server.calls().count("create", "configmaps", "somebody"), 1);
    let codes: Vec<u16> = server.calls().since(0).iter().map(|a| a.code).collect();
    assert_eq!(codes, [201, 201, 409, 500, 500, 409, 409, 201]);
}

#[tokio::test]
async fn an_answer_is_lost_after_the_write_or_the_request_before_it() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let post = PostParams::default();
    for (action, written) in [
        (Action::DropAfter, true),
        (Action::Drop, false),
        (Action::ErrorAfter(Status::new(503, "ServiceUnavailable", "gone")), true),
    ] {
        let mut config = server.config("test");
        config.default_retry = false;
        let maps_once: Api<ConfigMap> = Api::default_namespaced(kube::Client::try_from(config).unwrap());
        let name = format!("m{}", server.revision());
        server.faults().add(Rule::new(action.clone()).verb("create").times(1));
        assert!(soon(maps_once.create(&post, &map(&name))).await.is_err(), "{action:?}");
        assert_eq!(maps.get_opt(&name).await.unwrap().is_some(), written, "{action:?}");
    }
}

#[tokio::test]
async fn a_gate_forces_an_interleaving() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let (before, after) = (Gate::new(), Gate::new());
    server.faults().add(Rule::new(Action::Hold(before.clone())).verb("create").name("before"));
    server.faults().add(Rule::new(Action::HoldAfter(after.clone())).verb("create").name("after"));
    let spawn = |name: &'static str| {
        let maps = maps.clone();
        tokio::spawn(async move { maps.create(&PostParams::default(), &map(name)).await })
    };
    let (first, second) = (spawn("before"), spawn("after"));
    soon(before.arrived(1)).await;
    soon(after.arrived(1)).await;
    assert!(maps.get_opt("before").await.unwrap().is_none());
    assert!(maps.get_opt("after").await.unwrap().is_some());
    // The client hangs up; its request still lands when it is let go.
    first.abort();
    before.release(1);
    super::eventually("the abandoned write lands", || async { maps.get_opt("before").await.unwrap().is_some() }).await;
    assert!(!second.is_finished());
    after.open();
    soon(second).await.unwrap().unwrap();
}

#[tokio::test]
async fn delays_delay() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    server.faults().add(Rule::new(Action::Delay(Duration::from_millis(80))).verb("list").times(1));
    let begin = Instant::now();
    maps.list(&ListParams::default()).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn watch_events_are_dropped_doubled_held_and_cut() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let gate = Gate::new();
    let on = |name: &str, action| {
        server.faults().add(Rule::new(Action::Event(action)).verb("watch").resource("configmaps").name(name));
    };
    on("dropped", EventAction::Drop);
    on("doubled", EventAction::Duplicate);
    on("held", EventAction::Hold(gate.clone()));
    on("last", EventAction::Expire);
    let mut watch = Box::pin(maps.watch(&WatchParams::default(), "0").await.unwrap());
    for name in ["dropped", "doubled", "held", "last"] {
        maps.create(&PostParams::default(), &map(name)).await.unwrap();
    }
    for _ in 0..2 {
        let event = soon(watch.next()).await.unwrap().unwrap();
        assert!(matches!(&event, WatchEvent::Added(o) if o.name_any() == "doubled"), "{event:?}");
    }
    soon(gate.arrived(1)).await;
    gate.release(1);
    let event = soon(watch.next()).await.unwrap().unwrap();
    assert!(matches!(&event, WatchEvent::Added(o) if o.name_any() == "held"), "{event:?}");
    let event = soon(watch.next()).await.unwrap().unwrap();
    assert!(matches!(&event, WatchEvent::Error(e) if e.code == 410), "{event:?}");
    assert!(soon(watch.next()).await.is_none());
    assert_eq!(maps.list(&ListParams::default()).await.unwrap().items.len(), 4, "a list sees all");
}

#[tokio::test]
async fn chance_is_repeatable() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let (server, client) = start().await;
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        server.faults().seed(seed);
        server.faults().add(Rule::new(Action::error(500, "InternalError")).verb("list").probability(0.5));
        let mut run = String::new();
        for _ in 0..40 {
            run.push(if maps.list(&ListParams::default()).await.is_ok() { '.' } else { 'x' });
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!(runs[0].contains('x') && runs[0].contains('.'));
}
