//! Whose replicas count, and what belongs to whom.

use std::time::Duration;

use anyhow::{Result, ensure};
use galaxy_api::floatingip::State;
use galaxy_sandbox::apiserver::{Action, Rule, Status};
use serde_json::json;

use crate::{Lab, Setup, Workload, workload::custom_crd};

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
