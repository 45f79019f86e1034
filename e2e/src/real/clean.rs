//! Making a plane that served a scenario what the next one asks for.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use galaxy_api::{FloatingIP, names};
use galaxy_plane::Plane;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{ConfigMap, Node},
        scheduling::v1::PriorityClass,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, PropagationPolicy},
};
use serde_json::json;

use super::{custom, lab::here};
use crate::setup::NodeSetup;

/// How long everything may take to go.
const GONE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// What a scenario may make in a namespace: group, version, kind and plural. Owners come before what they own.
const KINDS: [(&str, &str, &str, &str); 13] = [
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    ("apps", "v1", "ControllerRevision", "controllerrevisions"),
    ("batch", "v1", "Job", "jobs"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("galaxy.k8s.io", "v1alpha1", "Pool", "pools"),
    custom::TAPP,
    custom::STATEFUL_SET,
    ("", "v1", "Pod", "pods"),
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "Event", "events"),
];

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

pub(crate) fn resource((group, version, kind, plural): (&str, &str, &str, &str)) -> ApiResource {
    let gvk = kube::api::GroupVersionKind::gvk(group, version, kind);
    ApiResource::from_gvk_with_plural(&gvk, plural)
}

/// What is not there is gone.
fn gone<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}

/// Removes everything that scenarios make, but nodes.
pub(super) async fn workloads(plane: &Plane) -> Result<()> {
    let client = plane.client();
    let deadline = Instant::now() + GONE;
    loop {
        let left = remove(&client).await?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("still there: {}", left.join(", "));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Deletes everything once, and says what was there.
async fn remove(client: &Client) -> Result<Vec<String>> {
    let all = ListParams::default();
    let at_once = DeleteParams {
        grace_period_seconds: Some(0),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    let mut left = Vec::new();
    for kind in KINDS {
        let resource = resource(kind);
        let listed = Api::<DynamicObject>::all_with(client.clone(), &resource).list_metadata(&all).await;
        let objects = match listed {
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            listed => listed.with_context(|| resource.plural.clone())?.items,
        };
        for object in objects {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            let config = namespace == names::SYSTEM_NAMESPACE && name == names::CONFIG_MAP;
            // Those of the system itself.
            let own = kind.3 == "configmaps" && (namespace.starts_with("kube-") || name == "kube-root-ca.crt");
            if own && !config {
                continue;
            }
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource);
            gone(api.delete(&name, &at_once).await).with_context(|| format!("{} {name}", resource.kind))?;
            // They come while others go; nobody waits for them.
            if kind.3 != "events" {
                left.push(format!("{} {namespace}/{name}", resource.kind));
            }
        }
    }
    for address in Api::<FloatingIP>::all(client.clone()).list_metadata(&all).await?.items {
        gone(Api::<FloatingIP>::all(client.clone()).delete(&address.name_any(), &at_once).await)?;
        left.push(format!("FloatingIP {}", address.name_any()));
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions.list_metadata(&all).await?.items {
        let name = definition.name_any();
        if !name.ends_with(".galaxy.k8s.io") && !custom::is_known(&name) {
            gone(definitions.delete(&name, &at_once).await)?;
            left.push(format!("CustomResourceDefinition {name}"));
        }
    }
    let classes: Api<PriorityClass> = Api::all(client.clone());
    for class in classes.list_metadata(&all).await?.items {
        if !class.name_any().starts_with("system-") {
            gone(classes.delete(&class.name_any(), &at_once).await)?;
        }
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), names::SYSTEM_NAMESPACE);
    gone(leases.delete("galaxy-ipam", &at_once).await)?;
    Ok(left)
}

/// Writes the ConfigMap.
pub(super) async fn configure(plane: &Plane, pools: &str) -> Result<()> {
    let map = json!({"metadata": {"name": names::CONFIG_MAP}, "data": {names::CONFIG_MAP_KEY: pools}});
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), names::SYSTEM_NAMESPACE);
    maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
    Ok(())
}

/// Makes the plane's nodes those that are wanted, Ready and untouched.
pub(super) async fn nodes(plane: &Plane, wanted: &[NodeSetup]) -> Result<()> {
    let api: Api<Node> = Api::all(plane.client());
    let mut missing: BTreeMap<&str, &NodeSetup> = wanted.iter().map(|node| (&*node.name, node)).collect();
    for node in api.list(&ListParams::default()).await?.items {
        let name = node.name_any();
        if missing.get(&*name).is_some_and(|setup| untouched(&node, setup)) {
            missing.remove(&*name);
        } else {
            gone(api.delete(&name, &DeleteParams::default()).await)?;
        }
    }
    let missing: Vec<galaxy_plane::Node> = missing
        .values()
        .map(|node| Ok(galaxy_plane::Node { name: node.name.clone(), address: node.address.parse()? }))
        .collect::<Result<_>>()?;
    if !missing.is_empty() {
        here(plane.create_nodes(&missing))?;
    }
    Ok(())
}

fn untouched(node: &Node, wanted: &NodeSetup) -> bool {
    let spec = node.spec.clone().unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let ready = status.conditions.unwrap_or_default().iter().any(|it| it.type_ == "Ready" && it.status == "True");
    let addresses = status.addresses.unwrap_or_default();
    let addressed = addresses.iter().any(|it| it.type_ == "InternalIP" && it.address == wanted.address);
    let on = node.labels().get("plane.test/power").is_some_and(|power| power == "on");
    ready && addressed && on && spec.taints.unwrap_or_default().is_empty() && spec.unschedulable != Some(true)
}
