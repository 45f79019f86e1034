//! How things end: grace, finalizers, owners, namespaces, evictions.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
};
use serde_json::{Value, json};

use super::{eventually, from, get, pod, post, raw, start, status};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn exists(client: &Client, path: &str) -> bool {
    get(client, path).await.is_ok()
}

/// A ConfigMap owned by others.
async fn owned(client: &Client, name: &str, owners: &[&Value], blocks: bool) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|o| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"], "blockOwnerDeletion": blocks}))
        .collect();
    post(client, MAPS, json!({"metadata": {"name": name, "ownerReferences": owners}})).await.unwrap()
}

#[tokio::test]
async fn a_pod_dies_by_grace() {
    let (_server, client) = start().await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let post = PostParams::default();
    let delete = DeleteParams::default();
    // Nobody runs it: gone at once.
    pods.create(&post, &pod("unbound")).await.unwrap();
    pods.delete("unbound", &delete).await.unwrap();
    assert_eq!(status(pods.get("unbound").await).0, 404);
    let bound = |name: &str| {
        let mut pod = pod(name);
        pod.spec.as_mut().unwrap().node_name = Some("n".into());
        pod
    };
    pods.create(&post, &bound("p")).await.unwrap();
    let dying = pods.delete("p", &delete).await.unwrap().left().unwrap();
    let deadline = dying.metadata.deletion_timestamp.clone().unwrap().0;
    assert!((deadline - dying.creation_timestamp().unwrap().0).total(jiff::Unit::Second).unwrap() >= 30.0);
    // Longer grace changes nothing, a shorter one does.
    let same = pods.delete("p", &DeleteParams::default().grace_period(60)).await.unwrap().left().unwrap();
    assert_eq!(same.resource_version(), dying.resource_version());
    let shorter = pods.delete("p", &DeleteParams::default().grace_period(1)).await.unwrap().left().unwrap();
    assert_eq!(shorter.metadata.deletion_grace_period_seconds, Some(1));
    let wrong = DeleteParams::default()
        .grace_period(0)
        .preconditions(Preconditions { uid: Some("other".into()), resource_version: None });
    let refused = status(pods.delete("p", &wrong).await);
    assert!(refused.1 == "Conflict" && refused.2.contains("UID in precondition: other"), "{refused:?}");
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(status(pods.get("p").await).0, 404);
    // One that is over needs no grace.
    pods.create(&post, &bound("q")).await.unwrap();
    let done = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status("q", &PatchParams::default(), &done).await.unwrap();
    pods.delete("q", &delete).await.unwrap();
    assert_eq!(status(pods.get("q").await).0, 404);
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map = json!({"metadata": {"name": "m", "finalizers": ["a.b/c"]}});
    maps.create(&PostParams::default(), &from(map)).await.unwrap();
    let dying = maps.delete("m", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(dying.metadata.deletion_timestamp.is_some());
    let patch = |finalizers: Value| {
        let (maps, patch) = (maps.clone(), Patch::Merge(json!({"metadata": {"finalizers": finalizers}})));
        async move { maps.patch("m", &PatchParams::default(), &patch).await }
    };
    let refused = status(patch(json!(["a.b/c", "d.e/f"])).await);
    assert!(refused.0 == 422 && refused.2.contains("no new finalizers can be added"), "{refused:?}");
    patch(Value::Null).await.unwrap();
    assert_eq!(status(maps.get("m").await).0, 404);
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let (_server, client) = start().await;
    let root = owned(&client, "root", &[], false).await;
    let other = owned(&client, "other", &[], false).await;
    let child = owned(&client, "child", &[&root], false).await;
    owned(&client, "grandchild", &[&child], false).await;
    owned(&client, "shared", &[&root, &other], false).await;
    raw(&client, "DELETE", &format!("{MAPS}/root"), "application/json", Value::Null).await.unwrap();
    eventually("child and grandchild go", || async {
        !exists(&client, &format!("{MAPS}/child")).await && !exists(&client, &format!("{MAPS}/grandchild")).await
    })
    .await;
    eventually("the shared one forgets its dead owner and stays", || async {
        let shared = get(&client, &format!("{MAPS}/shared")).await.unwrap();
        shared["metadata"]["ownerReferences"].as_array().unwrap().len() == 1
    })
    .await;
    // Born an orphan of an owner that never was.
    owned(&client, "late", &[&root], false).await;
    eventually("a dependent of a dead owner goes", || async { !exists(&client, &format!("{MAPS}/late")).await }).await;
}

#[tokio::test]
async fn foreground_waits_and_orphan_frees() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let root = owned(&client, "root", &[], false).await;
    owned(&client, "child", &[&root], true).await;
    let keep = Patch::Merge(json!({"metadata": {"finalizers": ["a.b/c"]}}));
    maps.patch("child", &PatchParams::default(), &keep).await.unwrap();
    let policy = |policy| DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    maps.delete("root", &policy(PropagationPolicy::Foreground)).await.unwrap();
    eventually("the child is being deleted", || async {
        maps.get("child").await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    assert!(maps.get("root").await.unwrap().finalizers().contains(&"foregroundDeletion".to_string()));
    maps.patch("child", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}})))
        .await
        .unwrap();
    eventually("the root goes after the child", || async { !exists(&client, &format!("{MAPS}/root")).await }).await;

    let root = owned(&client, "root", &[], false).await;
    owned(&client, "child", &[&root], true).await;
    maps.delete("root", &policy(PropagationPolicy::Orphan)).await.unwrap();
    eventually("the root goes", || async { !exists(&client, &format!("{MAPS}/root")).await }).await;
    assert!(maps.get("child").await.unwrap().owner_references().is_empty());
    assert!(server.calls().count("", "configmaps", "garbage-collector") > 0);
}

#[tokio::test]
async fn a_namespace_takes_its_contents_along() {
    let (_server, client) = start().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &from(json!({"metadata": {"name": "x"}}))).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "x");
    maps.create(&PostParams::default(), &from(json!({"metadata": {"name": "m", "finalizers": ["a.b/c"]}})))
        .await
        .unwrap();
    let dying = namespaces.delete("x", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(dying.status.unwrap().phase.as_deref(), Some("Terminating"));
    let late = maps.create(&PostParams::default(), &from(json!({"metadata": {"name": "late"}}))).await;
    let refused = status(late);
    assert!(refused.0 == 403 && refused.2.contains("because it is being terminated"), "{refused:?}");
    eventually("the contents are being deleted", || async {
        maps.get("m").await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    maps.patch("m", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.unwrap();
    eventually("the namespace goes", || async { namespaces.get_opt("x").await.unwrap().is_none() }).await;
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_eviction_asks_the_budget() {
    let (server, _) = start().await;
    let mut config = server.config("test");
    // kube would try a 429 again and again.
    config.default_retry = false;
    let client = Client::try_from(config).unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for name in ["a", "b"] {
        let mut value = pod(name);
        value.spec.as_mut().unwrap().node_name = Some("n".into());
        pods.create(&PostParams::default(), &value).await.unwrap();
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    }
    let budget = json!({"metadata": {"name": "budget"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    post(&client, "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget).await.unwrap();
    let evict = |name: &str| {
        let path = format!("/api/v1/namespaces/default/pods/{name}/eviction");
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": {"gracePeriodSeconds": 5}});
        let client = client.clone();
        async move { post(&client, &path, body).await }
    };
    evict("a").await.unwrap();
    assert_eq!(pods.get("a").await.unwrap().metadata.deletion_grace_period_seconds, Some(5));
    let refused = status(evict("b").await);
    assert_eq!((refused.0, refused.1.as_str()), (429, "TooManyRequests"));
    assert!(pods.get("b").await.unwrap().metadata.deletion_timestamp.is_none());
    // The pod that replaces the first one is healthy: now the second may go.
    let mut value = pod("c");
    value.spec.as_mut().unwrap().node_name = Some("n".into());
    pods.create(&PostParams::default(), &value).await.unwrap();
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    pods.patch_status("c", &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    evict("b").await.unwrap();
}
