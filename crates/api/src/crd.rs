//! The custom resource definitions, made from the types.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool, ValidationRule,
};
use kube::CustomResourceExt;

use crate::{FloatingIP, Pool, names};

/// What a `FloatingIP` may be named: a canonical address, see `galaxy_core::addr::object_name`.
const ADDRESS_NAME: &str =
    r"^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}|[0-9a-f]{4}(-[0-9a-f]{4}){7})$";
/// Length of the longest address name. Also what bounds the cost of the rule about it.
const ADDRESS_NAME_BYTES: i64 = 39;

/// What `kubectl get` prints: name, type, path, and whether only with `-o wide`.
type Column = (&'static str, &'static str, &'static str, bool);

const FLOATING_IP_COLUMNS: &[Column] = &[
    ("IP", "string", ".spec.address", false),
    ("Namespace", "string", ".spec.owner.namespace", false),
    ("Owner", "string", ".spec.owner.name", false),
    ("Pod", "string", ".spec.pod.name", false),
    ("Node", "string", ".spec.node", false),
    ("Policy", "integer", ".spec.policy", false),
    ("Pool", "string", ".spec.pool", false),
    ("State", "string", ".spec.state", false),
    // Galaxy never writes an administrator's object, so this is all that one has beside its name.
    ("Reserved", "string", ".metadata.labels.reserved", false),
    ("Age", "date", ".metadata.creationTimestamp", false),
    ("Kind", "string", ".spec.owner.kind", true),
    ("Gateway", "string", ".spec.gateway", true),
    ("Vlan", "integer", ".spec.vlan", true),
    ("Updated", "date", ".spec.updateTime", true),
    ("Key", "string", ".spec.key", true),
];

const POOL_COLUMNS: &[Column] = &[
    ("Size", "integer", ".size", false),
    ("Real", "integer", ".status.realSize", false),
    ("Used", "integer", ".status.used", false),
    ("Reserved", "integer", ".status.reserved", false),
    ("Preallocate", "boolean", ".preAllocateIP", false),
    ("Accepted", "string", ".status.conditions[?(@.type==\"Accepted\")].status", false),
    ("Age", "date", ".metadata.creationTimestamp", false),
];

/// All definitions that Galaxy needs, in the order to apply them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![floating_ip(), pool()]
}

fn pool() -> CustomResourceDefinition {
    let mut crd = finish(Pool::crd(), POOL_COLUMNS);
    if let Some(root) = root_schema(&mut crd) {
        root.required = Some(vec!["size".to_owned()]);
    }
    crd
}

fn floating_ip() -> CustomResourceDefinition {
    let mut crd = finish(FloatingIP::crd(), FLOATING_IP_COLUMNS);
    const NAMED: &str = "a FloatingIP is named by its address: 10.0.0.5, or all eight groups of an IPv6 address in four \
                         lower-case digits each with - for :, as 2001-0db8-0000-0000-0000-0000-0000-0001";
    const ADDRESSED: &str = "the address must be the one that the object is named by, with a prefix length";
    if let Some(root) = root_schema(&mut crd) {
        root.x_kubernetes_validations = Some(vec![
            ValidationRule {
                message_expression: Some(format!("'metadata.name ' + self.metadata.name + ': {NAMED}'")),
                ..rule(&format!("self.metadata.name.matches('{}')", ADDRESS_NAME.replace('\\', r"\\")), NAMED, None)
            },
            ValidationRule {
                message_expression: Some(format!("self.spec.address + ': {ADDRESSED}'")),
                ..rule(
                    "!has(self.spec.address) || self.metadata.name.contains('-') || \
                     self.spec.address.startsWith(self.metadata.name + '/')",
                    ADDRESSED,
                    Some(".spec.address"),
                )
            },
        ]);
        let name = JSONSchemaProps {
            type_: Some("string".to_owned()),
            max_length: Some(ADDRESS_NAME_BYTES),
            ..JSONSchemaProps::default()
        };
        let metadata = JSONSchemaProps {
            type_: Some("object".to_owned()),
            properties: Some(BTreeMap::from([("name".to_owned(), name)])),
            ..JSONSchemaProps::default()
        };
        let properties = root.properties.get_or_insert_default();
        properties.insert("metadata".to_owned(), metadata);
        if let Some(spec) = properties.get_mut("spec") {
            // All that a reservation by hand has; everything else came later or is galaxy-ipam's.
            spec.required = Some(vec!["key".to_owned(), "policy".to_owned()]);
            spec.x_kubernetes_validations = Some(vec![
                rule(
                    "!has(self.state) || self.state != 'Bound' || has(self.pod)",
                    "an address in state Bound needs pod",
                    Some(".pod"),
                ),
                rule(
                    "!has(self.state) || self.state != 'Quarantined' || (has(self.node) && has(self.releasedAt))",
                    "an address in state Quarantined needs node and releasedAt",
                    Some(".state"),
                ),
            ]);
        }
    }
    crd
}

fn rule(rule: &str, message: &str, field_path: Option<&str>) -> ValidationRule {
    ValidationRule {
        rule: rule.to_owned(),
        message: Some(message.to_owned()),
        field_path: field_path.map(str::to_owned),
        ..ValidationRule::default()
    }
}

/// What both definitions need beyond the derived part.
fn finish(mut crd: CustomResourceDefinition, columns: &[Column]) -> CustomResourceDefinition {
    let approved = (names::API_APPROVED_ANNOTATION.to_owned(), names::API_APPROVED_VALUE.to_owned());
    crd.metadata.annotations.get_or_insert_default().extend([approved]);
    crd.spec.names.list_kind = Some(format!("{}List", crd.spec.names.kind));
    if let Some(version) = crd.spec.versions.first_mut() {
        version.additional_printer_columns = Some(columns.iter().map(column).collect());
    }
    if let Some(root) = root_schema(&mut crd) {
        tidy(root);
    }
    crd
}

fn column(&(name, type_, json_path, wide): &Column) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: type_.to_owned(),
        json_path: json_path.to_owned(),
        priority: wide.then_some(1),
        ..CustomResourceColumnDefinition::default()
    }
}

fn root_schema(crd: &mut CustomResourceDefinition) -> Option<&mut JSONSchemaProps> {
    crd.spec.versions.first_mut()?.schema.as_mut()?.open_api_v3_schema.as_mut()
}

/// Takes out what the derivation adds and the definitions do without.
///
/// Optional members are absent, never null and never filled in: the API server drops nulls, rules can trust `has`.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.default = None;
    schema.title = None;
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        tidy(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
