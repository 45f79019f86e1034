//! Every mode, with one and several addresses: who reaches whom.

use std::net::IpAddr;

use galaxy_cni::netlink::{NextHop, Route};
use serde_json::{Value, json};

use crate::{
    lab::{BEYOND, BEYOND6, Lab, UNDERLAY, VLAN, gateway_of, root, v4, v6, vlan_of},
    reach::{add, at_once},
    traffic::{answered, ping, serve, talk},
};

/// How pods are connected.
pub(crate) struct Mode {
    pub(crate) plugin: &'static str,
    /// More members of the configuration.
    pub(crate) more: Value,
    /// VLANs of the addresses, in turn; 0 for none.
    pub(crate) vlans: &'static [u8],
    /// The VLAN devices are the administrator's.
    pub(crate) prepared: bool,
    /// Nobody answers for pods: the gateway and the other host are told the way.
    pub(crate) told: bool,
}

impl Mode {
    pub(crate) fn new(plugin: &'static str, more: Value, vlans: &'static [u8]) -> Mode {
        Mode { plugin, more, vlans, prepared: false, told: false }
    }
}

/// Families of a pod's addresses: 1, 2, 3 and 12 of them.
const FAMILIES: [&str; 7] = ["4", "6", "44", "66", "444", "646", "444466664646"];

fn addresses(mode: &Mode, families: &str, first: u8) -> Vec<IpAddr> {
    let one = |(vlan, (last, family)): (&u8, (u8, char))| {
        if family == '4' { v4(*vlan, last) } else { v6(*vlan, last) }
    };
    mode.vlans.iter().cycle().zip((first..).zip(families.chars())).map(one).collect()
}

/// Each family of addresses in turn on one network; nothing of one is left for the next.
pub(crate) fn matrix(mode: &Mode) {
    let mut lab = Lab::new();
    let tags: Vec<u8> = mode.vlans.iter().copied().filter(|vlan| *vlan > 0).collect();
    lab.trunk(&tags);
    if mode.prepared {
        lab.prepare_hosts(&tags);
    }
    if mode.plugin != UNDERLAY {
        // What pods share is made by the first and stays.
        for host in 0..2 {
            let all: Vec<String> = mode.vlans.iter().map(|vlan| v4(*vlan, 99).to_string()).collect();
            add(&lab, host, mode.plugin, &mode.more, &all).1.del(&lab.hosts[host]);
        }
    }
    for families in FAMILIES {
        round(&mut lab, mode, families);
    }
}

/// Two pods on one host and one on the other: ping and TCP both ways between all, to the gateway and beyond it; then
/// everything is taken away.
fn round(lab: &mut Lab, mode: &Mode, families: &str) {
    let sets = [addresses(mode, families, 20), addresses(mode, families, 40), addresses(mode, families, 60)];
    if mode.told {
        sets.iter().zip([0, 0, 1]).for_each(|(set, host)| tell(lab, host, set));
    }
    let before = [lab.hosts[0].state(), lab.hosts[1].state()];
    let places = [0, 0, 1].into_iter().zip(&sets);
    let pods: Vec<_> = places
        .map(|(host, set)| {
            let set: Vec<String> = set.iter().map(IpAddr::to_string).collect();
            add(lab, host, mode.plugin, &mode.more, &set)
        })
        .collect();
    let mut first = Vec::new();
    for ((pod, ..), own) in pods.iter().zip(&sets) {
        for ip in own {
            let (gateway, beyond) = (gateway_of(*ip).to_string(), if ip.is_ipv4() { BEYOND } else { BEYOND6 });
            let ip = ip.to_string();
            for (ns, from, to) in [(&pod.ns, &*ip, &*gateway), (&lab.gateway.ns, &gateway, &ip), (&pod.ns, &ip, beyond)]
            {
                first.push((ping(ns, from, to), format!("{from} to {to}")));
            }
        }
    }
    at_once(first);
    for (at, own) in sets.iter().enumerate() {
        for to in ends(own) {
            let server = serve(&pods[at].0.ns, &to.to_string());
            talk(&lab.gateway.ns, &gateway_of(to).to_string(), &server);
            for (other, from) in sets.iter().enumerate().filter(|(other, _)| *other != at) {
                for from in ends(from).into_iter().filter(|from| reach(mode, *from, to)) {
                    ping(&pods[other].0.ns, &from.to_string(), &to.to_string());
                    talk(&pods[other].0.ns, &from.to_string(), &server);
                }
            }
            let gateway = serve(&lab.gateway.ns, if to.is_ipv4() { BEYOND } else { BEYOND6 });
            talk(&pods[at].0.ns, &to.to_string(), &gateway);
        }
    }
    for ((mut pod, call, result), host) in pods.into_iter().zip([0, 0, 1]) {
        assert_eq!(result["ips"].as_array().unwrap().len(), families.len());
        call.del(&lab.hosts[host]);
        let links = pod.net.links().unwrap();
        assert_eq!(links.len(), 1, "only lo is left: {links:?}");
        assert_eq!(pod.net.rules().unwrap(), []);
    }
    for (host, before) in lab.hosts.iter_mut().zip(before) {
        let after = host.state();
        let difference: Vec<_> = before.symmetric_difference(&after).collect();
        assert!(difference.is_empty(), "{} {} {families}: {difference:?}", mode.plugin, mode.more);
    }
    for ip in [sets[0][0], sets[2][families.len() - 1]] {
        let gateway = gateway_of(ip).to_string();
        let patience = std::time::Duration::from_millis(30);
        assert!(answered(&lab.gateway.ns, &gateway, &ip.to_string(), patience).is_none(), "{ip} still answers");
    }
}

/// Whether one address shall reach another. With ipvlans of the l3 modes an IPv6 host with an address in each VLAN looks
/// for pods of another VLAN on its own device, where nobody answers.
fn reach(mode: &Mode, from: IpAddr, to: IpAddr) -> bool {
    from.is_ipv4() == to.is_ipv4() && (from.is_ipv4() || !mode.told || vlan_of(from) == vlan_of(to))
}

/// The first and the last address, and those beside them.
fn ends(all: &[IpAddr]) -> Vec<IpAddr> {
    let inner = |index: &usize| *index < 2 || *index + 2 >= all.len();
    (0..all.len()).filter(inner).map(|index| all[index]).collect()
}

/// The gateway and the other host learn that a pod's addresses are behind a host.
fn tell(lab: &mut Lab, host: usize, ips: &[IpAddr]) {
    let last = [11, 12][host];
    for ip in ips {
        let vlan = vlan_of(*ip);
        let device = if vlan == 0 { "eth0".to_owned() } else { format!("v{vlan}") };
        let hop = NextHop::Gateway(if ip.is_ipv4() { v4(vlan, last) } else { v6(vlan, last) });
        for space in [&mut lab.gateway, &mut lab.hosts[1 - host]] {
            let index = space.index(&device);
            space.net.replace_route(&Route::new((*ip).into(), hop, index)).unwrap();
        }
    }
}

#[test]
fn routed() {
    root().then(|| matrix(&Mode::new(UNDERLAY, json!({}), &[0])));
}

/// Row 52: each address is announced by its own interface.
#[test]
fn bridge() {
    root().then(|| matrix(&Mode::new(VLAN, json!({}), &[0])));
}

/// Row 52: the device of `pure` is the first candidate that exists.
#[test]
fn pure() {
    let more = json!({ "switch": "pure", "device": "", "devices": ["eth7", "eth0"] });
    root().then(|| matrix(&Mode::new(VLAN, more, &[0])));
}

#[test]
fn macvlan() {
    let more = json!({ "switch": "macvlan", "device": "", "devices": ["eth7", "eth0"] });
    root().then(|| matrix(&Mode::new(VLAN, more, &[0])));
}
