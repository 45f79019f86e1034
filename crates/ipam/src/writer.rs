//! The one writer of FloatingIP objects: performs what the ledger decided and reports how it ended.
//!
//! The ledger has at most one operation under way per address, so operations of different addresses run side by side and
//! those of one address in order. Nothing is retried here: after any failure the ledger decides anew on what is known then.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use galaxy_api::FloatingIP;
use galaxy_core::Addr;
use galaxy_core::ledger::{ObjectRef, Op, Outcome, Record, State, Write};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use crate::calls::{CallError, FIELD_MANAGER, Proof, call};
use crate::cloud::CloudProvider;
use crate::convert::floating_ip::{self, object_ref};
use crate::engine::Engine;
use crate::objects::Extra;
use crate::tenure::Term;

/// Calls of the API server at once.
const API_CALLS: usize = 256;
/// Releases at once among them: ten thousand pods that go together must not stand before a pod that comes, neither here nor in the
/// API server.
const RELEASES: usize = 64;
/// Calls of the cloud provider at once; they may take a minute each.
const CLOUD_CALLS: usize = 256;
const RESOURCE: &str = "floatingips";

/// Performs operations.
pub(crate) struct Writer {
    engine: Arc<Engine>,
    api: Api<FloatingIP>,
    cloud: Option<Arc<dyn CloudProvider>>,
    api_calls: Semaphore,
    releases: Semaphore,
    cloud_calls: Semaphore,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    /// Operations that wait for their turn, by arrival.
    waiting: BTreeMap<u64, Instant>,
    /// Addresses whose last operation failed.
    failed: HashSet<Addr>,
}

impl Writer {
    pub(crate) fn new(engine: Arc<Engine>, client: Client, cloud: Option<Arc<dyn CloudProvider>>) -> Arc<Self> {
        Arc::new(Writer {
            engine,
            api: Api::all(client),
            cloud,
            api_calls: Semaphore::new(API_CALLS),
            releases: Semaphore::new(RELEASES),
            cloud_calls: Semaphore::new(CLOUD_CALLS),
            queue: Mutex::default(),
        })
    }

    /// Performs what comes until the engine is gone. The operations themselves run in `tasks`.
    pub(crate) async fn run(self: Arc<Self>, mut writes: mpsc::UnboundedReceiver<(Term, Write)>, tasks: TaskTracker) {
        while let Some((term, write)) = writes.recv().await {
            tasks.spawn(Arc::clone(&self).perform(term, write));
        }
    }

    async fn perform(self: Arc<Self>, term: Term, Write { addr, ticket, op }: Write) {
        let verb = verb(&op);
        let turn = self.arrive(addr, verb);
        let calls = if matches!(op, Op::Assign(_) | Op::Unassign(_)) { &self.cloud_calls } else { &self.api_calls };
        // The semaphores are never closed.
        let _release = if gives_up(&op) { Some(self.releases.acquire().await) } else { None };
        let _permit = calls.acquire().await;
        self.begin(turn);
        let outcome = match op {
            // Another replica decides now, or may. Reads harm nobody.
            op if !matches!(op, Op::Read) && self.engine.term() != Some(term) => {
                Outcome::Unknown("not written: this replica leads no more".to_owned())
            }
            Op::Create(record) => self.create(&record).await,
            Op::Update(object, record) => self.update(&object, &record).await,
            Op::Delete(object) => self.delete(addr, &object).await,
            Op::Read => self.read(addr).await,
            Op::Assign(node) => self.cloud_call(addr, &node, true).await,
            Op::Unassign(node) => self.cloud_call(addr, &node, false).await,
        };
        self.end(addr, verb, &outcome);
        self.engine.with(|ledger, now| ledger.outcome(now, addr, ticket, outcome));
    }

    async fn create(&self, record: &Record) -> Outcome {
        let fip = self.object(record, None);
        match call(self.api.create(&post(), &fip)).await {
            Ok(made) => {
                log(record, "address claimed");
                self.learned(record.addr, &made)
            }
            Err(error) => match error.proof() {
                Proof::Conflict => Outcome::Stale,
                Proof::NotFound | Proof::Refused => Outcome::Refused(refused("create", record.addr, &error)),
                Proof::Nothing => Outcome::Unknown(error.to_string()),
            },
        }
    }

    async fn update(&self, object: &ObjectRef, record: &Record) -> Outcome {
        let fip = self.object(record, Some(object));
        match call(self.api.replace(&record.addr.object_name(), &post(), &fip)).await {
            Ok(made) => {
                log(record, "address updated");
                self.learned(record.addr, &made)
            }
            Err(error) => match error.proof() {
                Proof::Conflict | Proof::NotFound => Outcome::Stale,
                Proof::Refused => Outcome::Refused(refused("update", record.addr, &error)),
                Proof::Nothing => Outcome::Unknown(error.to_string()),
            },
        }
    }

    async fn delete(&self, addr: Addr, object: &ObjectRef) -> Outcome {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(object.uid.to_string()),
                resource_version: Some(object.version.to_string()),
            }),
            ..DeleteParams::default()
        };
        match call(self.api.delete(&addr.object_name(), &params)).await {
            Ok(deleted) => {
                // With finalizers it stays until whoever put them there takes them off.
                let left = deleted.left().and_then(|left: FloatingIP| left.metadata.finalizers).unwrap_or_default();
                if !left.is_empty() {
                    let left = left.join(", ");
                    return Outcome::Refused(format!("FloatingIP {addr} cannot go before its finalizers do: {left}"));
                }
                tracing::info!(ip = %addr, "address freed");
                self.engine.objects.gone(addr, object);
                Outcome::Gone
            }
            Err(error) => match error.proof() {
                Proof::NotFound => {
                    self.engine.objects.gone(addr, object);
                    Outcome::Gone
                }
                Proof::Conflict => Outcome::Stale,
                Proof::Refused => Outcome::Refused(refused("delete", addr, &error)),
                Proof::Nothing => Outcome::Unknown(error.to_string()),
            },
        }
    }

    /// A GET without a resourceVersion is a quorum read.
    async fn read(&self, addr: Addr) -> Outcome {
        match call(self.api.get_opt(&addr.object_name())).await {
            Ok(None) => Outcome::Read(None),
            Ok(Some(fip)) => {
                self.learned(addr, &fip);
                Outcome::Read(floating_ip::stored(&fip).map(Box::new))
            }
            Err(error) if error.proof() == Proof::Refused => Outcome::Refused(refused("read", addr, &error)),
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }

    async fn cloud_call(&self, addr: Addr, node: &str, assign: bool) -> Outcome {
        // Without a provider addresses are routed by the network itself.
        let Some(cloud) = &self.cloud else { return Outcome::CloudDone };
        let result = if assign { cloud.assign(node, addr.ip()).await } else { cloud.unassign(node, addr.ip()).await };
        match result {
            Ok(()) => {
                tracing::info!(ip = %addr, node, "{}", if assign { "assigned to node" } else { "unassigned from node" });
                Outcome::CloudDone
            }
            Err(error) => Outcome::CloudFailed(error.to_string()),
        }
    }

    fn object(&self, record: &Record, existing: Option<&ObjectRef>) -> FloatingIP {
        let topology = self.engine.read(|ledger| ledger.topology().cloned());
        let existing = existing.map(|object| (object, self.engine.objects.extra(record.addr, object)));
        floating_ip::object(record, topology.as_deref(), existing)
    }

    /// Remembers an object as the API server returned it.
    fn learned(&self, addr: Addr, fip: &FloatingIP) -> Outcome {
        let object = object_ref(fip);
        self.engine.objects.observed(addr, &object, Extra::of(&fip.metadata));
        Outcome::Stored(object)
    }

    fn arrive(&self, addr: Addr, verb: &'static str) -> u64 {
        let mut queue = self.lock();
        if queue.failed.contains(&addr) {
            self.engine.metrics.api_retry(verb, RESOURCE);
        }
        let turn = queue.next;
        queue.next += 1;
        queue.waiting.insert(turn, Instant::now());
        self.report(&queue);
        turn
    }

    fn begin(&self, turn: u64) {
        let mut queue = self.lock();
        queue.waiting.remove(&turn);
        self.report(&queue);
    }

    fn end(&self, addr: Addr, verb: &'static str, outcome: &Outcome) {
        let (result, failure) = match outcome {
            Outcome::Stored(_) | Outcome::Gone | Outcome::Read(_) | Outcome::CloudDone => ("ok", None),
            Outcome::Stale => ("conflict", None),
            Outcome::Refused(text) => ("refused", Some(text)),
            Outcome::Unknown(text) => ("unknown", Some(text)),
            Outcome::CloudFailed(text) => ("failed", Some(text)),
        };
        if let Some(error) = failure {
            tracing::warn!(ip = %addr, verb, result, error, "operation failed");
        }
        if !matches!(verb, "assign" | "unassign" | "get") {
            self.engine.metrics.api_write(verb, RESOURCE, result);
        }
        let mut queue = self.lock();
        if result == "ok" {
            queue.failed.remove(&addr);
        } else {
            queue.failed.insert(addr);
        }
    }

    fn report(&self, queue: &Queue) {
        let oldest = queue.waiting.first_key_value().map(|(_, since)| *since);
        self.engine.metrics.writer_queue(queue.waiting.len(), oldest);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a pod loses the address by it.
fn gives_up(op: &Op) -> bool {
    match op {
        Op::Delete(_) => true,
        Op::Update(_, record) => record.state != State::Bound,
        _ => false,
    }
}

fn verb(op: &Op) -> &'static str {
    match op {
        Op::Create(_) => "create",
        Op::Update(..) => "update",
        Op::Delete(_) => "delete",
        Op::Read => "get",
        Op::Assign(_) => "assign",
        Op::Unassign(_) => "unassign",
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn refused(verb: &str, addr: Addr, error: &CallError) -> String {
    format!("the API server does not {verb} FloatingIP {addr}: {error}")
}

fn log(record: &Record, decision: &'static str) {
    tracing::info!(
        ip = %record.addr,
        state = ?record.state,
        owner = record.workload.as_ref().map(tracing::field::display),
        pod = record.pod_name.as_deref(),
        uid = record.pod_uid.as_ref().map(tracing::field::display),
        pool = record.pool.as_deref(),
        node = record.node.as_deref(),
        policy = %record.policy,
        spare = record.spare,
        "{decision}"
    );
}
