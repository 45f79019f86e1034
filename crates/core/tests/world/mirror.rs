//! What a ledger was told of the cluster, as a naive reader would remember it: late news is no news.

use std::collections::{BTreeMap, BTreeSet};

use galaxy_core::ledger::*;

use super::Event;

#[derive(Default)]
pub(crate) struct Mirror {
    pub(crate) pods: BTreeMap<Uid, PodView>,
    pub(crate) workloads: BTreeMap<WorkloadId, WorkloadView>,
    /// Workloads known to have gone and not seen since.
    pub(crate) gone: BTreeSet<WorkloadId>,
    pub(crate) nodes: BTreeMap<Str, NodeView>,
    pub(crate) pools: BTreeMap<Uid, PoolView>,
    pub(crate) replica_sets: BTreeMap<Uid, ReplicaSetView>,
    dead_pods: BTreeSet<Uid>,
    dead_workloads: BTreeSet<Uid>,
    newest: BTreeMap<WorkloadId, u64>,
}

impl Mirror {
    pub(crate) fn hear(&mut self, event: &Event) {
        match event {
            Event::Pod(view) => self.pod(view),
            Event::PodGone(uid) => {
                self.pods.remove(uid);
                self.dead_pods.insert(uid.clone());
            }
            Event::Node(view) => {
                self.nodes.insert(view.name.clone(), view.clone());
            }
            Event::NodeGone(name) => {
                self.nodes.remove(name);
            }
            Event::Workload(view) => {
                let newest = self.newest.entry(view.id.clone()).or_default();
                if *newest < view.version && !self.dead_workloads.contains(&view.uid) {
                    *newest = view.version;
                    self.gone.remove(&view.id);
                    self.workloads.insert(view.id.clone(), view.clone());
                }
            }
            Event::WorkloadGone(id, uid) => {
                let known = self.workloads.get(id).map(|view| view.uid.clone());
                if known.is_none() || uid.is_none() || known == *uid {
                    self.workloads.remove(id);
                    self.dead_workloads.extend(uid.clone().or(known));
                    self.gone.insert(id.clone());
                }
            }
            Event::Pool(view) => {
                if self.pools.get(&view.uid).is_none_or(|known| known.version < view.version) {
                    self.pools.insert(view.uid.clone(), view.clone());
                }
            }
            Event::PoolGone(uid) => {
                self.pools.remove(uid);
            }
            Event::ReplicaSet(view) => {
                if self.replica_sets.get(&view.uid).is_none_or(|known| known.version < view.version) {
                    self.replica_sets.insert(view.uid.clone(), view.clone());
                }
            }
            Event::ReplicaSetGone(uid) => {
                self.replica_sets.remove(uid);
            }
            Event::Address(_) | Event::AddressGone(..) | Event::Kind(..) => {}
        }
    }

    fn pod(&mut self, view: &PodView) {
        if self.dead_pods.contains(&view.uid) {
            return;
        }
        let same_name = |pod: &&PodView| pod.name == view.name && pod.namespace == view.namespace;
        if let Some(known) = self.pods.values().find(same_name).cloned() {
            if known.version > view.version {
                return;
            }
            if known.uid != view.uid {
                self.pods.remove(&known.uid);
                self.dead_pods.insert(known.uid);
            }
        }
        self.pods.insert(view.uid.clone(), view.clone());
    }

    /// The node exists, is not ready, and nobody vouched that it is off.
    pub(crate) fn may_still_run(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| !node.ready && !node.out_of_service)
    }
}
