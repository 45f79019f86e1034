//! The workloads that pods and addresses refer to, by a small number.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::entry::WorkloadIx;
use super::ids::{Model, Str, UNKNOWN_GROUP, Uid, WorkloadId};
use super::sorted::{Hash32, SortedSet, hash};
use super::view::WorkloadView;

#[derive(Debug)]
pub(super) struct Workload {
    pub(super) id: WorkloadId,
    /// The object, while it exists. Elsewhere, for most of what is known of pods and old addresses has none.
    pub(super) view: Option<Box<WorkloadView>>,
    /// Proved to be gone, and not seen since.
    pub(super) gone: bool,
    /// resourceVersion of the newest object seen under this name, whatever its uid.
    pub(super) seen: Option<u64>,
    /// uid of the object that went last: what is heard of it afterwards is late.
    pub(super) buried: Option<Uid>,
    /// Its live pods.
    pub(super) pods: BTreeSet<Uid>,
    /// Of these, the ones being deleted.
    pub(super) leaving: BTreeSet<Uid>,
    /// Holds of its pods that have no address yet.
    pub(super) holds: u32,
}

/// Workloads by position: addresses and pods refer to them by a small number.
#[derive(Default)]
pub(super) struct Workloads {
    all: Vec<Option<Workload>>,
    vacant: Vec<WorkloadIx>,
    by_id: SortedSet<(Hash32, WorkloadIx)>,
    /// Custom workloads by how an old key spells them.
    by_old_key: HashMap<WorkloadId, WorkloadIx>,
    /// Groups, kinds and namespaces: one copy of each for all workloads.
    shared: HashSet<Str>,
}

/// How an old key spells this workload: kind in lower case, no group.
fn legacy_id(id: &WorkloadId) -> WorkloadId {
    WorkloadId { group: UNKNOWN_GROUP.into(), kind: id.kind.to_lowercase().into(), ..id.clone() }
}

impl Workloads {
    pub(super) fn find(&self, id: &WorkloadId) -> Option<WorkloadIx> {
        let key = hash(id);
        let found = self.by_id.range((key, WorkloadIx::MIN)..=(key, WorkloadIx::MAX)).map(|(_, ix)| ix);
        found.into_iter().find(|&ix| self.get(ix).id == *id)
    }

    fn share(&mut self, text: &Str) -> Str {
        if let Some(known) = self.shared.get(text) {
            return known.clone();
        }
        self.shared.insert(text.clone());
        text.clone()
    }

    /// The position of a workload, made if it is new. A custom workload and what an old key gave to its kind are one.
    pub(super) fn intern(&mut self, id: &WorkloadId) -> WorkloadIx {
        if let Some(ix) = self.find(id) {
            return ix;
        }
        let custom = id.model() == Model::Custom;
        if custom && let Some(&ix) = self.by_old_key.get(&legacy_id(id)) {
            let old = &self.get(ix).id;
            if &*id.group == UNKNOWN_GROUP {
                return ix;
            }
            if &*old.group == UNKNOWN_GROUP {
                self.by_id.remove(&(hash(old), ix));
                self.by_id.insert((hash(id), ix));
                self.get_mut(ix).id = id.clone();
                return ix;
            }
        }
        let (group, kind, namespace) = (self.share(&id.group), self.share(&id.kind), self.share(&id.namespace));
        let workload = Workload {
            id: WorkloadId { group, kind, namespace, name: id.name.clone() },
            view: None,
            gone: false,
            seen: None,
            buried: None,
            pods: BTreeSet::new(),
            leaving: BTreeSet::new(),
            holds: 0,
        };
        let ix = match self.vacant.pop() {
            Some(ix) => {
                self.all[ix.index()] = Some(workload);
                ix
            }
            None => {
                self.all.push(Some(workload));
                WorkloadIx::at(self.all.len() - 1)
            }
        };
        self.by_id.insert((hash(id), ix));
        if custom {
            self.by_old_key.entry(legacy_id(id)).or_insert(ix);
        }
        ix
    }

    pub(super) fn get(&self, ix: WorkloadIx) -> &Workload {
        self.all[ix.index()].as_ref().expect("a workload that is referred to is kept")
    }

    pub(super) fn get_mut(&mut self, ix: WorkloadIx) -> &mut Workload {
        self.all[ix.index()].as_mut().expect("a workload that is referred to is kept")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkloadIx, &Workload)> + '_ {
        self.all.iter().enumerate().filter_map(|(ix, workload)| Some((WorkloadIx::at(ix), workload.as_ref()?)))
    }

    /// Those whose positions, counted from 0, are in the range.
    pub(super) fn range(&self, at: Range<usize>) -> impl Iterator<Item = (WorkloadIx, &Workload)> + '_ {
        let some = self.all.get(at.start..at.end.min(self.all.len())).unwrap_or_default();
        some.iter().zip(at.start..).filter_map(|(workload, ix)| Some((WorkloadIx::at(ix), workload.as_ref()?)))
    }

    /// No position is this high.
    pub(super) fn end(&self) -> usize {
        self.all.len()
    }

    /// Forgets workloads that nothing refers to any more.
    pub(super) fn forget_unused(&mut self, has_addresses: impl Fn(WorkloadIx) -> bool) {
        for ix in (0..self.all.len()).map(WorkloadIx::at) {
            let unused = self.all[ix.index()]
                .as_ref()
                .is_some_and(|w| w.view.is_none() && w.pods.is_empty() && w.holds == 0 && !has_addresses(ix));
            if unused && let Some(workload) = self.all[ix.index()].take() {
                self.by_id.remove(&(hash(&workload.id), ix));
                let old_key = legacy_id(&workload.id);
                if self.by_old_key.get(&old_key) == Some(&ix) {
                    self.by_old_key.remove(&old_key);
                }
                self.vacant.push(ix);
            }
        }
        self.shared.retain(|text| Str::strong_count(text) > 1);
    }
}
