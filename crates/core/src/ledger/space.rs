//! The address space in force: what is free, what was freed a moment ago, and which nodes reach it.
//!
//! Counters per pool and per node class are exact on every change, so that a filter never walks addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::ids::Time;
use crate::addr::Addr;
use crate::freeset::FreeSet;
use crate::range::IpRange;
use crate::topology::{PoolId, Topology};

/// Nodes that reach the same set of pools are of one class.
pub(super) type Class = usize;

#[derive(Default)]
pub(super) struct Space {
    pub(super) topology: Arc<Topology>,
    free: Vec<FreeSet>,
    /// Freed within the reuse delay: taken last (rule 9).
    cooling: BTreeMap<Addr, Time>,
    cooling_by_time: BTreeSet<(Time, Addr)>,
    cooling_of_pool: Vec<u64>,
    classes: Vec<NodeClass>,
    class_of_pools: HashMap<Vec<PoolId>, Class>,
    classes_of_pool: Vec<Vec<Class>>,
}

struct NodeClass {
    pools: Vec<PoolId>,
    available: u128,
    total: u128,
}

impl Space {
    /// Everything that `topology` lets be handed out is free, until taken.
    pub(super) fn new(topology: Topology) -> Self {
        let pools = topology.pools().len();
        let free = topology
            .pools()
            .iter()
            .map(|pool| {
                let mut set = FreeSet::default();
                pool.usable.iter().for_each(|range| set.insert_range(range));
                set
            })
            .collect();
        Space {
            topology: Arc::new(topology),
            free,
            cooling_of_pool: vec![0; pools],
            classes_of_pool: vec![Vec::new(); pools],
            ..Space::default()
        }
    }

    /// The class of a node with these addresses; none if none of them is in a configured node subnet.
    pub(super) fn class_of(&mut self, ips: &[IpAddr]) -> Option<Class> {
        let mut pools: Vec<PoolId> = Vec::new();
        for class in ips.iter().filter_map(|&ip| self.topology.class_of(ip)) {
            pools.extend_from_slice(self.topology.class_pools(class));
        }
        pools.sort_unstable();
        pools.dedup();
        if pools.is_empty() {
            return None;
        }
        if let Some(&class) = self.class_of_pools.get(&pools) {
            return Some(class);
        }
        let class = self.classes.len();
        for &pool in &pools {
            self.classes_of_pool[pool.index()].push(class);
        }
        let available = pools.iter().map(|&pool| self.available_in_pool(pool)).sum();
        let total = pools.iter().map(|&pool| self.topology.pool(pool).usable.len()).fold(0, u128::saturating_add);
        self.class_of_pools.insert(pools.clone(), class);
        self.classes.push(NodeClass { pools, available, total });
        Some(class)
    }

    pub(super) fn available_in_pool(&self, pool: PoolId) -> u128 {
        self.free[pool.index()].len() + u128::from(self.cooling_of_pool[pool.index()])
    }

    /// Addresses that nodes of the class could still be given.
    pub(super) fn available(&self, class: Class) -> u128 {
        self.classes[class].available
    }

    /// Addresses that nodes of the class reach in all.
    pub(super) fn total(&self, class: Class) -> u128 {
        self.classes[class].total
    }

    pub(super) fn pools_of(&self, class: Class) -> &[PoolId] {
        &self.classes[class].pools
    }

    /// Whether nodes of the class route `addr`.
    pub(super) fn routes(&self, class: Class, addr: Addr) -> bool {
        self.topology.pool_of(addr).is_some_and(|pool| self.classes[class].pools.binary_search(&pool).is_ok())
    }

    pub(super) fn is_available(&self, addr: Addr) -> bool {
        self.topology
            .pool_of(addr)
            .is_some_and(|pool| self.free[pool.index()].contains(addr) || self.cooling.contains_key(&addr))
    }

    /// Takes an address out of the free ones; nothing happens if it was not free.
    pub(super) fn take(&mut self, addr: Addr) {
        let Some(pool) = self.topology.pool_of(addr) else { return };
        let taken = if self.free[pool.index()].remove(addr) {
            true
        } else if let Some(since) = self.cooling.remove(&addr) {
            self.cooling_by_time.remove(&(since, addr));
            self.cooling_of_pool[pool.index()] -= 1;
            true
        } else {
            false
        };
        if taken {
            for &class in &self.classes_of_pool[pool.index()] {
                self.classes[class].available -= 1;
            }
        }
    }

    /// Gives an address back; `freed_at` makes it one of those taken last. True if it can be handed out now.
    pub(super) fn give(&mut self, addr: Addr, freed_at: Option<Time>) -> bool {
        if !self.topology.is_usable(addr) || self.is_available(addr) {
            return false;
        }
        let Some(pool) = self.topology.pool_of(addr) else { return false };
        match freed_at {
            Some(since) => {
                self.cooling.insert(addr, since);
                self.cooling_by_time.insert((since, addr));
                self.cooling_of_pool[pool.index()] += 1;
            }
            None => {
                self.free[pool.index()].insert(addr);
            }
        }
        for &class in &self.classes_of_pool[pool.index()] {
            self.classes[class].available += 1;
        }
        true
    }

    /// Ends the reuse delay of addresses freed before `limit`. Returns when the next one ends, as its release time.
    pub(super) fn cool(&mut self, limit: Time) -> Option<Time> {
        while let Some(&(since, addr)) = self.cooling_by_time.first() {
            if since > limit {
                return Some(since);
            }
            self.cooling_by_time.pop_first();
            self.cooling.remove(&addr);
            if let Some(pool) = self.topology.pool_of(addr) {
                self.cooling_of_pool[pool.index()] -= 1;
                self.free[pool.index()].insert(addr);
            }
        }
        None
    }

    /// Release times that still count, to carry over to a new configuration.
    pub(super) fn cooling(&self) -> impl Iterator<Item = (Addr, Time)> + '_ {
        self.cooling.iter().map(|(&addr, &since)| (addr, since))
    }

    /// The first free address of the pools in their order, else the one freed longest ago.
    pub(super) fn pick(&self, pools: &[PoolId]) -> Option<Addr> {
        let free = pools.iter().find_map(|pool| {
            let set = &self.free[pool.index()];
            set.runs().next().map(|run| run.first())
        });
        free.or_else(|| {
            if pools.iter().all(|pool| self.cooling_of_pool[pool.index()] == 0) {
                return None;
            }
            self.cooling_by_time.iter().map(|&(_, addr)| addr).find(|&addr| self.in_pools(addr, pools))
        })
    }

    fn in_pools(&self, addr: Addr, pools: &[PoolId]) -> bool {
        self.topology.pool_of(addr).is_some_and(|pool| pools.binary_search(&pool).is_ok())
    }

    /// Up to `limit` addresses of `parts`, in their order, that the pools can give now: (address, still cooling).
    pub(super) fn candidates(&self, pools: &[PoolId], parts: &[(IpRange, PoolId)], limit: usize) -> Vec<(Addr, bool)> {
        let parts = || parts.iter().filter(|(_, pool)| pools.binary_search(pool).is_ok());
        let mut found: Vec<(Addr, bool)> = Vec::new();
        for (part, pool) in parts() {
            for addr in self.free[pool.index()].iter_in(part).take(limit) {
                if !found.iter().any(|&(known, _)| known == addr) {
                    found.push((addr, false));
                }
            }
            if found.len() >= limit {
                found.truncate(limit);
                return found;
            }
        }
        if self.cooling.is_empty() {
            return found;
        }
        for (part, _) in parts() {
            let room = limit - found.len();
            for (&addr, _) in self.cooling.range(part.first()..=part.last()).take(room) {
                if !found.iter().any(|&(known, _)| known == addr) {
                    found.push((addr, true));
                }
            }
            if found.len() >= limit {
                break;
            }
        }
        found
    }

    /// The free runs, pool by pool.
    pub(super) fn free_runs(&self) -> impl Iterator<Item = IpRange> + '_ {
        self.free.iter().flat_map(FreeSet::runs)
    }

    /// Recomputes the counters of every class from scratch and compares.
    pub(super) fn check(&self) {
        for class in &self.classes {
            let available: u128 = class.pools.iter().map(|&pool| self.available_in_pool(pool)).sum();
            assert_eq!(class.available, available, "free addresses of node class {:?}", class.pools);
        }
        assert_eq!(self.cooling.len(), self.cooling_by_time.len(), "cooling index");
        for (pool, &count) in self.cooling_of_pool.iter().enumerate() {
            let real = self.cooling.keys().filter(|&&addr| self.topology.pool_of(addr) == Some(PoolId(pool as u32)));
            assert_eq!(count, real.count() as u64, "cooling addresses of pool {pool}");
        }
        for &addr in self.cooling.keys() {
            assert!(!self.free.iter().any(|set| set.contains(addr)), "{addr} is free and cooling");
        }
    }
}
