//! Taking away what an attachment made, and nothing else.

use std::{io, net::IpAddr};

use super::pod::table;
use crate::{
    ident::Identity,
    netlink::{Link, LinkKind, Net, Netns, Route, gone_is_fine},
    node::Node,
    spec::Error,
    state::{Record, RunDir},
};

/// Removes devices, routes, rules and proxy entries. All steps are tried; whatever is gone already is no error. `addresses` are
/// those that the attachment has by the call's own word, should the record be lost.
pub(crate) fn remove(
    node: &Node,
    identity: &Identity,
    netns: &str,
    (run_dir, record): (&RunDir, Option<&Record>),
    addresses: &[IpAddr],
) -> Result<(), Error> {
    let mut errors = Vec::new();
    let addresses = record.map_or(addresses, |record| &record.addresses);
    let mut host = node.net()?;
    let ours = match ours(&mut host, identity, record) {
        Ok(links) => links,
        Err(error) => {
            errors.push(error);
            Vec::new()
        }
    };
    let silent = clear_pod(node, identity, netns, &ours, addresses).map_err(|error| errors.push(error));
    errors.extend(if node.deferred {
        condemn_links(&mut host, &ours, silent == Ok(true)).err()
    } else {
        remove_links(&mut host, &ours).err()
    });
    errors.extend(clear_lost_proxies(&mut host, run_dir, addresses).err());
    Error::join(errors)
}

/// Removes devices of the host whose pod is not known, now or with others as the node says.
pub(crate) fn remove_strays(node: &Node, host: &mut Net, links: &[Link]) -> Result<(), Error> {
    if node.deferred { condemn_links(host, links, false) } else { remove_links(host, links) }
}

/// Takes from devices of the host all that makes them be heard, and leaves them to be deleted with others.
fn condemn_links(host: &mut Net, links: &[Link], silent: bool) -> Result<(), Error> {
    let mut errors = Vec::new();
    errors.extend(clear_proxies(host, links).err());
    errors.extend(silence(host, links, silent).err().map(|error| {
        let names = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        Error::network(format!("cannot silence devices {names}"), &error)
    }));
    Error::join(errors)
}

fn silence(host: &mut Net, links: &[Link], silent: bool) -> io::Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    for route in host.routes()? {
        if !route.by_kernel && links.iter().any(|link| link.index == route.index) {
            host.delete_route(&route)?;
        }
    }
    if !silent {
        // The pod still has its addresses; this costs a wait in the kernel.
        links.iter().try_for_each(|link| gone_is_fine(host.set_down(link.index)))?;
    }
    host.condemn(&links.iter().map(|link| link.index).collect::<Vec<_>>())
}

/// Removes devices of the host together with what it does for the addresses behind them.
pub(crate) fn remove_links(host: &mut Net, links: &[Link]) -> Result<(), Error> {
    let mut errors = Vec::new();
    errors.extend(clear_proxies(host, links).err());
    let indexes: Vec<u32> = links.iter().map(|link| link.index).collect();
    errors.extend(host.delete(&indexes).err().map(|error| {
        let names = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        Error::network(format!("cannot delete devices {names}"), &error)
    }));
    Error::join(errors)
}

/// The attachment's devices in the host: by the names that the record implies, else by alias among all.
fn ours(host: &mut Net, identity: &Identity, record: Option<&Record>) -> Result<Vec<Link>, Error> {
    let fail = |error| Error::network("cannot look up the attachment's devices", &error);
    let Some(record) = record else {
        let all = host.links().map_err(fail)?;
        let first = identity.device(0);
        return Ok(all.into_iter().filter(|link| identity.owns(&link.alias) || link.name == first).collect());
    };
    let mut links = Vec::new();
    for index in 0..record.addresses.len() {
        links.extend(host.link(&identity.device(index)).map_err(fail)?);
    }
    Ok(links)
}

/// Devices that live in the pod, and the rules of all; the addresses too where devices are left for later. Whether the
/// pod was there.
fn clear_pod(
    node: &Node,
    identity: &Identity,
    netns: &str,
    ours: &[Link],
    addresses: &[IpAddr],
) -> Result<bool, Error> {
    // A namespace that is gone took everything with it.
    let Ok(ns) = Netns::open(netns) else { return Ok(false) };
    let mut pod = match node.open(&ns) {
        Ok(pod) if !ns.is(&node.host).unwrap_or(true) => pod,
        // A file that is no namespace any more, such as the mount point that a reboot left.
        _ => return Ok(false),
    };
    let fail = |error| Error::network(format!("cannot clear the namespace {netns}"), &error);
    let links = pod.links().map_err(fail)?;
    let names: Vec<String> = (0..links.len()).map(|index| identity.device(index)).collect();
    let children = links.iter().filter(|link| identity.owns(&link.alias) || names.contains(&link.name));
    let children: Vec<u32> = children.map(|link| link.index).collect();
    let peers: Vec<u32> = ours.iter().filter_map(|link| link.parent).collect();
    let tables: Vec<u32> = children.iter().chain(&peers).copied().map(table).collect();
    let mut rules = pod.rules().map_err(fail)?;
    // The devices may be gone already, after a call that failed or with the host's ends.
    rules.retain(|rule| tables.contains(&rule.table) || addresses.contains(&rule.from));
    for rule in &rules {
        pod.delete_rule(rule).map_err(fail)?;
    }
    if node.deferred {
        let is_pair = |index| links.iter().any(|link| link.index == index && link.kind == LinkKind::Veth);
        for address in pod.addresses(None).map_err(fail)? {
            if peers.contains(&address.index) && is_pair(address.index) {
                pod.delete_address(address.index, address.net).map_err(fail)?;
            }
        }
    }
    pod.delete(&children).map_err(fail)?;
    Ok(true)
}

/// Ends the host's answers for the addresses behind the devices, before the routes that tell which they are vanish.
fn clear_proxies(host: &mut Net, ours: &[Link]) -> Result<(), Error> {
    let fail = |error| Error::network("cannot clear proxy entries", &error);
    let proxies = host.proxies().map_err(fail)?;
    if ours.is_empty() || proxies.is_empty() {
        return Ok(());
    }
    let routes = host.routes().map_err(fail)?;
    let is_ours = |index: u32| ours.iter().any(|link| link.index == index);
    for (device, ip) in proxies {
        if is_ours(device) || routed_to(&routes, ip).is_some_and(is_ours) {
            host.delete_proxy(device, ip).map_err(fail)?;
        }
    }
    Ok(())
}

/// Ends the host's answers for addresses whose devices went before, with their routes, as with the pod's namespace.
fn clear_lost_proxies(host: &mut Net, run_dir: &RunDir, addresses: &[IpAddr]) -> Result<(), Error> {
    let fail = |error| Error::network("cannot clear proxy entries", &error);
    let mut lost = host.proxies().map_err(fail)?;
    lost.retain(|(_, ip)| addresses.contains(ip));
    if lost.is_empty() {
        return Ok(());
    }
    // Another pod may have the address by now, or get it this moment: its route comes before its proxy entry.
    let _making = run_dir.lock("devices")?;
    let routes = host.routes().map_err(fail)?;
    for (device, ip) in lost {
        if routed_to(&routes, ip).is_none() {
            host.delete_proxy(device, ip).map_err(fail)?;
        }
    }
    Ok(())
}

/// The device that leads to just this address.
fn routed_to(routes: &[Route], ip: IpAddr) -> Option<u32> {
    routes.iter().find(|route| route.dst == ip.into()).map(|route| route.index)
}
