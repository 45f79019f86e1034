//! The schemas of the built-in kinds, from their Rust types.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1 as apps, batch::v1 as batch, coordination::v1 as coordination, core::v1 as core, events::v1 as events,
        policy::v1 as policy, scheduling::v1 as scheduling,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::{
    resource::Resource,
    strategic::{ListKind, list_kind},
};

/// Where the schema of `metadata` is.
pub(super) const OBJECT_META: &str = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The name of the schema of a resource's kind.
pub(super) fn name(r: &Resource) -> String {
    let package = match r.group.as_str() {
        "apiextensions.k8s.io" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions".to_string(),
        _ if r.as_builtin().is_none() => {
            let reversed: Vec<&str> = r.group.split('.').rev().collect();
            reversed.join(".")
        }
        "" => "io.k8s.api.core".to_string(),
        group => format!("io.k8s.api.{}", group.split('.').next().unwrap_or_default()),
    };
    format!("{package}.{}.{}", r.version, r.kind)
}

/// The schemas of the built-in kinds among `resources`, and all they refer to.
pub(super) fn of(resources: &[&Arc<Resource>]) -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    generator.subschema_for::<ObjectMeta>();
    for r in resources {
        if r.as_builtin().is_some() {
            add(&mut generator, &r.group, &r.kind);
        }
    }
    let mut schemas = generator.take_definitions(true);
    for (name, schema) in &mut schemas {
        let parent = if name.ends_with(".ServiceSpec") { "spec" } else { "" };
        mark_lists(parent, schema);
    }
    schemas
}

fn add(generator: &mut SchemaGenerator, group: &str, kind: &str) {
    match (group, kind) {
        ("", "Namespace") => generator.subschema_for::<core::Namespace>(),
        ("", "Node") => generator.subschema_for::<core::Node>(),
        ("", "Pod") => generator.subschema_for::<core::Pod>(),
        ("", "ConfigMap") => generator.subschema_for::<core::ConfigMap>(),
        ("", "Secret") => generator.subschema_for::<core::Secret>(),
        ("", "Service") => generator.subschema_for::<core::Service>(),
        ("", "ServiceAccount") => generator.subschema_for::<core::ServiceAccount>(),
        ("", "Event") => generator.subschema_for::<core::Event>(),
        (_, "Event") => generator.subschema_for::<events::Event>(),
        (_, "Deployment") => generator.subschema_for::<apps::Deployment>(),
        (_, "ReplicaSet") => generator.subschema_for::<apps::ReplicaSet>(),
        (_, "StatefulSet") => generator.subschema_for::<apps::StatefulSet>(),
        (_, "DaemonSet") => generator.subschema_for::<apps::DaemonSet>(),
        (_, "ControllerRevision") => generator.subschema_for::<apps::ControllerRevision>(),
        (_, "Job") => generator.subschema_for::<batch::Job>(),
        (_, "Lease") => generator.subschema_for::<coordination::Lease>(),
        (_, "PodDisruptionBudget") => generator.subschema_for::<policy::PodDisruptionBudget>(),
        (_, "PriorityClass") => generator.subschema_for::<scheduling::PriorityClass>(),
        (_, "CustomResourceDefinition") => generator.subschema_for::<apiextensions::CustomResourceDefinition>(),
        _ => return,
    };
}

/// Says of each list how it is merged, so that kubectl computes the patches that the server understands.
fn mark_lists(parent: &str, schema: &mut Value) {
    let Some(properties) = schema["properties"].as_object_mut() else {
        return;
    };
    for (name, property) in properties {
        if property["type"] != "array" {
            continue;
        }
        match list_kind(parent, name) {
            ListKind::Atomic => {}
            ListKind::Set => property["x-kubernetes-patch-strategy"] = "merge".into(),
            ListKind::Keyed(key) => {
                property["x-kubernetes-patch-strategy"] = "merge".into();
                property["x-kubernetes-patch-merge-key"] = key.into();
            }
        }
    }
}
