//! Deployments: versions of a template, one ReplicaSet each, rolled from one to the next.

mod sets;
mod status;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentSpec, ReplicaSet},
    core::v1::PodTemplateSpec,
};
use serde_json::Value;

use super::{
    feed, itself, owner_of,
    rollout::{self, Limits, Set},
    template,
};
use crate::control::{
    Caches, Context,
    informer::{Change, ObjectKey},
    meta::Meta,
    pods,
    workqueue::{Again, WorkQueue},
};

const COMPONENT: &str = "deployment-controller";
/// The number of a version, on ReplicaSets and on the Deployment itself.
const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// On a ReplicaSet: the Deployment's replicas when it was last scaled.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// On a ReplicaSet: those plus the surge.
const MAX: &str = "deployment.kubernetes.io/max-replicas";

pub(super) fn start(ctx: &Context, caches: &Caches) {
    let queue = WorkQueue::new(ctx.clock.clone());
    feed(ctx, &caches.deployments, &queue, itself);
    feed(ctx, &caches.replica_sets, &queue, owner_of("Deployment"));
    // Recreate waits for pods to be gone, which no ReplicaSet tells.
    let sets = caches.replica_sets.clone();
    feed(ctx, &caches.pods, &queue, move |change: &Change<_>| {
        let gone = change.new.is_none();
        let owners = owner_of("ReplicaSet")(change).into_iter().filter(|_| gone);
        let sets = owners.filter_map(|key| sets.get(&key));
        let deployments = sets.filter_map(|set| {
            let owner = set.controller_ref().filter(|owner| owner.kind == "Deployment")?;
            Some(ObjectKey::new(set.ns(), &owner.name))
        });
        deployments.collect()
    });
    let (state, caches) = (ctx.clone(), caches.clone());
    queue.run(ctx, move |key| reconcile(state.clone(), caches.clone(), key));
}

async fn reconcile(ctx: Context, caches: Caches, key: ObjectKey) -> anyhow::Result<Again> {
    caches.replica_sets.synced().await;
    caches.pods.synced().await;
    let Some(deployment) = caches.deployments.get(&key) else { return Ok(None) };
    let mut rollout = Rollout::new(ctx, caches, deployment);
    if rollout.deployment.is_deleting() {
        return rollout.update_status(false).await;
    }
    let paused = rollout.spec().paused.unwrap_or(false);
    rollout.note_pause(paused);
    if paused || rollout.is_scaling() {
        rollout.ensure_new(false).await?;
        rollout.scale().await?;
        if paused {
            rollout.clean_up().await?;
        }
        return rollout.update_status(false).await;
    }
    match rollout.is_recreate() {
        true => rollout.recreate().await?,
        false => rollout.roll().await?,
    }
    rollout.update_status(true).await
}

/// One look at a Deployment and its ReplicaSets.
struct Rollout {
    ctx: Context,
    caches: Caches,
    deployment: Arc<Deployment>,
    limits: Limits,
    /// The ReplicaSet of the present template.
    new: Option<Arc<ReplicaSet>>,
    /// All others, oldest first.
    old: Vec<Arc<ReplicaSet>>,
    /// What happened in this look: status, reason and message for condition Progressing.
    progress: Option<(&'static str, &'static str, String)>,
    /// Names taken by strangers.
    collisions: i32,
}

impl Rollout {
    fn new(ctx: Context, caches: Caches, deployment: Arc<Deployment>) -> Self {
        let mut sets = caches.replica_sets.owned_by(deployment.uid());
        sets.sort_by_key(|set| (set.created(), set.name().to_owned()));
        let wanted = template::substance(&deployment.spec.template);
        let new = sets
            .iter()
            .position(|set| set_template(set).map(template::substance) == Some(wanted.clone()))
            .map(|at| sets.remove(at));
        let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
        Self {
            limits: limits(&deployment),
            ctx,
            caches,
            deployment,
            new,
            old: sets,
            progress: None,
            collisions: collisions.unwrap_or(0),
        }
    }

    fn spec(&self) -> &DeploymentSpec {
        &self.deployment.spec
    }

    fn is_recreate(&self) -> bool {
        let strategy = self.spec().strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
    }

    fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }

    /// Whether replicas changed since the ReplicaSets were last scaled.
    fn is_scaling(&self) -> bool {
        let mut active = self.all().filter(|set| size(set) > 0);
        active.any(|set| number(&**set, DESIRED).is_some_and(|desired| desired != i64::from(self.limits.replicas)))
    }

    /// One step of a rolling update.
    async fn roll(&mut self) -> anyhow::Result<()> {
        self.ensure_new(true).await?;
        let Some(new) = self.new.clone() else { return Ok(()) };
        let total = self.all().map(|set| size(set)).sum();
        let grown = rollout::grow_new(self.limits, size(&new), total);
        if grown != size(&new) {
            self.resize(&new, grown).await?;
            return Ok(());
        }
        let old: Vec<Set> = self.old.iter().map(|set| view(set)).collect();
        let sizes = rollout::shrink_old(self.limits, &view(&new), &old);
        let mut shrunk = false;
        for (set, target) in self.old.clone().iter().zip(sizes) {
            shrunk |= self.resize(set, target).await?;
        }
        if !shrunk && self.is_complete() {
            self.clean_up().await?;
        }
        Ok(())
    }

    /// One step of strategy Recreate: all old pods go, and only when they are gone new ones come.
    async fn recreate(&mut self) -> anyhow::Result<()> {
        self.ensure_new(false).await?;
        let mut shrunk = false;
        for set in self.old.clone() {
            shrunk |= self.resize(&set, 0).await?;
        }
        if shrunk || self.old_pods_exist() {
            return Ok(());
        }
        self.ensure_new(true).await?;
        if let Some(new) = self.new.clone() {
            self.resize(&new, self.limits.replicas).await?;
        }
        if self.is_complete() {
            self.clean_up().await?;
        }
        Ok(())
    }

    fn old_pods_exist(&self) -> bool {
        let mut old = self.old.iter();
        old.any(|set| {
            let counted = set.status.as_ref().map_or(0, |status| status.replicas);
            let pods = self.caches.pods.owned_by(set.uid());
            counted > 0 || pods.iter().any(|pod| !pods::is_finished(pod))
        })
    }

    /// Follows a change of replicas, without rolling anything.
    async fn scale(&mut self) -> anyhow::Result<()> {
        let active: Vec<_> = self.all().filter(|set| size(set) > 0).cloned().collect();
        let only = match active.len() {
            0 => self.new.clone().or_else(|| self.old.last().cloned()),
            1 => active.first().cloned(),
            _ => None,
        };
        if let Some(only) = only {
            self.resize(&only, self.limits.replicas).await?;
            return Ok(());
        }
        if self.is_saturated() {
            for set in self.old.clone() {
                self.resize(&set, 0).await?;
            }
            return Ok(());
        }
        if self.is_recreate() {
            // Nothing to share out; the note that they were looked at lets the rollout go on.
            for set in &active {
                self.resize(set, size(set)).await?;
            }
            return Ok(());
        }
        let status = self.deployment.status.as_ref();
        let sets: Vec<Set> = active.iter().map(|set| view(set)).collect();
        let sizes = rollout::proportional(self.limits, &sets, status.and_then(|status| status.replicas).unwrap_or(0));
        for (set, target) in active.iter().zip(sizes) {
            self.resize(set, target).await?;
        }
        Ok(())
    }

    /// Whether the newest ReplicaSet has all the pods there should be.
    fn is_saturated(&self) -> bool {
        let wanted = self.limits.replicas;
        self.new.as_ref().is_some_and(|new| {
            number(&**new, DESIRED) == Some(wanted.into()) && size(new) == wanted && view(new).available == wanted
        })
    }
}

fn set_template(set: &ReplicaSet) -> Option<&PodTemplateSpec> {
    set.spec.template.as_ref()
}

fn limits(deployment: &Deployment) -> Limits {
    let spec = &deployment.spec;
    let replicas = spec.replicas.unwrap_or(1);
    let strategy = spec.strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
        return Limits::recreate(replicas);
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    Limits::rolling(replicas, surge, rolling.and_then(|rolling| rolling.max_unavailable.as_ref()))
}

/// Pods that a ReplicaSet is told to have.
fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// A number in an annotation.
fn number<K: Meta>(object: &K, annotation: &str) -> Option<i64> {
    object.annotation(annotation)?.parse().ok()
}

fn view(set: &ReplicaSet) -> Set {
    let available = set.status.as_ref().and_then(|status| status.available_replicas);
    Set {
        created: set.created(),
        size: size(set),
        available: available.unwrap_or(0),
        max_replicas: number(set, MAX).and_then(|max| i32::try_from(max).ok()),
    }
}

/// Whether two objects are the same in JSON.
fn same<T: serde::Serialize>(a: &T, b: &T) -> bool {
    let json = |it: &T| serde_json::to_value(it).unwrap_or(Value::Null);
    json(a) == json(b)
}

/// How long after `from` a rollout without progress has failed.
fn progress_deadline(deployment: &Deployment) -> Option<Duration> {
    let spec = &deployment.spec;
    let seconds = spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
