//! VLANs and ipvlans: where the kernel has neither, [`crate::uml`] runs these in one that has both.

use std::time::Duration;

use galaxy_cni::netlink::{Child, IpvlanMode, LinkKind, Netns, Veth};
use serde_json::{Value, json};

use crate::{
    faults,
    lab::{Call, Lab, Space, UNDERLAY, VLAN, v4},
    matrix::{Mode, matrix},
    reach::add,
    traffic::{ARP, IPV4, Tap, announces, is_from, ping},
};

/// Whether this kernel has them. In user-mode Linux it must.
fn here() -> bool {
    let able = Netns::make().is_ok() && {
        let mut space = Space::make();
        let one = Space::make();
        space.net.create_bridge("br0", None).unwrap();
        let bridge = space.index("br0");
        let ipvlan = Child::Ipvlan(IpvlanMode::L2);
        space.net.create_vlan("v1", bridge, 1).is_ok()
            && space.net.create_child("ipv", bridge, &one.ns, 1500, &ipvlan).is_ok()
    };
    assert!(able || !crate::uml::inside(), "no VLANs in user-mode Linux");
    able
}

const TAGS: &[u8] = &[100, 200];
/// A single address is in the VLAN.
const MIXED: &[u8] = &[100, 0];

fn run(mode: &Mode) {
    if here() {
        matrix(mode);
    }
}

fn k8s_vlan(switch: &str) -> Mode {
    Mode::new(VLAN, json!({ "switch": switch }), MIXED)
}

fn ipvlan(mode: &str) -> Mode {
    let routed = mode != "l2";
    let more = json!({ "switch": "ipvlan", "ipvlan_mode": mode });
    Mode { prepared: routed, told: routed, ..Mode::new(VLAN, more, MIXED) }
}

#[test]
fn routed_in_vlans() {
    run(&Mode { prepared: true, ..Mode::new(UNDERLAY, json!({}), MIXED) });
}

#[test]
fn bridges_in_vlans() {
    run(&k8s_vlan("bridge"));
}

#[test]
fn pure_in_vlans() {
    run(&k8s_vlan("pure"));
}

#[test]
fn macvlans_in_vlans() {
    run(&k8s_vlan("macvlan"));
}

#[test]
fn ipvlans_l2() {
    run(&ipvlan("l2"));
}

#[test]
fn ipvlans_l3() {
    run(&ipvlan("l3"));
}

#[test]
fn ipvlans_l3s() {
    run(&ipvlan("l3s"));
}

/// Packets leave with the tag of their address's VLAN, in every mode, and with no other.
#[test]
fn frames_on_the_trunk_are_tagged() {
    if !here() {
        return;
    }
    for (plugin, more, prepared) in [
        (UNDERLAY, json!({}), true),
        (VLAN, json!({}), false),
        (VLAN, json!({ "switch": "pure" }), false),
        (VLAN, json!({ "switch": "macvlan" }), false),
        (VLAN, json!({ "switch": "ipvlan", "ipvlan_mode": "l2" }), false),
    ] {
        let mut lab = Lab::new();
        lab.trunk(TAGS);
        if prepared {
            lab.prepare_hosts(TAGS);
        }
        let taps = [Tap::new(&lab.gateway.ns, "v100", IPV4), Tap::new(&lab.gateway.ns, "v200", IPV4)];
        let ips = [v4(100, 20), v4(200, 20)];
        let (pod, ..) = add(&lab, 0, plugin, &more, &ips.map(|ip| ip.to_string()));
        ping(&pod.ns, "10.0.100.20", "10.0.100.1");
        ping(&pod.ns, "10.0.200.20", "10.0.200.1");
        for (tap, own) in taps.iter().zip(ips) {
            let heard = tap.hears(Duration::from_secs(1), |frame| {
                assert!(ips.iter().all(|ip| *ip == own || !is_from(frame, *ip)), "{plugin} {more}: the wrong VLAN");
                is_from(frame, own)
            });
            assert!(heard, "{plugin} {more}: {own} came without its tag");
        }
    }
}

/// Row 52: announcements are for each address, and on its VLAN, also where the host speaks for the pod.
#[test]
fn announcements_are_tagged() {
    if !here() {
        return;
    }
    for (plugin, more, prepared) in [
        (UNDERLAY, json!({}), true),
        (VLAN, json!({}), false),
        (VLAN, json!({ "switch": "pure" }), false),
        (VLAN, json!({ "switch": "macvlan" }), false),
        (VLAN, json!({ "switch": "ipvlan", "ipvlan_mode": "l2" }), false),
        (VLAN, json!({ "switch": "ipvlan" }), false),
        (VLAN, json!({ "switch": "ipvlan", "ipvlan_mode": "l3s" }), false),
    ] {
        let mut lab = Lab::new();
        lab.trunk(TAGS);
        if prepared {
            lab.prepare_hosts(TAGS);
        }
        let taps = [Tap::new(&lab.gateway.ns, "v100", ARP), Tap::new(&lab.gateway.ns, "v200", ARP)];
        let ips = [v4(100, 20), v4(200, 20)];
        let (_pod, call, _) = add(&lab, 0, plugin, &more, &ips.map(|ip| ip.to_string()));
        for (tap, own) in taps.iter().zip(ips) {
            let said = tap.hears(Duration::from_secs(5), |frame| {
                assert!(ips.iter().all(|ip| *ip == own || !announces(frame, *ip)), "on the wrong VLAN");
                announces(frame, own)
            });
            assert!(said, "{plugin} {more}: nobody said {own}");
        }
        call.del(&lab.hosts[0]);
    }
}

/// Gives a host a second uplink on the same switch.
fn second_uplink(host: &mut Space) {
    let other = Space::make();
    let veth = Veth { name: "eth1", mac: None, peer: "peer", peer_ns: &other.ns, peer_mac: None, mtu: None };
    host.net.create_veth(&veth).unwrap();
    let index = host.index("eth1");
    host.net.set_up(index).unwrap();
    // The other end lives as long as the pair.
    std::mem::forget(other);
}

/// Row 53: a VLAN device is found by id and parent, whatever its name.
#[test]
fn a_vlan_device_is_found_by_id_and_parent() {
    if !here() {
        return;
    }
    for plugin in [UNDERLAY, VLAN] {
        let mut lab = Lab::new();
        lab.trunk(TAGS);
        let host = &mut lab.hosts[0];
        second_uplink(host);
        let (eth0, eth1) = (host.index("eth0"), host.index("eth1"));
        host.net.create_vlan("wrong", eth1, 100).unwrap();
        host.net.create_vlan("right", eth0, 100).unwrap();
        host.address("right", "10.0.100.11/24");
        // Named by itself, or by another VLAN device of the same parent.
        host.net.create_vlan("beside", eth0, 7).unwrap();
        for (number, device) in ["eth0", "right", "beside"].into_iter().enumerate() {
            let ip = format!("10.0.100.{}", 20 + number);
            let more = json!({ "device": device, "switch": "macvlan" });
            let (pod, call, result) = add(&lab, 0, plugin, &more, std::slice::from_ref(&ip));
            assert!(result["ips"][0]["address"].as_str().unwrap().starts_with(&ip));
            ping(&pod.ns, &ip, "10.0.100.1");
            call.del(&lab.hosts[0]);
        }
        // Nobody says which one is meant.
        let pod = Space::make();
        let conf = lab.conf(0, UNDERLAY, json!({ "device": "" }));
        let error = Call::new("c", &pod.path(), &["10.0.100.20"], &conf).run(&lab.hosts[0], "ADD").unwrap_err();
        let message = error["msg"].as_str().unwrap();
        assert!(["right", "wrong", "device"].iter().all(|word| message.contains(word)), "{message}");
        let conf = lab.conf(0, UNDERLAY, json!({}));
        let error = Call::new("c", &pod.path(), &["10.0.55.20"], &conf).run(&lab.hosts[0], "ADD").unwrap_err();
        assert!(error["msg"].as_str().unwrap().contains("id 55 on device eth0"), "{error}");
    }
}

/// What is made, by which names; a failed ADD takes it back.
#[test]
fn vlan_devices_and_bridges_are_named_and_taken_back() {
    if !here() {
        return;
    }
    let mut lab = Lab::new();
    lab.trunk(TAGS);
    let before = lab.hosts[0].state();
    let more = json!({ "vlan_name_prefix": "tag", "bridge_name_prefix": "sw" });
    let mut pod = Space::make();
    // The second address has no bridge: the default one is disabled, but asked for.
    let mut conf = lab.conf(0, VLAN, more.clone());
    conf["disable_default_bridge"] = true.into();
    Call::new("c", &pod.path(), &["10.0.100.20", "10.0.0.20"], &conf).run(&lab.hosts[0], "ADD").unwrap_err();
    assert_eq!(lab.hosts[0].state(), before);
    assert_eq!(pod.net.links().unwrap().len(), 1);
    let (pod, call, _) = add(&lab, 0, VLAN, &more, &["10.0.100.20".to_owned()]);
    ping(&pod.ns, "10.0.100.20", "10.0.100.1");
    let (tag, bridge) = (lab.hosts[0].net.link("tag100").unwrap().unwrap(), lab.hosts[0].index("sw100"));
    assert_eq!((tag.kind, tag.master), (LinkKind::Vlan(100), Some(bridge)));
    // The device keeps its addresses: no pod without a VLAN, no default bridge.
    assert!(lab.hosts[0].net.link("docker").unwrap().is_none());
    ping(&lab.hosts[0].ns, "10.0.0.11", "10.0.0.1");
    let kept = lab.hosts[0].state();
    call.del(&lab.hosts[0]);
    // Under other names the same ones are found.
    let (_pod, call, _) = add(&lab, 0, VLAN, &json!({}), &["10.0.100.21".to_owned()]);
    call.del(&lab.hosts[0]);
    let left: Vec<_> = kept.difference(&lab.hosts[0].state()).cloned().collect();
    assert!(left.iter().all(|line| line.starts_with("gx")), "{left:?}");
    assert!(lab.hosts[0].net.link("vlan100").unwrap().is_none());
}

/// Killed at any point of making VLAN device and bridge: the next ADD finishes them.
#[test]
fn after_kill_9_the_next_add_finishes_the_vlan() {
    if !here() {
        return;
    }
    let mut lab = Lab::new();
    lab.trunk(TAGS);
    let conf = lab.conf(0, VLAN, json!({}));
    for at in 1.. {
        let pod = Space::make();
        let call = Call::new("c", &pod.path(), &["10.0.100.20"], &conf);
        let survived = faults::run_and_kill(&lab.hosts[0], &call, "ADD", at);
        call.del(&lab.hosts[0]);
        let pod = Space::make();
        let call = Call::new("d", &pod.path(), &["10.0.100.21"], &conf);
        call.add(&lab.hosts[0]);
        ping(&pod.ns, "10.0.100.21", "10.0.100.1");
        call.del(&lab.hosts[0]);
        for name in ["docker100", "vlan100"] {
            let host = &mut lab.hosts[0];
            let index = host.index(name);
            host.net.delete(&[index]).unwrap();
        }
        if survived {
            assert!(at > 10, "the kill at {at} did not happen");
            break;
        }
    }
}

/// Fifty pods at once make one VLAN device and one bridge.
#[test]
fn many_at_once_share_a_vlan() {
    if !here() {
        return;
    }
    let mut lab = Lab::new();
    lab.trunk(TAGS);
    let conf = lab.conf(0, VLAN, json!({}));
    let pods: Vec<Space> = (0..20).map(|_| Space::make()).collect();
    let ip = |n: usize| format!("10.0.100.{}", 100 + n);
    std::thread::scope(|scope| {
        for (n, pod) in pods.iter().enumerate() {
            let (host, conf) = (&lab.hosts[0], &conf);
            scope.spawn(move || Call::new(&format!("c{n}"), &pod.path(), &[&ip(n)], conf).add(host));
        }
    });
    for (n, pod) in pods.iter().enumerate() {
        ping(&pod.ns, &ip(n), "10.0.100.1");
    }
    let links = lab.hosts[0].net.links().unwrap();
    let count = |kind: &LinkKind| links.iter().filter(|link| link.kind == *kind).count();
    assert_eq!((count(&LinkKind::Vlan(100)), count(&LinkKind::Bridge)), (1, 1));
}

/// An address that moves to the other host answers there: the neighbours in its VLAN were told.
#[test]
fn an_address_in_a_vlan_moves() {
    if !here() {
        return;
    }
    let modes: [(Value, &str); 3] = [
        (json!({}), "bridge"),
        (json!({ "switch": "macvlan" }), "macvlan"),
        (json!({ "switch": "ipvlan", "ipvlan_mode": "l2" }), "ipvlan"),
    ];
    for (more, mode) in modes {
        let mut lab = Lab::new();
        lab.trunk(TAGS);
        for host in [0, 1, 0] {
            let (_pod, call, _) = add(&lab, host, VLAN, &more, &["10.0.100.20".to_owned()]);
            let gap = ping(&lab.gateway.ns, "10.0.100.1", "10.0.100.20");
            assert!(gap < Duration::from_secs(1), "{mode}: {gap:?}");
            call.del(&lab.hosts[host]);
        }
    }
}
