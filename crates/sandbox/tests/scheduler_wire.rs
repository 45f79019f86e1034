//! Requests in the very shape that kube-scheduler 1.37 sends: what it sent once is read, written again, and must be the same.

use std::collections::BTreeMap;

use galaxy_sandbox::scheduler::wire;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn written(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[test]
fn filter_and_prioritize_as_captured() {
    for capture in [
        include_str!("captures/filter.json"),
        include_str!("captures/priority.json"),
        include_str!("captures/filter-names.json"),
    ] {
        let capture = written(capture);
        let pod = wire::pod(&read::<Pod>(&capture["Pod"]));
        let whole: Vec<(String, String)> = capture["Nodes"]["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|node| {
                let node: Node = read(node);
                (node.metadata.name.clone().unwrap(), wire::node(&node).to_string())
            })
            .collect();
        let named = capture["NodeNames"].as_array().into_iter().flatten();
        let named = named.map(|name| (name.as_str().unwrap().to_owned(), String::new()));
        let nodes: Vec<_> = whole.into_iter().chain(named).collect();
        let nodes = nodes.iter().map(|(name, json)| (name.as_str(), json.as_str()));
        let body = wire::extender_args(&pod, nodes, !capture["NodeNames"].is_null());
        assert_eq!(written(&body), capture);
    }
}

#[test]
fn preemption_as_captured() {
    let whole = written(include_str!("captures/preempt.json"));
    let names = written(include_str!("captures/preempt-names.json"));
    let victims = |capture: &Value| -> BTreeMap<String, Vec<Pod>> {
        let nodes = [&capture["NodeNameToVictims"], &capture["NodeNameToMetaVictims"]];
        let nodes = nodes.into_iter().filter_map(Value::as_object).flatten();
        let pod = |victim: &Value| match victim.get("UID") {
            Some(uid) => read(&json!({"metadata": {"uid": uid}})),
            None => read(victim),
        };
        let pods = |victims: &Value| victims["Pods"].as_array().unwrap().iter().map(pod).collect();
        nodes.map(|(node, victims)| (node.clone(), pods(victims))).collect()
    };
    for (capture, uids_only) in [(whole, false), (names, true)] {
        let victims = victims(&capture);
        let victims = victims.iter().map(|(node, pods)| (node.clone(), pods.iter().collect())).collect();
        let pod = wire::pod(&read::<Pod>(&capture["Pod"]));
        assert_eq!(written(&wire::preemption_args(&pod, &victims, uids_only)), capture);
    }
}

#[test]
fn answers_are_read_in_any_letter_case() {
    let answer = json!({"NodeNames": ["a"], "failednodes": {"b": "no"}, "Error": null});
    assert_eq!(wire::any_case(&answer, "nodeNames"), Some(&json!(["a"])));
    assert_eq!(wire::any_case(&answer, "failedNodes"), Some(&json!({"b": "no"})));
    assert_eq!(wire::any_case(&answer, "error"), None);
    assert_eq!(wire::any_case(&answer, "nodes"), None);
}
