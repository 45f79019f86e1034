//! Bridges: one for the underlay device, which hands its addresses and routes over, and one for each VLAN.

use super::{bridge, enslave};
use crate::{
    netlink::{Link, LinkKind, Net, NextHop, Route},
    spec::Error,
    undo::Undo,
};

/// The bridge that `device` is a port of, made if need be; the device's addresses and routes move to it.
///
/// The order keeps the node reachable, and lets a repetition finish what was interrupted at any point: the bridge gets
/// an address before the device loses it, and routes are replaced in place.
pub(crate) fn default_bridge(net: &mut Net, device: &Link, name: &str, done: &mut Vec<Undo>) -> Result<Link, Error> {
    let bridge = bridge(net, name, device, done)?;
    if device.master.is_some_and(|master| master != bridge.index) {
        let msg = format!(
            "device {} is a port of another bridge than {name}; set `default_bridge_name` to that one, or free the device",
            device.name
        );
        return Err(Error::config(msg));
    }
    enslave(net, device, &bridge, done)?;
    hand_over(net, device, &bridge, done).map_err(|error| {
        Error::network(format!("cannot move addresses and routes from device {} to bridge {name}", device.name), &error)
    })?;
    Ok(bridge)
}

fn hand_over(net: &mut Net, device: &Link, bridge: &Link, done: &mut Vec<Undo>) -> std::io::Result<()> {
    let mut addresses = net.addresses(Some(device.index))?;
    addresses.retain(|address| address.global);
    if addresses.is_empty() {
        return Ok(());
    }
    let mut routes = net.routes()?;
    routes.retain(|route| route.index == device.index && !route.by_kernel && !is_link_local(route));
    // Gateways are reached by routes on the link, which must move first.
    routes.sort_by_key(|route| matches!(route.hop, NextHop::Gateway(_)));
    for address in &addresses {
        net.add_address(bridge.index, address.net, true)?;
        done.push(Undo::Address(bridge.index, address.net));
    }
    for route in &routes {
        net.replace_route(&Route { index: bridge.index, ..route.clone() })?;
        done.push(Undo::Route(route.clone()));
    }
    for address in &addresses {
        net.delete_address(device.index, address.net)?;
        done.push(Undo::Return(device.index, address.net));
    }
    Ok(())
}

fn is_link_local(route: &Route) -> bool {
    matches!(route.dst.addr(), std::net::IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_multicast())
}

/// The bridge that a VLAN device is a port of, or a new one of this name.
pub(crate) fn vlan_bridge(net: &mut Net, vlan: &Link, name: &str, done: &mut Vec<Undo>) -> Result<Link, Error> {
    if let Some(master) = vlan.master {
        let found = net.link_at(master);
        let found =
            found.map_err(|error| Error::network(format!("cannot look up the bridge of {}", vlan.name), &error))?;
        return found.filter(|link| link.kind == LinkKind::Bridge).ok_or_else(|| {
            Error::config(format!("VLAN device {} is part of something that is no bridge; free it", vlan.name))
        });
    }
    let bridge = bridge(net, name, vlan, done)?;
    enslave(net, vlan, &bridge, done)?;
    Ok(bridge)
}
