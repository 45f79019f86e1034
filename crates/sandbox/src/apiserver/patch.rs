//! PATCH in its four content types.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Status,
    api::{self, Op, Reply},
    apply,
    object::{self, meta_mut},
    strategic,
    write::Writer,
};

impl Op<'_> {
    pub(super) fn patch(&mut self) -> Result<Reply, Status> {
        let body = self.body()?;
        let kind = self.request.content_type.as_str();
        if kind == "application/apply-patch+yaml" {
            return self.apply(body);
        }
        let (_, stored) = self.existing()?;
        let old = self.served(&stored);
        let mut value = self.patched(&old, &body)?;
        api::check_shape(&value, &self.resource.kind)?;
        // A null for these means "not given", not "remove".
        let meta = meta_mut(&mut value);
        for member in ["resourceVersion", "uid"] {
            if meta.get(member).is_some_and(Value::is_null) {
                meta.remove(member);
            }
        }
        let object = self.replace(value, Writer::Patch)?;
        Ok(Reply::ok(self.served(&object)))
    }

    /// `old` with the patch of the request's content type applied.
    pub(super) fn patched(&self, old: &Value, body: &Value) -> Result<Value, Status> {
        let r = &self.resource;
        let mut value = old.clone();
        match self.request.content_type.as_str() {
            "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_value(body.clone())
                    .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
                json_patch::patch(&mut value, &patch).map_err(|error| {
                    Status::new(
                        422,
                        "Invalid",
                        format!("the server rejected our request due to an error in our request: {error}"),
                    )
                })?;
            }
            "application/merge-patch+json" => {
                if !body.is_object() {
                    return Err(Status::bad_request("error decoding patch: not a JSON object"));
                }
                json_patch::merge(&mut value, body);
            }
            "application/strategic-merge-patch+json" if r.as_builtin().is_some() => {
                strategic::merge(&mut value, body).map_err(Status::bad_request)?;
            }
            other => {
                let mut supported =
                    vec!["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
                if r.as_builtin().is_some() {
                    supported.push("application/strategic-merge-patch+json");
                }
                return Err(Status::new(
                    415,
                    "UnsupportedMediaType",
                    format!(
                        "the body of the request was in an unknown format - {other:?} is not one of: {}",
                        supported.join(", ")
                    ),
                ));
            }
        }
        Ok(value)
    }

    /// Server-side apply: creates, or merges what this manager wants and takes away what it no longer wants.
    fn apply(&mut self, wanted: Value) -> Result<Reply, Status> {
        let manager = self.request.params.get("fieldManager").to_string();
        if manager.is_empty() {
            return Err(Status::new(
                422,
                "Invalid",
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ));
        }
        if wanted["metadata"].get("managedFields").is_some_and(|m| !m.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let key = self.key();
        let subresource = self.request.call.subresource.clone();
        let manager = format!("{manager}/{subresource}");
        let (object, created) = match self.store.get(&key).cloned() {
            None if subresource.is_empty() => {
                let mut value = wanted.clone();
                meta_mut(&mut value).insert("name".into(), key.name.as_str().into());
                (self.create_from(value)?, true)
            }
            None => return Err(Status::not_found(&self.resource, &key.name)),
            Some(stored) => {
                let mut value = (*self.served(&stored)).clone();
                let owner = (object::uid(&stored).to_string(), manager.clone());
                let last = self.store.applied.get(&owner).cloned().unwrap_or(Value::Null);
                apply::merge(&mut value, &last, &wanted);
                (self.replace(value, Writer::Patch)?, false)
            }
        };
        if !self.dry_run {
            let owner = (object::uid(&object).to_string(), manager);
            self.store.applied.insert(owner, wanted);
        }
        let shown = self.served(&object);
        Ok(if created { Reply::created(shown) } else { Reply::ok(Arc::clone(&shown)) })
    }
}
