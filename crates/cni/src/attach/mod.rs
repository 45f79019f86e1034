//! Giving a pod its interfaces and addresses, and taking them away.

mod child;
mod pod;
mod remove;
mod verify;
mod veth;

pub(crate) use remove::{remove, remove_links, remove_strays};
pub(crate) use verify::verify;

use std::net::IpAddr;

use crate::{
    announce::{Announcement, Job, Where, probe},
    ident::Identity,
    ipam::Wanted,
    netlink::{IpvlanMode, Link, Mac, Net, Netns, format_mac},
    plugins::Conflict,
    spec::{Error, Interface, Route, code},
    undo::Undo,
};

/// What an interface of a pod is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The host routes to the pod and answers for it on this device.
    Routed(Link),
    /// A port of this bridge, whose MTU is given as that of the underlay device.
    Bridge(Link),
    /// A macvlan on this device.
    Macvlan(Link),
    /// An ipvlan on this device.
    Ipvlan(Link, IpvlanMode),
}

impl Ground {
    pub(crate) fn device(&self) -> &Link {
        match self {
            Ground::Routed(link) | Ground::Bridge(link) | Ground::Macvlan(link) | Ground::Ipvlan(link, _) => link,
        }
    }
}

/// One interface to make.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Position among the pod's addresses.
    pub index: usize,
    /// Name in the pod.
    pub name: String,
    /// The address.
    pub wanted: Wanted,
    /// Routes in the pod's main table; those without a next hop lead to the gateway.
    pub routes: Vec<Route>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// What it is connected to.
    pub ground: Ground,
}

/// What all interfaces of a call have in common.
pub(crate) struct Attacher<'a> {
    /// Whose they are.
    pub identity: &'a Identity,
    /// Socket in the host's namespace.
    pub host: &'a mut Net,
    /// Socket in the pod's namespace.
    pub pod: &'a mut Net,
    /// Path of the pod's namespace.
    pub netns: &'a str,
    /// What to do about an address that somebody else has.
    pub conflict: Conflict,
    /// Announce by ARP request.
    pub request: bool,
    /// The pod has several addresses: each must leave by its own interface.
    pub several: bool,
    /// What a failure must take back.
    pub done: &'a mut Vec<Undo>,
}

/// An interface that was made.
pub(crate) struct Made {
    /// For the result, the pod's end last.
    pub interfaces: Vec<Interface>,
    /// How its address is announced.
    pub announce: Option<Job>,
}

impl Attacher<'_> {
    /// Makes an interface, or completes one that an earlier call began.
    pub(crate) fn attach(&mut self, plan: &Plan) -> Result<Made, Error> {
        match &plan.ground {
            Ground::Routed(_) | Ground::Bridge(_) => self.veth(plan),
            Ground::Macvlan(_) | Ground::Ipvlan(..) => self.child(plan),
        }
    }

    /// Asks on a device whether somebody else has the address.
    fn detect(&self, ns: &Netns, device: &str, own: Mac, ip: IpAddr) -> Result<(), Error> {
        if self.conflict == Conflict::Off {
            return Ok(());
        }
        let fail = |error| Error::network(format!("cannot ask on device {device} who has {ip}"), &error);
        let Some(mac) = ns.within(|| probe(device, own, ip)).map_err(fail)?.map_err(fail)? else { return Ok(()) };
        let msg = format!(
            "address {ip} is in use: {} answers for it on device {device}; find that machine, or take the address out of the pool",
            format_mac(mac)
        );
        if self.conflict == Conflict::Refuse {
            return Err(Error::new(code::ADDRESS_CONFLICT, msg));
        }
        crate::warn(&msg);
        Ok(())
    }

    /// An announcement, sent in the first place while `guard` exists in the second.
    fn job(&self, (place, home): (Where, Where), guard: &Link, device: &str, mac: Mac, ip: IpAddr) -> Job {
        let announcement = Announcement { device: device.to_owned(), mac, ip, request: self.request };
        Job { place, home, guard: guard.name.clone(), guard_index: guard.index, announcement }
    }
}

/// `02:42:` and the four bytes of an IPv4 address, or `02:46:` and a hash of an IPv6 address.
pub(crate) fn mac_of(ip: IpAddr) -> Mac {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [0x02, 0x42, a, b, c, d]
        }
        IpAddr::V6(ip) => {
            let hash = ring::digest::digest(&ring::digest::SHA256, &ip.octets());
            let hash = hash.as_ref();
            [0x02, 0x46, hash[0], hash[1], hash[2], hash[3]]
        }
    }
}
