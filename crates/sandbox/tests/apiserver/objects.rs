//! Create, read, update, delete; bindings, scale, defaults and rules.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Node, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{from, get, pod, post, raw, start, status};

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
    assert_eq!(status(again).1, "AlreadyExists");

    let mut stale = made.clone();
    let changed: ConfigMap =
        maps.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"data": {"k": "2", "l": "3"}}))).await.unwrap();
    assert_ne!(changed.resource_version(), made.resource_version());
    stale.data = None;
    let (code, reason, message) = status(maps.replace(&name, &PostParams::default(), &stale).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(message.contains("the object has been modified"), "{message}");
    // A write that changes nothing is no write.
    let same = maps.replace(&name, &PostParams::default(), &changed).await.unwrap();
    assert_eq!(same.resource_version(), changed.resource_version());

    maps.delete(&name, &DeleteParams::default()).await.unwrap();
    let (code, _, message) = status(maps.get(&name).await);
    assert_eq!(code, 404);
    assert_eq!(message, format!("configmaps {name:?} not found"));
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
    assert_eq!(status(bind("other", "").await).1, "Conflict");
    assert_eq!(status(bind(&uid, "1").await).1, "Conflict");
    bind(&uid, &made.resource_version().unwrap()).await.unwrap();
    let bound = pods.get("p").await.unwrap();
    assert_eq!(bound.spec.as_ref().unwrap().node_name.as_deref(), Some("n1"));
    assert_eq!(bound.annotations()["ip"], "10.0.0.1");
    let conditions = bound.status.unwrap().conditions.unwrap();
    assert_eq!((conditions[0].type_.as_str(), conditions[0].status.as_str()), ("PodScheduled", "True"));
    let (_, _, message) = status(bind(&uid, "").await);
    assert!(message.contains("already assigned to node \"n1\""), "{message}");

    // A bound pod dies slowly; a second deletion with no grace ends it.
    let dying = pods.delete("p", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(dying.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert_eq!(status(pods.get("p").await).0, 404);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (_server, client) = start().await;
    let deployment = |change: fn(&mut Value)| {
        let mut value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"selector": {"matchLabels": {"app": "d"}},
                "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        change(&mut value);
        value
    };
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let cases: Vec<(&str, Value, u16, &str)> = vec![
        (
            deployments,
            deployment(|d| d["metadata"]["name"] = "A".into()),
            422,
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain",
        ),
        (
            deployments,
            deployment(|d| {
                d["metadata"].as_object_mut().unwrap().remove("name");
            }),
            422,
            "name or generateName is required",
        ),
        (
            deployments,
            deployment(|d| d["metadata"]["namespace"] = "other".into()),
            400,
            "namespace of the provided object does not match",
        ),
        (
            deployments,
            deployment(|d| d["metadata"]["resourceVersion"] = "1".into()),
            500,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            deployments,
            deployment(|d| d["metadata"]["labels"] = json!({"a": "b c"})),
            422,
            "metadata.labels: Invalid value: \"b c\"",
        ),
        (deployments, deployment(|d| d["kind"] = "Pod".into()), 400, "its kind is \"Pod\""),
        (deployments, deployment(|d| d["spec"]["replicas"] = "x".into()), 400, "field \"spec.replicas\""),
        (
            deployments,
            deployment(|d| d["spec"]["replicas"] = (-1).into()),
            422,
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            deployments,
            deployment(|d| d["spec"]["selector"] = json!({"matchLabels": {"app": "e"}})),
            422,
            "`selector` does not match template `labels`",
        ),
        (
            deployments,
            deployment(|d| d["spec"]["template"]["spec"]["containers"] = json!([])),
            422,
            "spec.template.spec.containers: Required value",
        ),
        (deployments, json!("text"), 400, "must be a Deployment object, not a JSON string"),
        (
            "/api/v1/namespaces/nowhere/configmaps",
            json!({"metadata": {"name": "a"}}),
            404,
            "namespaces \"nowhere\" not found",
        ),
        ("/api/v1/configmaps", json!({"metadata": {"name": "a"}}), 405, "needs a namespace"),
        (
            "/api/v1/namespaces/default/endpoints",
            json!({}),
            404,
            "galaxy-sandbox does not serve resource \"endpoints\" of \"v1\"",
        ),
        ("/api/v1/namespaces/default/pods/p/exec", json!({}), 501, "galaxy-sandbox does not implement pods/exec"),
        ("/apis/apps/v1/namespaces/default/deployments/d", json!({}), 405, "does not allow this method"),
    ];
    for (path, body, code, text) in cases {
        let shown = body.to_string();
        let found = status(post(&client, path, body).await);
        assert_eq!(found.0, code, "{path} {shown}: {found:?}");
        assert!(found.2.contains(text), "{path} {shown}: {found:?}");
    }
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (resources, text) in [
        (json!({"requests": {"a.b/c": "1"}}), "Limit must be set for non overcommitable resources"),
        (json!({"requests": {"a.b/c": "1"}, "limits": {"a.b/c": "2"}}), "must be equal to a.b/c limit of 2"),
        (json!({"limits": {"a.b/c": "500m"}}), "must be an integer"),
        (json!({"limits": {"cpu": "lots"}}), "quantities must match the regular expression"),
    ] {
        pod["spec"]["containers"][0]["resources"] = resources;
        let found = status(post(&client, "/api/v1/namespaces/default/pods", pod.clone()).await);
        assert!(found.0 == 422 && found.2.contains(text), "{found:?}");
    }
    // The causes are there for programs.
    let error = post(&client, deployments, deployment(|d| d["spec"]["replicas"] = (-1).into())).await.unwrap_err();
    let kube::Error::Api(found) = error else { panic!() };
    let cause = &found.details.as_ref().unwrap().causes[0];
    assert_eq!((cause.field.as_str(), cause.reason.as_str()), ("spec.replicas", "FieldValueInvalid"));
}

#[tokio::test]
async fn what_may_not_change_does_not() {
    let (_server, client) = start().await;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let value = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d", "x": "y"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let made = deployments.create(&PostParams::default(), &from(value)).await.unwrap();
    let spec = made.spec.clone();
    assert_eq!((spec.replicas, spec.revision_history_limit), (Some(1), Some(10)));
    assert_eq!(serde_json::to_value(&spec.strategy).unwrap()["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(made.metadata.generation, Some(1));
    let patch = |value: Value| {
        let deployments = deployments.clone();
        async move { deployments.patch("d", &PatchParams::default(), &Patch::Merge(value)).await }
    };
    let refused = status(patch(json!({"spec": {"selector": {"matchLabels": {"x": "y"}}}})).await);
    assert!(refused.0 == 422 && refused.2.contains("spec.selector: Invalid value"), "{refused:?}");
    let refused = status(patch(json!({"metadata": {"uid": "other"}})).await);
    assert!(
        refused.0 == 422 && refused.2.contains("metadata.uid: Invalid value: \"other\": field is immutable"),
        "{refused:?}"
    );
    let refused = status(patch(json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 2}})).await);
    assert_eq!(refused.1, "Conflict");
    // Status is not for the main resource, the rest not for status; only the spec counts generations.
    let changed = patch(json!({"status": {"replicas": 9}, "spec": {"replicas": 2}})).await.unwrap();
    assert_eq!((changed.status.unwrap().replicas, changed.metadata.generation), (None, Some(2)));
    let params = PatchParams::default();
    let changed = deployments
        .patch_status("d", &params, &Patch::Merge(json!({"status": {"replicas": 9}, "spec": {"replicas": 5}})))
        .await
        .unwrap();
    assert_eq!(changed.status.unwrap().replicas, Some(9));
    assert_eq!((changed.spec.replicas, changed.metadata.generation), (Some(2), Some(2)));

    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("p")).await.unwrap();
    let nodes = pods.patch("p", &params, &Patch::Merge(json!({"spec": {"nodeName": "n"}}))).await;
    assert!(status(nodes).2.contains("pod updates may not change fields other than"));
}

#[tokio::test]
async fn scale_is_a_view_of_the_spec() {
    let (_server, client) = start().await;
    let value = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {"serviceName": "s",
        "selector": {"matchLabels": {"app": "s"}, "matchExpressions": [{"key": "k", "operator": "Exists"}]},
        "template": {"metadata": {"labels": {"app": "s", "k": "v"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    post(&client, "/apis/apps/v1/namespaces/default/statefulsets", value).await.unwrap();
    let path = "/apis/apps/v1/namespaces/default/statefulsets/s/scale";
    let mut scale = get(&client, path).await.unwrap();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    assert_eq!(scale["status"]["selector"], "app=s,k");
    scale["spec"]["replicas"] = 4.into();
    let json = "application/json";
    let scaled = raw(&client, "PUT", path, json, scale.clone()).await.unwrap();
    assert_eq!(scaled["spec"]["replicas"], 4);
    assert_eq!(status(raw(&client, "PUT", path, json, scale).await).1, "Conflict");
    let merge = "application/merge-patch+json";
    raw(&client, "PATCH", path, merge, json!({"spec": {"replicas": 2}})).await.unwrap();
    let found = get(&client, "/apis/apps/v1/namespaces/default/statefulsets/s").await.unwrap();
    assert_eq!((&found["spec"]["replicas"], &found["metadata"]["generation"]), (&json!(2), &json!(3)));
    let refused = status(raw(&client, "PATCH", path, merge, json!({"spec": {"replicas": -1}})).await);
    assert_eq!(refused.0, 422);
}

#[tokio::test]
async fn priority_comes_from_the_class() {
    let (_server, client) = start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let body = |class: &str| json!({"metadata": {"generateName": "p-"}, "spec": {"priorityClassName": class, "containers": [{"name": "c", "image": "i"}]}});
    let refused = status(post(&client, pods, body("high")).await);
    assert!(refused.0 == 403 && refused.2.contains("no PriorityClass with name high was found"), "{refused:?}");
    let class = json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"});
    post(&client, "/apis/scheduling.k8s.io/v1/priorityclasses", class).await.unwrap();
    let made = post(&client, pods, body("high")).await.unwrap();
    assert_eq!((&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]), (&json!(1000), &json!("Never")));
    assert_eq!(made["status"]["qosClass"], "BestEffort");
}

#[tokio::test]
async fn both_event_apis_show_the_same_events() {
    let (_server, client) = start().await;
    let event = json!({"metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R",
        "note": "hello", "type": "Normal", "action": "A", "reportingController": "c", "reportingInstance": "i", "eventTime": "2026-01-01T00:00:00.123456Z"});
    post(&client, "/apis/events.k8s.io/v1/namespaces/default/events", event).await.unwrap();
    let list = get(&client, "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp,reason%3DR")
        .await
        .unwrap();
    let core = &list["items"][0];
    assert_eq!(
        (&core["message"], &core["reportingComponent"], &core["apiVersion"]),
        (&json!("hello"), &json!("c"), &json!("v1"))
    );
    assert_eq!(core["eventTime"], "2026-01-01T00:00:00.123456Z");
    let again = get(&client, "/apis/events.k8s.io/v1/namespaces/default/events/e").await.unwrap();
    assert_eq!(again["note"], "hello");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (server, client) = start().await;
    let before = server.revision();
    let made = post(&client, "/api/v1/namespaces/default/configmaps?dryRun=All", json!({"metadata": {"name": "m"}}))
        .await
        .unwrap();
    assert_eq!(made["metadata"]["name"], "m");
    let json = "application/json";
    raw(&client, "DELETE", "/api/v1/namespaces/kube-public?dryRun=All", json, Value::Null).await.unwrap();
    raw(&client, "DELETE", "/api/v1/namespaces/kube-public", json, json!({"dryRun": ["All"]})).await.unwrap();
    assert_eq!(server.revision(), before);
}
