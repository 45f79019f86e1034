//! CustomResourceDefinitions: checks, what the server adds, and the resources they make.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    custom::Custom,
    object::{self, fill, items, map_mut, set_condition, text},
    resource::{Flavour, Resource, ScalePaths},
    schema,
    status::Cause,
    store::{Key, Store},
};

/// Rules of a definition.
pub(super) fn validate(crd: &Value, causes: &mut Vec<Cause>) {
    let group = text(crd, "/spec/group");
    let plural = text(crd, "/spec/names/plural");
    let name = object::name(crd);
    if name != format!("{plural}.{group}") {
        causes.push(Cause::invalid("metadata.name", &name.into(), "must be spec.names.plural+\".\"+spec.group"));
    }
    for (field, value) in
        [("spec.group", group), ("spec.names.plural", plural), ("spec.names.kind", text(crd, "/spec/names/kind"))]
    {
        if value.is_empty() {
            causes.push(Cause::required(field, ""));
        }
    }
    let scope = &crd["spec"]["scope"];
    let scopes = [json!("Cluster"), json!("Namespaced")];
    if !scopes.contains(scope) {
        causes.push(Cause::unsupported("spec.scope", scope, &scopes));
    }
    let protected =
        ["k8s.io", "kubernetes.io"].iter().any(|suffix| group == *suffix || group.ends_with(&format!(".{suffix}")));
    let approval = "api-approved.kubernetes.io";
    if protected && crd["metadata"]["annotations"][approval].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required(
            format!("metadata.annotations[{approval}]"),
            format!("protected groups must have approval annotation {approval:?}, see https://github.com/kubernetes/enhancements/pull/1111"),
        ));
    }
    let versions = items(crd, "/spec/versions");
    let storage = versions.iter().filter(|v| v["storage"] == true).count();
    if storage != 1 {
        causes.push(Cause::invalid(
            "spec.versions",
            &crd["spec"]["versions"],
            "must have exactly one version marked as storage version",
        ));
    }
    for (at, version) in versions.iter().enumerate() {
        let here = format!("spec.versions[{at}]");
        let name = text(version, "/name");
        if versions[..at].iter().any(|v| text(v, "/name") == name) {
            causes.push(Cause::duplicate(format!("{here}.name"), &name.into()));
        }
        let root = &version["schema"]["openAPIV3Schema"];
        let here = format!("{here}.schema.openAPIV3Schema");
        if root.is_null() {
            causes.push(Cause::required(here, "schemas are required"));
        } else {
            if root["type"] != "object" {
                causes.push(Cause::invalid(format!("{here}.type"), &root["type"], "must be object at the root"));
            }
            structural(root, &here, causes);
        }
    }
}

/// Every field has a type, and every pattern can be compiled.
fn structural(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let untyped = schema["type"].as_str().is_none_or(str::is_empty);
    let excused =
        schema["x-kubernetes-int-or-string"] == true || schema["x-kubernetes-preserve-unknown-fields"] == true;
    if untyped && !excused {
        causes.push(Cause::required(format!("{path}.type"), "must not be empty for specified object fields"));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && let Err(error) = schema::compiled(pattern)
    {
        causes.push(Cause::invalid(
            format!("{path}.pattern"),
            &pattern.into(),
            format!("must be a valid regular expression, but isn't: {error}"),
        ));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        structural(field, &format!("{path}.properties[{name}]"), causes);
    }
    for member in ["items", "additionalProperties"] {
        if schema[member].is_object() {
            structural(&schema[member], &format!("{path}.{member}"), causes);
        }
    }
}

/// Fills in names and the status of a definition that is served from now on.
pub(super) fn complete(crd: &mut Value, now: Timestamp) {
    let kind = text(crd, "/spec/names/kind").to_string();
    let spec = map_mut(crd, "spec");
    fill(spec, "conversion", json!({"strategy": "None"}));
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        fill(names, "singular", kind.to_lowercase());
        fill(names, "listKind", format!("{kind}List"));
    }
    let names = crd["spec"]["names"].clone();
    let storage: Vec<Value> =
        items(crd, "/spec/versions").iter().filter(|v| v["storage"] == true).map(|v| v["name"].clone()).collect();
    set_condition(crd, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now);
    set_condition(crd, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now);
    let status = map_mut(crd, "status");
    status.insert("acceptedNames".into(), names);
    let stored = status.entry("storedVersions").or_insert(json!([]));
    if let Some(list) = stored.as_array_mut() {
        for version in storage {
            if !list.contains(&version) {
                list.push(version);
            }
        }
    }
}

/// Writes 0.0 as 0: the Rust type of a schema has floating point bounds, the user wrote integers.
pub(super) fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(n) if n.is_f64() => {
            let number = n.as_f64().unwrap_or(0.5);
            // Exact in both types below 2^53.
            if number.fract() == 0.0 && number.abs() < 9.0e15 {
                #[allow(clippy::cast_possible_truncation)]
                let whole = number as i64;
                *value = whole.into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Serves the resources of a definition from now on.
pub(super) fn register(store: &mut Store, crd: &Value) {
    let group = text(crd, "/spec/group");
    let plural = text(crd, "/spec/names/plural");
    store.registry.remove(group, plural);
    let strings = |pointer: &str| -> Vec<String> {
        items(crd, pointer).iter().filter_map(|v| v.as_str().map(Into::into)).collect()
    };
    let storage_version = items(crd, "/spec/versions")
        .iter()
        .find(|v| v["storage"] == true)
        .map(|v| text(v, "/name"))
        .unwrap_or_default();
    for version in items(crd, "/spec/versions") {
        if version["served"] != true {
            continue;
        }
        let schema = version["schema"]["openAPIV3Schema"].clone();
        let subresources = &version["subresources"];
        let pointer = |path: &Value| path.as_str().map(|p| p.replace('.', "/")).filter(|p| !p.is_empty());
        let scale = &subresources["scale"];
        let scale = match (pointer(&scale["specReplicasPath"]), pointer(&scale["statusReplicasPath"])) {
            (Some(spec_replicas), Some(status_replicas)) => {
                Some(ScalePaths { spec_replicas, status_replicas, selector: pointer(&scale["labelSelectorPath"]) })
            }
            _ => None,
        };
        let fields = items(version, "/selectableFields")
            .iter()
            .map(|f| text(f, "/jsonPath").trim_start_matches('.').to_string())
            .collect();
        store.registry.insert(Resource {
            group: group.into(),
            version: text(version, "/name").into(),
            kind: text(crd, "/spec/names/kind").into(),
            list_kind: text(crd, "/spec/names/listKind").into(),
            plural: plural.into(),
            singular: text(crd, "/spec/names/singular").into(),
            short_names: strings("/spec/names/shortNames"),
            categories: strings("/spec/names/categories"),
            namespaced: text(crd, "/spec/scope") == "Namespaced",
            status: subresources["status"].is_object(),
            scale,
            fields,
            storage: format!("{plural}.{group}"),
            flavour: Flavour::Custom(Arc::new(Custom {
                has_defaults: schema::has_defaults(&schema),
                schema,
                columns: items(version, "/additionalPrinterColumns").to_vec(),
                storage_api_version: format!("{group}/{storage_version}"),
            })),
        });
    }
}

/// Ends the service of a definition that is gone, and its objects.
pub(super) fn unregister(store: &mut Store, crd: &Value) {
    let group = text(crd, "/spec/group");
    let plural = text(crd, "/spec/names/plural");
    let storage = format!("{plural}.{group}");
    for object in store.list(&storage, None) {
        let key = Key::new(&storage, object::namespace(&object), object::name(&object));
        store.remove(&key);
    }
    store.registry.remove(group, plural);
}
