//! galaxy-k8s-vlan: pods on bridges, or with macvlans or ipvlans, with or without VLANs.

use ipnet::{IpNet, Ipv4Net};

use super::config::{Config, Switch};
use crate::{
    attach::Ground,
    device::{default_bridge, parent_of, vlan_bridge, vlan_device},
    ipam::Wanted,
    netlink::{Link, Net},
    spec::{Error, Route},
    undo::Undo,
};

pub(super) fn grounds(
    config: &Config,
    net: &mut Net,
    wanted: &[Wanted],
    done: &mut Vec<Undo>,
) -> Result<Vec<Ground>, Error> {
    let device = config.device(net)?;
    let device = device.ok_or_else(|| Error::config("set `device` or `devices` to the underlay device"))?;
    let parent = parent_of(net, &device)?;
    let untagged = wanted.iter().any(|one| one.vlan == 0);
    let no_default_bridge = config.disable_default_bridge.unwrap_or(!untagged);
    let bridge = match config.switch {
        Switch::Bridge if !no_default_bridge => Some(default_bridge(net, &device, &config.default_bridge_name, done)?),
        _ => None,
    };
    let mut grounds: Vec<Ground> = Vec::with_capacity(wanted.len());
    for (index, one) in wanted.iter().enumerate() {
        if let Some(same) = wanted[..index].iter().position(|other| other.vlan == one.vlan) {
            grounds.push(grounds[same].clone());
            continue;
        }
        let on: Link = match one.vlan {
            0 => device.clone(),
            id => vlan_device(net, &parent, id, &config.vlan_name_prefix, done)?,
        };
        grounds.push(match (config.switch, one.vlan) {
            (Switch::Macvlan, _) => Ground::Macvlan(on),
            (Switch::Ipvlan(mode), _) => Ground::Ipvlan(on, mode),
            (Switch::Pure, 0) => Ground::Routed(on),
            (Switch::Bridge, 0) => {
                let bridge = bridge.clone().ok_or_else(|| {
                    let ip = one.net.addr();
                    Error::config(format!("address {ip} has no VLAN, but disable_default_bridge is set; unset it"))
                })?;
                Ground::Bridge(Link { mtu: on.mtu, ..bridge })
            }
            (Switch::Bridge | Switch::Pure, id) => {
                let bridge = vlan_bridge(net, &on, &format!("{}{id}", config.bridge_name_prefix), done)?;
                Ground::Bridge(Link { mtu: on.mtu, ..bridge })
            }
        });
    }
    Ok(grounds)
}

/// Of exactly two IPv4 addresses the first leads to private networks and the second to all others; else every
/// interface asks for its routes, and the first gets them.
pub(super) fn routes(wanted: &[Wanted]) -> Vec<Vec<Route>> {
    let mut routes: Vec<Vec<Route>> = wanted.iter().map(|one| one.routes.clone()).collect();
    if let ([first, second], [of_first, _]) = (wanted, routes.as_mut_slice())
        && first.net.addr().is_ipv4()
        && second.net.addr().is_ipv4()
    {
        of_first.retain(|route| route.dst.prefix_len() > 0);
        of_first.extend(PRIVATE.map(|dst| Route { dst: IpNet::V4(dst), gw: None }));
    }
    routes
}

const PRIVATE: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(192, 168, 0, 0), 16),
];
