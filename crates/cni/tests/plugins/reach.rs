//! Every mode, with one and several addresses: who reaches whom.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    lab::{Call, Lab, Space, UNDERLAY, VLAN, root},
    traffic::{answered, ping, serve, talk},
};

/// `count` addresses, each from the same subnet, that start at `first`.
fn ips(first: usize, count: usize) -> Vec<String> {
    (first..first + count).map(|last| format!("10.0.0.{last}")).collect()
}

fn add(lab: &Lab, host: usize, plugin: &str, more: &Value, ips: &[String]) -> (Space, Call, Value) {
    let pod = Space::make();
    let conf = lab.conf(host, plugin, more.clone());
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let call = Call::new(&format!("pod-{}", ips[0].replace([':', '.'], "-")), &pod.path(), &ips, &conf);
    let result = call.add(&lab.hosts[host]);
    (pod, call, result)
}

/// First packets are answered within 50 ms: nobody waits for a proxy, a cache, or a repetition (a second at least). One
/// on a busy machine may take longer.
#[track_caller]
fn at_once(mut times: Vec<Duration>) {
    times.sort();
    assert!(times[times.len() / 2] < Duration::from_millis(50), "{times:?}");
    assert!(times[times.len() - 1] < Duration::from_millis(700), "{times:?}");
}

/// Two pods on one host and one on the other, each with `count` addresses: ping and TCP between all, to the gateway and
/// beyond it; then everything is taken away.
fn matrix(plugin: &str, more: &Value, count: usize) {
    let mut lab = Lab::new();
    let before = if plugin == UNDERLAY { Some([lab.hosts[0].state(), lab.hosts[1].state()]) } else { None };
    let sets = [ips(20, count), ips(40, count), ips(60, count)];
    let pods: Vec<_> = [0, 0, 1].into_iter().zip(&sets).map(|(host, set)| add(&lab, host, plugin, more, set)).collect();
    let mut first = Vec::new();
    for ((pod, ..), own) in pods.iter().zip(&sets) {
        for ip in own {
            first.push(ping(&pod.ns, ip, "10.0.0.1"));
            first.push(ping(&lab.gateway.ns, "10.0.0.1", ip));
        }
        first.push(ping(&pod.ns, &own[0], "192.0.2.1"));
        let server = serve(&lab.gateway.ns, "192.0.2.1");
        talk(&pod.ns, &own[0], server);
    }
    at_once(first);
    for (at, own) in sets.iter().enumerate() {
        let last = own.last().unwrap();
        let servers = [serve(&pods[at].0.ns, &own[0]), serve(&pods[at].0.ns, last)];
        for (other, from) in sets.iter().enumerate().filter(|(other, _)| *other != at) {
            talk(&pods[other].0.ns, &from[0], servers[1]);
            talk(&pods[other].0.ns, from.last().unwrap(), servers[0]);
        }
        talk(&lab.gateway.ns, "10.0.0.1", servers[1]);
    }
    for ((mut pod, call, result), host) in pods.into_iter().zip([0, 0, 1]) {
        assert_eq!(result["ips"].as_array().unwrap().len(), count);
        call.del(&lab.hosts[host]);
        let links = pod.net.links().unwrap();
        assert_eq!(links.len(), 1, "only lo is left: {links:?}");
        assert_eq!(pod.net.rules().unwrap(), []);
    }
    if let Some(before) = before {
        assert_eq!(before, [lab.hosts[0].state(), lab.hosts[1].state()]);
    }
    assert!(answered(&lab.gateway.ns, "10.0.0.1", &sets[0][0], Duration::from_millis(30)).is_none());
}

#[test]
fn routed_one_address() {
    root().then(|| matrix(UNDERLAY, &json!({}), 1));
}

#[test]
fn routed_three_addresses() {
    root().then(|| matrix(UNDERLAY, &json!({}), 3));
}

#[test]
fn bridge_one_address() {
    root().then(|| matrix(VLAN, &json!({}), 1));
}

/// Row 52: each address is announced by its own interface.
#[test]
fn bridge_two_addresses() {
    root().then(|| matrix(VLAN, &json!({}), 2));
}

#[test]
fn pure_three_addresses() {
    root().then(|| matrix(VLAN, &json!({ "switch": "pure" }), 3));
}

#[test]
fn macvlan_two_addresses() {
    root().then(|| matrix(VLAN, &json!({ "switch": "macvlan", "device": "", "devices": ["eth7", "eth0"] }), 2));
}

/// Row 51: more addresses than a digit can count.
#[test]
fn twelve_addresses() {
    root().then(|| {
        matrix(UNDERLAY, &json!({}), 12);
        matrix(VLAN, &json!({}), 12);
    });
}

#[test]
fn ipv6_in_every_mode() {
    if !root() {
        return;
    }
    for (plugin, more) in [
        (UNDERLAY, json!({})),
        (VLAN, json!({})),
        (VLAN, json!({ "switch": "pure" })),
        (VLAN, json!({ "switch": "macvlan" })),
    ] {
        let mut lab = Lab::new();
        let before = lab.hosts[1].state();
        let a = add(&lab, 0, plugin, &more, &["fd00::20".to_owned(), "10.0.0.20".to_owned()]);
        let b = add(&lab, 0, plugin, &more, &["fd00::40".to_owned()]);
        let c = add(&lab, 1, plugin, &more, &["fd00::60".to_owned()]);
        for (from, to) in [(&a, "fd00::40"), (&a, "fd00::60"), (&a, "fd00::1")] {
            ping(&from.0.ns, "fd00::20", to);
        }
        ping(&a.0.ns, "10.0.0.20", "10.0.0.1");
        ping(&lab.gateway.ns, "fd00::1", "fd00::60");
        talk(&c.0.ns, "fd00::60", serve(&b.0.ns, "fd00::40"));
        c.1.del(&lab.hosts[1]);
        if plugin == UNDERLAY {
            assert_eq!(before, lab.hosts[1].state(), "also no answers for its address");
        }
    }
}

/// An address that moves to another host answers there at once: the neighbours' caches were told.
#[test]
fn an_address_that_moves_answers_at_once() {
    if !root() {
        return;
    }
    let mut gaps = Vec::new();
    for (plugin, more) in [
        (UNDERLAY, json!({})),
        (UNDERLAY, json!({ "gratuitous_arp_request": true })),
        (VLAN, json!({})),
        (VLAN, json!({ "switch": "macvlan" })),
    ] {
        let lab = Lab::new();
        for ip in ["10.0.0.20", "fd00::20"] {
            let (_gone, call, _) = add(&lab, 0, plugin, &more, &[ip.to_owned()]);
            let gateway = if ip.contains(':') { "fd00::1" } else { "10.0.0.1" };
            ping(&lab.gateway.ns, gateway, ip);
            call.del(&lab.hosts[0]);
            let _pod = add(&lab, 1, plugin, &more, &[ip.to_owned()]);
            gaps.push(ping(&lab.gateway.ns, gateway, ip));
        }
    }
    at_once(gaps);
}

/// Row 51: packets are as large as the underlay allows unless the configuration says otherwise.
#[test]
fn mtu_is_the_underlays() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for (number, (plugin, more, mtu)) in [
        (UNDERLAY, json!({}), 1450),
        (UNDERLAY, json!({ "mtu": 1300 }), 1300),
        (VLAN, json!({ "switch": "macvlan" }), 1450),
        (VLAN, json!({ "switch": "macvlan", "mtu": 1300 }), 1300),
        (VLAN, json!({ "mtu": 1200 }), 1200),
        (VLAN, json!({}), 1450),
    ]
    .into_iter()
    .enumerate()
    {
        let host = usize::from(more.get("switch").is_none());
        let (mut pod, _, result) = add(&lab, host, plugin, &more, &[format!("10.0.0.{}", 20 + number)]);
        assert_eq!(pod.net.link("eth0").unwrap().unwrap().mtu, mtu, "{plugin} {more}");
        assert_eq!(result["interfaces"].as_array().unwrap().last().unwrap()["mtu"], mtu);
    }
}

/// Somebody else has the address: named by MAC, refused or only said; a free one is no conflict.
#[test]
fn an_address_in_use_is_refused() {
    if !root() {
        return;
    }
    for (plugin, more) in [(UNDERLAY, json!({})), (VLAN, json!({})), (VLAN, json!({ "switch": "macvlan" }))] {
        let mut lab = Lab::new();
        lab.gateway.address("eth0", "10.0.0.50/24");
        lab.gateway.address("eth0", "fd00::50/64");
        let with = |how: &str| {
            let mut more = more.clone();
            more["address_conflict"] = how.into();
            lab.conf(0, plugin, more)
        };
        for ip in ["10.0.0.50", "fd00::50"] {
            let mut pod = Space::make();
            let error = Call::new("pod", &pod.path(), &[ip], &with("refuse")).run(&lab.hosts[0], "ADD").unwrap_err();
            assert_eq!(error["code"], 101, "{plugin} {ip} {error}");
            let message = error["msg"].as_str().unwrap();
            assert!(message.contains("02:00:00:00:01:01") && message.contains(ip), "{message}");
            assert_eq!(pod.net.links().unwrap().len(), 1);
            Call::new("pod", &pod.path(), &[ip], &with("warn")).add(&lab.hosts[0]);
        }
        let pod = Space::make();
        Call::new("free", &pod.path(), &["10.0.0.51"], &with("refuse")).add(&lab.hosts[0]);
    }
}
