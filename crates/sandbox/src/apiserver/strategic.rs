//! Strategic merge patch: a merge patch that knows which lists are maps in disguise.

use serde_json::{Map, Value};

/// How a list is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    /// Replaced as a whole.
    Atomic,
    /// A set of plain values.
    Set,
    /// Items are told apart by this member.
    Keyed(&'static str),
}

/// How the list in the member `name`, below the member `parent`, is merged in the built-in kinds.
pub(super) fn list_kind(parent: &str, name: &str) -> ListKind {
    match name {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates"
        | "secrets" => ListKind::Keyed("name"),
        "volumeMounts" => ListKind::Keyed("mountPath"),
        "volumeDevices" => ListKind::Keyed("devicePath"),
        // Services list ports by `port`, containers by `containerPort`.
        "ports" if parent == "spec" => ListKind::Keyed("port"),
        "ports" => ListKind::Keyed("containerPort"),
        "conditions" | "addresses" => ListKind::Keyed("type"),
        "ownerReferences" => ListKind::Keyed("uid"),
        "topologySpreadConstraints" => ListKind::Keyed("topologyKey"),
        "hostAliases" | "podIPs" | "hostIPs" => ListKind::Keyed("ip"),
        "finalizers" | "podCIDRs" => ListKind::Set,
        _ => ListKind::Atomic,
    }
}

/// Applies `patch` to `target`.
///
/// # Errors
/// A sentence that names the directive or list that cannot be understood.
pub(super) fn merge(target: &mut Value, patch: &Value) -> Result<(), String> {
    let Some(patch) = patch.as_object() else {
        return Err("error decoding patch: not a JSON object".into());
    };
    merge_map("", target, patch)
}

fn merge_map(parent: &str, target: &mut Value, patch: &Map<String, Value>) -> Result<(), String> {
    match patch.get("$patch").and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => {
            let mut rest = patch.clone();
            rest.remove("$patch");
            *target = Value::Object(rest);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some(other) => return Err(format!("unknown patch type {other:?} in {parent:?}")),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else {
        return Ok(());
    };
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| keep.iter().any(|k| k == key));
    }
    for (directive, list) in patch {
        if let Some(name) = directive.strip_prefix("$deleteFromPrimitiveList/")
            && let (Some(found), Some(gone)) = (map.get_mut(name).and_then(Value::as_array_mut), list.as_array())
        {
            found.retain(|item| !gone.contains(item));
        }
    }
    for (name, value) in patch {
        if name.starts_with('$') {
            continue;
        }
        match value {
            Value::Null => {
                map.remove(name);
            }
            Value::Object(inner) => {
                if inner.get("$patch").and_then(Value::as_str) == Some("delete") {
                    map.remove(name);
                } else {
                    merge_map(name, map.entry(name).or_insert(Value::Null), inner)?;
                }
            }
            Value::Array(inner) => {
                merge_list(parent, name, map.entry(name).or_insert(Value::Null), inner)?;
            }
            plain => {
                map.insert(name.clone(), plain.clone());
            }
        }
    }
    for (directive, order) in patch {
        if let Some(name) = directive.strip_prefix("$setElementOrder/")
            && let (Some(found), Some(order)) = (map.get_mut(name).and_then(Value::as_array_mut), order.as_array())
        {
            sort(parent, name, found, order);
        }
    }
    Ok(())
}

fn merge_list(parent: &str, name: &str, target: &mut Value, patch: &[Value]) -> Result<(), String> {
    let kind = list_kind(parent, name);
    let replaces = |item: &Value| item["$patch"] == "replace";
    if kind == ListKind::Atomic || !target.is_array() || patch.iter().any(replaces) {
        let directive = |item: &&Value| {
            item.as_object()
                .is_some_and(|o| o.get("$patch").is_some_and(|p| p != "merge") && (o.len() == 1 || !replaces(item)))
        };
        *target = Value::Array(patch.iter().filter(|i| !directive(i)).cloned().collect());
        return Ok(());
    }
    let Some(list) = target.as_array_mut() else {
        return Ok(());
    };
    for item in patch {
        match kind {
            ListKind::Atomic => {}
            ListKind::Set => {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
            ListKind::Keyed(key) => {
                let id = item.get(key).ok_or_else(|| {
                    format!("map: {item} in list {name:?} does not contain declared merge key: {key}")
                })?;
                let found = list.iter().position(|old| old.get(key) == Some(id));
                match (item["$patch"].as_str(), found, item.as_object()) {
                    (Some("delete"), Some(at), _) => {
                        list.remove(at);
                    }
                    (Some("delete"), None, _) => {}
                    (_, Some(at), Some(inner)) => merge_map(name, &mut list[at], inner)?,
                    (_, None, Some(inner)) => {
                        let mut fresh = Value::Null;
                        merge_map(name, &mut fresh, inner)?;
                        list.push(fresh);
                    }
                    (_, _, None) => {
                        return Err(format!("{item} in list {name:?} is not an object"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Items named in `order` come in that order; the others follow.
fn sort(parent: &str, name: &str, list: &mut [Value], order: &[Value]) {
    let rank = |item: &Value| {
        order
            .iter()
            .position(|wanted| match list_kind(parent, name) {
                ListKind::Keyed(key) => wanted.get(key) == item.get(key),
                _ => wanted == item,
            })
            .unwrap_or(usize::MAX)
    };
    list.sort_by_key(rank);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merges_as_a_real_server_does() {
        let cases = [
            (
                "containers are told apart by name",
                json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}}),
                json!({"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "1"}]}}),
                json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "1"}]}}),
            ),
            (
                "an item is deleted by directive",
                json!({"metadata": {"ownerReferences": [{"uid": "1"}, {"uid": "2"}]}}),
                json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": "1"}]}}),
                json!({"metadata": {"ownerReferences": [{"uid": "2"}]}}),
            ),
            (
                "finalizers are a set",
                json!({"metadata": {"finalizers": ["a"]}}),
                json!({"metadata": {"finalizers": ["b", "a"], "$deleteFromPrimitiveList/finalizers": ["a"]}}),
                json!({"metadata": {"finalizers": ["b", "a"]}}),
            ),
            (
                "tolerations are one value",
                json!({"spec": {"tolerations": [{"key": "a"}]}}),
                json!({"spec": {"tolerations": [{"key": "b"}]}}),
                json!({"spec": {"tolerations": [{"key": "b"}]}}),
            ),
            (
                "null removes, retainKeys keeps only what it names",
                json!({"spec": {"x": 1, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
                json!({"spec": {"x": null, "strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
                json!({"spec": {"strategy": {"type": "Recreate"}}}),
            ),
            (
                "the order is set",
                json!({"env": [{"name": "a"}, {"name": "b"}]}),
                json!({"$setElementOrder/env": [{"name": "b"}, {"name": "a"}], "env": []}),
                json!({"env": [{"name": "b"}, {"name": "a"}]}),
            ),
            (
                "a list is replaced by directive",
                json!({"status": {"conditions": [{"type": "A"}]}}),
                json!({"status": {"conditions": [{"$patch": "replace"}, {"type": "B"}]}}),
                json!({"status": {"conditions": [{"type": "B"}]}}),
            ),
        ];
        for (what, mut target, patch, expected) in cases {
            merge(&mut target, &patch).unwrap();
            assert_eq!(target, expected, "{what}");
        }
        let mut pod = json!({"spec": {"containers": [{"name": "a"}]}});
        let error = merge(&mut pod, &json!({"spec": {"containers": [{"image": "x"}]}}));
        assert!(error.unwrap_err().contains("merge key: name"));
    }
}
