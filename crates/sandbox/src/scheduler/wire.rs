//! Objects and requests as kube-scheduler writes them: Go's names, and the empty and null members that Go does not leave out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Map, Value, json};

/// A pod as Go writes it.
pub fn pod(pod: &Pod) -> Value {
    let mut value = object(serde_json::to_value(pod));
    let spec = member(&mut value, "spec");
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            default(container, "resources", json!({}));
        }
    }
    let status = member(&mut value, "status");
    for condition in items(status, "conditions") {
        default(condition, "lastProbeTime", Value::Null);
        default(condition, "lastTransitionTime", Value::Null);
    }
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        for container in items(status, list) {
            default(container, "state", json!({}));
            default(container, "lastState", json!({}));
        }
    }
    value
}

/// A node as Go writes it.
pub fn node(node: &Node) -> Value {
    let mut value = object(serde_json::to_value(node));
    member(&mut value, "spec");
    let status = member(&mut value, "status");
    for condition in items(status, "conditions") {
        default(condition, "lastHeartbeatTime", Value::Null);
        default(condition, "lastTransitionTime", Value::Null);
    }
    default(status, "daemonEndpoints", json!({}));
    default(member(status, "daemonEndpoints"), "kubeletEndpoint", json!({"Port": 0}));
    default(status, "nodeInfo", json!({}));
    for name in [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
        "kubeletVersion",
        "kubeProxyVersion",
        "operatingSystem",
        "architecture",
    ] {
        default(member(status, "nodeInfo"), name, json!(""));
    }
    value
}

/// The body of filter and prioritize, from parts that are JSON already. Nodes are sent whole or by name, never both.
pub fn extender_args<'a>(pod: &Value, nodes: impl Iterator<Item = (&'a str, &'a str)>, names_only: bool) -> String {
    let (names, whole): (Vec<_>, Vec<_>) = nodes.unzip();
    match names_only {
        true => {
            let names = Value::from(names);
            format!(r#"{{"Pod":{pod},"Nodes":null,"NodeNames":{names}}}"#)
        }
        false => {
            let items = whole.join(",");
            format!(r#"{{"Pod":{pod},"Nodes":{{"metadata":{{}},"items":[{items}]}},"NodeNames":null}}"#)
        }
    }
}

/// The body of preempt: victims by node, whole or by uid.
pub fn preemption_args(pod: &Value, victims: &BTreeMap<String, Vec<&Pod>>, uids_only: bool) -> String {
    let by_node = |victim: &dyn Fn(&Pod) -> Value| -> Value {
        let nodes = victims.iter().map(|(node, pods)| {
            let pods: Vec<_> = pods.iter().map(|pod| victim(pod)).collect();
            (node.clone(), json!({"Pods": pods, "NumPDBViolations": 0}))
        });
        Value::Object(nodes.collect())
    };
    let (whole, uids) = match uids_only {
        true => (Value::Null, by_node(&|pod| json!({"UID": pod.metadata.uid}))),
        false => (by_node(&self::pod), Value::Null),
    };
    json!({"Pod": pod, "NodeNameToVictims": whole, "NodeNameToMetaVictims": uids}).to_string()
}

/// A member of a JSON object in whatever letter case, as Go's decoder finds it; null counts as absent.
pub fn any_case<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let members = value.as_object()?;
    let exact = members.get(name);
    let found = exact.or_else(|| {
        let mut members = members.iter();
        members.find(|(member, _)| member.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    });
    found.filter(|value| !value.is_null())
}

fn object(value: serde_json::Result<Value>) -> Value {
    let mut value = value.unwrap_or_default();
    if let Value::Object(members) = &mut value {
        // Objects that come from an informer carry neither; managed fields are trimmed on the way in.
        members.remove("apiVersion");
        members.remove("kind");
        if let Some(Value::Object(metadata)) = members.get_mut("metadata") {
            metadata.remove("managedFields");
        }
    }
    value
}

fn member<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let member = &mut value[name];
    if member.is_null() {
        *member = json!({});
    }
    member
}

fn items<'a>(value: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

fn default(value: &mut Value, name: &str, with: Value) {
    if let Value::Object(members) = value {
        members.entry(name).or_insert(with);
    }
}
