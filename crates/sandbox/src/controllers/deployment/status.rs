//! What a Deployment's status says.

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{Rollout, progress_deadline, same, size};
use crate::control::{meta::Meta, pods, workqueue::Again};

impl Rollout {
    fn condition(&self, kind: &str) -> Option<&DeploymentCondition> {
        let conditions = self.deployment.status.as_ref()?.conditions.as_deref()?;
        conditions.iter().find(|condition| condition.type_.as_deref() == Some(kind))
    }

    fn progress_reason(&self) -> Option<&str> {
        self.condition("Progressing")?.reason.as_deref()
    }

    /// Whether condition Progressing is there, so that it need not be begun.
    pub(super) fn has_progress(&self) -> bool {
        self.condition("Progressing").is_some()
    }

    /// Notes that the rollout was paused or resumed.
    pub(super) fn note_pause(&mut self, paused: bool) {
        let known = self.progress_reason() == Some("DeploymentPaused");
        if self.progress_reason() == Some("ProgressDeadlineExceeded") {
            return;
        }
        if paused && !known {
            self.progress = Some(("Unknown", "DeploymentPaused", "Deployment is paused".into()));
        } else if !paused && known {
            self.progress = Some(("Unknown", "DeploymentResumed", "Deployment is resumed".into()));
        }
    }

    fn counts(&self) -> DeploymentStatus {
        let statuses: Vec<_> = self.all().filter_map(|set| set.status.clone()).collect();
        let sum = |of: fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> Option<i32>| -> i32 {
            statuses.iter().filter_map(of).sum()
        };
        let wanted: i32 = self.all().map(|set| size(set)).sum();
        let available = sum(|status| status.available_replicas);
        let updated = self.new.as_ref().and_then(|set| set.status.as_ref());
        DeploymentStatus {
            observed_generation: Some(self.deployment.generation()),
            replicas: Some(sum(|status| Some(status.replicas))),
            updated_replicas: Some(updated.map_or(0, |status| status.replicas)),
            ready_replicas: Some(sum(|status| status.ready_replicas)),
            available_replicas: Some(available),
            unavailable_replicas: Some((wanted - available).max(0)),
            terminating_replicas: Some(sum(|status| status.terminating_replicas)),
            collision_count: Some(self.collisions).filter(|count| *count > 0),
            conditions: None,
        }
    }

    /// Whether the rollout is over: only pods of the present template, all of them available.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete_in(&self.counts())
    }

    fn is_complete_in(&self, status: &DeploymentStatus) -> bool {
        let wanted = Some(self.limits.replicas);
        status.updated_replicas == wanted && status.replicas == wanted && status.available_replicas == wanted
    }

    /// Writes the status if it changed. `rolling` tells whether a rollout is on whose progress counts.
    pub(super) async fn update_status(mut self, rolling: bool) -> anyhow::Result<Again> {
        let now = Time(self.ctx.clock.now());
        let old = self.deployment.status.clone().unwrap_or_default();
        let mut status = self.counts();
        let mut conditions = old.conditions.clone().unwrap_or_default();
        let available = status.available_replicas.unwrap_or(0) >= self.limits.min_available();
        let verdict = match available {
            true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        };
        set(&mut conditions, "Available", verdict.0, verdict.1, verdict.2, &now, false);
        let deadline = progress_deadline(&self.deployment);
        if let (Some((state, reason, message)), Some(_)) = (self.progress.take(), deadline) {
            set(&mut conditions, "Progressing", state, reason, &message, &now, false);
        }
        let mut again = None;
        match deadline {
            Some(deadline) if rolling => {
                let name = match &self.new {
                    Some(set) => format!("ReplicaSet {:?}", set.name()),
                    None => format!("Deployment {:?}", self.deployment.name()),
                };
                let done = status.replicas == status.updated_replicas
                    && self.progress_reason() == Some("NewReplicaSetAvailable");
                if done {
                } else if self.is_complete_in(&status) {
                    let text = format!("{name} has successfully progressed.");
                    set(&mut conditions, "Progressing", "True", "NewReplicaSetAvailable", &text, &now, false);
                } else if progressed(&old, &status) {
                    let text = format!("{name} is progressing.");
                    set(&mut conditions, "Progressing", "True", "ReplicaSetUpdated", &text, &now, true);
                } else if let Some(since) = stuck_since(&conditions) {
                    let due = crate::clock::after(since.0, deadline);
                    let left = self.ctx.clock.until(due);
                    if left.is_zero() {
                        let text = format!("{name} has timed out progressing.");
                        set(&mut conditions, "Progressing", "False", "ProgressDeadlineExceeded", &text, &now, false);
                    } else {
                        again = Some(left);
                    }
                }
            }
            Some(_) => {}
            None => conditions.retain(|condition| condition.type_.as_deref() != Some("Progressing")),
        }
        status.conditions = Some(conditions);
        let explicit = |status: &DeploymentStatus| {
            let mut status = status.clone();
            for count in [
                &mut status.replicas,
                &mut status.updated_replicas,
                &mut status.ready_replicas,
                &mut status.available_replicas,
                &mut status.unavailable_replicas,
                &mut status.terminating_replicas,
            ] {
                count.get_or_insert(0);
            }
            status.conditions.get_or_insert_default();
            status
        };
        if same(&explicit(&old), &explicit(&status)) {
            return Ok(again);
        }
        let api: Api<Deployment> = Api::namespaced(self.ctx.client.clone(), self.deployment.ns());
        let patch = Patch::Merge(json!({"metadata": {"uid": self.deployment.uid()}, "status": status}));
        match api.patch_status(self.deployment.name(), &PatchParams::default(), &patch).await {
            Ok(deployment) => self.caches.deployments.record(deployment),
            Err(error) if pods::is_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(again)
    }
}

/// Since when nothing has moved, if that is still to be judged.
fn stuck_since(conditions: &[DeploymentCondition]) -> Option<&Time> {
    let progress = conditions.iter().find(|it| it.type_.as_deref() == Some("Progressing"))?;
    match progress.reason.as_deref() {
        Some("NewReplicaSetAvailable" | "ProgressDeadlineExceeded") => None,
        _ => progress.last_update_time.as_ref(),
    }
}

fn progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| n(status.replicas) - n(status.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || outdated(new) < outdated(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

/// Sets a condition. The same status and reason change nothing, unless `renew` asks for a new update time.
fn set(
    conditions: &mut Vec<DeploymentCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &Time,
    renew: bool,
) {
    let present = conditions.iter().position(|condition| condition.type_.as_deref() == Some(kind));
    let present = present.map(|at| (at, conditions[at].clone()));
    let mut since = now.clone();
    if let Some((_, present)) = &present
        && present.status.as_deref() == Some(status)
    {
        if present.reason.as_deref() == Some(reason) && !renew {
            return;
        }
        since = present.last_transition_time.clone().unwrap_or(since);
    }
    let condition = DeploymentCondition {
        type_: Some(kind.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(since),
    };
    match present {
        Some((at, _)) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}
