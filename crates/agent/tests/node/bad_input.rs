//! What makes no sense is refused with a reason that names it, changes nothing and panics nowhere.

use std::fs;

use galaxy_agent::config::{Config, Network, Selection, parse_selection};
use galaxy_cni::netlink::Netns;
use serde_json::{Value, json};

use crate::lab::{Call, Lab, root};

#[test]
fn configurations() {
    let long = "x".repeat(5 << 20);
    for (content, word) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("null", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("\"x\"", "not a JSON object"),
        ("{}", "empty"),
        (r#"{"NetworkConf":[]}"#, "empty"),
        (r#"{"NetworkConf":{}}"#, "NetworkConf must be a list"),
        (r#"{"NetworkConf":[7]}"#, "NetworkConf[0]: 7 is not"),
        (r#"{"NetworkConf":[{"name":"a"}]}"#, "type is missing"),
        (r#"{"NetworkConf":[{"type":3}]}"#, "type must be a string"),
        (r#"{"NetworkConf":[{"type":"../sh"}]}"#, "../sh"),
        (r#"{"NetworkConf":[{"type":"a","name":4}]}"#, "name must be a string"),
        (r#"{"NetworkConf":[{"type":"a","name":"b c"}]}"#, "b c"),
        (r#"{"NetworkConf":[{"type":"a"},{"type":"b","name":"a"}]}"#, "two networks \"a\""),
        (r#"{"NetworkConf":[{"type":"a","cniVersion":"1.2.0"}]}"#, "1.2.0"),
        (r#"{"NetworkConf":[{"type":"a","cniVersion":1}]}"#, "cniVersion must be a string"),
        (r#"{"NetworkConf":[{"type":"a","ipam":7}]}"#, "ipam"),
        (r#"{"NetworkConf":[{"type":"a","ipam":{"type":"a/b"}}]}"#, "a/b"),
        (r#"{"NetworkConf":[{"type":"a","dns":7}]}"#, "dns"),
        (r#"{"NetworkConf":[{"name":"l","plugins":[]}]}"#, "plugins must be a list"),
        (r#"{"NetworkConf":[{"name":"l","plugins":{}}]}"#, "plugins must be a list"),
        (r#"{"NetworkConf":[{"plugins":[{"type":"a"}]}]}"#, "name is missing"),
        (r#"{"NetworkConf":[{"name":"l","plugins":[{"type":"a"},{}]}]}"#, "plugins[1]: type is missing"),
        (r#"{"NetworkConf":[{"name":"l","plugins":["a"]}]}"#, "plugins[0]"),
        (r#"{"DefaultNetworks":"a"}"#, "DefaultNetworks must be a list"),
        (r#"{"DefaultNetworks":[1]}"#, "DefaultNetworks must hold"),
        (r#"{"DefaultNetworks":[""]}"#, "empty name"),
        (r#"{"ENIIPNetwork":[]}"#, "ENIIPNetwork must hold"),
        (long.as_str(), "5242880 bytes"),
    ] {
        let error = Config::parse(content.as_bytes()).unwrap_err();
        assert!(error.contains(word), "{word:?} is not in {error}");
    }
    let good =
        Config::parse(br#"{"NetworkConf":[{"type":"a","x":1}],"DefaultNetworks":null,"ENIIPNetwork":"a","more":{}}"#)
            .unwrap();
    assert_eq!(good.floating.as_deref(), Some("a"));
}

#[test]
fn network_annotations() {
    let many = vec!["a"; 33].join(",");
    for (annotation, word) in [
        ("a/b/c", "a/b/c"),
        ("a@b@c", "a@b@c"),
        ("A", "\"A\""),
        ("a b", "\"a b\""),
        ("-a", "\"-a\""),
        ("a@", "interface"),
        ("@eth1", "\"\""),
        ("n/", "\"\""),
        ("a@far-too-long-name", "far-too-long-name"),
        ("a@et/h", "a@et/h"),
        ("[", "not JSON"),
        ("{}", "not a JSON list"),
        ("\"a\"", "not a JSON list"),
        ("[1]", "item 0"),
        (r#"[{"name":1}]"#, "name must be a string"),
        ("[{}]", "\"\""),
        (r#"[{"name":"a","interface":["x"]}]"#, "interface must be a string"),
        (r#"[{"name":"a","interface":"a:b"}]"#, "a:b"),
        (many.as_str(), "33 networks"),
    ] {
        let error = parse_selection(annotation).unwrap_err();
        assert!(error.contains("k8s.v1.cni.cncf.io/networks") && error.contains(word), "{word:?} is not in {error}");
    }
    let one = |network: &str, interface: Option<&str>| Selection {
        network: network.to_owned(),
        interface: interface.map(str::to_owned),
    };
    assert_eq!(parse_selection(""), Ok(vec![]));
    assert_eq!(parse_selection(" , ns/a@eth5 ,b"), Ok(vec![one("a", Some("eth5")), one("b", None)]));
    assert_eq!(parse_selection(r#"[{"name":"a","namespace":"n","ips":["1.1.1.1"]}]"#), Ok(vec![one("a", None)]));
    // Two interfaces of a name.
    let config = Config::default();
    let error = config.choose(&[one("a", None), one("b", Some("eth0"))], true, "eth0").unwrap_err();
    assert!(error.contains("eth0"), "{error}");
    assert!(config.choose(&[], true, "eth0").unwrap_err().contains("DefaultNetworks"));
    assert!(Network::read(&Value::Null).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let netns = Netns::make().unwrap();
    let pod = lab.confirmed("web", &["10.0.0.20"]).await;
    let good: Value = serde_json::from_slice(&Call::new("c1", &netns, &pod).body("ADD")).unwrap();
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body["env"][name] = value;
        body.to_string()
    };
    let without = |name: &str| {
        let mut body = good.clone();
        body["env"].as_object_mut().unwrap().remove(name);
        body.to_string()
    };
    let mut cases = vec![
        (String::new(), "makes no sense"),
        ("{".to_owned(), "makes no sense"),
        ("[]".to_owned(), "makes no sense"),
        ("{}".to_owned(), "env"),
        (json!({ "env": [] }).to_string(), "makes no sense"),
        (json!({ "env": { "CNI_COMMAND": "ADD" } }).to_string(), "CNI_CONTAINERID"),
        (with("CNI_COMMAND", json!("NONSENSE")), "NONSENSE"),
        (with("CNI_COMMAND", json!("")), "CNI_COMMAND"),
        (with("CNI_COMMAND", json!(7)), "makes no sense"),
        (with("CNI_CONTAINERID", json!("")), "CNI_CONTAINERID"),
        (with("CNI_CONTAINERID", json!("../../etc")), "CNI_CONTAINERID"),
        (with("CNI_CONTAINERID", json!("a@b")), "CNI_CONTAINERID"),
        (with("CNI_IFNAME", json!("")), "CNI_IFNAME"),
        (with("CNI_IFNAME", json!("a/b")), "CNI_IFNAME"),
        (with("CNI_IFNAME", json!("0123456789abcdef")), "CNI_IFNAME"),
        (with("CNI_NETNS", json!("")), "CNI_NETNS"),
        (with("CNI_NETNS", json!("a\u{0}b")), "CNI_NETNS"),
        (with("CNI_ARGS", json!("")), "K8S_POD_NAMESPACE"),
        (with("CNI_ARGS", json!(";;=;x")), "K8S_POD_NAMESPACE"),
        (with("CNI_ARGS", json!("K8S_POD_NAMESPACE=a")), "K8S_POD_NAME"),
        (with("CNI_ARGS", json!("K8S_POD_NAMESPACE=..;K8S_POD_NAME=a")), "K8S_POD_NAMESPACE"),
        (with("CNI_ARGS", json!("K8S_POD_NAMESPACE=a;K8S_POD_NAME=../x")), "../x"),
        (json!({ "env": good["env"], "config": "§" }).to_string(), "base64"),
        (json!({ "env": good["env"], "config": 5 }).to_string(), "makes no sense"),
        (json!({ "env": { "CNI_COMMAND": "GC" }, "config": "" }).to_string(), "JSON"),
    ];
    for name in ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS"] {
        cases.push((without(name), name));
    }
    for (body, word) in cases {
        let (status, answer) = lab.post(body.clone().into_bytes()).await.unwrap();
        assert!(status == 400 && answer.contains(word), "{word:?} is not in {status} {answer} for {body}");
    }
    let (status, answer) = lab.post(with("CNI_COMMAND", json!("VERSION")).into_bytes()).await.unwrap();
    assert!(status == 500 && answer.contains("galaxy-sdn"), "{answer}");
    let (status, answer) = lab.post(with("CNI_NETNS", json!("/nowhere")).into_bytes()).await.unwrap();
    assert!(status == 500 && answer.contains("/nowhere"), "{answer}");
    assert_eq!(lab.traces(), Vec::<String>::new());
    let (status, _) = lab.post(good.to_string().into_bytes()).await.unwrap();
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn address_annotations() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.flags.push("--wait=300ms".to_owned());
    lab.start().await;
    let netns = Netns::make().unwrap();
    for (number, (annotation, word)) in [
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("7", "not a JSON object"),
        (r#"{"common":[]}"#, "common must be a JSON object"),
        (r#"{"common":{}}"#, "has none"),
        (r#"{"common":{"ipinfos":{}}}"#, "has none"),
        (r#"{"common":{"ipinfos":[{"ip":"x"}]}}"#, "has none"),
        (r#"{"request_ip_range":[["10.0.0.9~10.0.0.1"]]}"#, "request_ip_range[0][0]"),
        (r#"{"common":{"ipinfos":[{"ip":"127.0.0.1/8","vlan":0,"gateway":"127.0.0.2"}]}}"#, "127.0.0.1"),
        (
            r#"{"common":{"ipinfos":[{"ip":"10.0.0.20/24","vlan":0,"gateway":"10.0.0.1"}],"K8S_POD_NAME":"x"}}"#,
            "K8S_POD_NAME",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("p{number}");
        let pod = lab.pod_with(&name, json!({ "k8s.v1.cni.galaxy.io/args": annotation }), true).await;
        lab.claim("10.0.0.20", &pod, crate::lab::NODE).await;
        let error = lab.call(&Call::new(&name, &netns, &pod), "ADD").await.unwrap_err();
        assert!(error.contains(word) && error.contains(&name), "{word:?} is not in {error} for {annotation}");
    }
    assert_eq!(lab.traces(), Vec::<String>::new());
}

/// A state file that makes no sense is nobody's to guess at: it is named, and nothing is done.
#[tokio::test(flavor = "multi_thread")]
async fn state_files() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    fs::create_dir_all(lab.dir.join("state/port")).unwrap();
    fs::write(lab.dir.join("state/.c9@eth0"), "half").unwrap();
    lab.start().await;
    assert!(!lab.dir.join("state/.c9@eth0").exists(), "what a killed agent was writing");
    let netns = Netns::make().unwrap();
    let pod = lab.confirmed("web", &["10.0.0.20"]).await;
    let call = Call::new("c1", &netns, &pod);
    for (file, content) in [
        ("c1@eth0", ""),
        ("c1@eth0", "{"),
        ("c1@eth0", "null"),
        ("c1@eth0", "[]"),
        ("c1@eth0", "{}"),
        ("c1@eth0", r#"{"version":0,"containerId":"c1","ifname":"eth0","networks":[]}"#),
        ("c1@eth0", r#"{"version":1,"containerId":"..","ifname":"eth0","networks":[]}"#),
        ("c1@eth0", r#"{"version":1,"containerId":"c1","ifname":"eth0","networks":[{"network":7}]}"#),
        ("c1", "{}"),
        ("c1", r#"[{"NetworkType":"a"}]"#),
        ("c1", "[7]"),
    ] {
        let path = lab.dir.join("state").join(file);
        fs::write(&path, content).unwrap();
        for command in ["ADD", "CHECK", "DEL"] {
            let error = lab.call(&call, command).await.unwrap_err();
            assert!(error.contains(path.to_str().unwrap()), "{command} {content}: {error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        fs::remove_file(&path).unwrap();
    }
    lab.add(&call).await;
    // A later version may say more.
    let path = lab.dir.join("state/c1@eth0");
    let mut later: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    (later["version"], later["more"]) = (json!(2), json!({ "x": [] }));
    later["networks"][0]["more"] = json!(1);
    fs::write(&path, later.to_string()).unwrap();
    lab.call(&call, "CHECK").await.unwrap();
    lab.del(&call).await;
    fs::remove_dir(lab.dir.join("state/port")).unwrap();
    assert_eq!(lab.traces(), Vec::<String>::new());
}

/// A pod that the original attached is detached by what the original wrote down.
#[tokio::test(flavor = "multi_thread")]
async fn state_files_of_the_original() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.script("theirs", "echo \"$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS $in\" >> $log");
    lab.start().await;
    let content = json!([{
        "NetworkType": "net", "Args": { "ipinfos": "[{\"ip\":\"10.0.0.20/24\",\"vlan\":0,\"gateway\":\"10.0.0.1\"}]" },
        "Conf": { "name": "net", "type": "theirs", "cniVersion": "0.2.0" }, "IfName": "eth0",
    }]);
    let path = lab.dir.join("state/c1");
    fs::write(&path, content.to_string()).unwrap();
    let netns = Netns::make().unwrap();
    let pod = lab.confirmed("web", &["10.0.0.20"]).await;
    lab.del(&Call::new("c1", &netns, &pod).late()).await;
    assert!(!path.exists());
    let log = lab.log();
    assert!(log.starts_with("DEL c1 eth0 ipinfos=[{\"ip\":\"10.0.0.20/24\""), "{log}");
}
