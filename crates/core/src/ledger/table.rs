//! The addresses that have an owner, with every index and counter that a decision needs. All changes of a claim go
//! through [`Table::set`], which is why the indexes are exact.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::by_addr::ByAddr;
use super::entry::{Claim, Entry, Keeper, Slot, Sym, WorkloadIx};
use super::ids::{Str, Time, Uid};
use super::pod_name::PodName;
use super::record::State;
use super::sorted::{Hash32, SortedSet, hash};
use crate::addr::Addr;
use crate::policy::ReleasePolicy;

/// Interned names.
#[derive(Default)]
pub(super) struct Names {
    by_name: HashMap<Str, Sym>,
    names: Vec<Str>,
}

impl Names {
    pub(super) fn intern(&mut self, name: &str) -> Sym {
        if let Some(&sym) = self.by_name.get(name) {
            return sym;
        }
        let name: Str = name.into();
        self.names.push(name.clone());
        let sym = Sym(NonZeroU32::new(self.names.len() as u32).unwrap_or(NonZeroU32::MIN));
        self.by_name.insert(name, sym);
        sym
    }

    pub(super) fn find(&self, name: &str) -> Option<Sym> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, sym: Sym) -> &Str {
        &self.names[sym.0.get() as usize - 1]
    }
}

/// Addresses of a workload or a named pool, by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Pods have them.
    pub(super) bound: u32,
    /// Reserved or quarantined.
    pub(super) kept: u32,
    /// Of both, those marked as spare.
    pub(super) spare: u32,
    /// Of those kept, the ones a smaller workload gives up: reserved, and not by policy never.
    pub(super) trimmable: u32,
    /// Of those kept, the ones that are no other pod's to take: kept for a pod name.
    pub(super) named: u32,
}

impl Counts {
    pub(super) fn total(self) -> u32 {
        self.bound + self.kept
    }

    fn is_trimmable(claim: &Claim) -> bool {
        claim.state == State::Reserved && claim.policy != ReleasePolicy::Never
    }

    fn is_named(claim: &Claim) -> bool {
        claim.state != State::Bound && !claim.any_pod && claim.pod_name.is_some()
    }

    fn add(&mut self, claim: &Claim) {
        match claim.state {
            State::Bound => self.bound += 1,
            State::Reserved | State::Quarantined => self.kept += 1,
            State::Admin => return,
        }
        self.spare += u32::from(claim.spare);
        self.trimmable += u32::from(Counts::is_trimmable(claim));
        self.named += u32::from(Counts::is_named(claim));
    }

    fn remove(&mut self, claim: &Claim) {
        match claim.state {
            State::Bound => self.bound -= 1,
            State::Reserved | State::Quarantined => self.kept -= 1,
            State::Admin => return,
        }
        self.spare -= u32::from(claim.spare);
        self.trimmable -= u32::from(Counts::is_trimmable(claim));
        self.named -= u32::from(Counts::is_named(claim));
    }
}

#[derive(Default)]
pub(super) struct Table {
    /// In pieces of [`PIECE`], so that one more address never moves all others.
    pieces: Vec<Vec<Option<Entry>>>,
    vacant: Vec<Slot>,
    by_addr: ByAddr,
    by_uid: SortedSet<(Hash32, Slot)>,
    /// By workload and, within it, by the pod name (0 where there is none).
    by_workload: SortedSet<(WorkloadIx, Hash32, Slot)>,
    /// Kept for any pod of a workload or a named pool: by pool of the topology, oldest first.
    kept: SortedSet<(Keeper, u32, Time, Slot)>,
    by_pool: SortedSet<(Sym, Slot)>,
    quarantined: SortedSet<Slot>,
    /// Had by a pod whose uid nobody recorded.
    unnamed: SortedSet<Slot>,
    /// In none of the indexes by owner: an admin's, and those whose owner nobody recorded.
    ownerless: SortedSet<Slot>,
    /// Addresses that would not be handed out: no more configured, or a gateway's, a network's, a broadcast address.
    strays: ByAddr,
    /// Not as they shall be: an operation is under way or due.
    pending: SortedSet<Slot>,
    /// By pool of the topology.
    of_net: HashMap<u32, u64>,
    /// By the position of the workload; as long as it has to be.
    of_workload: Vec<Counts>,
    of_pool: HashMap<Sym, Counts>,
    states: [usize; 4],
}

const PIECE: usize = 1024;

fn name_hash(claim: &Claim) -> Hash32 {
    claim.pod_name.as_ref().map_or(0, hash)
}

impl Table {
    pub(super) fn slot(&self, addr: Addr) -> Option<Slot> {
        self.by_addr.get(addr)
    }

    pub(super) fn get(&self, addr: Addr) -> Option<&Entry> {
        self.slot(addr).map(|slot| self.at(slot))
    }

    pub(super) fn at(&self, slot: Slot) -> &Entry {
        self.pieces[slot as usize / PIECE][slot as usize % PIECE].as_ref().expect("a slot in an index is occupied")
    }

    /// Everything of an entry but its claim may be changed here; the claim goes through [`Table::set`].
    pub(super) fn at_mut(&mut self, slot: Slot) -> &mut Entry {
        self.pieces[slot as usize / PIECE][slot as usize % PIECE].as_mut().expect("a slot in an index is occupied")
    }

    /// The slot of `addr`, made if there is none; `usable` if the topology in force would hand it out.
    pub(super) fn occupy(&mut self, addr: Addr, net: u32, usable: bool) -> Slot {
        if let Some(slot) = self.slot(addr) {
            return slot;
        }
        let entry = Some(Entry::new(addr, net));
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.pieces[slot as usize / PIECE][slot as usize % PIECE] = entry;
                slot
            }
            None => {
                if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
                    self.pieces.push(Vec::with_capacity(PIECE));
                }
                let before = (self.pieces.len() - 1) * PIECE;
                let piece = self.pieces.last_mut().expect("one was pushed if there was none");
                piece.push(entry);
                (before + piece.len() - 1) as Slot
            }
        };
        self.by_addr.insert(addr, slot);
        if !usable {
            self.strays.insert(addr, slot);
        }
        *self.of_net.entry(net).or_default() += 1;
        slot
    }

    /// Drops an entry without claim and object.
    pub(super) fn vacate(&mut self, slot: Slot) {
        if let Some(entry) = self.pieces[slot as usize / PIECE][slot as usize % PIECE].take() {
            debug_assert!(entry.claim.is_none(), "an entry with a claim is never dropped");
            self.by_addr.remove(entry.addr, slot);
            self.strays.remove(entry.addr, slot);
            self.pending.remove(&slot);
            self.leave_net(entry.net);
            self.vacant.push(slot);
        }
    }

    /// Changes what an address shall be.
    pub(super) fn set(&mut self, slot: Slot, claim: Option<Claim>) {
        let entry = self.at_mut(slot);
        let (old, net) = (entry.claim.take(), entry.net);
        entry.stored = false;
        entry.changed = true;
        if let Some(old) = old {
            self.index(slot, net, &old, false);
        }
        if let Some(new) = claim {
            self.index(slot, net, &new, true);
            self.at_mut(slot).claim = Some(new);
        }
    }

    fn leave_net(&mut self, net: u32) {
        if let Some(count) = self.of_net.get_mut(&net) {
            *count -= 1;
            if *count == 0 {
                self.of_net.remove(&net);
            }
        }
    }

    /// Notes whether something is under way or due about an entry. To be called after every change of one.
    pub(super) fn note_pending(&mut self, slot: Slot) {
        let Some(entry) = self.pieces[slot as usize / PIECE][slot as usize % PIECE].as_ref() else { return };
        // What is the admin's is not written.
        if entry.is_stored() || entry.state() == Some(State::Admin) {
            self.pending.remove(&slot);
        } else {
            self.pending.insert(slot);
        }
    }

    /// Moves an entry to a pool of a new topology, which would hand the address out or not.
    pub(super) fn set_net(&mut self, slot: Slot, net: u32, usable: bool) {
        let addr = self.at(slot).addr;
        if usable {
            self.strays.remove(addr, slot)
        } else {
            self.strays.insert(addr, slot)
        }
        let entry = self.at_mut(slot);
        if entry.net == net {
            return;
        }
        let (old, claim) = (std::mem::replace(&mut entry.net, net), entry.claim.clone());
        self.leave_net(old);
        *self.of_net.entry(net).or_default() += 1;
        if let Some(claim) = claim {
            self.index(slot, old, &claim, false);
            self.index(slot, net, &claim, true);
        }
    }

    fn index(&mut self, slot: Slot, net: u32, claim: &Claim, insert: bool) {
        fn put<T: Ord + Copy>(set: &mut SortedSet<T>, item: T, insert: bool) {
            if insert { set.insert(item) } else { set.remove(&item) }
        }
        let count = |counts: &mut Counts| if insert { counts.add(claim) } else { counts.remove(claim) };
        let state = claim.state as usize;
        self.states[state] = if insert { self.states[state] + 1 } else { self.states[state] - 1 };
        if claim.state == State::Admin || claim.workload.is_none() && claim.pool.is_none() {
            put(&mut self.ownerless, slot, insert);
        }
        if claim.state == State::Admin {
            return;
        }
        match &claim.pod_uid {
            Some(uid) => put(&mut self.by_uid, (hash(uid), slot), insert),
            None if claim.state == State::Bound => put(&mut self.unnamed, slot, insert),
            None => {}
        }
        if let Some(workload) = claim.workload {
            put(&mut self.by_workload, (workload, name_hash(claim), slot), insert);
            if self.of_workload.len() <= workload.index() {
                self.of_workload.resize(workload.index() + 1, Counts::default());
            }
            count(&mut self.of_workload[workload.index()]);
        }
        if let Some(pool) = claim.pool {
            let counts = self.of_pool.entry(pool).or_default();
            count(counts);
            if *counts == Counts::default() {
                self.of_pool.remove(&pool);
            }
            put(&mut self.by_pool, (pool, slot), insert);
        }
        if let Some(keeper) = claim.keeper() {
            put(&mut self.kept, (keeper, net, claim.updated_at, slot), insert);
        }
        if claim.state == State::Quarantined {
            put(&mut self.quarantined, slot, insert);
        }
    }

    pub(super) fn slots_of(&self, uid: &Uid) -> Vec<Slot> {
        let key = hash(uid);
        let found = self.by_uid.range((key, 0)..=(key, Slot::MAX)).map(|(_, slot)| slot);
        found.filter(|&slot| self.at(slot).pod_uid() == Some(uid)).collect()
    }

    /// Addresses kept for, or had by, a pod of this name.
    pub(super) fn slots_named(&self, workload: WorkloadIx, pod: &PodName) -> Vec<Slot> {
        let key = hash(pod);
        let found = self.by_workload.range((workload, key, 0)..=(workload, key, Slot::MAX)).map(|(_, _, slot)| slot);
        let same = |claim: &Claim| claim.workload == Some(workload) && claim.pod_name.as_ref() == Some(pod);
        found.filter(|&slot| self.at(slot).claim.as_ref().is_some_and(same)).collect()
    }

    pub(super) fn slots_of_workload(&self, workload: WorkloadIx) -> impl Iterator<Item = Slot> + '_ {
        let all = (workload, 0, 0)..=(workload, Hash32::MAX, Slot::MAX);
        self.by_workload.range(all).map(|(_, _, slot)| slot)
    }

    /// Addresses of a named pool.
    pub(super) fn slots_of_pool(&self, pool: Sym) -> impl Iterator<Item = Slot> + '_ {
        self.by_pool.range((pool, 0)..=(pool, Slot::MAX)).map(|(_, slot)| slot)
    }

    /// Kept for any pod of the keeper in one pool of the topology, the newest first; `from` one of them on, if given.
    pub(super) fn kept(&self, keeper: Keeper, net: u32, from: Option<(Time, Slot)>) -> impl Iterator<Item = Slot> + '_ {
        let (newest, slot) = from.unwrap_or((Time(i64::MAX), Slot::MAX));
        let all = (keeper, net, Time(i64::MIN), 0)..=(keeper, net, newest, slot);
        self.kept.range(all).rev().map(|(_, _, _, slot)| slot)
    }

    /// Kept for any pod of the keeper.
    pub(super) fn all_kept(&self, keeper: Keeper) -> impl Iterator<Item = Slot> + '_ {
        let all = (keeper, 0, Time(i64::MIN), 0)..=(keeper, u32::MAX, Time(i64::MAX), Slot::MAX);
        self.kept.range(all).map(|(_, _, _, slot)| slot)
    }

    /// Whose an address is that is kept for any of several pods, in which pool of the topology, and since when.
    pub(super) fn keeper(&self, slot: Slot) -> Option<(Keeper, u32, Time)> {
        let entry = self.at(slot);
        let claim = entry.claim.as_ref()?;
        Some((claim.keeper()?, entry.net, claim.updated_at))
    }

    pub(super) fn unnamed(&self) -> impl Iterator<Item = Slot> + '_ {
        self.unnamed.iter()
    }

    pub(super) fn ownerless(&self) -> impl Iterator<Item = Slot> + '_ {
        self.ownerless.iter()
    }

    pub(super) fn strays(&self) -> impl Iterator<Item = &Entry> + '_ {
        self.strays.range(Addr::V4_MIN, Addr::V6_MAX).map(|slot| self.at(slot))
    }

    pub(super) fn pending(&self) -> &SortedSet<Slot> {
        &self.pending
    }

    /// How many addresses have an entry, of one pool of the topology.
    pub(super) fn count_in_net(&self, net: u32) -> u64 {
        self.of_net.get(&net).copied().unwrap_or(0)
    }

    pub(super) fn quarantined(&self) -> impl Iterator<Item = Slot> + '_ {
        self.quarantined.iter()
    }

    pub(super) fn counts_of_workload(&self, workload: WorkloadIx) -> Counts {
        self.of_workload.get(workload.index()).copied().unwrap_or_default()
    }

    pub(super) fn counts_of_pool(&self, pool: Sym) -> Counts {
        self.of_pool.get(&pool).copied().unwrap_or_default()
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = Sym> + '_ {
        self.of_pool.keys().copied()
    }

    /// Claims by state: bound, reserved, quarantined, admin.
    pub(super) fn states(&self) -> [usize; 4] {
        self.states
    }

    /// All entries by address.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Slot, &Entry)> + '_ {
        self.by_addr.range(Addr::V4_MIN, Addr::V6_MAX).map(|slot| (slot, self.at(slot)))
    }

    /// Slots of the entries from `addr` on, ascending.
    pub(super) fn slots_from(&self, addr: Addr) -> impl Iterator<Item = Slot> + '_ {
        self.by_addr.range(addr, Addr::V6_MAX)
    }

    /// Entries from `addr` on.
    pub(super) fn entries_from(&self, addr: Addr) -> impl Iterator<Item = &Entry> + '_ {
        self.by_addr.range(addr, Addr::V6_MAX).map(|slot| self.at(slot))
    }

    /// Recomputes every index and counter from the entries and compares.
    pub(super) fn check(&self) {
        let mut fresh = Table::default();
        let (mut entries, mut uids) = (0, 0);
        for (slot, entry) in self.entries() {
            assert_eq!(self.slot(entry.addr), Some(slot), "index by address of {}", entry.addr);
            entries += 1;
            *fresh.of_net.entry(entry.net).or_default() += 1;
            if !entry.is_stored() && entry.state() != Some(State::Admin) {
                fresh.pending.insert(slot);
            }
            if let Some(claim) = &entry.claim {
                fresh.index(slot, entry.net, claim, true);
                uids += usize::from(claim.pod_uid.is_some() && claim.state != State::Admin);
            }
        }
        assert_eq!(entries, self.pieces.iter().flatten().flatten().count(), "entries outside of the index");
        assert_eq!(uids, self.by_uid.len(), "index by pod uid");
        assert_eq!(fresh.by_uid, self.by_uid, "index by pod uid");
        assert_eq!(fresh.by_workload, self.by_workload, "index by workload and pod name");
        assert_eq!(fresh.kept, self.kept, "kept for any pod");
        assert_eq!(fresh.by_pool, self.by_pool, "index by pool");
        assert_eq!(fresh.quarantined, self.quarantined, "quarantined");
        assert_eq!(fresh.unnamed, self.unnamed, "of pods without a uid");
        assert_eq!(fresh.ownerless, self.ownerless, "of no owner");
        assert_eq!(fresh.pending, self.pending, "under way or due");
        assert_eq!(fresh.of_net, self.of_net, "counts by pool of the topology");
        fresh.of_workload.resize(self.of_workload.len(), Counts::default());
        assert_eq!(fresh.of_workload, self.of_workload, "counts by workload");
        assert_eq!(fresh.of_pool, self.of_pool, "counts by pool");
        assert_eq!(fresh.states, self.states, "counts by state");
    }
}
