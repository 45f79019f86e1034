//! Structural schemas of custom resources: pruning, defaulting and validation.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, OnceLock, PoisonError},
};

use regex::Regex;
use serde_json::Value;

use super::status::{Cause, type_name};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

/// Drops what the schema does not know, and nulls where it does not allow them; names the unknown fields.
pub(super) fn prune(value: &mut Value, schema: &Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let additional = &schema["additionalProperties"];
            let keep = schema[PRESERVE] == true || *additional == Value::Bool(true);
            let system: &[&str] =
                if path.is_empty() || schema[EMBEDDED] == true { &["apiVersion", "kind", "metadata"] } else { &[] };
            map.retain(|name, member| {
                if system.contains(&name.as_str()) {
                    return true;
                }
                let here = child(path, name);
                let known = match &schema["properties"][name] {
                    Value::Null if additional.is_object() => additional,
                    known => known,
                };
                if known.is_null() {
                    if !keep {
                        unknown.push(here);
                    }
                    return keep;
                }
                if member.is_null() && known["nullable"] != true {
                    return false;
                }
                prune(member, known, &here, unknown);
                true
            });
        }
        Value::Array(list) => {
            for (at, item) in list.iter_mut().enumerate() {
                if schema["items"].is_object() {
                    prune(item, &schema["items"], &format!("{path}[{at}]"), unknown);
                }
            }
        }
        _ => {}
    }
}

/// Fills in the defaults of absent members.
pub(super) fn default(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            for (name, known) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = known.get("default")
                    && !map.contains_key(name)
                {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(member) = map.get_mut(name) {
                    self::default(member, known);
                }
            }
            let additional = &schema["additionalProperties"];
            if additional.is_object() {
                for (name, member) in map {
                    if schema["properties"][name].is_null() {
                        self::default(member, additional);
                    }
                }
            }
        }
        Value::Array(list) => {
            for item in list {
                default(item, &schema["items"]);
            }
        }
        _ => {}
    }
}

/// Whether a schema has a default anywhere.
pub(super) fn has_defaults(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(key, value)| match key.as_str() {
            "default" => true,
            // Names of fields, not keywords.
            "properties" => value.as_object().is_some_and(|fields| fields.values().any(has_defaults)),
            "items" | "additionalProperties" => has_defaults(value),
            _ => false,
        }),
        _ => false,
    }
}

/// Checks a value against its schema and names everything that is wrong.
pub(super) fn validate(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if !schema.is_object() {
        return;
    }
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if let Some(expected) = wrong_type(value, schema) {
        causes.push(Cause::mistyped(path, value, expected));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        causes.push(Cause::unsupported(path, value, allowed));
    }
    match value {
        Value::Number(_) => number(value, schema, path, causes),
        Value::String(text) => string(text, value, schema, path, causes),
        Value::Array(list) => array(list, value, schema, path, causes),
        Value::Object(map) => {
            for required in schema["required"].as_array().into_iter().flatten() {
                let name = required.as_str().unwrap_or_default();
                if !map.contains_key(name) {
                    causes.push(Cause::required(child(path, name), ""));
                }
            }
            size(map.len(), ["minProperties", "maxProperties"], "properties", value, schema, path, causes);
            for (name, member) in map {
                let known = match &schema["properties"][name] {
                    Value::Null => &schema["additionalProperties"],
                    known => known,
                };
                // The type of a root's metadata is checked elsewhere.
                if !(path.is_empty() && name == "metadata") {
                    validate(member, known, &child(path, name), causes);
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    combined(value, schema, path, causes);
}

/// The expected type, if the value is of another.
fn wrong_type<'a>(value: &Value, schema: &'a Value) -> Option<&'a str> {
    if schema[INT_OR_STRING] == true {
        return (!matches!(type_name(value), "integer" | "string")).then_some("integer,string");
    }
    let expected = schema["type"].as_str()?;
    let whole = value.as_f64().is_some_and(|n| n.fract() == 0.0);
    let fits = match (expected, type_name(value)) {
        ("number", "integer") => true,
        ("integer", "number") => whole,
        (expected, found) => expected == found,
    };
    (!fits).then_some(expected)
}

fn number(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(n) = value.as_f64() else {
        return;
    };
    let mut complain = |what: &str, bound: &Value| {
        causes.push(Cause::invalid(path, value, format!("{path} in body should be {what} {bound}")));
    };
    if let Some(min) = schema["minimum"].as_f64() {
        if schema["exclusiveMinimum"] == true && n <= min {
            complain("greater than", &schema["minimum"]);
        } else if n < min {
            complain("greater than or equal to", &schema["minimum"]);
        }
    }
    if let Some(max) = schema["maximum"].as_f64() {
        if schema["exclusiveMaximum"] == true && n >= max {
            complain("less than", &schema["maximum"]);
        } else if n > max {
            complain("less than or equal to", &schema["maximum"]);
        }
    }
    if let Some(step) = schema["multipleOf"].as_f64()
        && step > 0.0
        && (n / step).fract() != 0.0
    {
        complain("a multiple of", &schema["multipleOf"]);
    }
    let fits = match schema["format"].as_str() {
        Some("int32") => value.as_i64().is_none_or(|n| i32::try_from(n).is_ok()),
        Some("int64") => value.as_i64().is_some() || value.as_u64().is_none(),
        _ => true,
    };
    if !fits {
        complain("of format", &schema["format"]);
    }
}

fn string(text: &str, value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let length = text.chars().count();
    let bound = |key: &str| schema[key].as_u64().and_then(|n| usize::try_from(n).ok());
    if let Some(min) = bound("minLength").filter(|min| length < *min) {
        causes.push(Cause::invalid(path, value, format!("{path} in body should be at least {min} chars long")));
    }
    if let Some(max) = bound("maxLength").filter(|max| length > *max) {
        causes.push(Cause::invalid(path, value, format!("{path} in body should be at most {max} chars long")));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && compiled(pattern).is_ok_and(|regex| !regex.is_match(text))
    {
        causes.push(Cause::invalid(path, value, format!("{path} in body should match '{pattern}'")));
    }
    if let Some(format) = schema["format"].as_str()
        && !fits_format(text, format)
    {
        causes.push(Cause::invalid(path, value, format!("{path} in body must be of type {format}: {text:?}")));
    }
}

fn array(list: &[Value], value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    size(list.len(), ["minItems", "maxItems"], "items", value, schema, path, causes);
    for (at, item) in list.iter().enumerate() {
        validate(item, &schema["items"], &format!("{path}[{at}]"), causes);
    }
    let unique = schema["uniqueItems"] == true || schema["x-kubernetes-list-type"] == "set";
    let keys: Vec<&str> =
        schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_map = schema["x-kubernetes-list-type"] == "map";
    let same = |a: &Value, b: &Value| {
        if is_map { keys.iter().all(|key| a[key] == b[key]) } else { a == b }
    };
    if unique || is_map {
        for (at, item) in list.iter().enumerate() {
            if list[..at].iter().any(|before| same(before, item)) {
                causes.push(Cause::duplicate(format!("{path}[{at}]"), item));
            }
        }
    }
}

fn size(
    found: usize,
    [min, max]: [&str; 2],
    what: &str,
    value: &Value,
    schema: &Value,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let found = found as u64;
    if let Some(min) = schema[min].as_u64().filter(|min| found < *min) {
        causes.push(Cause::invalid(path, value, format!("{path} in body should have at least {min} {what}")));
    }
    if let Some(max) = schema[max].as_u64().filter(|max| found > *max) {
        causes.push(Cause::invalid(path, value, format!("{path} in body should have at most {max} {what}")));
    }
}

fn combined(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let fits = |schema: &Value| {
        let mut causes = Vec::new();
        validate(value, schema, path, &mut causes);
        causes.is_empty()
    };
    let list = |key: &str| schema[key].as_array().map(Vec::as_slice);
    for part in list("allOf").unwrap_or_default() {
        validate(value, part, path, causes);
    }
    if let Some(any) = list("anyOf")
        && !any.iter().any(fits)
    {
        causes.push(Cause::invalid(path, value, format!("{path} in body must validate at least one schema (anyOf)")));
    }
    if let Some(one) = list("oneOf")
        && one.iter().filter(|s| fits(s)).count() != 1
    {
        causes.push(Cause::invalid(
            path,
            value,
            format!("{path} in body must validate one and only one schema (oneOf)"),
        ));
    }
    if schema["not"].is_object() && fits(&schema["not"]) {
        causes.push(Cause::invalid(path, value, format!("{path} in body must not validate the schema (not)")));
    }
}

/// A pattern, compiled once.
///
/// # Errors
/// What the regex engine has against it.
pub(super) fn compiled(pattern: &str) -> Result<Regex, String> {
    static CACHE: OnceLock<Mutex<HashMap<String, Regex>>> = OnceLock::new();
    let mut cache = CACHE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = cache.get(pattern) {
        return Ok(regex.clone());
    }
    let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
    cache.insert(pattern.into(), regex.clone());
    Ok(regex)
}

/// Formats that a real server checks; others are notes.
fn fits_format(text: &str, format: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(ip, bits)| {
            let max = match ip.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => 32,
                Ok(IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            bits.parse::<u8>().is_ok_and(|b| b <= max)
        }),
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prunes_defaults_and_keeps() {
        let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "a": {"type": "integer", "default": 7},
            "b": {"type": "string", "nullable": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "integer", "default": 1}}}},
        }}}});
        let mut value = json!({"apiVersion": "g/v", "kind": "K", "metadata": {"name": "n"}, "other": 1,
            "spec": {"b": null, "c": 1, "a": null, "free": {"z": [1]}, "map": {"k": {"y": 1}}}});
        let mut unknown = Vec::new();
        prune(&mut value, &schema, "", &mut unknown);
        default(&mut value, &schema);
        unknown.sort();
        assert_eq!(unknown, ["other", "spec.c", "spec.map.k.y"]);
        assert_eq!(value["spec"], json!({"b": null, "a": 7, "free": {"z": [1]}, "map": {"k": {"x": 1}}}));
        assert!(has_defaults(&schema));
        assert!(!has_defaults(&json!({"properties": {"default": {"type": "string"}}})));
    }

    #[test]
    fn every_rule_can_fail_and_names_its_field() {
        let cases = [
            (
                json!({"type": "integer"}),
                json!("x"),
                "Invalid value: \"string\": f in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "integer", "minimum": 0}),
                json!(-1),
                "Invalid value: -1: f in body should be greater than or equal to 0",
            ),
            (
                json!({"type": "integer", "maximum": 2}),
                json!(3),
                "Invalid value: 3: f in body should be less than or equal to 2",
            ),
            (
                json!({"type": "integer", "minimum": 0, "exclusiveMinimum": true}),
                json!(0),
                "Invalid value: 0: f in body should be greater than 0",
            ),
            (
                json!({"type": "integer", "format": "int32"}),
                json!(3_000_000_000_u64),
                "Invalid value: 3000000000: f in body should be of format \"int32\"",
            ),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                json!("c"),
                "Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (
                json!({"type": "string", "pattern": "^a$"}),
                json!("b"),
                "Invalid value: \"b\": f in body should match '^a$'",
            ),
            (
                json!({"type": "string", "minLength": 2}),
                json!("b"),
                "Invalid value: \"b\": f in body should be at least 2 chars long",
            ),
            (
                json!({"type": "string", "format": "date-time"}),
                json!("b"),
                "Invalid value: \"b\": f in body must be of type date-time: \"b\"",
            ),
            (
                json!({"type": "array", "maxItems": 0}),
                json!([1]),
                "Invalid value: [1]: f in body should have at most 0 items",
            ),
            (json!({"type": "array", "x-kubernetes-list-type": "set"}), json!([1, 1]), "Duplicate value: 1"),
            (json!({"type": "object", "required": ["k"]}), json!({}), "Required value"),
            (json!({"x-kubernetes-int-or-string": true}), json!(true), "must be of type integer,string"),
            (json!({"not": {"type": "string"}}), json!("b"), "must not validate the schema"),
            (json!({"oneOf": [{"type": "string"}, {"minLength": 1}]}), json!("b"), "one and only one"),
        ];
        for (schema, value, expected) in cases {
            let mut causes = Vec::new();
            validate(&value, &schema, "f", &mut causes);
            let text: Vec<String> = causes.iter().map(ToString::to_string).collect();
            assert!(text.join(";").contains(expected), "{schema}: {text:?}");
            assert!(text[0].starts_with('f'), "{text:?}");
        }
        let mut causes = Vec::new();
        validate(&json!(1.0), &json!({"type": "integer"}), "f", &mut causes);
        assert!(causes.is_empty(), "1.0 is an integer");
    }
}
