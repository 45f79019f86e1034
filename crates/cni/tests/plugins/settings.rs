//! Kernel settings: what a plugin leaves behind is documented.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::json;

use crate::{
    lab::{Call, Lab, Space, UNDERLAY, VLAN, root},
    traffic::ping,
};

/// All settings of devices in a host, without those of devices of pods.
fn settings(space: &Space) -> BTreeMap<String, String> {
    fn walk(path: &Path, all: &mut BTreeMap<String, String>) {
        let Ok(entries) = fs::read_dir(path) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, all);
            } else if let (Ok(value), Ok(name)) = (fs::read_to_string(&path), path.strip_prefix("/proc/sys/net")) {
                all.insert(name.display().to_string(), value.trim().to_owned());
            }
        }
    }
    let read = || {
        let mut all = BTreeMap::new();
        for folder in ["ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh"] {
            walk(&Path::new("/proc/sys/net").join(folder), &mut all);
        }
        all
    };
    space.ns.within(read).unwrap()
}

#[test]
fn settings_change_only_as_documented() {
    if !root() {
        return;
    }
    const ROUTED_V4: &[&str] = &[
        "ipv4/conf/eth0/forwarding=1",
        "ipv4/conf/all/arp_ignore=0",
        "ipv4/conf/eth0/arp_ignore=0",
        "ipv4/neigh/eth0/proxy_delay=0",
    ];
    const ROUTED_V6: &[&str] = &[
        // The kernel passes `all` on to every device.
        "ipv6/conf/all/forwarding=1",
        "ipv6/conf/default/forwarding=1",
        "ipv6/conf/lo/forwarding=1",
        "ipv6/conf/eth0/forwarding=1",
        "ipv6/conf/eth0/proxy_ndp=1",
        "ipv6/conf/eth0/accept_ra=2",
        "ipv6/neigh/eth0/proxy_delay=0",
    ];
    for (plugin, more, v4, v6) in [
        (UNDERLAY, json!({}), ROUTED_V4, ROUTED_V6),
        (VLAN, json!({ "switch": "pure" }), ROUTED_V4, ROUTED_V6),
        (VLAN, json!({}), &[], &[]),
        (VLAN, json!({ "switch": "macvlan" }), &[], &[]),
    ] {
        let lab = Lab::new();
        let host = &lab.hosts[0];
        // Values that a plugin must change where it changes them at all.
        let odd = || {
            for (path, value) in [
                ("ipv4/conf/all/arp_ignore", "1"),
                ("ipv4/conf/eth0/arp_ignore", "2"),
                ("ipv4/conf/eth0/forwarding", "0"),
                ("ipv6/conf/eth0/accept_ra", "1"),
            ] {
                fs::write(Path::new("/proc/sys/net").join(path), value).unwrap();
            }
        };
        host.ns.within(odd).unwrap();
        let before = settings(host);
        for (ip, gateway, documented) in [("10.0.0.20", "10.0.0.1", v4), ("fd00::20", "fd00::1", v6)] {
            let now = settings(host);
            let pod = Space::make();
            let call = Call::new("c", &pod.path(), &[ip], &lab.conf(0, plugin, more.clone()));
            call.add(host);
            ping(&lab.gateway.ns, gateway, ip);
            call.del(host);
            let changed = settings(host)
                .into_iter()
                .filter(|(path, value)| before.contains_key(path) && now.get(path) != Some(value));
            let changed: Vec<String> = changed.map(|(path, value)| format!("{path}={value}")).collect();
            let surprise: Vec<_> = changed.iter().filter(|line| !documented.contains(&line.as_str())).collect();
            assert!(surprise.is_empty(), "{plugin} {more} {ip}: {surprise:?}");
            assert!(documented.is_empty() || changed.len() >= 3, "{plugin} {ip}: only {changed:?}");
        }
    }
}
