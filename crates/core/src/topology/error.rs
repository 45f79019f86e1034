//! What is wrong, or odd, in a configuration. Members are called by their JSON names.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::MAX_VLAN;
use crate::addr::Addr;
use crate::range::IpRange;

/// How messages call a pool: its place in the configuration, from 0, and its gateway with prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolName {
    /// Place in the configuration's array, from 0.
    pub place: u32,
    /// The pool's gateway.
    pub gateway: IpAddr,
    /// The pool's prefix length in bits.
    pub prefix_len: u8,
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {} (gateway {}/{})", self.place, self.gateway, self.prefix_len)
    }
}

/// Why a configuration was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// The array is empty.
    #[error("no pool is configured; list at least one (to stop handing out addresses, leave a pool with empty `ips`)")]
    NoPools,
    /// A pool without node subnets would serve no node.
    #[error(
        "{pool}: `nodeSubnets` is empty; name at least one CIDR that holds node addresses, such as \"10.0.0.0/16\""
    )]
    NoNodeSubnets {
        /// The pool.
        pool: PoolName,
    },
    /// An IPv4 address in IPv6 clothes would be a second name for the same address.
    #[error("{pool}: `{member}` has {value}, an IPv4-mapped IPv6 address; write {plain}")]
    Mapped {
        /// The pool.
        pool: PoolName,
        /// The JSON member.
        member: &'static str,
        /// The address as written.
        value: IpAddr,
        /// The address it stands for.
        plain: IpAddr,
    },
    /// Gateway and subnet are of different families.
    #[error(
        "{pool}: `subnet` {subnet} and `gateway` {gateway} are not of one family; write both as IPv4 or both as IPv6"
    )]
    SubnetFamily {
        /// The pool.
        pool: PoolName,
        /// The subnet as written.
        subnet: IpNet,
        /// The gateway.
        gateway: IpAddr,
    },
    /// A range leaves the pool's network.
    #[error(
        "{pool}: `ips` range {range} is not inside {network} (`gateway` masked by `subnet`); shorten it or correct those"
    )]
    OutsideNetwork {
        /// The pool.
        pool: PoolName,
        /// The range.
        range: IpRange,
        /// The pool's network.
        network: IpNet,
    },
    /// A range begins before the previous one ends.
    #[error(
        "{pool}: `ips` range {range} does not come after {previous}; write the ranges in ascending order, none overlapping"
    )]
    NotAscending {
        /// The pool.
        pool: PoolName,
        /// The range before it.
        previous: IpRange,
        /// The range.
        range: IpRange,
    },
    /// A range begins right where the previous one ends.
    #[error("{pool}: `ips` ranges {previous} and {range} are adjacent; write them as one, {}~{}", previous.first(), range.last())]
    Adjacent {
        /// The pool.
        pool: PoolName,
        /// The range before it.
        previous: IpRange,
        /// The range.
        range: IpRange,
    },
    /// The VLAN id does not exist.
    #[error("{pool}: `vlan` {vlan} is not a VLAN id; use 1 to {MAX_VLAN}, or 0 for untagged")]
    Vlan {
        /// The pool.
        pool: PoolName,
        /// The id.
        vlan: u16,
    },
    /// Two pools own the same addresses.
    #[error(
        "{first} and {second}: `ips` ranges {first_range} and {second_range} overlap; an address may be in one pool only"
    )]
    Overlap {
        /// The pool that comes first in the configuration.
        first: PoolName,
        /// Its range.
        first_range: IpRange,
        /// The other pool.
        second: PoolName,
        /// Its range.
        second_range: IpRange,
    },
}

/// Why an address is never handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unusable {
    /// The network address of the pool's IPv4 network.
    Network,
    /// The broadcast address of the pool's IPv4 network.
    Broadcast,
    /// The subnet-router anycast address of the pool's IPv6 network (RFC 4291, 2.6.1).
    RouterAnycast,
    /// The gateway of this pool or of another.
    Gateway,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unusable::Network => "the network address",
            Unusable::Broadcast => "the broadcast address",
            Unusable::RouterAnycast => "the subnet-router anycast address",
            Unusable::Gateway => "a gateway",
        })
    }
}

/// Something odd in a configuration that is in force all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A range holds an address that no pod can have.
    #[error("{pool}: `ips` range {range} contains {addr}, {why} of {network}; it is never handed out")]
    NeverHandedOut {
        /// The pool.
        pool: PoolName,
        /// The range as configured.
        range: IpRange,
        /// The address.
        addr: Addr,
        /// What the address is.
        why: Unusable,
        /// The network whose address it is.
        network: IpNet,
    },
    /// The address part of `subnet` is not the gateway's network.
    #[error(
        "{pool}: `subnet` {subnet} does not hold the gateway; only its prefix length counts, the network is {network}"
    )]
    SubnetIgnored {
        /// The pool.
        pool: PoolName,
        /// The subnet as written.
        subnet: IpNet,
        /// The network in force.
        network: IpNet,
    },
}
