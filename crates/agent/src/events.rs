//! Events on pods: what people see under `kubectl describe pod`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

/// Longest note that the API takes, in bytes.
const NOTE_BYTES: usize = 1024;

/// Where events go.
pub(crate) struct Events(Recorder);

impl Events {
    pub(crate) fn new(client: Client, node: &str) -> Self {
        Events(Recorder::new(client, Reporter { controller: "galaxy".to_owned(), instance: Some(node.to_owned()) }))
    }

    /// Says why a pod did not get its network. Never waits; an event that cannot be written is dropped.
    pub(crate) fn warn(&self, namespace: &str, name: &str, uid: &str, reason: &'static str, message: &str) {
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(message[..message.floor_char_boundary(NOTE_BYTES)].to_owned()),
            action: "Attach".to_owned(),
            secondary: None,
        };
        let recorder = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = recorder.publish(&event, &reference).await {
                tracing::debug!(%error, pod = reference.name, "event not written");
            }
        });
    }
}
