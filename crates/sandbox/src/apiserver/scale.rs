//! The scale subresource of built-in and custom kinds.

use serde_json::{Value, json};

use super::{
    Status,
    api::{Op, Reply},
    object::{self, Object, text},
    resource::{ScalePaths, normalize_scale},
    selector::LabelSelector,
    status::Cause,
    write::Writer,
};

impl Op<'_> {
    pub(super) fn scale(&mut self) -> Result<Reply, Status> {
        let (_, stored) = self.existing()?;
        let object = self.served(&stored);
        let Some(paths) = self.resource.scale.clone() else {
            return Err(Status::not_implemented("scale of this resource"));
        };
        let shown = show(&object, &paths)?;
        let wanted = match self.request.call.verb.as_str() {
            "get" => return Ok(Reply::ok(shown)),
            "update" => self.body()?,
            _ => {
                let body = self.body()?;
                // Scale is a built-in kind: a strategic merge of it is a plain merge.
                if self.request.content_type == "application/strategic-merge-patch+json" {
                    let mut value = shown.clone();
                    json_patch::merge(&mut value, &body);
                    value
                } else {
                    self.patched(&shown, &body)?
                }
            }
        };
        let wanted = normalize_scale(&wanted).map_err(|error| {
            Status::bad_request(format!("Scale in version \"autoscaling/v1\" cannot be handled as a Scale: {error}"))
        })?;
        let replicas = object::int(&wanted, "/spec/replicas").unwrap_or(0);
        if replicas < 0 {
            let cause = Cause::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0");
            return Err(Status::invalid(&self.resource, object::name(&object), vec![cause]));
        }
        let mut value = (*object).clone();
        set(&mut value, &paths.spec_replicas, replicas.into());
        for member in ["uid", "resourceVersion"] {
            let given = text(&wanted, &format!("/metadata/{member}")).to_string();
            if !given.is_empty() {
                object::meta_mut(&mut value).insert(member.into(), given.into());
            }
        }
        // As if the whole object had been written: the same checks and counters.
        let written: Object = self.replace(value, Writer::Patch)?;
        Ok(Reply::ok(show(&self.served(&written), &paths)?))
    }
}

fn show(object: &Value, paths: &ScalePaths) -> Result<Value, Status> {
    let replicas = object::int(object, &paths.spec_replicas).ok_or_else(|| {
        Status::internal(format!("the spec replicas field {:?} does not exist", paths.spec_replicas.replace('/', ".")))
    })?;
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {},
        "spec": {"replicas": replicas},
        "status": {"replicas": object::int(object, &paths.status_replicas).unwrap_or(0)},
    });
    for member in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(member) {
            scale["metadata"][member] = value.clone();
        }
    }
    match paths.selector.as_deref().and_then(|path| object.pointer(path)) {
        Some(Value::String(text)) => scale["status"]["selector"] = text.as_str().into(),
        Some(selector @ Value::Object(_)) => {
            scale["status"]["selector"] = LabelSelector::from_object(selector).to_string().into();
        }
        _ => {}
    }
    Ok(scale)
}

/// Sets the value at a JSON pointer of plain member names, making objects on the way.
fn set(value: &mut Value, pointer: &str, new: Value) {
    let mut at = value;
    let mut parts = pointer.trim_start_matches('/').split('/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            if let Some(map) = at.as_object_mut() {
                map.insert(part.into(), new);
            }
            return;
        }
        if !at[part].is_object() {
            at[part] = json!({});
        }
        at = &mut at[part];
    }
}
