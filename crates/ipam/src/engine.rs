//! The ledger behind its short lock, and the ways out of it.
//!
//! Everything that happens (a watch event, a request, the outcome of a write, the passing of time) is one call of
//! [`Engine::with`]. What the ledger wants done comes out of its outbox under the same lock, so that writer and recorder see
//! it in the order it was decided. The lock is never held across an await.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use galaxy_api::pod::PodView as WirePod;
use galaxy_core::ledger::{Ledger, Notice, Outbox, Settings, Time, Uid, Write};
use tokio::sync::{Notify, mpsc, watch};

use crate::clock::Clock;
use crate::convert;
use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::tenure::Tenure;
pub use crate::tenure::Term;
use crate::waiters::{Waiter, Waiters};

/// The ledger with its surroundings; shared by all tasks.
pub struct Engine {
    ledger: Mutex<Ledger>,
    clock: Arc<dyn Clock>,
    writes: mpsc::UnboundedSender<(Term, Write)>,
    notices: mpsc::UnboundedSender<Notice>,
    progress: Arc<Waiters<Uid>>,
    /// Grows when an address was settled or a pool changed.
    settled: watch::Sender<u64>,
    /// When the ledger wants to be ticked.
    deadline: watch::Sender<Option<Time>>,
    /// Args annotations of pods that are not bound yet: their Binding carries them on.
    texts: Mutex<HashMap<Uid, (u64, Box<str>)>>,
    active: AtomicBool,
    /// How often this replica has begun to decide.
    term: AtomicU64,
    begun: Notify,
    pub(crate) tenure: Arc<Tenure>,
    pub(crate) objects: Objects,
    pub(crate) metrics: Arc<Metrics>,
}

/// The receiving ends of an engine, for the writer and the recorder.
#[derive(Debug)]
pub struct Outlets {
    /// What is to be written, in the order decided, each with the term in which it was.
    pub writes: mpsc::UnboundedReceiver<(Term, Write)>,
    /// What people and the scheduler are to be told.
    pub notices: mpsc::UnboundedReceiver<Notice>,
}

impl Engine {
    /// An engine with an empty, inactive ledger.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> (Arc<Self>, Outlets) {
        let (writes, write_outlet) = mpsc::unbounded_channel();
        let (notices, notice_outlet) = mpsc::unbounded_channel();
        let engine = Engine {
            ledger: Mutex::new(Ledger::new(settings)),
            clock,
            writes,
            notices,
            progress: Arc::default(),
            settled: watch::Sender::new(0),
            deadline: watch::Sender::new(None),
            texts: Mutex::default(),
            active: AtomicBool::new(false),
            term: AtomicU64::new(0),
            begun: Notify::new(),
            tenure: Arc::default(),
            objects: Objects::default(),
            metrics,
        };
        (Arc::new(engine), Outlets { writes: write_outlet, notices: notice_outlet })
    }

    /// Calls the ledger and sends out what it wants done.
    pub fn with<R>(&self, call: impl FnOnce(&mut Ledger, Time) -> R) -> R {
        let mut ledger = self.lock();
        // This process may have been stopped for a while, with another replica deciding meanwhile.
        if self.active.load(Ordering::Acquire) && !self.tenure.holds() {
            self.activate(&mut ledger, false);
        }
        // Inside the lock, so that the ledger's time never goes back.
        let result = call(&mut ledger, self.clock.now());
        let outbox = ledger.drain();
        let deadline = ledger.next_deadline();
        self.route(outbox);
        self.deadline.send_if_modified(|at| std::mem::replace(at, deadline) != deadline);
        result
    }

    /// Looks into the ledger.
    pub fn read<R>(&self, look: impl FnOnce(&Ledger) -> R) -> R {
        look(&self.lock())
    }

    /// The engine's clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Whether this replica decides.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire) && self.tenure.holds()
    }

    /// The term that runs; none while this replica does not decide.
    pub(crate) fn term(&self) -> Option<Term> {
        self.is_active().then(|| Term(self.term.load(Ordering::Acquire)))
    }

    /// Starts or stops deciding. Without tenure nothing starts.
    pub(crate) fn set_active(&self, active: bool) {
        self.with(|ledger, _| {
            if !active || self.tenure.holds() {
                self.activate(ledger, active);
            }
        });
    }

    fn activate(&self, ledger: &mut Ledger, active: bool) {
        if active {
            self.term.fetch_add(1, Ordering::AcqRel);
            self.begun.notify_one();
        }
        self.active.store(active, Ordering::Release);
        self.metrics.leader(active);
        ledger.set_active(self.clock.now(), active);
    }

    /// Returns when this replica has begun to decide since the last call. For one caller.
    pub(crate) async fn begins(&self) {
        self.begun.notified().await;
    }

    /// Grows with every settled address and every change of a pool.
    pub fn settled(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Waits for progress of a pod's bind.
    pub(crate) fn progress(&self, uid: Uid) -> Waiter<Uid> {
        self.progress.wait(uid)
    }

    /// When the ledger wants to be ticked; changes as it decides.
    pub(crate) fn deadline(&self) -> watch::Receiver<Option<Time>> {
        self.deadline.subscribe()
    }

    /// Feeds a pod as the watch shows it. Pods that want no floating address are not kept.
    pub(crate) fn pod_observed(&self, pod: &WirePod) {
        if pod.wants_floating_ip {
            let view = convert::pod_view(pod);
            self.with(|ledger, now| ledger.pod_observed(now, view));
            self.learn(pod);
        }
    }

    /// Feeds a pod as a quorum read shows it; false if it wants no floating address.
    pub(crate) fn pod_read(&self, pod: &WirePod) -> bool {
        if pod.wants_floating_ip {
            let view = convert::pod_view(pod);
            self.with(|ledger, now| ledger.pod_read(now, &view));
            self.learn(pod);
        }
        pod.wants_floating_ip
    }

    /// Keeps what the Binding of a pod carries on, until it is bound. Call after the ledger has heard of the pod: of one
    /// that it knows to be gone nothing is kept.
    pub(crate) fn learn(&self, pod: &WirePod) {
        let uid = Uid::from(pod.uid.as_str());
        let version = pod.resource_version.parse().unwrap_or(0);
        let text = convert::args_text(pod).filter(|_| pod.node_name.is_empty());
        let known = text.is_some() && self.read(|ledger| ledger.knows_pod(&uid));
        let mut texts = self.texts();
        if texts.get(&uid).is_some_and(|(newer, _)| *newer > version) {
            return;
        }
        match text.filter(|_| known) {
            Some(text) => {
                texts.insert(uid, (version, text.into()));
            }
            None => {
                texts.remove(&uid);
            }
        }
    }

    /// Feeds a pod that is proved gone.
    pub(crate) fn pod_gone(&self, uid: &Uid) {
        self.with(|ledger, now| ledger.pod_gone(now, uid));
        self.texts().remove(uid);
    }

    /// The args annotation of a pod that is not bound yet.
    pub(crate) fn args_text(&self, uid: &Uid) -> Option<Box<str>> {
        self.texts().get(uid).map(|(_, text)| text.clone())
    }

    /// Has people told of what the ledger does not know about.
    pub(crate) fn notify(&self, notice: Notice) {
        // Fails only while everything stops.
        let _ = self.notices.send(notice);
    }

    fn route(&self, outbox: Outbox) {
        let Outbox { writes, progress, settled, notices } = outbox;
        // Sending fails only while everything stops.
        let term = Term(self.term.load(Ordering::Acquire));
        for write in writes {
            let _ = self.writes.send((term, write));
        }
        let changed = !settled.is_empty() || notices.iter().any(|notice| matches!(notice, Notice::PoolChanged(_)));
        for notice in notices {
            let _ = self.notices.send(notice);
        }
        for uid in &progress {
            self.progress.wake(uid);
        }
        if changed {
            self.settled.send_modify(|count| *count += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // Deciding on a ledger that a panic left half changed would be worse than a restart, which reloads it.
        self.ledger.lock().expect("the ledger is in the middle of a call that panicked")
    }

    fn texts(&self) -> MutexGuard<'_, HashMap<Uid, (u64, Box<str>)>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
