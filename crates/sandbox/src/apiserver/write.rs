//! Create and update: identity, preconditions, admission, checks, and the write itself.

use serde_json::{Value, json};

use super::{
    Status,
    api::{self, Op, Reply},
    kinds,
    object::{self, Object, carry, fill, meta_mut, text},
    resource::{Flavour, Resource},
    rules,
    status::Cause,
    store::Key,
};

/// What a failed uid comparison is called: a precondition for PUT, an immutable field for PATCH.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Put,
    Patch,
}

impl Op<'_> {
    pub(super) fn body(&self) -> Result<Value, Status> {
        self.request.body.clone().ok_or_else(|| Status::bad_request("the request needs a body"))
    }

    pub(super) fn create(&mut self) -> Result<Reply, Status> {
        let value = self.body()?;
        let object = self.create_from(value)?;
        Ok(Reply::created(self.served(&object)))
    }

    /// Creates an object in the namespace of the path.
    pub(super) fn create_from(&mut self, mut value: Value) -> Result<Object, Status> {
        let r = self.resource.clone();
        let now = self.api.clock.now();
        api::check_type(&r, &mut value)?;
        self.settle_namespace(&mut value)?;
        let meta = meta_mut(&mut value);
        if meta.get("resourceVersion").is_some_and(|v| !matches!(v.as_str(), None | Some(""))) {
            return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        let base = meta.get("generateName").and_then(Value::as_str).unwrap_or_default().to_string();
        let given = meta.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
        for member in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "managedFields",
            "generation",
            "resourceVersion",
        ] {
            meta.remove(member);
        }
        meta.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        meta.insert("creationTimestamp".into(), object::time(now).into());
        if given.is_empty() {
            if base.is_empty() {
                let cause = Cause::required("metadata.name", "name or generateName is required");
                return Err(Status::invalid(&r, "", vec![cause]));
            }
            let namespace = text(&value, "/metadata/namespace").to_string();
            // Like the real one: a few draws, for a collision among 14 million is no reason to fail.
            let name = (0..8)
                .map(|_| object::generate_name(&base))
                .find(|name| self.store.find(&r.storage, &namespace, name).is_none())
                .ok_or_else(|| Status::already_exists(&r, &base))?;
            meta_mut(&mut value).insert("name".into(), name.into());
        }
        let counts = match &r.flavour {
            Flavour::Builtin(builtin) => builtin.generation,
            Flavour::Custom(_) => true,
        };
        if counts {
            meta_mut(&mut value).insert("generation".into(), 1.into());
        }
        // What the caller says about status does not count, except that kubelets register nodes with theirs.
        if r.status && !r.is("Node") {
            if r.custom().is_some() {
                if let Some(map) = value.as_object_mut() {
                    map.remove("status");
                }
            } else {
                value["status"] = json!({});
            }
        }
        let mut value = self.typed(value)?;
        let mut causes = Vec::new();
        check_name(&r, object::name(&value), &mut causes);
        self.admit(&mut value)?;
        if r.as_builtin().is_some() {
            kinds::default(&r, &mut value, true);
            rules::validate(&r, &value, &mut causes);
        }
        if let Some(custom) = r.custom() {
            custom.validate(&value, &mut causes);
        }
        let name = object::name(&value).to_string();
        if !causes.is_empty() {
            return Err(Status::invalid(&r, &name, causes));
        }
        if r.is("CustomResourceDefinition") {
            super::crd::complete(&mut value, now);
        }
        let key = Key::new(&r.storage, object::namespace(&value), &name);
        if self.store.get(&key).is_some() {
            return Err(Status::already_exists(&r, &name));
        }
        self.commit(&key, api::stored(&r, value))
    }

    /// The namespace of the body must be that of the path, or unset.
    fn settle_namespace(&self, value: &mut Value) -> Result<(), Status> {
        let path = self.request.target.namespace.as_deref().unwrap_or_default();
        let meta = meta_mut(value);
        let body = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if !body.is_empty() && body != path {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if path.is_empty() {
            meta.remove("namespace");
        } else {
            meta.insert("namespace".into(), path.into());
        }
        Ok(())
    }

    /// Reads the object by its type or schema; unknown fields are dropped, or refused where the caller asks for that.
    fn typed(&mut self, value: Value) -> Result<Value, Status> {
        let r = self.resource.clone();
        let mut unknown = Vec::new();
        let typed = match &r.flavour {
            Flavour::Builtin(builtin) => {
                let mut typed = (builtin.normalize)(&value).map_err(|error| {
                    Status::bad_request(format!(
                        "{} in version {:?} cannot be handled as a {}: {error}",
                        r.kind, r.version, r.kind
                    ))
                })?;
                kinds::lost("", &value, &typed, &mut unknown);
                if r.is("CustomResourceDefinition") {
                    super::crd::whole_numbers(&mut typed);
                }
                typed
            }
            Flavour::Custom(custom) => custom.typed(value, &mut unknown).map_err(|error| {
                Status::bad_request(format!(
                    "{} in version {:?} cannot be handled as a {}: {error}",
                    r.kind, r.version, r.kind
                ))
            })?,
        };
        let messages: Vec<String> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
        match self.request.params.get("fieldValidation") {
            "Strict" if !messages.is_empty() => Err(Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                r.kind,
                r.version,
                r.kind,
                messages.join(", ")
            ))),
            "Ignore" => Ok(typed),
            _ => {
                self.warnings.extend(messages);
                Ok(typed)
            }
        }
    }

    /// Admission at creation: the namespace must be there and stay; pods get priority and tolerations.
    fn admit(&mut self, value: &mut Value) -> Result<(), Status> {
        let r = self.resource.clone();
        let namespace = object::namespace(value).to_string();
        if r.namespaced {
            let Some(found) = self.store.find("namespaces", "", &namespace) else {
                let namespaces = self.store.registry.get("", "v1", "namespaces");
                return Err(namespaces.map_or_else(
                    || Status::internal("namespaces are not served"),
                    |namespaces| Status::not_found(&namespaces, &namespace),
                ));
            };
            if object::is_terminating(found) {
                return Err(Status::forbidden(
                    &r,
                    object::name(value),
                    format!("unable to create new content in namespace {namespace} because it is being terminated"),
                ));
            }
        }
        if r.is("Pod") {
            super::pods::admit(self.store, &r, value)?;
        }
        Ok(())
    }

    pub(super) fn update(&mut self) -> Result<Reply, Status> {
        let value = self.body()?;
        let key = self.key();
        if self.store.get(&key).is_none() {
            let upsert = self.resource.as_builtin().is_some_and(|b| b.create_on_update);
            if upsert && self.request.call.subresource.is_empty() {
                let object = self.create_from(value)?;
                return Ok(Reply::created(self.served(&object)));
            }
            return Err(Status::not_found(&self.resource, &key.name));
        }
        let object = self.replace(value, Writer::Put)?;
        Ok(Reply::ok(self.served(&object)))
    }

    /// Puts `value` in the place of the object that the path names.
    pub(super) fn replace(&mut self, mut value: Value, writer: Writer) -> Result<Object, Status> {
        let r = self.resource.clone();
        let (key, stored) = self.existing()?;
        let old = self.served(&stored);
        api::check_type(&r, &mut value)?;
        self.settle_namespace(&mut value)?;
        let name = key.name.clone();
        match object::name(&value) {
            "" => {
                meta_mut(&mut value).insert("name".into(), name.as_str().into());
            }
            other if other != name => {
                return Err(Status::bad_request(format!(
                    "the name of the object ({other}) does not match the name on the URL ({name})"
                )));
            }
            _ => {}
        }
        self.check_identity(&old, &value, writer)?;
        let mut value = self.typed(value)?;
        self.keep_system_fields(&old, &mut value);
        let mut causes = Vec::new();
        let subresource = self.request.call.subresource.as_str();
        match subresource {
            "status" => {
                let mut merged = (*old).clone();
                merged["status"] = value["status"].take();
                if r.as_builtin().is_some() {
                    // Built-in kinds also take annotations (and pods and nodes labels) here.
                    let meta = meta_mut(&mut merged);
                    carry(&value["metadata"], meta, "annotations");
                    if r.is("Pod") || r.is("Node") {
                        carry(&value["metadata"], meta, "labels");
                    }
                }
                if merged["status"].is_null()
                    && let Some(map) = merged.as_object_mut()
                {
                    map.remove("status");
                }
                value = merged;
            }
            "finalize" => {
                let mut merged = (*old).clone();
                merged["spec"] = value["spec"].take();
                value = merged;
            }
            _ if r.status => {
                if let Some(map) = value.as_object_mut() {
                    carry(&old, map, "status");
                }
            }
            _ => {}
        }
        if r.as_builtin().is_some() {
            kinds::default(&r, &mut value, false);
            rules::validate(&r, &value, &mut causes);
            if subresource.is_empty() {
                rules::validate_update(&r, &old, &value, &mut causes);
            }
        }
        if let Some(custom) = r.custom() {
            custom.validate(&value, &mut causes);
        }
        check_finalizers(&old, &value, &mut causes);
        if !causes.is_empty() {
            return Err(Status::invalid(&r, &name, causes));
        }
        if r.is("CustomResourceDefinition") {
            super::crd::complete(&mut value, self.api.clock.now());
        }
        count_generation(&r, &old, &mut value);
        let value = api::stored(&r, value);
        if value == *stored {
            return Ok(stored);
        }
        if is_finished(&value) {
            // The last finalizer of a deleted object is gone, and so is the object; watches see the deletion only.
            if !self.dry_run {
                self.removed(&key);
            }
            return Ok(value.into());
        }
        self.commit(&key, value)
    }

    /// uid and resource version must be those of the stored object, where given.
    fn check_identity(&self, old: &Object, value: &Value, writer: Writer) -> Result<(), Status> {
        let r = &self.resource;
        let name = object::name(old);
        let (uid, old_uid) = (object::uid(value), object::uid(old));
        if !uid.is_empty() && uid != old_uid {
            return Err(match writer {
                Writer::Put => Status::conflict(
                    r,
                    name,
                    format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}"),
                ),
                Writer::Patch => {
                    Status::invalid(r, name, vec![Cause::invalid("metadata.uid", &uid.into(), "field is immutable")])
                }
            });
        }
        match text(value, "/metadata/resourceVersion") {
            "" | "0" if writer == Writer::Put && r.as_builtin().is_none_or(|b| !b.unconditional) => {
                let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
                return Err(Status::invalid(r, name, vec![cause]));
            }
            "" | "0" => {}
            version if version != text(old, "/metadata/resourceVersion") => {
                return Err(Status::stale(r, name));
            }
            _ => {}
        }
        Ok(())
    }

    /// What only the server sets stays as it was.
    fn keep_system_fields(&self, old: &Object, value: &mut Value) {
        let meta = meta_mut(value);
        for member in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "resourceVersion",
            "managedFields",
            "selfLink",
            "generateName",
        ] {
            carry(&old["metadata"], meta, member);
        }
    }

    /// Writes, or pretends to where the request is a dry run.
    pub(super) fn commit(&mut self, key: &Key, value: Value) -> Result<Object, Status> {
        if self.dry_run {
            return Ok(value.into());
        }
        let object = self.store.put(key, value);
        if self.resource.is("CustomResourceDefinition") {
            super::crd::register(self.store, &object);
        }
        Ok(object)
    }

    /// Removes an object for good.
    pub(super) fn removed(&mut self, key: &Key) -> Option<Object> {
        let last = self.store.remove(key)?;
        if key.storage == "customresourcedefinitions.apiextensions.k8s.io" {
            super::crd::unregister(self.store, &last);
        }
        Some(last)
    }
}

/// Deleted, its grace over, and nobody's finalizer left.
fn is_finished(value: &Value) -> bool {
    object::is_terminating(value)
        && object::items(value, "/metadata/finalizers").is_empty()
        && object::items(value, "/spec/finalizers").is_empty()
        && object::int(value, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) == 0
}

fn check_finalizers(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if !object::is_terminating(old) {
        return;
    }
    let added: Vec<&str> = object::items(new, "/metadata/finalizers")
        .iter()
        .filter_map(Value::as_str)
        .filter(|f| !object::has_finalizer(old, f))
        .collect();
    if !added.is_empty() {
        causes.push(Cause::forbidden(
            "metadata.finalizers",
            format!("no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"),
        ));
    }
}

fn check_name(r: &Resource, name: &str, causes: &mut Vec<Cause>) {
    let (dots, limit) = match r.as_builtin().map(|b| b.kind) {
        Some("Namespace" | "Service") => (false, 63),
        _ => (true, 253),
    };
    if !object::is_dns_name(name, dots, limit) {
        let what = if dots {
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')"
        } else {
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name')"
        };
        causes.push(Cause::invalid("metadata.name", &name.into(), what));
    }
}

/// `metadata.generation` counts changes of what the user wants.
fn count_generation(r: &Resource, old: &Value, new: &mut Value) {
    let changed = match &r.flavour {
        Flavour::Builtin(builtin) => builtin.generation && old["spec"] != new["spec"],
        Flavour::Custom(_) => {
            let wanted = |value: &Value| -> serde_json::Map<String, Value> {
                let members = value.as_object().into_iter().flatten();
                members
                    .filter(|(k, _)| !(*k == "metadata" || *k == "apiVersion" || (*k == "status" && r.status)))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            };
            wanted(old) != wanted(new)
        }
    };
    if changed {
        let next = object::int(old, "/metadata/generation").unwrap_or(0) + 1;
        meta_mut(new).insert("generation".into(), next.into());
    } else if let Some(generation) = object::int(old, "/metadata/generation") {
        fill(meta_mut(new), "generation", generation);
    }
}
