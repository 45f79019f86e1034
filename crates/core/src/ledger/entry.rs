//! One address with an owner: what it shall be, what the API holds, and the operation under way between the two.
//!
//! There may be a million of them, so an entry has 128 bytes and points nowhere: names of nodes and pools, and workloads, are
//! small numbers, a [`Uid`] and a [`PodName`] are kept in place.

use std::num::NonZeroU32;

use super::ids::Time;
use super::pod_name::PodName;
use super::record::{ObjectRef, State};
use super::uid::Uid;
use crate::addr::Addr;
use crate::policy::ReleasePolicy;

/// Position of an entry in the table.
pub(super) type Slot = u32;

/// The pool of an address that the configuration does not have (rule 5).
pub(super) const OUTSIDE: u32 = u32::MAX;

/// Position of a workload in its table, counted from 1 so that "none" needs no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WorkloadIx(NonZeroU32);

impl WorkloadIx {
    pub(super) const MIN: WorkloadIx = WorkloadIx(NonZeroU32::MIN);
    pub(super) const MAX: WorkloadIx = WorkloadIx(NonZeroU32::MAX);

    /// Of the one at `index`, counted from 0.
    pub(super) fn at(index: usize) -> Self {
        WorkloadIx(NonZeroU32::MIN.saturating_add(index as u32))
    }

    /// Counted from 0.
    pub(super) fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// For whose pods an address is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Keeper {
    /// Any pod of a workload.
    Workload(WorkloadIx),
    /// Any pod of a named pool.
    Pool(Sym),
}

/// An interned name of a node or a pool: few, long-lived, and on every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sym(pub(super) NonZeroU32);

/// What an address shall be. A change of it is what the writer carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) state: State,
    pub(super) policy: ReleasePolicy,
    pub(super) spare: bool,
    /// A pod had it and let it go at `updated_at`.
    pub(super) released: bool,
    /// Not had by a pod, and any pod of its workload (or pool) may take it.
    pub(super) any_pod: bool,
    pub(super) workload: Option<WorkloadIx>,
    pub(super) pool: Option<Sym>,
    pub(super) node: Option<Sym>,
    /// Relative to the workload's name.
    pub(super) pod_name: Option<PodName>,
    pub(super) pod_uid: Option<Uid>,
    pub(super) updated_at: Time,
}

impl Claim {
    /// For whose pods it is kept; none if it is a pod's, or kept for a pod name.
    pub(super) fn keeper(&self) -> Option<Keeper> {
        if !self.any_pod {
            return None;
        }
        self.workload.map(Keeper::Workload).or(self.pool.map(Keeper::Pool))
    }
}

/// The operation under way about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    /// None.
    Idle,
    /// Create or update.
    Store,
    /// Delete.
    Delete,
    /// Read from quorum.
    Read,
    /// Cloud assign.
    Assign,
    /// Cloud unassign.
    Unassign,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) addr: Addr,
    /// Its pool of the topology; [`OUTSIDE`] if it is in none.
    pub(super) net: u32,
    pub(super) claim: Option<Claim>,
    /// The object, as last known.
    pub(super) object: Option<ObjectRef>,
    /// Node that the cloud provider may route it to.
    pub(super) assigned: Option<Sym>,
    /// The provider said so, as opposed to not having answered.
    pub(super) assigned_for_certain: bool,
    /// It had an object at some time: freed, it is taken last for a while.
    pub(super) used: bool,
    /// The object holds what the claim says.
    pub(super) stored: bool,
    /// The claim has changed since the operation under way was started.
    pub(super) changed: bool,
    pub(super) ticket: u32,
    pub(super) flight: Flight,
    /// Nothing is decided before the object was read (rule 2).
    pub(super) unknown: bool,
    /// An event came while an operation was under way: the object is read after it.
    pub(super) recheck: bool,
    /// The object was observed as it shall be while an operation was under way: should that one be refused, an earlier
    /// one has landed late.
    pub(super) echoed: bool,
    /// Carries the label `reserved`: left alone once no pod has it.
    pub(super) labelled: bool,
    /// An operation failed; the next try waits for its timer.
    pub(super) waiting: bool,
    /// Failures in a row.
    pub(super) failures: u8,
}

impl Entry {
    pub(super) fn new(addr: Addr, net: u32) -> Self {
        Entry {
            addr,
            net,
            claim: None,
            object: None,
            assigned: None,
            assigned_for_certain: false,
            used: false,
            stored: false,
            changed: false,
            ticket: 0,
            flight: Flight::Idle,
            unknown: false,
            recheck: false,
            echoed: false,
            labelled: false,
            waiting: false,
            failures: 0,
        }
    }

    /// The object holds exactly what the claim says.
    pub(super) fn is_stored(&self) -> bool {
        self.object.is_some() && self.flight == Flight::Idle && !self.unknown && self.stored
    }

    pub(super) fn state(&self) -> Option<State> {
        self.claim.as_ref().map(|claim| claim.state)
    }

    /// The pod that has it, or had it while quarantined.
    pub(super) fn pod_uid(&self) -> Option<&Uid> {
        self.claim.as_ref()?.pod_uid.as_ref()
    }

    /// Whether a pod has it under this uid.
    pub(super) fn is_of(&self, uid: &Uid) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.state == State::Bound && claim.pod_uid.as_ref() == Some(uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_no_byte_too_many() {
        assert_eq!((size_of::<Option<Claim>>(), size_of::<Option<Entry>>()), (64, 128));
    }
}
