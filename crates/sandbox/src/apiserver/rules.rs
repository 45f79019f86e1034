//! Rules of the built-in kinds, and of the metadata of all kinds, as far as clients and users of Galaxy meet them.

use serde_json::{Map, Value, json};

use super::{
    kinds::containers,
    object::{self, items, text},
    resource::Resource,
    selector::LabelSelector,
    status::Cause,
};

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
