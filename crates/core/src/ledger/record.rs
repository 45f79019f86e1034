//! What the API holds about one address, free of any wire format.

use super::ids::{Model, Str, Time, Uid, WorkloadId};
use crate::addr::Addr;
use crate::key::{AppKind, FipKey};
use crate::policy::ReleasePolicy;

/// Which version of an object a decision was made on. Updates and deletes carry both members (rule 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// metadata.uid
    pub uid: Uid,
    /// metadata.resourceVersion
    pub version: u64,
}

/// The state of an address that has an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Belongs to a pod; a Binding may be on its way or done.
    Bound,
    /// Kept for a pod name, a workload or a pool; no pod has it.
    Reserved,
    /// Its pod vanished while the node was not ready: it may still be in use (rule 9).
    Quarantined,
    /// An administrator's reservation (label `reserved`) or an object nobody can read: never touched.
    Admin,
}

/// One FloatingIP object, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The address (the object's name).
    pub addr: Addr,
    /// State.
    pub state: State,
    /// Workload that the address belongs to; none for a pool's unowned reservation and for admin objects.
    pub workload: Option<WorkloadId>,
    /// uid of the workload, where known.
    pub workload_uid: Option<Uid>,
    /// Name of the pod that has it or, reserved, the pod name it is kept for.
    pub pod_name: Option<Box<str>>,
    /// uid of the pod that has it (or had it, while quarantined).
    pub pod_uid: Option<Uid>,
    /// Named pool it was taken in.
    pub pool: Option<Str>,
    /// Node that routes to it now.
    pub node: Option<Str>,
    /// Policy at the time of the last claim.
    pub policy: ReleasePolicy,
    /// The spare of a Deployment's rollout (rule 17).
    pub spare: bool,
    /// When its pod let it go; set while reserved or quarantined.
    pub released_at: Option<Time>,
    /// Last change.
    pub updated_at: Time,
    /// The key as it stands in the object: kept for admin objects, derived otherwise.
    pub key: Option<Box<str>>,
}

impl Record {
    /// The key that old readers know the record by (contract §1.5). Without workload and pool it is what the object says.
    pub fn fip_key(&self) -> FipKey {
        let pool = self.pool.as_deref();
        let pod = self.pod_name.as_deref().unwrap_or("");
        match &self.workload {
            Some(id) if id.model() == Model::Bare => FipKey::for_bare_pod(pool, &id.namespace, pod),
            Some(id) => FipKey::for_pod(pool, &AppKind::of_owner(&id.kind), &id.namespace, &id.name, pod),
            None => match (pool, &self.key) {
                (Some(pool), _) => FipKey::for_pool(pool),
                (None, Some(key)) => FipKey::parse(key),
                (None, None) => FipKey::default(),
            },
        }
    }
}

/// A record together with the object version it was read at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Version.
    pub object: ObjectRef,
    /// Content.
    pub record: Record,
}
