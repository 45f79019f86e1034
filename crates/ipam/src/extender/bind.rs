//! Bind: claims the addresses, then creates the Binding that carries them to the pod.
//!
//! An attempt is a task of its own: the scheduler may hang up, what was decided is carried through all the same. Its answer
//! is due before the scheduler's patience (5 s) ends; when it is not done by then, it goes on, and the scheduler's next
//! attempt at the same node joins it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use galaxy_api::annotation::{IpInfo, PodArgs};
use galaxy_api::extender::{BindArgs, BindResult};
use galaxy_api::names::ARGS_ANNOTATION;
use galaxy_api::wire;
use galaxy_core::ledger::{BindStep, BindingOutcome, Grant, PodRef};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::request::Whole;
use super::{Extender, reply};
use crate::calls::{Backoff, CallError, Proof, call};
use crate::engine::Engine;
use crate::metrics;
use crate::reads::{Found, Reader};

/// When the answer is due.
const PATIENCE: Duration = Duration::from_secs(4);
/// Delays between reads of a pod whose Binding has no definite answer.
const REREAD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Carries binds through.
pub(crate) struct Binder {
    engine: Arc<Engine>,
    client: Client,
    reader: Arc<Reader>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// `POST /v1/bind`
pub(super) async fn bind(State(Extender { engine, binder }): State<Extender>, Whole(body): Whole) -> Response {
    let begun = Instant::now();
    let args: BindArgs = match wire::from_slice(&body) {
        Ok(args) => args,
        Err(error) => return reply::unreadable(&error),
    };
    let (result, error) = match args.validate() {
        Err(missing) => (metrics::BindResult::Refused, missing.to_string()),
        Ok(()) => binder.answer(args).await,
    };
    engine.metrics.bind_done(result, begun.elapsed());
    reply::json(&BindResult { error })
}

impl Binder {
    pub(crate) fn new(
        engine: Arc<Engine>,
        client: Client,
        reader: Arc<Reader>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Binder { engine, client, reader, tasks, stop })
    }

    /// Starts an attempt and waits for it as long as the scheduler does.
    async fn answer(self: Arc<Self>, args: BindArgs) -> (metrics::BindResult, String) {
        let pod = PodRef {
            namespace: args.pod_namespace.as_str().into(),
            name: args.pod_name.as_str().into(),
            uid: args.pod_uid.as_str().into(),
        };
        let late = format!(
            "assigning addresses to pod {}/{} on node {} takes its time and goes on; the next attempt joins it",
            args.pod_namespace, args.pod_name, args.node
        );
        let attempt = self.tasks.spawn(Arc::clone(&self).attempt(pod, args.node));
        match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(Ok(Ok(()))) => (metrics::BindResult::Bound, String::new()),
            Ok(Ok(Err(error))) => (metrics::BindResult::Refused, error),
            Ok(Err(broken)) => (metrics::BindResult::Refused, format!("the bind broke off: {broken}")),
            Err(_) => (metrics::BindResult::Pending, late),
        }
    }

    async fn attempt(self: Arc<Self>, pod: PodRef, node: String) -> Result<(), String> {
        let result = self.carry_through(&pod, &node).await;
        let (namespace, name) = (&pod.namespace, &pod.name);
        match &result {
            Ok(()) => tracing::info!(pod = %format!("{namespace}/{name}"), uid = %pod.uid, node, "bound"),
            Err(error) => {
                tracing::warn!(pod = %format!("{namespace}/{name}"), uid = %pod.uid, node, error, "bind failed")
            }
        }
        result
    }

    async fn carry_through(&self, pod: &PodRef, node: &str) -> Result<(), String> {
        if !self.engine.read(|ledger| ledger.knows_pod(&pod.uid)) && !self.look_up(pod).await? {
            return self.bind_plainly(pod, node).await;
        }
        // Registered before the first step, so that no progress is missed.
        let mut progress = self.engine.progress(pod.uid.clone());
        let term = self.engine.term();
        let mut step = self.engine.with(|ledger, now| ledger.bind(now, pod, node));
        loop {
            match step {
                BindStep::Done => return Ok(()),
                BindStep::Refused(text) => return Err(text),
                BindStep::Wait => progress.woken().await,
                BindStep::Bind { pod, node, grants } => {
                    let outcome = match self.engine.term() {
                        Some(now) if Some(now) == term => self.create_binding(&pod, &node, Some(&grants)).await,
                        _ => BindingOutcome::Refused("cannot decide now: this replica leads no more".to_owned()),
                    };
                    let unknown = matches!(outcome, BindingOutcome::Unknown(_));
                    self.engine.with(|ledger, now| ledger.binding_done(now, &pod.uid, outcome));
                    if unknown {
                        self.read_back(&pod).await;
                    }
                }
            }
            step = self.engine.with(|ledger, now| ledger.bind_poll(now, &pod.uid, node));
        }
    }

    /// Reads a pod that nobody has told the ledger about; whether it wants an address.
    async fn look_up(&self, pod: &PodRef) -> Result<bool, String> {
        let PodRef { namespace, name, uid } = pod;
        match self.reader.pod(pod).await {
            Ok(Found::This(found)) => Ok(found.wants_floating_ip),
            Ok(Found::Unreadable) => Err(format!("pod {namespace}/{name} cannot be read")),
            Ok(Found::Gone) => Err(format!("pod {namespace}/{name} with uid {uid} does not exist")),
            Err(error) => Err(format!("pod {namespace}/{name} is not known and cannot be looked up: {error}")),
        }
    }

    /// The scheduler also sends pods that have the resource only where it means nothing, as in init containers. Nobody else
    /// would bind them.
    async fn bind_plainly(&self, pod: &PodRef, node: &str) -> Result<(), String> {
        match self.create_binding(pod, node, None).await {
            BindingOutcome::Bound => Ok(()),
            BindingOutcome::NotFound => Err(format!("pod {}/{} does not exist", pod.namespace, pod.name)),
            BindingOutcome::Refused(error) => Err(error),
            BindingOutcome::Unknown(error) => match self.reader.pod(pod).await {
                Ok(Found::This(found)) if found.node_name == node => Ok(()),
                _ => Err(error),
            },
        }
    }

    async fn create_binding(&self, pod: &PodRef, node: &str, grants: Option<&[Grant]>) -> BindingOutcome {
        let annotations = match grants.map(|grants| self.annotation(pod, grants)).transpose() {
            Ok(text) => text.map(|text| BTreeMap::from([(ARGS_ANNOTATION.to_owned(), text)])),
            Err(error) => return BindingOutcome::Refused(error),
        };
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.name.to_string()),
                namespace: Some(pod.namespace.to_string()),
                // The API server refuses to bind another pod of the name.
                uid: Some(pod.uid.to_string()),
                annotations,
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let params = PostParams::default();
        let created = api.create_subresource::<_, serde_json::Value>("binding", &pod.name, &params, &binding);
        let outcome = match call(created).await {
            Ok(_) => BindingOutcome::Bound,
            Err(error) => refused(pod, node, &error),
        };
        let word = match &outcome {
            BindingOutcome::Bound => "ok",
            BindingOutcome::Refused(_) => "refused",
            BindingOutcome::NotFound => "gone",
            BindingOutcome::Unknown(_) => "unknown",
        };
        self.engine.metrics.api_write("create", "bindings", word);
        outcome
    }

    /// The annotation with the addresses, and everything else that the pod's has.
    fn annotation(&self, pod: &PodRef, grants: &[Grant]) -> Result<String, String> {
        let text = self.engine.args_text(&pod.uid).unwrap_or_default();
        let args = PodArgs::parse(&text).map_err(|error| error.to_string())?;
        let infos = grants.iter().map(|grant| {
            let ip = IpNet::new(grant.ip, grant.prefix_len).map_err(|error| format!("{}: {error}", grant.ip))?;
            Ok(IpInfo { ip, vlan: grant.vlan, gateway: grant.gateway })
        });
        let infos = infos.collect::<Result<Vec<_>, String>>()?;
        let ips: Vec<String> = infos.iter().map(|info| info.ip.to_string()).collect();
        tracing::info!(pod = %format!("{}/{}", pod.namespace, pod.name), uid = %pod.uid, ?ips, "binding with addresses");
        Ok(args.with_ip_infos(&infos))
    }

    /// Reads the pod until it is certain whether the Binding was done.
    async fn read_back(&self, pod: &PodRef) {
        let mut backoff = Backoff::new(REREAD.0, REREAD.1);
        while let Err(error) = self.reader.pod(pod).await {
            tracing::debug!(uid = %pod.uid, %error, "the pod cannot be read back yet");
            self.engine.metrics.api_retry("get", "pods");
            // The next leader reads it from its own caches.
            if self.stop.run_until_cancelled(backoff.wait()).await.is_none() {
                return;
            }
        }
    }
}

fn refused(pod: &PodRef, node: &str, error: &CallError) -> BindingOutcome {
    let text = format!("Binding of pod {}/{} to node {node}: {error}", pod.namespace, pod.name);
    match error.proof() {
        Proof::NotFound => BindingOutcome::NotFound,
        Proof::Refused => BindingOutcome::Refused(text),
        // Conflict: bound already, perhaps by us, or replaced by a pod of the name.
        Proof::Conflict | Proof::Nothing => BindingOutcome::Unknown(text),
    }
}
