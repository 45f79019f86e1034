//! The extender's protocol.

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::site::Site;

const JSON: &str = "application/json";

#[tokio::test]
async fn status_codes_and_plain_texts_are_those_of_the_contract() {
    let site = Site::new().await;
    for (method, path, content_type, body, status) in [
        (Method::GET, "/healthy", "", "", StatusCode::OK),
        (Method::GET, "/readyz", "", "", StatusCode::OK),
        (Method::POST, "/v1/filter", "text/plain", "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::POST, "/v1/bind", "", "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::GET, "/v1/filter", JSON, "", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/v1/nothing", JSON, "{}", StatusCode::NOT_FOUND),
        (Method::POST, "/v1/filter", JSON, "{", StatusCode::INTERNAL_SERVER_ERROR),
        (Method::POST, "/v1/filter", JSON, "", StatusCode::INTERNAL_SERVER_ERROR),
        (Method::POST, "/v1/priority", JSON, "[]", StatusCode::INTERNAL_SERVER_ERROR),
        (Method::POST, "/v1/bind", JSON, r#"{"PodName":7}"#, StatusCode::INTERNAL_SERVER_ERROR),
        (Method::POST, "/v1/preempt", JSON, "nonsense", StatusCode::INTERNAL_SERVER_ERROR),
        (Method::POST, "/v1/filter", "Application/JSON; charset=utf-8", "null", StatusCode::OK),
        (Method::POST, "/v1/preempt", JSON, "null", StatusCode::OK),
        (Method::POST, "/v1/bind", JSON, "null", StatusCode::OK),
        (Method::POST, "/v1/priority", JSON, "null", StatusCode::OK),
    ] {
        let (answered, text) = site.send(method.clone(), path, content_type, body).await;
        assert_eq!(answered, status, "{method} {path} {body}: {text}");
        if status == StatusCode::OK && method == Method::POST {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
    assert_eq!(site.send(Method::GET, "/healthy", "", "").await.1, "ok");
}

#[tokio::test]
async fn answers_come_in_the_form_asked_indented_by_one_space() {
    let site = Site::new().await;
    let pod = site.pod("web", json!({}), None).await;
    let node = |name: &str, ip: &str| {
        json!({"metadata": {"name": name, "labels": {"keep": "me"}},
            "status": {"addresses": [{"type": "InternalIP", "address": ip}]}})
    };
    let nodes = json!([node("n1", "10.0.1.11"), node("n9", "10.9.9.9"), node("n8", "not an address")]);
    let body = json!({"pod": pod, "nodes": {"items": nodes}, "nodenames": null});
    let (_, text) = site.send(Method::POST, "/v1/filter", JSON, body.to_string()).await;
    assert!(text.starts_with("{\n \"nodes\": {\n  \"metadata\": {},"), "{text}");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["nodes"]["items"], json!([node("n1", "10.0.1.11")]), "the nodes as sent");
    let reason = |name: &str| answer["failedNodes"][name].as_str().unwrap().to_owned();
    assert!(reason("n9").starts_with("FloatingIPPlugin:NoFIPConfigNode"));
    assert!(reason("n8").starts_with("FloatingIPPlugin:UnknowNode"));

    let scores = site.post("/v1/priority", &json!({"Pod": pod, "NodeNames": ["n1", "n2", "n9"]})).await;
    let hosts: Vec<_> = scores.as_array().unwrap().iter().map(|score| score["Host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["n1", "n2", "n9"]);
    assert_eq!(scores[2]["Score"], 0, "a node nobody knows");
    assert_eq!(scores[0]["Score"], 10);
}

#[tokio::test]
async fn malformed_annotations_are_refused_calmly_and_change_nothing() {
    let site = Site::new().await;
    let bad = json!({"k8s.v1.cni.galaxy.io/args": r#"{"request_ip_range":[["192.168.0.0~192.168.0.256"]]}"#});
    let pod = site.pod("web", bad, None).await;
    let answer = site.post("/v1/filter", &json!({"Pod": pod, "NodeNames": ["n1", "n2"]})).await;
    assert_eq!(answer["failedNodes"], answer["failedAndUnresolvableNodes"]);
    let text = answer["failedNodes"]["n1"].as_str().unwrap();
    assert!(text.contains("k8s.v1.cni.galaxy.io/args") && text.contains("192.168.0.256"), "{text}");
    assert!(site.bind(&pod, "n1").await.contains("192.168.0.256"));
    assert_eq!(site.states().await, vec![]);
    for (field, body) in [
        ("PodName", json!({"PodNamespace": "default", "PodUID": "u", "Node": "n1"})),
        ("PodUID", json!({"PodName": "web", "PodNamespace": "default", "Node": "n1"})),
        ("Node", json!({"PodName": "web", "PodNamespace": "default", "PodUID": "u", "Node": null})),
    ] {
        let answer = site.post("/v1/bind", &body).await;
        assert!(answer["Error"].as_str().unwrap().contains(field), "{answer}");
    }
}

#[tokio::test]
async fn preempt_leaves_out_only_nodes_where_it_cannot_help_and_writes_nothing() {
    let site = Site::new().await;
    let args = json!({"k8s.v1.cni.galaxy.io/args": r#"{"request_ip_range":[["10.100.1.2"]]}"#,
        "k8s.v1.cni.galaxy.io/release-policy": "never"});
    let pod = site.pod("web-0", args, None).await;
    let victims = json!({"n1": {"Pods": [{"metadata": {"uid": "u-7"}}], "NumPDBViolations": 1},
        "n2": {"Pods": [{"metadata": {"uid": "u-8"}}], "NumPDBViolations": 0}});
    let mark = site.kubernetes.calls().mark();
    let answer = site.post("/v1/preempt", &json!({"Pod": pod, "NodeNameToVictims": victims})).await;
    assert_eq!(
        answer,
        json!({"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "u-7"}], "NumPDBViolations": 1}}}),
        "rack 2 cannot route it"
    );
    let answer = site.post("/v1/preempt", &json!({"NodeNameToVictims": {"n2": victims["n2"]}})).await;
    assert_eq!(answer["NodeNameToMetaVictims"]["n2"]["Pods"], json!([{"UID": "u-8"}]), "without a pod as it came");
    assert_eq!(site.calls_since(mark), Vec::<String>::new());
}
