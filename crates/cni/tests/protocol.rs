//! What a runtime sees of the protocol, from the outside: no root, no namespaces, nothing changed.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_galaxy-cni");

/// Calls a plugin: whether it succeeded, and what it printed.
fn call(plugin: &str, env: &[(&str, &str)], stdin: &str) -> (bool, String) {
    let mut child = Command::new(PROGRAM)
        .arg0(plugin)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // A call that fails early does not read it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// An ADD that would fail only for its namespace, with replacements.
fn env(changes: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut env = vec![
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/nowhere/netns"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/nowhere"),
        ("CNI_ARGS", r#"IgnoreUnknown=1;ipinfos=[{"ip":"10.0.0.5/24","vlan":0,"gateway":"10.0.0.1"}]"#),
    ];
    for (key, value) in changes {
        env.retain(|(name, _)| name != key);
        env.push((key, value));
    }
    env
}

const CONF: &str =
    r#"{"cniVersion":"1.0.0","name":"net","type":"galaxy-k8s-vlan","device":"eth9","run_dir":"/proc/nowhere"}"#;

#[track_caller]
fn expect(plugin: &str, env: &[(&str, &str)], stdin: &str, code: u64, words: &[&str]) {
    let (success, out) = call(plugin, env, stdin);
    let case = format!("{env:?} < {stdin}\n> {out}");
    assert!(!success, "{case}");
    let error: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {case}"));
    assert_eq!(error["code"], code, "{case}");
    let message = error["msg"].as_str().unwrap();
    words.iter().for_each(|word| assert!(message.contains(word), "no {word:?} in {case}"));
}

#[test]
fn a_malformed_environment_is_named() {
    let long = "a-name-of-16-byte";
    for (key, value, word) in [
        ("CNI_COMMAND", "", "CNI_COMMAND"),
        ("CNI_COMMAND", "add", "\"add\""),
        ("CNI_COMMAND", "ADD ", "GC"),
        ("CNI_CONTAINERID", "", "CNI_CONTAINERID"),
        ("CNI_CONTAINERID", "-a", "\"-a\""),
        ("CNI_CONTAINERID", "a/b", "CNI_CONTAINERID"),
        ("CNI_CONTAINERID", "../x", "CNI_CONTAINERID"),
        ("CNI_CONTAINERID", "é", "CNI_CONTAINERID"),
        ("CNI_IFNAME", "", "CNI_IFNAME"),
        ("CNI_IFNAME", long, long),
        ("CNI_IFNAME", "a/b", "CNI_IFNAME"),
        ("CNI_IFNAME", "a b", "CNI_IFNAME"),
        ("CNI_IFNAME", "a:b", "CNI_IFNAME"),
        ("CNI_IFNAME", ".", "CNI_IFNAME"),
        ("CNI_IFNAME", "..", "CNI_IFNAME"),
        ("CNI_IFNAME", "eth%d", "CNI_IFNAME"),
        ("CNI_IFNAME", "all", "CNI_IFNAME"),
        ("CNI_NETNS", "", "CNI_NETNS"),
    ] {
        expect("galaxy-k8s-vlan", &env(&[(key, value)]), CONF, 4, &[word]);
    }
}

#[test]
fn malformed_addresses_are_named() {
    for (infos, word) in [
        ("", "ipinfos"),
        ("null", "list"),
        ("[]", "0 addresses"),
        ("{}", "list"),
        ("[1]", "list"),
        ("[{}]", "ip"),
        (r#"[{"ip":"10.0.0.5","gateway":"10.0.0.1"}]"#, "10.0.0.5"),
        (r#"[{"ip":"10.0.0.5/33","gateway":"10.0.0.1"}]"#, "/33"),
        (r#"[{"ip":"10.0.0.256/24","gateway":"10.0.0.1"}]"#, "256"),
        (r#"[{"ip":"10.0.0.5/24"}]"#, "gateway"),
        (r#"[{"ip":"10.0.0.5/24","gateway":""}]"#, "ipinfos"),
        (r#"[{"ip":"10.0.0.5/24","gateway":"10.0.0.1","vlan":-1}]"#, "-1"),
        (r#"[{"ip":"10.0.0.5/24","gateway":"10.0.0.1","vlan":4095}]"#, "4095"),
        (r#"[{"ip":"10.0.0.5/24","gateway":"10.0.0.1","vlan":70000}]"#, "70000"),
        (r#"[{"ip":"10.0.0.5/24","gateway":"10.0.0.1","vlan":"2"}]"#, "ipinfos"),
        (r#"[{"ip":"10.0.0.5/24","gateway":"fd00::1"}]"#, "fd00::1"),
        (r#"[{"ip":"10.0.0.5/24","gateway":"10.0.0.5"}]"#, "own gateway"),
        (r#"[{"ip":"0.0.0.0/24","gateway":"10.0.0.1"}]"#, "0.0.0.0"),
        (r#"[{"ip":"127.0.0.1/8","gateway":"10.0.0.1"}]"#, "127.0.0.1"),
        (r#"[{"ip":"224.0.0.1/8","gateway":"10.0.0.1"}]"#, "224.0.0.1"),
        (r#"[{"ip":"255.255.255.255/32","gateway":"10.0.0.1"}]"#, "255.255.255.255"),
        (r#"[{"ip":"10.0.0.5/24","gateway":"0.0.0.0"}]"#, "0.0.0.0"),
        (r#"[{"ip":"10.0.0.5/24","gateway":"10.0.0.1"},{"ip":"10.0.0.5/16","gateway":"10.0.0.1"}]"#, "twice"),
    ] {
        let args = format!("A;=;K8S_POD_NAME=p;ipinfos={infos}");
        let mut env = env(&[]);
        env.retain(|(name, _)| *name != "CNI_ARGS");
        env.push(("CNI_ARGS", &args));
        expect("galaxy-underlay-veth", &env, CONF, 4, &["CNI_ARGS", word]);
    }
}

#[test]
fn a_malformed_configuration_is_named() {
    let conf = |member: &str| format!(r#"{{"cniVersion":"0.4.0","name":"net","type":"t",{member}}}"#);
    for (stdin, code, word) in [
        (String::new(), 6, "JSON"),
        ("x".to_owned(), 6, "JSON"),
        ("[]".to_owned(), 6, "object"),
        ("null".to_owned(), 6, "object"),
        (r#"{"name":"net""#.to_owned(), 6, "JSON"),
        (r#"{"cniVersion":1,"name":"net"}"#.to_owned(), 6, "cniVersion"),
        (r#"{"cniVersion":"1.2.0","name":"net"}"#.to_owned(), 1, "1.1.0"),
        (r#"{"cniVersion":"v1","name":"net"}"#.to_owned(), 1, "\"v1\""),
        ("{}".to_owned(), 7, "name"),
        (r#"{"name":"a/b"}"#.to_owned(), 7, "a/b"),
        (r#"{"name":"-a"}"#.to_owned(), 7, "-a"),
        (r#"{"name":7}"#.to_owned(), 6, "name"),
        (conf(r#""ipam":7"#), 6, "ipam"),
        (conf(r#""ipam":{"type":7}"#), 6, "ipam.type"),
        (conf(r#""ipam":{"type":"../sh"}"#), 7, "../sh"),
        (conf(r#""dns":7"#), 6, "dns"),
        (conf(r#""dns":{"nameservers":"x"}"#), 6, "nameservers"),
        (conf(r#""prevResult":7"#), 6, "prevResult"),
        (conf(r#""prevResult":{"cniVersion":"9.9.9"}"#), 1, "prevResult"),
        (conf(r#""prevResult":{"ips":[{"address":"x"}]}"#), 6, "ips[0].address"),
        (conf(r#""prevResult":{"ips":[{"address":"10.0.0.1/8","interface":3}]}"#), 6, "interface 3"),
        (conf(r#""cni.dev/valid-attachments":{}"#), 6, "valid-attachments"),
        (conf(r#""device":7"#), 6, "device"),
        (conf(r#""device":"a/b""#), 7, "a/b"),
        (conf(r#""devices":"eth1""#), 6, "devices"),
        (conf(r#""devices":["eth1","a very long device name"]"#), 7, "very long"),
        (conf(r#""switch":"ovs""#), 2, "ovs"),
        (conf(r#""ipvlan_mode":"l4""#), 2, "l4"),
        (conf(r#""address_conflict":"maybe""#), 2, "maybe"),
        (conf(r#""mtu":-1"#), 6, "mtu"),
        (conf(r#""mtu":67"#), 7, "67"),
        (conf(r#""mtu":65536"#), 7, "65536"),
        (conf(r#""mtu":"1500""#), 6, "mtu"),
        (conf(r#""default_bridge_name":"a bridge""#), 7, "a bridge"),
        (conf(r#""bridge_name_prefix":"twelve-bytes""#), 7, "twelve-bytes"),
        (conf(r#""vlan_name_prefix":"twelve-bytes""#), 7, "twelve-bytes"),
        (conf(r#""gratuitous_arp_request":"yes""#), 6, "gratuitous_arp_request"),
        (conf(r#""disable_default_bridge":"yes""#), 6, "disable_default_bridge"),
    ] {
        expect("galaxy-k8s-vlan", &env(&[]), &stdin, code, &[word]);
    }
    // The namespace is looked at last, and its error is the runtime's sign that the container is gone.
    expect("galaxy-k8s-vlan", &env(&[]), CONF, 3, &["/nowhere/netns"]);
    expect("galaxy-k8s-vlan", &env(&[("CNI_ARGS", "")]), &conf(r#""run_dir":"x""#), 3, &["/nowhere/netns"]);
    expect("galaxy-ovs", &env(&[]), CONF, 7, &["galaxy-ovs", "galaxy-k8s-vlan"]);
}

#[test]
fn verbs_that_a_version_lacks_are_refused() {
    for (command, version, code) in
        [("CHECK", "0.3.1", 1), ("GC", "1.0.0", 1), ("STATUS", "1.0.0", 1), ("CHECK", "0.4.0", 7), ("GC", "1.1.0", 7)]
    {
        let conf = json!({ "cniVersion": version, "name": "net", "type": "t", "device": "eth9" }).to_string();
        expect("galaxy-k8s-vlan", &env(&[("CNI_COMMAND", command)]), &conf, code, &[command]);
    }
    let conf = json!({ "cniVersion": "1.1.0", "name": "net", "type": "t", "device": "no-such-device" }).to_string();
    let error = expect_status(&conf);
    assert!(error.contains("no-such-device"), "{error}");
}

fn expect_status(conf: &str) -> String {
    let (success, out) = call("galaxy-underlay-veth", &[("CNI_COMMAND", "STATUS"), ("CNI_PATH", "/")], conf);
    assert!(!success);
    let error: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(error["code"], 50, "{error}");
    error["msg"].as_str().unwrap().to_owned()
}

#[test]
fn version_is_answered_whatever_the_configuration() {
    let all = json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    for (stdin, version) in
        [("", "1.1.0"), (r#"{"cniVersion":"0.3.1"}"#, "0.3.1"), (r#"{"cniVersion":"7.0.0"}"#, "1.1.0"), ("[", "1.1.0")]
    {
        let (success, out) = call("galaxy-k8s-vlan", &[("CNI_COMMAND", "VERSION")], stdin);
        assert!(success);
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer, json!({ "cniVersion": version, "supportedVersions": all }));
    }
}
