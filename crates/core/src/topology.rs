//! Pools of addresses and which nodes reach them, built from the configuration in one piece.

mod build;
mod error;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::addr::{Addr, Family};
use crate::range::{IpRange, RangeSet};

pub use error::{PoolName, TopologyError, Unusable, Warning};

/// The highest VLAN id (IEEE 802.1Q; 4095 is reserved).
pub const MAX_VLAN: u16 = 4094;

/// One pool as the configuration gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// `nodeSubnets`: the nodes that can route this pool's addresses.
    pub node_subnets: Vec<IpNet>,
    /// `ips`
    pub ranges: Vec<IpRange>,
    /// `subnet`: only its prefix length counts, the network is the gateway's.
    pub subnet: IpNet,
    /// `gateway`
    pub gateway: IpAddr,
    /// `vlan`; 0 is untagged.
    pub vlan: u16,
}

/// Position of a pool in [`Topology::pools`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

impl PoolId {
    /// As an index into [`Topology::pools`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A class of nodes: those that reach the same set of pools. Classes are numbered from 0 to [`Topology::classes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

impl ClassId {
    /// As an index into anything kept per class.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A checked pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Position in [`Topology::pools`].
    pub index: PoolId,
    /// How messages call it.
    pub name: PoolName,
    /// The pool's network: the gateway masked by [`Pool::prefix_len`].
    pub network: IpNet,
    /// Prefix length of the addresses handed out, in bits.
    pub prefix_len: u8,
    /// Default gateway of the addresses.
    pub gateway: IpAddr,
    /// VLAN id; 0 is untagged.
    pub vlan: u16,
    /// Node subnets, masked, each once, in the order of the configuration.
    pub node_subnets: Vec<IpNet>,
    /// Ranges as configured: ascending, disjoint, not adjacent.
    pub ranges: Vec<IpRange>,
    /// The addresses that may be handed out: the ranges without network, broadcast and gateway addresses.
    pub usable: RangeSet,
}

/// Every pool, and the look-ups that decisions need. The default has no pools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    pools: Vec<Pool>,
    /// Configured ranges of all pools, ascending and disjoint.
    ranges: Vec<(IpRange, PoolId)>,
    classes: Vec<Class>,
    /// The classes that reach each pool, ascending.
    classes_of_pool: Vec<Vec<ClassId>>,
    /// Node prefixes by family and length, longest first.
    prefixes: Vec<PrefixLevel>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    pools: Vec<PoolId>,
    subnets: Vec<IpNet>,
}

/// All node prefixes of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PrefixLevel {
    family: Family,
    len: u8,
    classes: HashMap<IpNet, ClassId>,
}

impl Topology {
    /// Checks a configuration and builds the look-ups; the whole is refused for the first mistake found.
    ///
    /// Pools are sorted by gateway, then by first range, so that the order they are written in does not matter.
    ///
    /// # Errors
    /// Names the pool by its place in the configuration, the member and the value.
    pub fn build(configs: Vec<PoolConfig>) -> Result<(Topology, Vec<Warning>), TopologyError> {
        build::build(configs)
    }

    /// All pools, by gateway.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// The pool with this id.
    ///
    /// # Panics
    /// When the id is another topology's and out of range here.
    pub fn pool(&self, id: PoolId) -> &Pool {
        &self.pools[id.index()]
    }

    /// The pool whose configured ranges contain `addr`, even if it is never handed out. O(log ranges).
    pub fn pool_of(&self, addr: Addr) -> Option<PoolId> {
        let i = self.ranges.partition_point(|(range, _)| range.last() < addr);
        self.ranges.get(i).filter(|(range, _)| range.contains(addr)).map(|&(_, pool)| pool)
    }

    /// Whether `addr` may be handed out: in a configured range and neither network, broadcast nor gateway address.
    pub fn is_usable(&self, addr: Addr) -> bool {
        self.pool_of(addr).is_some_and(|pool| self.pool(pool).usable.contains(addr))
    }

    /// The parts of `range` that lie in configured ranges, with their pools, ascending. O(log ranges) plus what it yields.
    pub fn clip(&self, range: &IpRange) -> impl Iterator<Item = (IpRange, PoolId)> + '_ {
        let range = *range;
        let i = self.ranges.partition_point(|(r, _)| r.last() < range.first());
        self.ranges[i..].iter().map_while(move |(r, pool)| r.intersect(&range).map(|part| (part, *pool)))
    }

    /// The class of a node with this address; none if it is in no node subnet.
    ///
    /// An address in several node subnets reaches the pools of all of them. O(distinct prefix lengths).
    pub fn class_of(&self, ip: IpAddr) -> Option<ClassId> {
        let ip = ip.to_canonical();
        let family = Family::of(ip);
        self.prefixes.iter().filter(|level| level.family == family).find_map(|level| {
            let prefix = IpNet::new(ip, level.len).ok()?.trunc();
            level.classes.get(&prefix).copied()
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// The pools that nodes of a class reach, ascending, at least one.
    ///
    /// # Panics
    /// When the id is another topology's and out of range here.
    pub fn class_pools(&self, class: ClassId) -> &[PoolId] {
        &self.classes[class.index()].pools
    }

    /// The node subnets whose nodes are of this class, ascending: each as narrow as the configuration has it, so a node
    /// in a narrower subnet within one of them may be of another class.
    ///
    /// # Panics
    /// When the id is another topology's and out of range here.
    pub fn subnets_of_class(&self, class: ClassId) -> &[IpNet] {
        &self.classes[class.index()].subnets
    }

    /// The classes whose nodes reach a pool, ascending, at least one.
    ///
    /// # Panics
    /// When the id is another topology's and out of range here.
    pub fn classes_of_pool(&self, pool: PoolId) -> &[ClassId] {
        &self.classes_of_pool[pool.index()]
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
