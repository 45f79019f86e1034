//! Who owns an address, whatever is late, stale, edited by hand or replayed.

use anyhow::{Result, ensure};
use galaxy_api::{floatingip::State, names::ARGS_ANNOTATION};
use galaxy_sandbox::apiserver::{Action, EventAction, Gate, Rule};
use serde_json::json;

use crate::{Lab, Setup, Workload};

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
