//! Label and field selectors.

use serde_json::Value;

use super::{Status, object::text};

#[derive(Clone, Debug, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    NotExists(String),
    Greater(String, i64),
    Less(String, i64),
    /// An unknown operator of a `LabelSelector` object: selects nothing.
    Never,
}

/// A label selector; the empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
    ///
    /// # Errors
    /// 400 naming the part that cannot be read.
    pub(super) fn parse(source: &str) -> Result<Self, Status> {
        split(source)
            .into_iter()
            .map(|part| {
                requirement(part).ok_or_else(|| {
                    Status::bad_request(format!("unable to parse requirement {part:?} of label selector {source:?}"))
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Reads a `metav1.LabelSelector` object.
    pub(super) fn from_object(selector: &Value) -> Self {
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let mut all: Vec<_> =
            labels.map(|(k, v)| Requirement::In(k.clone(), vec![v.as_str().unwrap_or_default().into()])).collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = text(expression, "/key").to_string();
            let values: Vec<String> = expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(Into::into))
                .collect();
            all.push(match text(expression, "/operator") {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::NotExists(key),
                _ => Requirement::Never,
            });
        }
        Self(all)
    }

    /// Whether the labels under `metadata` of `object` fit.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::NotExists(key) => label(key).is_none(),
            Requirement::Greater(key, than) => number(label(key)).is_some_and(|n| n > *than),
            Requirement::Less(key, than) => number(label(key)).is_some_and(|n| n < *than),
            Requirement::Never => false,
        })
    }
}

/// The text form, as a scale subresource shows it.
impl std::fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|requirement| match requirement {
                Requirement::In(key, values) => match values.as_slice() {
                    [one] => format!("{key}={one}"),
                    many => format!("{key} in ({})", many.join(",")),
                },
                Requirement::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
                Requirement::Exists(key) => key.clone(),
                Requirement::NotExists(key) => format!("!{key}"),
                Requirement::Greater(key, than) => format!("{key}>{than}"),
                Requirement::Less(key, than) => format!("{key}<{than}"),
                Requirement::Never => "<none>".into(),
            })
            .collect();
        f.write_str(&parts.join(","))
    }
}

fn number(label: Option<&str>) -> Option<i64> {
    label.and_then(|text| text.parse().ok())
}

/// Splits at the commas outside parentheses.
fn split(source: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in source.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(source[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(source[start..].trim());
    // "" selects everything; an empty part of a longer selector is an error.
    if parts == [""] { Vec::new() } else { parts }
}

fn requirement(part: &str) -> Option<Requirement> {
    let key = |text: &str| {
        let text = text.trim();
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        (!text.is_empty() && text.bytes().all(fits)).then(|| text.to_string())
    };
    let set = |list: &str| -> Option<Vec<String>> {
        let inner = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|v| v.trim().to_string()).collect())
    };
    if let Some((k, list)) = part.split_once(" notin") {
        return Some(Requirement::NotIn(key(k)?, set(list)?));
    }
    if let Some((k, list)) = part.split_once(" in") {
        return Some(Requirement::In(key(k)?, set(list)?));
    }
    if let Some((k, v)) = part.split_once("!=") {
        return Some(Requirement::NotIn(key(k)?, vec![value(v)?]));
    }
    if let Some((k, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(key(k)?, vec![value(v)?]));
    }
    if let Some((k, v)) = part.split_once('>') {
        return Some(Requirement::Greater(key(k)?, v.trim().parse().ok()?));
    }
    if let Some((k, v)) = part.split_once('<') {
        return Some(Requirement::Less(key(k)?, v.trim().parse().ok()?));
    }
    match part.strip_prefix('!') {
        Some(k) => Some(Requirement::NotExists(key(k)?)),
        None => Some(Requirement::Exists(key(part)?)),
    }
}

fn value(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.bytes().all(fits).then(|| text.to_string())
}

/// A field selector: conditions on a few fields, joined by "and".
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Reads `a=b,c!=d` where every field is one of `supported`.
    ///
    /// # Errors
    /// 400 naming the field that is not supported or the part that cannot be read.
    pub(super) fn parse(source: &str, supported: &[String]) -> Result<Self, Status> {
        let mut all = Vec::new();
        for part in source.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (field, equal, value) = if let Some((f, v)) = part.split_once("!=") {
                (f, false, v)
            } else if let Some((f, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (f, true, v)
            } else {
                return Err(Status::bad_request(format!("unable to parse {part:?} of field selector {source:?}")));
            };
            let field = field.trim().trim_start_matches('.');
            let known =
                ["metadata.name", "metadata.namespace"].contains(&field) || supported.iter().any(|s| s == field);
            if !known {
                return Err(Status::bad_request(format!("field label not supported: {field}")));
            }
            all.push((field.to_string(), equal, value.trim().to_string()));
        }
        Ok(Self(all))
    }

    /// Whether the fields of `object` fit; an absent field counts as empty.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, value)| {
            let mut found = object;
            for part in field.split('.') {
                found = &found[part];
            }
            // Of an event this is its component, in whichever of two places that stands.
            if field == "source" && object.get("reportingComponent").is_some() {
                let component = &object["source"]["component"];
                found = if component.is_null() { &object["reportingComponent"] } else { component };
            }
            let found = match found {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            (found == *value) == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front", "n": "5"}}});
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, db),tier notin (back)", true),
            ("app in (db)", false),
            ("absent notin (x)", true),
            ("absent!=x", true),
            ("app,!absent", true),
            ("!app", false),
            ("n>4,n<6", true),
            ("n>5", false),
        ];
        for (selector, expected) in cases {
            let parsed = LabelSelector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&object), expected, "{selector}");
        }
        for bad in ["a=b,", "a in b", "=x", "a b", "a>x", "a=b=c d", ","] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn field_selectors() {
        let object = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "size": 3});
        let supported = ["spec.nodeName".to_string(), "size".into(), "status.phase".into()];
        let cases = [
            ("metadata.name=p,spec.nodeName=n", true),
            ("spec.nodeName!=n", false),
            ("size=3", true),
            ("status.phase!=Failed", true),
            ("status.phase=", true),
        ];
        for (selector, expected) in cases {
            let parsed = FieldSelector::parse(selector, &supported).unwrap();
            assert_eq!(parsed.matches(&object), expected, "{selector}");
        }
        let source = FieldSelector::parse("source=ipam", &["source".to_string()]).unwrap();
        for event in
            [json!({"reportingComponent": "ipam"}), json!({"reportingComponent": "", "source": {"component": "ipam"}})]
        {
            assert!(source.matches(&event), "{event}");
        }
        let error = FieldSelector::parse("spec.other=1", &supported).unwrap_err();
        assert_eq!(error.message, "field label not supported: spec.other");
    }
}
