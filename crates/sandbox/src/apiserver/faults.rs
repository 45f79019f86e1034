//! Faults that a test injects: what goes wrong, for which calls, how often.
//!
//! A [`Rule`] says which calls it is about and what happens to them; [`Faults::add`] puts it in force and returns a
//! [`Handle`] that counts and removes it. Chance is drawn from a seed per rule and call, so a run can be repeated. Delays are real time: the network
//! does not live by the sandbox's clock.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::sync::watch;

use super::{Status, calls::Call};

/// What happens to a call that a rule hits.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answers with this error; the request is not carried out.
    Error(Status),
    /// Carries the request out, then answers with this error.
    ErrorAfter(Status),
    /// Waits, then goes on.
    Delay(Duration),
    /// Carries the request out, waits, then answers.
    DelayAfter(Duration),
    /// Waits at the gate before the request is carried out.
    Hold(Gate),
    /// Carries the request out, then waits at the gate with the answer.
    HoldAfter(Gate),
    /// Closes the connection; the request is not carried out.
    Drop,
    /// Carries the request out, then closes the connection: the answer is lost.
    DropAfter,
    /// Something happens to an event of a watch.
    Event(EventAction),
}

/// What happens to a watch event that a rule hits.
#[derive(Clone, Debug)]
pub enum EventAction {
    /// It is sent twice.
    Duplicate,
    /// It is never sent on this watch; a client sees the state only with its next list.
    Drop,
    /// It and all later events of this watch come later.
    Delay(Duration),
    /// It and all later events of this watch wait at the gate.
    Hold(Gate),
    /// The watch ends before it.
    Close,
    /// The watch ends before it with a 410 error event.
    Expire,
}

impl Action {
    /// Answers with an error of this code and reason.
    pub fn error(code: u16, reason: &str) -> Self {
        Self::Error(Status::new(code, reason, format!("injected fault: {reason}")))
    }

    /// Answers 409 as if another writer had been faster.
    pub fn conflict() -> Self {
        Self::Error(Status::new(
            409,
            "Conflict",
            "Operation cannot be fulfilled: injected fault: the object has been modified; please apply your changes to the latest version and try again",
        ))
    }
}

/// A place where calls wait until a test lets them go.
#[derive(Clone, Debug)]
pub struct Gate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    arrived: watch::Sender<u64>,
    /// How many may pass in all.
    allowed: watch::Sender<u64>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(GateState { arrived: watch::Sender::new(0), allowed: watch::Sender::new(0) }))
    }

    /// Returns once `n` calls in all have come to the gate.
    pub async fn arrived(&self, n: u64) {
        // The sender lives in `self`: the channel cannot close.
        let _ = self.0.arrived.subscribe().wait_for(|seen| *seen >= n).await;
    }

    /// How many calls have come to the gate.
    pub fn arrivals(&self) -> u64 {
        *self.0.arrived.borrow()
    }

    /// Lets the next `n` calls pass, those that wait first.
    pub fn release(&self, n: u64) {
        self.0.allowed.send_modify(|allowed| *allowed = allowed.saturating_add(n));
    }

    /// Lets all pass, now and later.
    pub fn open(&self) {
        self.0.allowed.send_replace(u64::MAX);
    }

    pub(super) async fn pass(&self) {
        let mut turn = 0;
        self.0.arrived.send_modify(|arrived| {
            *arrived += 1;
            turn = *arrived;
        });
        let _ = self.0.allowed.subscribe().wait_for(|allowed| *allowed >= turn).await;
    }
}

type Predicate = Arc<dyn Fn(&Call, Option<&Value>) -> bool + Send + Sync>;

/// Which calls go wrong and how. An unset matcher matches all.
#[derive(Clone)]
pub struct Rule {
    action: Action,
    verb: Option<String>,
    resource: Option<String>,
    subresource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    agent: Option<String>,
    predicate: Option<Predicate>,
    probability: f64,
    skip: u64,
    times: u64,
}

impl Rule {
    /// A rule that hits every call (of the object itself and of subresources), always.
    pub fn new(action: Action) -> Self {
        Self {
            action,
            verb: None,
            resource: None,
            subresource: None,
            namespace: None,
            name: None,
            agent: None,
            predicate: None,
            probability: 1.0,
            skip: 0,
            times: u64::MAX,
        }
    }

    /// Only this verb: get, list, watch, create, update, patch, delete, deletecollection.
    pub fn verb(mut self, verb: &str) -> Self {
        self.verb = Some(verb.into());
        self
    }

    /// Only this resource, by plural name.
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Only this subresource; `""` for the object itself.
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.into());
        self
    }

    /// Only in this namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only the object of this name (for creations the name in the body, for watch events that of the object).
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Only user agents that contain this.
    pub fn agent(mut self, agent: &str) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Only calls for which this is true. The second argument is the body of a write or the object of a watch event.
    pub fn when(mut self, predicate: impl Fn(&Call, Option<&Value>) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Hits with this probability, from 0 to 1.
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability.clamp(0.0, 1.0);
        self
    }

    /// Leaves the first `n` matching calls alone.
    pub fn skip(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    /// Hits at most `n` calls.
    pub fn times(mut self, n: u64) -> Self {
        self.times = n;
        self
    }

    fn matches(&self, call: &Call, body: Option<&Value>) -> bool {
        fn is(wanted: &Option<String>, value: &str) -> bool {
            wanted.as_ref().is_none_or(|w| w == value)
        }
        is(&self.verb, &call.verb)
            && is(&self.resource, &call.resource)
            && is(&self.subresource, &call.subresource)
            && is(&self.namespace, &call.namespace)
            && is(&self.name, &call.name)
            && self.agent.as_ref().is_none_or(|agent| call.user_agent.contains(agent))
            && self.predicate.as_ref().is_none_or(|p| p(call, body))
    }
}

struct Active {
    rule: Rule,
    id: u64,
    seen: u64,
    hits: Arc<AtomicU64>,
    rng: StdRng,
}

#[derive(Default)]
struct Table {
    rules: Vec<Active>,
    next: u64,
    seed: u64,
}

/// The rules in force. Clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Table>>);

/// A rule in force.
pub struct Handle {
    id: u64,
    hits: Arc<AtomicU64>,
    faults: Faults,
}

impl Handle {
    /// How many calls the rule has hit.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }

    /// Takes the rule out of force; calls that already wait go on waiting.
    pub fn remove(&self) {
        self.faults.table().rules.retain(|r| r.id != self.id);
    }
}

impl Faults {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seed of all rules added from now on.
    pub fn seed(&self, seed: u64) {
        self.table().seed = seed;
    }

    /// Puts a rule in force. The first rule that hits a call decides.
    pub fn add(&self, rule: Rule) -> Handle {
        let mut table = self.table();
        let id = table.next;
        table.next += 1;
        let hits = Arc::new(AtomicU64::new(0));
        let rng = StdRng::seed_from_u64(table.seed ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        table.rules.push(Active { rule, id, seen: 0, hits: hits.clone(), rng });
        Handle { id, hits, faults: self.clone() }
    }

    /// Takes all rules out of force.
    pub fn clear(&self) {
        self.table().rules.clear();
    }

    fn hit(&self, call: &Call, body: Option<&Value>, events: bool) -> Option<Action> {
        let mut table = self.table();
        for active in &mut table.rules {
            let about_events = matches!(active.rule.action, Action::Event(_));
            if about_events != events || !active.rule.matches(call, body) {
                continue;
            }
            active.seen += 1;
            if active.seen <= active.rule.skip
                || active.hits.load(Ordering::SeqCst) >= active.rule.times
                || !active.rng.random_bool(active.rule.probability)
            {
                continue;
            }
            active.hits.fetch_add(1, Ordering::SeqCst);
            return Some(active.rule.action.clone());
        }
        None
    }

    pub(super) fn on_call(&self, call: &Call, body: Option<&Value>) -> Option<Action> {
        self.hit(call, body, false)
    }

    pub(super) fn on_event(&self, call: &Call, object: &Value) -> Option<EventAction> {
        match self.hit(call, Some(object), true) {
            Some(Action::Event(action)) => Some(action),
            _ => None,
        }
    }
}
