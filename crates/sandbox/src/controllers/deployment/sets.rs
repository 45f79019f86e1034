//! A Deployment's ReplicaSets: made, numbered, scaled and thrown away.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::ObjectMeta,
};
use serde_json::json;

use super::{COMPONENT, DESIRED, MAX, REVISION, REVISION_HISTORY, Rollout, number, set_template, size};
use crate::{
    control::{informer::ObjectKey, meta::Meta, pods},
    controllers::{rollout, template},
};

/// Annotations of a Deployment that its ReplicaSets do not inherit.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
];

impl Rollout {
    fn sets_api(&self) -> Api<ReplicaSet> {
        Api::namespaced(self.ctx.client.clone(), self.deployment.ns())
    }

    /// Sees to it that the present template's ReplicaSet has the highest revision, and that there is one if `create`.
    pub(super) async fn ensure_new(&mut self, create: bool) -> anyhow::Result<()> {
        let newest_old = self.old.iter().filter_map(|set| number(&**set, REVISION)).max();
        let revision = newest_old.unwrap_or(0) + 1;
        match self.new.clone() {
            Some(new) => self.renumber(&new, revision).await?,
            None if create => self.create_new(revision).await?,
            None => return Ok(()),
        }
        let Some(set) = &self.new else { return Ok(()) };
        let revision = set.annotation(REVISION).map(str::to_owned);
        if revision.as_deref() != self.deployment.annotation(REVISION) {
            let patch = json!({"metadata": {"uid": self.deployment.uid(), "annotations": {REVISION: revision}}});
            let api: Api<Deployment> = Api::namespaced(self.ctx.client.clone(), self.deployment.ns());
            let params = PatchParams::default();
            let deployment = api.patch(self.deployment.name(), &params, &Patch::Merge(patch)).await?;
            self.caches.deployments.record(deployment);
        }
        Ok(())
    }

    /// Brings annotations and `minReadySeconds` of the present ReplicaSet up to date; a template that comes back gets a new number.
    async fn renumber(&mut self, set: &Arc<ReplicaSet>, revision: i64) -> anyhow::Result<()> {
        let mut changed = (**set).clone();
        let annotations = changed.metadata.annotations.get_or_insert_default();
        annotations.extend(self.inherited());
        let before = number(&**set, REVISION).unwrap_or(0);
        if before < revision {
            annotations.insert(REVISION.into(), revision.to_string());
            if before > 0 {
                let history = annotations.entry(REVISION_HISTORY.into()).or_default();
                let separator = if history.is_empty() { "" } else { "," };
                history.push_str(&format!("{separator}{before}"));
            }
        }
        changed.spec.min_ready_seconds = self.spec().min_ready_seconds;
        if changed != **set {
            let written = self.sets_api().replace(set.name(), &PostParams::default(), &changed).await?;
            self.record(written);
        }
        if !self.has_progress() {
            self.progress = Some(("True", "FoundNewReplicaSet", format!("Found new replica set {:?}", set.name())));
        }
        Ok(())
    }

    async fn create_new(&mut self, revision: i64) -> anyhow::Result<()> {
        let spec = self.spec().clone();
        let hash = template::hash(&spec.template, self.collisions);
        let name = format!("{}-{hash}", self.deployment.name());
        let label = (template::HASH_LABEL.to_owned(), hash);
        let mut pods = spec.template.clone();
        let pod_metadata = pods.metadata.get_or_insert_default();
        pod_metadata.labels.get_or_insert_default().extend([label.clone()]);
        let mut selector = spec.selector.clone();
        selector.match_labels.get_or_insert_default().extend([label]);
        let total = self.old.iter().map(|set| size(set)).sum();
        let replicas = match self.is_recreate() {
            true => self.limits.replicas,
            false => rollout::grow_new(self.limits, 0, total),
        };
        let mut annotations = self.inherited();
        annotations.extend(self.scale_annotations());
        annotations.insert(REVISION.into(), revision.to_string());
        let set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: self.deployment.metadata.namespace.clone(),
                labels: pod_metadata.labels.clone(),
                annotations: Some(annotations),
                owner_references: Some(vec![pods::controller_reference("apps/v1", "Deployment", &*self.deployment)]),
                ..ObjectMeta::default()
            },
            spec: ReplicaSetSpec {
                replicas: Some(replicas),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(pods),
            },
            status: None,
        };
        match self.sets_api().create(&PostParams::default(), &set).await {
            Ok(made) => {
                self.told(&format!("Scaled up replica set {name} from 0 to {replicas}"));
                self.progress = Some(("True", "NewReplicaSetCreated", format!("Created new replica set {name:?}")));
                self.record(made);
                Ok(())
            }
            Err(error) if pods::already_exists(&error) => {
                // Ours, made by a call whose answer got lost? Then the cache tells of it. A stranger's? Then by another name.
                let there = self.sets_api().get(&name).await?;
                let ours = there.controller_uid() == Some(self.deployment.uid())
                    && set_template(&there).map(template::substance) == Some(template::substance(&spec.template));
                match ours {
                    true => self.record(there),
                    false => self.collisions += 1,
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sets a ReplicaSet's size and notes what it was computed from. Whether the size changed.
    pub(super) async fn resize(&mut self, set: &Arc<ReplicaSet>, target: i32) -> anyhow::Result<bool> {
        let before = size(set);
        let annotations = self.scale_annotations();
        let noted = annotations.iter().all(|(key, value)| set.annotation(key) == Some(value));
        if before == target && (noted || target == 0) {
            return Ok(false);
        }
        let mut changed = (**set).clone();
        changed.metadata.annotations.get_or_insert_default().extend(annotations);
        changed.spec.replicas = Some(target);
        let written = self.sets_api().replace(set.name(), &PostParams::default(), &changed).await?;
        self.record(written);
        if before != target {
            let way = if target > before { "up" } else { "down" };
            self.told(&format!("Scaled {way} replica set {} from {before} to {target}", set.name()));
        }
        Ok(before != target)
    }

    /// Deletes old ReplicaSets beyond the history limit, those of the lowest revision first.
    pub(super) async fn clean_up(&self) -> anyhow::Result<()> {
        let limit = self.spec().revision_history_limit.unwrap_or(10);
        let mut old: Vec<_> = self.old.iter().filter(|set| !set.is_deleting()).collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|set| number(&***set, REVISION));
        for set in &old[..surplus] {
            let status = set.status.clone().unwrap_or_default();
            if size(set) != 0 || status.replicas != 0 || status.observed_generation.unwrap_or(0) < set.generation() {
                continue;
            }
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(set.uid().to_owned()),
                    resource_version: set.metadata.resource_version.clone(),
                }),
                ..DeleteParams::background()
            };
            match self.sets_api().delete(set.name(), &params).await {
                Ok(_) => {}
                Err(error) if pods::is_gone(&error) => {
                    self.caches.replica_sets.forget(&ObjectKey::of(&***set), set.uid())
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What ReplicaSets inherit from the Deployment's annotations.
    fn inherited(&self) -> BTreeMap<String, String> {
        let annotations = self.deployment.metadata.annotations.iter().flatten();
        let inherited = annotations.filter(|(key, _)| !OWN.contains(&key.as_str()));
        inherited.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn scale_annotations(&self) -> BTreeMap<String, String> {
        let max = self.limits.replicas + self.limits.surge;
        let pairs = [(DESIRED, self.limits.replicas), (MAX, max)];
        pairs.map(|(key, value)| (key.to_owned(), value.to_string())).into()
    }

    /// Takes over the answer to a write, here and in the cache.
    fn record(&mut self, set: ReplicaSet) {
        self.caches.replica_sets.record(set.clone());
        let set = Arc::new(set);
        match self.old.iter_mut().find(|old| old.uid() == set.uid()) {
            Some(old) => *old = set,
            None => self.new = Some(set),
        }
    }

    fn told(&self, message: &str) {
        let recorder = &self.caches.recorder;
        recorder.normal(COMPONENT, &*self.deployment, "ScalingReplicaSet", message);
    }
}
