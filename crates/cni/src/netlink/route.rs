//! Routes, rules, and addresses that a device answers for.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{Net, family, gone_is_fine, there_is_fine};

/// The main routing table.
const MAIN: u32 = 254;

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHop {
    /// Straight to the destination.
    Link,
    /// By a gateway, on the link even if no route says so.
    Gateway(IpAddr),
    /// By a gateway to which a route of the same table leads. Only so can IPv6 use one gateway by several devices.
    Near(IpAddr),
}

/// A unicast route through one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Where it leads.
    pub hop: NextHop,
    /// Index of the device.
    pub index: u32,
    /// Preferred source.
    pub source: Option<IpAddr>,
    /// Metric; none is the kernel's default.
    pub metric: Option<u32>,
    /// Table; 254 is the main one.
    pub table: u32,
    /// Made by the kernel for an address.
    pub by_kernel: bool,
}

impl Route {
    /// A route of the main table.
    pub fn new(dst: IpNet, hop: NextHop, index: u32) -> Self {
        Route { dst, hop, index, source: None, metric: None, table: MAIN, by_kernel: false }
    }
}

/// A rule: packets from an address look into a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Source address.
    pub from: IpAddr,
    /// Table.
    pub table: u32,
}

impl Net {
    /// Unicast routes of both families in all tables, with one next hop.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn routes(&mut self) -> io::Result<Vec<Route>> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.dump(RouteNetlinkMessage::GetRoute(message))?;
            all.extend(answers.into_iter().filter_map(read));
        }
        Ok(all)
    }

    /// Whether packets for an address are taken in: the kernel adds the route of an IPv6 address some time after the address.
    ///
    /// # Errors
    /// Those of the kernel, but for those that say that there is no route.
    pub fn is_local(&mut self, addr: IpAddr) -> io::Result<bool> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(addr);
        message.header.destination_prefix_length = if addr.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(addr.into()));
        let local = |answer: &RouteNetlinkMessage| matches!(answer, RouteNetlinkMessage::NewRoute(found) if found.header.kind == RouteType::Local);
        match self.get(RouteNetlinkMessage::GetRoute(message)) {
            Ok(answers) => Ok(answers.iter().any(local)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// Those of the kernel; EEXIST if there is one to this destination with this metric.
    pub fn add_route(&mut self, route: &Route) -> io::Result<()> {
        self.create(RouteNetlinkMessage::NewRoute(write(route)))
    }

    /// Adds a route in the place of another one to the same destination with the same metric.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn replace_route(&mut self, route: &Route) -> io::Result<()> {
        self.replace(RouteNetlinkMessage::NewRoute(write(route)))
    }

    /// Deletes a route; one that is gone is no error.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn delete_route(&mut self, route: &Route) -> io::Result<()> {
        gone_is_fine(self.request(RouteNetlinkMessage::DelRoute(write(route))))
    }

    /// Rules from one address to one table.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn rules(&mut self) -> io::Result<Vec<Rule>> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let answers = self.dump(RouteNetlinkMessage::GetRule(message))?;
            all.extend(answers.into_iter().filter_map(read_rule));
        }
        Ok(all)
    }

    /// Adds a rule; one that is there is kept.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn add_rule(&mut self, rule: &Rule) -> io::Result<()> {
        there_is_fine(self.create(RouteNetlinkMessage::NewRule(write_rule(rule))))
    }

    /// Deletes a rule; one that is gone is no error.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn delete_rule(&mut self, rule: &Rule) -> io::Result<()> {
        gone_is_fine(self.request(RouteNetlinkMessage::DelRule(write_rule(rule))))
    }

    /// Makes a device answer for an address that it does not have.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn add_proxy(&mut self, index: u32, ip: IpAddr) -> io::Result<()> {
        there_is_fine(self.create(RouteNetlinkMessage::NewNeighbour(proxy(index, ip))))
    }

    /// Ends what [`Net::add_proxy`] began; not being there is no error.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn delete_proxy(&mut self, index: u32, ip: IpAddr) -> io::Result<()> {
        gone_is_fine(self.request(RouteNetlinkMessage::DelNeighbour(proxy(index, ip))))
    }

    /// All addresses that devices answer for without having them: index of the device, address.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn proxies(&mut self) -> io::Result<Vec<(u32, IpAddr)>> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            message.header.flags = NeighbourFlags::Proxy;
            for answer in self.dump(RouteNetlinkMessage::GetNeighbour(message))? {
                let RouteNetlinkMessage::NewNeighbour(message) = answer else { continue };
                let ip = message.attributes.iter().find_map(|attribute| match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
                    _ => None,
                });
                all.extend(ip.map(|ip| (message.header.ifindex, ip)));
            }
        }
        Ok(all)
    }
}

fn proxy(index: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = index;
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes = vec![NeighbourAttribute::Destination(match ip {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    })];
    message
}

fn write(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(route.dst.addr());
    header.destination_prefix_length = route.dst.prefix_len();
    header.protocol = RouteProtocol::Static;
    header.kind = RouteType::Unicast;
    header.scope = RouteScope::Universe;
    message.attributes = vec![RouteAttribute::Table(route.table), RouteAttribute::Oif(route.index)];
    if route.dst.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.dst.network().into()));
    }
    match route.hop {
        NextHop::Link if route.dst.addr().is_ipv4() => header.scope = RouteScope::Link,
        NextHop::Link => {}
        NextHop::Gateway(ip) => {
            header.flags = RouteFlags::Onlink;
            message.attributes.push(RouteAttribute::Gateway(ip.into()));
        }
        NextHop::Near(ip) => message.attributes.push(RouteAttribute::Gateway(ip.into())),
    }
    message.attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    message.attributes.extend(route.metric.map(RouteAttribute::Priority));
    message
}

fn read(answer: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => std::net::Ipv4Addr::UNSPECIFIED.into(),
        _ => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let (mut dst, mut index, mut table) = (any, None, u32::from(header.table));
    let (mut hop, mut source, mut metric) = (NextHop::Link, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => dst = ip(address)?,
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Table(id) => table = *id,
            RouteAttribute::Gateway(address) => hop = NextHop::Gateway(ip(address)?),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Priority(priority) => metric = Some(*priority),
            _ => {}
        }
    }
    Some(Route {
        dst: IpNet::new(dst, header.destination_prefix_length).ok()?,
        hop,
        index: index?,
        source,
        metric,
        table,
        by_kernel: header.protocol == RouteProtocol::Kernel,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// Before the main table, after rules that an administrator is likely to put first.
const PRIORITY: u32 = 20_000;

fn write_rule(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.from);
    message.header.src_len = if rule.from.is_ipv4() { 32 } else { 128 };
    message.header.action = RuleAction::ToTable;
    message.attributes =
        vec![RuleAttribute::Source(rule.from), RuleAttribute::Table(rule.table), RuleAttribute::Priority(PRIORITY)];
    message
}

fn read_rule(answer: RouteNetlinkMessage) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = answer else { return None };
    let (mut from, mut table, mut ours) = (None, u32::from(message.header.table), false);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(ip) => from = Some(*ip),
            RuleAttribute::Table(id) => table = *id,
            RuleAttribute::Priority(priority) => ours = *priority == PRIORITY,
            _ => {}
        }
    }
    from.filter(|_| ours).map(|from| Rule { from, table })
}
