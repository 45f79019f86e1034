//! Taking back what a failed call did, last first.

use ipnet::IpNet;

use crate::netlink::{Link, Net, Netns, Route, Rule};

/// One thing to take back in the host's namespace.
#[derive(Debug, Clone)]
pub(crate) enum Undo {
    /// Delete a device that was just made.
    Link(String),
    /// Delete a device of this name or alias in a pod.
    PodLink(Netns, String),
    /// Delete a rule in a pod.
    PodRule(Netns, Rule),
    /// Take a device out of its bridge.
    Port(u32),
    /// Take an address from a device.
    Address(u32, IpNet),
    /// Give an address back to a device.
    Return(u32, IpNet),
    /// Put a route back into the place of its successor.
    Route(Route),
    /// End answering for an address.
    Proxy(u32, std::net::IpAddr),
}

impl Undo {
    /// Concerns the attachment alone, not what it shares with others. Its devices are named by a hash.
    pub(crate) fn is_own(&self) -> bool {
        match self {
            Undo::Link(name) => crate::ident::is_device_name(name),
            Undo::PodLink(..) | Undo::PodRule(..) | Undo::Proxy(..) => true,
            Undo::Port(_) | Undo::Address(..) | Undo::Return(..) | Undo::Route(_) => false,
        }
    }
}

/// Takes everything back. What fails is left: the error that led here says more.
pub(crate) fn undo(net: &mut Net, done: Vec<Undo>) {
    for step in done.into_iter().rev() {
        let _ = match step {
            Undo::Link(name) => delete(net, |link| link.name == name),
            Undo::PodLink(ns, name) => Net::open(&ns, None)
                .and_then(|mut pod| delete(&mut pod, |link| link.name == name || link.alias == name)),
            Undo::PodRule(ns, rule) => Net::open(&ns, None).and_then(|mut pod| pod.delete_rule(&rule)),
            Undo::Port(index) => net.set_master(index, None),
            Undo::Address(index, address) => net.delete_address(index, address),
            Undo::Return(index, address) => net.add_address(index, address, true),
            Undo::Route(route) => net.replace_route(&route),
            Undo::Proxy(index, ip) => net.delete_proxy(index, ip),
        };
    }
}

fn delete(net: &mut Net, which: impl Fn(&Link) -> bool) -> std::io::Result<()> {
    let found = net.links()?.into_iter().filter(which).map(|link| link.index);
    net.delete(&found.collect::<Vec<_>>())
}
