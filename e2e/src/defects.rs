//! The defects of the original, contract §10: for each that is in scope, a scenario named after what now holds.
//!
//! Rows that a promise shows already are short here and say where the rest is. Rows of the ledger or the wire alone are in `tests/ledger.rs`.

use std::{net::IpAddr, time::Duration};

use anyhow::{Result, ensure};
use galaxy_api::{floatingip::State, names::ARGS_ANNOTATION};
use galaxy_ipam::cloud::fake::{FakeProvider, Mood};
use galaxy_sandbox::apiserver::{Action, EventAction, Gate, Rule, Status};
use serde_json::{Value, json};

use crate::{
    Lab, Setup, Workload,
    setup::{NodeSetup, pools, rack_pool},
    workload::custom_crd,
};

/// Row 1: nothing that is in use or reserved is deleted with the configuration, and the provider goes on routing it.
pub async fn row_01_a_configuration_change_deletes_no_floating_ip(lab: Lab) -> Result<()> {
    let cloud = FakeProvider::start().await?;
    let c = lab.cluster(Setup::one_rack(1, 3).cloud(&cloud.address())).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    c.reserve("10.64.1.12", "pool__reserved-for-node_").await?;
    for document in ["[]", "null", ""] {
        c.refused_configuration(document).await?;
    }
    c.reconfigure(&json!([rack_pool(2, 5)])).await?;
    c.sweep().await?;
    let seen = c.see().await?;
    ensure!(!seen.is_free(&ip) && !seen.is_free("10.64.1.12"), "{seen}");
    ensure!(cloud.routes().contains_key(&ip.parse::<IpAddr>()?));
    c.settled().await
}

/// Row 2: claims and releases that happen while a configuration comes into force are neither lost nor undone.
pub async fn row_02_a_configuration_change_in_the_middle_loses_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 20)).await?;
    let mut web = Workload::deployment("web").replicas(8);
    c.apply(&web).await?;
    for round in 0..6 {
        c.configure(&pools(20 - round % 2)).await?;
        c.scale(&mut web, if round % 2 == 0 { 3 } else { 9 }).await?;
        c.configure(&pools(20 + round % 2)).await?;
        c.up(&web).await?;
    }
    c.until("every address has its pod", |seen| seen.addresses.len() == web.wanted()).await?;
    c.settled().await
}

/// Row 3: the pod's successor of the same name is bound before galaxy-ipam hears that the old one is gone.
pub async fn row_03_a_late_delete_event_of_an_old_pod_frees_nothing_of_the_new_one(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 5)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let old = c.up(&pod).await?.remove(0);
    let gate = Gate::new();
    let late =
        Rule::new(Action::Event(EventAction::Hold(gate.clone()))).verb("watch").resource("pods").agent("galaxy-ipam");
    let uid = old.uid.clone();
    let handle = c.server()?.faults().add(late.when(move |_, object| {
        object.is_some_and(|pod| pod["metadata"]["uid"] == *uid && pod["metadata"]["deletionTimestamp"].is_string())
    }));
    c.delete_pod("p").await?;
    c.no_pods(&pod).await?;
    c.apply(&pod).await?;
    let new = c.up(&pod).await?.remove(0);
    gate.open();
    handle.remove();
    c.free(old.ip()).await?;
    let fence = Workload::pod("fence");
    c.apply(&fence).await?;
    c.up(&fence).await?;
    c.sweep().await?;
    ensure!(c.see().await?.addresses.get(new.ip()).is_some_and(|address| address.pod_uid() == new.uid));
    c.settled().await
}

/// Row 4: a standby replays nothing when it takes over: who was recreated meanwhile keeps what it has.
pub async fn row_04_a_standby_replays_nothing_when_it_takes_over(lab: Lab) -> Result<()> {
    let times =
        ["--leader-elect-lease-duration=2s", "--leader-elect-renew-deadline=1s", "--leader-elect-retry-period=100ms"];
    let setup = times.into_iter().fold(Setup::one_rack(2, 6).flag("--leader-elect=true"), Setup::flag);
    let c = lab.cluster(setup).await?;
    let (db, pod) = (Workload::stateful_set("db").replicas(2).immutable(), Workload::pod("p"));
    c.apply(&db).await?;
    c.apply(&pod).await?;
    let before = c.up(&db).await?;
    let ip = c.ip(&pod).await?;
    c.backend().stop_ipam().await?;
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> = kube::Api::namespaced(c.client(), "kube-system");
    let other = json!({"spec": {"holderIdentity": "another-replica", "leaseDurationSeconds": 3600, "renewTime": "2100-01-01T00:00:00.000000Z"}});
    leases.patch("galaxy-ipam", &Default::default(), &kube::api::Patch::Merge(other)).await?;
    c.backend().start_ipam(false).await?;
    // It sees these deletions as a standby and must not act on them, now or later.
    c.delete_pod("db-0").await?;
    c.delete_pod("p").await?;
    c.until("the successor waits", |seen| {
        seen.pod("p").is_none() && seen.pod("db-0").is_some_and(|it| it.uid != before[0].uid)
    })
    .await?;
    ensure!(c.get("/readyz").await?.status == 503 && c.get("/healthy").await?.status == 200);
    ensure!(!c.see().await?.is_free(&ip), "a standby released an address");
    leases.delete("galaxy-ipam", &Default::default()).await?;
    c.free(&ip).await?;
    let after = c.up(&db).await?;
    ensure!(after[0].ips == before[0].ips && after[1].uid == before[1].uid);
    c.sweep().await?;
    ensure!(c.see().await?.addresses.len() == 2);
    c.settled().await
}

/// Row 5: two equal lists get two addresses, each named once.
pub async fn row_05_overlapping_lists_get_distinct_addresses(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.64.1.10~10.64.1.11"], ["10.64.1.10~10.64.1.11"]]));
    c.apply(&pod).await?;
    let pod = c.up(&pod).await?.remove(0);
    ensure!(pod.ips.len() == 2 && pod.ips[0] != pod.ips[1], "{:?}", pod.ips);
    ensure!(c.see().await?.addresses.len() == 2);
    c.settled().await
}

/// Row 6: a range costs what it has in common with the pools, up to the last address of all.
pub async fn row_06_a_huge_range_costs_little_and_ends(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let all = Workload::pod("all").ranges(&json!([["0.0.0.0~255.255.255.255"], ["10.0.0.0~255.255.255.255"]]));
    c.apply(&all).await?;
    ensure!(c.up(&all).await?[0].ips.len() == 2);
    let mut ranges: Vec<String> =
        (0..9_000).map(|n| format!("11.{0}.{1}.0~11.{0}.{1}.255", n / 250, n % 250)).collect();
    ranges.push("10.64.1.12".to_owned());
    let many = Workload::pod("many").ranges(&json!([ranges]));
    c.apply(&many).await?;
    ensure!(c.ip(&many).await? == "10.64.1.12");
    c.settled().await
}

/// Row 7: a custom kind that may not be listed fails its own pods with a reason, and nothing else; it works once allowed.
pub async fn row_07_a_kind_that_cannot_be_watched_fails_only_its_own_pods(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let no = Status::new(
        403,
        "Forbidden",
        "tapps.apps.tkestack.io is forbidden: User galaxy-ipam cannot list resource tapps",
    );
    let forbidden = |verb: &str| Rule::new(Action::Error(no.clone())).verb(verb).resource("tapps").agent("galaxy-ipam");
    let rules = [c.server()?.faults().add(forbidden("list")), c.server()?.faults().add(forbidden("watch"))];
    let (app, db) = (Workload::tapp("app").immutable(), Workload::stateful_set("db").replicas(2).immutable());
    c.apply(&app).await?;
    let condition = c.waits("app-0", "KindUnavailable").await?;
    ensure!(condition.message.contains("TApp") && condition.message.contains("forbidden"), "{}", condition.message);
    c.apply(&db).await?;
    c.up(&db).await?;
    c.delete_pod("db-0").await?;
    c.up(&db).await?;
    c.sweep().await?;
    rules.iter().for_each(galaxy_sandbox::apiserver::Handle::remove);
    c.clock()?.advance(Duration::from_secs(120));
    c.up(&app).await?;
    c.settled().await
}

/// Row 8: any served version of a CRD is good.
pub async fn row_08_a_definition_in_version_v1_is_understood(lab: Lab) -> Result<()> {
    crate::promises::custom::immutable_by_the_scale_subresource(lab).await
}

/// Row 9: every address of a pod with several is unassigned, though one of them fails at first.
pub async fn row_09_every_address_of_a_pod_is_unassigned(lab: Lab) -> Result<()> {
    let cloud = FakeProvider::start().await?;
    let c = lab.cluster(Setup::one_rack(1, 5).cloud(&cloud.address())).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.64.1.10"], ["10.64.1.11"], ["10.64.1.12"]]));
    c.apply(&pod).await?;
    c.up(&pod).await?;
    cloud.on_unassign(Mood::Break("gone for a walk".into()));
    let calls = cloud.calls().len();
    c.delete_pod("p").await?;
    cloud.arrived(calls + 3).await;
    c.sweep().await?;
    ensure!(c.see().await?.addresses.len() == 3, "freed before it is unassigned");
    cloud.on_unassign(Mood::Obey);
    c.until("all are free", |seen| seen.addresses.is_empty()).await?;
    ensure!(cloud.routes().is_empty(), "{:?}", cloud.routes());
    ensure!(cloud.calls().iter().all(|call| !call.node.is_empty()), "row 37: {:?}", cloud.calls());
    c.settled().await
}

/// Row 10: running pods without the annotation, or with nonsense in it, harm nobody.
pub async fn row_10_a_running_pod_without_its_annotation_harms_nobody(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    for args in [
        json!(null),
        json!(""),
        json!("{"),
        json!("[]"),
        json!(r#"{"common":null}"#),
        json!(r#"{"common":{"ipinfos":[{}]}}"#),
    ] {
        c.annotate_pod("p", &json!({ ARGS_ANNOTATION: args, "other": "x" })).await?;
    }
    let fence = Workload::pod("fence");
    c.apply(&fence).await?;
    c.up(&fence).await?;
    c.sweep().await?;
    ensure!(c.see().await?.state(&ip) == Some(State::Bound));
    c.delete_pod("p").await?;
    c.free(&ip).await?;
    c.settled().await
}

/// Row 11: what a pod must reuse is chosen among the nodes it may go to.
pub async fn row_11_a_reservation_elsewhere_does_not_pin_the_pod(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 5), (1, 5)])).await?;
    let first = Workload::deployment("web").pool("blue").on_node("a1");
    c.apply(&first).await?;
    c.up(&first).await?;
    c.delete(&first).await?;
    c.no_pods(&first).await?;
    let second = Workload::deployment("api").pool("blue").on_node("b1");
    c.apply(&second).await?;
    ensure!(c.ip(&second).await?.starts_with("10.64.2."));
    c.set_pool("green", 1, false).await?;
    let third = Workload::deployment("sized").pool("green").on_node("b1");
    c.apply(&third).await?;
    ensure!(c.ip(&third).await?.starts_with("10.64.2."));
    c.settled().await
}

/// Row 12: a reserved address does not confine a Deployment to subnets that are full.
pub async fn row_12_a_reservation_does_not_confine_the_deployment(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 1), (1, 5)])).await?;
    let mut web = Workload::deployment("web").replicas(2).immutable();
    c.apply(&web).await?;
    let pods = c.up(&web).await?;
    c.cordon("a1", true).await?;
    for pod in pods {
        c.delete_pod(&pod.name).await?;
    }
    let pods = c.up(&web).await?;
    ensure!(pods.iter().all(|pod| pod.node == "b1"), "a pod is elsewhere than on b1");
    c.sweep().await?;
    c.until("the set is as large as the Deployment", |seen| seen.owned_by(&web).len() == 2).await?;
    c.cordon("a1", false).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.up(&web).await?;
    c.settled().await
}

/// Row 13: addresses reserved for a workload, not for a pod, go with it.
pub async fn row_13_reservations_of_a_deployment_are_swept(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(2).immutable();
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.up(&web).await?;
    c.until("one is reserved", |seen| seen.owned_by(&web).iter().any(|it| it.state() == Some(State::Reserved))).await?;
    // Nobody tells a galaxy-ipam that is away.
    c.backend().kill_ipam();
    c.delete(&web).await?;
    c.no_pods(&web).await?;
    c.backend().start_ipam(true).await?;
    c.sweep().await?;
    c.until("nothing is kept", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}

/// Row 14: three lists on three subnets have no node in common, and none is offered.
pub async fn row_14_lists_without_a_common_node_are_refused(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 5), (1, 5), (1, 5)])).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.64.1.10"], ["10.64.2.10"], ["10.64.3.10"]]));
    c.apply(&pod).await?;
    c.waits("p", "NoAddress").await?;
    ensure!(c.see().await?.addresses.is_empty());
    c.settled().await
}

/// Row 15: `[["a~b"],["a"]]` is served.
pub async fn row_15_lists_are_matched_not_served_first_come(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let pod = Workload::pod("p").ranges(&json!([["10.64.1.10~10.64.1.11"], ["10.64.1.10"]]));
    c.apply(&pod).await?;
    ensure!(c.up(&pod).await?[0].ips == ["10.64.1.11", "10.64.1.10"]);
    let two = Workload::pod("two").ranges(&json!([["10.64.1.11"], ["10.64.1.11"]]));
    c.apply(&two).await?;
    c.waits("two", "NoAddress").await?;
    c.settled().await
}

/// Row 16: the limit is exact between filter and bind, for unsized Deployments too.
pub async fn row_16_the_replica_limit_is_exact_between_filter_and_bind(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(3, 30)).await?;
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}});
    let mut web = Workload::deployment("web").replicas(3).immutable().strategy(&strategy);
    c.apply(&web).await?;
    c.up(&web).await?;
    // Binds that take their time, so that filters come in between.
    let slow = Rule::new(Action::Delay(Duration::from_millis(60))).verb("create").resource("floatingips");
    c.server()?.faults().add(slow);
    for image in ["nginx:2", "nginx:3"] {
        c.roll(&mut web, image).await?;
        c.up(&web).await?;
    }
    ensure!(c.most_addresses(&web) == 4, "{} at once", c.most_addresses(&web));
    c.settled().await
}

/// Row 17: a write that hangs holds up its own pod and nobody else.
pub async fn row_17_a_hanging_write_holds_up_nobody_else(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let gate = Gate::new();
    let hang = Rule::new(Action::Hold(gate.clone())).verb("create").resource("floatingips").times(1);
    c.server()?.faults().add(hang);
    let slow = Workload::pod("slow");
    c.apply(&slow).await?;
    gate.arrived(1).await;
    let web = Workload::deployment("web").replicas(5);
    c.apply(&web).await?;
    c.up(&web).await?;
    ensure!(c.see().await?.pod("slow").is_some_and(|pod| pod.node.is_empty()));
    gate.open();
    c.up(&slow).await?;
    c.settled().await
}

/// Row 18: a scheduler with `nodeCacheCapable` is served.
pub async fn row_18_node_names_are_enough(lab: Lab) -> Result<()> {
    crate::promises::extender::a_scheduler_that_sends_names_only(lab).await
}

/// Row 19: preempt writes nothing, and leaves alone who does not want an address.
pub async fn row_19_preempt_is_read_only(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    c.set_pool("blue", 1, false).await?;
    let pod = Workload::pod("p-1").pool("blue").on_node("nowhere");
    let plain = Workload::pod("plain").plain().never().on_node("nowhere");
    c.apply(&pod).await?;
    c.apply(&plain).await?;
    let victims =
        json!({"a1": {"Pods": [{"UID": "u"}], "NumPDBViolations": 0}, "ghost": {"Pods": [], "NumPDBViolations": 0}});
    for (name, kept) in [("p-1", 1), ("plain", 2)] {
        let pod = serde_json::to_value(c.get_pod(name).await?)?;
        let answer = c.extender("/v1/preempt", &json!({"Pod": pod, "NodeNameToMetaVictims": victims})).await?.json();
        let nodes = answer["NodeNameToMetaVictims"].as_object().map_or(0, serde_json::Map::len);
        ensure!(nodes == kept, "{name}: {answer}");
    }
    ensure!(c.see().await?.addresses.is_empty());
    c.settled().await
}

/// Row 20: nodes are known from their watch, so that no request waits for one, and changes of address and deletions count.
pub async fn row_20_a_node_that_changes_its_address_is_noticed(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 3), (0, 3)])).await?;
    let first = Workload::pod("first");
    c.apply(&first).await?;
    ensure!(c.ip(&first).await?.starts_with("10.64.1."));
    c.readdress("a1", "10.0.2.99").await?;
    c.poll("the node is in the other rack", || async {
        let pod = serde_json::to_value(c.get_pod("first").await?)?;
        let answer = c.extender("/v1/priority", &json!({"Pod": pod, "NodeNames": ["a1"]})).await?.json();
        let score = answer[0]["Score"].as_i64().or(answer[0]["score"].as_i64());
        Ok((score == Some(10)).then_some(()))
    })
    .await?;
    let second = Workload::pod("second");
    c.apply(&second).await?;
    ensure!(c.ip(&second).await?.starts_with("10.64.2."));
    ensure!(c.server()?.calls().count("get", "nodes", "galaxy-ipam") == 0);
    c.settled().await
}

/// Row 21: a node in several node subnets uses the pools of all of them.
pub async fn row_21_a_node_in_several_subnets_uses_them_all(lab: Lab) -> Result<()> {
    let pool = |number: u32, subnet: &str| {
        json!({
            "nodeSubnets": [subnet], "ips": [format!("10.64.{number}.10")], "subnet": format!("10.64.{number}.0/24"),
            "gateway": format!("10.64.{number}.1"),
        })
    };
    let all = json!([pool(1, "10.0.1.0/24"), pool(2, "10.0.1.0/24"), pool(3, "10.0.0.0/16"), pool(4, "10.0.1.11/32")]);
    let c = lab.cluster(Setup::one_rack(1, 0).pools(&all)).await?;
    let web = Workload::deployment("web").replicas(4);
    c.apply(&web).await?;
    ensure!(c.ips(&web).await? == (1..=4).map(|n| format!("10.64.{n}.10")).collect());
    c.settled().await
}

/// Row 22: pools that overlap are refused, and both are named.
pub async fn row_22_overlapping_pools_are_refused_and_named(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let mut other = rack_pool(1, 9);
    other["nodeSubnets"] = json!(["10.0.7.0/24"]);
    let text = c.refused_configuration(&json!([rack_pool(1, 5), other]).to_string()).await?;
    ensure!(text.contains("10.64.1.10~10.64.1.14") && text.contains("10.64.1.10~10.64.1.18"), "{text}");
    c.settled().await
}

/// Row 23: a ReplicaSet of its own does not share keys with a Deployment whose name it seems to have.
pub async fn row_23_a_bare_replica_set_is_not_a_deployment(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let (web, set) = (Workload::deployment("web").immutable(), Workload::replica_set("web-5d").never());
    c.apply(&web).await?;
    c.apply(&set).await?;
    let (first, second) = (c.ip(&web).await?, c.ip(&set).await?);
    let seen = c.see().await?;
    ensure!(seen.addresses[&first].key().starts_with("dp_default_web_"), "{seen}");
    ensure!(seen.addresses[&second].key().starts_with("replicasets_default_web-5d_"), "{seen}");
    c.delete(&web).await?;
    c.free(&first).await?;
    ensure!(c.see().await?.state(&second) == Some(State::Bound));
    c.settled().await
}

/// Row 24: a StatefulSet of another group is a workload of its own.
pub async fn row_24_a_kind_of_another_group_is_its_own_workload(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    c.define(&custom_crd("apps.example.test", "StatefulSet", "statefulsets", true)).await?;
    let ours = Workload::stateful_set("db").replicas(2).immutable();
    let mut theirs = serde_json::to_value(Workload::stateful_set("db").replicas(2).immutable().manifest())?;
    theirs["apiVersion"] = "apps.example.test/v1".into();
    theirs["metadata"]["name"] = "dc".into();
    theirs["spec"]["template"]["metadata"]["labels"]["app"] = "dc".into();
    c.create("statefulsets", &theirs).await?;
    let look = Workload::stateful_set("dc").replicas(2);
    let before = c.up(&look).await?;
    c.apply(&ours).await?;
    c.up(&ours).await?;
    c.delete_pod("dc-1").await?;
    let after = c.up(&look).await?;
    ensure!(after[1].uid != before[1].uid && after[1].ips == before[1].ips);
    c.sweep().await?;
    let seen = c.see().await?;
    for pod in &after {
        let owner = seen.addresses[pod.ip()].object.spec.owner.clone().unwrap_or_default();
        ensure!(owner.api_group == "apps.example.test" && owner.kind == "StatefulSet", "{owner:?}");
    }
    c.settled().await
}

/// Row 25: an object without the replicas field proves nothing, so nothing of it is freed.
pub async fn row_25_missing_replicas_free_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let app = Workload::tapp("app").no_replicas().immutable();
    c.apply(&app).await?;
    let before = c.up(&app).await?.remove(0);
    // A second pod by hand would be beyond any default.
    c.delete_pod("app-0").await?;
    let after = c.up(&app).await?.remove(0);
    ensure!(after.uid != before.uid && after.ips == before.ips);
    c.sweep().await?;
    ensure!(c.see().await?.addresses.len() == 1);
    c.settled().await
}

/// Row 26: the controller owns the pod, whatever other owners it names first.
pub async fn row_26_the_controller_reference_counts(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    c.define(&custom_crd("example.test", "Thing", "things", true)).await?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "friend", "namespace": "default"}});
    let mut friend = c.create("configmaps", &map).await?;
    friend.types = Some(kube::core::TypeMeta { api_version: "v1".into(), kind: "ConfigMap".into() });
    let thing = json!({
        "apiVersion": "example.test/v1", "kind": "Thing", "metadata": {"name": "thing", "namespace": "default"}, "spec": {"replicas": 1},
    });
    let mut owner = c.create("things", &thing).await?;
    owner.types = Some(kube::core::TypeMeta { api_version: "example.test/v1".into(), kind: "Thing".into() });
    let pod = Workload::pod("thing-0").immutable().owner(&friend, false).owner(&owner, true);
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    let key = c.see().await?.addresses[&ip].key().to_owned();
    ensure!(key == "thing_default_thing_thing-0", "{key}");
    c.settled().await
}

/// Row 27: the uid of the request is the owner, whatever an old cache says of the name.
pub async fn row_27_the_uid_of_the_request_owns_the_address(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 5)).await?;
    let db = Workload::stateful_set("db").immutable();
    c.apply(&db).await?;
    let old = c.up(&db).await?.remove(0);
    let gate = Gate::new();
    let late =
        Rule::new(Action::Event(EventAction::Hold(gate.clone()))).verb("watch").resource("pods").agent("galaxy-ipam");
    let handle = c.server()?.faults().add(late.times(1));
    c.delete_pod("db-0").await?;
    // The successor is filtered while galaxy-ipam knows the old pod only; a quorum read tells them apart.
    c.until("the successor is there", |seen| seen.pod("db-0").is_some_and(|pod| pod.uid != old.uid)).await?;
    gate.arrived(1).await;
    let new = c.wait("the successor is bound", |seen| seen.pod("db-0").filter(|pod| pod.is_up()).cloned()).await;
    gate.open();
    handle.remove();
    let new = match new {
        Ok(new) => new,
        Err(late) => anyhow::bail!("not before the delete event: {late}"),
    };
    let seen = c.see().await?;
    ensure!(new.ips == old.ips && seen.addresses[new.ip()].pod_uid() == new.uid, "{seen}");
    c.settled().await
}

/// Row 28: objects deleted or labelled by hand are noticed; the address of a live pod is recorded again.
pub async fn row_28_objects_changed_by_hand_are_noticed(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let pod = c.up(&pod).await?.remove(0);
    c.delete_floating_ip(pod.ip()).await?;
    c.until("the object is made again for the same pod", |seen| {
        seen.addresses
            .get(pod.ip())
            .is_some_and(|address| address.pod_uid() == pod.uid && address.state() == Some(State::Bound))
    })
    .await?;
    // A reserved one that is deleted is free.
    let db = Workload::stateful_set("db").never();
    c.apply(&db).await?;
    let ip = c.ip(&db).await?;
    c.delete(&db).await?;
    c.reserved(&ip).await?;
    c.delete_floating_ip(&ip).await?;
    let other = Workload::pod("other");
    c.apply(&other).await?;
    ensure!(c.ip(&other).await? == ip);
    c.settled().await
}

/// Row 29: somebody else's object on a free address costs a try, not the bind; a conflict is looked into and retried.
pub async fn row_29_a_taken_address_is_passed_over(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    // galaxy-ipam does not see the object that takes the address.
    let gate = Gate::new();
    let blind = Rule::new(Action::Event(EventAction::Hold(gate.clone()))).resource("floatingips").agent("galaxy-ipam");
    let handle = c.server()?.faults().add(blind);
    c.reserve("10.64.1.10", "pool__reserved-for-node_").await?;
    gate.arrived(1).await;
    let first = Workload::pod("first");
    c.apply(&first).await?;
    ensure!(c.ip(&first).await? != "10.64.1.10");
    gate.open();
    handle.remove();
    // Conflicts on the way: the update of a reused address, and a release.
    let db = Workload::stateful_set("db").immutable();
    c.apply(&db).await?;
    let ip = c.ip(&db).await?;
    for verb in ["update", "delete"] {
        c.server()?.faults().add(Rule::new(Action::conflict()).verb(verb).resource("floatingips").times(2));
    }
    c.delete_pod("db-0").await?;
    ensure!(c.ip(&db).await? == ip);
    c.delete(&db).await?;
    c.free(&ip).await?;
    c.settled().await
}

/// Row 30: a slow provider does not keep the scheduler waiting beyond its 5 s.
pub async fn row_30_a_slow_provider_does_not_keep_the_scheduler_waiting(lab: Lab) -> Result<()> {
    let cloud = FakeProvider::start().await?;
    let c = lab.cluster(Setup::one_rack(1, 3).cloud(&cloud.address())).await?;
    cloud.on_assign(Mood::Stall);
    let pod = Workload::pod("p").pod_spec("schedulerName", &json!("nobody"));
    c.apply(&pod).await?;
    let uid = c.get_pod("p").await?.metadata.uid;
    let body = json!({"PodName": "p", "PodNamespace": "default", "PodUID": uid, "Node": "a1"});
    let start = std::time::Instant::now();
    let answer = c.extender("/v1/bind", &body).await?.json();
    ensure!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    ensure!(answer["Error"].as_str().is_some_and(|text| text.contains("assign")), "{answer}");
    // Until it is done only that node passes.
    let pod = serde_json::to_value(c.get_pod("p").await?)?;
    let answer = c.extender("/v1/filter", &json!({"Pod": pod, "NodeNames": ["a1"]})).await?.json();
    ensure!(answer["failedNodes"].get("a1").is_none(), "{answer}");
    cloud.on_assign(Mood::Obey);
    c.poll("bind succeeds", || async {
        Ok((c.extender("/v1/bind", &body).await?.json() == json!({"Error": ""})).then_some(()))
    })
    .await?;
    c.settled().await
}

/// Row 31: an empty value is no configuration.
pub async fn row_31_an_empty_value_is_no_configuration(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3).unconfigured()).await?;
    c.configure_text(Some("")).await?;
    let text = c.event("ConfigMap", "floatingip-config", "ConfigurationRefused").await?;
    ensure!(text.contains("empty"), "{text}");
    ensure!(c.get("/readyz").await?.status == 503);
    c.configure(&pools(1)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.up(&pod).await?;
    c.settled().await
}

/// Row 32: a standby, or a replica without configuration, has both ports open, is healthy and says that it is not ready.
pub async fn row_32_a_standby_is_healthy_and_not_ready(lab: Lab) -> Result<()> {
    let setup =
        Setup::one_rack(1, 3).unconfigured().flag("--leader-elect=true").flag("--leader-elect-retry-period=100ms");
    let c = lab.cluster(setup).await?;
    for base in [c.backend().api_url(), c.backend().extender_url()] {
        let healthy = c.http().get(&format!("{base}/healthy")).await?;
        ensure!(healthy.status == 200 && healthy.body == "ok", "{healthy:?}");
        ensure!(c.http().get(&format!("{base}/readyz")).await?.status == 503);
    }
    c.configure(&pools(1)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.up(&pod).await?;
    ensure!(c.get("/readyz").await?.status == 200);
    ensure!(c.metric("galaxy_ipam_leader").await? == Some(1.0));
    c.settled().await
}

/// Row 33: IPv6 addresses are addresses.
pub async fn row_33_ipv6_addresses_are_handed_out(lab: Lab) -> Result<()> {
    let nodes = vec![NodeSetup { name: "a1".into(), address: "fd00:1::11".into() }];
    let all = json!([{
        "nodeSubnets": ["fd00:1::/64"], "ips": ["fd00:2::ffff:fffe~fd00:2::1:0:1"], "subnet": "fd00:2::/64", "gateway": "fd00:2::1", "vlan": 3,
    }]);
    let c = lab.cluster(Setup::new(nodes, &all)).await?;
    let db = Workload::stateful_set("db").replicas(4).immutable();
    c.apply(&db).await?;
    let pods = c.up(&db).await?;
    let ips = c.ips(&db).await?;
    let expected = ["fd00:2::ffff:fffe", "fd00:2::ffff:ffff", "fd00:2::1:0:0", "fd00:2::1:0:1"];
    ensure!(ips == expected.map(str::to_owned).into(), "{ips:?}");
    let args: Value = serde_json::from_str(&pods[0].args)?;
    let info = json!({"ip": format!("{}/64", pods[0].ip()), "vlan": 3, "gateway": "fd00:2::1"});
    ensure!(args["common"]["ipinfos"][0] == info, "{args}");
    let object = &c.see().await?.addresses["fd00:2::1:0:0"].object;
    ensure!(object.metadata.name.as_deref() == Some("fd00-0002-0000-0000-0000-0001-0000-0000"), "{object:?}");
    c.delete_pod("db-2").await?;
    ensure!(c.ips(&db).await? == ips);
    c.settled().await
}

/// Row 34: the network comes from the gateway; vlan and pool size are checked.
pub async fn row_34_vlan_and_pool_size_are_checked(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    let mut pool = rack_pool(1, 3);
    pool["vlan"] = 4095.into();
    let text = c.refused_configuration(&json!([pool]).to_string()).await?;
    ensure!(text.contains("vlan") && text.contains("4095"), "{text}");
    let answer = c.post("/v1/pool", &json!({"name": "blue", "size": -1})).await?;
    ensure!(answer.status == 400 && answer.body.contains("-1"), "{answer:?}");
    pool["vlan"] = 4094.into();
    pool["subnet"] = "0.0.0.0/24".into();
    c.reconfigure(&json!([pool])).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let args: Value = serde_json::from_str(&c.up(&pod).await?[0].args)?;
    ensure!(args["common"]["ipinfos"][0]["ip"] == "10.64.1.10/24", "{args}");
    c.settled().await
}

/// Row 35: times have microseconds, so that the newest is known after a restart.
pub async fn row_35_the_newest_reservation_is_known_after_a_restart(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    let web = Workload::deployment("web").replicas(4).never();
    c.apply(&web).await?;
    let pods = c.up(&web).await?;
    c.delete(&web).await?;
    for pod in &pods {
        c.reserved(pod.ip()).await?;
    }
    let seen = c.see().await?;
    let times: std::collections::BTreeMap<_, _> = seen
        .owned_by(&web)
        .into_iter()
        .map(|it| (it.object.spec.update_time.clone().map(|time| time.0), it.ip.clone()))
        .collect();
    ensure!(times.len() == 4, "two were given up in the same moment\n{seen}");
    c.restart_ipam().await?;
    let again = Workload::deployment("web").never();
    c.apply(&again).await?;
    ensure!(Some(&c.ip(&again).await?) == times.values().last());
    c.settled().await
}

/// Row 36: what else stands in the annotation stays there.
pub async fn row_36_unknown_members_of_the_annotation_stay(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    let mine =
        r#"{"request_ip_range":[["10.64.1.11"]],"mine":{"a":[1,null]},"common":{"dns":"10.1.1.1","ipinfos":[]}}"#;
    let pod = Workload::pod("p").annotate(ARGS_ANNOTATION, mine);
    c.apply(&pod).await?;
    let args: Value = serde_json::from_str(&c.up(&pod).await?[0].args)?;
    let infos = json!([{"ip": "10.64.1.11/24", "vlan": 1, "gateway": "10.64.1.1"}]);
    let expected = json!({"request_ip_range": [["10.64.1.11"]], "mine": {"a": [1, null]}, "common": {"dns": "10.1.1.1", "ipinfos": infos}});
    ensure!(args == expected, "{args}");
    c.settled().await
}

/// Row 37: the provider is never told to take an address from no node.
pub async fn row_37_unassign_names_its_node(lab: Lab) -> Result<()> {
    let cloud = FakeProvider::start().await?;
    let c = lab.cluster(Setup::one_rack(2, 6).cloud(&cloud.address())).await?;
    let mut web = Workload::deployment("web").replicas(2).immutable();
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.up(&web).await?;
    c.scale(&mut web, 0).await?;
    c.until("nothing is kept", |seen| seen.addresses.is_empty()).await?;
    ensure!(cloud.calls().iter().all(|call| !call.node.is_empty()), "{:?}", cloud.calls());
    ensure!(cloud.routes().is_empty());
    c.settled().await
}

/// Row 38: a Deployment without replicas has one.
pub async fn row_38_a_deployment_without_replicas_has_one(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    let web = Workload::deployment("web").no_replicas().immutable();
    c.apply(&web).await?;
    let pod = c.up(&web).await?.remove(0);
    c.delete_pod(&pod.name).await?;
    ensure!(c.ip(&web).await? == pod.ip());
    c.settled().await
}

async fn refused_release(c: &crate::Cluster, entry: Value) -> Result<String> {
    let answer = c.post("/v1/ip", &json!({"ips": [entry]})).await?;
    ensure!(answer.status == 202, "{entry}: {answer:?}");
    Ok(answer.json()["reasons"][0].as_str().unwrap_or_default().to_owned())
}

/// Row 40: an administrator's address is not released by HTTP, an unknown one is not reported as released, and without
/// appType a StatefulSet is meant, as documented.
pub async fn row_40_release_honours_the_label_and_the_documented_default(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    c.reserve("10.64.1.14", "pool__reserved-for-node_").await?;
    c.poll("the reservation is seen", || async {
        Ok(c.get("/v1/ip?keyword=reserved-for-node").await?.body.contains("10.64.1.14").then_some(()))
    })
    .await?;
    let reason = refused_release(&c, json!({"ip": "10.64.1.14", "poolName": "reserved-for-node"})).await?;
    ensure!(reason.contains("10.64.1.14") && reason.contains("reserved by an administrator"), "{reason}");
    ensure!(!c.see().await?.is_free("10.64.1.14"));
    let reason =
        refused_release(&c, json!({"ip": "192.0.2.1", "appName": "sts", "podName": "sts-0", "namespace": "default"}))
            .await?;
    ensure!(reason.contains("192.0.2.1") && reason.contains("no configured pool"), "{reason}");
    let sts = Workload::stateful_set("sts").never();
    c.apply(&sts).await?;
    let ip = c.ip(&sts).await?;
    c.delete(&sts).await?;
    c.reserved(&ip).await?;
    let entry = json!({"ip": ip, "appName": "sts", "podName": "sts-0", "namespace": "default"});
    ensure!(c.post("/v1/ip", &json!({"ips": [entry]})).await?.status == 200);
    ensure!(c.see().await?.is_free(&ip));
    c.settled().await
}

/// Row 41: addresses of bare pods can be listed and released, and `deployments` means deployments.
pub async fn row_41_bare_pods_and_plural_kinds_work(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let (pod, web) = (Workload::pod("p-1").never(), Workload::deployment("web").never());
    for workload in [&pod, &web] {
        c.apply(workload).await?;
        let ip = c.ip(workload).await?;
        c.delete(workload).await?;
        c.reserved(&ip).await?;
    }
    for path in ["/v1/ip?appType=NULL&namespace=default", "/v1/ip?appType=deployments&appName=web&namespace=default"] {
        let shown = c.get(path).await?.json();
        ensure!(shown["totalElements"] == 1, "{path}: {shown}");
        let answer = c.post("/v1/ip", &json!({"ips": shown["content"]})).await?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
    }
    ensure!(c.see().await?.addresses.is_empty());
    c.settled().await
}

/// Row 42: cart-1 is not cart-10, a namespace alone is a query, addresses sort as numbers, pages are stable.
pub async fn row_42_queries_are_exact_and_sorted_by_number(lab: Lab) -> Result<()> {
    let mut pool = rack_pool(1, 0);
    pool["ips"] = json!(["10.64.1.5~10.64.1.16"]);
    let c = lab.cluster(Setup::one_rack(2, 0).pools(&json!([pool]))).await?;
    let cart = Workload::stateful_set("cart").replicas(11).namespace("shop");
    c.apply(&cart).await?;
    c.up(&cart).await?;
    let list = |path: &'static str| async { anyhow::Ok(c.get(path).await?.json()) };
    let one = list("/v1/ip?namespace=shop&appName=cart&podName=cart-1").await?;
    ensure!(one["totalElements"] == 1 && one["content"][0]["podName"] == "cart-1", "{one}");
    ensure!(list("/v1/ip?namespace=shop").await?["totalElements"] == 11);
    ensure!(list("/v1/ip?namespace=default").await?["totalElements"] == 0);
    let everything = list("/v1/ip?size=100").await?;
    let ips: Vec<IpAddr> = everything["content"]
        .as_array()
        .map(|all| all.iter().filter_map(|entry| entry["ip"].as_str()?.parse().ok()).collect())
        .unwrap_or_default();
    ensure!(ips.len() == 12 && ips.is_sorted(), "{ips:?}");
    let mut paged = Vec::new();
    for path in
        ["/v1/ip?size=5&page=0&sort=policy", "/v1/ip?size=5&page=1&sort=policy", "/v1/ip?size=5&page=2&sort=policy"]
    {
        let page = list(path).await?;
        ensure!(page["totalPages"] == 3 && page["totalElements"] == 12, "{page}");
        paged.extend(
            page["content"].as_array().cloned().unwrap_or_default().into_iter().map(|entry| entry["ip"].to_string()),
        );
    }
    let distinct: std::collections::BTreeSet<_> = paged.iter().collect();
    ensure!(distinct.len() == 12, "{paged:?}");
    let beyond = list("/v1/ip?size=5&page=7").await?;
    ensure!(beyond["number"] == 7 && beyond["numberOfElements"] == 0 && beyond["last"] == true, "{beyond}");
    c.settled().await
}

/// Row 43: pre-allocation that is satisfied says so though no address is free.
pub async fn row_43_a_satisfied_pool_is_reported_as_such(lab: Lab) -> Result<()> {
    crate::promises::pools::a_shortfall_by_http_is_accepted_with_the_real_size(lab).await
}

/// Row 61: the sweep leaves the administrator's reservations alone, whatever their key looks like.
pub async fn row_61_the_sweep_honours_the_label_reserved(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let keys = ["sts_default_db_db-0", "dp_default_web_web-1-x", "NULL_default_NULL_p", "dp_default_web_", "nonsense"];
    for (n, key) in keys.iter().enumerate() {
        c.reserve(&format!("10.64.1.{}", 10 + n), key).await?;
    }
    c.sweep().await?;
    c.restart_ipam().await?;
    c.sweep().await?;
    let seen = c.see().await?;
    for (n, key) in keys.iter().enumerate() {
        ensure!(seen.addresses.get(&format!("10.64.1.{}", 10 + n)).is_some_and(|it| it.key() == *key), "{key}\n{seen}");
    }
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.waits("p", "NoAddress").await?;
    c.settled().await
}

/// Row 62: bodies without a pod, or that are null, are answered.
pub async fn row_62_bodies_without_a_pod_are_answered(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    for path in ["/v1/filter", "/v1/priority", "/v1/bind", "/v1/preempt"] {
        for body in
            [json!(null), json!({}), json!({"Pod": null, "Nodes": null, "NodeNames": null, "NodeNameToVictims": null})]
        {
            let answer = c.extender(path, &body).await?;
            ensure!([200, 500].contains(&answer.status) && !answer.body.is_empty(), "{path} {body}: {answer:?}");
        }
    }
    c.settled().await
}
