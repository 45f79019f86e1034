//! Bridges: the node's own addresses and routes, and what may be in the way.

use serde_json::json;

use crate::{
    lab::{Call, Lab, Space, UNDERLAY, VLAN, root},
    traffic::ping,
};

/// Addresses and routes move to the bridge, and the node stays reachable.
#[test]
fn the_bridge_takes_addresses_and_routes_over() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let host = &mut lab.hosts[0];
    host.address("eth0", "10.0.0.13/24");
    host.route("eth0", "198.51.100.0/24", "10.0.0.1");
    let device = host.net.link("eth0").unwrap().unwrap();
    let on_device = host.net.routes().unwrap().into_iter().filter(|route| route.index == device.index).count();
    let pod = Space::make();
    let conf = lab.conf(0, VLAN, json!({ "default_bridge_name": "underlay" }));
    Call::new("c", &pod.path(), &["10.0.0.20"], &conf).add(&lab.hosts[0]);
    let host = &mut lab.hosts[0];
    let bridge = host.net.link("underlay").unwrap().unwrap();
    assert_eq!(bridge.mac, device.mac, "fixed: it does not change with ports");
    assert_eq!(host.net.addresses(Some(device.index)).unwrap().iter().filter(|address| address.global).count(), 0);
    let addresses = host.net.addresses(Some(bridge.index)).unwrap();
    let mut addresses: Vec<String> =
        addresses.iter().filter(|address| address.global).map(|address| address.net.to_string()).collect();
    addresses.sort();
    assert_eq!(addresses, ["10.0.0.11/24", "10.0.0.13/24", "fd00::11/64"]);
    let routes = host.net.routes().unwrap();
    let global = |route: &&galaxy_cni::netlink::Route| route.index == bridge.index;
    assert_eq!(routes.iter().filter(global).count(), on_device, "{routes:?}");
    for (from, to) in [("10.0.0.11", "192.0.2.1"), ("10.0.0.13", "10.0.0.1"), ("fd00::11", "fd00::1")] {
        ping(&lab.hosts[0].ns, from, to);
    }
    // The next pod finds everything in place.
    let state = lab.hosts[0].state();
    let pod = Space::make();
    let call = Call::new("d", &pod.path(), &["10.0.0.21"], &conf);
    call.add(&lab.hosts[0]);
    call.del(&lab.hosts[0]);
    assert_eq!(lab.hosts[0].state(), state);
}

#[test]
fn what_is_in_the_way_is_named() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    lab.hosts[0].net.create_bridge("other", Some([2, 0, 0, 0, 0, 9])).unwrap();
    let (other, device) = (lab.hosts[0].index("other"), lab.hosts[0].index("eth0"));
    let before = lab.hosts[0].state();
    let mut pod = Space::make();
    let error = |lab: &Lab, pod: &Space, plugin: &str, more| {
        let call = Call::new("c", &pod.path(), &["10.0.0.20"], &lab.conf(0, plugin, more));
        call.run(&lab.hosts[0], "ADD").unwrap_err()["msg"].as_str().unwrap().to_owned()
    };
    for (plugin, more, word) in [
        (UNDERLAY, json!({ "device": "eth5" }), "eth5"),
        (UNDERLAY, json!({ "device": "" }), "set `device`"),
        (VLAN, json!({ "device": "", "devices": ["eth5", "eth6"] }), "eth5, eth6"),
        (VLAN, json!({ "disable_default_bridge": true }), "disable_default_bridge"),
        (VLAN, json!({ "default_bridge_name": "lo" }), "no bridge"),
    ] {
        let message = error(&lab, &pod, plugin, more);
        assert!(message.contains(word), "no {word:?} in {message:?}");
        assert_eq!(lab.hosts[0].state(), before);
    }
    lab.hosts[0].net.set_master(device, Some(other)).unwrap();
    let message = error(&lab, &pod, VLAN, json!({}));
    assert!(message.contains("another bridge") && message.contains("default_bridge_name"), "{message}");
    lab.hosts[0].net.set_master(device, None).unwrap();
    // An interface of this name that somebody else made.
    pod.net.create_bridge("eth0", None).unwrap();
    for (plugin, more) in [(UNDERLAY, json!({})), (VLAN, json!({ "switch": "macvlan" }))] {
        let message = error(&lab, &pod, plugin, more);
        assert!(message.contains("eth0") && message.contains("remove it"), "{message}");
    }
    assert_eq!(pod.net.links().unwrap().len(), 2);
    assert_eq!(lab.hosts[0].state(), before);
}

/// The same address for a second pod on the host is refused without asking the network.
#[test]
fn an_address_that_is_routed_already_is_refused() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let conf = lab.conf(0, UNDERLAY, json!({}));
    let (one, two) = (Space::make(), Space::make());
    Call::new("one", &one.path(), &["10.0.0.20"], &conf).add(&lab.hosts[0]);
    let state = lab.hosts[0].state();
    let error = Call::new("two", &two.path(), &["10.0.0.20"], &conf).run(&lab.hosts[0], "ADD").unwrap_err();
    assert_eq!(error["code"], 101);
    assert!(error["msg"].as_str().unwrap().contains("/one/"), "names the owner: {error}");
    assert_eq!(lab.hosts[0].state(), state);
    ping(&lab.gateway.ns, "10.0.0.1", "10.0.0.20");
}
