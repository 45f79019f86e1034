//! Kubernetes events: what people see under `kubectl describe`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event as KubeEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;

use crate::calls::{FIELD_MANAGER, call};

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    /// Where it is known.
    pub(crate) api_version: Option<String>,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Event {
    pub(crate) subject: Subject,
    pub(crate) warning: bool,
    /// CamelCase.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Where to send events. Never waits: when too many are under way, further ones are dropped.
#[derive(Debug, Clone)]
pub(crate) struct Events(mpsc::Sender<Event>);

/// Events on their way at once.
const QUEUE: usize = 4096;
/// How long an event counts as the same when it happens again. API servers keep events for an hour.
const SERIES: Duration = Duration::from_secs(600);
/// A series is written at most this often.
const SERIES_WRITE: Duration = Duration::from_secs(30);
/// Events remembered at most.
const REMEMBERED: usize = 10_000;
/// Longest note the API takes, in bytes.
const NOTE_BYTES: usize = 1024;

impl Events {
    /// Where to send, and what writes what is sent.
    pub(crate) fn new(client: Client, instance: String) -> (Events, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Events(sender), write(client, instance, receiver))
    }

    /// Sends an event.
    pub(crate) fn send(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.0.try_send(event) {
            tracing::debug!(reason = event.reason, name = event.subject.name, "too many events; this one is dropped");
        }
    }
}

/// An event written before.
struct Written {
    name: String,
    count: i32,
    last: Instant,
    last_write: Instant,
}

async fn write(client: Client, instance: String, mut events: mpsc::Receiver<Event>) {
    let mut written: HashMap<Event, Written> = HashMap::new();
    while let Some(event) = events.recv().await {
        if written.len() >= REMEMBERED {
            written.clear();
        }
        let now = Instant::now();
        written.retain(|_, earlier| now.duration_since(earlier.last) < SERIES);
        let api: Api<KubeEvent> = Api::namespaced(client.clone(), &event.subject.namespace);
        let result = match written.get_mut(&event) {
            Some(earlier) => {
                earlier.count += 1;
                earlier.last = now;
                if now.duration_since(earlier.last_write) < SERIES_WRITE {
                    continue;
                }
                earlier.last_write = now;
                let series =
                    EventSeries { count: earlier.count, last_observed_time: MicroTime(jiff::Timestamp::now()) };
                let patch = Patch::Merge(json!({ "series": series }));
                call(api.patch(&earlier.name, &PatchParams::default(), &patch)).await
            }
            None => {
                let object = object(&event, &instance);
                let name = object.metadata.name.clone().unwrap_or_default();
                let result = call(api.create(&PostParams::default(), &object)).await;
                if result.is_ok() {
                    written.insert(event.clone(), Written { name, count: 1, last: now, last_write: now });
                }
                result
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, reason = event.reason, name = event.subject.name, "event not written");
            written.remove(&event);
        }
    }
}

fn object(event: &Event, instance: &str) -> KubeEvent {
    let now = jiff::Timestamp::now();
    let subject = &event.subject;
    KubeEvent {
        metadata: ObjectMeta {
            // Unique as client-go makes it: by the nanosecond.
            name: Some(format!("{}.{:x}", subject.name, now.as_nanosecond())),
            namespace: Some(subject.namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Allocate".to_owned()),
        reason: Some(event.reason.to_owned()),
        note: Some(cut(&event.message, NOTE_BYTES).to_owned()),
        type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(cut(instance, 128).to_owned()),
        regarding: Some(ObjectReference {
            api_version: subject.api_version.clone(),
            kind: Some(subject.kind.clone()),
            namespace: Some(subject.namespace.clone()),
            name: Some(subject.name.clone()),
            uid: subject.uid.clone(),
            ..ObjectReference::default()
        }),
        ..KubeEvent::default()
    }
}

/// At most the first `bytes` of a text.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(cut("short", 1024), "short");
        assert_eq!(cut("aß", 2), "a");
    }
}
