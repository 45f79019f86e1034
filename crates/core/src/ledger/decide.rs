//! What a pod may be given: policy support, limits, and the choice of addresses. Everything here only reads.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Ledger;
use super::entry::{Slot, Sym, WorkloadIx};
use super::ids::{APPS, Model, Uid, WorkloadId};
use super::pods::Pod;
use super::record::State;
use super::space::Class;
use super::verdict::{Doubt, PodRef, Reason, Refusal};
use super::view::{KindStatus, WorkloadView};
use crate::addr::Addr;
use crate::matching::match_lists;
use crate::policy::ReleasePolicy;
use crate::range::{IpRange, shown};
use crate::topology::PoolId;

/// How the original's refusals begin.
pub(super) const NO_FIP_LEFT: &str = "FloatingIPPlugin:NoFIPLeft";
pub(super) const NO_FIP_CONFIG_NODE: &str = "FloatingIPPlugin:NoFIPConfigNode";
pub(super) const UNKNOWN_NODE: &str = "FloatingIPPlugin:UnknowNode";

/// Why a pod cannot be served, and what to prove so that it can.
#[derive(Debug)]
pub(super) struct Denial {
    pub(super) refusal: Refusal,
    pub(super) doubt: Option<Doubt>,
}

impl From<Refusal> for Box<Denial> {
    fn from(refusal: Refusal) -> Self {
        Box::new(Denial { refusal, doubt: None })
    }
}

/// What pods that were woken, or are about to be, are expected to take.
#[derive(Default)]
pub(super) struct Promises {
    workloads: HashMap<WorkloadIx, u32>,
    replica_sets: HashMap<Uid, u32>,
    pools: HashMap<Sym, u32>,
    addrs: HashSet<Addr>,
    fresh: BTreeMap<PoolId, u128>,
}

/// One range list, clipped to the pools, in the order written.
type Clipped = Vec<(IpRange, PoolId)>;

impl Promises {
    pub(super) fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.pools.is_empty() && self.addrs.is_empty() && self.fresh.is_empty()
    }
}

/// Where a pod can be served.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// The classes, of those asked about, whose nodes can serve it.
    pub(super) classes: Vec<Class>,
    /// The reserved address it must reuse.
    pub(super) reuse: Option<Addr>,
    /// It needs a unit of a limit.
    pub(super) limited: bool,
}

/// The integer after the last `-` of a pod name, as controllers that number their pods write it.
pub(super) fn ordinal(pod_name: &str) -> Option<u64> {
    let (_, digits) = pod_name.rsplit_once('-')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// Job and DaemonSet pods have random suffixes, which can be all digits.
fn numbers_its_pods(id: &WorkloadId) -> bool {
    !matches!((&*id.group, &*id.kind), ("batch", "Job" | "CronJob") | (APPS, "DaemonSet"))
}

pub(super) fn is_indexed(id: &WorkloadId, pod_name: &str) -> bool {
    numbers_its_pods(id) && ordinal(pod_name).is_some()
}

fn refusal(reason: Reason, text: String, detail: String) -> Refusal {
    Refusal { reason, text, detail }
}

/// A refusal that people are told in the scheduler's words, without the prefix.
fn plain(reason: Reason, text: String) -> Refusal {
    let detail = text.strip_prefix(NO_FIP_LEFT).map_or(&*text, str::trim_start).to_owned();
    Refusal { reason, detail, text }
}

impl Ledger {
    /// Refuses what only an edit, or a CRD, can cure.
    pub(super) fn check_policy(&self, pod: &Pod) -> Result<(), Refusal> {
        let view = &pod.view;
        if let Err(error) = &view.ranges {
            return Err(plain(Reason::BadAnnotation, format!("{NO_FIP_LEFT} {error}")));
        }
        let Some(ix) = pod.workload else {
            let owner = view.controller.as_ref().map_or_else(String::new, |c| format!("{} {}", c.kind, c.name));
            return Err(plain(
                Reason::WorkloadUnknown,
                format!(
                    "{NO_FIP_LEFT} the controller of pod {}/{} ({owner}) is not known yet",
                    view.namespace, view.name
                ),
            ));
        };
        let id = &self.workloads.get(ix).id;
        let ranges = view.ranges.as_ref().is_ok_and(|lists| !lists.is_empty());
        // The pods of a ReplicaSet end in random characters, whatever controls the ReplicaSet.
        let indexed = is_indexed(id, &view.name) && pod.replica_set.is_none();
        // Who names a pool need not know that it implies a policy.
        let origin = view.pool.as_deref().map_or_else(String::new, |pool| format!(" of pool {:?}", shown(pool)));
        let unsupported = |why: &str, way: &str| {
            Err(plain(
                Reason::UnsupportedPolicy,
                format!(
                    "{NO_FIP_LEFT} release policy {}{origin} is not supported for pod {}/{}: {why}; {way}",
                    view.policy, view.namespace, view.name
                ),
            ))
        };
        match (id.model(), view.policy) {
            (_, ReleasePolicy::Default) | (Model::StatefulSet, _) => Ok(()),
            (Model::Fungible, _) if ranges => unsupported(
                "pods of a Deployment reuse any of its reserved addresses, so request_ip_range cannot be kept",
                "remove the ranges or the policy",
            ),
            (Model::Fungible, _) => Ok(()),
            (_, ReleasePolicy::Never) if indexed => Ok(()),
            (_, ReleasePolicy::Never) => unsupported(
                "not a stateful name, the name does not end in -<integer>",
                "use a StatefulSet, a Deployment or a workload that numbers its pods",
            ),
            (Model::Bare, ReleasePolicy::Immutable) => unsupported(
                "parent workload has no replicas, the pod has no controller",
                "use policy never or a workload",
            ),
            (Model::Custom, ReleasePolicy::Immutable) if !indexed => unsupported(
                "not a stateful name, the name does not end in -<integer>",
                "use a StatefulSet, a Deployment or a workload that numbers its pods",
            ),
            (Model::Custom, ReleasePolicy::Immutable) => self.check_kind(id),
        }
    }

    fn check_kind(&self, id: &WorkloadId) -> Result<(), Refusal> {
        match self.kinds.get(&(id.group.clone(), id.kind.clone())) {
            Some(KindStatus::Synced) => Ok(()),
            Some(KindStatus::Unavailable(why)) => Err(plain(
                Reason::KindUnavailable,
                format!(
                    "{NO_FIP_LEFT} release policy immutable needs the replicas of {id}: parent workload has no replicas: {why}"
                ),
            )),
            Some(KindStatus::Starting) | None => Err(plain(
                Reason::WorkloadUnknown,
                format!("{NO_FIP_LEFT} the watch on {} objects, for release policy immutable, is starting", id.kind),
            )),
        }
    }

    /// The size that counts for a pod's pool, if it has one.
    pub(super) fn pool_size(&self, pod: &Pod) -> Option<(Sym, u32)> {
        let name = pod.view.pool.as_ref()?;
        Some((self.names.find(name)?, self.pools.effective(name)?.size?))
    }

    /// How many pods beyond its replicas a Deployment may have with addresses (rule 17).
    pub(super) fn spare_allowance(&self, view: &WorkloadView, rolling_past_stuck: bool) -> u32 {
        match view.spare_addresses {
            Some(n) => n.min(view.max_surge),
            None => u32::from(view.surges_first || rolling_past_stuck),
        }
    }

    /// Pods of the workload that are being deleted on a node that is not ready, or gone.
    pub(super) fn stuck_pods(&self, ix: WorkloadIx) -> impl Iterator<Item = &Pod> + '_ {
        let pods = self.workloads.get(ix).leaving.iter().filter_map(|uid| self.pods.get(uid));
        pods.filter(|pod| self.is_stuck(pod))
    }

    /// Until the object is gone, also where somebody vouched that the node is off: the successor gets that very address (rule 18).
    pub(super) fn is_stuck(&self, pod: &Pod) -> bool {
        pod.view.deletion_deadline.is_some()
            && !pod.finished
            && pod.view.node.as_ref().is_some_and(|node| !self.nodes.is_ready(node))
    }

    /// Whether a limit forbids the pod one more address now (rules 12, 17, 18).
    pub(super) fn check_limit(&self, pod: &Pod, promises: &Promises) -> Result<bool, Refusal> {
        if let Some((pool, size)) = self.pool_size(pod) {
            let owned = self.table.slots_of(&pod.view.uid).len() as u32;
            let units = pod.units().saturating_sub(owned);
            // What the pod itself holds is not in its way.
            let held = pod.hold.as_ref().filter(|hold| hold.pool == Some(pool)).map_or(0, |hold| hold.units);
            // What is kept for a pod name counts as used for all others, or its pod could not come back.
            let in_pool = |slot: &&Slot| self.table.at(**slot).claim.as_ref().is_some_and(|c| c.pool == Some(pool));
            let named = self.kept_by_name(pod).map_or(0, |kept| kept.iter().filter(in_pool).count() as u32);
            let counts = self.table.counts_of_pool(pool);
            let used = counts.bound
                + counts.named.saturating_sub(named)
                + self.pool_holds.get(&pool).copied().unwrap_or(0).saturating_sub(held)
                + promises.pools.get(&pool).copied().unwrap_or(0);
            if used.saturating_add(units) > size {
                let name = self.names.get(pool);
                return Err(refusal(
                    Reason::LimitReached,
                    format!(
                        "{NO_FIP_LEFT} pool {name:?}: size {size} is reached; raise Pool.size or wait for a release"
                    ),
                    format!(
                        "reached pool {name:?} size limit: {used} of {size} addresses are used; raise Pool.size or wait for a release"
                    ),
                ));
            }
            return Ok(true);
        }
        let Some(ix) = pod.workload else { return Ok(false) };
        let workload = self.workloads.get(ix);
        if pod.view.policy == ReleasePolicy::Default || workload.id.model() != Model::Fungible {
            return Ok(false);
        }
        self.check_deployment(pod, ix, promises).map(|()| true)
    }

    fn check_deployment(&self, pod: &Pod, ix: WorkloadIx, promises: &Promises) -> Result<(), Refusal> {
        let workload = self.workloads.get(ix);
        let id = &workload.id;
        let Some(view) = &workload.view else {
            return Err(plain(
                Reason::WorkloadUnknown,
                format!("{NO_FIP_LEFT} {id} does not exist, so no address may be kept for it"),
            ));
        };
        let replicas = view.replicas.unwrap_or(0);
        let held = pod.hold.as_ref().filter(|hold| hold.workload == Some(ix)).map_or(0, |hold| hold.units);
        let used = self.table.counts_of_workload(ix).bound
            + workload.holds.saturating_sub(held)
            + promises.workloads.get(&ix).copied().unwrap_or(0);
        let rs_used = |uid: &Uid| {
            let own = u32::from(self.counted.get(&pod.view.uid) == Some(uid));
            let used = self.replica_set_used.get(uid).copied().unwrap_or(0).saturating_sub(own);
            used + promises.replica_sets.get(uid).copied().unwrap_or(0)
        };
        let mut older_replicas = 0;
        let mut newest_used = None;
        let mut own_full = false;
        let mut rolling_past_stuck = false;
        let stuck = self.stuck_pods(ix).find(|other| other.replica_set == pod.replica_set);
        if let Some(own) = pod.replica_set.as_ref().filter(|_| &*id.kind == "Deployment") {
            let Some(set) = self.replica_sets.get(own) else {
                return Err(plain(
                    Reason::WorkloadUnknown,
                    format!("{NO_FIP_LEFT} the ReplicaSet of {id} is not known yet"),
                ));
            };
            let owner = set.controller.as_ref().map(|c| c.uid.clone()).unwrap_or_else(|| view.uid.clone());
            let mut newest = Some(0);
            for other in self.replica_sets.of(&owner) {
                newest = newest.zip(other.revision).map(|(a, b)| a.max(b));
            }
            let (Some(newest), Some(revision)) = (newest, set.revision) else {
                return Err(plain(
                    Reason::WorkloadUnknown,
                    format!(
                        "{NO_FIP_LEFT} a ReplicaSet of {id} has no revision yet (deployment.kubernetes.io/revision)"
                    ),
                ));
            };
            if revision == newest {
                older_replicas = self.replica_sets.of(&owner).filter(|o| o.uid != *own).map(|o| o.replicas).sum();
                newest_used = Some(rs_used(own));
                rolling_past_stuck = stuck.is_none() && self.stuck_pods(ix).next().is_some();
            }
            if let (Some(stuck), false) = (stuck, view.replace_on_node_failure)
                && rs_used(own) >= set.replicas
            {
                let (name, node) = (&stuck.view.name, stuck.view.node.as_deref().unwrap_or(""));
                return Err(refusal(
                    Reason::PredecessorStuck,
                    format!("{NO_FIP_LEFT} a pod of {id} is stuck on a node that is not ready and keeps its address"),
                    format!(
                        "pod {name} is being deleted on node {node}, which is not ready: it may still run and keeps its address for its successor; \
                             delete node {node}, taint it node.kubernetes.io/out-of-service, or force delete pod {name}; \
                             annotation galaxy.k8s.io/on-node-failure: replace on the Deployment lets successors take another address"
                    ),
                ));
            }
        }
        let stuck_extra = if view.replace_on_node_failure { self.stuck_pods(ix).count() as u32 } else { 0 };
        if let Some(set) = pod.replica_set.as_ref().and_then(|own| self.replica_sets.get(own)) {
            // The spare is for another version: the successor of a pod that is ending waits for that very address.
            own_full = rs_used(&set.uid) >= set.replicas.saturating_add(stuck_extra);
        }
        let spare = self.spare_allowance(view, rolling_past_stuck) + stuck_extra;
        let limit = if replicas == 0 { 0 } else { replicas.saturating_add(spare) };
        let over_all = used >= limit;
        let over_newest = newest_used.is_some_and(|own| own >= limit.saturating_sub(older_replicas));
        if own_full && !over_all && !over_newest {
            return Err(refusal(
                Reason::LimitReached,
                format!("{NO_FIP_LEFT} the ReplicaSet of {id} has all its addresses and has to wait for releasing"),
                format!(
                    "{id} has {used} addresses; a pod of the same version is ending and its successor gets its address"
                ),
            ));
        }
        if !over_all && !over_newest {
            return Ok(());
        }
        let way = if view.spare_addresses == Some(0) {
            "annotation galaxy.k8s.io/spare-addresses is 0: raise it or let maxUnavailable be at least 1"
        } else {
            "wait for releasing, raise spec.replicas, or let annotation galaxy.k8s.io/spare-addresses be up to maxSurge"
        };
        Err(refusal(
            Reason::LimitReached,
            format!(
                "{NO_FIP_LEFT} {id} may have {limit} addresses for {replicas} replicas and has to wait for releasing"
            ),
            format!("{id} has allocated {used} of {limit} addresses with replicas of {replicas}; {way}"),
        ))
    }

    /// What is kept for a pod by its name, or why it cannot be had yet.
    pub(super) fn kept_by_name(&self, pod: &Pod) -> Result<Vec<Slot>, Box<Denial>> {
        let Some(ix) = pod.workload else { return Ok(Vec::new()) };
        if self.workloads.get(ix).id.model() == Model::Fungible {
            return Ok(Vec::new());
        }
        let mut kept = Vec::new();
        for slot in self.table.slots_named(ix, &self.short_name(pod.workload, &pod.view.name)) {
            let Some(claim) = &self.table.at(slot).claim else { continue };
            match (&claim.state, &claim.pod_uid) {
                (State::Reserved | State::Quarantined, _) => kept.push(slot),
                (State::Bound, Some(uid)) if uid != &pod.view.uid => {
                    let (namespace, name) = (pod.view.namespace.clone(), pod.view.name.clone());
                    let text = format!(
                        "{NO_FIP_LEFT} an earlier pod {namespace}/{name} still has the address: waiting for its deletion to be seen"
                    );
                    let doubt = Doubt::Pod(PodRef { namespace, name, uid: uid.clone() });
                    let refusal = plain(Reason::PredecessorAlive, text);
                    return Err(Box::new(Denial { refusal, doubt: Some(doubt) }));
                }
                _ => {}
            }
        }
        kept.sort_by_key(|&slot| std::cmp::Reverse(self.table.at(slot).claim.as_ref().map(|c| c.updated_at)));
        Ok(kept)
    }

    /// The newest address that any pod of the workload, or of its pool, may take and that one of the classes routes.
    fn kept_for_any(&self, pod: &Pod, pools: &[PoolId], promises: &Promises) -> Option<Slot> {
        if pod.view.policy == ReleasePolicy::Default {
            return None;
        }
        let usable = |slot: &Slot| {
            let addr = self.table.at(*slot).addr;
            self.held.get(&addr).is_none_or(|holder| holder == &pod.view.uid) && !promises.addrs.contains(&addr)
        };
        let fungible = pod.workload.filter(|&ix| self.workloads.get(ix).id.model() == Model::Fungible);
        let named_pool = pod.view.pool.as_ref().and_then(|name| self.names.find(name));
        let newest = |slot: &Slot| self.table.at(*slot).claim.as_ref().map(|claim| claim.updated_at);
        let mut best: Option<Slot> = None;
        for pool in pools {
            let own = fungible.and_then(|ix| self.table.kept_for_workload(ix, pool.0).find(usable));
            let shared = named_pool.and_then(|sym| self.table.kept_for_pool(sym, pool.0).find(usable));
            for slot in own.into_iter().chain(shared) {
                if best.is_none_or(|known| newest(&slot) > newest(&known)) {
                    best = Some(slot);
                }
            }
        }
        best
    }

    fn all_pools(&self, classes: &[Class]) -> Vec<PoolId> {
        let mut pools: Vec<PoolId> = classes.iter().flat_map(|&class| self.space.pools_of(class)).copied().collect();
        pools.sort_unstable();
        pools.dedup();
        pools
    }

    fn fresh_left(&self, class: Class, promises: &Promises) -> bool {
        let available = self.space.available(class);
        if promises.fresh.is_empty() {
            return available > 0;
        }
        let promised = self.space.pools_of(class).iter().filter_map(|pool| promises.fresh.get(pool)).sum::<u128>();
        available > promised
    }

    fn no_address(&self, pod: &Pod) -> Refusal {
        let ranges = pod.view.ranges.as_ref().is_ok_and(|lists| !lists.is_empty());
        let what = if ranges { "its request_ip_range on this node's subnets" } else { "this node's subnets" };
        refusal(
            Reason::NoAddress,
            format!("{NO_FIP_LEFT} no address is left in {what}"),
            "no address is left that an offered node can route; add addresses to the configuration or wait for a release".to_owned(),
        )
    }

    /// Which of these node classes can serve the pod now.
    pub(super) fn evaluate(&self, pod: &Pod, classes: &[Class], promises: &Promises) -> Result<Offer, Box<Denial>> {
        let lists = match &pod.view.ranges {
            Ok(lists) => lists,
            Err(_) => return Err(self.check_policy(pod).err().unwrap_or_else(|| self.no_address(pod)).into()),
        };
        let own: Vec<Addr> = self.table.slots_of(&pod.view.uid).iter().map(|&s| self.table.at(s).addr).collect();
        if lists.is_empty() {
            let served: Vec<Class> = classes
                .iter()
                .copied()
                .filter(|&class| own.iter().any(|&addr| self.space.routes(class, addr)))
                .collect();
            if !served.is_empty() {
                return Ok(Offer { classes: served, ..Offer::default() });
            }
        }
        self.check_policy(pod)?;
        // First, because a predecessor whose end nobody has seen is in the way of a limit too, and is to be proved gone.
        let named = self.kept_by_name(pod)?;
        let limited = if own.len() < pod.units() as usize { self.check_limit(pod, promises)? } else { false };
        if !lists.is_empty() {
            return Ok(self.evaluate_lists(pod, classes, limited, promises)?);
        }
        let routed: Vec<Class> = classes
            .iter()
            .copied()
            .filter(|&class| named.iter().any(|&slot| self.space.routes(class, self.table.at(slot).addr)))
            .collect();
        if !routed.is_empty() {
            return Ok(Offer { classes: routed, reuse: None, limited });
        }
        if let Some(slot) = self.kept_for_any(pod, &self.all_pools(classes), promises) {
            let addr = self.table.at(slot).addr;
            let routed = classes.iter().copied().filter(|&class| self.space.routes(class, addr)).collect();
            return Ok(Offer { classes: routed, reuse: Some(addr), limited });
        }
        let fresh: Vec<Class> = classes.iter().copied().filter(|&class| self.fresh_left(class, promises)).collect();
        if fresh.is_empty() {
            Err(self.no_address(pod).into())
        } else {
            Ok(Offer { classes: fresh, reuse: None, limited })
        }
    }

    /// Of the classes that can serve every list, those that keep the most of what the pod already has.
    fn evaluate_lists(
        &self,
        pod: &Pod,
        classes: &[Class],
        limited: bool,
        promises: &Promises,
    ) -> Result<Offer, Refusal> {
        let mut best: Option<(usize, Vec<Class>)> = None;
        let lists = self.clipped_lists(pod);
        for &class in classes {
            let Some(chosen) = self.choose_lists(pod, class, &lists, promises) else { continue };
            let fresh = chosen.iter().filter(|&&addr| self.table.slot(addr).is_none()).count();
            match &mut best {
                Some((least, served)) if *least == fresh => served.push(class),
                Some((least, _)) if *least < fresh => {}
                _ => best = Some((fresh, vec![class])),
            }
        }
        let (_, classes) = best.ok_or_else(|| self.no_address(pod))?;
        Ok(Offer { classes, reuse: None, limited })
    }

    /// The pod's range lists, as far as there are pools: whatever else they name costs nothing from here on (rule 13).
    fn clipped_lists(&self, pod: &Pod) -> Vec<Clipped> {
        let lists = pod.view.ranges.iter().flatten();
        lists.map(|ranges| ranges.iter().flat_map(|range| self.space.topology.clip(range)).collect()).collect()
    }

    fn choose_lists(&self, pod: &Pod, class: Class, lists: &[Clipped], promises: &Promises) -> Option<Vec<Addr>> {
        let named = self.kept_by_name(pod).unwrap_or_default();
        let own = self.table.slots_of(&pod.view.uid);
        let pools = self.space.pools_of(class);
        let candidates: Vec<Vec<(Addr, u8)>> = lists
            .iter()
            .map(|ranges| {
                let within =
                    |addr: Addr| ranges.iter().any(|(r, _)| r.contains(addr)) && self.space.routes(class, addr);
                let mut found: Vec<(Addr, u8)> = Vec::new();
                for (slots, cost) in [(&own, 0), (&named, 1)] {
                    found
                        .extend(slots.iter().map(|&s| (self.table.at(s).addr, cost)).filter(|&(addr, _)| within(addr)));
                }
                let fresh = self.space.candidates(pools, ranges, lists.len() + promises.addrs.len());
                found.extend(
                    fresh
                        .into_iter()
                        .filter(|(addr, _)| !promises.addrs.contains(addr))
                        .map(|(addr, cooling)| (addr, if cooling { 3 } else { 2 })),
                );
                found
            })
            .collect();
        match_lists(&candidates)
    }

    /// The addresses a pod gets on a node of this class, in the order of its request.
    pub(super) fn choose(&self, pod: &Pod, class: Class) -> Result<Vec<Addr>, Refusal> {
        let none = Promises::default();
        if pod.view.ranges.as_ref().is_ok_and(|lists| !lists.is_empty()) {
            let lists = self.clipped_lists(pod);
            return self.choose_lists(pod, class, &lists, &none).ok_or_else(|| self.no_address(pod));
        }
        let routed = |slot: &Slot| self.space.routes(class, self.table.at(*slot).addr);
        let own = self.table.slots_of(&pod.view.uid);
        if let Some(slot) = own.iter().find(|&slot| routed(slot)) {
            return Ok(vec![self.table.at(*slot).addr]);
        }
        let named = self.kept_by_name(pod).map_err(|denial| denial.refusal)?;
        if let Some(slot) = named.iter().find(|&slot| routed(slot)) {
            return Ok(vec![self.table.at(*slot).addr]);
        }
        if let Some(addr) = pod.hold.as_ref().and_then(|hold| hold.addr) {
            let kept = self.table.get(addr).and_then(|e| e.claim.as_ref()).is_some_and(|claim| claim.any_pod);
            if kept && self.space.routes(class, addr) {
                return Ok(vec![addr]);
            }
        }
        if let Some(slot) = self.kept_for_any(pod, self.space.pools_of(class), &none) {
            return Ok(vec![self.table.at(slot).addr]);
        }
        self.space.pick(self.space.pools_of(class)).map(|addr| vec![addr]).ok_or_else(|| self.no_address(pod))
    }

    /// Adds to the promises what serving this offer will take.
    pub(super) fn promise(&self, pod: &Pod, offer: &Offer, promises: &mut Promises) {
        let owned = self.table.slots_of(&pod.view.uid).len() as u32;
        let units = pod.units().saturating_sub(owned);
        if offer.limited {
            if let Some((pool, _)) = self.pool_size(pod) {
                *promises.pools.entry(pool).or_default() += units;
            } else if let Some(ix) = pod.workload {
                *promises.workloads.entry(ix).or_default() += units;
                if let Some(set) = &pod.replica_set {
                    *promises.replica_sets.entry(set.clone()).or_default() += 1;
                }
            }
        }
        if units == 0 {
            return;
        }
        if let Some(addr) = offer.reuse {
            promises.addrs.insert(addr);
            return;
        }
        let Some(&class) = offer.classes.first() else { return };
        if pod.view.ranges.as_ref().is_ok_and(|lists| !lists.is_empty()) {
            let lists = self.clipped_lists(pod);
            promises.addrs.extend(self.choose_lists(pod, class, &lists, promises).into_iter().flatten());
            return;
        }
        if self.kept_by_name(pod).is_ok_and(|kept| !kept.is_empty()) {
            return;
        }
        let left =
            |pool: &&PoolId| self.space.available_in_pool(**pool) > promises.fresh.get(pool).copied().unwrap_or(0);
        if let Some(&pool) = self.space.pools_of(class).iter().find(left) {
            *promises.fresh.entry(pool).or_default() += 1;
        }
    }
}
