//! Defaults of the built-in kinds, as far as clients and users of Galaxy meet them.

use serde_json::{Map, Value, json};

use super::{
    object::{self, fill, map_mut},
    pods,
    resource::Resource,
};

/// Fills in what the user left out.
pub(super) fn default(r: &Resource, value: &mut Value, creating: bool) {
    let name = object::name(value).to_string();
    match r.kind.as_str() {
        "Namespace" => {
            let spec = map_mut(value, "spec");
            if creating {
                fill(spec, "finalizers", json!(["kubernetes"]));
                fill(map_mut(value, "status"), "phase", "Active");
            }
            let labels = object::meta_mut(value).entry("labels").or_insert(json!({}));
            labels["kubernetes.io/metadata.name"] = name.into();
        }
        "Pod" => {
            let spec = map_mut(value, "spec");
            pod_spec(spec);
            fill(spec, "enableServiceLinks", true);
            fill(spec, "serviceAccountName", "default");
            let account = spec["serviceAccountName"].clone();
            fill(spec, "serviceAccount", account);
            for container in containers(spec) {
                copy_limits(container);
            }
            if creating {
                let class = pods::qos_class(value);
                let status = map_mut(value, "status");
                fill(status, "phase", "Pending");
                fill(status, "qosClass", class);
            }
        }
        "Node" => {
            let status = map_mut(value, "status");
            if let Some(capacity) = status.get("capacity").cloned() {
                fill(status, "allocatable", capacity);
            }
        }
        "Service" => {
            let spec = map_mut(value, "spec");
            fill(spec, "type", "ClusterIP");
            fill(spec, "sessionAffinity", "None");
            for port in list_mut(spec, "ports") {
                fill(port, "protocol", "TCP");
                if let Some(number) = port.get("port").cloned() {
                    fill(port, "targetPort", number);
                }
            }
        }
        "Secret" => {
            if let Some(map) = value.as_object_mut() {
                fill(map, "type", "Opaque");
            }
        }
        "Deployment" => {
            let spec = map_mut(value, "spec");
            fill(spec, "replicas", 1);
            fill(spec, "revisionHistoryLimit", 10);
            fill(spec, "progressDeadlineSeconds", 600);
            let strategy = inner(spec, "strategy");
            fill(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                let rolling = inner(strategy, "rollingUpdate");
                fill(rolling, "maxUnavailable", "25%");
                fill(rolling, "maxSurge", "25%");
            }
            template(spec);
        }
        "ReplicaSet" => {
            let spec = map_mut(value, "spec");
            fill(spec, "replicas", 1);
            template(spec);
        }
        "StatefulSet" => {
            let spec = map_mut(value, "spec");
            fill(spec, "replicas", 1);
            fill(spec, "revisionHistoryLimit", 10);
            fill(spec, "podManagementPolicy", "OrderedReady");
            let strategy = inner(spec, "updateStrategy");
            fill(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                fill(inner(strategy, "rollingUpdate"), "partition", 0);
            }
            let retention = inner(spec, "persistentVolumeClaimRetentionPolicy");
            fill(retention, "whenDeleted", "Retain");
            fill(retention, "whenScaled", "Retain");
            template(spec);
        }
        "DaemonSet" => {
            let spec = map_mut(value, "spec");
            fill(spec, "revisionHistoryLimit", 10);
            let strategy = inner(spec, "updateStrategy");
            fill(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                let rolling = inner(strategy, "rollingUpdate");
                fill(rolling, "maxUnavailable", 1);
                fill(rolling, "maxSurge", 0);
            }
            template(spec);
        }
        "Job" => {
            let uid = object::uid(value).to_string();
            let spec = map_mut(value, "spec");
            fill(spec, "completions", 1);
            fill(spec, "parallelism", 1);
            fill(spec, "backoffLimit", 6);
            fill(spec, "completionMode", "NonIndexed");
            fill(spec, "suspend", false);
            if creating && spec.get("manualSelector") != Some(&json!(true)) {
                let labels = json!({
                    "batch.kubernetes.io/controller-uid": uid, "controller-uid": uid,
                    "batch.kubernetes.io/job-name": name, "job-name": name,
                });
                spec.insert("selector".into(), json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
                let meta = inner(inner(spec, "template"), "metadata");
                if let (Some(all), Some(new)) =
                    (meta.entry("labels").or_insert(json!({})).as_object_mut(), labels.as_object())
                {
                    all.extend(new.clone());
                }
            }
            template(spec);
        }
        _ => {}
    }
}

fn inner<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(key).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("just made an object")
}

fn list_mut<'a>(map: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// All containers of a pod's spec.
pub(super) fn containers(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    spec.iter_mut()
        .filter(|(k, _)| *k == "containers" || *k == "initContainers")
        .filter_map(|(_, v)| v.as_array_mut())
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn template(spec: &mut Map<String, Value>) {
    let template = inner(spec, "template");
    pod_spec(inner(template, "spec"));
}

/// Defaults of a pod's spec, alone or in a template.
fn pod_spec(spec: &mut Map<String, Value>) {
    fill(spec, "restartPolicy", "Always");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "schedulerName", "default-scheduler");
    fill(spec, "securityContext", json!({}));
    for container in containers(spec) {
        fill(container, "resources", json!({}));
        fill(container, "terminationMessagePath", "/dev/termination-log");
        fill(container, "terminationMessagePolicy", "File");
        let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
        let tag = image.rsplit('/').next().and_then(|last| last.split_once([':', '@']));
        let policy = match tag {
            None | Some((_, "latest")) => "Always",
            Some(_) => "IfNotPresent",
        };
        fill(container, "imagePullPolicy", policy);
        for port in list_mut(container, "ports") {
            fill(port, "protocol", "TCP");
        }
    }
}

/// A limit without a request is also the request.
fn copy_limits(container: &mut Map<String, Value>) {
    let resources = inner(container, "resources");
    let limits = resources.get("limits").and_then(Value::as_object).cloned();
    if let Some(limits) = limits.filter(|l| !l.is_empty()) {
        let requests = inner(resources, "requests");
        for (name, quantity) in limits {
            fill(requests, &name, quantity);
        }
    }
}

/// The paths of members that are in `given` and not in `typed`: fields the kind does not have.
pub(super) fn lost(path: &str, given: &Value, typed: &Value, out: &mut Vec<String>) {
    match (given, typed) {
        (Value::Object(given), Value::Object(typed)) => {
            for (name, value) in given {
                let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match typed.get(name) {
                    Some(kept) => lost(&here, value, kept, out),
                    None if value.is_null() => {}
                    // Empty lists and maps may be left out in the canonical form; real ones are kept.
                    None if value.as_array().is_some_and(Vec::is_empty) => {}
                    None => out.push(here),
                }
            }
        }
        (Value::Array(given), Value::Array(typed)) => {
            for (at, (value, kept)) in given.iter().zip(typed).enumerate() {
                lost(&format!("{path}[{at}]"), value, kept, out);
            }
        }
        _ => {}
    }
}
