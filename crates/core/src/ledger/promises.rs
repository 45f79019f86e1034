//! What pods that were woken, or are about to be, are expected to take.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Ledger;
use super::decide::Offer;
use super::entry::{Keeper, Slot, Sym, WorkloadIx};
use super::ids::{Time, Uid};
use super::pods::Pod;
use crate::addr::Addr;
use crate::topology::PoolId;

/// It only grows while pods are looked at one after the other.
#[derive(Default)]
pub(super) struct Promises {
    pub(super) workloads: HashMap<WorkloadIx, u32>,
    pub(super) replica_sets: HashMap<Uid, u32>,
    pub(super) pools: HashMap<Sym, u32>,
    pub(super) addrs: HashSet<Addr>,
    pub(super) fresh: BTreeMap<PoolId, u128>,
    /// Of what is kept by one keeper in one pool of the topology: all newer than this is held or promised. Ten thousand
    /// pods that take one each do not look at each other's.
    pub(super) past: HashMap<(Keeper, u32), (Time, Slot)>,
    /// Addresses that the last pod named: to be taken out of the free ones while others are looked at.
    pub(super) lent: Vec<Addr>,
}

impl Promises {
    pub(super) fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.pools.is_empty() && self.addrs.is_empty() && self.fresh.is_empty()
    }
}

impl Ledger {
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
            if let Some((slot, (keeper, net, at))) =
                self.table.slot(addr).and_then(|s| Some((s, self.table.keeper(s)?)))
            {
                promises.past.insert((keeper, net), (at, slot));
            }
            return;
        }
        let Some(&class) = offer.classes.first() else { return };
        if pod.view.ranges.as_ref().is_ok_and(|lists| !lists.is_empty()) {
            let chosen = self.choose_lists(pod, class, promises);
            promises.lent.extend(chosen.into_iter().flatten());
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
