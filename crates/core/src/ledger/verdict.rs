//! What the ledger answers: verdicts for requests, writes for the writer, notices for people.

use std::net::IpAddr;

use super::ids::Time;
use super::ids::{Str, Uid, WorkloadId};
use super::record::{ObjectRef, Record, State, Stored};
use crate::addr::Addr;
use crate::policy::ReleasePolicy;

/// A pod by name and uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Namespace.
    pub namespace: Str,
    /// Name.
    pub name: Str,
    /// uid.
    pub uid: Uid,
}

/// Why a pod is refused. The word is stable: condition reasons and metric labels are made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No address that an offered node can route is free.
    NoAddress,
    /// The Deployment's limit or the size of its pool is reached.
    LimitReached,
    /// A pod of the same ReplicaSet is stuck on a dead node and keeps its address (rule 18).
    PredecessorStuck,
    /// An earlier pod of the name still has the address.
    PredecessorAlive,
    /// The workload, its ReplicaSet or its revision is not known yet, or it is gone.
    WorkloadUnknown,
    /// The kind cannot serve the policy: CRD, scale subresource or RBAC is missing.
    KindUnavailable,
    /// The policy is not supported for this pod.
    UnsupportedPolicy,
    /// An annotation is malformed.
    BadAnnotation,
    /// The node is in no configured node subnet.
    NodeNotConfigured,
    /// The node has no usable address, or is not known.
    UnknownNode,
    /// A bind of this pod to another node is still under way.
    BindInFlight,
}

impl Reason {
    /// The reason as it stands in conditions, events and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoAddress => "NoAddress",
            Reason::LimitReached => "LimitReached",
            Reason::PredecessorStuck => "PredecessorStuck",
            Reason::PredecessorAlive => "PredecessorAlive",
            Reason::WorkloadUnknown => "WorkloadUnknown",
            Reason::KindUnavailable => "KindUnavailable",
            Reason::UnsupportedPolicy => "UnsupportedPolicy",
            Reason::BadAnnotation => "BadAnnotation",
            Reason::NodeNotConfigured => "NodeNotConfigured",
            Reason::UnknownNode => "UnknownNode",
            Reason::BindInFlight => "BindInFlight",
        }
    }

    /// Only an edit of the pod can cure it: such a pod does not wait for an address.
    pub fn needs_edit(self) -> bool {
        matches!(self, Reason::UnsupportedPolicy | Reason::BadAnnotation)
    }
}

/// A refusal: the reason, the text for the scheduler (a function of slow state only, rule 15) and the detail for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reason.
    pub reason: Reason,
    /// Text of `failedNodes`; begins with the original's words (`FloatingIPPlugin:NoFIPLeft`).
    pub text: String,
    /// Longer text for the pod's condition: names the numbers, the holders and the way out.
    pub detail: String,
}

/// The answer to a filter call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// Per offered node: passes (none), or the index of its refusal.
    Nodes {
        /// Parallel to the offer.
        verdicts: Vec<Option<usize>>,
        /// At most four different ones.
        refusals: Vec<Refusal>,
    },
    /// Nothing can be decided now; the text says why. The scheduler retries soon.
    NotNow(String),
}

/// An address as it is written into the pod's annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Address.
    pub ip: IpAddr,
    /// Prefix length of the pool's subnet.
    pub prefix_len: u8,
    /// Gateway.
    pub gateway: IpAddr,
    /// VLAN id, 0 = untagged.
    pub vlan: u16,
}

/// What a bind has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindStep {
    /// Writes or another request of the same bind are under way: poll again when the pod's uid is in [`Outbox::progress`].
    Wait,
    /// Create the Binding, exactly once, and report it with `binding_done`.
    Bind {
        /// The pod.
        pod: PodRef,
        /// Target node.
        node: Str,
        /// Addresses in the order of the request.
        grants: Vec<Grant>,
    },
    /// The pod is bound to this node with its addresses.
    Done,
    /// The bind failed; the scheduler tries again.
    Refused(String),
}

/// How a Binding ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingOutcome {
    /// The API server accepted it.
    Bound,
    /// A definite refusal other than those below; the pod keeps its claim unbound.
    Refused(String),
    /// The pod does not exist (any more).
    NotFound,
    /// Conflict, a lost answer or a time-out: feed the pod as read from quorum (`pod_observed` or `pod_gone`), then poll.
    Unknown(String),
}

/// One operation on the outside world about one address. At most one is under way per address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Create the object.
    Create(Record),
    /// Replace the object (PUT with uid and resourceVersion).
    Update(ObjectRef, Record),
    /// Delete the object (preconditions uid and resourceVersion).
    Delete(ObjectRef),
    /// Read the object from quorum.
    Read,
    /// Cloud provider: route the address to the node.
    Assign(Str),
    /// Cloud provider: stop routing the address to the node.
    Unassign(Str),
}

/// An operation with the ticket its outcome is reported under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Address.
    pub addr: Addr,
    /// Ticket: an outcome with another ticket is ignored.
    pub ticket: u64,
    /// Operation.
    pub op: Op,
}

/// The outcome of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Create or update done; the version that came back.
    Stored(ObjectRef),
    /// Delete done, or NotFound on a delete.
    Gone,
    /// Create: AlreadyExists. Update or delete: Conflict, or NotFound on an update. The object is read next.
    Stale,
    /// A definite refusal (403, 422, …); retried with back-off where it must be.
    Refused(String),
    /// No definite answer: the object is read before anything else is decided (rule 2).
    Unknown(String),
    /// A read from quorum: what is there.
    Read(Option<Box<Stored>>),
    /// The cloud call succeeded.
    CloudDone,
    /// The cloud call failed or ran out of time.
    CloudFailed(String),
}

/// Something to tell a pod, a workload or an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Patch the pod's condition so that the scheduler tries it again (rule 16): lastProbeTime changes.
    Wake {
        /// Pod.
        pod: PodRef,
        /// Condition reason.
        reason: &'static str,
        /// Condition message.
        message: String,
    },
    /// The pod's condition changes to this.
    Condition {
        /// Pod.
        pod: PodRef,
        /// Condition status.
        status: bool,
        /// Condition reason.
        reason: &'static str,
        /// Condition message.
        message: String,
    },
    /// A Kubernetes event about a pod.
    PodEvent {
        /// Pod.
        pod: PodRef,
        /// Warning instead of Normal.
        warning: bool,
        /// Reason, CamelCase.
        reason: &'static str,
        /// Message.
        message: String,
    },
    /// A Kubernetes event about a workload.
    WorkloadEvent {
        /// Workload.
        workload: WorkloadId,
        /// Its uid where known.
        uid: Option<Uid>,
        /// Warning instead of Normal.
        warning: bool,
        /// Reason, CamelCase.
        reason: &'static str,
        /// Message.
        message: String,
    },
    /// A watch is wanted for the custom workloads of this group and kind; answer with `kind_status`.
    WatchKind {
        /// API group.
        group: Str,
        /// Kind.
        kind: Str,
    },
    /// Read this from quorum at once, instead of at the next sweep, and answer as to a [`Doubt`].
    Prove(Doubt),
    /// The numbers or conditions of a Pool changed: write its status (see `pool_status`).
    PoolChanged(Str),
}

/// Everything the last calls want done. Drained after every call on the ledger.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// For the writer.
    pub writes: Vec<Write>,
    /// Pods whose bind made progress.
    pub progress: Vec<Uid>,
    /// Addresses whose release or other user request was settled.
    pub settled: Vec<Addr>,
    /// For the recorder.
    pub notices: Vec<Notice>,
}

/// Something the caches say is gone, to be proved by a quorum read before anything is freed (rule 9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// Is this pod (by uid) gone or finished? Answer with `pod_gone` or `pod_observed`.
    Pod(PodRef),
    /// Is this workload gone? Answer with `workload_gone` or `workload_observed`.
    Workload(WorkloadId),
}

/// One address as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressInfo {
    /// Address.
    pub addr: Addr,
    /// State; none = free.
    pub state: Option<State>,
    /// In no configured pool (rule 5).
    pub orphaned: bool,
    /// Withheld: a running pod's annotation names it, nothing confirms it (rule 4).
    pub disputed: bool,
    /// Workload.
    pub workload: Option<WorkloadId>,
    /// Pod name.
    pub pod_name: Option<Box<str>>,
    /// Pod uid.
    pub pod_uid: Option<Uid>,
    /// Named pool.
    pub pool: Option<Str>,
    /// Node.
    pub node: Option<Str>,
    /// Policy.
    pub policy: ReleasePolicy,
    /// Spare of a rollout.
    pub spare: bool,
    /// Released at.
    pub released_at: Option<Time>,
    /// Last change; none for free addresses.
    pub updated_at: Option<Time>,
    /// Key as stored in an admin object.
    pub key: Option<Box<str>>,
    /// Phase of the pod in the caches, if there is one of that uid (or of that name, for records without uid).
    pub phase: Option<super::view::Phase>,
}

/// A user's request to release one address: the parts must match what the ledger holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRequest {
    /// Address.
    pub addr: Addr,
    /// The key built from the request's parts (contract §1.5).
    pub key: String,
}

/// What a release by a user has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseStep {
    /// Released, or it was not allocated.
    Done,
    /// Being released: poll `release_poll` when the address is in [`Outbox::settled`].
    Wait,
    /// First prove by a quorum read that this pod is gone, then ask again.
    Prove(PodRef),
    /// Not released; the reason names the address and the way out.
    Refused(String),
}

/// Which owners are asked for: those that equal all that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerQuery<'a> {
    /// Named pool.
    pub pool: Option<&'a str>,
    /// Namespace.
    pub namespace: Option<&'a str>,
    /// Name of the workload, [`crate::key::BARE_APP`] for pods without one.
    pub app: Option<&'a str>,
    /// Name of the pod.
    pub pod: Option<&'a str>,
}

/// A named pool as people see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Object that counts: namespace and size.
    pub object: Option<super::view::PoolView>,
    /// Pool objects of the same name that do not count (condition Accepted=False, reason NameTaken).
    pub rejected: Vec<super::view::PoolView>,
    /// Addresses of the pool that pods have.
    pub used: u32,
    /// Addresses reserved in the pool.
    pub reserved: u32,
    /// preAllocateIP asked for more than there are addresses.
    pub shortfall: u32,
    /// Pre-allocation writes are still under way.
    pub settling: bool,
}

/// Counters for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Per topology pool: (allocated, usable total).
    pub pools: Vec<(u64, u128)>,
    /// Holds.
    pub holds: usize,
    /// Waiting pods by reason.
    pub waiting: Vec<(Reason, usize)>,
    /// Objects by state: bound, reserved, quarantined, admin.
    pub states: [usize; 4],
    /// Addresses out of the configuration.
    pub orphaned: usize,
    /// Addresses withheld as disputed.
    pub disputed: usize,
    /// Addresses with an operation under way or due.
    pub pending: usize,
    /// Configuration generation: how many documents came into force.
    pub generation: u64,
}
