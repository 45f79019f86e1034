//! Errors in the form a Kubernetes client expects: a `Status` object with code, reason, message and details.

use serde_json::{Map, Value, json};

use super::resource::Resource;

/// A failed answer of the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine readable reason such as `NotFound`; empty where a real server gives none.
    pub reason: String,
    /// The sentence a person reads.
    pub message: String,
    /// `details` of the object: name, group, kind, causes.
    pub details: Map<String, Value>,
}

impl Status {
    /// An answer with any code, reason and message.
    pub fn new(code: u16, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), details: Map::new() }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details.insert("name".into(), name.into());
        if !resource.group.is_empty() {
            self.details.insert("group".into(), resource.group.as_str().into());
        }
        self.details.insert("kind".into(), resource.plural.as_str().into());
        self
    }

    /// 404: no object of that name.
    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", resource.qualified())).about(resource, name)
    }

    /// 409: the name is taken.
    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {name:?} already exists", resource.qualified()))
            .about(resource, name)
    }

    /// 409: a precondition of a write does not hold.
    pub(super) fn conflict(resource: &Resource, name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified()))
            .about(resource, name)
    }

    /// 409: the object changed since the caller read it.
    pub(super) fn stale(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403: an admission rule says no.
    pub(super) fn forbidden(resource: &Resource, name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(403, "Forbidden", format!("{} {name:?} is forbidden: {why}", resource.qualified()))
            .about(resource, name)
    }

    /// 422: the object breaks its schema or a rule of its kind.
    pub(super) fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Self {
        let kind = if resource.group.is_empty() {
            resource.kind.clone()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        let list: Vec<String> = causes.iter().map(Cause::to_string).collect();
        let what = match list.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut status = Self::new(422, "Invalid", format!("{kind} {name:?} is invalid: {what}")).about(resource, name);
        status.details.insert("kind".into(), resource.kind.as_str().into());
        let causes = causes.into_iter().map(Cause::into_json).collect();
        status.details.insert("causes".into(), Value::Array(causes));
        status
    }

    /// 400: the request cannot be understood.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 405: the resource exists, the verb does not.
    pub(super) fn method_not_allowed(what: impl std::fmt::Display) -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            format!("the server does not allow this method on the requested resource: {what}"),
        )
    }

    /// 410: the revision asked for is no longer in the log.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 404: the sandbox does not have this at all.
    pub(super) fn not_served(what: impl std::fmt::Display) -> Self {
        Self::new(
            404,
            "NotFound",
            format!(
                "the server could not find the requested resource: galaxy-sandbox does not serve {what} (docs/sandbox.md lists what it serves)"
            ),
        )
    }

    /// 501: a real API server does this, the sandbox does not.
    pub(super) fn not_implemented(what: impl std::fmt::Display) -> Self {
        Self::new(
            501,
            "NotImplemented",
            format!("galaxy-sandbox does not implement {what} (docs/sandbox.md lists what it does)"),
        )
    }

    /// 500: the sandbox failed.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// The object that goes over the wire.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.as_str().into();
        }
        if !self.details.is_empty() {
            status["details"] = Value::Object(self.details.clone());
        }
        status
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for Status {}

/// One reason why an object is invalid.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cause {
    reason: &'static str,
    message: String,
    field: String,
}

impl Cause {
    /// The value is of the right type and still wrong.
    pub(super) fn invalid(field: impl Into<String>, value: &Value, detail: impl std::fmt::Display) -> Self {
        Self {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {}: {detail}", show(value)),
            field: field.into(),
        }
    }

    /// The value is of the wrong JSON type.
    pub(super) fn mistyped(field: impl Into<String>, value: &Value, expected: &str) -> Self {
        let field = field.into();
        let message = format!(
            "Invalid value: {:?}: {field} in body must be of type {expected}: {:?}",
            type_name(value),
            type_name(value)
        );
        Self { reason: "FieldValueTypeInvalid", message, field }
    }

    /// The field is missing.
    pub(super) fn required(field: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        let detail = detail.to_string();
        Self {
            reason: "FieldValueRequired",
            message: if detail.is_empty() { "Required value".into() } else { format!("Required value: {detail}") },
            field: field.into(),
        }
    }

    /// The change is not allowed.
    pub(super) fn forbidden(field: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self { reason: "FieldValueForbidden", message: format!("Forbidden: {detail}"), field: field.into() }
    }

    /// The value is not one of a closed set.
    pub(super) fn unsupported<'a>(
        field: impl Into<String>,
        value: &Value,
        supported: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let supported: Vec<String> = supported.into_iter().map(show).collect();
        Self {
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {}: supported values: {}", show(value), supported.join(", ")),
            field: field.into(),
        }
    }

    /// The value occurs twice where it must be unique.
    pub(super) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self {
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {}", show(value)),
            field: field.into(),
        }
    }

    fn into_json(self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.field, self.message) }
    }
}

fn show(value: &Value) -> String {
    let mut text = value.to_string();
    // A whole spec in an error helps nobody.
    if text.len() > 256 {
        let end = (0..=256).rev().find(|&i| text.is_char_boundary(i));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// The JSON schema name of a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
