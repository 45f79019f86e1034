//! Start, takeover and stop.

use std::time::{Duration, Instant};

use hyper::Method;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::site::{PATIENCE, Site, eventually};

#[tokio::test]
async fn a_restart_knows_everything_from_the_objects() {
    let mut site = Site::new().await;
    let pod = site.pod("web", json!({}), None).await;
    let ips = site.place(&pod, "n1").await;
    let begun = Instant::now();
    site.service.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    let before = site.fips().get(&ips[0]).await.unwrap();
    site.delete_pod(&site.pod("gone", json!({}), None).await).await;

    let site = Site::serve(site.kubernetes, &[], None).await;
    site.service.ready(PATIENCE).await.unwrap();
    assert_eq!(site.bind(&pod, "n1").await, "");
    let other = site.pod("other", json!({}), None).await;
    assert_eq!(site.place(&other, "n1").await, ["10.100.1.3"]);
    let after = site.fips().get(&ips[0]).await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "nothing was written anew");
}

#[tokio::test]
async fn what_went_while_nobody_looked_is_found_at_the_start() {
    let mut site = Site::new().await;
    let pod = site.pod("web", json!({}), None).await;
    site.place(&pod, "n1").await;
    let labels = json!({"app": "db"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let spec = json!({"serviceName": "db", "replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    let set: StatefulSet = site.create(json!({"metadata": {"name": "db"}, "spec": spec})).await;
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": set.metadata.uid, "controller": true,
    });
    let immutable = json!({"k8s.v1.cni.galaxy.io/release-policy": "immutable"});
    let member = site.pod("db-0", immutable, Some(owner)).await;
    site.place(&member, "n1").await;
    site.service.stop().await.unwrap();
    for pod in [&pod, &member] {
        site.delete_pod(pod).await;
    }
    let sets: Api<StatefulSet> = Api::default_namespaced(site.client.clone());
    sets.delete("db", &DeleteParams::default()).await.unwrap();
    let site = Site::serve(site.kubernetes, &[], None).await;
    site.service.ready(PATIENCE).await.unwrap();
    // One sweep does it, the one it begins with: that the pod is gone lets it ask for the StatefulSet.
    eventually(vec![], async || site.states().await).await;
    let mark = site.kubernetes.calls().mark();
    site.service.sweep().await;
    assert_eq!(site.calls_since(mark), Vec::<String>::new(), "idle it costs no call");
}

#[tokio::test]
async fn people_see_and_release_addresses_over_http() {
    let site = Site::new().await;
    let never = json!({"k8s.v1.cni.galaxy.io/release-policy": "never"});
    let pod = site.pod("web-0", never, None).await;
    let ips = site.place(&pod, "n1").await;
    let list = site.api(Method::GET, "/v1/ip?keyword=web-0", "").await;
    assert_eq!(list["content"][0]["ip"], ips[0].as_str());
    let ask = json!({"ips": [list["content"][0]]}).to_string();
    let refused = site.api(Method::POST, "/v1/ip", &ask).await;
    assert_eq!((refused["code"].as_u64(), &refused["unreleased"]), (Some(202), &json!([ips[0]])), "the pod lives");
    site.delete_pod(&pod).await;
    eventually("Reserved".to_owned(), async || site.states().await[0].1.clone()).await;
    let released = site.api(Method::POST, "/v1/ip", &ask).await;
    assert_eq!(released["code"], 200, "{released}");
    assert_eq!(site.states().await, vec![]);
}

#[tokio::test]
async fn the_lease_is_taken_first_and_given_up_at_the_end() {
    let kubernetes = Site::cluster(Some(crate::site::POOLS)).await;
    let mut site = Site::serve(kubernetes, &["--leader-elect=true"], None).await;
    site.service.ready(PATIENCE).await.unwrap();
    let leases: Api<Lease> = Api::namespaced(site.client.clone(), "kube-system");
    let holder = async || leases.get("galaxy-ipam").await.unwrap().spec.unwrap().holder_identity.unwrap();
    assert!(!holder().await.is_empty());
    let pod = site.pod("web", json!({}), None).await;
    site.place(&pod, "n1").await;
    let begun = Instant::now();
    site.service.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(holder().await, "");
}
