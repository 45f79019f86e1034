//! Pods that are being deleted, and those of them that are stuck on a node that does not answer (rule 18).

use std::collections::{BTreeSet, HashMap};

use super::Ledger;
use super::entry::WorkloadIx;
use super::ids::{Str, Uid};
use super::pods::Pod;

/// Ten thousand pods of one workload may be on their way out at once, so the few that are stuck are known by themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leaving {
    by_node: HashMap<Str, BTreeSet<Uid>>,
    stuck: HashMap<WorkloadIx, BTreeSet<Uid>>,
}

/// Adds `uid` to the set of `key`, or takes it out; a set that is empty is dropped.
fn put<K: std::hash::Hash + Eq>(sets: &mut HashMap<K, BTreeSet<Uid>>, key: K, uid: &Uid, insert: bool) {
    let set = sets.entry(key);
    if insert {
        set.or_default().insert(uid.clone());
    } else if let std::collections::hash_map::Entry::Occupied(mut set) = set {
        set.get_mut().remove(uid);
        if set.get().is_empty() {
            set.remove();
        }
    }
}

impl Leaving {
    fn note(&mut self, pod: &Pod, stuck: bool, gone: bool) {
        let leaving = pod.view.deletion_deadline.is_some() && !gone;
        if let Some(node) = &pod.view.node {
            put(&mut self.by_node, node.clone(), &pod.view.uid, leaving);
        }
        if let Some(ix) = pod.workload {
            put(&mut self.stuck, ix, &pod.view.uid, leaving && stuck);
        }
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&mut self, pod: &Pod) {
        if pod.view.deletion_deadline.is_some() {
            self.note(pod, false, true);
        }
    }
}

impl Ledger {
    /// Until the object is gone, also where somebody vouched that the node is off: the successor gets that very address (rule 18).
    pub(super) fn is_stuck(&self, pod: &Pod) -> bool {
        pod.view.deletion_deadline.is_some()
            && !pod.finished
            && pod.view.node.as_ref().is_some_and(|node| !self.nodes.is_ready(node))
    }

    /// Pods of the workload that are being deleted on a node that is not ready, or gone.
    pub(super) fn stuck_pods(&self, ix: WorkloadIx) -> impl Iterator<Item = &Pod> + '_ {
        self.leaving.stuck.get(&ix).into_iter().flatten().filter_map(|uid| self.pods.get(uid))
    }

    /// To be called when something has changed that decides whether the pod is stuck.
    pub(super) fn note_leaving(&mut self, uid: &Uid) {
        if let Some(pod) = self.pods.get(uid).filter(|pod| pod.view.deletion_deadline.is_some()) {
            let stuck = self.is_stuck(pod);
            self.leaving.note(pod, stuck, false);
        }
    }

    /// The node's readiness changed, or it came or went.
    pub(super) fn note_leaving_from(&mut self, node: &str) {
        for uid in self.leaving.by_node.get(node).cloned().unwrap_or_default() {
            self.note_leaving(&uid);
        }
    }

    /// Recomputes who is stuck and compares.
    pub(super) fn check_leaving(&self) {
        let mut fresh = Leaving::default();
        for pod in self.pods.by_uid.values().filter(|pod| pod.view.deletion_deadline.is_some()) {
            fresh.note(pod, self.is_stuck(pod), false);
        }
        assert_eq!(fresh, self.leaving, "pods being deleted, by node, and those stuck, by workload");
    }
}
