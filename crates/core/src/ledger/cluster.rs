//! The cluster as the ledger knows it: workloads, ReplicaSets, nodes, named pools and custom kinds.

use std::collections::{BTreeSet, HashMap};

use super::entry::WorkloadIx;
use super::ids::{Model, Str, UNKNOWN_GROUP, Uid, WorkloadId};
use super::space::Class;
use super::view::{KindStatus, NodeView, PoolView, ReplicaSetView, WorkloadView};

#[derive(Debug)]
pub(super) struct Workload {
    pub(super) id: WorkloadId,
    /// The object, while it exists.
    pub(super) view: Option<WorkloadView>,
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
    by_id: HashMap<WorkloadId, WorkloadIx>,
    /// Custom workloads by how an old key spells them.
    by_old_key: HashMap<WorkloadId, WorkloadIx>,
}

/// How an old key spells this workload: kind in lower case, no group.
fn legacy_id(id: &WorkloadId) -> WorkloadId {
    WorkloadId { group: UNKNOWN_GROUP.into(), kind: id.kind.to_lowercase().into(), ..id.clone() }
}

impl Workloads {
    pub(super) fn find(&self, id: &WorkloadId) -> Option<WorkloadIx> {
        self.by_id.get(id).copied()
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
                self.by_id.remove(&old.clone());
                self.by_id.insert(id.clone(), ix);
                self.get_mut(ix).id = id.clone();
                return ix;
            }
        }
        let workload = Workload {
            id: id.clone(),
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
                self.all[ix as usize] = Some(workload);
                ix
            }
            None => {
                self.all.push(Some(workload));
                (self.all.len() - 1) as WorkloadIx
            }
        };
        self.by_id.insert(id.clone(), ix);
        if custom {
            self.by_old_key.entry(legacy_id(id)).or_insert(ix);
        }
        ix
    }

    pub(super) fn get(&self, ix: WorkloadIx) -> &Workload {
        self.all[ix as usize].as_ref().expect("a workload that is referred to is kept")
    }

    pub(super) fn get_mut(&mut self, ix: WorkloadIx) -> &mut Workload {
        self.all[ix as usize].as_mut().expect("a workload that is referred to is kept")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkloadIx, &Workload)> + '_ {
        self.all.iter().enumerate().filter_map(|(ix, workload)| Some((ix as WorkloadIx, workload.as_ref()?)))
    }

    /// Forgets workloads that nothing refers to any more.
    pub(super) fn forget_unused(&mut self, has_addresses: impl Fn(WorkloadIx) -> bool) {
        for ix in 0..self.all.len() as WorkloadIx {
            let unused = self.all[ix as usize]
                .as_ref()
                .is_some_and(|w| w.view.is_none() && w.pods.is_empty() && w.holds == 0 && !has_addresses(ix));
            if unused && let Some(workload) = self.all[ix as usize].take() {
                self.by_id.remove(&workload.id);
                let old_key = legacy_id(&workload.id);
                if self.by_old_key.get(&old_key) == Some(&ix) {
                    self.by_old_key.remove(&old_key);
                }
                self.vacant.push(ix);
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct ReplicaSet {
    pub(super) view: ReplicaSetView,
}

/// ReplicaSets by uid, and by the uid of their Deployment.
#[derive(Default)]
pub(super) struct ReplicaSets {
    by_uid: HashMap<Uid, ReplicaSet>,
    by_owner: HashMap<Uid, BTreeSet<Uid>>,
}

impl ReplicaSets {
    pub(super) fn get(&self, uid: &Uid) -> Option<&ReplicaSetView> {
        self.by_uid.get(uid).map(|rs| &rs.view)
    }

    pub(super) fn put(&mut self, view: ReplicaSetView) {
        self.remove(&view.uid.clone());
        if let Some(owner) = &view.controller {
            self.by_owner.entry(owner.uid.clone()).or_default().insert(view.uid.clone());
        }
        self.by_uid.insert(view.uid.clone(), ReplicaSet { view });
    }

    pub(super) fn remove(&mut self, uid: &Uid) -> Option<ReplicaSetView> {
        let view = self.by_uid.remove(uid)?.view;
        if let Some(owner) = &view.controller
            && let Some(set) = self.by_owner.get_mut(&owner.uid)
        {
            set.remove(uid);
            if set.is_empty() {
                self.by_owner.remove(&owner.uid);
            }
        }
        Some(view)
    }

    /// The ReplicaSets of a Deployment.
    pub(super) fn of(&self, deployment: &Uid) -> impl Iterator<Item = &ReplicaSetView> + '_ {
        self.by_owner.get(deployment).into_iter().flatten().filter_map(|uid| self.get(uid))
    }
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) view: NodeView,
    pub(super) class: Option<Class>,
}

/// Nodes by name.
#[derive(Default)]
pub(super) struct Nodes {
    pub(super) by_name: HashMap<Str, Node>,
}

impl Nodes {
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.by_name.get(name)
    }

    /// The node exists and finishes what is asked of it.
    pub(super) fn is_ready(&self, name: &str) -> bool {
        self.get(name).is_some_and(|node| node.view.ready)
    }

    /// The node exists, is not ready, and nobody vouched that it is switched off: what ran there may still run.
    pub(super) fn may_still_run(&self, name: &str) -> bool {
        self.get(name).is_some_and(|node| !node.view.ready && !node.view.out_of_service)
    }
}

/// Pool objects by name.
#[derive(Default)]
pub(super) struct NamedPools {
    pub(super) by_name: HashMap<Str, Vec<PoolView>>,
    name_of: HashMap<Uid, Str>,
}

/// Where a Pool of a name taken twice counts.
const HOME: &str = "kube-system";

impl NamedPools {
    /// The object that counts: kube-system's, else the oldest.
    pub(super) fn effective(&self, name: &str) -> Option<&PoolView> {
        self.by_name.get(name)?.first()
    }

    pub(super) fn put(&mut self, view: PoolView) -> bool {
        if let Some(known) = self.by_name.get(&view.name).and_then(|all| all.iter().find(|p| p.uid == view.uid))
            && known.version >= view.version
        {
            return false;
        }
        self.remove(&view.uid.clone());
        self.name_of.insert(view.uid.clone(), view.name.clone());
        let all = self.by_name.entry(view.name.clone()).or_default();
        all.push(view);
        all.sort_by(|a, b| {
            let rank = |p: &PoolView| (&*p.namespace != HOME, p.created);
            rank(a).cmp(&rank(b)).then_with(|| a.uid.cmp(&b.uid))
        });
        true
    }

    pub(super) fn remove(&mut self, uid: &Uid) -> Option<Str> {
        let name = self.name_of.remove(uid)?;
        if let Some(all) = self.by_name.get_mut(&name) {
            all.retain(|pool| &pool.uid != uid);
            if all.is_empty() {
                self.by_name.remove(&name);
            }
        }
        Some(name)
    }
}

/// Custom kinds by (group, kind).
pub(super) type Kinds = HashMap<(Str, Str), KindStatus>;
