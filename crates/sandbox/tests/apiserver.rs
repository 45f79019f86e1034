//! The API server as kube clients meet it.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use galaxy_sandbox::apiserver::{Options, Server};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};

async fn start() -> (Server, Client) {
    let server = Server::start(Options::default()).await.unwrap();
    let client = server.client("test");
    (server, client)
}

fn pod(name: &str) -> Pod {
    from(json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.7.9", "resources": {"limits": {"tke.cloud.tencent.com/eni-ip": "1"}}}]},
    }))
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("expected a Status, got {other:?}"),
    }
}

#[tokio::test]
async fn objects_live_and_change_and_die() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let made = maps
        .create(&PostParams::default(), &from(json!({"metadata": {"generateName": "a-"}, "data": {"k": "1"}})))
        .await
        .unwrap();
    let name = made.name_any();
    assert!(name.starts_with("a-") && name.len() == 7, "{name}");
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    let again = maps.create(&PostParams::default(), &from(json!({"metadata": {"name": name}}))).await;
    assert_eq!(code(again).1, "AlreadyExists");

    let mut stale = made.clone();
    let changed: ConfigMap =
        maps.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"data": {"k": "2", "l": "3"}}))).await.unwrap();
    assert_ne!(changed.resource_version(), made.resource_version());
    stale.data = None;
    let (status, reason, message) = code(maps.replace(&name, &PostParams::default(), &stale).await);
    assert_eq!((status, reason.as_str()), (409, "Conflict"));
    assert!(message.contains("the object has been modified"), "{message}");
    // A write that changes nothing is no write.
    let same = maps.replace(&name, &PostParams::default(), &changed).await.unwrap();
    assert_eq!(same.resource_version(), changed.resource_version());

    maps.delete(&name, &DeleteParams::default()).await.unwrap();
    let (status, _, message) = code(maps.get(&name).await);
    assert_eq!(status, 404);
    assert_eq!(message, format!("configmaps {name:?} not found"));
}

#[tokio::test]
async fn a_watch_resumes_where_it_ended() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let start = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    for n in 0..3 {
        maps.create(&PostParams::default(), &from(json!({"metadata": {"name": format!("m{n}")}}))).await.unwrap();
    }
    let params = WatchParams::default();
    let first: Vec<_> = maps.watch(&params, &start).await.unwrap().take(2).try_collect().await.unwrap();
    let WatchEvent::Added(second) = &first[1] else { panic!("{first:?}") };
    assert_eq!(second.name_any(), "m1");
    let version = second.resource_version().unwrap();
    let mut rest = Box::pin(maps.watch(&params, &version).await.unwrap());
    let WatchEvent::Added(third) = rest.next().await.unwrap().unwrap() else { panic!() };
    assert_eq!(third.name_any(), "m2");
    maps.delete("m0", &DeleteParams::default()).await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(5), rest.next()).await.unwrap().unwrap().unwrap();
    let WatchEvent::Deleted(gone) = next else { panic!("{next:?}") };
    assert_eq!(gone.name_any(), "m0");
    assert!(gone.resource_version().unwrap().parse::<u64>().unwrap() > version.parse().unwrap());
}

#[tokio::test]
async fn a_binding_assigns_once_and_carries_annotations() {
    let (_server, client) = start().await;
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &from(json!({"metadata": {"name": "n1"}}))).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let made = pods.create(&PostParams::default(), &pod("p")).await.unwrap();
    let spec = made.spec.clone().unwrap();
    let requests = spec.containers[0].resources.clone().unwrap().requests.unwrap();
    assert_eq!(requests["tke.cloud.tencent.com/eni-ip"].0, "1", "a limit is also the request");
    assert_eq!((spec.priority, spec.termination_grace_period_seconds), (Some(0), Some(30)));

    let bind = |uid: &str, version: &str| {
        let binding = json!({"apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": "p", "namespace": "default", "uid": uid, "resourceVersion": version, "annotations": {"ip": "10.0.0.1"}},
            "target": {"kind": "Node", "name": "n1"}});
        let request = http::Request::post("/api/v1/namespaces/default/pods/p/binding")
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&binding).unwrap())
            .unwrap();
        client.request::<Value>(request)
    };
    let uid = made.uid().unwrap();
    assert_eq!(code(bind("other", "").await).1, "Conflict");
    assert_eq!(code(bind(&uid, "1").await).1, "Conflict");
    bind(&uid, &made.resource_version().unwrap()).await.unwrap();
    let bound = pods.get("p").await.unwrap();
    assert_eq!(bound.spec.as_ref().unwrap().node_name.as_deref(), Some("n1"));
    assert_eq!(bound.annotations()["ip"], "10.0.0.1");
    let conditions = bound.status.unwrap().conditions.unwrap();
    assert_eq!((conditions[0].type_.as_str(), conditions[0].status.as_str()), ("PodScheduled", "True"));
    let (_, _, message) = code(bind(&uid, "").await);
    assert!(message.contains("already assigned to node \"n1\""), "{message}");

    // A bound pod dies slowly; a second deletion with no grace ends it.
    let dying = pods.delete("p", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(dying.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(code(pods.get("p").await).0, 404);
}
