//! OpenAPI v3 documents: schemas for `kubectl explain` and apply, and the parameters by which kubectl knows what the server checks.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::resource::Resource;

/// The index at `/openapi/v3`, or the document of one group and version below it.
pub(super) fn get(resources: &[Arc<Resource>], path: &str) -> Option<Value> {
    let rest = path.strip_prefix("/openapi/v3")?;
    if rest.is_empty() {
        let paths: Map<String, Value> = resources
            .iter()
            .map(|r| {
                let root = root(r);
                let url = format!("/openapi/v3/{root}?hash={}", hash(resources, &root));
                (root, json!({"serverRelativeURL": url}))
            })
            .collect();
        return Some(json!({"paths": paths}));
    }
    let wanted = rest.trim_start_matches('/');
    let of_version: Vec<&Arc<Resource>> = resources.iter().filter(|r| root(r) == wanted).collect();
    (!of_version.is_empty()).then(|| document(&of_version))
}

/// `api/v1` or `apis/GROUP/VERSION`.
fn root(r: &Resource) -> String {
    if r.group.is_empty() { format!("api/{}", r.version) } else { format!("apis/{}/{}", r.group, r.version) }
}

/// Changes whenever a document does, for kubectl keeps documents by this.
fn hash(resources: &[Arc<Resource>], wanted: &str) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    for r in resources.iter().filter(|r| root(r) == wanted) {
        r.plural.hash(&mut hasher);
        if let Some(custom) = r.custom() {
            custom.schema.to_string().hash(&mut hasher);
        }
    }
    format!("{:016X}", hasher.finish())
}

fn document(resources: &[&Arc<Resource>]) -> Value {
    let mut schemas = super::typed_schemas::of(resources);
    let mut paths = Map::new();
    for r in resources {
        let gvk = json!({"group": r.group, "version": r.version, "kind": r.kind});
        let name = super::typed_schemas::name(r);
        if let Some(custom) = r.custom() {
            let mut schema = custom.schema.clone();
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            schema["properties"] = Value::Object(properties);
            for member in ["apiVersion", "kind"] {
                schema["properties"][member] = json!({"type": "string"});
            }
            schema["properties"]["metadata"] =
                json!({"allOf": [{"$ref": super::typed_schemas::OBJECT_META}], "default": {}});
            schemas.insert(name.clone(), schema);
        }
        if let Some(schema) = schemas.get_mut(&name) {
            schema["x-kubernetes-group-version-kind"] = json!([gvk]);
        }
        let scope = if r.namespaced { "namespaces/{namespace}/" } else { "" };
        let collection = format!("/{}/{scope}{}", root(r), r.plural);
        let reference = json!({"$ref": format!("#/components/schemas/{name}")});
        let content = json!({"application/json": {"schema": reference}});
        let operation = |action: &str| {
            let mut parameters: Vec<Value> = Vec::new();
            if matches!(action, "post" | "put" | "patch") {
                for name in ["dryRun", "fieldManager", "fieldValidation"] {
                    parameters
                        .push(json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}));
                }
            }
            json!({
                "operationId": format!("{action}{}{}", r.kind, r.version), "parameters": parameters,
                "responses": {"200": {"description": "OK", "content": content}},
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk,
            })
        };
        paths.insert(collection.clone(), json!({"get": operation("list"), "post": operation("post")}));
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({"get": operation("get"), "put": operation("put"), "patch": operation("patch"), "delete": operation("delete")}),
        );
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes (galaxy-sandbox)", "version": "v1.37.2"},
        "paths": paths, "components": {"schemas": schemas},
    })
}
