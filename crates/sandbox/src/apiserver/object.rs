//! Reading and writing the parts of an object that every kind has.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A stored object; shared, never changed in place.
pub(super) type Object = Arc<Value>;

/// The string at a JSON pointer, empty if absent.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a JSON pointer.
pub(super) fn int(value: &Value, pointer: &str) -> Option<i64> {
    value.pointer(pointer).and_then(Value::as_i64)
}

/// The items of the array at a JSON pointer, none if absent.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn name(value: &Value) -> &str {
    text(value, "/metadata/name")
}

pub(super) fn namespace(value: &Value) -> &str {
    text(value, "/metadata/namespace")
}

pub(super) fn uid(value: &Value) -> &str {
    text(value, "/metadata/uid")
}

pub(super) fn is_terminating(value: &Value) -> bool {
    value.pointer("/metadata/deletionTimestamp").is_some()
}

pub(super) fn has_finalizer(value: &Value, finalizer: &str) -> bool {
    items(value, "/metadata/finalizers").iter().any(|f| f == finalizer)
}

/// The map under `key`, made if absent or of another type.
pub(super) fn map_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let slot = &mut value[key];
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("just made an object")
}

pub(super) fn meta_mut(value: &mut Value) -> &mut Map<String, Value> {
    map_mut(value, "metadata")
}

/// Sets `map[key]` unless it is there and not null.
pub(super) fn fill(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let slot = map.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value.into();
    }
}

/// Copies `from[key]` to `to[key]`, or removes it there.
pub(super) fn carry(from: &Value, to: &mut Map<String, Value>, key: &str) {
    match from.get(key) {
        Some(value) => to.insert(key.into(), value.clone()),
        None => to.remove(key),
    };
}

/// Adds a finalizer once.
pub(super) fn add_finalizer(value: &mut Value, finalizer: &str) {
    if !has_finalizer(value, finalizer) {
        let slot = meta_mut(value).entry("finalizers").or_insert(json!([]));
        if let Some(list) = slot.as_array_mut() {
            list.push(finalizer.into());
        }
    }
}

/// Removes a finalizer; the member goes with the last one.
pub(super) fn remove_finalizer(value: &mut Value, finalizer: &str) {
    let meta = meta_mut(value);
    if let Some(list) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
        list.retain(|f| f != finalizer);
        if list.is_empty() {
            meta.remove("finalizers");
        }
    }
}

/// A time as `metav1.Time` writes it: whole seconds, UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The condition of a type.
pub(super) fn condition<'a>(value: &'a Value, kind: &str) -> Option<&'a Value> {
    items(value, "/status/conditions").iter().find(|c| c["type"] == kind)
}

/// Sets a condition by type; `lastTransitionTime` moves only with the status.
pub(super) fn set_condition(value: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) {
    let since = match condition(value, kind) {
        Some(old) if old["status"] == status && old["lastTransitionTime"].is_string() => {
            old["lastTransitionTime"].clone()
        }
        _ => time(now).into(),
    };
    let mut condition = json!({"type": kind, "status": status, "lastTransitionTime": since});
    if !reason.is_empty() {
        condition["reason"] = reason.into();
    }
    if !message.is_empty() {
        condition["message"] = message.into();
    }
    let slot = map_mut(value, "status").entry("conditions").or_insert(json!([]));
    if !slot.is_array() {
        *slot = json!([]);
    }
    if let Some(list) = slot.as_array_mut() {
        match list.iter_mut().find(|c| c["type"] == kind) {
            Some(old) => *old = condition,
            None => list.push(condition),
        }
    }
}

/// `base` and five random characters, as `metadata.generateName` makes names.
pub(super) fn generate_name(base: &str) -> String {
    use rand::Rng;
    // No vowels, so that no word comes out; the alphabet is Kubernetes' own.
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    let base: String = base.chars().take(58).collect();
    let suffix: String = (0..5).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect();
    base + &suffix
}

/// Whether `name` is a DNS-1123 subdomain (of at most `limit` characters), or a label where `dots` is false.
pub(super) fn is_dns_name(name: &str, dots: bool, limit: usize) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= limit && if dots { name.split('.').all(label) } else { label(name) }
}
