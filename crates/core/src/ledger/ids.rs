//! Names the ledger works with, and time.

use std::fmt;
use std::sync::Arc;

pub use super::uid::Uid;

/// A shared string: namespaces, names, kinds.
pub type Str = Arc<str>;

/// A point in time in microseconds since the Unix epoch. The ledger has no clock: every call that needs the time gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// This time plus `seconds`.
    #[must_use]
    pub fn plus_secs(self, seconds: i64) -> Self {
        Time(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// This time plus `micros` microseconds.
    #[must_use]
    pub fn plus_micros(self, micros: i64) -> Self {
        Time(self.0.saturating_add(micros))
    }
}

/// The API group of Deployments, ReplicaSets and StatefulSets.
pub const APPS: &str = "apps";

/// The group of a workload that is only known from a key written by the original, which has no group.
pub const UNKNOWN_GROUP: &str = "?";

/// Which workload an address or a pod belongs to. A pod without a controller is a workload of its own (kind `Pod`, core group).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    /// API group, empty for the core group, [`UNKNOWN_GROUP`] where only an old key is known.
    pub group: Str,
    /// Kind as the API spells it; lower case where only an old key is known.
    pub kind: Str,
    /// Namespace.
    pub namespace: Str,
    /// Name.
    pub name: Str,
}

impl WorkloadId {
    /// Makes an id from its parts.
    pub fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        WorkloadId { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }

    /// The id of `apps/Deployment namespace/name`.
    pub fn deployment(namespace: &str, name: &str) -> Self {
        Self::new(APPS, "Deployment", namespace, name)
    }

    /// The id of `apps/StatefulSet namespace/name`.
    pub fn stateful_set(namespace: &str, name: &str) -> Self {
        Self::new(APPS, "StatefulSet", namespace, name)
    }

    /// The id of a ReplicaSet that no Deployment controls.
    pub fn replica_set(namespace: &str, name: &str) -> Self {
        Self::new(APPS, "ReplicaSet", namespace, name)
    }

    /// The id of a pod without a controller.
    pub fn bare_pod(namespace: &str, name: &str) -> Self {
        Self::new("", "Pod", namespace, name)
    }

    /// How pods of this workload own addresses.
    pub fn model(&self) -> Model {
        match (&*self.group, &*self.kind) {
            (APPS, "Deployment" | "ReplicaSet") => Model::Fungible,
            (APPS, "StatefulSet") => Model::StatefulSet,
            ("", "Pod") => Model::Bare,
            _ => Model::Custom,
        }
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// How the pods of a workload own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Deployments and ReplicaSets: any pod of the workload takes any of its reserved addresses.
    Fungible,
    /// StatefulSets: an address belongs to a pod name; the ordinals in use come from the StatefulSet.
    StatefulSet,
    /// Any other controller: an address belongs to a pod name; replicas come from the scale subresource.
    Custom,
    /// A pod without a controller: an address belongs to the pod name.
    Bare,
}
