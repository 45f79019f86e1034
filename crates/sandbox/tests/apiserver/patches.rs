//! PATCH: the four content types.

use serde_json::{Value, json};

use super::{get, post, raw, start, status};

const PATH: &str = "/apis/apps/v1/namespaces/default/deployments/d";

async fn with_deployment() -> (galaxy_sandbox::apiserver::Server, kube::Client) {
    let (server, client) = start().await;
    let value = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}}}});
    post(&client, "/apis/apps/v1/namespaces/default/deployments", value).await.unwrap();
    (server, client)
}

fn images(deployment: &Value) -> Vec<String> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    containers.iter().map(|c| format!("{}={}", c["name"].as_str().unwrap(), c["image"].as_str().unwrap())).collect()
}

fn containers(list: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": list}}}})
}

#[tokio::test]
async fn each_content_type_merges_its_own_way() {
    let (_server, client) = with_deployment().await;
    let patch = |kind: &'static str, body: Value| {
        let client = client.clone();
        async move { raw(&client, "PATCH", PATH, kind, body).await }
    };
    let strategic = "application/strategic-merge-patch+json";
    let changed =
        patch(strategic, containers(json!([{"name": "b", "image": "2"}, {"name": "c", "image": "1"}]))).await.unwrap();
    assert_eq!(images(&changed), ["a=1", "b=2", "c=1"]);
    let changed = patch(strategic, containers(json!([{"name": "c", "$patch": "delete"}]))).await.unwrap();
    assert_eq!(images(&changed), ["a=1", "b=2"]);
    let json_patch = "application/json-patch+json";
    let test = json!([{"op": "test", "path": "/metadata/name", "value": "d"}, {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "3"}]);
    assert_eq!(images(&patch(json_patch, test).await.unwrap()), ["a=3", "b=2"]);
    let failing = json!([{"op": "test", "path": "/metadata/name", "value": "other"}]);
    assert_eq!(status(patch(json_patch, failing).await).0, 422);
    let merge = "application/merge-patch+json";
    let changed = patch(merge, containers(json!([{"name": "z", "image": "1"}]))).await.unwrap();
    assert_eq!(images(&changed), ["z=1"]);
    for (kind, body, code) in [
        (merge, json!([1]), 400),
        (json_patch, json!({"a": 1}), 400),
        (json_patch, json!([{"op": "replace", "path": "", "value": "text"}]), 400),
        (strategic, containers(json!([{"image": "2"}])), 400),
        ("application/json", json!({}), 415),
        (merge, json!({"metadata": {"name": "other"}}), 400),
        (merge, json!({"metadata": "text"}), 400),
        (merge, json!({"spec": "text"}), 400),
    ] {
        let shown = body.to_string();
        let found = status(patch(kind, body).await);
        assert_eq!(found.0, code, "{kind} {shown}: {found:?}");
    }
    assert_eq!(images(&get(&client, PATH).await.unwrap()), ["z=1"], "a refused patch changes nothing");
}

#[tokio::test]
async fn apply_creates_merges_and_takes_back_what_it_gave() {
    let (_server, client) = with_deployment().await;
    let apply = |path: &str, body: Value| {
        let (client, path) = (client.clone(), format!("{path}?fieldManager=m&force=true"));
        async move { raw(&client, "PATCH", &path, "application/apply-patch+yaml", body).await }
    };
    let map = "/api/v1/namespaces/default/configmaps/m";
    let body = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data});
    apply(map, body(json!({"a": "1", "b": "1"}))).await.unwrap();
    raw(&client, "PATCH", map, "application/merge-patch+json", json!({"data": {"c": "other"}})).await.unwrap();
    let changed = apply(map, body(json!({"a": "2"}))).await.unwrap();
    assert_eq!(changed["data"], json!({"a": "2", "c": "other"}));
    let spec = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "b", "image": "2"}]}}}});
    let changed = apply(PATH, spec).await.unwrap();
    assert_eq!((images(&changed), &changed["spec"]["replicas"]), (vec!["a=1".to_string(), "b=2".into()], &json!(3)));
    let nameless = raw(&client, "PATCH", map, "application/apply-patch+yaml", body(json!({}))).await;
    assert!(status(nameless).2.contains("fieldManager: Required value"));
    let yaml = http::Request::patch(format!("{map}?fieldManager=m"))
        .header("content-type", "application/apply-patch+yaml")
        .body(b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  y: 'yes'\n".to_vec())
        .unwrap();
    let changed: Value = client.request(yaml).await.unwrap();
    assert_eq!(changed["data"], json!({"y": "yes", "c": "other"}));
}
