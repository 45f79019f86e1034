//! Records of attachments that somebody damaged.

use std::fs;

use serde_json::json;

use crate::{
    lab::{Call, Lab, Space, UNDERLAY, VLAN, root},
    traffic::ping,
};

/// What a file may hold after a full disk, a bug, or an editor.
fn damage() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "", "{", "null", "[]", "{}", "7", "\"x\"", "{\"plugin\":\"galaxy-underlay-veth\"}",
        r#"{"plugin":7,"network":"net","container_id":"c","ifname":"eth0","addresses":[]}"#,
        r#"{"plugin":"galaxy-underlay-veth","network":"net","container_id":"other","ifname":"eth0","addresses":["10.0.0.1"]}"#,
        r#"{"plugin":"galaxy-underlay-veth","network":"net","container_id":"c","ifname":"eth0","addresses":["10.0.0.300"]}"#,
        r#"{"plugin":"galaxy-underlay-veth","network":"net","container_id":"c","ifname":"eth0","addresses":"10.0.0.20"}"#,
        r#"{"plugin":"galaxy-underlay-veth","network":"net","container_id":"../../x","ifname":"eth0","addresses":[]}"#,
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    all.extend([vec![0; 4096], vec![0xff, 0xfe, 0], vec![b'['; 100_000]]);
    all
}

/// ADD repairs them; CHECK, DEL and GC do their work by what the devices say.
#[test]
fn damaged_records_change_nothing() {
    if !root() {
        return;
    }
    for (plugin, more) in [(UNDERLAY, json!({})), (VLAN, json!({ "switch": "macvlan" }))] {
        let mut lab = Lab::new();
        let before = lab.hosts[0].state();
        let conf = lab.conf(0, plugin, more);
        let folder = lab.dir.join("0/attachments");
        for (number, bytes) in damage().into_iter().enumerate() {
            let mut pod = Space::make();
            let mut call = Call::new("c", &pod.path(), &["10.0.0.20", "10.0.0.21"], &conf);
            let result = call.add(&lab.hosts[0]);
            let record = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
            let good = fs::read(&record).unwrap();
            fs::write(&record, &bytes).unwrap();
            call.conf["prevResult"] = result.clone();
            call.run(&lab.hosts[0], "CHECK").unwrap();
            assert_eq!(call.add(&lab.hosts[0]), result, "case {number}");
            assert_eq!(fs::read(&record).unwrap(), good, "case {number}");
            ping(&lab.gateway.ns, "10.0.0.1", "10.0.0.21");
            fs::write(&record, &bytes).unwrap();
            if number % 2 == 0 {
                call.del(&lab.hosts[0]);
                assert_eq!(pod.net.links().unwrap().len(), 1, "case {number}");
                assert_eq!(pod.net.rules().unwrap(), [], "case {number}");
            } else {
                let mut gc = call.clone();
                gc.conf["cni.dev/valid-attachments"] = json!([]);
                gc.run(&lab.hosts[0], "GC").unwrap();
                call.del(&lab.hosts[0]);
            }
            assert_eq!(lab.hosts[0].state(), before, "{plugin}: case {number}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{plugin}: case {number}");
        }
    }
}

/// A folder where the record should be, and no folder where the records should be, are named; nothing is made.
#[test]
fn a_record_that_cannot_be_written_is_named() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let before = lab.hosts[0].state();
    let mut pod = Space::make();
    let call = Call::new("c", &pod.path(), &["10.0.0.20"], &lab.conf(0, UNDERLAY, json!({})));
    let folder = lab.dir.join("0/attachments");
    call.add(&lab.hosts[0]);
    let record = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    call.del(&lab.hosts[0]);
    fs::create_dir(&record).unwrap();
    let error = call.run(&lab.hosts[0], "ADD").unwrap_err();
    assert!(error["code"] == 5 && error["msg"].as_str().unwrap().contains("attachments"), "{error}");
    fs::remove_dir(&record).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    let error = call.run(&lab.hosts[0], "ADD").unwrap_err();
    assert!(error["code"] == 5 && error["msg"].as_str().unwrap().contains("attachments"), "{error}");
    assert_eq!(lab.hosts[0].state(), before);
    assert_eq!(pod.net.links().unwrap().len(), 1);
}
