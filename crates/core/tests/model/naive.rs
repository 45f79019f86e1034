//! The promise, written down a second time as plainly as possible: no indexes, no counters, everything looked up anew.

use std::net::IpAddr;

use galaxy_core::ledger::*;
use galaxy_core::topology::{PoolConfig, Topology};
use galaxy_core::{Addr, IpRange, ReleasePolicy};

use crate::world::*;

/// What becomes of an address whose pod is gone (contract §4.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Free,
    Name,
    Workload,
    Pool,
    Quarantine,
}

fn ordinal(name: &str) -> Option<u32> {
    let (_, digits) = name.rsplit_once('-')?;
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(crate) fn keep(info: &AddressInfo, pod: &PodView, finished: bool, all: &[AddressInfo], told: &Mirror) -> Keep {
    let id = info.workload.as_ref().expect("a bound address has a workload");
    if !finished && info.node.as_ref().is_some_and(|node| told.may_still_run(node)) {
        return Keep::Quarantine;
    }
    let (workload, gone) = (told.workloads.get(id), told.gone.contains(id));
    let ordinal = info.pod_name.as_deref().and_then(ordinal);
    match (&*id.kind, pod.policy) {
        (_, ReleasePolicy::Default) => Keep::Free,
        ("Deployment", ReleasePolicy::Never) if info.pool.is_some() => Keep::Pool,
        ("Deployment", ReleasePolicy::Never) => Keep::Workload,
        ("Deployment", ReleasePolicy::Immutable) => {
            let of_it = || all.iter().filter(|other| other.workload.as_ref() == Some(id));
            let total = of_it().filter(|other| other.state != Some(State::Admin)).count() as u32;
            let spares = of_it().filter(|other| other.spare && other.state != Some(State::Admin)).count() as u32;
            match workload.and_then(|view| view.replicas) {
                None if gone => Keep::Free,
                None => Keep::Workload,
                Some(replicas) if replicas > 0 && total <= replicas + spares => Keep::Workload,
                Some(_) => Keep::Free,
            }
        }
        ("StatefulSet", ReleasePolicy::Never) => Keep::Name,
        ("Pod", ReleasePolicy::Immutable) => Keep::Free,
        (_, ReleasePolicy::Never) => {
            if ordinal.is_some() {
                Keep::Name
            } else {
                Keep::Free
            }
        }
        (_, ReleasePolicy::Immutable) => match (workload, ordinal) {
            (_, None) => Keep::Free,
            (None, Some(_)) => {
                if gone {
                    Keep::Free
                } else {
                    Keep::Name
                }
            }
            (Some(view), Some(ordinal)) => match view.replicas {
                Some(replicas) if ordinal >= replicas => Keep::Free,
                _ => Keep::Name,
            },
        },
    }
}

/// How many addresses a pod asks for.
pub(crate) fn units(pod: &PodView) -> usize {
    lists(pod).map_or(1, |lists| lists.len())
}

pub(crate) fn lists(pod: &PodView) -> Option<Vec<Vec<IpRange>>> {
    pod.ranges.clone().ok().filter(|lists| !lists.is_empty())
}

/// The size that counts for a named pool.
pub(crate) fn pool_size(told: &Mirror, name: &str) -> Option<u32> {
    told.pools.values().find(|pool| &*pool.name == name)?.size
}

/// Replicas and what a rollout or dead nodes allow beyond them, at most (rules 17 and 18).
pub(crate) fn deployment_limit(view: &WorkloadView, stuck: u32) -> u32 {
    let replicas = view.replicas.unwrap_or(0);
    if replicas == 0 {
        return 0;
    }
    let spare = match view.spare_addresses {
        Some(spare) => spare.min(view.max_surge),
        None => u32::from(view.surges_first || stuck > 0),
    };
    replicas + spare + if view.replace_on_node_failure { stuck } else { 0 }
}

/// Pods of the Deployment that are being deleted on a node that is not ready, as the ledger was told or as it is.
pub(crate) fn stuck(told: &Mirror, api: &Api, id: &WorkloadId) -> u32 {
    let of_it = |pod: &&PodView| {
        let set = pod.controller.as_ref().and_then(|c| api.replica_sets.get(&c.uid));
        set.and_then(|set| set.controller.as_ref()).is_none_or(|c| c.name == id.name)
    };
    let dead = |pod: &&PodView| pod.node.as_ref().is_some_and(|node| told.nodes.get(node).is_none_or(|n| !n.ready));
    told.pods.values().filter(|pod| pod.deletion_deadline.is_some()).filter(of_it).filter(dead).count() as u32
}

fn contains(subnet: &ipnet::IpNet, ip: IpAddr) -> bool {
    subnet.contains(&ip)
}

/// Whether a node routes an address by the configuration.
pub(crate) fn routes(node: &NodeView, addr: Addr, config: &[PoolConfig]) -> bool {
    config.iter().any(|pool| {
        pool.ranges.iter().any(|range| range.contains(addr))
            && node.ips.iter().any(|&ip| pool.node_subnets.iter().any(|subnet| contains(subnet, ip)))
    })
}

/// Whether an address is kept for a pod by its name.
pub(crate) fn kept_by_name(info: &AddressInfo, pod: &PodView) -> bool {
    let Some(id) = &info.workload else { return false };
    let same = match &pod.controller {
        None => *id == WorkloadId::bare_pod(&pod.namespace, &pod.name),
        Some(c) => (&id.group, &id.kind, &id.name) == (&c.group, &c.kind, &c.name),
    };
    let kept = matches!(info.state, Some(State::Reserved | State::Quarantined));
    same && kept && info.pod_name.as_deref() == Some(&*pod.name)
}

/// Whether any pod of its workload may take a quarantined address.
fn is_for_any(info: &AddressInfo) -> bool {
    info.policy != ReleasePolicy::Default && info.workload.as_ref().is_some_and(|id| &*id.kind == "Deployment")
}

/// Whether an address is kept for any pod of the Deployment or of the pool.
fn kept_for_any(info: &AddressInfo, pod: &PodView, deployment: Option<&WorkloadId>) -> bool {
    if pod.policy == ReleasePolicy::Default {
        return false;
    }
    let kept = match info.state {
        Some(State::Reserved) => info.pod_name.is_none(),
        Some(State::Quarantined) => is_for_any(info),
        _ => false,
    };
    let own = info.workload.is_some() && info.workload.as_ref() == deployment;
    let shared = info.workload.is_none() && info.pool.is_some() && info.pool == pod.pool;
    kept && (own || shared)
}

/// Whether a node could give a pod its addresses, limits aside. `any`: counting what is kept for any pod of its workload.
pub(crate) fn address_for(
    pod: &PodView,
    node: &NodeView,
    config: &[PoolConfig],
    all: &[AddressInfo],
    any: bool,
) -> bool {
    let topology = Topology::build(config.to_vec()).expect("a valid configuration").0;
    let usable = topology.pools().iter().flat_map(|pool| pool.usable.iter()).flat_map(|range| range.addrs());
    let free = usable.filter(|addr| !all.iter().any(|info| info.addr == *addr));
    let deployment = None;
    let own = all.iter().filter(|info| {
        (info.state == Some(State::Bound) && info.pod_uid.as_ref() == Some(&pod.uid))
            || kept_by_name(info, pod)
            || (any && kept_for_any(info, pod, deployment))
    });
    let mut can: Vec<Addr> = free.chain(own.map(|info| info.addr)).collect();
    can.retain(|&addr| routes(node, addr, config));
    match lists(pod) {
        None => !can.is_empty(),
        Some(lists) => one_each(&lists, &can, &mut Vec::new()),
    }
}

/// Tries every way to take a different address from each list.
fn one_each(lists: &[Vec<IpRange>], can: &[Addr], taken: &mut Vec<Addr>) -> bool {
    let Some((list, rest)) = lists.split_first() else { return true };
    can.iter().any(|&addr| {
        if taken.contains(&addr) || !list.iter().any(|range| range.contains(addr)) {
            return false;
        }
        taken.push(addr);
        let found = one_each(rest, can, taken);
        taken.pop();
        found
    })
}

/// The Deployment of a pod, by its ReplicaSet.
pub(crate) fn deployment_of(pod: &PodView, w: &World) -> Option<WorkloadId> {
    let set = w.told.replica_sets.get(&pod.controller.as_ref()?.uid)?;
    Some(WorkloadId::deployment(&pod.namespace, &set.controller.as_ref()?.name))
}

/// Units that limits leave for a pod; many where there is no limit.
pub(crate) fn limit_left(pod: &PodView, w: &World, all: &[AddressInfo]) -> i64 {
    const MANY: i64 = 1 << 30;
    // A pod's address with the label `reserved` on its object is shown as the admin's, and is the pod's all the same.
    let in_use = |info: &&AddressInfo| match info.state {
        Some(State::Bound) => true,
        Some(State::Admin) => info.pod_uid.is_some(),
        _ => false,
    };
    let bound = || all.iter().filter(in_use);
    let owned = bound().filter(|info| info.pod_uid.as_ref() == Some(&pod.uid)).count();
    if let (Some(name), Some(size)) = (&pod.pool, pod.pool.as_ref().and_then(|name| pool_size(&w.told, name))) {
        // What is kept for a pod name is no other pod's to take.
        let named = |info: &&AddressInfo| match info.state {
            Some(State::Reserved) => info.pod_name.is_some(),
            Some(State::Quarantined) => !is_for_any(info),
            _ => false,
        };
        let others = all.iter().filter(named).filter(|info| !kept_by_name(info, pod));
        let used = bound().chain(others).filter(|info| info.pool.as_ref() == Some(name)).count();
        let needed = units(pod).saturating_sub(owned);
        return i64::from(size) - used as i64 - needed as i64 + 1;
    }
    let Some(id) = deployment_of(pod, w).filter(|_| pod.policy != ReleasePolicy::Default) else { return MANY };
    let Some(view) = w.told.workloads.get(&id) else { return 0 };
    let of_it = || bound().filter(|info| info.workload.as_ref() == Some(&id));
    let limit = i64::from(deployment_limit(view, 0));
    let left = limit - of_it().count() as i64;
    let set = &pod.controller.as_ref().expect("it has a ReplicaSet").uid;
    let of_owner = |s: &&ReplicaSetView| s.controller.as_ref().is_some_and(|c| c.uid == view.uid);
    let sets: Vec<&ReplicaSetView> = w.told.replica_sets.values().filter(of_owner).collect();
    let Some(newest) = sets.iter().max_by_key(|s| s.revision) else { return 0 };
    let of_set = |info: &&AddressInfo| {
        let owner = info.pod_uid.as_ref().and_then(|uid| w.told.pods.get(uid));
        owner.and_then(|pod| pod.controller.as_ref()).is_some_and(|c| &c.uid == set)
    };
    let used = of_it().filter(of_set).count() as i64;
    // The spare is for another version: pods of one ReplicaSet have no more than it has replicas.
    let own = w.told.replica_sets.get(set).map_or(0, |own| i64::from(own.replicas));
    let left = left.min(own - used);
    if &newest.uid != set {
        return left;
    }
    let older: i64 = sets.iter().filter(|s| &s.uid != set).map(|s| i64::from(s.replicas)).sum();
    left.min(limit - older - used)
}

/// Whether a pod that sleeps could be served now by a node it may run on.
pub(crate) fn could_be_served(uid: &Uid, w: &World) -> bool {
    let pod = w.api.pod(uid);
    let all: Vec<AddressInfo> = w.ledger.addresses().collect();
    let deployment = deployment_of(pod, w);
    let kept = all.iter().filter(|info| kept_for_any(info, pod, deployment.as_ref()));
    let kept: Vec<Addr> = kept.map(|info| info.addr).collect();
    let nodes = w.offers(uid);
    let mut nodes = nodes.iter().filter_map(|name| w.api.nodes.get(name));
    limit_left(pod, w, &all) > 0
        && nodes.any(|node| {
            address_for(pod, node, &w.config, &all, false)
                || (lists(pod).is_none() && kept.iter().any(|&addr| routes(node, addr, &w.config)))
        })
}
