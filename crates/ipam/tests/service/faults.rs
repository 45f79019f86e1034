//! Answers that are lost, writes that collide, watches that break.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use galaxy_sandbox::apiserver::{Action, Rule};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::site::{AGENT, PATIENCE, Site, eventually, object};

#[tokio::test]
async fn a_binding_whose_answer_is_lost_is_read_back() {
    for action in [Action::DropAfter, Action::error(500, "InternalError")] {
        let done = matches!(action, Action::DropAfter);
        let site = Site::new().await;
        site.kubernetes.faults().add(Rule::new(action).verb("create").subresource("binding").times(1));
        let pod = site.pod("web", json!({}), None).await;
        assert_eq!(site.filter(&pod, &["n1"]).await, ["n1"]);
        let error = site.bind(&pod, "n1").await;
        if done {
            assert_eq!(error, "");
        } else {
            // It may still land: the address stays with the pod, and the next attempt uses it.
            assert!(error.contains("no definite answer"), "{error}");
            assert_eq!(site.bind(&pod, "n1").await, "");
        }
        assert_eq!(site.addresses(&pod).await, ["10.100.1.2"]);
        assert_eq!(site.states().await.len(), 1);
    }
}

#[tokio::test]
async fn a_binding_refused_for_good_leaves_the_claim_to_the_pod() {
    let site = Site::new().await;
    site.kubernetes.faults().add(Rule::new(Action::error(403, "Forbidden")).subresource("binding").times(1));
    let pod = site.pod("web", json!({}), None).await;
    assert_eq!(site.filter(&pod, &["n1"]).await, ["n1"]);
    let error = site.bind(&pod, "n1").await;
    assert!(error.contains("default/web") && error.contains("403"), "{error}");
    assert_eq!(site.place(&pod, "n1").await, ["10.100.1.2"]);
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_read_back() {
    for action in [Action::DropAfter, Action::Drop, Action::error(503, "ServiceUnavailable")] {
        let site = Site::new().await;
        site.kubernetes.faults().add(Rule::new(action.clone()).verb("create").resource("floatingips").times(1));
        let pod = site.pod("web", json!({}), None).await;
        let ips = site.place(&pod, "n1").await;
        let states = site.states().await;
        assert_eq!(states, [(ips[0].clone(), "Bound".to_owned(), "web".to_owned())], "{action:?}");
    }
}

#[tokio::test]
async fn an_address_that_somebody_else_took_meanwhile_is_left_to_him() {
    let site = Site::new().await;
    site.kubernetes.hold_cache(Some("floatingips.galaxy.k8s.io"));
    let theirs = json!({"apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP",
        "metadata": {"name": "10.100.1.2", "labels": {"reserved": "yes"}}, "spec": {"key": "pool__mine_", "policy": 2}});
    site.fips().create(&PostParams::default(), &object(theirs)).await.unwrap();
    let pod = site.pod("web", json!({}), None).await;
    assert_eq!(site.place(&pod, "n1").await, ["10.100.1.3"]);
    let fip = site.fips().get("10.100.1.2").await.unwrap();
    assert_eq!(fip.spec.key, "pool__mine_", "untouched");
}

#[tokio::test]
async fn a_pod_deleted_while_the_watch_was_down_is_found_out_by_the_next_list() {
    let site = Site::new().await;
    let pod = site.pod("web", json!({}), None).await;
    site.place(&pod, "n1").await;
    // The watch sees nothing more, then ends, and its place in the history is forgotten.
    site.kubernetes.hold_cache(Some("pods"));
    site.delete_pod(&pod).await;
    site.kubernetes.compact();
    site.kubernetes.close_watches();
    site.kubernetes.release_cache(Some("pods"));
    eventually(vec![], async || site.states().await).await;
}

#[tokio::test]
async fn an_object_deleted_by_hand_is_made_again_for_its_pod() {
    let site = Site::new().await;
    let pod = site.pod("web", json!({}), None).await;
    let ips = site.place(&pod, "n1").await;
    let uid = site.fips().get(&ips[0]).await.unwrap().metadata.uid;
    site.fips().delete(&ips[0], &DeleteParams::default()).await.unwrap();
    eventually(true, async || site.fips().get_opt(&ips[0]).await.unwrap().is_some_and(|fip| fip.metadata.uid != uid))
        .await;
    assert_eq!(site.states().await, [(ips[0].clone(), "Bound".to_owned(), "web".to_owned())]);
}

#[tokio::test]
async fn a_finalizer_keeps_an_address_until_it_is_taken_off() {
    let site = Site::new().await;
    let pod = site.pod("web", json!({}), None).await;
    let ips = site.place(&pod, "n1").await;
    let patch =
        |finalizers: serde_json::Value| kube::api::Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    site.fips().patch(&ips[0], &Default::default(), &patch(json!(["example.com/mine"]))).await.unwrap();
    site.delete_pod(&pod).await;
    let deleting =
        async || site.fips().get_opt(&ips[0]).await.unwrap().is_some_and(|f| f.metadata.deletion_timestamp.is_some());
    eventually(true, deleting).await;
    let other = site.pod("other", json!({}), None).await;
    assert_ne!(site.place(&other, "n1").await, ips);
    site.fips().patch(&ips[0], &Default::default(), &patch(json!(null))).await.unwrap();
    let third = site.pod("third", json!({}), None).await;
    eventually(vec!["n1".to_owned()], async || site.filter(&third, &["n1"]).await).await;
    assert_eq!(site.place(&third, "n1").await, ips);
}

#[tokio::test]
async fn one_odd_object_does_not_stop_a_watch() {
    let site = Site::new().await;
    let fips: Api<kube::core::DynamicObject> =
        Api::all_with(site.client.clone(), &kube::core::ApiResource::erase::<galaxy_api::FloatingIP>(&()));
    let odd = json!({"apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP", "metadata": {"name": "not-an-address"},
        "spec": {"key": "x", "policy": 0}});
    fips.create(&PostParams::default(), &object(odd)).await.unwrap();
    site.kubernetes.close_watches();
    let pod: Pod = site.pod("web", json!({}), None).await;
    let ips = site.place(&pod, "n1").await;
    site.delete_pod(&pod).await;
    eventually(false, async || site.fips().get_opt(&ips[0]).await.unwrap().is_some()).await;
}

/// Forty pods at once on thirty addresses, while every fifth write fails one way or another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_pods_and_faults_leaves_no_address_twice_and_none_behind() {
    let pools = r#"[{"nodeSubnets":["10.0.0.0/16"],"ips":["10.100.1.2~10.100.1.31"],"subnet":"10.100.1.0/24","gateway":"10.100.1.1"}]"#;
    let kubernetes = Site::cluster(Some(pools)).await;
    let site = Site::serve(kubernetes, &[], None).await;
    site.service.ready(PATIENCE).await.unwrap();
    let faults = site.kubernetes.faults();
    faults.seed(7);
    for action in [Action::DropAfter, Action::Drop, Action::error(500, "InternalError"), Action::conflict()] {
        faults.add(Rule::new(action).agent(AGENT).probability(0.05).when(|call, _| call.verb != "watch"));
    }
    let bound = AtomicUsize::new(0);
    let names: Vec<String> = (0..40).map(|i| format!("pod-{i}")).collect();
    let all = futures::future::join_all(names.iter().map(async |name| {
        let pod = site.pod(name, json!({}), None).await;
        loop {
            let node = if name.len() % 2 == 0 { "n1" } else { "n2" };
            // Refused, or bound while the answer was on its way: look again.
            let passes =
                site.post("/v1/filter", &json!({"Pod": pod, "NodeNames": [node]})).await["NodeNames"] == json!([node]);
            if passes && site.bind(&pod, node).await.is_empty() {
                bound.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                site.delete_pod(&pod).await;
                return;
            }
            let ips: Vec<_> = site.states().await.into_iter().map(|(ip, ..)| ip).collect();
            assert!(ips.len() <= 30);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    tokio::time::timeout(3 * PATIENCE, all).await.expect("every pod gets its turn");
    assert_eq!(bound.into_inner(), 40);
    site.kubernetes.faults().clear();
    site.service.sweep().await;
    eventually(vec![], async || site.states().await).await;
    site.service.engine().read(|ledger| ledger.check_invariants());
}
