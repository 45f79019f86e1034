//! Jobs, ReplicaSets, garbage collection and a second custom kind, by the controllers of a real cluster.

use anyhow::{Result, ensure};
use galaxy_api::{floatingip::State, names::RESOURCE};
use kube::api::{Api, DeleteParams, DynamicObject, PropagationPolicy};
use serde_json::json;

use crate::{
    Lab, Setup, Workload,
    real::{clean::resource, custom},
    workload::custom_crd,
};

/// A Job's pods get addresses, and give them back as each of them finishes: five completions pass through two addresses.
pub async fn a_job_gives_its_addresses_back(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 2)).await?;
    let resources = json!({"requests": {RESOURCE: "1"}, "limits": {RESOURCE: "1"}});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": "default"},
        "spec": {"completions": 5, "parallelism": 4, "template": {
            "metadata": {"labels": {"app": "once"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1", "resources": resources}]},
        }},
    });
    c.create("jobs", &job).await?;
    let all = c
        .wait("all five pods have finished", |seen| {
            let done: Vec<_> = seen.pods.iter().filter(|pod| pod.app == "once" && pod.phase == "Succeeded").collect();
            (done.len() == 5).then(|| done.into_iter().cloned().collect::<Vec<_>>())
        })
        .await?;
    ensure!(all.iter().all(|pod| !pod.ips.is_empty()), "a pod ran without an address");
    c.until("every address is free", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}

/// A ReplicaSet of its own: scaled by its scale subresource, its pods and addresses collected with it.
pub async fn a_replica_set_of_its_own_is_scaled_and_collected(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 6)).await?;
    let mut set = Workload::replica_set("web").replicas(3).immutable();
    c.apply(&set).await?;
    let before = c.ips(&set).await?;
    c.scale(&mut set, 1).await?;
    c.up(&set).await?;
    c.until("two addresses are free", |seen| seen.owned_by(&set).len() == 1).await?;
    c.scale(&mut set, 2).await?;
    ensure!(c.ips(&set).await?.intersection(&before).count() >= 1);
    c.delete(&set).await?;
    c.no_pods(&set).await?;
    c.until("every address is free", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}

/// A Deployment deleted in the foreground, and one whose pods are orphaned: those live on with their addresses.
pub async fn a_deployment_is_collected_with_everything_it_owns(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let (web, api) = (Workload::deployment("web").replicas(3), Workload::deployment("api").replicas(2));
    for workload in [&web, &api] {
        c.apply(workload).await?;
        c.up(workload).await?;
    }
    let deployments: Api<DynamicObject> = Api::namespaced_with(c.client(), "default", &web.kind.resource());
    let by = |policy| DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    deployments.delete("web", &by(PropagationPolicy::Foreground)).await?;
    c.no_pods(&web).await?;
    c.until("its addresses are free", |seen| seen.owned_by(&web).is_empty()).await?;
    let kept = c.ips(&api).await?;
    deployments.delete("api", &by(PropagationPolicy::Orphan)).await?;
    c.poll("the Deployment is gone", || async { Ok(deployments.get_opt("api").await?.is_none().then_some(())) })
        .await?;
    c.sweep().await?;
    let seen = c.see().await?;
    for pod in seen.pods.iter().filter(|pod| pod.app == "api") {
        ensure!(pod.is_up() && kept.contains(pod.ip()), "{} lost its address\n{seen}", pod.name);
        ensure!(seen.state(pod.ip()) == Some(State::Bound), "{seen}");
    }
    c.settled().await
}

/// A second custom kind, of another group and called like one of apps/v1, beside a TApp of the same name.
pub async fn a_second_custom_kind_keeps_its_addresses(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let (group, version, kind, plural) = custom::STATEFUL_SET;
    c.define(&custom_crd(group, kind, plural, true)).await?;
    let app = Workload::tapp("app").replicas(2).immutable();
    c.apply(&app).await?;
    let first = c.ips(&app).await?;
    let mut other = serde_json::to_value(Workload::stateful_set("other").replicas(2).immutable().manifest())?;
    other["apiVersion"] = format!("{group}/{version}").into();
    c.create(plural, &other).await?;
    let look = Workload::stateful_set("other").replicas(2);
    let before = c.up(&look).await?;
    c.delete_pod("other-0").await?;
    c.delete_pod("app-1").await?;
    c.until("both are replaced", |seen| {
        [("other-0", &before[0].uid)].iter().all(|(name, uid)| seen.pod(name).is_some_and(|pod| pod.uid != **uid))
    })
    .await?;
    let after = c.up(&look).await?;
    ensure!(after[0].ips == before[0].ips && c.ips(&app).await? == first);
    let others: Api<DynamicObject> = Api::namespaced_with(c.client(), "default", &resource(custom::STATEFUL_SET));
    let scale = kube::api::Patch::Merge(json!({"spec": {"replicas": 1}}));
    others.patch_scale("other", &Default::default(), &scale).await?;
    c.until("the address of other-1 is free", |seen| seen.is_free(before[1].ip())).await?;
    c.settled().await
}
