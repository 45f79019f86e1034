//! galaxy-underlay-veth: pods behind the host, which routes to them and answers for them on the underlay.

use super::config::Config;
use crate::{
    attach::Ground,
    device::{existing_vlan, parent_of},
    ipam::Wanted,
    netlink::Net,
    spec::{Error, Route},
};

pub(super) fn grounds(config: &Config, net: &mut Net, wanted: &[Wanted]) -> Result<Vec<Ground>, Error> {
    let device = config.device(net)?;
    let parent = device.as_ref().map(|device| parent_of(net, device)).transpose()?;
    let mut grounds: Vec<Ground> = Vec::with_capacity(wanted.len());
    for (index, one) in wanted.iter().enumerate() {
        let same = wanted[..index].iter().position(|other| other.vlan == one.vlan);
        let ground = match (same, one.vlan, &device) {
            (Some(same), ..) => grounds[same].clone(),
            (None, 0, Some(device)) => Ground::Routed(device.clone()),
            (None, 0, None) => {
                let msg = format!("address {} has no VLAN; set `device` to the underlay device", one.net.addr());
                return Err(Error::config(msg));
            }
            (None, vlan, _) => Ground::Routed(existing_vlan(net, parent.as_ref(), vlan)?),
        };
        grounds.push(ground);
    }
    Ok(grounds)
}

/// The first interface of each family has the routes; the others only their subnets.
pub(super) fn routes(wanted: &[Wanted]) -> Vec<Vec<Route>> {
    let first = |index: usize| {
        let v4 = wanted[index].net.addr().is_ipv4();
        wanted[..index].iter().all(|other| other.net.addr().is_ipv4() != v4)
    };
    (0..wanted.len()).map(|index| if first(index) { wanted[index].routes.clone() } else { Vec::new() }).collect()
}
