//! From the original and back: docs/migrate-from-galaxy.md.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use galaxy_api::{
    floatingip::State,
    names::{ARGS_ANNOTATION, SYSTEM_NAMESPACE},
};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Cluster, Lab, SeenPod, Setup, Workload};

/// When the original wrote: in whole seconds.
const THEN: &str = "2024-03-05T08:00:12Z";

/// An object as the original left it, with a label and a member of its older versions.
async fn left(c: &Cluster, ip: &str, key: &str, policy: u8, node: &str, uid: &str) -> Result<()> {
    let attribute = json!({"NodeName": node, "Uid": uid}).to_string();
    let object = json!({
        "apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP",
        "metadata": {"name": ip, "labels": {"ipType": "internalIP"}},
        "spec": {"key": key, "attribute": attribute, "policy": policy, "updateTime": THEN, "subnet": "10.64.1.0/24"},
    });
    c.create("floatingips", &object).await?;
    Ok(())
}

/// Binds a pod as the original did: its object, then a Binding with the annotation.
async fn bound(c: &Cluster, pod: &SeenPod, number: usize, key: &str, policy: u8) -> Result<()> {
    let (ip, node) = (format!("10.64.1.{}", 10 + number), ["a1", "a2"][number % 2]);
    left(c, &ip, key, policy, node, &pod.uid).await?;
    let args =
        json!({"common": {"ipinfos": [{"ip": format!("{ip}/24"), "vlan": 3, "gateway": "10.64.1.1"}]}}).to_string();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "annotations": {ARGS_ANNOTATION: args}},
        "target": {"kind": "Node", "name": node},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{}/binding", pod.namespace, pod.name);
    let request =
        http::Request::post(path).header("content-type", "application/json").body(binding.to_string().into_bytes())?;
    c.client().request::<Value>(request).await.with_context(|| format!("binding {}", pod.name))?;
    Ok(())
}

/// The lock that the original held, in both of its forms.
async fn locked(c: &Cluster) -> Result<()> {
    let record = json!({
        "holderIdentity": "old-master_6b1f0c9e", "leaseDurationSeconds": 15, "acquireTime": THEN, "renewTime": THEN, "leaderTransitions": 2,
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "galaxy-ipam", "namespace": SYSTEM_NAMESPACE, "annotations": {
            "control-plane.alpha.kubernetes.io/leader": record.to_string()}},
    });
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Endpoints"));
    let api: Api<DynamicObject> =
        Api::namespaced_with(c.client(), SYSTEM_NAMESPACE, &ApiResource { plural: "endpoints".into(), ..resource });
    // Left over from another run, it is as good.
    if api.get_opt("galaxy-ipam").await?.is_none() {
        c.create("endpoints", &endpoints).await?;
    }
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::namespaced(c.client(), SYSTEM_NAMESPACE);
    let then = "2024-03-05T08:00:12.000000Z";
    let spec = json!({"holderIdentity": "old-master_6b1f0c9e", "leaseDurationSeconds": 15, "acquireTime": then, "renewTime": then});
    leases.patch("galaxy-ipam", &PatchParams::default(), &Patch::Merge(json!({ "spec": spec }))).await?;
    Ok(())
}

/// An installation of the original with workloads of every sort: ours takes over, and not one pod notices.
pub async fn what_the_original_left_is_adopted(lab: Lab) -> Result<()> {
    let pools = json!([{
        "routableSubnet": "10.0.1.0/24", "ips": ["10.64.1.10~10.64.1.40"], "subnet": "10.64.1.0/24", "gateway": "10.64.1.1", "vlan": 3,
    }]);
    let setup = Setup::one_rack(2, 0)
        .pools(&pools)
        .flag("--leader-elect=true")
        .flag("--leader-elect-resource-lock=endpointsleases");
    let c = lab.cluster(setup).await?;
    c.backend().kill_ipam();
    locked(&c).await?;
    let db = Workload::stateful_set("db").replicas(2).immutable();
    let web = Workload::deployment("web").replicas(2).immutable();
    let api = Workload::deployment("api").replicas(1).pool("blue");
    let app = Workload::tapp("app").replicas(2).never();
    let bare = Workload::pod("p");
    let all = [&db, &web, &api, &app, &bare];
    for workload in all {
        c.apply(workload).await?;
    }
    let pods = c
        .wait("all pods are made", |seen| {
            all.iter().all(|it| seen.of(it).len() == it.wanted()).then(|| seen.pods.clone())
        })
        .await?;
    for (number, pod) in pods.iter().enumerate() {
        let (key, policy) = match &*pod.app {
            "db" => (format!("sts_default_db_{}", pod.name), 1),
            "web" => (format!("dp_default_web_{}", pod.name), 1),
            "api" => (format!("pool__blue_dp_default_api_{}", pod.name), 2),
            "app" => (format!("tapp_default_app_{}", pod.name), 2),
            _ => (format!("NULL_default_NULL_{}", pod.name), 0),
        };
        bound(&c, pod, number, &key, policy).await?;
    }
    // Reserved: for a Deployment that is gone, for a name, in a pool, by an administrator.
    for (ip, key) in
        [("10.64.1.30", "dp_default_gone_"), ("10.64.1.31", "sts_default_lost_lost-0"), ("10.64.1.32", "pool__blue_")]
    {
        left(&c, ip, key, 2, "", "").await?;
    }
    c.reserve("10.64.1.33", "pool__reserved-for-node_").await?;
    let before = c.wait("all pods run", |seen| seen.pods.iter().all(SeenPod::is_up).then(|| seen.clone())).await?;

    c.backend().start_ipam(true).await?;
    c.sweep().await?;
    c.agree().await?;
    let after = c.see().await?;
    for (ip, address) in &before.addresses {
        let now = after.addresses.get(ip).with_context(|| format!("{ip} is lost\n{after}"))?;
        let (old, new) = (&address.object.spec, &now.object.spec);
        ensure!(old.key == new.key && old.policy == new.policy, "{ip} became {:?}", new);
        ensure!(address.object.metadata.labels == now.object.metadata.labels, "{ip} lost a label");
    }
    for pod in &before.pods {
        let now = after.pod(&pod.name).with_context(|| format!("{} is gone", pod.name))?;
        ensure!(
            now.uid == pod.uid && now.args == pod.args && now.node == pod.node && now.is_up(),
            "{} was touched",
            pod.name
        );
        ensure!(after.state(pod.ip()).is_none_or(|state| state == State::Bound), "{after}");
    }
    // What was kept is given back to whom it was kept for, and nothing that is taken to a newcomer.
    for workload in [&db, &web, &api, &app] {
        for pod in before.of(workload) {
            c.delete_pod(&pod.name).await?;
        }
    }
    for workload in [&db, &web, &app] {
        let ips = before.of(workload).iter().flat_map(|pod| pod.ips.clone()).collect();
        ensure!(c.ips(workload).await? == ips, "{} has other addresses", workload.name);
    }
    let gone = Workload::deployment("gone").never();
    c.apply(&gone).await?;
    ensure!(c.ip(&gone).await? == "10.64.1.30");
    let lost = Workload::stateful_set("lost").never();
    c.apply(&lost).await?;
    ensure!(c.ip(&lost).await? == "10.64.1.31");
    let new = Workload::deployment("new").replicas(3);
    c.apply(&new).await?;
    ensure!(c.ips(&new).await?.iter().all(|ip| before.is_free(ip)));
    c.up(&api).await?;
    c.settled().await
}

/// The members that the original reads, and writes back without any other.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Original {
    key: String,
    attribute: String,
    policy: u8,
    update_time: String,
}

/// What the original keeps in `attribute`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    node_name: String,
    uid: String,
}

/// Every object says in the original's words what it says in ours; and after the original has written them back, ours goes on.
pub async fn what_is_written_is_what_the_original_reads(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 20)).await?;
    let db = Workload::stateful_set("db").replicas(2).immutable();
    let mut web = Workload::deployment("web").replicas(2).never();
    let api = Workload::deployment("api").pool("blue");
    let (app, bare) = (Workload::tapp("app").never(), Workload::pod("p"));
    let idle = Workload::deployment("idle").pool("green");
    for workload in [&db, &web, &api, &app, &bare, &idle] {
        c.apply(workload).await?;
        c.up(workload).await?;
    }
    c.scale(&mut web, 1).await?;
    c.delete(&idle).await?;
    c.until("two are reserved", |seen| {
        seen.addresses.values().filter(|it| it.state() == Some(State::Reserved)).count() == 2
    })
    .await?;
    c.agree().await?;
    let seen = c.see().await?;
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("galaxy.k8s.io", "v1alpha1", "FloatingIP"),
        "floatingips",
    );
    let objects: Api<DynamicObject> = Api::all_with(c.client(), &resource);
    let mut reserved = BTreeMap::new();
    for mut object in objects.list(&ListParams::default()).await?.items {
        let ip = object.metadata.name.clone().context("no name")?;
        let original: Original = serde_json::from_value(object.data["spec"].clone()).with_context(|| ip.clone())?;
        let attribute: Attribute = serde_json::from_str(&original.attribute).with_context(|| ip.clone())?;
        original.update_time.parse::<jiff::Timestamp>().with_context(|| original.update_time.clone())?;
        let (key, policy) = match seen.pods.iter().find(|pod| pod.ip() == ip) {
            Some(pod) => {
                ensure!(attribute.node_name == pod.node && attribute.uid == pod.uid, "{ip}: {}", original.attribute);
                match &*pod.app {
                    "db" => (format!("sts_default_db_{}", pod.name), 1),
                    "web" => (format!("dp_default_web_{}", pod.name), 2),
                    "api" => (format!("pool__blue_dp_default_api_{}", pod.name), 2),
                    "app" => (format!("tapp_default_app_{}", pod.name), 2),
                    _ => (format!("NULL_default_NULL_{}", pod.name), 0),
                }
            }
            None => {
                ensure!(attribute.node_name.is_empty() && attribute.uid.is_empty(), "{ip}: {}", original.attribute);
                reserved.insert(original.key.clone(), ip.clone());
                (original.key.clone(), 2)
            }
        };
        ensure!(
            (&original.key, original.policy) == (&key, policy),
            "{ip}: {} with policy {}",
            original.key,
            original.policy
        );
        // The original reads an object, changes it and writes back what it knows of it.
        let spec = json!({
            "key": original.key, "attribute": original.attribute, "policy": original.policy, "updateTime": original.update_time,
        });
        object.data = json!({ "spec": spec });
        c.backend().kill_ipam();
        objects.replace(&ip, &Default::default(), &object).await?;
    }
    let keys: Vec<&str> = reserved.keys().map(String::as_str).collect();
    ensure!(keys == ["dp_default_web_", "pool__green_"], "{reserved:?}");
    c.backend().start_ipam(true).await?;
    c.sweep().await?;
    c.agree().await?;
    let after = c.see().await?;
    ensure!(after.addresses.len() == seen.addresses.len(), "{seen}{after}");
    c.scale(&mut web, 2).await?;
    ensure!(c.ips(&web).await?.contains(&reserved["dp_default_web_"]));
    let again = Workload::deployment("again").pool("green");
    c.apply(&again).await?;
    ensure!(c.ip(&again).await? == reserved["pool__green_"]);
    c.settled().await
}
