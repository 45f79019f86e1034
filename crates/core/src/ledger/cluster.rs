//! The cluster as the ledger knows it: ReplicaSets, nodes, named pools and custom kinds.

use std::collections::{BTreeSet, HashMap};

use super::ids::{Str, Uid};
use super::space::Class;
use super::view::{KindStatus, NodeView, PoolView, ReplicaSetView};

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
        // Creation times have whole seconds: of two in one second the namespace decides, which a person can see.
        all.sort_by(|a, b| {
            let rank = |p: &PoolView| (&*p.namespace != HOME, p.created);
            rank(a).cmp(&rank(b)).then_with(|| a.namespace.cmp(&b.namespace)).then_with(|| a.uid.cmp(&b.uid))
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
