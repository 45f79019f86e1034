//! Pods without an owner.

use anyhow::{Result, ensure};
use galaxy_api::names::{RELEASE_POLICY_ANNOTATION, RESOURCE};
use serde_json::json;

use crate::{Lab, Setup, Workload};

/// No policy: the address is freed when the pod is deleted.
pub async fn the_address_is_freed_when_the_pod_is_deleted(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    let key = c.see().await?.addresses[&ip].key().to_owned();
    ensure!(key == "NULL_default_NULL_p", "key {key}");
    c.delete_pod("p").await?;
    c.free(&ip).await?;
    c.settled().await
}

/// No policy: the address is freed when the pod is finished, though its object stays.
pub async fn the_address_is_freed_when_the_pod_is_finished(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    for phase in ["Succeeded", "Failed"] {
        let pod = Workload::pod(&phase.to_lowercase());
        c.apply(&pod).await?;
        let ip = c.ip(&pod).await?;
        c.finish_pod(&pod.name, phase).await?;
        c.free(&ip).await?;
        ensure!(c.see().await?.pod(&pod.name).is_some(), "the pod is still there");
    }
    c.settled().await
}

/// Immutable needs a workload: the pod is refused with that reason until it is edited.
pub async fn immutable_is_refused_until_the_pod_is_edited(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let pod = Workload::pod("p-1").immutable();
    c.apply(&pod).await?;
    let condition = c.waits("p-1", "UnsupportedPolicy").await?;
    ensure!(condition.message.contains("immutable") && condition.message.contains("p-1"), "{}", condition.message);
    c.annotate_pod("p-1", &json!({ RELEASE_POLICY_ANNOTATION: null })).await?;
    c.up(&pod).await?;
    c.settled().await
}

/// Never keeps the address for a pod of the same name, if the name ends in an integer.
pub async fn never_keeps_the_address_for_the_name(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let (pod, other) = (Workload::pod("p-1").never(), Workload::pod("p").never());
    c.apply(&pod).await?;
    c.apply(&other).await?;
    let ip = c.ip(&pod).await?;
    c.waits("p", "UnsupportedPolicy").await?;
    c.delete_pod("p-1").await?;
    c.reserved(&ip).await?;
    let seen = c.see().await?;
    ensure!(seen.addresses[&ip].key() == "NULL_default_NULL_p-1", "{seen}");
    c.sweep().await?;
    c.apply(&pod).await?;
    ensure!(c.ip(&pod).await? == ip);
    c.settled().await
}

/// A word that is no release policy counts as none, as ever; its pod is told so once.
pub async fn an_unknown_release_policy_is_told_once(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let pod = Workload::pod("p").annotate(RELEASE_POLICY_ANNOTATION, "Immutable");
    let pooled = Workload::pod("p-1").annotate(RELEASE_POLICY_ANNOTATION, "forever").pool("blue");
    for pod in [&pod, &pooled] {
        c.apply(pod).await?;
        c.up(pod).await?;
    }
    let text = c.event("Pod", "p", "UnknownReleasePolicy").await?;
    ensure!(
        [RELEASE_POLICY_ANNOTATION, "\"Immutable\"", "\"immutable\"", "\"never\""]
            .iter()
            .all(|word| text.contains(word)),
        "{text}"
    );
    c.annotate_pod("p", &json!({"other": "x"})).await?;
    let ip = c.ip(&pod).await?;
    c.delete(&pod).await?;
    c.free(&ip).await?;
    let told =
        |events: Vec<(String, String)>| events.iter().filter(|(reason, _)| reason == "UnknownReleasePolicy").count();
    ensure!(told(c.events("Pod", "p").await?) == 1);
    ensure!(told(c.events("Pod", "p-1").await?) == 0, "a pool makes it never, whatever the word");
    c.settled().await
}

/// The quantity of the resource does not matter.
pub async fn the_quantity_is_ignored(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let pod = Workload::pod("p").resources(&json!({"limits": {RESOURCE: "3"}, "requests": {RESOURCE: "3"}}));
    c.apply(&pod).await?;
    ensure!(c.up(&pod).await?[0].ips.len() == 1);
    c.settled().await
}

/// A pod that does not ask for the resource is no business of galaxy-ipam.
pub async fn a_pod_without_the_resource_is_left_alone(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 0)).await?;
    let pod = Workload::pod("p").plain().immutable().pool("blue");
    c.apply(&pod).await?;
    ensure!(c.up(&pod).await?[0].args.is_empty());
    ensure!(c.see().await?.addresses.is_empty());
    c.settled().await
}
