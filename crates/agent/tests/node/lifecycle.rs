//! ADD, CHECK, DEL, and what may come between them.

use std::time::{Duration, Instant};

use galaxy_cni::netlink::Netns;
use galaxy_sandbox::apiserver::{Action, Rule};
use serde_json::json;

use crate::lab::{Call, Lab, eventually, root};

const SILENCE: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_its_address_and_gives_it_back() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let pod = lab.confirmed("web", &["10.0.0.20"]).await;
    let netns = Netns::make().unwrap();
    let call = Call::new("c1", &netns, &pod);
    let result = lab.add(&call).await;
    assert_eq!(result["cniVersion"], "1.1.0");
    assert_eq!(result["ips"][0]["address"], "10.0.0.20/24");
    assert!(lab.answers("10.0.0.20", SOON));
    lab.call(&call, "CHECK").await.unwrap();
    lab.call(&call, "STATUS").await.unwrap();
    // The same again gives the same, also after a restart.
    assert_eq!(lab.add(&call).await, result);
    lab.stop().await;
    lab.start().await;
    assert_eq!(lab.add(&call).await, result);
    lab.call(&call, "CHECK").await.unwrap();

    lab.del(&call).await;
    assert!(!lab.answers("10.0.0.20", SILENCE), "the address is silent before the answer");
    assert_eq!(lab.traces(), Vec::<String>::new());
    let begin = Instant::now();
    eventually("the device is gone", async || (lab.condemned() == 0).then_some(())).await;
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(lab.call(&call, "CHECK").await.is_err());
    for _ in 0..2 {
        lab.del(&call.late()).await;
    }
}

/// Containerd repeats DEL 20 to 45 s later, when the pod of a StatefulSet may already live again under its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_del_of_an_old_sandbox_leaves_the_new_one_alone() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let old = lab.confirmed("cart-0", &["10.0.0.20"]).await;
    let old_ns = Netns::make().unwrap();
    let old_call = Call::new("old", &old_ns, &old);
    lab.add(&old_call).await;
    // The old sandbox dies with its node's power, so that no DEL came before the successor's ADD.
    lab.delete_pod("cart-0").await;
    drop(old_ns);
    let new = lab.confirmed("cart-0", &["10.0.0.20"]).await;
    let new_ns = Netns::make().unwrap();
    let new_call = Call::new("new", &new_ns, &new);
    // The kernel takes a moment to clear the old one's route.
    eventually("the successor has the address", async || lab.call(&new_call, "ADD").await.ok()).await;
    assert!(lab.answers("10.0.0.20", SOON));
    for _ in 0..3 {
        lab.del(&old_call.late()).await;
        assert!(lab.answers("10.0.0.20", SOON));
    }
    lab.call(&new_call, "CHECK").await.unwrap();
    lab.del(&new_call).await;
    assert_eq!(lab.traces(), Vec::<String>::new());
}

/// Row 55: what was done for a pod of another uid is neither used nor kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_of_another_uid_is_refused() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let old = lab.confirmed("cart-0", &["10.0.0.20"]).await;
    lab.delete_pod("cart-0").await;
    let new = lab.confirmed("cart-0", &["10.0.0.20"]).await;
    let netns = Netns::make().unwrap();
    let begin = Instant::now();
    let error = lab.call(&Call::new("old", &netns, &old), "ADD").await.unwrap_err();
    for uid in [&old, &new].map(|pod| pod.metadata.uid.as_deref().unwrap()) {
        assert!(error.contains(uid), "{error}");
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "nothing to wait for");
    assert_eq!(lab.traces(), Vec::<String>::new());
    lab.add(&Call::new("new", &netns, &new)).await;
}

/// The same container id with another pod, as no runtime should ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_pod_changed_starts_anew() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let netns = Netns::make().unwrap();
    let first = lab.confirmed("a", &["10.0.0.20"]).await;
    lab.add(&Call::new("c", &netns, &first)).await;
    let second = lab.confirmed("b", &["10.0.0.21"]).await;
    let call = Call::new("c", &netns, &second);
    let result = lab.add(&call).await;
    assert_eq!(result["ips"][0]["address"], "10.0.0.21/24");
    assert!(lab.answers("10.0.0.21", SOON) && !lab.answers("10.0.0.20", SILENCE));
    lab.del(&call).await;
    assert_eq!(lab.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_away() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let (one, two) = (lab.confirmed("one", &["10.0.0.20"]).await, lab.confirmed("two", &["10.0.0.21"]).await);
    let (ns1, ns2) = (Netns::make().unwrap(), Netns::make().unwrap());
    let (first, second) = (Call::new("c1", &ns1, &one), Call::new("c2", &ns2, &two));
    lab.add(&first).await;
    lab.add(&second).await;
    lab.del(&second).await;
    let away = lab.server.faults().add(Rule::new(Action::error(503, "ServiceUnavailable")).agent("galaxy"));
    lab.server.close_watches();
    // What is known and confirmed can be attached; what is not known cannot, and says why.
    lab.add(&second).await;
    let unknown = lab.confirmed("three", &["10.0.0.22"]).await;
    let error = lab.call(&Call::new("c3", &ns1, &unknown), "ADD").await.unwrap_err();
    assert!(error.contains("API server"), "{error}");
    // DEL never needs it.
    lab.del(&first).await;
    lab.del(&second).await;
    assert_eq!(lab.traces(), Vec::<String>::new());
    away.remove();
    let call = Call::new("c4", &ns1, &unknown);
    eventually("it is back", async || lab.call(&call, "ADD").await.ok()).await;
}

/// Row 51: any length of container id, any number of calls at once.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_pods_at_once() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let mut pods = Vec::new();
    for number in 0..30 {
        let ip = format!("10.0.0.{}", 100 + number);
        let pod = lab.confirmed(&format!("p{number}"), &[&ip]).await;
        let netns = Netns::make().unwrap();
        let call = Call::new(&"x".repeat(1 + number * 8), &netns, &pod);
        pods.push((call, netns, ip));
    }
    let adds = futures::future::join_all(pods.iter().map(|(call, ..)| lab.call(call, "ADD"))).await;
    for (add, (.., ip)) in adds.into_iter().zip(&pods) {
        assert_eq!(add.unwrap()["ips"][0]["address"], format!("{ip}/24"));
        assert!(lab.answers(ip, SOON), "{ip}");
    }
    let dels = futures::future::join_all(pods.iter().map(|(call, ..)| lab.call(call, "DEL"))).await;
    assert!(dels.iter().all(Result::is_ok), "{dels:?}");
    assert_eq!(lab.traces(), Vec::<String>::new());
    eventually("all devices are gone", async || (lab.condemned() == 0).then_some(())).await;
}

/// Names that only wait to be deleted are free: the same sandbox, namespace and interface at once again.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_waits_to_be_deleted_is_not_in_the_way() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let netns = Netns::make().unwrap();
    let pod = lab.confirmed("web", &["10.0.0.20"]).await;
    let call = Call::new("c1", &netns, &pod);
    for _ in 0..10 {
        lab.add(&call).await;
        assert!(lab.answers("10.0.0.20", SOON));
        lab.del(&call).await;
        // Another container in the same namespace wants the same interface.
        let other = Call { id: "c2".to_owned(), ..call.clone() };
        lab.add(&other).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(lab.answers("10.0.0.20", SOON), "the sweep took only what was condemned");
        lab.del(&other).await;
    }
    assert_eq!(lab.traces(), Vec::<String>::new());
}

/// Without its state file and without its record.
#[tokio::test(flavor = "multi_thread")]
async fn del_works_when_nothing_is_written_down() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    for (state, record) in [(true, false), (true, true)] {
        let netns = Netns::make().unwrap();
        let pod = lab.confirmed(&format!("web-{record}"), &["10.0.0.20"]).await;
        let call = Call::new("c1", &netns, &pod);
        lab.add(&call).await;
        for (folder, gone) in [("state", state), ("run/attachments", record)] {
            if gone {
                std::fs::read_dir(lab.dir.join(folder))
                    .unwrap()
                    .for_each(|file| std::fs::remove_file(file.unwrap().path()).unwrap());
            }
        }
        lab.del(&call).await;
        assert!(!lab.answers("10.0.0.20", SILENCE));
        assert_eq!(lab.traces(), Vec::<String>::new(), "{state} {record}");
    }
}

/// Row 49: the version that is written for the runtime is one that the plugins speak.
#[test]
fn the_configuration_for_the_runtime_is_understood() {
    let dir = std::env::temp_dir().join(format!("galaxy-agent-conf-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("00-galaxy.conf");
    galaxy_agent::install::configure(&path, std::path::Path::new("/run/galaxy/galaxy.sock")).unwrap();
    let written = std::fs::read(&path).unwrap();
    let conf = galaxy_cni::spec::NetConf::parse(&written).unwrap();
    assert_eq!((conf.name.as_str(), conf.value["type"].as_str()), ("galaxy", Some("galaxy-sdn")));
    // Nothing else is in the folder, and writing it again changes nothing.
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let before = inode();
    galaxy_agent::install::configure(&path, std::path::Path::new("/run/galaxy/galaxy.sock")).unwrap();
    assert_eq!((inode(), std::fs::read_dir(&dir).unwrap().count()), (before, 1));
    let old = json!({ "cniVersion": "1.2.0", "name": "galaxy", "type": "galaxy-sdn" }).to_string();
    let (_, error) = galaxy_cni::spec::NetConf::parse(old.as_bytes()).unwrap_err();
    assert!(error.msg.contains("1.2.0") && error.msg.contains("1.1.0"), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
}
