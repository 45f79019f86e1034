//! Custom resources: schemas, versions, subresources, columns.

use kube::Client;
use serde_json::{Value, json};

use super::{get, post, raw, start, status};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TAPPS: &str = "/apis/apps.tkestack.io/v1/namespaces/default/tapps";

pub(super) fn definition() -> Value {
    let schema = |extra: &str| {
        json!({"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "required": ["replicas"], "properties": {
                "replicas": {"type": "integer", "minimum": 0},
                "mode": {"type": "string", "enum": ["fast", "slow"], "default": "slow"},
                "cron": {"type": "string", "pattern": "^[0-9*]+$", "maxLength": 5},
                extra: {"type": "string", "default": extra},
            }, "x-kubernetes-validations": [{"rule": "self.replicas < 100", "message": "too many"}]},
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
        }}})
    };
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": schema(name),
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
        "selectableFields": [{"jsonPath": ".spec.mode"}],
        "additionalPrinterColumns": [
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "tapps.apps.tkestack.io"}, "spec": {
        "group": "apps.tkestack.io", "scope": "Namespaced", "names": {"plural": "tapps", "kind": "TApp", "shortNames": ["ta"]},
        "versions": [version("v1", true), version("v1alpha1", false)]}})
}

async fn with_tapps() -> (galaxy_sandbox::apiserver::Server, Client) {
    let (server, client) = start().await;
    let made = post(&client, CRDS, definition()).await.unwrap();
    let conditions = made["status"]["conditions"].as_array().unwrap();
    for kind in ["Established", "NamesAccepted"] {
        assert!(conditions.iter().any(|c| c["type"] == kind && c["status"] == "True"), "{kind}");
    }
    assert_eq!(made["spec"]["names"]["listKind"], "TAppList");
    // Bounds stay the integers that they were.
    assert_eq!(made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"]["minimum"].to_string(), "0");
    (server, client)
}

fn tapp(spec: Value) -> Value {
    json!({"apiVersion": "apps.tkestack.io/v1", "kind": "TApp", "metadata": {"name": "t"}, "spec": spec})
}

#[tokio::test]
async fn the_schema_prunes_defaults_and_refuses() {
    let (_server, client) = with_tapps().await;
    let made = post(&client, TAPPS, tapp(json!({"replicas": 2, "unknown": 1, "cron": null}))).await.unwrap();
    assert_eq!(made["spec"], json!({"replicas": 2, "mode": "slow", "v1": "v1"}));
    assert_eq!(made["metadata"]["generation"], 1);
    for (spec, causes) in [
        (
            json!({"replicas": "x"}),
            vec!["spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer"],
        ),
        (
            json!({"replicas": -1, "mode": "z"}),
            vec![
                "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
                "spec.mode: Unsupported value: \"z\": supported values: \"fast\", \"slow\"",
            ],
        ),
        (json!({}), vec!["spec.replicas: Required value"]),
        (json!({"replicas": 1, "cron": "123456"}), vec!["spec.cron"]),
        (json!({"replicas": 1, "cron": "a"}), vec!["should match '^[0-9*]+$'"]),
    ] {
        let refused = status(post(&client, TAPPS, tapp(spec)).await);
        assert_eq!(refused.0, 422);
        assert!(refused.2.starts_with("TApp.apps.tkestack.io \"t\" is invalid: "), "{}", refused.2);
        for cause in causes {
            assert!(refused.2.contains(cause), "{} in {}", cause, refused.2);
        }
    }
    let strict =
        post(&client, &format!("{TAPPS}?fieldValidation=Strict"), tapp(json!({"replicas": 2, "unknown": 1}))).await;
    let refused = status(strict);
    assert!(
        refused.0 == 400 && refused.2.contains("strict decoding error: unknown field \"spec.unknown\""),
        "{refused:?}"
    );
    let unversioned =
        raw(&client, "PUT", &format!("{TAPPS}/t"), "application/json", tapp(json!({"replicas": 3}))).await;
    assert!(
        status(unversioned).2.contains("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
    );
    let text = post(&client, TAPPS, json!({"metadata": "text"})).await;
    assert_eq!(status(text).0, 400);
}

#[tokio::test]
async fn subresources_keep_to_their_part() {
    let (_server, client) = with_tapps().await;
    post(&client, TAPPS, tapp(json!({"replicas": 2}))).await.unwrap();
    let merge = "application/merge-patch+json";
    let both = json!({"spec": {"replicas": 9}, "status": {"replicas": 1, "selector": "a=b"}, "metadata": {"labels": {"a": "b"}}});
    let changed = raw(&client, "PATCH", &format!("{TAPPS}/t/status"), merge, both.clone()).await.unwrap();
    assert_eq!((&changed["spec"]["replicas"], &changed["status"]["replicas"]), (&json!(2), &json!(1)));
    assert_eq!((&changed["metadata"]["generation"], &changed["metadata"]["labels"]), (&json!(1), &Value::Null));
    let scale = get(&client, &format!("{TAPPS}/t/scale")).await.unwrap();
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]), (&json!(2), &json!({"replicas": 1, "selector": "a=b"})));
    raw(&client, "PATCH", &format!("{TAPPS}/t/scale"), merge, json!({"spec": {"replicas": 7}})).await.unwrap();
    let found = get(&client, &format!("{TAPPS}/t")).await.unwrap();
    assert_eq!((&found["spec"]["replicas"], &found["metadata"]["generation"]), (&json!(7), &json!(2)));
    let strategic =
        raw(&client, "PATCH", &format!("{TAPPS}/t"), "application/strategic-merge-patch+json", json!({})).await;
    assert_eq!(status(strategic).0, 415);
}

#[tokio::test]
async fn versions_share_their_objects() {
    let (_server, client) = with_tapps().await;
    post(&client, TAPPS, tapp(json!({"replicas": 2}))).await.unwrap();
    let alpha = "/apis/apps.tkestack.io/v1alpha1/namespaces/default/tapps";
    let found = get(&client, &format!("{alpha}/t")).await.unwrap();
    assert_eq!(
        (&found["apiVersion"], &found["spec"]["v1alpha1"]),
        (&json!("apps.tkestack.io/v1alpha1"), &json!("v1alpha1"))
    );
    let selected = get(&client, &format!("{alpha}?fieldSelector=spec.mode%3Dslow")).await.unwrap();
    assert_eq!((selected["items"].as_array().unwrap().len(), &selected["kind"]), (1, &json!("TAppList")));
    let selected = get(&client, &format!("{alpha}?fieldSelector=spec.mode%3Dfast")).await.unwrap();
    assert!(selected["items"].as_array().unwrap().is_empty());
    let request = http::Request::get(TAPPS)
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        .body(Vec::new())
        .unwrap();
    let table: Value = client.request(request).await.unwrap();
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Replicas", "Mode", "Age"]);
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("t"), json!(2), json!("slow")]);
    // With the definition go the objects and the path.
    raw(&client, "DELETE", &format!("{CRDS}/tapps.apps.tkestack.io"), "application/json", Value::Null).await.unwrap();
    let (code, _, text) = status(get(&client, TAPPS).await);
    assert!(code == 404 && text.contains("404 page not found"), "as a real API server: {text}");
    post(&client, CRDS, definition()).await.unwrap();
    assert!(get(&client, TAPPS).await.unwrap()["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn definitions_are_checked() {
    let (_server, client) = start().await;
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 7] = [
        (|d| d["metadata"]["name"] = "x".into(), "must be spec.names.plural"),
        (|d| d["spec"]["scope"] = "Somewhere".into(), "spec.scope: Unsupported value: \"Somewhere\""),
        (|d| d["spec"]["versions"][0]["storage"] = false.into(), "exactly one version marked as storage version"),
        (
            |d| {
                d["spec"]["versions"][0].as_object_mut().unwrap().remove("schema");
            },
            "schemas are required",
        ),
        (
            |d| {
                d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["cron"]["pattern"] =
                    "(".into()
            },
            "must be a valid regular expression",
        ),
        (
            |d| {
                d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
                    .as_object_mut()
                    .unwrap()
                    .remove("type");
            },
            "must not be empty for specified object fields",
        ),
        (
            |d| {
                d["spec"]["group"] = "x.k8s.io".into();
                d["metadata"]["name"] = "tapps.x.k8s.io".into();
            },
            "protected groups must have approval annotation",
        ),
    ];
    for (change, expected) in cases {
        let mut value = definition();
        change(&mut value);
        let refused = status(post(&client, CRDS, value).await);
        assert!(refused.0 == 422 && refused.2.contains(expected), "{expected}: {refused:?}");
    }
}
