//! Custom workloads: any kind with a CRD, known by the names of its pods and its scale subresource.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use galaxy_api::floatingip::State;
use kube::api::DynamicObject;
use serde_json::json;

use super::{count, owned};
use crate::{Cluster, Lab, Setup, Workload, workload::custom_crd};

async fn by_name(c: &Cluster, app: &Workload) -> Result<BTreeMap<String, String>> {
    Ok(c.up(app).await?.into_iter().map(|pod| (pod.name.clone(), pod.ip().to_owned())).collect())
}

/// An object of a kind that nobody runs, for pods made by hand.
async fn thing(c: &Cluster, name: &str, spec: &serde_json::Value) -> Result<DynamicObject> {
    let object = json!({
        "apiVersion": "example.test/v1", "kind": "Thing", "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    });
    let mut made = c.create("things", &object).await?;
    made.types = Some(kube::core::TypeMeta { api_version: "example.test/v1".into(), kind: "Thing".into() });
    Ok(made)
}

/// No policy: the address is freed with the pod.
pub async fn without_a_policy_the_address_is_freed_with_the_pod(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 5)).await?;
    let app = Workload::tapp("app");
    c.apply(&app).await?;
    let pod = c.up(&app).await?.remove(0);
    let key = c.see().await?.addresses[pod.ip()].key().to_owned();
    ensure!(key == "tapp_default_app_app-0", "key {key}");
    c.delete_pod("app-0").await?;
    c.free(pod.ip()).await?;
    c.up(&app).await?;
    c.settled().await
}

/// Immutable: an address belongs to the pod's name until scale-down or deletion, by the replicas of the scale subresource.
pub async fn immutable_by_the_scale_subresource(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut app = Workload::tapp("app").replicas(3).immutable();
    c.apply(&app).await?;
    let before = by_name(&c, &app).await?;
    c.delete_pod("app-1").await?;
    ensure!(by_name(&c, &app).await? == before);
    c.scale(&mut app, 2).await?;
    c.until("the address of app-2 is free", |seen| seen.is_free(&before["app-2"])).await?;
    c.up(&app).await?;
    c.sweep().await?;
    ensure!(owned(&c.see().await?, &app).len() == 2);
    c.delete(&app).await?;
    c.until("nothing is kept", |seen| seen.addresses.is_empty()).await?;
    c.settled().await
}

/// Never: nothing is freed, and a workload of the same name has it all again.
pub async fn never_keeps_everything_for_the_same_name(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut app = Workload::tapp("app").replicas(2).never();
    c.apply(&app).await?;
    let before = by_name(&c, &app).await?;
    c.scale(&mut app, 1).await?;
    c.until("an address is reserved", |seen| count(seen, &app, State::Reserved) == 1).await?;
    c.delete(&app).await?;
    c.until("both addresses are reserved", |seen| count(seen, &app, State::Reserved) == 2).await?;
    c.sweep().await?;
    let again = Workload::tapp("app").replicas(2).never();
    c.apply(&again).await?;
    ensure!(by_name(&c, &again).await? == before);
    c.settled().await
}

/// Immutable without a scale subresource is refused with that reason, and served as soon as the CRD has one.
pub async fn immutable_needs_a_scale_subresource_and_says_so(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    c.define(&custom_crd("example.test", "Thing", "things", false)).await?;
    let owner = thing(&c, "thing", &json!({"replicas": 1})).await?;
    let pod = Workload::pod("thing-0").immutable().owner(&owner, true);
    c.apply(&pod).await?;
    let condition = c.waits("thing-0", "KindUnavailable").await?;
    ensure!(condition.message.contains("scale") && condition.message.contains("Thing"), "{}", condition.message);
    // Others are not kept waiting by it.
    let other = Workload::pod("other");
    c.apply(&other).await?;
    c.up(&other).await?;
    let definition = custom_crd("example.test", "Thing", "things", true);
    let crds: kube::Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        kube::Api::all(c.client());
    let patch = kube::api::Patch::Merge(json!({ "spec": definition["spec"] }));
    crds.patch("things.example.test", &Default::default(), &patch).await?;
    c.up(&pod).await?;
    c.settled().await
}

/// Immutable of a kind without a CRD is refused with that reason.
pub async fn immutable_needs_a_definition_and_says_so(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner", "namespace": "default"}});
    let mut owner = c.create("configmaps", &map).await?;
    // The owner is there, so that nobody collects the pod; that no CRD defines its kind is what matters.
    owner.types = Some(kube::core::TypeMeta { api_version: "v1".into(), kind: "ConfigMap".into() });
    let pod = Workload::pod("owner-0").immutable().owner(&owner, true);
    c.apply(&pod).await?;
    let condition = c.waits("owner-0", "KindUnavailable").await?;
    ensure!(condition.message.contains("ConfigMap"), "{}", condition.message);
    c.settled().await
}

/// Never needs a name that ends in an integer, and nothing else.
pub async fn never_goes_by_the_name_of_the_pod(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    c.define(&custom_crd("example.test", "Thing", "things", false)).await?;
    let owner = thing(&c, "thing", &json!({})).await?;
    let good = Workload::pod("thing-7").never().owner(&owner, true);
    c.apply(&good).await?;
    let ip = c.ip(&good).await?;
    let key = c.see().await?.addresses[&ip].key().to_owned();
    ensure!(key == "thing_default_thing_thing-7", "key {key}");
    for name in ["thing-x", "thing-1x"] {
        let bad = Workload::pod(name).never().owner(&owner, true);
        c.apply(&bad).await?;
        let condition = c.waits(name, "UnsupportedPolicy").await?;
        ensure!(condition.message.contains("never") && condition.message.contains(name), "{}", condition.message);
    }
    c.delete_pod("thing-7").await?;
    c.reserved(&ip).await?;
    c.apply(&good).await?;
    ensure!(c.ip(&good).await? == ip);
    c.settled().await
}

/// Pods of Jobs have random suffixes, which can be all digits: never is not for them.
pub async fn never_is_not_for_jobs(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "namespace": "default"},
        "spec": {"suspend": true, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:1"}]}}},
    });
    let mut owner = c.create("jobs", &job).await?;
    owner.types = Some(kube::core::TypeMeta { api_version: "batch/v1".into(), kind: "Job".into() });
    // As a second, plain owner: the job controller leaves the pod alone, and an only owner counts.
    let pod = Workload::pod("job-12345").never().owner(&owner, false);
    c.apply(&pod).await?;
    let condition = c.waits("job-12345", "UnsupportedPolicy").await?;
    ensure!(condition.message.contains("job-12345"), "{}", condition.message);
    c.settled().await
}
