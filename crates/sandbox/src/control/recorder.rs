//! Events: what `kubectl describe` and `kubectl get events` show of the loops' doings.

use std::{collections::HashMap, fmt::Debug};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{Context, meta::Meta};
use crate::clock::Clock;

/// Distinct events remembered, to count repeats instead of writing them anew.
const REMEMBERED: usize = 4096;
/// The API's limit for an event's message, in bytes.
const LONGEST: usize = 1024;

/// Writes events in the background; none is ever waited for.
#[derive(Clone, Debug)]
pub struct Recorder {
    notes: mpsc::UnboundedSender<Note>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Note {
    component: &'static str,
    warning: bool,
    namespace: String,
    kind: String,
    api_version: String,
    name: String,
    uid: String,
    reason: String,
    message: String,
}

impl Recorder {
    /// Writes events until `ctx` is shut down.
    pub fn start(ctx: &Context) -> Self {
        let (notes, inbox) = mpsc::unbounded_channel();
        ctx.spawn(write(inbox, ctx.client.clone(), ctx.clock.clone()));
        Self { notes }
    }

    /// Notes that `component` did something to `object`, in the words of `reason` and `message`.
    pub fn note<K>(
        &self,
        component: &'static str,
        object: &K,
        dt: &K::DynamicType,
        warning: bool,
        reason: &str,
        message: impl Into<String>,
    ) where
        K: Resource,
    {
        let mut message = message.into();
        if message.len() > LONGEST {
            let end = (0..=LONGEST - 3).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or(0));
            message.push_str("...");
        }
        let _ = self.notes.send(Note {
            component,
            warning,
            namespace: object.ns().to_owned(),
            kind: K::kind(dt).into_owned(),
            api_version: K::api_version(dt).into_owned(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            reason: reason.to_owned(),
            message,
        });
    }

    /// [`Recorder::note`] of a normal event about a built-in kind.
    pub fn normal<K: Resource<DynamicType = ()>>(
        &self,
        component: &'static str,
        object: &K,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.note(component, object, &(), false, reason, message);
    }

    /// [`Recorder::note`] of a warning about a built-in kind.
    pub fn warning<K: Resource<DynamicType = ()>>(
        &self,
        component: &'static str,
        object: &K,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.note(component, object, &(), true, reason, message);
    }
}

async fn write(mut inbox: mpsc::UnboundedReceiver<Note>, client: Client, clock: Clock) {
    let mut written: HashMap<Note, (String, i32)> = HashMap::new();
    let mut serial = 0_u64;
    while let Some(note) = inbox.recv().await {
        let now = Time(clock.now());
        let namespace = if note.namespace.is_empty() { "default" } else { &note.namespace };
        let api: Api<Event> = Api::namespaced(client.clone(), namespace);
        if let Some((name, count)) = written.get_mut(&note) {
            *count += 1;
            let repeat = json!({"count": count, "lastTimestamp": now});
            let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(repeat)).await;
            if patched.is_ok() {
                continue;
            }
        }
        serial += 1;
        let stamp = clock.now().as_microsecond();
        let event = event_of(&note, namespace, format!("{}.{stamp:x}{serial:x}", note.name), now);
        match api.create(&PostParams::default(), &event).await {
            Ok(event) => {
                if written.len() >= REMEMBERED {
                    written.clear();
                }
                written.insert(note, (event.name().to_owned(), 1));
            }
            Err(error) => tracing::debug!(%error, reason = note.reason, "event not written"),
        }
    }
}

fn event_of(note: &Note, namespace: &str, name: String, now: Time) -> Event {
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() },
        involved_object: ObjectReference {
            api_version: Some(note.api_version.clone()),
            kind: Some(note.kind.clone()),
            name: Some(note.name.clone()),
            namespace: Some(note.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            uid: Some(note.uid.clone()),
            ..ObjectReference::default()
        },
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.clone()),
        message: Some(note.message.clone()),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        source: Some(EventSource { component: Some(note.component.to_owned()), host: None }),
        reporting_component: Some(note.component.to_owned()),
        ..Event::default()
    }
}
