//! First answers, conflicts, sizes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    lab::{Call, Lab, Space, UNDERLAY, VLAN, root},
    traffic::ping,
};

pub(crate) fn add(lab: &Lab, host: usize, plugin: &str, more: &Value, ips: &[String]) -> (Space, Call, Value) {
    let pod = Space::make();
    let conf = lab.conf(host, plugin, more.clone());
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let call = Call::new(&format!("pod-{}", ips[0].replace([':', '.'], "-")), &pod.path(), &ips, &conf);
    let result = call.add(&lab.hosts[host]);
    (pod, call, result)
}

/// First packets are answered within 50 ms: nobody waits for a proxy, a cache, or a repetition (a second at least). One
/// on a busy machine may take longer, and time in user-mode Linux is another.
#[track_caller]
pub(crate) fn at_once(mut times: Vec<(Duration, String)>) {
    times.sort();
    if crate::uml::inside() {
        return;
    }
    assert!(times[times.len() / 2].0 < Duration::from_millis(50), "{times:?}");
    assert!(times[times.len() - 1].0 < Duration::from_millis(700), "{times:?}");
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
            gaps.push((ping(&lab.gateway.ns, gateway, ip), format!("{plugin} {more} {ip}")));
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
