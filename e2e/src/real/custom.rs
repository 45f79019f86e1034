//! A controller of custom workloads, as small as one can be: pods named `<name>-<integer>` for `spec.replicas`.
//!
//! Nobody else runs these kinds here, as nobody but their own controllers does in a real cluster.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams},
};
use serde_json::{Value, json};

use super::clean::resource;

/// The documents' example: group, version, kind and plural.
pub(crate) const TAPP: (&str, &str, &str, &str) = ("apps.tkestack.io", "v1", "TApp", "tapps");
/// One that is called like a kind of apps/v1.
pub(crate) const STATEFUL_SET: (&str, &str, &str, &str) = ("apps.example.test", "v1", "StatefulSet", "statefulsets");

const PAUSE: Duration = Duration::from_millis(200);

/// What lets galaxy-ipam see the kinds that scenarios define, as `deploy/custom-workload.yaml` does for TApps.
pub(super) fn role() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "galaxy-ipam-test-kinds", "labels": {"galaxy.k8s.io/aggregate-to-ipam": "true"}},
        "rules": [{"apiGroups": ["apps.example.test", "example.test"], "resources": ["*"], "verbs": ["get", "list", "watch"]}],
    })
}

/// Whether a CustomResourceDefinition is of these kinds.
pub(super) fn is_known(definition: &str) -> bool {
    [TAPP, STATEFUL_SET].iter().any(|(group, _, _, plural)| definition == format!("{plural}.{group}"))
}

/// Brings pods in line with objects, for ever.
pub(super) async fn control(client: Client) {
    loop {
        for kind in [TAPP, STATEFUL_SET] {
            // Not defined, in conflict with somebody else, or the API server is away: the next round will do.
            if let Err(error) = round(&client, &resource(kind)).await {
                tracing::debug!(%error, "custom workloads");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn round(client: &Client, resource: &ApiResource) -> Result<()> {
    let owners = Api::<DynamicObject>::all_with(client.clone(), resource).list(&ListParams::default()).await?.items;
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default()).await?.items;
    let mut wanted = BTreeSet::new();
    for owner in owners.iter().filter(|owner| owner.metadata.deletion_timestamp.is_none()) {
        let namespace = owner.namespace().unwrap_or_default();
        // A workload that does not say has one pod.
        for ordinal in 0..owner.data["spec"]["replicas"].as_u64().unwrap_or(1) {
            let name = format!("{}-{ordinal}", owner.name_any());
            let there = pods.iter().any(|pod| pod.name_any() == name && pod.namespace().as_deref() == Some(&namespace));
            if !there {
                let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
                let created = api.create(&PostParams::default(), &pod(owner, resource, &name)?).await;
                if let Err(error) = created {
                    tracing::debug!(%error, name, "cannot be made");
                }
            }
            wanted.insert((owner.uid().unwrap_or_default(), name));
        }
    }
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let mine = |it: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
            it.controller == Some(true) && it.kind == resource.kind && it.api_version == resource.api_version
        };
        let Some(owner) = pod.owner_references().iter().find(mine) else { continue };
        if !wanted.contains(&(owner.uid.clone(), pod.name_any())) {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
            let _ = api.delete(&pod.name_any(), &DeleteParams::default()).await;
        }
    }
    Ok(())
}

fn pod(owner: &DynamicObject, resource: &ApiResource, name: &str) -> Result<Pod> {
    let mut pod: Value = owner.data["spec"]["template"].clone();
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": resource.api_version, "kind": resource.kind, "name": owner.name_any(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    }]);
    Ok(serde_json::from_value(pod)?)
}
