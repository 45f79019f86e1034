//! FloatingIP objects and the ledger's records.
//!
//! The typed members are the truth of an object that has `state`. An object without it is the original's: its key names the
//! owner (without API group), its attribute node and pod uid. What nobody can read belongs to the administrator.

use galaxy_api::FloatingIP;
use galaxy_api::floatingip::{Attribute, FloatingIPSpec, OwnerReference, PodReference, State as WireState};
use galaxy_core::ledger::{Model, ObjectRef, Record, State, Stored, Time, UNKNOWN_GROUP, Uid, WorkloadId};
use galaxy_core::{Addr, AppKind, FipKey, Topology};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{created, uid, version};
use crate::clock::{from_timestamp, timestamp};
use crate::objects::Extra;

/// Decodes an object; none if its name is not an address.
pub(crate) fn stored(fip: &FloatingIP) -> Option<Stored> {
    let addr = Addr::from(fip.ip()?);
    let record = if fip.is_reserved_by_admin() {
        admin(addr, fip)
    } else if fip.spec.state.is_some() {
        typed(addr, fip).unwrap_or_else(|| admin(addr, fip))
    } else {
        from_key(addr, fip).unwrap_or_else(|| admin(addr, fip))
    };
    Some(Stored { object: object_ref(fip), record })
}

/// The version of an object.
pub(crate) fn object_ref(fip: &FloatingIP) -> ObjectRef {
    ObjectRef { uid: uid(&fip.metadata), version: version(&fip.metadata) }
}

fn blank(addr: Addr, state: State, fip: &FloatingIP) -> Record {
    let updated = fip.spec.update_time.as_ref().map(|time| from_timestamp(time.0));
    Record {
        addr,
        state,
        workload: None,
        workload_uid: None,
        pod_name: None,
        pod_uid: None,
        pool: None,
        node: None,
        policy: fip.spec.release_policy().unwrap_or_default(),
        spare: false,
        released_at: None,
        updated_at: updated.unwrap_or_else(|| created(&fip.metadata)),
        key: None,
    }
}

fn admin(addr: Addr, fip: &FloatingIP) -> Record {
    Record { key: some(&fip.spec.key).map(Into::into), ..blank(addr, State::Admin, fip) }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn some_uid(text: &str) -> Option<Uid> {
    some(text).map(Uid::from)
}

/// None if the members contradict each other.
fn typed(addr: Addr, fip: &FloatingIP) -> Option<Record> {
    let spec = &fip.spec;
    let state = match spec.state? {
        WireState::Held | WireState::Bound => State::Bound,
        WireState::Reserved => State::Reserved,
        WireState::Quarantined => State::Quarantined,
    };
    let owner = spec.owner.as_ref().filter(|owner| !owner.name.is_empty() && !owner.kind.is_empty());
    let pod_name = spec.pod.as_ref().and_then(|pod| some(&pod.name));
    let pod_uid = spec.pod.as_ref().and_then(|pod| some_uid(&pod.uid));
    let pool = spec.pool.as_deref().and_then(some);
    let whole = match state {
        State::Bound => owner.is_some() && pod_name.is_some(),
        State::Quarantined => owner.is_some() && spec.node.is_some() && spec.released_at.is_some(),
        State::Reserved | State::Admin => owner.is_some() || pool.is_some(),
    };
    whole.then(|| Record {
        workload: owner.map(|owner| WorkloadId::new(&owner.api_group, &owner.kind, &owner.namespace, &owner.name)),
        workload_uid: owner.and_then(|owner| some_uid(&owner.uid)),
        pod_name: pod_name.map(Into::into),
        pod_uid,
        pool: pool.map(Into::into),
        node: spec.node.as_deref().and_then(some).map(Into::into),
        spare: spec.spare,
        released_at: spec.released_at.as_ref().map(|time| from_timestamp(time.0)),
        ..blank(addr, state, fip)
    })
}

/// None if the key says nothing.
fn from_key(addr: Addr, fip: &FloatingIP) -> Option<Record> {
    let key = FipKey::parse(&fip.spec.key);
    // A pool key whose rest cannot be read is somebody's all the same.
    if key.is_empty() || key.to_string() != fip.spec.key {
        return None;
    }
    let attribute = fip.spec.attribute_or_default();
    let pod_uid = some_uid(&attribute.uid);
    let node = some(&attribute.node_name);
    let workload = key.kind().map(|kind| match kind {
        AppKind::Deployment => WorkloadId::deployment(&key.namespace, &key.app),
        AppKind::StatefulSet => WorkloadId::stateful_set(&key.namespace, &key.app),
        AppKind::ReplicaSet => WorkloadId::replica_set(&key.namespace, &key.app),
        AppKind::Bare => WorkloadId::bare_pod(&key.namespace, &key.pod),
        AppKind::Other(kind) => WorkloadId::new(UNKNOWN_GROUP, &kind, &key.namespace, &key.app),
    });
    let nameless = key.namespace.is_empty() || key.app.is_empty();
    if (workload.is_some() && nameless) || (workload.is_none() && key.pool.is_none()) {
        return None;
    }
    let fungible = workload.as_ref().is_some_and(|workload| workload.model() == Model::Fungible);
    // Fungible pods leave nothing behind under their own name: such a key is in use, whatever the attribute says.
    let bound = !key.pod.is_empty() && (fungible || pod_uid.is_some() || node.is_some());
    Some(Record {
        workload,
        pod_name: some(&key.pod).map(Into::into),
        pod_uid: pod_uid.filter(|_| bound),
        pool: key.pool.as_deref().map(Into::into),
        node: node.filter(|_| bound).map(Into::into),
        ..blank(addr, if bound { State::Bound } else { State::Reserved }, fip)
    })
}

/// The object for a record. `existing` is the object that it replaces, with the metadata to carry on.
pub(crate) fn object(
    record: &Record,
    topology: Option<&Topology>,
    existing: Option<(&ObjectRef, Option<Extra>)>,
) -> FloatingIP {
    let mut fip = FloatingIP::for_address(record.addr.ip(), spec(record, topology));
    if let Some((object, extra)) = existing {
        if let Some(extra) = extra {
            extra.put(&mut fip.metadata);
        }
        fip.metadata.uid = Some(object.uid.to_string());
        fip.metadata.resource_version = Some(object.version.to_string());
    }
    fip
}

fn spec(record: &Record, topology: Option<&Topology>) -> FloatingIPSpec {
    let text = |uid: &Option<Uid>| uid.as_ref().map(Uid::to_string).unwrap_or_default();
    let node = record.node.as_deref().map(str::to_owned);
    let attribute = Attribute { node_name: node.clone().unwrap_or_default(), uid: text(&record.pod_uid) };
    let pool = topology.and_then(|topology| topology.pool_of(record.addr).map(|id| topology.pool(id)));
    // An address out of the configuration has no network any more.
    let prefix_len = pool.map_or(record.addr.family().bits(), |pool| pool.prefix_len);
    FloatingIPSpec {
        key: record.fip_key().to_string(),
        attribute: Some(attribute.to_string()),
        policy: i64::from(record.policy.number()),
        update_time: Some(micro_time(record.updated_at)),
        state: match record.state {
            State::Bound => Some(WireState::Bound),
            State::Reserved => Some(WireState::Reserved),
            State::Quarantined => Some(WireState::Quarantined),
            State::Admin => None,
        },
        owner: record.workload.as_ref().map(|workload| OwnerReference {
            api_group: workload.group.to_string(),
            kind: workload.kind.to_string(),
            namespace: workload.namespace.to_string(),
            name: workload.name.to_string(),
            uid: text(&record.workload_uid),
        }),
        pod: record.pod_name.as_ref().map(|name| PodReference { name: name.to_string(), uid: text(&record.pod_uid) }),
        pool: record.pool.as_deref().map(str::to_owned),
        node,
        address: IpNet::new(record.addr.ip(), prefix_len).ok(),
        gateway: pool.map(|pool| pool.gateway),
        vlan: pool.map(|pool| pool.vlan),
        spare: record.spare,
        released_at: record.released_at.map(micro_time),
        subnet: None,
    }
}

fn micro_time(time: Time) -> MicroTime {
    MicroTime(timestamp(time))
}

#[cfg(test)]
#[path = "floating_ip_tests.rs"]
mod tests;
