//! 802.1Q devices, found by id and parent.

use super::ensure_up;
use crate::{
    netlink::{Link, LinkKind, Net},
    spec::Error,
    undo::Undo,
};

/// The device that VLAN devices are made on: the one below, if `device` is a VLAN device itself.
pub(crate) fn parent_of(net: &mut Net, device: &Link) -> Result<Link, Error> {
    let (LinkKind::Vlan(_), Some(parent)) = (&device.kind, device.parent) else { return Ok(device.clone()) };
    let found = net.link_at(parent);
    let found =
        found.map_err(|error| Error::network(format!("cannot look up the device below {}", device.name), &error))?;
    found.ok_or_else(|| Error::config(format!("the device below VLAN device {} is in another namespace", device.name)))
}

fn vlans(net: &mut Net, id: u16) -> Result<Vec<Link>, Error> {
    let links = net.links().map_err(|error| Error::network("cannot list devices", &error))?;
    Ok(links.into_iter().filter(|link| link.kind == LinkKind::Vlan(id)).collect())
}

/// The VLAN device of an id that exists on a parent; without a parent, the only one of this id.
pub(crate) fn existing_vlan(net: &mut Net, parent: Option<&Link>, id: u16) -> Result<Link, Error> {
    let mut found = vlans(net, id)?;
    found.retain(|link| parent.is_none_or(|parent| link.parent == Some(parent.index)));
    let place = parent.map_or("on this node".to_owned(), |parent| format!("on device {}", parent.name));
    match found.as_slice() {
        [link] => ensure_up(net, link).map(|()| link.clone()),
        [] => Err(Error::config(format!("there is no VLAN device with id {id} {place}; create one"))),
        several => {
            let names = several.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
            Err(Error::config(format!("VLAN devices {names} all have id {id}; set `device` to say which is meant")))
        }
    }
}

/// The VLAN device of an id on a parent, whatever its name, created as `prefix` + id if there is none.
pub(crate) fn vlan_device(
    net: &mut Net,
    parent: &Link,
    id: u16,
    prefix: &str,
    done: &mut Vec<Undo>,
) -> Result<Link, Error> {
    let on_parent = |link: &Link| link.parent == Some(parent.index);
    let mut found = vlans(net, id)?.into_iter().find(on_parent);
    if found.is_none() {
        let name = format!("{prefix}{id}");
        let fail = |error| Error::network(format!("cannot create VLAN device {name} on {}", parent.name), &error);
        net.create_vlan(&name, parent.index, id).map_err(fail)?;
        done.push(Undo::Link(name.clone()));
        found = net.link(&name).map_err(fail)?;
    }
    let link = found
        .ok_or_else(|| Error::config(format!("VLAN {id} on {} vanished while it was being set up", parent.name)))?;
    ensure_up(net, &link)?;
    Ok(link)
}
