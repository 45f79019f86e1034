//! Repeated, overlapping, late and parallel calls.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use galaxy_cni::netlink::{Link, Veth};
use serde_json::{Value, json};

use crate::{
    lab::{Call, Lab, Space, UNDERLAY, VLAN, root, v4},
    traffic::{ARP, Tap, announces, ping},
};

fn modes() -> [(&'static str, Value); 4] {
    [
        (UNDERLAY, json!({})),
        (VLAN, json!({})),
        (VLAN, json!({ "switch": "pure" })),
        (VLAN, json!({ "switch": "macvlan" })),
    ]
}

/// Row 51: ADD again gives the same result and changes nothing; DEL again succeeds.
#[test]
fn calls_can_be_repeated() {
    if !root() {
        return;
    }
    for (plugin, more) in modes() {
        let mut lab = Lab::new();
        let mut pod = Space::make();
        let call = Call::new(&"f".repeat(300), &pod.path(), &["10.0.0.20", "10.0.0.21"], &lab.conf(0, plugin, more));
        let first = call.add(&lab.hosts[0]);
        let (host_state, pod_state) = (lab.hosts[0].state(), pod.state());
        assert_eq!(call.add(&lab.hosts[0]), first);
        assert_eq!((lab.hosts[0].state(), pod.state()), (host_state, pod_state), "{plugin}");
        ping(&pod.ns, "10.0.0.21", "10.0.0.1");
        // The same attachment with other addresses has only those.
        let other = Call { args: Call::new("", "", &["10.0.0.22"], &Value::Null).args, ..call.clone() };
        other.add(&lab.hosts[0]);
        ping(&pod.ns, "10.0.0.22", "10.0.0.1");
        assert_eq!(pod.net.links().unwrap().len(), 2);
        for _ in 0..3 {
            call.del(&lab.hosts[0]);
        }
        // As containerd does later.
        Call { netns: String::new(), ..call.clone() }.del(&lab.hosts[0]);
        assert_eq!(pod.net.links().unwrap().len(), 1);
        let left = fs::read_dir(lab.dir.join("0/attachments")).unwrap().count();
        assert_eq!(left, 0, "records");
    }
}

#[test]
fn a_short_container_id_is_enough() {
    root().then(|| {
        let lab = Lab::new();
        let pod = Space::make();
        let call = Call::new("a", &pod.path(), &["10.0.0.20"], &lab.conf(0, UNDERLAY, json!({})));
        call.add(&lab.hosts[0]);
        call.del(&lab.hosts[0]);
    });
}

/// The namespace, the record, or both are gone; a new pod of the same name already lives.
#[test]
fn del_works_when_things_are_gone() {
    if !root() {
        return;
    }
    for (plugin, more) in modes() {
        let mut lab = Lab::new();
        let conf = lab.conf(0, plugin, more);
        // The first one makes what pods share.
        let pod = Space::make();
        let shared = Call::new("first", &pod.path(), &["10.0.0.19"], &conf);
        shared.add(&lab.hosts[0]);
        let before = lab.hosts[0].state();
        for (namespace, record) in [(true, false), (false, true), (false, false)] {
            let pod = Space::make();
            let call = Call::new("old", &pod.path(), &["10.0.0.20", "10.0.0.21"], &conf);
            call.add(&lab.hosts[0]);
            if !record {
                fs::remove_dir_all(lab.dir.join("0/attachments")).unwrap();
            }
            let kept = namespace.then_some(pod);
            if !namespace {
                // With its namespace the kernel takes the device and the route, which named what the host answers for.
                let deadline = Instant::now() + Duration::from_secs(20);
                let theirs = |links: Vec<Link>| links.iter().any(|link| link.alias.contains("/old/"));
                while theirs(lab.hosts[0].net.links().unwrap()) {
                    assert!(Instant::now() < deadline, "{plugin}: the device stays");
                    thread::sleep(Duration::from_millis(5));
                }
            }
            let late = Call { netns: if namespace { call.netns.clone() } else { String::new() }, ..call.clone() };
            late.del(&lab.hosts[0]);
            drop(kept);
            assert_eq!(lab.hosts[0].state(), before, "{plugin}: namespace {namespace}, record {record}");
        }
        // A late DEL of the old sandbox leaves the new one of the same pod alone.
        let old = Call::new("old", "/nowhere", &["10.0.0.20"], &conf);
        let pod = Space::make();
        Call::new("new", &pod.path(), &["10.0.0.20"], &conf).add(&lab.hosts[0]);
        let living = lab.hosts[0].state();
        old.del(&lab.hosts[0]);
        assert_eq!(lab.hosts[0].state(), living);
        ping(&lab.gateway.ns, "10.0.0.1", "10.0.0.20");
    }
}

/// Row 45: devices of other networks and other makers stay.
#[test]
fn del_removes_only_its_own() {
    root().then(|| {
        let mut lab = Lab::new();
        let mut pod = Space::make();
        let one = Call::new("c", &pod.path(), &["10.0.0.20"], &lab.conf(0, UNDERLAY, json!({})));
        let mut conf = lab.conf(0, UNDERLAY, json!({}));
        conf["name"] = "other".into();
        let other = Call { ifname: "net1".to_owned(), ..Call::new("c", &pod.path(), &["10.0.0.21"], &conf) };
        let foreign = Veth { name: "foreign", mac: None, peer: "net2", peer_ns: &pod.ns, peer_mac: None, mtu: None };
        lab.hosts[0].net.create_veth(&foreign).unwrap();
        one.add(&lab.hosts[0]);
        other.add(&lab.hosts[0]);
        one.del(&lab.hosts[0]);
        let mut names: Vec<String> = pod.net.links().unwrap().into_iter().map(|link| link.name).collect();
        names.sort();
        assert_eq!(names, ["lo", "net1", "net2"]);
        ping(&lab.gateway.ns, "10.0.0.1", "10.0.0.21");
        other.del(&lab.hosts[0]);
        assert!(pod.net.link("net2").unwrap().is_some());
    });
}

#[test]
fn calls_for_one_attachment_may_overlap() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let before = lab.hosts[0].state();
    let pod = Space::make();
    let call = Call::new("c", &pod.path(), &["10.0.0.20", "10.0.0.21"], &lab.conf(0, UNDERLAY, json!({})));
    for _ in 0..3 {
        thread::scope(|scope| {
            for command in ["ADD", "ADD", "DEL", "DEL"] {
                let (call, host) = (&call, &lab.hosts[0]);
                scope.spawn(move || call.run(host, command).unwrap());
            }
        });
        call.del(&lab.hosts[0]);
        assert_eq!(lab.hosts[0].state(), before);
    }
}

/// Row 58: fifty at once on a host where nothing is prepared, and away again.
#[test]
fn fifty_at_once() {
    if !root() {
        return;
    }
    for plugin in [UNDERLAY, VLAN] {
        let lab = Lab::new();
        let conf = lab.conf(0, plugin, json!({}));
        let pods: Vec<Space> = (0..50).map(|_| Space::make()).collect();
        let ip = |n: usize| format!("10.0.0.{}", 100 + n);
        let calls: Vec<Call> = pods
            .iter()
            .enumerate()
            .map(|(n, pod)| Call::new(&format!("c{n}"), &pod.path(), &[&ip(n)], &conf))
            .collect();
        thread::scope(|scope| {
            for call in &calls {
                let host = &lab.hosts[0];
                scope.spawn(move || call.add(host));
            }
        });
        for (n, pod) in pods.iter().enumerate() {
            ping(&pod.ns, &ip(n), "10.0.0.1");
        }
        thread::scope(|scope| {
            for call in &calls {
                let host = &lab.hosts[0];
                scope.spawn(move || call.del(host));
            }
        });
        let mut lab = lab;
        let ours = |link: &galaxy_cni::netlink::Link| link.name.starts_with("gx");
        assert_eq!(lab.hosts[0].net.links().unwrap().into_iter().filter(ours).count(), 0);
        assert_eq!(lab.hosts[0].net.proxies().unwrap(), []);
    }
}

/// GC keeps what the runtime names, with or without records.
#[test]
fn gc_removes_what_nobody_uses() {
    if !root() {
        return;
    }
    for records in [true, false] {
        let mut lab = Lab::new();
        let before = lab.hosts[0].state();
        let conf = lab.conf(0, UNDERLAY, json!({}));
        let pods = [Space::make(), Space::make(), Space::make()];
        let calls: Vec<Call> = ["a", "b", "c"]
            .into_iter()
            .zip(&pods)
            .zip(["10.0.0.20", "10.0.0.21", "10.0.0.22"])
            .map(|((id, pod), ip)| Call::new(id, &pod.path(), &[ip], &conf))
            .collect();
        calls.iter().for_each(|call| drop(call.add(&lab.hosts[0])));
        if !records {
            fs::remove_dir_all(lab.dir.join("0/attachments")).unwrap();
        }
        let gc = |valid: Value| {
            let mut call = Call { id: String::new(), netns: String::new(), ifname: String::new(), ..calls[0].clone() };
            call.conf["cni.dev/valid-attachments"] = valid;
            call
        };
        gc(json!([{ "containerID": "b", "ifname": "eth0" }])).run(&lab.hosts[0], "GC").unwrap();
        ping(&lab.gateway.ns, "10.0.0.1", "10.0.0.21");
        let count = |lab: &mut Lab| {
            lab.hosts[0].net.links().unwrap().into_iter().filter(|link| link.alias.starts_with("galaxy/")).count()
        };
        assert_eq!(count(&mut lab), 1);
        // Go's empty list.
        gc(Value::Null).run(&lab.hosts[0], "GC").unwrap();
        assert_eq!(count(&mut lab), 0);
        assert_eq!(lab.hosts[0].state(), before, "records {records}");
    }
}

/// Row 58: CHECK sees what is missing.
#[test]
fn check_sees_what_is_missing() {
    if !root() {
        return;
    }
    for (plugin, more) in modes() {
        let lab = Lab::new();
        let mut pod = Space::make();
        let mut call = Call::new("c", &pod.path(), &["10.0.0.20", "10.0.0.21"], &lab.conf(0, plugin, more));
        let result = call.add(&lab.hosts[0]);
        call.conf["prevResult"] = result;
        let error = |call: &Call| call.run(&lab.hosts[0], "CHECK").unwrap_err()["msg"].as_str().unwrap().to_owned();
        call.run(&lab.hosts[0], "CHECK").unwrap();
        let index = pod.index("eth1");
        pod.net.delete_address(index, "10.0.0.21/24".parse().unwrap()).unwrap();
        assert!(error(&call).contains("10.0.0.21"), "{}", error(&call));
        call.add(&lab.hosts[0]);
        call.run(&lab.hosts[0], "CHECK").unwrap();
        pod.net.set_down(index).unwrap();
        assert!(error(&call).contains("eth1"));
        pod.net.delete(&[index]).unwrap();
        assert!(error(&call).contains("gone"), "{}", error(&call));
        call.add(&lab.hosts[0]);
        ping(&lab.gateway.ns, "10.0.0.1", "10.0.0.21");
        call.run(&lab.hosts[0], "CHECK").unwrap();
    }
}

#[test]
fn status_tells_whether_pods_can_be_attached() {
    root().then(|| {
        let mut lab = Lab::new();
        let status = Call::new("", "", &[], &lab.conf(0, UNDERLAY, json!({})));
        status.run(&lab.hosts[0], "STATUS").unwrap();
        let index = lab.hosts[0].index("eth0");
        lab.hosts[0].net.set_down(index).unwrap();
        let error = status.run(&lab.hosts[0], "STATUS").unwrap_err();
        assert_eq!(error["code"], 50);
        assert!(error["msg"].as_str().unwrap().contains("eth0"), "{error}");
    });
}

/// An announcement comes several times, and not any more once the pod is gone.
#[test]
fn announcements_end_with_the_pod() {
    root().then(|| {
        let lab = Lab::new();
        let pod = Space::make();
        let call = Call::new("c", &pod.path(), &["10.0.0.20"], &lab.conf(0, UNDERLAY, json!({})));
        let tap = Tap::new(&lab.gateway.ns, "eth0", ARP);
        let heard = |millis| tap.hears(Duration::from_millis(millis), |frame| announces(frame, v4(0, 20)));
        call.add(&lab.hosts[0]);
        assert!(heard(500) && heard(500), "first and second");
        call.del(&lab.hosts[0]);
        // One may have been under way.
        heard(50);
        assert!(!heard(2500), "announced after DEL");
    });
}
