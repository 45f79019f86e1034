//! The garbage collector and the end of namespaces: a client of the same server that reacts to what the store reports.
//!
//! Its calls pass the faults and counters under the user agent `garbage-collector`, so a test can hold or count them.

use std::{sync::Weak, time::Duration};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    api::{Api, Request},
    calls::Call,
    delete::{FOREGROUND, ORPHAN},
    object::{self, Object, has_finalizer, is_terminating, items, text},
    path::{Params, Target},
    serve,
    store::{Garbage, Key, Store},
};

const AGENT: &str = "garbage-collector";

/// Before a refused step is tried again, in real time.
const RETRY: Duration = Duration::from_millis(50);

/// Works until the server stops.
pub(super) async fn run(api: Weak<Api>, mut work: mpsc::UnboundedReceiver<Garbage>, stop: CancellationToken) {
    loop {
        let item = tokio::select! {
            item = work.recv() => item,
            () = stop.cancelled() => return,
        };
        let (Some(item), Some(api)) = (item, api.upgrade()) else {
            return;
        };
        let steps = plan(&mut api.store(), &item);
        if steps.is_empty() {
            continue;
        }
        // A task of its own: a held or slow step does not hold up the others.
        tokio::spawn(async move {
            for step in steps {
                let done = matches!(serve::call(&api, &step).await, Ok(Ok(_)));
                if !done {
                    // Out of date or refused: look at the whole matter again.
                    tokio::time::sleep(RETRY).await;
                    break;
                }
            }
            api.store().look_at(item);
        });
    }
}

/// What is to be done about an item now; nothing if all is as it should be.
fn plan(store: &mut Store, item: &Garbage) -> Vec<Request> {
    match item {
        Garbage::OwnerGone(uid) => {
            for dependent in store.dependents(uid) {
                store.look_at(Garbage::Check(dependent));
            }
            Vec::new()
        }
        Garbage::Namespace(name) => empty_namespace(store, name),
        Garbage::Check(key) => {
            let Some(object) = store.get(key).cloned() else {
                return Vec::new();
            };
            if key.storage == "namespaces" && is_terminating(&object) {
                return empty_namespace(store, &key.name);
            }
            if is_terminating(&object) && has_finalizer(&object, ORPHAN) {
                return orphan(store, key, &object);
            }
            if is_terminating(&object) && has_finalizer(&object, FOREGROUND) {
                return foreground(store, key, &object);
            }
            judge_owners(store, key, &object)
        }
    }
}

/// Deletes what is in a namespace that is being deleted, and at last the namespace.
fn empty_namespace(store: &Store, name: &str) -> Vec<Request> {
    let Some(namespace) = store.find("namespaces", "", name).cloned() else {
        return Vec::new();
    };
    if !is_terminating(&namespace) {
        return Vec::new();
    }
    let contents = store.contents(name);
    if contents.is_empty() {
        let mut done = (*namespace).clone();
        done["spec"]["finalizers"] = json!([]);
        let key = Key::new("namespaces", "", name);
        return request(store, "update", "finalize", &key, "application/json", done).into_iter().collect();
    }
    contents
        .iter()
        .filter(|key| store.get(key).is_some_and(|object| !is_terminating(object)))
        .filter_map(|key| delete(store, key, "Background"))
        .collect()
}

/// Takes the owner out of its dependents, then lets it go.
fn orphan(store: &Store, key: &Key, owner: &Object) -> Vec<Request> {
    let uid = object::uid(owner);
    let mut steps: Vec<Request> = store
        .dependents(uid)
        .iter()
        .filter_map(|dependent| disown(store, dependent, |owner| text(owner, "/uid") == uid))
        .collect();
    steps.extend(without_finalizer(store, key, owner, ORPHAN));
    steps
}

/// Lets the owner go once no dependent blocks it; the dependents look after themselves.
fn foreground(store: &mut Store, key: &Key, owner: &Object) -> Vec<Request> {
    let uid = object::uid(owner).to_string();
    let dependents = store.dependents(&uid);
    let blocks = |dependent: &Key| {
        store.get(dependent).is_some_and(|object| {
            items(object, "/metadata/ownerReferences")
                .iter()
                .any(|o| text(o, "/uid") == uid && o["blockOwnerDeletion"] == true)
        })
    };
    if !dependents.iter().any(blocks) {
        return without_finalizer(store, key, owner, FOREGROUND).into_iter().collect();
    }
    for dependent in dependents {
        if store.get(&dependent).is_some_and(|object| !is_terminating(object)) {
            store.look_at(Garbage::Check(dependent));
        }
    }
    Vec::new()
}

/// An object without any living owner goes; references to dead ones go from the others.
fn judge_owners(store: &Store, key: &Key, object: &Object) -> Vec<Request> {
    let owners = items(object, "/metadata/ownerReferences");
    if owners.is_empty() || is_terminating(object) {
        return Vec::new();
    }
    let found = |owner: &Value| {
        store
            .by_uid(text(owner, "/uid"))
            .filter(|o| o.namespace.is_empty() || o.namespace == key.namespace)
            .filter(|o| o.name == text(owner, "/name"))
            .and_then(|o| store.get(o))
    };
    let waits = |owner: &Object| is_terminating(owner) && has_finalizer(owner, FOREGROUND);
    let solid = owners.iter().filter(|o| found(o).is_some_and(|o| !waits(o))).count();
    let waiting = owners.iter().any(|o| found(o).is_some_and(waits));
    if solid == owners.len() {
        return Vec::new();
    }
    let step = if solid > 0 {
        disown(store, key, |owner| found(owner).is_none_or(waits))
    } else if waiting && !store.dependents(object::uid(object)).is_empty() {
        delete(store, key, "Foreground")
    } else if has_finalizer(object, ORPHAN) {
        delete(store, key, "Orphan")
    } else {
        delete(store, key, "Background")
    };
    step.into_iter().collect()
}

fn disown(store: &Store, key: &Key, gone: impl Fn(&Value) -> bool) -> Option<Request> {
    let object = store.get(key)?;
    let kept: Vec<Value> =
        items(object, "/metadata/ownerReferences").iter().filter(|owner| !gone(owner)).cloned().collect();
    let patch =
        json!({"metadata": {"ownerReferences": kept, "resourceVersion": object["metadata"]["resourceVersion"]}});
    request(store, "patch", "", key, "application/merge-patch+json", patch)
}

fn without_finalizer(store: &Store, key: &Key, owner: &Object, finalizer: &str) -> Option<Request> {
    let kept: Vec<&Value> = items(owner, "/metadata/finalizers").iter().filter(|f| *f != finalizer).collect();
    let patch = json!({"metadata": {"finalizers": kept}});
    request(store, "patch", "", key, "application/merge-patch+json", patch)
}

fn delete(store: &Store, key: &Key, policy: &str) -> Option<Request> {
    let uid = object::uid(store.get(key)?).to_string();
    let options = json!({"propagationPolicy": policy, "preconditions": {"uid": uid}});
    request(store, "delete", "", key, "application/json", options)
}

fn request(
    store: &Store,
    verb: &str,
    subresource: &str,
    key: &Key,
    content_type: &str,
    body: Value,
) -> Option<Request> {
    let resource = store.registry.by_storage(&key.storage)?;
    let subresource = Some(subresource.to_string()).filter(|s| !s.is_empty());
    Some(Request {
        call: Call {
            verb: verb.into(),
            group: resource.group.clone(),
            resource: resource.plural.clone(),
            subresource: subresource.clone().unwrap_or_default(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            user_agent: AGENT.into(),
        },
        target: Target {
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.plural.clone(),
            namespace: resource.namespaced.then(|| key.namespace.clone()),
            name: Some(key.name.clone()),
            subresource,
        },
        params: Params::default(),
        content_type: content_type.into(),
        body: Some(body),
    })
}
