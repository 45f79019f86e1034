//! The form of an answer: whole objects, tables or metadata, as the client's `Accept` header asks.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Status, object::Object, path::Params, resource::Resource, table};
use crate::clock::Clock;

/// The form in which a client wants its objects.
#[derive(Clone)]
pub(super) enum Form {
    /// As they are.
    Json,
    /// Rows for people; which part of each object goes with its row: `None`, `Metadata` or `Object`.
    Table { version: String, include: String, clock: Clock },
    /// Metadata only.
    Metadata { version: String },
}

impl Form {
    pub(super) fn negotiate(accept: &str, params: &Params, clock: &Clock) -> Result<Self, Status> {
        if accept.trim().is_empty() {
            return Ok(Self::Json);
        }
        for media in accept.split(',') {
            let mut parts = media.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
            let get = |key: &str| {
                let found = parameters.iter().find(|(k, _)| *k == key);
                found.map_or("", |(_, v)| *v)
            };
            if !matches!(kind, "application/json" | "*/*" | "application/*") {
                continue;
            }
            let version = get("v").to_string();
            match get("as") {
                "" => return Ok(Self::Json),
                "Table" => {
                    let include = match params.get("includeObject") {
                        "" => "Metadata",
                        given => given,
                    };
                    return Ok(Self::Table { version, include: include.into(), clock: clock.clone() });
                }
                "PartialObjectMetadata" | "PartialObjectMetadataList" => {
                    return Ok(Self::Metadata { version });
                }
                _ => {}
            }
        }
        Err(Status::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: application/json; the request accepts {accept:?}"),
        ))
    }

    pub(super) fn one(&self, resource: &Resource, object: &Object) -> Value {
        self.event(resource, object, true)
    }

    /// An event of a watch, with the headers of the table if it is the first.
    pub(super) fn event(&self, resource: &Resource, object: &Object, first: bool) -> Value {
        match self {
            Self::Json => (**object).clone(),
            Self::Metadata { version } => metadata_only(object, version),
            Self::Table { .. } => {
                let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                self.table(resource, std::slice::from_ref(object), meta, first)
            }
        }
    }

    fn table(&self, resource: &Resource, items: &[Object], meta: Value, headers: bool) -> Value {
        let Self::Table { version, include, clock } = self else {
            return Value::Null;
        };
        let style = table::Style { version, include, headers, now: clock.now() };
        table::render(resource, items, meta, &style)
    }

    pub(super) fn bookmark(&self, mut object: Value) -> Value {
        match self {
            Self::Json => object,
            Self::Metadata { version } => metadata_only(&object, version),
            Self::Table { version, .. } => {
                let meta = object["metadata"].take();
                json!({"kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": meta,
                    "columnDefinitions": [], "rows": []})
            }
        }
    }

    pub(super) fn list(&self, resource: &Resource, items: &[Object], meta: Value) -> Bytes {
        let (kind, version, items): (_, _, Vec<Bytes>) = match self {
            Self::Table { .. } => return to_bytes(&self.table(resource, items, meta, true)),
            Self::Metadata { version } => (
                "PartialObjectMetadataList".to_string(),
                format!("meta.k8s.io/{version}"),
                items.iter().map(|o| to_bytes(&metadata_only(o, version))).collect(),
            ),
            Self::Json => {
                (resource.list_kind.clone(), resource.api_version(), items.iter().map(|o| to_bytes(o)).collect())
            }
        };
        let head = json!({"kind": kind, "apiVersion": version, "metadata": meta}).to_string();
        let mut out = Vec::with_capacity(items.iter().map(Bytes::len).sum::<usize>() + 256);
        out.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
        out.extend_from_slice(b",\"items\":[");
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(item);
        }
        out.extend_from_slice(b"]}");
        out.into()
    }
}

pub(super) fn metadata_only(object: &Value, version: &str) -> Value {
    let version = if version.is_empty() { "v1" } else { version };
    json!({"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": object["metadata"]})
}

fn to_bytes(value: &Value) -> Bytes {
    value.to_string().into()
}
