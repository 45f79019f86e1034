//! Writes what became of a pod into its PodScheduled condition, in the order of the outcomes and only when something changes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::control::{Context, informer::Informer, meta::Meta, pods};

/// How often a write is tried, and the pause after the first failure, which doubles. Real time.
const TRIES: (u32, Duration) = (6, Duration::from_millis(20));
/// The longest that one write may take. Real time.
const DEADLINE: Duration = Duration::from_secs(5);

/// What became of a pod that was not scheduled.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The pod as it was tried.
    pub pod: Arc<Pod>,
    /// `Unschedulable` or `SchedulerError`.
    pub reason: &'static str,
    /// Why.
    pub message: String,
    /// The node that it waits for, if that changes: `Some("")` takes the nomination away.
    pub nominated: Option<String>,
}

/// A handle on the writer.
#[derive(Clone, Debug)]
pub struct StatusWriter(mpsc::UnboundedSender<Note>);

#[derive(Debug)]
enum Note {
    Verdict(Box<Verdict>),
    Forget(String),
}

impl StatusWriter {
    /// Writes until `ctx` is shut down.
    pub fn start(ctx: &Context, cache: Informer<Pod>) -> Self {
        let (sender, inbox) = mpsc::unbounded_channel();
        ctx.spawn(write(ctx.clone(), cache, inbox));
        Self(sender)
    }

    /// Has the verdict written, unless the pod says so already.
    pub fn write(&self, verdict: Verdict) {
        let _ = self.0.send(Note::Verdict(Box::new(verdict)));
    }

    /// Forgets a pod that is bound or gone.
    pub fn forget(&self, uid: &str) {
        let _ = self.0.send(Note::Forget(uid.to_owned()));
    }
}

async fn write(ctx: Context, cache: Informer<Pod>, mut inbox: mpsc::UnboundedReceiver<Note>) {
    // What was written last, by uid: the pod in a verdict may be older than that.
    let mut written: HashMap<String, Value> = HashMap::new();
    while let Some(note) = inbox.recv().await {
        let verdict = match note {
            Note::Verdict(verdict) => verdict,
            Note::Forget(uid) => {
                written.remove(&uid);
                continue;
            }
        };
        let Some(patch) = patch(&verdict, ctx.clock.now()) else { continue };
        let substance = json!([verdict.reason, verdict.message, verdict.nominated]);
        if written.get(verdict.pod.uid()) == Some(&substance) {
            continue;
        }
        let api: Api<Pod> = Api::namespaced(ctx.client.clone(), verdict.pod.ns());
        for attempt in 0..TRIES.0 {
            let patch = Patch::Strategic(&patch);
            let params = PatchParams::default();
            let write = api.patch_status(verdict.pod.name(), &params, &patch);
            match tokio::time::timeout(DEADLINE, write).await {
                Ok(Ok(pod)) => {
                    written.insert(verdict.pod.uid().to_owned(), substance);
                    cache.record(pod);
                    break;
                }
                Ok(Err(error)) if pods::is_gone(&error) || pods::is_conflict(&error) => break,
                _ => tokio::time::sleep(TRIES.1 * 2_u32.pow(attempt)).await,
            }
        }
    }
}

/// The patch, or nothing if the pod says all that already.
fn patch(verdict: &Verdict, now: Timestamp) -> Option<Value> {
    let pod = &verdict.pod;
    let said = pods::condition(pod, "PodScheduled").is_some_and(|present| {
        present.status == "False"
            && present.reason.as_deref() == Some(verdict.reason)
            && present.message.as_deref() == Some(verdict.message.as_str())
    });
    let status = pod.status.as_ref();
    let nominated = status.and_then(|status| status.nominated_node_name.as_deref()).unwrap_or_default();
    let same_nomination = verdict.nominated.as_deref().is_none_or(|node| node == nominated);
    if said && same_nomination {
        return None;
    }
    let (reason, message) = (Some(verdict.reason), Some(verdict.message.as_str()));
    let condition = pods::condition_patch(pod, "PodScheduled", "False", reason, message, now);
    let mut status = json!({"conditions": [condition]});
    if let (false, Some(node)) = (same_nomination, &verdict.nominated) {
        status["nominatedNodeName"] = Some(node).filter(|node| !node.is_empty()).cloned().into();
    }
    Some(json!({"metadata": {"uid": pod.uid()}, "status": status}))
}
