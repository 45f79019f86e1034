//! What belongs to no sandbox goes; what might does not.

use std::{fs, time::Duration};

use galaxy_cni::netlink::Netns;
use serde_json::json;

use crate::lab::{Call, Lab, eventually, root};

/// CNI GC: the runtime says what is valid.
#[tokio::test(flavor = "multi_thread")]
async fn gc_removes_what_is_not_valid() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.flags.push("--gc-age=0s".to_owned());
    lab.start().await;
    let mut pods = Vec::new();
    for (id, ip) in [("keep", "10.0.0.20"), ("gone", "10.0.0.21"), ("other", "10.0.0.22")] {
        let (netns, pod) = (Netns::make().unwrap(), lab.confirmed(id, &[ip]).await);
        let call = Call::new(id, &netns, &pod);
        lab.add(&call).await;
        pods.push((call, netns));
    }
    let mut gc = pods[0].0.clone();
    assert!(lab.call(&gc, "GC").await.unwrap_err().contains("valid-attachments"));
    gc.config["cni.dev/valid-attachments"] = json!([
        { "containerID": "keep", "ifname": "eth0" }, { "containerID": "other", "ifname": "eth9" },
    ]);
    lab.call(&gc, "GC").await.unwrap();
    assert_eq!(fs::read_dir(lab.dir.join("state")).unwrap().count(), 1);
    assert_eq!(lab.devices(), ["galaxy/galaxy-underlay-veth/underlay/keep/eth0/0"]);
    assert!(lab.answers("10.0.0.20", Duration::from_secs(3)));
}

/// Against the runtime's list: sandboxes, devices, records and files of which it knows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_runtime_does_not_list_is_removed() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.flags.push("--gc-age=1s".to_owned());
    lab.start().await;
    let mut pods = Vec::new();
    for (id, ip) in [("alive", "10.0.0.20"), ("gone", "10.0.0.21"), ("lost", "10.0.0.22")] {
        let (netns, pod) = (Netns::make().unwrap(), lab.confirmed(id, &[ip]).await);
        let call = Call::new(id, &netns, &pod);
        lab.add(&call).await;
        pods.push((call, netns));
    }
    // Nothing is written down about this one.
    fs::remove_file(lab.dir.join("state/lost@eth0")).unwrap();
    for folder in ["by-name", "leases"] {
        fs::create_dir_all(lab.dir.join(folder)).unwrap();
    }
    for (file, content) in [
        ("by-name/alive", ""),
        ("by-name/gone", ""),
        ("by-name/no id", ""),
        ("leases/192.0.2.1", "alive\neth0"),
        ("leases/192.0.2.2", "gone\r\neth0"),
        ("leases/lock", "gone"),
        ("leases/last_reserved_ip.0", "192.0.2.2"),
    ] {
        fs::write(lab.dir.join(file), content).unwrap();
    }
    // While the runtime cannot be asked, nothing is known.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(lab.devices().len(), 3);
    *lab.sandboxes.lock().unwrap() = Some(vec!["alive".to_owned()]);
    eventually("the orphans are gone", async || {
        let files = ["by-name", "leases"].map(|folder| fs::read_dir(lab.dir.join(folder)).unwrap().count());
        let states = fs::read_dir(lab.dir.join("state")).unwrap().count();
        let records = fs::read_dir(lab.dir.join("run/attachments")).unwrap().count();
        (lab.devices().len() == 1 && files == [2, 3] && states == 1 && records == 1).then_some(())
    })
    .await;
    assert_eq!(lab.devices(), ["galaxy/galaxy-underlay-veth/underlay/alive/eth0/0"]);
    assert!(lab.answers("10.0.0.20", Duration::from_secs(3)));
    let metrics = lab.running().agent.metrics.encode();
    for (kind, count) in [("state", 1), ("record", 1), ("file", 2)] {
        let line = format!("galaxy_agent_orphans_total{{kind=\"{kind}\"}} {count}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

/// Row 46: a sandbox is listed some time after its ADD. Nothing young is touched, nor what is being made.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_made_is_left_alone() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.script("slow", "[ $CNI_COMMAND = ADD ] && sleep 1.5 && echo '{\"ip4\":{\"ip\":\"192.0.2.9/24\"}}'\nexit 0");
    lab.configure(&json!({ "NetworkConf": [lab.underlay("underlay"), { "type": "slow" }] }));
    lab.flags.push("--gc-age=600ms".to_owned());
    *lab.sandboxes.lock().unwrap() = Some(vec![]);
    lab.start().await;
    let annotations = json!({ "k8s.v1.cni.cncf.io/networks": "underlay,slow", "k8s.v1.cni.galaxy.io/args": crate::lab::annotation(&["10.0.0.20"]) });
    let pod = lab.pod_with("web", annotations, true).await;
    lab.claim("10.0.0.20", &pod, crate::lab::NODE).await;
    let netns = Netns::make().unwrap();
    let call = Call::new("c1", &netns, &pod);
    // Older than the age when it ends, but under way all the time.
    let sandboxes = lab.sandboxes.clone();
    let (add, ()) = tokio::join!(lab.call(&call, "ADD"), async move {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        *sandboxes.lock().unwrap() = Some(vec!["c1".to_owned()]);
    });
    add.unwrap();
    assert!(lab.answers("10.0.0.20", Duration::from_secs(3)));
    lab.call(&call, "CHECK").await.unwrap();
}
