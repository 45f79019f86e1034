//! Addresses from another IPAM plugin.

use std::{fs, io::Write, process::Command, process::Stdio};

use serde_json::json;

use crate::{
    lab::{Call, Lab, Space, UNDERLAY, VLAN, root},
    traffic::ping,
};

/// Writes down what it is called for; refuses a second ADD, as host-local does. Its answer is the file `answer`.
const IPAM: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 1
while read -r line; do conf="$conf$line"; done
echo "$CNI_COMMAND $CNI_CONTAINERID" >> calls
case $CNI_COMMAND in
ADD)
    if [ -e "lease-$CNI_CONTAINERID" ]; then echo '{"code":100,"msg":"duplicate allocation"}'; exit 1; fi
    : > "lease-$CNI_CONTAINERID"
    while read -r line; do echo "$line"; done < answer ;;
DEL) rm -f "lease-$CNI_CONTAINERID" ;;
GC) echo '{"code":4,"msg":"unknown CNI_COMMAND: GC"}'; exit 1 ;;
STATUS | CHECK) if [ -e broken ]; then echo '{"code":50,"msg":"pool is empty"}'; exit 1; fi ;;
esac
"#;

struct Ipam {
    dir: String,
}

impl Ipam {
    fn new(lab: &Lab, answer: &str) -> Ipam {
        let dir = lab.dir.join("bin");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("answer"), format!("{answer}\n")).unwrap();
        // Another process writes the program: were it open here, a child of another test could inherit the file and
        // keep it from being executed.
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "cat > test-ipam && chmod 755 test-ipam"])
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(IPAM.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        Ipam { dir: dir.to_str().unwrap().to_owned() }
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(format!("{}/calls", self.dir)).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

const ANSWER: &str = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.20/24","gateway":"10.0.0.1"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"198.51.100.0/24","gw":"10.0.0.11"}],"dns":{"nameservers":["10.0.0.2"]}}"#;

/// Row 47: addresses of an IPAM plugin are given back, last; and it is asked once for an attachment.
#[test]
fn delegated_addresses_are_given_back() {
    if !root() {
        return;
    }
    for plugin in [UNDERLAY, VLAN] {
        let lab = Lab::new();
        let ipam = Ipam::new(&lab, ANSWER);
        let pod = Space::make();
        let conf = lab.conf(0, plugin, json!({ "cniVersion": "1.0.0", "ipam": { "type": "test-ipam" } }));
        let mut call = Call::new("c", &pod.path(), &[], &conf);
        call.path = format!("/nowhere:{}", ipam.dir);
        let result = call.add(&lab.hosts[0]);
        assert_eq!(result["dns"]["nameservers"][0], "10.0.0.2");
        assert_eq!(result["routes"].as_array().unwrap().len(), 2);
        assert_eq!(call.add(&lab.hosts[0]), result);
        ping(&pod.ns, "10.0.0.20", "10.0.0.1");
        call.conf["prevResult"] = result;
        call.run(&lab.hosts[0], "CHECK").unwrap();
        call.del(&lab.hosts[0]);
        assert_eq!(ipam.calls(), ["ADD c", "CHECK c", "DEL c"]);
        call.del(&lab.hosts[0]);
        assert_eq!(ipam.calls().len(), 4, "asked again: it may have failed before");
    }
}

#[test]
fn a_failed_call_gives_addresses_back() {
    if !root() {
        return;
    }
    for (answer, more, word) in [
        (ANSWER, json!({ "device": "eth5" }), "eth5"),
        (r#"{"cniVersion":"1.0.0","ips":[]}"#, json!({}), "0 addresses"),
        (r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.20"}]}"#, json!({}), "address"),
        ("no JSON", json!({}), "not JSON"),
    ] {
        let mut lab = Lab::new();
        let before = lab.hosts[0].state();
        let ipam = Ipam::new(&lab, answer);
        let pod = Space::make();
        let mut conf = lab.conf(0, UNDERLAY, more);
        conf["ipam"] = json!({ "type": "test-ipam" });
        let mut call = Call::new("c", &pod.path(), &[], &conf);
        call.path = ipam.dir.clone();
        let error = call.run(&lab.hosts[0], "ADD").unwrap_err();
        assert!(error["msg"].as_str().unwrap().contains(word), "no {word:?} in {error}");
        assert_eq!(ipam.calls(), ["ADD c", "DEL c"], "{answer}");
        assert_eq!(lab.hosts[0].state(), before);
        assert_eq!(fs::read_dir(lab.dir.join("0/attachments")).unwrap().count(), 0);
    }
}

#[test]
fn errors_of_the_ipam_plugin_are_passed_on() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let ipam = Ipam::new(&lab, ANSWER);
    let pod = Space::make();
    let conf = lab.conf(0, UNDERLAY, json!({ "ipam": { "type": "test-ipam" } }));
    let mut call = Call::new("c", &pod.path(), &[], &conf);
    let error = call.run(&lab.hosts[0], "ADD").unwrap_err();
    assert!(error["msg"].as_str().unwrap().contains("CNI_PATH"), "{error}");
    call.path = ipam.dir.clone();
    call.run(&lab.hosts[0], "STATUS").unwrap();
    fs::write(format!("{}/broken", ipam.dir), "").unwrap();
    let error = call.run(&lab.hosts[0], "STATUS").unwrap_err();
    assert_eq!(error["code"], 50);
    assert!(error["msg"].as_str().unwrap().contains("pool is empty"), "{error}");
    // An old one does not know GC, which is no failure of ours.
    call.conf["cni.dev/valid-attachments"] = json!([]);
    call.run(&lab.hosts[0], "GC").unwrap();
    assert!(ipam.calls().iter().any(|call| call.starts_with("GC")));
}
