//! Devices that pods share: the underlay device, VLAN devices and bridges on it.

mod bridge;
mod vlan;

pub(crate) use bridge::{default_bridge, vlan_bridge};
pub(crate) use vlan::{existing_vlan, parent_of, vlan_device};

use crate::{
    netlink::{Link, LinkKind, Net},
    spec::Error,
    undo::Undo,
};

/// The device of a name, which must exist.
pub(crate) fn device(net: &mut Net, name: &str) -> Result<Link, Error> {
    let found = net.link(name).map_err(|error| Error::network(format!("cannot look up device {name}"), &error))?;
    found.ok_or_else(|| {
        Error::config(format!("device {name} does not exist on this node; set `device` to one that does"))
    })
}

/// Sets a device up unless it is.
fn ensure_up(net: &mut Net, link: &Link) -> Result<(), Error> {
    if link.up {
        return Ok(());
    }
    net.set_up(link.index).map_err(|error| Error::network(format!("cannot set up device {}", link.name), &error))
}

/// The bridge of a name, created with the address of `like` if it is not there.
fn bridge(net: &mut Net, name: &str, like: &Link, done: &mut Vec<Undo>) -> Result<Link, Error> {
    let fail = |error| Error::network(format!("cannot create bridge {name}"), &error);
    let mut found = net.link(name).map_err(fail)?;
    if found.is_none() {
        net.create_bridge(name, like.mac).map_err(fail)?;
        done.push(Undo::Link(name.to_owned()));
        found = net.link(name).map_err(fail)?;
        if let Some(link) = &mut found {
            // A bridge follows the least of its ports, a pod's included, until it is told otherwise by a change.
            for mtu in [like.mtu.saturating_sub(1), like.mtu] {
                net.set_mtu(link.index, mtu).map_err(fail)?;
            }
            link.mtu = like.mtu;
        }
    }
    let found = found.ok_or_else(|| Error::config(format!("bridge {name} vanished while it was being set up")))?;
    if found.kind != LinkKind::Bridge {
        let msg = format!("device {name} is no bridge; remove it or configure another name for the bridge");
        return Err(Error::config(msg));
    }
    ensure_up(net, &found)?;
    Ok(found)
}

/// Makes a device a port of a bridge.
fn enslave(net: &mut Net, port: &Link, bridge: &Link, done: &mut Vec<Undo>) -> Result<(), Error> {
    if port.master != Some(bridge.index) {
        net.set_master(port.index, Some(bridge.index)).map_err(|error| {
            Error::network(format!("cannot make device {} a port of bridge {}", port.name, bridge.name), &error)
        })?;
        done.push(Undo::Port(port.index));
    }
    Ok(())
}
