//! CHECK: is all that ADD reported still there?

use crate::{
    ident::{Identity, interface_names},
    netlink::{Link, Net, Netns, format_mac},
    node::Node,
    spec::{AddResult, Error, Interface, Request, code},
};

/// Compares a result with what is there.
pub(crate) fn verify(node: &Node, identity: &Identity, request: &Request, result: &AddResult) -> Result<(), Error> {
    let ns = Netns::open(&request.netns).map_err(|error| {
        Error::new(code::UNKNOWN_CONTAINER, format!("cannot open the namespace {}: {error}", request.netns))
    })?;
    let (mut host, mut pod) = (node.net()?, node.open(&ns)?);
    let mine: Vec<usize> = (0..result.interfaces.len()).filter(|at| is_ours(identity, result, *at)).collect();
    if !mine.iter().any(|at| result.interfaces[*at].sandbox.is_some()) {
        return differs(format!("prevResult has no interface {} in a sandbox", request.ifname));
    }
    for at in mine {
        let interface = &result.interfaces[at];
        let net = if interface.sandbox.is_some() { &mut pod } else { &mut host };
        let link = same_device(net, interface)?;
        if interface.sandbox.is_some() {
            same_addresses(net, &link, result, at)?;
        }
    }
    Ok(())
}

/// Chained plugins see the interfaces of each other.
fn is_ours(identity: &Identity, result: &AddResult, at: usize) -> bool {
    let interface = &result.interfaces[at];
    let count = result.interfaces.len();
    match interface.sandbox {
        Some(_) => interface_names(&identity.ifname).take(count).any(|name| name == interface.name),
        None => (0..count).any(|index| identity.device(index) == interface.name),
    }
}

fn differs<T>(msg: String) -> Result<T, Error> {
    Err(Error::new(code::CHECK_FAILED, msg))
}

fn same_device(net: &mut Net, interface: &Interface) -> Result<Link, Error> {
    let name = &interface.name;
    let place = interface.sandbox.as_deref().unwrap_or("the host");
    let found = net.link(name).map_err(|error| Error::network(format!("cannot look up device {name}"), &error))?;
    let Some(link) = found else { return differs(format!("device {name} is gone from {place}")) };
    if !link.up {
        return differs(format!("device {name} in {place} is down"));
    }
    let mac = link.mac.map(format_mac);
    if interface.mac.as_ref().is_some_and(|wanted| mac.as_ref().is_none_or(|mac| !mac.eq_ignore_ascii_case(wanted))) {
        return differs(format!("device {name} in {place} has MAC {mac:?}, not {:?}", interface.mac));
    }
    Ok(link)
}

fn same_addresses(net: &mut Net, link: &Link, result: &AddResult, at: usize) -> Result<(), Error> {
    let fail = |error| Error::network("cannot list addresses and routes of the pod", &error);
    let there = net.addresses(Some(link.index)).map_err(fail)?;
    for ip in result.ips.iter().filter(|ip| ip.interface == Some(at)) {
        if !there.iter().any(|address| address.net == ip.address) {
            return differs(format!("interface {} of the pod has lost its address {}", link.name, ip.address));
        }
    }
    let routes = net.routes().map_err(fail)?;
    for wanted in &result.routes {
        if !routes.iter().any(|route| route.dst == wanted.dst) {
            return differs(format!("the pod has lost its route to {}", wanted.dst));
        }
    }
    Ok(())
}
