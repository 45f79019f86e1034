//! Binds: what is written, what is asked, and how little.

use std::sync::Arc;

use galaxy_ipam::cloud::{
    GrpcProvider,
    fake::{FakeProvider, Mood},
};
use galaxy_sandbox::apiserver::{Action, Gate, Rule};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Event, Pod},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::site::{Site, eventually, object, owner, template};

#[tokio::test]
async fn a_fresh_pod_takes_two_writes_and_its_release_one_and_nothing_is_read() {
    let site = Site::new().await;
    let pod = site.pod("web", json!({}), None).await;
    let mark = site.kubernetes.calls().mark();
    let ips = site.place(&pod, "n2").await;
    assert_eq!(ips, ["10.100.2.2"]);
    assert_eq!(site.calls_since(mark), ["create floatingips", "create pods/binding"]);
    let args = site.args(&pod).await;
    assert_eq!(args, json!({"common": {"ipinfos": [{"ip": "10.100.2.2/24", "vlan": 2, "gateway": "10.100.2.1"}]}}));
    let fip = site.fips().get("10.100.2.2").await.unwrap();
    assert_eq!(fip.spec.key, "NULL_default_NULL_web");
    assert_eq!(fip.spec.node.as_deref(), Some("n2"));
    assert_eq!(fip.spec.address.unwrap().to_string(), "10.100.2.2/24");

    // The same bind once more is answered from memory.
    assert_eq!(site.bind(&pod, "n2").await, "");
    assert!(site.bind(&pod, "n1").await.contains("n2"), "another node is refused");
    assert_eq!(site.calls_since(mark).len(), 2);

    let mark = site.kubernetes.calls().mark();
    site.delete_pod(&pod).await;
    eventually(vec![], async || site.states().await).await;
    assert_eq!(site.calls_since(mark), ["delete floatingips"]);
}

#[tokio::test]
async fn three_range_lists_and_a_stranger_in_the_annotation() {
    let site = Site::new().await;
    let args = r#"{"request_ip_range":[["10.100.1.3"],["10.100.1.2~10.100.1.3"]],"common":{"mtu":1400},"mine":[1]}"#;
    let pod = site.pod("web", json!({"k8s.v1.cni.galaxy.io/args": args}), None).await;
    assert_eq!(site.filter(&pod, &["n1", "n2"]).await, ["n1"], "the ranges are in rack 1");
    assert_eq!(site.place(&pod, "n1").await, ["10.100.1.3", "10.100.1.2"]);
    let args = site.args(&pod).await;
    assert_eq!(args["request_ip_range"], json!([["10.100.1.3"], ["10.100.1.2~10.100.1.3"]]));
    assert_eq!((&args["common"]["mtu"], &args["mine"]), (&json!(1400), &json!([1])));
}

#[tokio::test]
async fn an_immutable_stateful_set_pod_comes_back_to_its_address_with_two_writes() {
    let site = Site::new().await;
    let set: StatefulSet = site
        .create(json!({"metadata": {"name": "cart"}, "spec": {"replicas": 1, "serviceName": "cart",
            "selector": {"matchLabels": {"a": "b"}}, "template": template()}}))
        .await;
    let owner = || Some(owner("apps/v1", "StatefulSet", "cart", set.metadata.uid.as_deref().unwrap()));
    let immutable = json!({"k8s.v1.cni.galaxy.io/release-policy": "immutable"});
    let pod = site.pod("cart-0", immutable.clone(), owner()).await;
    let ips = site.place(&pod, "n2").await;

    // What people put on the object stays on it.
    let labels = Patch::Merge(json!({"metadata": {"labels": {"team": "shop"}}}));
    site.fips().patch(&ips[0], &PatchParams::default(), &labels).await.unwrap();
    site.delete_pod(&pod).await;
    let reserved = vec![(ips[0].clone(), "Reserved".to_owned(), "cart-0".to_owned())];
    eventually(reserved, async || site.states().await).await;

    let mark = site.kubernetes.calls().mark();
    let pod = site.pod("cart-0", immutable, owner()).await;
    assert_eq!(site.filter(&pod, &["n1", "n2"]).await, ["n2"], "only there it can be routed");
    assert_eq!(site.place(&pod, "n2").await, ips);
    assert_eq!(site.calls_since(mark), ["update floatingips", "create pods/binding"]);
    let fip = site.fips().get(&ips[0]).await.unwrap();
    assert_eq!(fip.metadata.labels.unwrap()["team"], "shop");
    assert_eq!(fip.spec.pod.unwrap().uid, pod.metadata.uid.unwrap());
}

#[tokio::test]
async fn a_pod_that_the_caches_do_not_know_yet_is_looked_up_once() {
    let site = Site::new().await;
    site.kubernetes.hold_cache(Some("pods"));
    let pod = site.pod("web", json!({}), None).await;
    let mark = site.kubernetes.calls().mark();
    assert_eq!(site.bind(&pod, "n1").await, "");
    assert_eq!(site.calls_since(mark), ["get pods", "create floatingips", "create pods/binding"]);

    let ghost: Pod = object(json!({"metadata": {"name": "ghost", "namespace": "default", "uid": "nobody"}}));
    assert_eq!(site.bind(&ghost, "n1").await, "pod default/ghost with uid nobody does not exist");
    let stale: Pod = object(json!({"metadata": {"name": "web", "namespace": "default", "uid": "another"}}));
    assert!(site.bind(&stale, "n1").await.contains("another does not exist"));
}

#[tokio::test]
async fn a_pod_that_wants_no_address_is_bound_without_one() {
    let site = Site::new().await;
    let pod = json!({"metadata": {"name": "plain"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let pod: Pod = site.create(pod).await;
    assert_eq!(site.filter(&pod, &["n1", "n2"]).await, ["n1", "n2"]);
    assert_eq!(site.bind(&pod, "n1").await, "");
    assert_eq!(site.addresses(&pod).await, Vec::<String>::new());
    assert_eq!(site.states().await, vec![]);
}

#[tokio::test]
async fn a_scheduler_that_hangs_up_does_not_stop_the_bind() {
    let site = Site::new().await;
    let pod = site.pod("web", json!({}), None).await;
    let gate = Gate::new();
    site.kubernetes.faults().add(Rule::new(Action::Hold(gate.clone())).verb("create").resource("floatingips"));
    assert_eq!(site.filter(&pod, &["n1"]).await, ["n1"]);
    tokio::select! {
        error = site.bind(&pod, "n1") => panic!("bound through a closed gate: {error}"),
        () = gate.arrived(1) => {}
    }
    gate.open();
    eventually(vec!["10.100.1.2".to_owned()], async || site.addresses(&pod).await).await;
}

#[tokio::test]
async fn who_is_refused_waits_with_a_condition_and_is_woken_when_an_address_is_free() {
    let site = Site::new().await;
    let first = site.pod("first", json!({}), None).await;
    let second = site.pod("second", json!({}), None).await;
    site.place(&first, "n1").await;
    site.place(&second, "n1").await;
    let third = site.pod("third", json!({}), None).await;
    let answer = site.post("/v1/filter", &json!({"Pod": third, "NodeNames": ["n1"]})).await;
    let text = answer["failedNodes"]["n1"].as_str().unwrap();
    assert!(text.starts_with("FloatingIPPlugin:NoFIPLeft"), "{text}");
    assert_eq!(answer["failedAndUnresolvableNodes"]["n1"], text);

    let condition = async || {
        let pod = site.pods().get("third").await.unwrap();
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        let ours = conditions.into_iter().find(|condition| condition.type_ == "galaxy.k8s.io/FloatingIP");
        ours.map(|condition| (condition.status, condition.reason.unwrap_or_default(), condition.last_probe_time))
    };
    let refused = Some(("False".to_owned(), "NoAddress".to_owned()));
    eventually(refused, async || condition().await.map(|(status, reason, _)| (status, reason))).await;
    let before = condition().await.unwrap().2;
    site.delete_pod(&first).await;
    eventually(true, async || condition().await.unwrap().2 != before).await;
    site.place(&third, "n1").await;
    eventually(Some("True".to_owned()), async || condition().await.map(|(status, _, _)| status)).await;
}

#[tokio::test]
async fn what_cannot_be_decided_is_told_by_an_event_and_by_readyz() {
    let kubernetes = Site::cluster(None).await;
    let site = Site::serve(kubernetes, &[], None).await;
    let readyz = async || site.send(hyper::Method::GET, "/readyz", "text/plain", "").await;
    eventually(true, async || readyz().await.1.contains("ConfigMap kube-system/floatingip-config")).await;
    let pod = site.pod("web", json!({}), None).await;
    let answer = site.post("/v1/filter", &json!({"Pod": pod, "NodeNames": ["n1"]})).await;
    assert!(answer["error"].as_str().unwrap().contains("configuration"), "{answer}");

    site.configure(
        r#"[{"nodeSubnets":["10.0.1.0/24"],"ips":["10.9.9.9"],"subnet":"10.100.1.0/24","gateway":"10.100.1.1"}]"#,
    )
    .await;
    let events: Api<Event> = Api::namespaced(site.client.clone(), "kube-system");
    let told = async || {
        let events = events.list(&Default::default()).await.unwrap();
        events.items.iter().any(|event| event.message.as_deref().is_some_and(|message| message.contains("10.9.9.9")))
    };
    eventually(true, told).await;
    assert!(readyz().await.1.contains("10.9.9.9"));
    site.configure(crate::site::POOLS).await;
    eventually("ok: leader".to_owned(), async || readyz().await.1).await;
    assert_eq!(site.place(&pod, "n1").await, ["10.100.1.2"]);
}

#[tokio::test]
async fn an_address_is_assigned_before_the_binding_and_unassigned_before_it_is_free() {
    let provider = FakeProvider::start().await.unwrap();
    let kubernetes = Site::cluster(Some(crate::site::POOLS)).await;
    let cloud = GrpcProvider::new(&provider.address(), Default::default()).unwrap();
    let site = Site::serve(kubernetes, &[], Some(Arc::new(cloud))).await;
    site.service.ready(crate::site::PATIENCE).await.unwrap();
    let pod = site.pod("web", json!({}), None).await;
    provider.on_assign(Mood::Stall);
    assert_eq!(site.filter(&pod, &["n1"]).await, ["n1"]);
    let error = site.bind(&pod, "n1").await;
    assert!(error.contains("assigning"), "{error}");
    assert_eq!(site.addresses(&pod).await, Vec::<String>::new(), "not before it is assigned");
    assert_eq!(site.filter(&pod, &["n1", "n2"]).await, ["n1"], "until then only this node");
    provider.on_assign(Mood::Obey);
    eventually(vec!["10.100.1.2".to_owned()], async || site.addresses(&pod).await).await;
    assert_eq!(site.bind(&pod, "n1").await, "");

    provider.on_unassign(Mood::Refuse("not now".into()));
    site.delete_pod(&pod).await;
    provider.arrived(2).await;
    assert_eq!(site.states().await.len(), 1, "not free while it is assigned");
    provider.on_unassign(Mood::Obey);
    eventually(vec![], async || site.states().await).await;
    assert!(provider.routes().is_empty());
}

#[tokio::test]
async fn schedulers_that_ignore_the_status_are_woken_by_an_annotation() {
    let kubernetes = Site::cluster(Some(crate::site::POOLS)).await;
    let site = Site::serve(kubernetes, &["--wake=annotation"], None).await;
    site.service.ready(crate::site::PATIENCE).await.unwrap();
    let mut placed = Vec::new();
    for name in ["first", "second"] {
        let pod = site.pod(name, json!({}), None).await;
        site.place(&pod, "n1").await;
        placed.push(pod);
    }
    let third = site.pod("third", json!({}), None).await;
    assert_eq!(site.filter(&third, &["n1"]).await, Vec::<String>::new());
    site.delete_pod(&placed[0]).await;
    let woken = async || {
        let annotations = site.pods().get("third").await.unwrap().metadata.annotations.unwrap_or_default();
        annotations.contains_key("galaxy.k8s.io/wake")
    };
    eventually(true, woken).await;
}
