//! Lists: selection, paging, revisions.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use super::{from, get, start, status};

#[tokio::test]
async fn selectors_choose() {
    let (_server, client) = start().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for (name, app, node, phase) in
        [("a", "web", "n1", "Running"), ("b", "web", "n2", "Failed"), ("c", "db", "n1", "Running")]
    {
        let pod = json!({"metadata": {"name": name, "labels": {"app": app}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
        pods.create(&PostParams::default(), &from(pod)).await.unwrap();
        let status = kube::api::Patch::Merge(json!({"status": {"phase": phase}}));
        pods.patch_status(name, &Default::default(), &status).await.unwrap();
    }
    let cases = [
        ("app in (web)", "", "ab"),
        ("app!=web", "", "c"),
        ("", "spec.nodeName=n1", "ac"),
        ("app=web", "spec.nodeName=n1", "a"),
        ("", "status.phase!=Failed,status.phase!=Succeeded", "ac"),
        ("", "metadata.name=b", "b"),
        ("app,!tier", "", "abc"),
        ("", "metadata.namespace=other", ""),
    ];
    for (labels, fields, expected) in cases {
        let found = pods.list(&ListParams::default().labels(labels).fields(fields)).await.unwrap();
        let names: String = found.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, expected, "{labels:?} {fields:?}");
    }
    let refused = status(pods.list(&ListParams::default().fields("spec.color=red")).await);
    assert_eq!((refused.0, refused.2.as_str()), (400, "field label not supported: spec.color"));
    assert_eq!(status(pods.list(&ListParams::default().labels("a b")).await).0, 400);
    // Across namespaces, too.
    let all = get(&client, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.unwrap();
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    // And for a whole collection.
    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default().labels("app=web"))
        .await
        .unwrap();
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn pages_are_of_one_revision() {
    let (server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for n in 0..7 {
        maps.create(&PostParams::default(), &from(json!({"metadata": {"name": format!("m{n}")}}))).await.unwrap();
    }
    let mut params = ListParams::default().limit(3);
    let mut names = Vec::new();
    let mut versions = std::collections::BTreeSet::new();
    loop {
        let page = maps.list(&params).await.unwrap();
        names.extend(page.iter().map(ResourceExt::name_any));
        versions.insert(page.metadata.resource_version.unwrap());
        // What happens in between is not seen.
        let _ = maps.delete("m5", &DeleteParams::default()).await;
        let _ = maps.create(&PostParams::default(), &from(json!({"metadata": {"name": "m9"}}))).await;
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => break,
        }
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    assert_eq!(versions.len(), 1);
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    maps.delete("m0", &DeleteParams::default()).await.unwrap();
    server.compact();
    let token = first.metadata.continue_.unwrap();
    let expired = status(maps.list(&ListParams::default().limit(2).continue_token(&token)).await);
    assert_eq!((expired.0, expired.1.as_str()), (410, "Expired"));
    assert_eq!(status(maps.list(&ListParams::default().limit(2).continue_token("nonsense")).await).0, 400);
}

#[tokio::test]
async fn a_revision_of_the_future_is_too_large() {
    let (server, client) = start().await;
    let path = format!("/api/v1/pods?resourceVersion={}", server.revision() + 100);
    // kube would try a 504 again and again.
    let mut config = server.config("test");
    config.default_retry = false;
    drop(client);
    let client = kube::Client::try_from(config).unwrap();
    let refused = status(get(&client, &path).await);
    assert!(refused.0 == 504 && refused.2.contains("Too large resource version"), "{refused:?}");
}
