//! The two faces of an event: core/v1, in which it is stored, and events.k8s.io/v1.

use serde_json::{Map, Value};

/// Members that differ in name: core/v1, events.k8s.io/v1.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

pub(super) fn to_events_v1(core: &Value) -> Value {
    renamed(core, "events.k8s.io/v1", |name| NAMES.iter().find(|(c, _)| *c == name).map(|(_, e)| *e))
}

pub(super) fn to_core(event: &Value) -> Value {
    renamed(event, "v1", |name| NAMES.iter().find(|(_, e)| *e == name).map(|(c, _)| *c))
}

fn renamed(value: &Value, version: &str, rename: impl Fn(&str) -> Option<&'static str>) -> Value {
    let members = value.as_object().into_iter().flatten();
    let mut out: Map<String, Value> = members
        .map(|(name, member)| {
            let name = rename(name).map_or_else(|| name.clone(), Into::into);
            (name, member.clone())
        })
        .collect();
    out.insert("apiVersion".into(), version.into());
    Value::Object(out)
}
