//! Short ways to what every object has.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::Resource;
use std::collections::BTreeMap;

/// Short ways to an object's metadata; what is missing reads as empty.
pub trait Meta {
    /// Name.
    fn name(&self) -> &str;
    /// Namespace, or empty.
    fn ns(&self) -> &str;
    /// Uid, or empty.
    fn uid(&self) -> &str;
    /// Resource version as a number (the form that API servers use), 0 if it is none.
    fn version(&self) -> u64;
    /// The reference of kind "controller".
    fn controller_ref(&self) -> Option<&OwnerReference>;
    /// The uid of the controller.
    fn controller_uid(&self) -> Option<&str> {
        self.controller_ref().map(|owner| owner.uid.as_str())
    }
    /// Whether deletion has begun.
    fn is_deleting(&self) -> bool;
    /// When it was made; the beginning of time if unknown.
    fn created(&self) -> Timestamp;
    /// A label's value.
    fn label(&self, name: &str) -> Option<&str>;
    /// An annotation's value.
    fn annotation(&self, name: &str) -> Option<&str>;
    /// Generation of the spec, 0 if none.
    fn generation(&self) -> i64;
}

impl<K: Resource> Meta for K {
    fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    fn ns(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    fn version(&self) -> u64 {
        let version = self.meta().resource_version.as_deref();
        version.and_then(|version| version.parse().ok()).unwrap_or(0)
    }

    fn controller_ref(&self) -> Option<&OwnerReference> {
        let owners = self.meta().owner_references.as_deref().unwrap_or_default();
        owners.iter().find(|owner| owner.controller == Some(true))
    }

    fn is_deleting(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    fn created(&self) -> Timestamp {
        let created = self.meta().creation_timestamp.as_ref();
        created.map_or(Timestamp::MIN, |time| time.0)
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(name).map(String::as_str)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(name).map(String::as_str)
    }

    fn generation(&self) -> i64 {
        self.meta().generation.unwrap_or(0)
    }
}

/// Whether `labels` satisfy `selector`; an empty selector selects everything.
pub fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let pairs = selector.match_labels.iter().flatten();
    let terms = selector.match_expressions.iter().flatten();
    pairs.into_iter().all(|(key, wanted)| value(key) == Some(wanted))
        && terms.into_iter().all(|term| {
            let values = term.values.as_deref().unwrap_or_default();
            matches_term(value(&term.key), &term.operator, values)
        })
}

/// One requirement of a label or node selector; an unknown operator matches nothing.
pub fn matches_term(value: Option<&str>, operator: &str, wanted: &[String]) -> bool {
    let listed = || value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = |ordering: std::cmp::Ordering| {
        let wanted = wanted.first().and_then(|wanted| number(wanted));
        match (value.and_then(number), wanted) {
            (Some(value), Some(wanted)) => value.cmp(&wanted) == ordering,
            _ => false,
        }
    };
    match operator {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(std::cmp::Ordering::Greater),
        "Lt" => compared(std::cmp::Ordering::Less),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators() {
        let some = ["7".to_owned(), "x".to_owned()];
        for (value, operator, expected) in [
            (Some("x"), "In", true),
            (Some("y"), "In", false),
            (None, "In", false),
            (Some("y"), "NotIn", true),
            (None, "NotIn", true),
            (Some("y"), "Exists", true),
            (None, "DoesNotExist", true),
            (Some("8"), "Gt", true),
            (Some("6"), "Lt", true),
            (Some("z"), "Gt", false),
            (Some("x"), "Near", false),
        ] {
            assert_eq!(matches_term(value, operator, &some), expected, "{value:?} {operator}");
        }
    }
}
