//! From a configuration to a [`Topology`]: every check, then the look-ups.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;

use super::{
    Class, ClassId, MAX_VLAN, Pool, PoolConfig, PoolId, PoolName, PrefixLevel, Topology, TopologyError, Unusable,
    Warning,
};
use crate::addr::{Addr, Family};
use crate::range::{IpRange, RangeSet};

pub(super) fn build(configs: Vec<PoolConfig>) -> Result<(Topology, Vec<Warning>), TopologyError> {
    if configs.is_empty() {
        return Err(TopologyError::NoPools);
    }
    let mut warnings = Vec::new();
    let mut pools = Vec::with_capacity(configs.len());
    for (config, place) in configs.into_iter().zip(0..) {
        pools.push(check(place, config, &mut warnings)?);
    }
    pools.sort_by_key(|pool| (Addr::from(pool.gateway), pool.ranges.first().copied(), pool.name.place));
    for (pool, index) in pools.iter_mut().zip(0..) {
        pool.index = PoolId(index);
    }
    let ranges = all_ranges(&pools)?;
    let mut topology = Topology { ranges, ..Topology::default() };
    exclude_unusable(&mut pools, &topology, &mut warnings);
    intern_classes(&mut topology, &pools);
    topology.pools = pools;
    Ok((topology, warnings))
}

/// The checks of one pool, in the order the original makes them.
fn check(place: u32, config: PoolConfig, warnings: &mut Vec<Warning>) -> Result<Pool, TopologyError> {
    let PoolConfig { node_subnets, ranges, subnet, gateway, vlan } = config;
    let prefix_len = subnet.prefix_len();
    let name = PoolName { place, gateway, prefix_len };

    if node_subnets.is_empty() {
        return Err(TopologyError::NoNodeSubnets { pool: name });
    }
    let node_addrs = node_subnets.iter().map(|subnet| ("nodeSubnets", subnet.addr()));
    for (member, value) in node_addrs.chain([("gateway", gateway)]) {
        let plain = value.to_canonical();
        if plain != value {
            return Err(TopologyError::Mapped { pool: name, member, value, plain });
        }
    }
    let family = Family::of(gateway);
    let network = match IpNet::new(gateway, prefix_len) {
        Ok(network) if Family::of(subnet.addr()) == family => network.trunc(),
        _ => {
            return Err(TopologyError::SubnetFamily { pool: name, subnet, gateway });
        }
    };
    let mut previous: Option<IpRange> = None;
    for &range in &ranges {
        if range.intersect(&network.into()) != Some(range) {
            return Err(TopologyError::OutsideNetwork { pool: name, range, network });
        }
        if let Some(previous) = previous {
            if range.first() <= previous.last() {
                return Err(TopologyError::NotAscending { pool: name, previous, range });
            }
            if previous.last().next() == Some(range.first()) {
                return Err(TopologyError::Adjacent { pool: name, previous, range });
            }
        }
        previous = Some(range);
    }
    if vlan > MAX_VLAN {
        return Err(TopologyError::Vlan { pool: name, vlan });
    }
    if subnet.trunc() != network {
        warnings.push(Warning::SubnetIgnored { pool: name, subnet, network });
    }

    let mut seen = BTreeSet::new();
    let node_subnets = node_subnets.iter().map(IpNet::trunc).filter(|subnet| seen.insert(*subnet)).collect();
    let usable = RangeSet::from_ranges(ranges.iter().copied());
    Ok(Pool { index: PoolId(0), name, network, prefix_len, gateway, vlan, node_subnets, ranges, usable })
}

/// The ranges of all pools in order, which must not overlap.
fn all_ranges(pools: &[Pool]) -> Result<Vec<(IpRange, PoolId)>, TopologyError> {
    let mut ranges: Vec<(IpRange, PoolId)> =
        pools.iter().flat_map(|pool| pool.ranges.iter().map(|range| (*range, pool.index))).collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let [(a, pool_a), (b, pool_b)] = [pair[0], pair[1]];
        if a.intersect(&b).is_some() {
            let mut sides = [(pools[pool_a.index()].name, a), (pools[pool_b.index()].name, b)];
            sides.sort_unstable();
            let [(first, first_range), (second, second_range)] = sides;
            return Err(TopologyError::Overlap { first, first_range, second, second_range });
        }
    }
    Ok(ranges)
}

/// Takes out what no pod can have: a network's own special addresses, and the gateway of any pool, since pools may share
/// a wire.
fn exclude_unusable(pools: &mut [Pool], topology: &Topology, warnings: &mut Vec<Warning>) {
    let mut unusable: BTreeMap<(PoolId, Addr), (Unusable, IpNet)> = BTreeMap::new();
    for pool in pools.iter() {
        for (addr, why) in special_addresses(pool) {
            if topology.pool_of(addr) == Some(pool.index) {
                unusable.insert((pool.index, addr), (why, pool.network));
            }
        }
        let gateway = pool.gateway.into();
        if let Some(owner) = topology.pool_of(gateway) {
            unusable.insert((owner, gateway), (Unusable::Gateway, pool.network));
        }
    }
    for ((id, addr), (why, network)) in unusable {
        let pool = &mut pools[id.index()];
        pool.usable.remove(IpRange::single(addr));
        let range = pool.ranges[pool.ranges.partition_point(|range| range.last() < addr)];
        warnings.push(Warning::NeverHandedOut { pool: pool.name, range, addr, why, network });
    }
}

/// The addresses that mean something else in the pool's network. A point-to-point link (RFC 3021, RFC 6164) and a single
/// host have none; IPv6 has no broadcast.
fn special_addresses(pool: &Pool) -> Vec<(Addr, Unusable)> {
    let network = IpRange::from(pool.network);
    let family = network.family();
    match family {
        _ if family.bits() - pool.prefix_len <= 1 => vec![],
        Family::V4 => vec![(network.first(), Unusable::Network), (network.last(), Unusable::Broadcast)],
        Family::V6 => vec![(network.first(), Unusable::RouterAnycast)],
    }
}

/// Numbers the distinct sets of pools that nodes can reach. Prefixes nest or are disjoint, so the set of an address is
/// the set of the longest prefix that holds it: the pools of that prefix and of all prefixes around it.
fn intern_classes(topology: &mut Topology, pools: &[Pool]) {
    let mut own: BTreeMap<(Family, u8, IpNet), BTreeSet<PoolId>> = BTreeMap::new();
    for pool in pools {
        for &subnet in &pool.node_subnets {
            own.entry((Family::of(subnet.addr()), subnet.prefix_len(), subnet)).or_default().insert(pool.index);
        }
    }
    let mut ids: HashMap<Vec<PoolId>, ClassId> = HashMap::new();
    // Shortest first, so that the prefixes around one are there before it.
    for ((family, len, subnet), mut set) in own {
        if let Some(around) = topology.class_of(subnet.addr()) {
            set.extend(topology.class_pools(around));
        }
        let set: Vec<PoolId> = set.into_iter().collect();
        let next = ClassId(topology.classes.len() as u32);
        let class = *ids.entry(set).or_insert_with_key(|set| {
            topology.classes.push(Class { pools: set.clone(), subnets: Vec::new() });
            next
        });
        topology.classes[class.index()].subnets.push(subnet);
        match topology.prefixes.first_mut() {
            Some(level) if (level.family, level.len) == (family, len) => {
                level.classes.insert(subnet, class);
            }
            _ => topology.prefixes.insert(0, PrefixLevel { family, len, classes: HashMap::from([(subnet, class)]) }),
        }
    }
    topology.classes_of_pool = vec![Vec::new(); pools.len()];
    for (class, id) in topology.classes.iter_mut().zip(0..) {
        class.subnets.sort_unstable();
        for pool in &class.pools {
            topology.classes_of_pool[pool.index()].push(ClassId(id));
        }
    }
}
