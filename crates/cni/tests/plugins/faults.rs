//! A call that fails, or is killed, before any of its netlink messages.

use std::{
    env, fs, io,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use galaxy_cni::{
    Node, Plugin,
    netlink::Tap,
    spec::{NetConf, Request},
};
use serde_json::{Value, json};

use crate::{
    lab::{Call, Lab, Space, UNDERLAY, VLAN, root},
    traffic::ping,
};

fn modes() -> [(&'static str, Value); 3] {
    [(UNDERLAY, json!({})), (VLAN, json!({})), (VLAN, json!({ "switch": "macvlan" }))]
}

/// Calls the plugin in this process; `fault` happens instead of message number `at`.
fn call(call: &Call, command: &str, at: usize, fault: fn() -> io::Error) -> Result<Value, String> {
    let count = AtomicUsize::new(0);
    let tap: Tap = Arc::new(move || if count.fetch_add(1, Ordering::Relaxed) == at { Err(fault()) } else { Ok(()) });
    let request = Request::from_env(call.env(command)).unwrap();
    let conf = NetConf::parse(call.conf.to_string().as_bytes()).unwrap();
    let plugin = Plugin::ALL.into_iter().find(|plugin| plugin.name() == call.conf["type"]).unwrap();
    plugin.call(&Node::here().unwrap().with_tap(tap), &request, &conf).map_err(|error| error.to_string())
}

fn refused() -> io::Error {
    io::Error::other("refused by the test")
}

/// A failed ADD leaves nothing, on the host, in the pod, and in the folder.
#[test]
fn a_failed_add_leaves_nothing() {
    if !root() {
        return;
    }
    for (plugin, more) in modes() {
        let mut lab = Lab::new();
        let mut pod = Space::make();
        let mut host = lab.hosts[0].state();
        let before = pod.state();
        let add = Call::new("c", &pod.path(), &["10.0.0.20", "10.0.0.21"], &lab.conf(0, plugin, more));
        for at in 0.. {
            match lab.hosts[0].ns.within(|| call(&add, "ADD", at, refused)).unwrap() {
                Ok(_) => {
                    assert!(at > 20, "the fault at {at} was not noticed");
                    break;
                }
                Err(error) => assert!(error.contains("refused by the test"), "{at}: {error}"),
            }
            let mut after = lab.hosts[0].state();
            // Replaced routes come back at another place of the list, not otherwise.
            let difference: Vec<_> = host.symmetric_difference(&after).collect();
            assert!(difference.is_empty(), "{plugin}: message {at}: {difference:?}");
            std::mem::swap(&mut host, &mut after);
            assert_eq!(pod.state(), before, "{plugin}: message {at}");
            assert_eq!(fs::read_dir(lab.dir.join("0/attachments")).unwrap().count(), 0, "{plugin}: message {at}");
        }
        ping(&lab.gateway.ns, "10.0.0.1", "10.0.0.21");
        ping(&lab.gateway.ns, "10.0.0.1", "10.0.0.11");
    }
}

/// A DEL that fails at any point says so, and the next one finishes it.
#[test]
fn a_failed_del_is_finished_by_the_next() {
    if !root() {
        return;
    }
    for (plugin, more) in modes() {
        let mut lab = Lab::new();
        let conf = lab.conf(0, plugin, more);
        let first = Space::make();
        Call::new("first", &first.path(), &["10.0.0.19"], &conf).add(&lab.hosts[0]);
        let before = lab.hosts[0].state();
        for at in 0.. {
            let mut pod = Space::make();
            let both = Call::new("c", &pod.path(), &["10.0.0.20", "10.0.0.21"], &conf);
            both.add(&lab.hosts[0]);
            let failed = lab.hosts[0].ns.within(|| call(&both, "DEL", at, refused)).unwrap().is_err();
            both.del(&lab.hosts[0]);
            assert_eq!(lab.hosts[0].state(), before, "{plugin}: message {at}");
            assert_eq!(pod.net.links().unwrap().len(), 1);
            assert_eq!(pod.net.rules().unwrap(), []);
            if !failed {
                assert!(at > 5, "the fault at {at} was not noticed");
                break;
            }
        }
    }
}

const KILL: &str = "GALAXY_CNI_TEST_KILL";

fn kill() -> io::Error {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    refused()
}

/// Does nothing by itself: the test below runs it in a process of its own, which it kills.
#[test]
fn the_process_that_is_killed() {
    let Ok(text) = env::var(KILL) else { return };
    let (command, at, value): (String, usize, Value) = serde_json::from_str(&text).unwrap();
    let text = |member: &str| value[member].as_str().unwrap().to_owned();
    let killed = Call {
        id: text("id"),
        netns: text("netns"),
        ifname: text("ifname"),
        args: text("args"),
        path: String::new(),
        conf: value["conf"].clone(),
    };
    call(&killed, &command, at, kill).unwrap();
}

/// kill -9 before any netlink message of ADD; then DEL or GC: nothing is left, and the node is reachable.
#[test]
fn after_kill_9_del_and_gc_leave_nothing() {
    if !root() {
        return;
    }
    for (plugin, more) in modes() {
        let mut lab = Lab::new();
        let conf = lab.conf(0, plugin, more);
        // What pods share is there already; how that is made is the next test's.
        let first = Space::make();
        Call::new("first", &first.path(), &["10.0.0.19"], &conf).add(&lab.hosts[0]);
        let before = lab.hosts[0].state();
        for at in 0.. {
            let mut pod = Space::make();
            let add = Call::new("c", &pod.path(), &["10.0.0.20", "10.0.0.21"], &conf);
            let survived = run_and_kill(&lab.hosts[0], &add, "ADD", at);
            if at % 2 == 0 {
                add.del(&lab.hosts[0]);
                assert_eq!(pod.net.links().unwrap().len(), 1, "{plugin}: message {at}");
                assert_eq!(pod.net.rules().unwrap(), [], "{plugin}: message {at}");
            } else {
                let mut gc = Call { id: String::new(), ifname: String::new(), ..add };
                gc.conf["cni.dev/valid-attachments"] = json!([{ "containerID": "first", "ifname": "eth0" }]);
                gc.run(&lab.hosts[0], "GC").unwrap();
            }
            // GC cannot enter the namespace of a pod; what is there goes with it.
            drop(pod);
            assert_eq!(lab.hosts[0].state(), before, "{plugin}: message {at}");
            if survived {
                assert!(at > 20, "the kill at {at} did not happen");
                break;
            }
        }
    }
}

/// kill -9 before any netlink message of DEL; then DEL or GC: nothing is left.
#[test]
fn a_del_that_is_killed_is_finished_by_del_and_gc() {
    if !root() {
        return;
    }
    for (plugin, more) in modes() {
        let mut lab = Lab::new();
        let conf = lab.conf(0, plugin, more);
        let first = Space::make();
        Call::new("first", &first.path(), &["10.0.0.19"], &conf).add(&lab.hosts[0]);
        let before = lab.hosts[0].state();
        for at in 0.. {
            let mut pod = Space::make();
            let call = Call::new("c", &pod.path(), &["10.0.0.20", "10.0.0.21"], &conf);
            call.add(&lab.hosts[0]);
            let survived = run_and_kill(&lab.hosts[0], &call, "DEL", at);
            if at % 2 == 0 {
                call.del(&lab.hosts[0]);
                assert_eq!(pod.net.links().unwrap().len(), 1, "{plugin}: message {at}");
                assert_eq!(pod.net.rules().unwrap(), [], "{plugin}: message {at}");
            } else {
                let mut gc = Call { id: String::new(), ifname: String::new(), ..call };
                gc.conf["cni.dev/valid-attachments"] = json!([{ "containerID": "first", "ifname": "eth0" }]);
                gc.run(&lab.hosts[0], "GC").unwrap();
            }
            drop(pod);
            assert_eq!(lab.hosts[0].state(), before, "{plugin}: message {at}");
            assert_eq!(fs::read_dir(lab.dir.join("0/attachments")).unwrap().count(), 1, "{plugin}: message {at}");
            if survived {
                assert!(at > 5, "the kill at {at} did not happen");
                break;
            }
        }
    }
}

/// Killed at any point of making the bridge: the node is reachable, and the next ADD finishes what was begun.
#[test]
fn after_kill_9_the_next_add_finishes_the_bridge() {
    if !root() {
        return;
    }
    // The messages of a call that makes the bridge; later ones are the pod's.
    for at in 1..26 {
        let lab = Lab::new();
        let conf = lab.conf(0, VLAN, json!({}));
        let pod = Space::make();
        run_and_kill(&lab.hosts[0], &Call::new("c", &pod.path(), &["10.0.0.20"], &conf), "ADD", at);
        Call::new("d", &pod.path(), &["10.0.0.20"], &conf).run(&lab.hosts[0], "DEL").unwrap();
        let pod = Space::make();
        Call::new("e", &pod.path(), &["10.0.0.21"], &conf).add(&lab.hosts[0]);
        ping(&pod.ns, "10.0.0.21", "192.0.2.1");
        ping(&lab.hosts[0].ns, "10.0.0.11", "192.0.2.1");
        ping(&lab.hosts[0].ns, "fd00::11", "fd00::1");
    }
}

/// Calls the plugin in a process that is killed instead of sending message number `at`. Whether it ended by itself.
pub(crate) fn run_and_kill(host: &Space, call: &Call, command: &str, at: usize) -> bool {
    let call = json!([command, at, {
        "id": call.id, "netns": call.netns, "ifname": call.ifname, "args": call.args, "conf": call.conf,
    }]);
    let status = host.ns.within(|| {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "faults::the_process_that_is_killed", "--test-threads=1"])
            .env(KILL, call.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
    });
    status.unwrap().success()
}
