//! From a request to the operation on the store that it asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use galaxy_api::names::API_GROUP;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Status,
    calls::{Call, Calls},
    faults::Faults,
    object::{self, Object},
    path::{Params, Target},
    resource::Resource,
    review::User,
    store::{Key, Store},
    watch::Watch,
};
use crate::clock::Clock;

/// Everything the server is made of, shared by all connections.
pub(super) struct Api {
    pub(super) clock: Clock,
    pub(super) users: Vec<User>,
    pub(super) faults: Faults,
    pub(super) calls: Calls,
    /// Ends everything.
    pub(super) stop: CancellationToken,
    /// Every change of it ends all open watches.
    pub(super) watch_epoch: watch::Sender<u64>,
    store: Mutex<Store>,
}

/// A request about a resource.
pub(super) struct Request {
    pub(super) call: Call,
    pub(super) target: Target,
    pub(super) params: Params,
    pub(super) content_type: String,
    pub(super) body: Option<Value>,
}

/// A successful answer.
pub(super) enum Reply {
    Object { code: u16, value: Object, warnings: Vec<String> },
    List { resource: Arc<Resource>, items: Vec<Object>, meta: Value },
    Watch(Box<Watch>),
}

impl Reply {
    pub(super) fn ok(value: impl Into<Object>) -> Self {
        Self::Object { code: 200, value: value.into(), warnings: Vec::new() }
    }

    pub(super) fn created(value: impl Into<Object>) -> Self {
        Self::Object { code: 201, value: value.into(), warnings: Vec::new() }
    }

    /// A `Status` object that says "done".
    pub(super) fn success(code: u16, resource: &Resource, name: &str, uid: &str) -> Self {
        let mut details = json!({"name": name, "kind": resource.plural, "uid": uid});
        if !resource.group.is_empty() {
            details["group"] = resource.group.as_str().into();
        }
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code, "details": details,
        });
        Self::Object { code, value: Arc::new(status), warnings: Vec::new() }
    }
}

/// One operation: the request, its resource, and the state it works on.
pub(super) struct Op<'a> {
    pub(super) api: &'a Arc<Api>,
    pub(super) store: &'a mut Store,
    pub(super) resource: Arc<Resource>,
    pub(super) request: &'a Request,
    pub(super) dry_run: bool,
    pub(super) warnings: Vec<String>,
}

impl Api {
    pub(super) fn new(clock: Clock, users: Vec<User>, store: Store) -> Self {
        Self {
            clock,
            users,
            faults: Faults::default(),
            calls: Calls::default(),
            stop: CancellationToken::new(),
            watch_epoch: watch::Sender::new(0),
            store: Mutex::new(store),
        }
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a request out. Reads and writes of one request see no other request in between.
    pub(super) fn perform(self: &Arc<Self>, request: &Request) -> Result<Reply, Status> {
        let mut store = self.store();
        let t = &request.target;
        let resource = store.registry.get(&t.group, &t.version, &t.resource).ok_or_else(|| unknown(t))?;
        if !resource.namespaced && t.namespace.is_some() {
            return Err(Status::not_served(format!("{} in a namespace: it is cluster-scoped", resource.qualified())));
        }
        let mut op = Op {
            api: self,
            store: &mut store,
            dry_run: request.params.dry_run()?,
            resource,
            request,
            warnings: Vec::new(),
        };
        let mut reply = op.run()?;
        if let Reply::Object { warnings, .. } = &mut reply {
            *warnings = std::mem::take(&mut op.warnings);
        }
        Ok(reply)
    }
}

/// 404 for a resource that nobody defined.
/// Whether Kubernetes itself may have the resource, so that somebody could miss it here.
pub(super) fn is_of_kubernetes(t: &Target) -> bool {
    t.group != API_GROUP && (!t.group.contains('.') || t.group.ends_with(".k8s.io"))
}

/// What is not served, said as the sandbox's fault.
pub(super) fn unknown(t: &Target) -> Status {
    let version = if t.group.is_empty() { t.version.clone() } else { format!("{}/{}", t.group, t.version) };
    Status::not_served(format!("resource {:?} of {version:?}", t.resource))
}

impl Op<'_> {
    fn run(&mut self) -> Result<Reply, Status> {
        let verb = self.request.call.verb.as_str();
        let subresource = self.request.call.subresource.as_str();
        let r = self.resource.clone();
        if r.namespaced && self.request.target.namespace.is_none() {
            if self.request.target.name.is_some() {
                return Err(Status::not_served(format!("{} without a namespace in the path", r.qualified())));
            }
            // Bindings may be posted to the collection of a namespace only.
            if verb == "create" {
                return Err(Status::method_not_allowed(format!(
                    "create of {} needs a namespace in the path",
                    r.qualified()
                )));
            }
        }
        match (verb, subresource) {
            ("list", "") => self.list(),
            ("watch", "") => self.watch(),
            ("deletecollection", "") => self.delete_collection(),
            ("create", "") => self.create(),
            ("get", "" | "status") if subresource.is_empty() || r.status => {
                let found = self.read()?;
                Ok(Reply::ok(self.served(&found)))
            }
            ("update", "" | "status") if subresource.is_empty() || r.status => self.update(),
            ("patch", "" | "status") if subresource.is_empty() || r.status => self.patch(),
            ("delete", "") => self.delete(),
            ("update", "finalize") if r.is("Namespace") => self.update(),
            ("create", "binding") if r.is("Pod") => self.bind(),
            ("create", "eviction") if r.is("Pod") => self.evict(),
            ("get" | "update" | "patch", "scale") if r.scale.is_some() => self.scale(),
            _ if r.subresources().contains(&subresource) || subresource.is_empty() => Err(Status::method_not_allowed(
                format!("{verb} of {}{}{subresource}", r.qualified(), if subresource.is_empty() { "" } else { "/" }),
            )),
            _ => Err(Status::not_implemented(format!("{}/{subresource}", r.qualified()))),
        }
    }

    /// Where the object that the path names is stored.
    pub(super) fn key(&self) -> Key {
        let t = &self.request.target;
        Key::new(
            &self.resource.storage,
            t.namespace.as_deref().unwrap_or_default(),
            t.name.as_deref().unwrap_or_default(),
        )
    }

    /// The stored object that the path names.
    ///
    /// # Errors
    /// 404 if there is none.
    pub(super) fn existing(&self) -> Result<(Key, Object), Status> {
        let key = self.key();
        match self.store.get(&key) {
            Some(object) => {
                let object = object.clone();
                Ok((key, object))
            }
            None => Err(Status::not_found(&self.resource, &key.name)),
        }
    }

    /// The object that the path names, from the watch cache if the caller is content with any version.
    fn read(&mut self) -> Result<Object, Status> {
        let key = self.key();
        let cached = self.store.cached_revision(&key.storage);
        if self.request.params.get("resourceVersion") != "0" || cached == self.store.revision() {
            return Ok(self.existing()?.1);
        }
        let all = self.store.list_at(&key.storage, Some(&key.namespace), cached)?;
        all.into_iter()
            .find(|o| object::name(o) == key.name)
            .ok_or_else(|| Status::not_found(&self.resource, &key.name))
    }

    /// The form in which this version of the resource shows a stored object.
    pub(super) fn served(&self, stored: &Object) -> Object {
        served(&self.resource, stored)
    }
}

/// The form in which a version of a resource shows a stored object.
pub(super) fn served(resource: &Resource, stored: &Object) -> Object {
    if let Some(custom) = resource.custom() {
        return custom.served(resource, stored);
    }
    if resource.group == "events.k8s.io" {
        return Arc::new(super::events::to_events_v1(stored));
    }
    stored.clone()
}

/// The form in which an object of a version is stored.
pub(super) fn stored(resource: &Resource, mut value: Value) -> Value {
    if let Some(custom) = resource.custom() {
        value["apiVersion"] = custom.storage_api_version.as_str().into();
    }
    if resource.group == "events.k8s.io" {
        return super::events::to_core(&value);
    }
    value
}

/// Whether the object is of the version's kind; an unset kind or version is filled in.
///
/// # Errors
/// 400 if it says it is something else.
pub(super) fn check_type(resource: &Resource, value: &mut Value) -> Result<(), Status> {
    check_shape(value, &resource.kind)?;
    for (member, expected) in [("apiVersion", resource.api_version()), ("kind", resource.kind.clone())] {
        match object::text(value, &format!("/{member}")) {
            "" => value[member] = expected.into(),
            found if found == expected => {}
            found => {
                return Err(Status::bad_request(format!(
                    "the object provided is unrecognized: its {member} is {found:?}, the request is for {expected:?}"
                )));
            }
        }
    }
    Ok(())
}

/// Whether the value is an object with object metadata, if any.
///
/// # Errors
/// 400 if not.
pub(super) fn check_shape(value: &Value, kind: &str) -> Result<(), Status> {
    let meta = &value["metadata"];
    let found = super::status::type_name;
    if !value.is_object() {
        return Err(Status::bad_request(format!(
            "the body of the request must be a {kind} object, not a JSON {}",
            found(value)
        )));
    }
    if !meta.is_object() && !meta.is_null() {
        return Err(Status::bad_request(format!("metadata of a {kind} must be an object, not a JSON {}", found(meta))));
    }
    Ok(())
}
