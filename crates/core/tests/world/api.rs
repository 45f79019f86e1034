//! The fake API server: objects with versions, preconditions, and the watch events that changes give rise to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use galaxy_core::Addr;
use galaxy_core::ledger::*;

/// What a watch says.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Pod(PodView),
    PodGone(Uid),
    Address(Stored),
    AddressGone(Addr, ObjectRef),
    Node(NodeView),
    NodeGone(Str),
    Workload(WorkloadView),
    WorkloadGone(WorkloadId, Option<Uid>),
    ReplicaSet(ReplicaSetView),
    ReplicaSetGone(Uid),
    Pool(PoolView),
    PoolGone(Uid),
    Kind(String, String, KindStatus),
}

/// All objects.
#[derive(Default)]
pub(crate) struct Api {
    version: u64,
    serial: u64,
    addresses: BTreeMap<Addr, Stored>,
    /// Addresses whose object carries the label `reserved`.
    labelled: BTreeSet<Addr>,
    pub(crate) pods: BTreeMap<Uid, PodView>,
    pub(crate) workloads: BTreeMap<WorkloadId, WorkloadView>,
    pub(crate) replica_sets: BTreeMap<Uid, ReplicaSetView>,
    pub(crate) nodes: BTreeMap<Str, NodeView>,
    pub(crate) pools: BTreeMap<Uid, PoolView>,
    /// Where the cloud provider routes addresses.
    pub(crate) cloud: BTreeMap<Addr, BTreeSet<Str>>,
    pub(crate) events: VecDeque<Event>,
}

impl Api {
    pub(crate) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(crate) fn new_uid(&mut self) -> Uid {
        self.serial += 1;
        Uid::from(format!("00000000-0000-4000-8000-{:012x}", self.serial))
    }

    /// The object of an address as a client reads it: one with the label `reserved` is the admin's.
    pub(crate) fn read(&self, addr: Addr) -> Option<Stored> {
        let stored = self.addresses.get(&addr)?.clone();
        if !self.labelled.contains(&addr) {
            return Some(stored);
        }
        let key = stored.record.key.as_deref().map_or_else(|| stored.record.fip_key().to_string(), str::to_owned);
        let record = Record {
            state: State::Admin,
            workload: None,
            workload_uid: None,
            pod_name: None,
            pod_uid: None,
            pool: None,
            node: None,
            spare: false,
            released_at: None,
            key: Some(key).filter(|key| !key.is_empty()).map(Into::into),
            ..stored.record
        };
        Some(Stored { record, ..stored })
    }

    /// The object as it stands, label or not.
    pub(crate) fn raw(&self, addr: Addr) -> Option<&Record> {
        self.addresses.get(&addr).map(|stored| &stored.record)
    }

    pub(crate) fn list(&self) -> Vec<Stored> {
        self.addresses.keys().filter_map(|&addr| self.read(addr)).collect()
    }

    fn observe(&mut self, addr: Addr) {
        self.events.extend(self.read(addr).map(Event::Address));
    }

    /// Somebody creates an object.
    pub(crate) fn create(&mut self, record: Record) -> Option<ObjectRef> {
        if self.addresses.contains_key(&record.addr) {
            return None;
        }
        let object = ObjectRef { uid: self.new_uid(), version: self.next_version() };
        let addr = record.addr;
        self.addresses.insert(addr, Stored { object: object.clone(), record });
        self.observe(addr);
        Some(object)
    }

    /// Somebody edits an object.
    pub(crate) fn edit(&mut self, addr: Addr, edit: impl FnOnce(&mut Record)) {
        let version = self.next_version();
        let stored = self.addresses.get_mut(&addr).expect("an object to edit");
        edit(&mut stored.record);
        stored.object.version = version;
        self.observe(addr);
    }

    /// Sets or removes the label `reserved`.
    pub(crate) fn label(&mut self, addr: Addr, on: bool) {
        let changed = if on { self.labelled.insert(addr) } else { self.labelled.remove(&addr) };
        if changed {
            self.edit(addr, |_| {});
        }
    }

    /// Somebody deletes an object.
    pub(crate) fn delete(&mut self, addr: Addr) {
        if let Some(stored) = self.addresses.remove(&addr) {
            self.labelled.remove(&addr);
            self.next_version();
            self.events.push_back(Event::AddressGone(addr, stored.object));
        }
    }

    /// Does what the writer asks, as the API server and the cloud would.
    pub(crate) fn apply(&mut self, addr: Addr, op: &Op) -> Outcome {
        match op {
            Op::Create(record) => self.create(record.clone()).map_or(Outcome::Stale, Outcome::Stored),
            Op::Update(object, record) => {
                if self.addresses.get(&addr).is_none_or(|stored| stored.object != *object) {
                    return Outcome::Stale;
                }
                self.edit(addr, |old| *old = record.clone());
                Outcome::Stored(self.addresses[&addr].object.clone())
            }
            Op::Delete(object) => match self.addresses.get(&addr) {
                None => Outcome::Gone,
                Some(stored) if stored.object != *object => Outcome::Stale,
                Some(_) => {
                    assert!(!self.cloud.contains_key(&addr), "{addr} is freed while the cloud routes it");
                    self.delete(addr);
                    Outcome::Gone
                }
            },
            Op::Read => Outcome::Read(self.read(addr).map(Box::new)),
            Op::Assign(node) => {
                let nodes = self.cloud.entry(addr).or_default();
                nodes.insert(node.clone());
                assert_eq!(nodes.len(), 1, "{addr} is routed to several nodes");
                Outcome::CloudDone
            }
            Op::Unassign(node) => {
                if let Some(nodes) = self.cloud.get_mut(&addr) {
                    nodes.remove(node);
                    if nodes.is_empty() {
                        self.cloud.remove(&addr);
                    }
                }
                Outcome::CloudDone
            }
        }
    }

    pub(crate) fn pod(&self, uid: &Uid) -> &PodView {
        self.pods.get(uid).unwrap_or_else(|| panic!("pod {uid} exists"))
    }

    pub(crate) fn pod_named(&self, namespace: &str, name: &str) -> Option<PodView> {
        self.pods.values().find(|pod| *pod.namespace == *namespace && *pod.name == *name).cloned()
    }

    pub(crate) fn add_pod(&mut self, view: PodView) {
        assert!(self.pod_named(&view.namespace, &view.name).is_none(), "pod {} exists", view.name);
        self.events.push_back(Event::Pod(view.clone()));
        self.pods.insert(view.uid.clone(), view);
    }

    pub(crate) fn edit_pod(&mut self, uid: &Uid, edit: impl FnOnce(&mut PodView)) {
        let version = self.next_version();
        if let Some(pod) = self.pods.get_mut(uid) {
            edit(pod);
            pod.version = version;
            self.events.push_back(Event::Pod(pod.clone()));
        }
    }

    pub(crate) fn patch_condition(&mut self, uid: &Uid, status: bool, reason: &str) {
        self.edit_pod(uid, |pod| pod.condition = Some((status, reason.into())));
    }

    /// The pod object goes.
    pub(crate) fn remove_pod(&mut self, uid: &Uid) {
        if self.pods.remove(uid).is_some() {
            self.next_version();
            self.events.push_back(Event::PodGone(uid.clone()));
        }
    }

    /// The Binding subresource: sets node and annotation at once.
    pub(crate) fn bind(&mut self, uid: &Uid, node: &str, grants: &[Grant]) -> BindingOutcome {
        match self.pods.get(uid) {
            None => BindingOutcome::NotFound,
            Some(pod) if pod.node.is_some() || pod.deletion_deadline.is_some() => {
                BindingOutcome::Unknown("conflict".to_owned())
            }
            Some(_) => {
                let ips = grants.iter().map(|grant| grant.ip).collect();
                self.edit_pod(uid, |pod| {
                    pod.node = Some(node.into());
                    pod.annotated = ips;
                    pod.unschedulable = None;
                    pod.refused_by_us = false;
                });
                BindingOutcome::Bound
            }
        }
    }

    pub(crate) fn put_node(&mut self, view: NodeView) {
        self.events.push_back(Event::Node(view.clone()));
        self.nodes.insert(view.name.clone(), view);
    }

    pub(crate) fn edit_node(&mut self, name: &str, edit: impl FnOnce(&mut NodeView)) {
        let node = self.nodes.get_mut(name).expect("a node to edit");
        edit(node);
        self.events.push_back(Event::Node(node.clone()));
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        if self.nodes.remove(name).is_some() {
            self.events.push_back(Event::NodeGone(name.into()));
        }
    }

    pub(crate) fn put_workload(&mut self, mut view: WorkloadView) {
        view.version = self.next_version();
        self.events.push_back(Event::Workload(view.clone()));
        self.workloads.insert(view.id.clone(), view);
    }

    pub(crate) fn edit_workload(&mut self, id: &WorkloadId, edit: impl FnOnce(&mut WorkloadView)) {
        let mut view = self.workloads.get(id).expect("a workload to edit").clone();
        edit(&mut view);
        self.put_workload(view);
    }

    pub(crate) fn remove_workload(&mut self, id: &WorkloadId) {
        if let Some(view) = self.workloads.remove(id) {
            self.next_version();
            self.events.push_back(Event::WorkloadGone(view.id, Some(view.uid)));
        }
    }

    pub(crate) fn put_replica_set(&mut self, mut view: ReplicaSetView) {
        view.version = self.next_version();
        self.events.push_back(Event::ReplicaSet(view.clone()));
        self.replica_sets.insert(view.uid.clone(), view);
    }

    pub(crate) fn remove_replica_set(&mut self, uid: &Uid) {
        if self.replica_sets.remove(uid).is_some() {
            self.events.push_back(Event::ReplicaSetGone(uid.clone()));
        }
    }

    pub(crate) fn put_pool(&mut self, mut view: PoolView) {
        view.version = self.next_version();
        self.events.push_back(Event::Pool(view.clone()));
        self.pools.insert(view.uid.clone(), view);
    }

    pub(crate) fn remove_pool(&mut self, uid: &Uid) {
        if self.pools.remove(uid).is_some() {
            self.events.push_back(Event::PoolGone(uid.clone()));
        }
    }

    /// What lists of all kinds but the addresses say.
    pub(crate) fn everything(&self) -> Vec<Event> {
        let mut all: Vec<Event> = self.nodes.values().cloned().map(Event::Node).collect();
        all.extend(self.replica_sets.values().cloned().map(Event::ReplicaSet));
        all.extend(self.workloads.values().cloned().map(Event::Workload));
        all.extend(self.pools.values().cloned().map(Event::Pool));
        all.extend(self.pods.values().cloned().map(Event::Pod));
        all
    }
}

impl Api {
    /// Addresses that have an object.
    pub(crate) fn addresses(&self) -> Vec<Addr> {
        self.addresses.keys().copied().collect()
    }

    pub(crate) fn is_labelled(&self, addr: Addr) -> bool {
        self.labelled.contains(&addr)
    }
}

impl Event {
    /// The watch it comes by: within one, events keep their order.
    pub(crate) fn stream(&self) -> &'static str {
        match self {
            Event::Pod(_) | Event::PodGone(_) => "pods",
            Event::Address(_) | Event::AddressGone(..) => "floatingips",
            Event::Node(_) | Event::NodeGone(_) => "nodes",
            Event::Workload(view) => Event::of_workload(&view.id),
            Event::WorkloadGone(id, _) => Event::of_workload(id),
            Event::ReplicaSet(_) | Event::ReplicaSetGone(_) => "replicasets",
            Event::Pool(_) | Event::PoolGone(_) => "pools",
            Event::Kind(..) => "kinds",
        }
    }

    fn of_workload(id: &WorkloadId) -> &'static str {
        match &*id.kind {
            "Deployment" => "deployments",
            "StatefulSet" => "statefulsets",
            _ => "custom",
        }
    }
}
