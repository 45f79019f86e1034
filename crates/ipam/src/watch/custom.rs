//! Workloads of custom kinds: found by their CRD, watched on demand, read through their scale subresource's path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use galaxy_core::ledger::{KindStatus, Str, UNKNOWN_GROUP, Uid, WorkloadId};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::core::{ApiResource, ObjectMeta};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::watch;

use super::{Denied, Feed, Following, Object, Slim};
use crate::calls::{Backoff, call};
use crate::convert::workload;
use crate::engine::Engine;

/// How long a pod may be kept waiting for the first list before it is told why.
const FIRST_LIST: Duration = Duration::from_secs(5);
/// Delays between attempts to find or to watch a kind.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A kind that was found.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// What to call on the API server, in the version to use.
    pub(crate) resource: ApiResource,
    /// Members that lead to the replicas; none without a scale subresource.
    replicas_path: Result<Vec<String>, String>,
}

impl Resolved {
    /// Members that lead to the replicas.
    ///
    /// # Errors
    /// Why nobody knows them.
    pub(crate) fn replicas_path(&self) -> Result<&[String], String> {
        self.replicas_path.as_deref().map_err(Clone::clone)
    }
}

/// The kinds asked for so far.
pub(crate) struct CustomKinds {
    engine: Arc<Engine>,
    client: Client,
    resolved: Mutex<HashMap<(Str, Str), Resolved>>,
}

impl CustomKinds {
    pub(crate) fn new(engine: Arc<Engine>, client: Client) -> Arc<Self> {
        Arc::new(CustomKinds { engine, client, resolved: Mutex::default() })
    }

    /// Watches a kind for ever, and tells the ledger how far it may rely on that.
    pub(crate) async fn follow(self: Arc<Self>, group: Str, kind: Str) {
        let mut known = HashMap::new();
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let status =
            |status: KindStatus| self.engine.with(|ledger, now| ledger.kind_status(now, &group, &kind, status));
        status(KindStatus::Starting);
        loop {
            let reason = match self.resolve(&group, &kind).await {
                Ok(Resolved { resource, replicas_path: Ok(path) }) => {
                    let feed = Objects { engine: self.engine.clone(), id: (group.clone(), kind.clone()), path };
                    let Denied(reason) = self.watch(feed, resource.clone(), &mut known, &status).await;
                    format!(
                        "{} cannot be watched: {reason}; check that galaxy-ipam may list and watch {}.{}",
                        resource.kind, resource.plural, resource.group
                    )
                }
                Ok(Resolved { replicas_path: Err(reason), .. }) | Err(reason) => reason,
            };
            self.forget(&group, &kind);
            tracing::warn!(%group, %kind, reason, "custom workloads cannot be followed; trying again");
            status(KindStatus::Unavailable(reason));
            backoff.wait().await;
        }
    }

    async fn watch(
        &self,
        mut feed: Objects,
        resource: ApiResource,
        known: &mut HashMap<(WorkloadId, Uid), ()>,
        status: &impl Fn(KindStatus),
    ) -> Denied {
        let (sender, mut synced) = watch::channel(false);
        let name = format!("{}.{}", resource.plural, resource.group);
        let following = Following::all(&self.client, resource, &self.engine.metrics);
        let reporter = async {
            if tokio::time::timeout(FIRST_LIST, synced.wait_for(|synced| *synced)).await.is_err() {
                let waited = FIRST_LIST.as_secs();
                status(KindStatus::Unavailable(format!("{name} could not be listed within {waited} s; trying on")));
                let _ = synced.wait_for(|synced| *synced).await;
            }
            tracing::info!(resource = name, "custom workloads are followed");
            status(KindStatus::Synced);
            std::future::pending::<Denied>().await
        };
        tokio::select! {
            denied = following.follow_once(&mut feed, known, &sender) => denied,
            never = reporter => never,
        }
    }

    /// Finds the resource of a kind, which may be named in lower case and without a group.
    ///
    /// # Errors
    /// The text says what is missing.
    pub(crate) async fn resolve(&self, group: &str, kind: &str) -> Result<Resolved, String> {
        let id = (Str::from(group), Str::from(kind));
        let cached = self.lock().get(&id).cloned();
        if let Some(resolved) = cached {
            return Ok(resolved);
        }
        let resolved = find(&self.client, group, kind).await?;
        self.lock().insert(id, resolved.clone());
        Ok(resolved)
    }

    fn forget(&self, group: &str, kind: &str) {
        self.lock().remove(&(Str::from(group), Str::from(kind)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Str, Str), Resolved>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn find(client: &Client, group: &str, kind: &str) -> Result<Resolved, String> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crds = call(api.list(&ListParams::default())).await.map_err(|error| {
        format!("CustomResourceDefinitions cannot be listed: {error}; check that galaxy-ipam may list them")
    })?;
    let mut matching = crds.items.iter().filter(|crd| names(crd, group, kind));
    let Some(crd) = matching.next() else {
        let of = if group == UNKNOWN_GROUP { String::new() } else { format!(" in group {group:?}") };
        return Err(format!("there is no CustomResourceDefinition of kind {kind}{of}"));
    };
    if let Some(other) = matching.next() {
        let (one, other) = (name(crd), name(other));
        return Err(format!(
            "kind {kind} is ambiguous: both {one} and {other} have it, and the old key names no group"
        ));
    }
    resolve(crd)
}

fn names(crd: &CustomResourceDefinition, group: &str, kind: &str) -> bool {
    if group == UNKNOWN_GROUP {
        crd.spec.names.kind.to_lowercase() == kind.to_lowercase()
    } else {
        crd.spec.group == group && crd.spec.names.kind == kind
    }
}

fn name(crd: &CustomResourceDefinition) -> &str {
    crd.metadata.name.as_deref().unwrap_or_default()
}

/// Chooses the version: a served one, the stored one if it is among them.
fn resolve(crd: &CustomResourceDefinition) -> Result<Resolved, String> {
    let served = || crd.spec.versions.iter().filter(|version| version.served);
    let version = served().find(|version| version.storage).or_else(|| served().next());
    let version = version.ok_or_else(|| format!("CustomResourceDefinition {} serves no version", name(crd)))?;
    let scale = version.subresources.as_ref().and_then(|subresources| subresources.scale.as_ref());
    let replicas_path = match scale {
        None => Err(format!(
            "CustomResourceDefinition {} has no scale subresource in version {}; without it nobody knows its replicas",
            name(crd),
            version.name
        )),
        Some(scale) => members(&scale.spec_replicas_path).ok_or_else(|| {
            format!(
                "CustomResourceDefinition {} has the scale path {:?} in version {}; a path of members such as \".spec.replicas\" is needed",
                name(crd), scale.spec_replicas_path, version.name
            )
        }),
    };
    let group = crd.spec.group.clone();
    let resource = ApiResource {
        api_version: format!("{group}/{}", version.name),
        group,
        version: version.name.clone(),
        kind: crd.spec.names.kind.clone(),
        plural: crd.spec.names.plural.clone(),
    };
    Ok(Resolved { resource, replicas_path })
}

/// `.spec.replicas` as its members. The API server allows no array notation in a scale path either.
fn members(path: &str) -> Option<Vec<String>> {
    let members: Vec<String> = path.strip_prefix('.').unwrap_or(path).split('.').map(str::to_owned).collect();
    let plain = |member: &String| !member.is_empty() && !member.contains(['[', ']', '\'', '"', '*', '@']);
    members.iter().all(plain).then_some(members)
}

impl Slim for Value {
    fn read(_: &ObjectMeta, object: Value) -> Result<Self, String> {
        Ok(object)
    }
}

/// Feeds the objects of one kind.
struct Objects {
    engine: Arc<Engine>,
    /// Group and kind as the ledger asked for them.
    id: (Str, Str),
    path: Vec<String>,
}

impl Feed for Objects {
    type Item = Value;
    type Key = (WorkloadId, Uid);
    type Seen = ();

    fn key(&self, object: &Object<Value>) -> Option<(Self::Key, ())> {
        let (group, kind) = &self.id;
        // In the spelling that was asked for: old keys have theirs.
        Some((workload::id(group, kind, &object.meta), ()))
    }

    fn observed(&mut self, object: Object<Value>) {
        let (group, kind) = &self.id;
        let meta = object.meta.clone();
        if let Some(value) = object.item(kind) {
            let view = workload::custom(group, kind, &meta, &value, &self.path);
            self.engine.with(|ledger, now| ledger.workload_observed(now, view));
        }
    }

    fn gone(&mut self, (id, uid): Self::Key, (): (), _: Option<Object<Value>>) {
        self.engine.with(|ledger, now| ledger.workload_gone(now, &id, Some(&uid)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(versions: Value) -> CustomResourceDefinition {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "tapps.apps.tkestack.io"}, "spec": {
            "group": "apps.tkestack.io", "scope": "Namespaced", "names": {"kind": "TApp", "plural": "tapps"},
            "versions": versions}}))
        .unwrap()
    }

    fn version(name: &str, served: bool, storage: bool, path: Option<&str>) -> Value {
        let scale =
            path.map(|path| serde_json::json!({"scale": {"specReplicasPath": path, "statusReplicasPath": ".s"}}));
        serde_json::json!({"name": name, "served": served, "storage": storage, "subresources": scale})
    }

    #[test]
    fn the_stored_version_is_used_if_served_else_a_served_one() {
        for (versions, expected) in [
            (vec![version("v1", true, true, Some(".spec.replicas"))], Some("v1")),
            (vec![version("v1alpha1", true, false, None), version("v1", true, true, None)], Some("v1")),
            (vec![version("v1", false, true, None), version("v2", true, false, None)], Some("v2")),
            (vec![version("v1", false, true, None)], None),
        ] {
            let resolved = resolve(&crd(versions.into()));
            assert_eq!(resolved.ok().map(|resolved| resolved.resource.version).as_deref(), expected);
        }
    }

    #[test]
    fn the_scale_path_is_a_path_of_members_or_the_reason_names_it() {
        for (path, expected) in [
            (Some(".spec.replicas"), Ok(vec!["spec", "replicas"])),
            (Some("spec.size"), Ok(vec!["spec", "size"])),
            (Some(".spec.groups[0].n"), Err(".spec.groups[0].n")),
            (Some(""), Err("\"\"")),
            (None, Err("no scale subresource")),
        ] {
            let resolved = resolve(&crd(vec![version("v1", true, true, path)].into())).unwrap();
            match (resolved.replicas_path, expected) {
                (Ok(path), Ok(expected)) => assert_eq!(path, expected),
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
                (path, expected) => panic!("{path:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn old_keys_know_the_kind_in_lower_case_and_no_group() {
        let crd = crd(Value::Array(Vec::new()));
        for (group, kind, expected) in [
            ("apps.tkestack.io", "TApp", true),
            ("apps.tkestack.io", "tapp", false),
            ("other.io", "TApp", false),
            (UNKNOWN_GROUP, "tapp", true),
        ] {
            assert_eq!(names(&crd, group, kind), expected, "{group} {kind}");
        }
    }
}
