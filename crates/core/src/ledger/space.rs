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
use crate::topology::{Pool, PoolId, Topology};

/// Nodes that reach the same set of pools are of one class.
pub(super) type Class = usize;

#[derive(Default)]
pub(super) struct Space {
    pub(super) topology: Arc<Topology>,
    /// Everything that may be handed out, ascending, and how much that is.
    usable: Vec<IpRange>,
    total: u128,
    pools: Vec<PoolSpace>,
    classes: Vec<NodeClass>,
    class_of_pools: HashMap<Vec<PoolId>, Class>,
}

#[derive(Default)]
struct PoolSpace {
    free: FreeSet,
    /// Freed within the reuse delay: taken last (rule 9).
    cooling: BTreeMap<Addr, Time>,
    cooling_by_time: BTreeSet<(Time, Addr)>,
    classes: Vec<Class>,
}

impl PoolSpace {
    fn available(&self) -> u128 {
        self.free.len() + self.cooling.len() as u128
    }

    fn is_available(&self, addr: Addr) -> bool {
        self.free.contains(addr) || self.cooling.contains_key(&addr)
    }
}

struct NodeClass {
    pools: Vec<PoolId>,
    available: u128,
    total: u128,
}

impl Space {
    /// Everything that `topology` lets be handed out is free, until taken.
    pub(super) fn new(topology: Topology) -> Self {
        let free = |pool: &Pool| PoolSpace { free: pool.usable.iter().collect(), ..PoolSpace::default() };
        let pools = topology.pools().iter().map(free).collect();
        let mut usable: Vec<IpRange> = topology.pools().iter().flat_map(|pool| pool.usable.iter()).collect();
        usable.sort_unstable();
        let total = usable.iter().map(IpRange::len).fold(0, u128::saturating_add);
        Space { topology: Arc::new(topology), usable, total, pools, ..Space::default() }
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
            self.pools[pool.index()].classes.push(class);
        }
        let available = pools.iter().map(|&pool| self.available_in_pool(pool)).sum();
        let total = pools.iter().map(|&pool| self.topology.pool(pool).usable.len()).fold(0, u128::saturating_add);
        self.class_of_pools.insert(pools.clone(), class);
        self.classes.push(NodeClass { pools, available, total });
        Some(class)
    }

    /// Everything that may be handed out, ascending.
    pub(super) fn usable(&self) -> &[IpRange] {
        &self.usable
    }

    /// How many addresses may be handed out, at most `u128::MAX`.
    pub(super) fn usable_total(&self) -> u128 {
        self.total
    }

    pub(super) fn available_in_pool(&self, pool: PoolId) -> u128 {
        self.pools[pool.index()].available()
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
        self.topology.pool_of(addr).is_some_and(|pool| self.pools[pool.index()].is_available(addr))
    }

    /// Takes an address out of the free ones. Returns what [`Space::give`] needs to give it back as it was; none if it
    /// was not free.
    pub(super) fn take(&mut self, addr: Addr) -> Option<Option<Time>> {
        let id = self.topology.pool_of(addr)?;
        let pool = &mut self.pools[id.index()];
        let mut freed_at = None;
        if !pool.free.remove(addr) {
            let since = pool.cooling.remove(&addr)?;
            pool.cooling_by_time.remove(&(since, addr));
            freed_at = Some(since);
        }
        for &class in &pool.classes {
            self.classes[class].available -= 1;
        }
        Some(freed_at)
    }

    /// Gives an address back; `freed_at` makes it one of those taken last. True if it can be handed out now.
    pub(super) fn give(&mut self, addr: Addr, freed_at: Option<Time>) -> bool {
        let Some(id) = self.topology.pool_of(addr).filter(|_| self.topology.is_usable(addr)) else { return false };
        let pool = &mut self.pools[id.index()];
        if pool.is_available(addr) {
            return false;
        }
        match freed_at {
            Some(since) => {
                pool.cooling.insert(addr, since);
                pool.cooling_by_time.insert((since, addr));
            }
            None => {
                pool.free.insert(addr);
            }
        }
        for &class in &pool.classes {
            self.classes[class].available += 1;
        }
        true
    }

    /// Ends the reuse delay of addresses freed before `limit`. Returns when the next one ends, as its release time.
    pub(super) fn cool(&mut self, limit: Time) -> Option<Time> {
        let mut next: Option<Time> = None;
        for pool in &mut self.pools {
            while let Some(&(since, addr)) = pool.cooling_by_time.first() {
                if since > limit {
                    next = Some(next.map_or(since, |next| next.min(since)));
                    break;
                }
                pool.cooling_by_time.pop_first();
                pool.cooling.remove(&addr);
                pool.free.insert(addr);
            }
        }
        next
    }

    /// Release times that still count, to carry over to a new configuration.
    pub(super) fn cooling(&self) -> impl Iterator<Item = (Addr, Time)> + '_ {
        self.pools.iter().flat_map(|pool| &pool.cooling).map(|(&addr, &since)| (addr, since))
    }

    /// The first free address of the pools in their order, else the one freed longest ago.
    pub(super) fn pick(&self, pools: &[PoolId]) -> Option<Addr> {
        let pools = || pools.iter().map(|pool| &self.pools[pool.index()]);
        let free = pools().find_map(|pool| pool.free.runs().next().map(|run| run.first()));
        free.or_else(|| pools().filter_map(|pool| pool.cooling_by_time.first()).min().map(|&(_, addr)| addr))
    }

    /// The addresses of `part` that the pool can give at once, ascending and lazy.
    pub(super) fn free_in(&self, pool: PoolId, part: &IpRange) -> impl Iterator<Item = Addr> + '_ {
        self.pools[pool.index()].free.iter_in(part)
    }

    /// The addresses of `part` that the pool takes last, ascending and lazy.
    pub(super) fn cooling_in(&self, pool: PoolId, part: &IpRange) -> impl Iterator<Item = Addr> + '_ {
        self.pools[pool.index()].cooling.range(part.first()..=part.last()).map(|(&addr, _)| addr)
    }

    /// Whether the pool has addresses that were freed within the reuse delay.
    pub(super) fn is_cooling(&self, pool: PoolId) -> bool {
        !self.pools[pool.index()].cooling.is_empty()
    }

    /// Recomputes the counters of every class from scratch and compares.
    pub(super) fn check(&self) {
        for class in &self.classes {
            let available: u128 = class.pools.iter().map(|&pool| self.available_in_pool(pool)).sum();
            assert_eq!(class.available, available, "free addresses of node class {:?}", class.pools);
        }
        for (index, pool) in self.pools.iter().enumerate() {
            let by_time: BTreeSet<(Time, Addr)> = pool.cooling.iter().map(|(&addr, &since)| (since, addr)).collect();
            assert_eq!(by_time, pool.cooling_by_time, "cooling addresses of pool {index} by time");
            for &addr in pool.cooling.keys() {
                assert_eq!(self.topology.pool_of(addr), Some(PoolId(index as u32)), "pool of {addr}, which is cooling");
                assert!(!pool.free.contains(addr), "{addr} is free and cooling");
            }
        }
    }
}
