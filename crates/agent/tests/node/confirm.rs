//! A pod's annotation is a claim, its FloatingIPs are the proof.

use std::time::{Duration, Instant};

use galaxy_api::floatingip::{Attribute, FloatingIPSpec, State};
use galaxy_cni::netlink::Netns;
use serde_json::json;

use crate::lab::{Call, Lab, NODE, annotation, root};

/// Row 55: an annotation can be written by anybody.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_no_floatingip_confirms_is_refused() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let owner = lab.confirmed("owner", &["10.0.0.20"]).await;
    let netns = Netns::make().unwrap();
    let owner_uid = owner.metadata.uid.clone().unwrap();
    // Another pod has it; nobody has it; it is on another node; it is kept for somebody; one of two is fine.
    let thief = lab.pod("thief", &["10.0.0.20"]).await;
    let nobody = lab.pod("nobody", &["10.0.0.30"]).await;
    let elsewhere = lab.pod("elsewhere", &["10.0.0.31"]).await;
    lab.claim("10.0.0.31", &elsewhere, "node-b").await;
    let kept = lab.pod("kept", &["10.0.0.32"]).await;
    let spec =
        FloatingIPSpec { key: "pool__blue_".to_owned(), state: Some(State::Reserved), ..FloatingIPSpec::default() };
    lab.put("10.0.0.32", spec).await;
    let half = lab.pod("half", &["10.0.0.33", "10.0.0.20"]).await;
    lab.claim("10.0.0.33", &half, NODE).await;
    for (pod, words) in [
        (&thief, vec!["10.0.0.20", "default/owner", owner_uid.as_str()]),
        (&nobody, vec!["10.0.0.30", "no FloatingIP"]),
        (&elsewhere, vec!["10.0.0.31", "node-b", NODE]),
        (&kept, vec!["10.0.0.32", "pool__blue_"]),
        (&half, vec!["10.0.0.20", "default/owner"]),
    ] {
        let begin = Instant::now();
        let error = lab.call(&Call::new("c", &netns, pod), "ADD").await.unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(1), "nothing to wait for");
        let (name, uid) = (pod.metadata.name.as_deref().unwrap(), pod.metadata.uid.as_deref().unwrap());
        for word in words.iter().copied().chain([name, uid]) {
            assert!(error.contains(word), "{word:?} is not in {error}");
        }
        let event = lab.event(name, &words).await;
        assert_eq!(event.reason.as_deref(), Some("AddressNotConfirmed"));
    }
    assert_eq!(lab.traces(), Vec::<String>::new());
    let metrics = lab.running().agent.metrics.encode();
    assert!(metrics.contains(r#"galaxy_agent_conflicts_total{kind="unconfirmed"} 5"#), "{metrics}");
    lab.add(&Call::new("c", &netns, &owner)).await;
}

/// A pod that does not even ask for an address cannot have one by writing it down.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_the_resource_is_checked_too() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let annotations =
        json!({ "k8s.v1.cni.galaxy.io/args": annotation(&["10.0.0.20"]), "k8s.v1.cni.cncf.io/networks": "underlay" });
    let pod = lab.pod_with("sly", annotations, false).await;
    let netns = Netns::make().unwrap();
    let error = lab.call(&Call::new("c", &netns, &pod), "ADD").await.unwrap_err();
    assert!(error.contains("no FloatingIP"), "{error}");
}

/// Subnet, gateway and VLAN are what the FloatingIP says, whatever somebody made of the annotation.
#[tokio::test(flavor = "multi_thread")]
async fn the_subnet_is_not_the_users_choice() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let mine = json!({ "common": { "ipinfos": [{ "ip": "10.0.0.20/8", "vlan": 9, "gateway": "10.0.0.66" }] } });
    let pod = lab.pod_with("web", json!({ "k8s.v1.cni.galaxy.io/args": mine.to_string() }), true).await;
    lab.claim("10.0.0.20", &pod, NODE).await;
    let netns = Netns::make().unwrap();
    let result = lab.add(&Call::new("c", &netns, &pod)).await;
    assert_eq!(result["ips"][0]["address"], "10.0.0.20/24");
    assert_eq!(result["ips"][0]["gateway"], "10.0.0.1");
}

/// Objects of the original name neither pod nor node in members of their own.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_the_original_confirms() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let netns = Netns::make().unwrap();
    let pod = lab.pod("old", &["10.0.0.20"]).await;
    let spec = |uid: String| FloatingIPSpec {
        key: "NULL_default_NULL_old".to_owned(),
        attribute: Some(Attribute { node_name: NODE.to_owned(), uid }.to_string()),
        ..FloatingIPSpec::default()
    };
    lab.put("10.0.0.20", spec("another".to_owned())).await;
    assert!(lab.call(&Call::new("c", &netns, &pod), "ADD").await.is_err());
    lab.put("10.0.0.20", spec(pod.metadata.uid.clone().unwrap())).await;
    lab.add(&Call::new("c", &netns, &pod)).await;
}

/// Row 55: the annotation may come after the runtime's call.
#[tokio::test(flavor = "multi_thread")]
async fn add_waits_for_the_addresses() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.flags.push("--wait=10s".to_owned());
    lab.start().await;
    let pod = lab.pod("web", &[]).await;
    let netns = Netns::make().unwrap();
    let call = Call::new("c", &netns, &pod);
    let calls = lab.server.calls();
    let (add, ()) = tokio::join!(lab.call(&call, "ADD"), async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        lab.claim("10.0.0.20", &pod, NODE).await;
        lab.annotate("web", json!({ "k8s.v1.cni.galaxy.io/args": annotation(&["10.0.0.20"]) })).await;
    });
    assert_eq!(add.unwrap()["ips"][0]["address"], "10.0.0.20/24");
    // By a watch, not by asking again and again.
    let asked = calls.count("get", "pods", "galaxy") + calls.count("get", "floatingips", "galaxy");
    assert!(asked <= 2, "{asked} reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.flags.push("--wait=500ms".to_owned());
    lab.start().await;
    let pod = lab.pod("web", &[]).await;
    let netns = Netns::make().unwrap();
    let call = Call::new("c", &netns, &pod);
    let error = lab.call(&call, "ADD").await.unwrap_err();
    assert!(error.contains("default/web") && error.contains("waited 500ms"), "{error}");
    lab.event("web", &["has none in its annotation"]).await;
    lab.stop().await;
    // DEL of the same sandbox ends it at once: containerd that was killed does so after its restart.
    lab.flags.push("--wait=1m".to_owned());
    lab.start().await;
    let begin = Instant::now();
    let (add, del) = tokio::join!(lab.call(&call, "ADD"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        lab.call(&call, "DEL").await
    });
    assert!(add.unwrap_err().contains("was deleted") && del.is_ok());
    assert!(begin.elapsed() < Duration::from_secs(10));
}

/// Kubelet knows a static pod by another uid than the API server.
#[tokio::test(flavor = "multi_thread")]
async fn a_static_pod_is_known_by_its_hash() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start().await;
    let annotations = json!({
        "kubernetes.io/config.mirror": "abc", "kubernetes.io/config.hash": "abc",
        "k8s.v1.cni.galaxy.io/args": annotation(&["10.0.0.20"]),
    });
    let pod = lab.pod_with("static", annotations, true).await;
    lab.claim("10.0.0.20", &pod, NODE).await;
    let netns = Netns::make().unwrap();
    let mut call = Call::new("c", &netns, &pod);
    call.args = call.args.replace(pod.metadata.uid.as_deref().unwrap(), "abc");
    lab.add(&call).await;
    // A runtime that does not say the uid at all.
    call.id = "d".to_owned();
    call.args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=static".to_owned();
    lab.del(&Call { id: "c".to_owned(), ..call.clone() }).await;
    lab.add(&call).await;
}
