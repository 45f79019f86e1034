//! What the ledger knows of the cluster: slim records of the objects that matter to a decision. The service translates
//! watch events and requests into these; whoever feeds them need not be ordered, late ones are told apart by version and uid.

use std::net::IpAddr;

use super::ids::{Str, Time, Uid, WorkloadId};
use crate::policy::ReleasePolicy;
use crate::range::IpRange;

/// A controller owner reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// API group (without the version).
    pub group: Str,
    /// Kind.
    pub kind: Str,
    /// Name.
    pub name: Str,
    /// uid.
    pub uid: Uid,
}

/// status.phase of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Pending, or not set.
    Pending,
    /// Running.
    Running,
    /// Succeeded.
    Succeeded,
    /// Failed, as the kubelet saw it: the containers are gone.
    Failed,
    /// Failed as written by pod GC (reason DeletionByPodGC): proves nothing (rule 9).
    FailedByPodGc,
    /// Unknown or anything else.
    Unknown,
}

impl Phase {
    /// Whether the containers are known to have stopped for good.
    pub fn is_finished(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

/// A pod that wants floating addresses (others are not fed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// uid.
    pub uid: Uid,
    /// Namespace.
    pub namespace: Str,
    /// Name.
    pub name: Str,
    /// resourceVersion as a number.
    pub version: u64,
    /// creationTimestamp.
    pub created: Time,
    /// Effective policy (a pool forces never).
    pub policy: ReleasePolicy,
    /// Pool annotation, if not empty.
    pub pool: Option<Str>,
    /// Requested range lists, one address each; empty = one address from anywhere. Err = the annotation is malformed; the text names field and value.
    pub ranges: Result<Vec<Vec<IpRange>>, String>,
    /// The owner reference with `controller: true`, else the only owner reference, if any.
    pub controller: Option<Controller>,
    /// spec.nodeName.
    pub node: Option<Str>,
    /// Phase.
    pub phase: Phase,
    /// metadata.deletionTimestamp: the deadline of the deletion.
    pub deletion_deadline: Option<Time>,
    /// spec.priority.
    pub priority: i32,
    /// A fingerprint of condition PodScheduled when it is False, none otherwise. Two refusals differ in it.
    pub unschedulable: Option<u64>,
    /// That condition names a refusal of ours: the scheduler writes it late, maybe after its next filter call.
    pub refused_by_us: bool,
    /// status.podIPs.
    pub ips: Vec<IpAddr>,
    /// Addresses of `common.ipinfos` in the args annotation.
    pub annotated: Vec<IpAddr>,
    /// Condition `galaxy.k8s.io/FloatingIP`: its status and reason.
    pub condition: Option<(bool, Box<str>)>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Name.
    pub name: Str,
    /// First InternalIP of each family, in the order of the object.
    pub ips: Vec<IpAddr>,
    /// Condition Ready is True or absent (rule 9).
    pub ready: bool,
    /// Carries the taint node.kubernetes.io/out-of-service.
    pub out_of_service: bool,
}

/// A node as a filter request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Name.
    pub name: &'a str,
    /// Its addresses where the request carries whole nodes; none = look the name up.
    pub ips: Option<Vec<IpAddr>>,
}

/// A workload: a Deployment, StatefulSet, custom workload or a ReplicaSet without a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadView {
    /// Which.
    pub id: WorkloadId,
    /// uid.
    pub uid: Uid,
    /// resourceVersion as a number.
    pub version: u64,
    /// spec.replicas (the API's default filled in); None = the scale path is absent from this object: nothing may be concluded from it.
    pub replicas: Option<u32>,
    /// spec.ordinals.start, 0 elsewhere.
    pub ordinal_start: u32,
    /// Deployments: strategy RollingUpdate whose maxUnavailable resolves to 0: a new pod must be ready before an old one goes.
    pub surges_first: bool,
    /// Deployments: maxSurge resolved to pods.
    pub max_surge: u32,
    /// Annotation galaxy.k8s.io/spare-addresses, of the Deployment, else of its pod template.
    pub spare_addresses: Option<u32>,
    /// Annotation galaxy.k8s.io/on-node-failure is `replace`.
    pub replace_on_node_failure: bool,
}

/// A ReplicaSet; one without a controller is a workload of its own and is fed as [`WorkloadView`] too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSetView {
    /// uid.
    pub uid: Uid,
    /// Namespace.
    pub namespace: Str,
    /// Name.
    pub name: Str,
    /// resourceVersion as a number.
    pub version: u64,
    /// Controller, if any.
    pub controller: Option<Controller>,
    /// spec.replicas.
    pub replicas: u32,
    /// Annotation deployment.kubernetes.io/revision.
    pub revision: Option<u64>,
}

/// A Pool object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// uid.
    pub uid: Uid,
    /// Namespace it was made in.
    pub namespace: Str,
    /// Name: pools are known by name cluster-wide.
    pub name: Str,
    /// resourceVersion as a number.
    pub version: u64,
    /// creationTimestamp: of pools with one name, kube-system's wins, else the oldest.
    pub created: Time,
    /// size, none = no limit given.
    pub size: Option<u32>,
    /// preAllocateIP.
    pub pre_allocate: bool,
}

/// How far the ledger may rely on knowing every object of a custom workload kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KindStatus {
    /// A watch is being started.
    Starting,
    /// Every object of the kind is known and has a scale subresource.
    Synced,
    /// The kind cannot be scaled or watched; the text says why, from CRD, scale path or RBAC.
    Unavailable(String),
}
