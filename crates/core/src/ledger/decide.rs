//! Where a pod can be served, and with which addresses. Everything here only reads.

use super::Ledger;
use super::entry::{Keeper, Slot};
use super::ids::Model;
use super::pods::Pod;
use super::promises::Promises;
use super::record::State;
use super::refusal::{Denial, NO_FIP_LEFT, plain, refusal};
use super::space::Class;
use super::verdict::{Doubt, PodRef, Reason, Refusal};
use crate::addr::Addr;
use crate::policy::ReleasePolicy;
use crate::topology::PoolId;

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

impl Ledger {
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

    /// The addresses a pod gets on a node of this class, in the order of its request.
    pub(super) fn choose(&self, pod: &Pod, class: Class) -> Result<Vec<Addr>, Refusal> {
        let none = Promises::default();
        if pod.view.ranges.as_ref().is_ok_and(|lists| !lists.is_empty()) {
            return self.choose_lists(pod, class, &none).ok_or_else(|| self.no_address(pod));
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
            let keepers = fungible.map(Keeper::Workload).into_iter().chain(named_pool.map(Keeper::Pool));
            let slots = keepers.filter_map(|keeper| {
                let from = promises.past.get(&(keeper, pool.0)).copied();
                self.table.kept(keeper, pool.0, from).find(usable)
            });
            for slot in slots {
                if best.is_none_or(|known| newest(&slot) > newest(&known)) {
                    best = Some(slot);
                }
            }
        }
        best
    }

    pub(super) fn all_pools(&self, classes: &[Class]) -> Vec<PoolId> {
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

    pub(super) fn no_address(&self, pod: &Pod) -> Refusal {
        if let Some(list) = self.list_outside_pools(pod) {
            let what = format!("request_ip_range {list} is in no configured pool");
            let detail = format!("{what}; ask for other addresses or add them to the configuration");
            return refusal(Reason::NoAddress, format!("{NO_FIP_LEFT} {what}"), detail);
        }
        let ranges = pod.view.ranges.as_ref().is_ok_and(|lists| !lists.is_empty());
        let what = if ranges { "its request_ip_range on this node's subnets" } else { "this node's subnets" };
        refusal(
            Reason::NoAddress,
            format!("{NO_FIP_LEFT} no address is left in {what}"),
            "no address is left that an offered node can route; add addresses to the configuration or wait for a release".to_owned(),
        )
    }
}
