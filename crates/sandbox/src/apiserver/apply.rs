//! The merge of server-side apply, by three ways: what is there, what the manager applied last, what it applies now.
//!
//! Ownership between managers and its conflicts are not modelled: the last one to apply a field has it.

use serde_json::Value;

use super::strategic::{ListKind, list_kind};

/// Makes `live` what `wanted` says, and drops what was in `last` and is no longer wanted.
pub(super) fn merge(live: &mut Value, last: &Value, wanted: &Value) {
    merge_value("", "", live, last, wanted);
}

fn merge_value(parent: &str, name: &str, live: &mut Value, last: &Value, wanted: &Value) {
    match wanted {
        Value::Object(map) => {
            if !live.is_object() {
                *live = Value::Object(serde_json::Map::new());
            }
            let Some(target) = live.as_object_mut() else {
                return;
            };
            for gone in last.as_object().into_iter().flat_map(|m| m.keys()) {
                if !map.contains_key(gone) {
                    target.remove(gone);
                }
            }
            for (member, value) in map {
                let slot = target.entry(member).or_insert(Value::Null);
                merge_value(name, member, slot, &last[member], value);
            }
        }
        Value::Array(list) if live.is_array() => {
            let Some(target) = live.as_array_mut() else {
                return;
            };
            let before = last.as_array().map_or(&[][..], Vec::as_slice);
            match list_kind(parent, name) {
                ListKind::Set => {
                    target.retain(|item| !before.contains(item) || list.contains(item));
                    for item in list {
                        if !target.contains(item) {
                            target.push(item.clone());
                        }
                    }
                }
                ListKind::Keyed(key) if list.iter().all(|item| item.get(key).is_some()) => {
                    let find = |items: &[Value], id: Option<&Value>| items.iter().position(|item| item.get(key) == id);
                    target.retain(|item| find(before, item.get(key)).is_none() || find(list, item.get(key)).is_some());
                    for item in list {
                        let id = item.get(key);
                        let old = find(before, id).map_or(&Value::Null, |at| &before[at]);
                        match find(target, id) {
                            Some(at) => merge_value(name, "", &mut target[at], old, item),
                            None => target.push(item.clone()),
                        }
                    }
                }
                _ => *live = wanted.clone(),
            }
        }
        Value::Null => *live = Value::Null,
        plain => *live = plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_manager_no_longer_applies_goes_and_the_rest_stays() {
        let last = json!({"metadata": {"labels": {"a": "1", "b": "1"}},
            "spec": {"containers": [{"name": "x", "image": "1"}, {"name": "y"}]}});
        let wanted = json!({"metadata": {"labels": {"a": "2"}},
            "spec": {"containers": [{"name": "x", "image": "2"}]}});
        let mut live = json!({"metadata": {"labels": {"a": "1", "b": "1", "c": "other"}},
            "spec": {"replicas": 3, "containers": [{"name": "x", "image": "1", "stdin": true}, {"name": "y"}, {"name": "z"}]}});
        merge(&mut live, &last, &wanted);
        let expected = json!({"metadata": {"labels": {"a": "2", "c": "other"}},
            "spec": {"replicas": 3, "containers": [{"name": "x", "image": "2", "stdin": true}, {"name": "z"}]}});
        assert_eq!(live, expected);
    }
}
