//! Names and identifiers the ledger works with.

use std::fmt;
use std::sync::Arc;

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

/// The uid of an object. A canonical UUID is kept in 16 bytes; anything else as it came.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Uuid([u8; 16]),
    Text(Box<str>),
}

const DASHES: [usize; 4] = [8, 13, 18, 23];

impl Uid {
    /// True for the empty uid.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Repr::Text(text) if text.is_empty())
    }
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || DASHES.iter().any(|&at| bytes[at] != b'-') {
        return None;
    }
    let mut out = [0; 16];
    let mut nibble = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if DASHES.contains(&at) {
            continue;
        }
        // Only lower case, so that the text that comes back is the text that went in.
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        out[nibble / 2] |= value << (4 * (1 - nibble % 2));
        nibble += 1;
    }
    Some(out)
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Uid(uuid_bytes(text).map_or_else(|| Repr::Text(text.into()), Repr::Uuid))
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        Uid::from(text.as_str())
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Text(text) => f.write_str(text),
            Repr::Uuid(bytes) => {
                for (at, byte) in bytes.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
