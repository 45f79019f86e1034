//! Addresses of devices.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
};

use super::{Net, family, gone_is_fine, there_is_fine};

/// An address of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of the device.
    pub index: u32,
    /// The address with its prefix length.
    pub net: IpNet,
    /// Reaches beyond the link and the host.
    pub global: bool,
}

impl Net {
    /// All addresses, of one device or of all.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn addresses(&mut self, index: Option<u32>) -> io::Result<Vec<Address>> {
        let answers = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let all = answers.into_iter().filter_map(read);
        Ok(all.filter(|address| index.is_none_or(|index| address.index == index)).collect())
    }

    /// Gives a device an address, usable at once; one that it has is kept.
    ///
    /// Without `connected`, the kernel makes no route to the subnet.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn add_address(&mut self, index: u32, net: IpNet, connected: bool) -> io::Result<()> {
        let mut message = address(index, net);
        let mut flags = AddressFlags::empty();
        if net.addr().is_ipv6() {
            flags |= AddressFlags::Nodad;
        }
        if !connected {
            flags |= AddressFlags::Noprefixroute;
        }
        message.attributes.push(AddressAttribute::Flags(flags));
        if let (IpNet::V4(v4), true) = (net, net.prefix_len() < 31) {
            message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
        }
        there_is_fine(self.create(RouteNetlinkMessage::NewAddress(message)))
    }

    /// Takes an address from a device; one that is gone is no error.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn delete_address(&mut self, index: u32, net: IpNet) -> io::Result<()> {
        gone_is_fine(self.request(RouteNetlinkMessage::DelAddress(address(index, net))))
    }
}

fn address(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(net.addr());
    message.header.prefix_len = net.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(net.addr()), AddressAttribute::Address(net.addr())];
    message
}

fn read(answer: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(ip) if local => Some(*ip),
            AddressAttribute::Address(ip) if !local => Some(*ip),
            _ => None,
        })
    };
    let ip: IpAddr = find(true).or_else(|| find(false))?;
    Some(Address {
        index: message.header.index,
        net: IpNet::new(ip, message.header.prefix_len).ok()?,
        global: message.header.scope == AddressScope::Universe,
    })
}
