//! Defaults and rules of the built-in kinds, as far as clients and users of Galaxy meet them.

use serde_json::{Map, Value, json};

use super::{
    object::{self, fill, items, map_mut, text},
    pods,
    resource::Resource,
    selector::LabelSelector,
    status::Cause,
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

fn containers(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
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

/// The rules that a new state must keep.
pub(super) fn validate(r: &Resource, value: &Value, causes: &mut Vec<Cause>) {
    metadata(&value["metadata"], causes);
    match r.kind.as_str() {
        "Pod" => validate_pod_spec("spec", &value["spec"], false, causes),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
            non_negative(value, "/spec/replicas", causes);
            let selector = &value["spec"]["selector"];
            let template = &value["spec"]["template"];
            let empty = |member: &str| {
                selector[member].as_object().is_none_or(Map::is_empty)
                    && selector[member].as_array().is_none_or(Vec::is_empty)
            };
            if selector.is_null() {
                causes.push(Cause::required("spec.selector", ""));
            } else if empty("matchLabels") && empty("matchExpressions") {
                causes.push(Cause::invalid(
                    "spec.selector",
                    selector,
                    format!("empty selector is invalid for {}", r.singular),
                ));
            } else if !LabelSelector::from_object(selector).matches(template) {
                causes.push(Cause::invalid(
                    "spec.template.metadata.labels",
                    &template["metadata"]["labels"],
                    "`selector` does not match template `labels`",
                ));
            }
            validate_pod_spec("spec.template.spec", &template["spec"], true, causes);
        }
        "Job" => validate_pod_spec("spec.template.spec", &value["spec"]["template"]["spec"], false, causes),
        "Lease" => {
            if let Some(seconds) = object::int(value, "/spec/leaseDurationSeconds")
                && seconds <= 0
            {
                causes.push(Cause::invalid("spec.leaseDurationSeconds", &seconds.into(), "must be greater than 0"));
            }
        }
        "CustomResourceDefinition" => super::crd::validate(value, causes),
        "PodDisruptionBudget"
            if !value["spec"]["minAvailable"].is_null() && !value["spec"]["maxUnavailable"].is_null() =>
        {
            causes.push(Cause::invalid("spec", &value["spec"], "minAvailable and maxUnavailable cannot be both set"));
        }
        _ => {}
    }
}

fn non_negative(value: &Value, pointer: &str, causes: &mut Vec<Cause>) {
    if let Some(n) = object::int(value, pointer)
        && n < 0
    {
        causes.push(Cause::invalid(
            pointer.trim_start_matches('/').replace('/', "."),
            &n.into(),
            "must be greater than or equal to 0",
        ));
    }
}

/// Label and annotation syntax.
pub(super) fn metadata(meta: &Value, causes: &mut Vec<Cause>) {
    for member in ["labels", "annotations"] {
        for (key, value) in meta[member].as_object().into_iter().flatten() {
            let (prefix, name) = match key.split_once('/') {
                Some((prefix, name)) => (Some(prefix), name),
                None => (None, key.as_str()),
            };
            if !is_qualified(name) || prefix.is_some_and(|p| !object::is_dns_name(&p.to_lowercase(), true, 253)) {
                causes.push(Cause::invalid(
                    format!("metadata.{member}"),
                    &key.as_str().into(),
                    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc')",
                ));
            }
            let label = value.as_str().unwrap_or_default();
            if member == "labels" && !label.is_empty() && !is_qualified(label) {
                causes.push(Cause::invalid(
                    "metadata.labels",
                    value,
                    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345')",
                ));
            }
        }
    }
    for (at, owner) in meta["ownerReferences"].as_array().into_iter().flatten().enumerate() {
        for member in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &format!("/{member}")).is_empty() {
                causes.push(Cause::invalid(
                    format!("metadata.ownerReferences[{at}].{member}"),
                    &"".into(),
                    format!("{member} must not be empty"),
                ));
            }
        }
    }
    let controllers = meta["ownerReferences"].as_array().into_iter().flatten().filter(|o| o["controller"] == true);
    if controllers.count() > 1 {
        causes.push(Cause::invalid(
            "metadata.ownerReferences",
            &meta["ownerReferences"],
            "Only one reference can have Controller set to true",
        ));
    }
}

fn is_qualified(name: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63 && name.bytes().all(inside) && edge(name.chars().next()) && edge(name.chars().next_back())
}

fn validate_pod_spec(path: &str, spec: &Value, in_template: bool, causes: &mut Vec<Cause>) {
    if items(spec, "/containers").is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    if in_template && text(spec, "/restartPolicy") != "Always" {
        causes.push(Cause::unsupported(format!("{path}.restartPolicy"), &spec["restartPolicy"], [&json!("Always")]));
    }
    let mut names = Vec::new();
    for member in ["initContainers", "containers"] {
        for (at, container) in items(spec, &format!("/{member}")).iter().enumerate() {
            let here = format!("{path}.{member}[{at}]");
            let name = text(container, "/name");
            if name.is_empty() {
                causes.push(Cause::required(format!("{here}.name"), ""));
            } else if names.contains(&name) {
                causes.push(Cause::duplicate(format!("{here}.name"), &name.into()));
            }
            names.push(name);
            if text(container, "/image").is_empty() {
                causes.push(Cause::required(format!("{here}.image"), ""));
            }
            validate_resources(&here, &container["resources"], causes);
        }
    }
}

/// Quantities can be read, and extended resources are whole numbers that are asked for exactly.
fn validate_resources(path: &str, resources: &Value, causes: &mut Vec<Cause>) {
    for member in ["limits", "requests"] {
        for (name, quantity) in resources[member].as_object().into_iter().flatten() {
            let field = format!("{path}.resources.{member}[{name}]");
            let amount = quantity.as_str().unwrap_or_default();
            if !is_quantity(amount) {
                causes.push(Cause::invalid(
                    field,
                    quantity,
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                ));
            } else if is_extended(name) && !amount.bytes().all(|b| b.is_ascii_digit() || b"kMGTPEi".contains(&b)) {
                causes.push(Cause::invalid(field, quantity, "must be an integer"));
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        if !is_extended(name) {
            continue;
        }
        match resources["limits"].get(name) {
            None => causes.push(Cause::required(
                format!("{path}.resources.limits"),
                "Limit must be set for non overcommitable resources",
            )),
            Some(limit) if limit != request => causes.push(Cause::invalid(
                format!("{path}.resources.requests"),
                request,
                format!("must be equal to {name} limit of {}", limit.as_str().unwrap_or_default()),
            )),
            Some(_) => {}
        }
    }
}

fn is_quantity(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .is_some_and(|e| !e.is_empty() && e.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit()));
    let known = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    number.bytes().any(|b| b.is_ascii_digit())
        && number.matches('.').count() <= 1
        && (known.contains(&suffix) || exponent)
}

fn is_extended(resource: &str) -> bool {
    resource.split_once('/').is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

/// The rules that a change must keep.
pub(super) fn validate_update(r: &Resource, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let without = |value: &Value, members: &[&str]| {
        let mut spec = value["spec"].clone();
        if let Some(map) = spec.as_object_mut() {
            for member in members {
                map.remove(*member);
            }
        }
        spec
    };
    let immutable = |pointer: &str, causes: &mut Vec<Cause>| {
        let (before, after) = (old.pointer(pointer), new.pointer(pointer));
        if before != after {
            causes.push(Cause::invalid(
                pointer.trim_start_matches('/').replace('/', "."),
                after.unwrap_or(&Value::Null),
                "field is immutable",
            ));
        }
    };
    match r.kind.as_str() {
        "Pod" => {
            let frozen = |value: &Value| {
                let mut spec = without(
                    value,
                    &["activeDeadlineSeconds", "terminationGracePeriodSeconds", "schedulingGates", "tolerations"],
                );
                for container in spec.as_object_mut().into_iter().flat_map(containers) {
                    container.remove("image");
                    container.remove("imagePullPolicy");
                }
                spec
            };
            let kept = items(old, "/spec/tolerations").iter().all(|t| {
                items(new, "/spec/tolerations").iter().any(|n| n["key"] == t["key"] && n["effect"] == t["effect"])
            });
            if frozen(old) != frozen(new) || !kept {
                causes.push(Cause::forbidden(
                    "spec",
                    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
                ));
            }
        }
        "Deployment" | "ReplicaSet" | "DaemonSet" => immutable("/spec/selector", causes),
        "Job" => {
            immutable("/spec/selector", causes);
            immutable("/spec/template", causes);
        }
        "StatefulSet" => {
            let free = [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ];
            if without(old, &free) != without(new, &free) {
                causes.push(Cause::forbidden(
                    "spec",
                    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
                ));
            }
        }
        "ControllerRevision" => immutable("/data", causes),
        "PriorityClass" => immutable("/value", causes),
        "ConfigMap" | "Secret" if old["immutable"] == true => {
            for member in ["/data", "/binaryData", "/immutable"] {
                immutable(member, causes);
            }
        }
        "CustomResourceDefinition" => {
            immutable("/spec/group", causes);
            immutable("/spec/scope", causes);
            immutable("/spec/names/kind", causes);
            immutable("/spec/names/plural", causes);
        }
        _ => {}
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
