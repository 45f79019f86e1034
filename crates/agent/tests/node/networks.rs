//! Several networks, lists of plugins, other plugins, and configurations that change.

use std::{fs, os::unix::fs::symlink, time::Duration};

use galaxy_cni::netlink::{Net, Netns};
use serde_json::{Value, json};

use crate::lab::{Call, Lab, eventually, root};

/// A plugin that answers with an address and tells what it was called with.
const ECHO: &str = r#"echo "$0 $CNI_COMMAND $CNI_IFNAME args=$CNI_ARGS in=$in" >> $log
[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"0.2.0","ip4":{"ip":"192.0.2.9/24"}}'
exit 0"#;

/// Calls of one plugin as it told them: command, interface and input.
fn calls(lab: &Lab, plugin: &str) -> Vec<(String, String, Value)> {
    let log = lab.log();
    let lines = log.lines().filter(|line| line.split(' ').next().unwrap().ends_with(plugin));
    let calls = lines.map(|line| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let input = line.split_once(" in=").unwrap().1;
        (words[1].to_owned(), words[2].to_owned(), serde_json::from_str(input).unwrap())
    });
    calls.collect()
}

/// Row 50: the pod's address is the first network's, and the others' results are kept.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_network_is_the_pods() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.script("echo", ECHO);
    let networks = json!([lab.underlay("underlay"), { "type": "echo", "cniVersion": "0.2.0" }]);
    lab.configure(&json!({ "NetworkConf": networks }));
    lab.start().await;
    let annotations = json!({
        "k8s.v1.cni.cncf.io/networks": r#"[{"name":"underlay","interface":"ignored"},{"name":"echo","interface":"net7"}]"#,
        "k8s.v1.cni.galaxy.io/args": r#"{"common":{"ipinfos":[{"ip":"10.0.0.20/24","vlan":0,"gateway":"10.0.0.1"}],"note":"a;b"}}"#,
    });
    let pod = lab.pod_with("web", annotations, true).await;
    lab.claim("10.0.0.20", &pod, crate::lab::NODE).await;
    let netns = Netns::make().unwrap();
    let call = Call::new("c1", &netns, &pod);
    let result = lab.add(&call).await;
    assert_eq!(result["ips"][0]["address"], "10.0.0.20/24");
    let interfaces: Vec<String> =
        Net::open(&netns, None).unwrap().links().unwrap().into_iter().map(|link| link.name).collect();
    assert!(interfaces.contains(&"eth0".to_owned()) && interfaces.len() == 2, "{interfaces:?}");
    let echo = calls(&lab, "echo");
    assert_eq!((echo[0].0.as_str(), echo[0].1.as_str()), ("ADD", "net7"));
    // Row 49: a configuration without a name gets one. The result before comes in this configuration's version.
    assert_eq!((&echo[0].2["name"], &echo[0].2["prevResult"]["ip4"]["ip"]), (&json!("echo"), &json!("10.0.0.20/24")));
    assert!(lab.log().contains(r#"note="a\u003bb""#), "{}", lab.log());
    let state = fs::read_to_string(lab.dir.join("state/c1@eth0")).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["networks"][1]["result"]["ip4"]["ip"], "192.0.2.9/24");
    lab.call(&call, "CHECK").await.unwrap();
    lab.del(&call).await;
    let echo = calls(&lab, "echo");
    assert_eq!(
        echo.iter().map(|call| call.0.as_str()).collect::<Vec<_>>(),
        ["ADD", "DEL"],
        "CHECK is not of its version"
    );
    assert_eq!(lab.traces(), Vec::<String>::new());
}

/// Rows 44 and 56: a list of plugins hands its results on, and nothing of one pod reaches another.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_plugins_is_a_chain() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.script(
        "echo",
        &ECHO.replace(
            "0.2.0\",\"ip4\":{\"ip\":\"192.0.2.9/24\"}",
            "1.0.0\",\"ips\":[{\"address\":\"192.0.2.9/24\"}],\"more\":1",
        ),
    );
    lab.script("after", &ECHO.replace("'{", "'{\"x\":1,"));
    fs::create_dir_all(lab.dir.join("net.d/sub")).unwrap();
    let list = json!({ "cniVersion": "1.0.0", "name": "chain", "plugins": [{ "type": "echo" }, { "type": "after", "kubeconfig": "secret" }] });
    fs::write(lab.dir.join("net.d/sub/10-chain.conflist"), list.to_string()).unwrap();
    fs::write(lab.dir.join("net.d/00-broken.conf"), "{").unwrap();
    lab.configure(&json!({ "NetworkConf": [{ "type": "echo", "cniVersion": "1.0.0" }], "DefaultNetworks": ["chain", "echo", "chain2"] }));
    lab.start().await;
    let netns = Netns::make().unwrap();
    let (one, two) = (lab.pod_with("one", json!({}), false).await, lab.pod_with("two", json!({}), false).await);
    let error = lab.call(&Call::new("c0", &netns, &one), "ADD").await.unwrap_err();
    assert!(error.contains("chain2") && lab.log().is_empty(), "nothing is begun that cannot be finished: {error}");
    let second =
        json!({ "cniVersion": "1.0.0", "name": "chain2", "plugins": [{ "type": "after" }, { "type": "echo" }] });
    fs::write(lab.dir.join("net.d/99.json"), second.to_string()).unwrap();
    let (first, second) = (Call::new("c1", &netns, &one), Call::new("c2", &netns, &two));
    let (a, b) = tokio::join!(lab.call(&first, "ADD"), lab.call(&second, "ADD"));
    assert_eq!(
        (a.unwrap()["ips"][0]["address"].clone(), b.unwrap()["ips"][0]["address"].clone()),
        (json!("192.0.2.9/24"), json!("192.0.2.9/24"))
    );
    for (_, interface, input) in calls(&lab, "echo") {
        match interface.as_str() {
            "eth0" => assert!(input.get("prevResult").is_none(), "{input}"),
            // A single plugin sees the network before, the second of a list its first.
            _ => assert!(input["prevResult"]["ips"][0]["address"] == "192.0.2.9/24", "{input}"),
        }
    }
    for (_, interface, input) in calls(&lab, "after") {
        assert!(input.get("kubeconfig").is_none());
        match interface.as_str() {
            "eth0" => assert_eq!(input["prevResult"]["more"], 1, "what is not understood is passed on"),
            _ => assert!(input.get("prevResult").is_none(), "a list begins anew: {input}"),
        }
    }
    // The configuration changes, what was done is undone as it was done.
    lab.configure(&json!({ "NetworkConf": [{ "type": "other" }], "DefaultNetworks": ["other"] }));
    fs::remove_dir_all(lab.dir.join("net.d")).unwrap();
    lab.del(&first).await;
    lab.del(&second).await;
    let order: Vec<String> = lab
        .log()
        .lines()
        .filter(|line| line.contains(" DEL "))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(order.len(), 10);
    assert!(order[0].ends_with("echo") && order[1].ends_with("after"), "in reverse: {order:?}");
}

/// Row 50: what the first network got is taken back when the second fails; what cannot be taken back is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_add_leaves_nothing() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.script(
        "bad",
        r#"[ $CNI_COMMAND = ADD ] && echo '{"code":99,"msg":"no luck"}' && exit 1
[ -e $log.stuck ] && echo '{"code":11,"msg":"still no luck"}' && exit 1
exit 0"#,
    );
    lab.configure(&json!({ "NetworkConf": [lab.underlay("underlay"), { "type": "bad" }] }));
    lab.start().await;
    let annotations = json!({ "k8s.v1.cni.cncf.io/networks": "x/underlay, bad@eth5", "k8s.v1.cni.galaxy.io/args": crate::lab::annotation(&["10.0.0.20"]) });
    let pod = lab.pod_with("web", annotations, true).await;
    lab.claim("10.0.0.20", &pod, crate::lab::NODE).await;
    let netns = Netns::make().unwrap();
    let call = Call::new("c1", &netns, &pod);
    let error = lab.call(&call, "ADD").await.unwrap_err();
    assert!(error.contains("no luck") && error.contains("bad"), "{error}");
    assert_eq!(lab.traces(), Vec::<String>::new());
    lab.event("web", &["no luck"]).await;

    fs::write(lab.dir.join("log.stuck"), "").unwrap();
    let error = lab.call(&call, "ADD").await.unwrap_err();
    assert!(error.contains("no luck") && error.contains("still no luck"), "{error}");
    assert_eq!(lab.traces(), ["state/c1@eth0"]);
    let error = lab.call(&call, "DEL").await.unwrap_err();
    assert!(error.contains("network bad") && error.contains("still no luck"), "{error}");
    fs::remove_file(lab.dir.join("log.stuck")).unwrap();
    lab.del(&call.late()).await;
    assert_eq!(lab.traces(), Vec::<String>::new());
}

/// A file that makes no sense is refused, and the one before stays; a symlink may lead elsewhere, as in a ConfigMap.
#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_read_again() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.script("echo", ECHO);
    let good = |name: &str| json!({ "NetworkConf": [{ "name": name, "type": "echo" }], "DefaultNetworks": [name] });
    for (folder, content) in
        [("v1", good("one").to_string()), ("v2", good("two").to_string()), ("v3", "{\"NetworkConf\":[{}]}".to_owned())]
    {
        fs::create_dir_all(lab.dir.join(folder)).unwrap();
        fs::write(lab.dir.join(folder).join("galaxy.json"), content).unwrap();
    }
    let dir = lab.dir.clone();
    let swap = |folder: &str| {
        let _ = fs::remove_file(dir.join("..next"));
        symlink(folder, dir.join("..next")).unwrap();
        fs::rename(dir.join("..next"), dir.join("..data")).unwrap();
    };
    swap("v1");
    lab.flags.push(format!("--json-config-path={}", lab.dir.join("..data/galaxy.json").display()));
    lab.start().await;
    let configs = std::sync::Arc::clone(&lab.running().agent.configs);
    assert_eq!(configs.now().unwrap().default, ["one"]);
    swap("v2");
    eventually("the second is in force", async || (configs.now()?.default == ["two"]).then_some(())).await;
    swap("v3");
    let problem = eventually("the third is refused", async || configs.problem()).await;
    assert!(problem.contains("NetworkConf[0]: type is missing"), "{problem}");
    assert_eq!(configs.now().unwrap().default, ["two"]);
    let netns = Netns::make().unwrap();
    let pod = lab.pod_with("web", json!({}), false).await;
    lab.add(&Call::new("c1", &netns, &pod)).await;
    swap("v1");
    eventually("the first is in force", async || {
        (configs.now()?.default == ["one"] && configs.problem().is_none()).then_some(())
    })
    .await;
    let metrics = lab.running().agent.metrics.encode();
    assert!(
        metrics.contains("galaxy_agent_config_refused_total 1") && metrics.contains("galaxy_agent_config_valid 1"),
        "{metrics}"
    );
    tokio::time::sleep(Duration::ZERO).await;
}

/// Without a configuration the agent lives, is not ready, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_configuration_pods_wait() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    fs::write(lab.dir.join("galaxy.json"), "null").unwrap();
    let conf = lab.dir.join("cni.conf");
    lab.flags.push(format!("--cni-conf={}", conf.display()));
    lab.start().await;
    let netns = Netns::make().unwrap();
    let pod = lab.confirmed("web", &["10.0.0.20"]).await;
    let call = Call::new("c1", &netns, &pod);
    for command in ["ADD", "STATUS"] {
        let error = lab.call(&call, command).await.unwrap_err();
        assert!(error.contains("galaxy.json"), "{error}");
    }
    assert!(!conf.exists(), "the runtime is not told of an agent that is not ready");
    lab.configure(&json!({ "NetworkConf": [lab.underlay("underlay")], "ENIIPNetwork": "underlay" }));
    eventually("ready", async || conf.exists().then_some(())).await;
    lab.call(&call, "STATUS").await.unwrap();
    lab.add(&call).await;
    // An agent that is stopped for an update leaves it; one whose DaemonSet is gone does not.
    lab.stop().await;
    assert!(conf.exists());
    lab.flags.push("--daemon-set=kube-system/galaxy".to_owned());
    lab.start().await;
    lab.stop().await;
    assert!(!conf.exists());
}
