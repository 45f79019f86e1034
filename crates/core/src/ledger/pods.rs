//! Pods that want addresses: slim records with what the scheduler was told about them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use super::entry::{Sym, WorkloadIx};
use super::ids::{Str, Time, Uid};
use super::lists::Clipped;
use super::space::Class;
use super::verdict::{PodRef, Refusal};
use super::view::PodView;
use crate::addr::Addr;

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) view: PodView,
    /// Its workload, once its controllers are known.
    pub(super) workload: Option<WorkloadIx>,
    /// uid of its ReplicaSet, if it has one.
    pub(super) replica_set: Option<Uid>,
    /// Boxed, as what else few pods have at a time: there may be hundreds of thousands of pods.
    pub(super) hold: Option<Box<Hold>>,
    pub(super) bind: Option<Box<Bind>>,
    /// How the last bind ended, for requests that joined it.
    pub(super) last_bind: Option<(Str, Result<(), String>)>,
    pub(super) refused: Option<Box<Refused>>,
    /// The scheduler was offered a node for it: what keeps it from being scheduled is something else.
    pub(super) offered: bool,
    /// A cache re-list lacks it: to be proved by the sweep.
    pub(super) missing: bool,
    /// It finished; its addresses were let go.
    pub(super) finished: bool,
    /// Its range lists as far as there are pools, once they were looked at.
    pub(super) clipped: OnceLock<Arc<[Clipped]>>,
}

impl Pod {
    pub(super) fn reference(&self) -> PodRef {
        PodRef { namespace: self.view.namespace.clone(), name: self.view.name.clone(), uid: self.view.uid.clone() }
    }

    /// How many addresses it asks for.
    pub(super) fn units(&self) -> u32 {
        self.view.ranges.as_ref().map_or(1, |lists| lists.len().max(1) as u32)
    }

    /// It has a node and has not finished.
    pub(super) fn is_bound(&self) -> bool {
        self.view.node.is_some() && !self.view.phase.is_finished()
    }
}

/// Reserves a unit of a limit, and where a reserved address must be reused, that address (rule 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) units: u32,
    pub(super) workload: Option<WorkloadIx>,
    pub(super) pool: Option<Sym>,
    pub(super) addr: Option<Addr>,
    pub(super) expires: Time,
    /// The pod as the filter saw it: its version and its PodScheduled=False, to tell a newer refusal from an old one.
    pub(super) version: u64,
    pub(super) unschedulable: Option<u64>,
}

/// A bind under way. It ends when the pod is seen bound or gone, or the Binding was definitely refused (rule 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) node: Str,
    pub(super) addrs: Vec<Addr>,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The addresses are being written, and assigned where there is a cloud provider.
    Claiming,
    /// The Binding is under way.
    Binding,
    /// The Binding had no definite answer: it may still land.
    Unknown,
}

/// A pod that the scheduler was told no about.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) since: Time,
    /// Waiting for an address, as opposed to an edit.
    pub(super) waits: bool,
    /// Woken at, while it may still come.
    pub(super) woken: Option<Time>,
    /// Did not come in time: not woken again until refused again.
    pub(super) forfeited: bool,
    /// Counts as refused since the start, but the scheduler names another reason: what it waits for may be something else.
    pub(super) presumed: bool,
    /// Node classes offered last; none = any node may be offered.
    pub(super) offered: Option<Vec<Class>>,
    /// Wakes in a row because a sample of nodes missed the ones that could serve.
    pub(super) sampled: u32,
    /// It is not woken earlier than this: that other nodes could serve it did not help the last time.
    pub(super) not_before: Option<Time>,
}

/// Pods by uid and by name, and the uids of pods that are gone for good.
#[derive(Default)]
pub(super) struct Pods {
    /// Boxed: a third of a large map is empty.
    pub(super) by_uid: HashMap<Uid, Box<Pod>>,
    pub(super) by_name: HashMap<(Str, Str), Uid>,
    /// Pods whose ReplicaSet is not known yet, by its uid.
    pub(super) unresolved: HashMap<Uid, BTreeSet<Uid>>,
    gone: HashMap<Uid, Time>,
    gone_order: VecDeque<(Time, Uid)>,
}

/// How long a uid is remembered as gone: longer than any late request or event lives.
const REMEMBER_GONE_SECS: i64 = 1800;

impl Pods {
    pub(super) fn get(&self, uid: &Uid) -> Option<&Pod> {
        self.by_uid.get(uid).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, uid: &Uid) -> Option<&mut Pod> {
        self.by_uid.get_mut(uid).map(Box::as_mut)
    }

    pub(super) fn named(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.get(self.by_name.get(&(namespace.into(), name.into()))?)
    }

    pub(super) fn is_gone(&self, uid: &Uid) -> bool {
        self.gone.contains_key(uid)
    }

    pub(super) fn bury(&mut self, now: Time, uid: &Uid) {
        while let Some((since, _)) = self.gone_order.front() {
            if since.plus_secs(REMEMBER_GONE_SECS) > now {
                break;
            }
            if let Some((_, old)) = self.gone_order.pop_front() {
                self.gone.remove(&old);
            }
        }
        if self.gone.insert(uid.clone(), now).is_none() {
            self.gone_order.push_back((now, uid.clone()));
        }
    }
}
