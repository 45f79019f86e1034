//! Deletion: preconditions, grace periods, finalizers and propagation.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Status,
    api::{Op, Reply},
    object::{self, Object, add_finalizer, items, meta_mut, text},
    store::Key,
};
use crate::clock::after;

/// Finalizer under which dependents are freed from their owner first.
pub(super) const ORPHAN: &str = "orphan";
/// Finalizer under which dependents are deleted first.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// `metav1.DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default)]
pub(super) struct DeleteOptions {
    grace_seconds: Option<i64>,
    propagation: Option<String>,
    uid: String,
    version: String,
    pub(super) dry_run: bool,
}

impl DeleteOptions {
    /// Options with the preconditions and the grace period that GC and tests of `kubelet` need.
    pub(super) fn read(body: Option<&Value>, params: &super::path::Params) -> Result<Self, Status> {
        let mut options = Self::default();
        if let Some(body) = body.filter(|b| !b.is_null()) {
            options.grace_seconds = object::int(body, "/gracePeriodSeconds");
            options.propagation = body["propagationPolicy"].as_str().map(Into::into);
            if let Some(orphan) = body["orphanDependents"].as_bool() {
                let policy = if orphan { "Orphan" } else { "Background" };
                options.propagation.get_or_insert(policy.into());
            }
            options.uid = text(body, "/preconditions/uid").into();
            options.version = text(body, "/preconditions/resourceVersion").into();
            options.dry_run = items(body, "/dryRun").iter().any(|v| v == "All");
        }
        if !params.get("gracePeriodSeconds").is_empty() {
            let seconds = params.number("gracePeriodSeconds")?;
            options.grace_seconds = i64::try_from(seconds).ok();
        }
        match params.get("propagationPolicy") {
            "" => {}
            policy => options.propagation = Some(policy.into()),
        }
        if let Some(policy) = &options.propagation
            && !["Background", "Foreground", "Orphan"].contains(&policy.as_str())
        {
            return Err(Status::bad_request(format!(
                "propagationPolicy {policy:?} is not one of Background, Foreground, Orphan"
            )));
        }
        Ok(options)
    }
}

impl Op<'_> {
    pub(super) fn delete(&mut self) -> Result<Reply, Status> {
        let options = DeleteOptions::read(self.request.body.as_ref(), &self.request.params)?;
        let (key, _) = self.existing()?;
        self.delete_key(&key, &options)
    }

    /// Deletes one object, or starts its deletion.
    pub(super) fn delete_key(&mut self, key: &Key, options: &DeleteOptions) -> Result<Reply, Status> {
        let r = self.resource.clone();
        let Some(old) = self.store.get(key).cloned() else {
            return Err(Status::not_found(&r, &key.name));
        };
        check_preconditions(&r, &old, options)?;
        self.dry_run |= options.dry_run;
        let now = self.api.clock.now();
        let grace = grace_seconds(&r, &old, options);
        let mut value = (*old).clone();
        match options.propagation.as_deref() {
            Some("Orphan") => add_finalizer(&mut value, ORPHAN),
            Some("Foreground") => add_finalizer(&mut value, FOREGROUND),
            _ => {}
        }
        if let Some("Background" | "Orphan") = options.propagation.as_deref() {
            object::remove_finalizer(&mut value, FOREGROUND);
        }
        let finalizers = !items(&value, "/metadata/finalizers").is_empty() || r.is("Namespace");
        if grace == 0 && !finalizers {
            let uid = object::uid(&old).to_string();
            let last: Object = if self.dry_run {
                old
            } else {
                match self.removed(key) {
                    Some(last) => last,
                    None => old,
                }
            };
            // Which kinds answer with the object and which with a Status is history; clients cope with both.
            return Ok(if r.is("Pod") || r.is("Service") || r.is("ServiceAccount") {
                Reply::ok(self.served(&last))
            } else {
                Reply::success(200, &r, &key.name, &uid)
            });
        }
        let due = after(now, std::time::Duration::from_secs(u64::try_from(grace).unwrap_or(0)));
        let earlier = object::int(&old, "/metadata/deletionGracePeriodSeconds");
        if object::is_terminating(&old) {
            // A second deletion can only shorten the grace.
            if earlier.is_some_and(|e| grace < e) {
                let meta = meta_mut(&mut value);
                meta.insert("deletionTimestamp".into(), object::time(due).into());
                meta.insert("deletionGracePeriodSeconds".into(), grace.into());
            }
        } else {
            let generation = object::int(&old, "/metadata/generation");
            let meta = meta_mut(&mut value);
            meta.insert("deletionTimestamp".into(), object::time(due).into());
            meta.insert("deletionGracePeriodSeconds".into(), grace.into());
            if let Some(generation) = generation {
                meta.insert("generation".into(), (generation + 1).into());
            }
            if r.is("Namespace") {
                value["status"]["phase"] = "Terminating".into();
            }
            if r.is("CustomResourceDefinition") {
                object::set_condition(&mut value, "Terminating", "True", "InstanceDeletionInProgress", "", now);
            }
        }
        let object = if value == *old { old } else { self.commit(key, value)? };
        Ok(Reply::ok(self.served(&object)))
    }

    pub(super) fn delete_collection(&mut self) -> Result<Reply, Status> {
        let options = DeleteOptions::read(self.request.body.as_ref(), &self.request.params)?;
        let selection = self.selection()?;
        let r = self.resource.clone();
        let found: Vec<Object> = self
            .store
            .list(&r.storage, self.request.target.namespace.as_deref())
            .into_iter()
            .filter(|o| selection.matches(&self.served(o)))
            .collect();
        let mut deleted = Vec::new();
        for object in found {
            let key = Key::new(&r.storage, object::namespace(&object), object::name(&object));
            match self.delete_key(&key, &options)? {
                Reply::Object { value, .. } if value["kind"] != "Status" => deleted.push(value),
                _ => deleted.push(self.served(&object)),
            }
        }
        let revision = self.store.revision();
        Ok(Reply::List {
            resource: r,
            items: deleted,
            meta: serde_json::json!({"resourceVersion": revision.to_string()}),
        })
    }
}

fn check_preconditions(
    r: &Arc<super::resource::Resource>,
    old: &Object,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let name = object::name(old);
    let uid = object::uid(old);
    if !options.uid.is_empty() && options.uid != uid {
        return Err(Status::conflict(
            r,
            name,
            format!("Precondition failed: UID in precondition: {}, UID in object meta: {uid}", options.uid),
        ));
    }
    let version = text(old, "/metadata/resourceVersion");
    if !options.version.is_empty() && options.version != version {
        return Err(Status::conflict(
            r,
            name,
            format!(
                "Precondition failed: ResourceVersion in precondition: {}, ResourceVersion in object meta: {version}",
                options.version
            ),
        ));
    }
    Ok(())
}

/// Only pods die slowly, and only those that a kubelet runs.
fn grace_seconds(r: &super::resource::Resource, old: &Value, options: &DeleteOptions) -> i64 {
    if !r.is("Pod") {
        return 0;
    }
    let over = matches!(text(old, "/status/phase"), "Succeeded" | "Failed");
    if text(old, "/spec/nodeName").is_empty() || over {
        return 0;
    }
    let spec = object::int(old, "/spec/terminationGracePeriodSeconds");
    match options.grace_seconds.or(spec).unwrap_or(0) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}
