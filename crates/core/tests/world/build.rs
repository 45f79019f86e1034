//! Short ways to make things.

use std::net::IpAddr;

use galaxy_core::ledger::*;
use galaxy_core::topology::PoolConfig;
use galaxy_core::{Addr, ReleasePolicy};

use super::World;

pub(crate) const NS: &str = "shop";

pub(crate) fn ip(text: &str) -> Addr {
    text.parse().expect("an address")
}

/// A pool: node subnets, ranges, the gateway with its prefix length.
pub(crate) fn pool(node_subnets: &[&str], ranges: &[&str], gateway: &str) -> PoolConfig {
    let gateway: ipnet::IpNet = gateway.parse().expect("gateway/length");
    PoolConfig {
        node_subnets: node_subnets.iter().map(|s| s.parse().expect("a subnet")).collect(),
        ranges: ranges.iter().map(|r| r.parse().expect("a range")).collect(),
        subnet: gateway.trunc(),
        gateway: gateway.addr(),
        vlan: 0,
    }
}

/// Three pools of four addresses. Nodes a* reach the first and the third, b* the second, c* the third.
pub(crate) fn racks() -> Vec<PoolConfig> {
    vec![
        pool(&["10.1.0.0/24"], &["10.0.0.2~10.0.0.5"], "10.0.0.1/24"),
        pool(&["10.1.1.0/24"], &["10.0.1.2~10.0.1.5"], "10.0.1.1/24"),
        pool(&["10.1.0.0/24", "10.1.2.0/24"], &["10.0.2.2~10.0.2.5"], "10.0.2.1/24"),
    ]
}

/// One pool that all nodes reach.
pub(crate) fn flat(range: &str) -> Vec<PoolConfig> {
    vec![pool(&["10.1.0.0/16"], &[range], "10.0.0.1/16")]
}

pub(crate) fn node(name: &str, address: &str) -> NodeView {
    let ips = vec![address.parse::<IpAddr>().expect("an address")];
    NodeView { name: name.into(), ips, ready: true, out_of_service: false }
}

/// A pod to be made.
#[derive(Clone, Debug)]
pub(crate) struct PodSpec {
    pub(crate) name: String,
    pub(crate) controller: Option<Controller>,
    pub(crate) policy: ReleasePolicy,
    pub(crate) pool: Option<String>,
    pub(crate) lists: Vec<Vec<String>>,
    pub(crate) priority: i32,
}

impl PodSpec {
    pub(crate) fn bare(name: &str) -> Self {
        PodSpec {
            name: name.to_owned(),
            controller: None,
            policy: ReleasePolicy::Default,
            pool: None,
            lists: Vec::new(),
            priority: 0,
        }
    }

    /// A pod with this controller.
    pub(crate) fn of(name: &str, owner: &WorkloadView) -> Self {
        let id = &owner.id;
        let controller = Controller {
            group: id.group.clone(),
            kind: id.kind.clone(),
            name: id.name.clone(),
            uid: owner.uid.clone(),
        };
        PodSpec { controller: Some(controller), ..PodSpec::bare(name) }
    }

    pub(crate) fn policy(self, policy: ReleasePolicy) -> Self {
        PodSpec { policy, ..self }
    }

    pub(crate) fn immutable(self) -> Self {
        self.policy(ReleasePolicy::Immutable)
    }

    pub(crate) fn never(self) -> Self {
        self.policy(ReleasePolicy::Never)
    }

    pub(crate) fn pool(self, pool: &str) -> Self {
        PodSpec { pool: Some(pool.to_owned()), policy: ReleasePolicy::Never, ..self }
    }

    /// `request_ip_range`
    pub(crate) fn lists(self, lists: &[&[&str]]) -> Self {
        let lists = lists.iter().map(|list| list.iter().map(|&range| range.to_owned()).collect()).collect();
        PodSpec { lists, ..self }
    }

    pub(crate) fn priority(self, priority: i32) -> Self {
        PodSpec { priority, ..self }
    }
}

impl World {
    /// Makes a pod; its event is delivered by the next `settle`.
    pub(crate) fn create_pod(&mut self, spec: &PodSpec) -> Uid {
        let uid = self.api.new_uid();
        let parse = |text: &String| text.parse().expect("a range");
        let view = PodView {
            uid: uid.clone(),
            namespace: NS.into(),
            name: spec.name.as_str().into(),
            version: self.api.next_version(),
            created: self.now,
            policy: spec.policy,
            pool: spec.pool.as_deref().map(Into::into),
            ranges: Ok(spec.lists.iter().map(|list| list.iter().map(parse).collect()).collect()),
            controller: spec.controller.clone(),
            node: None,
            phase: Phase::Pending,
            deletion_deadline: None,
            priority: spec.priority,
            unschedulable: None,
            refused_by_us: false,
            ips: Vec::new(),
            annotated: Vec::new(),
            condition: None,
        };
        self.api.add_pod(view);
        uid
    }

    /// Makes a pod that the ledger knows.
    pub(crate) fn pod(&mut self, spec: &PodSpec) -> Uid {
        let uid = self.create_pod(spec);
        self.settle();
        uid
    }

    /// Makes a pod and has it bound anywhere.
    pub(crate) fn bound(&mut self, spec: &PodSpec) -> (Uid, Addr) {
        let uid = self.pod(spec);
        let addr = self.schedule(&uid).expect("the pod is bound");
        (uid, addr)
    }

    /// Makes a pod and has it bound to a node.
    pub(crate) fn bound_to(&mut self, spec: &PodSpec, node: &str) -> (Uid, Addr) {
        let uid = self.pod(spec);
        let addrs = self.bind(&uid, node).expect("the pod is bound");
        (uid, addrs[0])
    }

    /// The view of a workload that is not in the API yet.
    pub(crate) fn workload_view(&mut self, id: WorkloadId, replicas: u32) -> WorkloadView {
        WorkloadView {
            id,
            uid: self.api.new_uid(),
            version: 0,
            replicas: Some(replicas),
            ordinal_start: 0,
            surges_first: false,
            max_surge: 0,
            spare_addresses: None,
            replace_on_node_failure: false,
        }
    }

    fn workload(&mut self, id: WorkloadId, replicas: u32) -> WorkloadView {
        let view = self.workload_view(id, replicas);
        self.api.put_workload(view.clone());
        self.settle();
        view
    }

    pub(crate) fn stateful_set(&mut self, name: &str, replicas: u32) -> WorkloadView {
        self.workload(WorkloadId::stateful_set(NS, name), replicas)
    }

    /// A workload of a custom kind with a scale subresource.
    pub(crate) fn tapp(&mut self, name: &str, replicas: u32) -> WorkloadView {
        self.kinds.insert(("apps.tkestack.io".to_owned(), "TApp".to_owned()), KindStatus::Synced);
        self.workload(WorkloadId::new("apps.tkestack.io", "TApp", NS, name), replicas)
    }

    pub(crate) fn scale(&mut self, id: &WorkloadId, replicas: u32) {
        self.api.edit_workload(id, |view| view.replicas = Some(replicas));
        self.settle();
    }

    /// Makes or changes a Pool object in kube-system.
    pub(crate) fn named_pool(&mut self, name: &str, size: Option<u32>, pre_allocate: bool) -> Uid {
        let known = self.api.pools.values().find(|pool| &*pool.name == name && &*pool.namespace == "kube-system");
        let uid = known.map(|pool| pool.uid.clone());
        let uid = uid.unwrap_or_else(|| self.api.new_uid());
        let view = PoolView {
            uid: uid.clone(),
            namespace: "kube-system".into(),
            name: name.into(),
            version: 0,
            created: self.now,
            size,
            pre_allocate,
        };
        self.api.put_pool(view);
        self.settle();
        uid
    }

    /// A graceful deletion: an unscheduled pod goes at once, a bound one when its kubelet has stopped it.
    pub(crate) fn start_deletion(&mut self, uid: &Uid) {
        let deadline = self.now.plus_secs(30);
        if self.api.pod(uid).node.is_none() {
            self.api.remove_pod(uid);
        } else {
            self.api.edit_pod(uid, |pod| pod.deletion_deadline = Some(pod.deletion_deadline.unwrap_or(deadline)));
        }
    }

    /// Deletes a pod, gracefully, all the way.
    pub(crate) fn delete_pod(&mut self, uid: &Uid) {
        self.start_deletion(uid);
        self.settle();
        self.api.remove_pod(uid);
        self.settle();
    }

    pub(crate) fn force_delete(&mut self, uid: &Uid) {
        self.api.remove_pod(uid);
        self.settle();
    }

    /// The pod runs, with the addresses of its annotation.
    pub(crate) fn run_pod(&mut self, uid: &Uid) {
        self.api.edit_pod(uid, |pod| {
            pod.phase = Phase::Running;
            pod.ips = pod.annotated.clone();
        });
        self.settle();
    }

    pub(crate) fn finish_pod(&mut self, uid: &Uid) {
        self.api.edit_pod(uid, |pod| pod.phase = Phase::Succeeded);
        self.settle();
    }

    pub(crate) fn set_ready(&mut self, node: &str, ready: bool) {
        self.api.edit_node(node, |view| view.ready = ready);
        self.settle();
    }

    /// The first address of a pod's annotation.
    pub(crate) fn addr_of(&self, uid: &Uid) -> Addr {
        Addr::from(*self.api.pod(uid).annotated.first().expect("the pod has an address"))
    }

    /// Somebody makes an object by hand.
    pub(crate) fn admin_reserves(&mut self, addr: &str, key: &str) {
        let mut record = blank(addr, State::Reserved);
        record.key = Some(key.into());
        self.api.create(record).expect("no object yet");
        self.api.label(ip(addr), true);
        self.settle();
    }
}

/// A record that says nothing but its state.
pub(crate) fn blank(addr: &str, state: State) -> Record {
    Record {
        addr: ip(addr),
        state,
        workload: None,
        workload_uid: None,
        pod_name: None,
        pod_uid: None,
        pool: None,
        node: None,
        policy: ReleasePolicy::Default,
        spare: false,
        released_at: None,
        updated_at: Time(1_600_000_000_000_000),
        key: None,
    }
}
