//! What the ledger has to tell: pods by condition and event, workloads by event, Pools by status, and the kinds it wants
//! watched. Never in the path of a request.

use std::collections::HashSet;
use std::sync::Arc;

use galaxy_core::ledger::{APPS, Notice, PodRef, Str, Uid, WorkloadId};
use kube::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::Wake;
use crate::conditions::{Change, Conditions};
use crate::engine::Engine;
use crate::events::{Event, Events, Subject};
use crate::pool_status::PoolStatusWriter;
use crate::pools::PoolObjects;
use crate::reads::Reader;
use crate::watch::CustomKinds;

/// Takes notices to where they belong.
pub(crate) struct Recorder {
    conditions: Arc<Conditions>,
    pools: Arc<PoolStatusWriter>,
    events: Events,
    kinds: Arc<CustomKinds>,
    reader: Arc<Reader>,
    followed: HashSet<(Str, Str)>,
}

impl Recorder {
    pub(crate) fn new(
        engine: &Arc<Engine>,
        client: &Client,
        wake: Wake,
        events: Events,
        kinds: Arc<CustomKinds>,
        reader: Arc<Reader>,
        pools: Arc<PoolObjects>,
    ) -> Self {
        Recorder {
            conditions: Conditions::new(engine.clone(), client.clone(), wake),
            pools: PoolStatusWriter::new(engine.clone(), client.clone(), pools),
            events,
            kinds,
            reader,
            followed: HashSet::new(),
        }
    }

    /// Writes the status of Pools.
    pub(crate) fn pools(&self) -> Arc<PoolStatusWriter> {
        Arc::clone(&self.pools)
    }

    /// Takes what comes until the engine is gone. Writes run in `tasks`, watches of custom kinds until `stop`.
    pub(crate) async fn run(
        mut self,
        mut notices: mpsc::UnboundedReceiver<Notice>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) {
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Wake { pod, reason, message } => {
                    tracing::info!(pod = %PodName(&pod), uid = %pod.uid, reason, message, "waking waiting pod");
                    self.conditions.submit(&tasks, Change { pod, status: false, reason, message, wake: true });
                }
                Notice::Condition { pod, status, reason, message } => {
                    tracing::info!(pod = %PodName(&pod), uid = %pod.uid, status, reason, message, "pod condition");
                    self.conditions.submit(&tasks, Change { pod, status, reason, message, wake: false });
                }
                Notice::PodEvent { pod, warning, reason, message } => {
                    tracing::info!(pod = %PodName(&pod), uid = %pod.uid, reason, message, "pod event");
                    self.events.send(Event { subject: pod_subject(&pod), warning, reason, message });
                }
                Notice::WorkloadEvent { workload, uid, warning, reason, message } => {
                    tracing::info!(%workload, reason, message, "workload event");
                    let subject = workload_subject(&workload, uid.as_ref());
                    self.events.send(Event { subject, warning, reason, message });
                }
                Notice::WatchKind { group, kind } => {
                    if self.followed.insert((group.clone(), kind.clone())) {
                        let (kinds, stop) = (Arc::clone(&self.kinds), stop.clone());
                        tokio::spawn(async move { stop.run_until_cancelled(kinds.follow(group, kind)).await });
                    }
                }
                Notice::Prove(doubt) => {
                    let reader = Arc::clone(&self.reader);
                    tasks.spawn(async move { reader.prove(&doubt).await });
                }
                Notice::PoolChanged(name) => self.pools.changed([name]),
            }
        }
    }
}

struct PodName<'a>(&'a PodRef);

impl std::fmt::Display for PodName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0.namespace, self.0.name)
    }
}

fn pod_subject(pod: &PodRef) -> Subject {
    Subject {
        api_version: Some("v1".to_owned()),
        kind: "Pod".to_owned(),
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        uid: Some(pod.uid.to_string()),
    }
}

fn workload_subject(workload: &WorkloadId, uid: Option<&Uid>) -> Subject {
    Subject {
        api_version: match &*workload.group {
            APPS => Some("apps/v1".to_owned()),
            "" => Some("v1".to_owned()),
            // Which version people use is not known here.
            _ => None,
        },
        kind: workload.kind.to_string(),
        namespace: workload.namespace.to_string(),
        name: workload.name.to_string(),
        uid: uid.map(Uid::to_string),
    }
}
