//! Jobs: pods that run to their end. Completions, parallelism and the back-off limit; no indexes, no policies.

use std::time::Duration;

use k8s_openapi::{
    api::batch::v1::{Job, JobCondition, JobStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{create_pods, feed, itself, owner_of};
use crate::control::{
    Caches, Context,
    informer::ObjectKey,
    meta::Meta,
    pods,
    workqueue::{Again, WorkQueue},
};

/// The pause after the first failed pod, which doubles, and its limit.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

pub(super) fn start(ctx: &Context, caches: &Caches) {
    let queue = WorkQueue::new(ctx.clock.clone());
    feed(ctx, &caches.jobs, &queue, itself);
    feed(ctx, &caches.pods, &queue, owner_of("Job"));
    let (state, caches) = (ctx.clone(), caches.clone());
    queue.run(ctx, move |key| reconcile(state.clone(), caches.clone(), key));
}

fn is_over(status: &JobStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|it| matches!(it.type_.as_str(), "Complete" | "Failed") && it.status == "True")
}

async fn reconcile(ctx: Context, caches: Caches, key: ObjectKey) -> anyhow::Result<Again> {
    caches.pods.synced().await;
    let Some(job) = caches.jobs.get(&key).filter(|job| !job.is_deleting()) else { return Ok(None) };
    let Some(spec) = &job.spec else { return Ok(None) };
    let old = job.status.clone().unwrap_or_default();
    if is_over(&old) {
        return Ok(None);
    }
    let now = ctx.clock.now();
    let owned = caches.pods.owned_by(job.uid());
    let count = |phase: &str| owned.iter().filter(|pod| pods::phase(pod) == phase).count();
    let (succeeded, failed) = (count("Succeeded"), count("Failed"));
    let active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    let limit = usize::try_from(spec.backoff_limit.unwrap_or(6)).unwrap_or(0);
    let parallelism = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let completions = spec.completions.map(|completions| usize::try_from(completions).unwrap_or(0));
    let verdict = if failed > limit {
        Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    } else if completions.map_or(succeeded > 0 && active.is_empty(), |wanted| succeeded >= wanted) {
        Some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
    } else {
        None
    };
    let suspended = spec.suspend.unwrap_or(false);
    let wanted = match completions {
        _ if verdict.is_some() || suspended => 0,
        Some(completions) => parallelism.min(completions.saturating_sub(succeeded)),
        None if succeeded > 0 => active.len(),
        None => parallelism,
    };
    let mut again = None;
    if active.len() > wanted {
        for pod in &active[wanted..] {
            pods::delete(&ctx.client, &caches.pods, pod, None).await?;
        }
    } else if active.len() < wanted {
        let left = pause_left(&ctx, &owned, failed);
        if left.is_zero() {
            let owner = pods::controller_reference("batch/v1", "Job", &*job);
            let mut pod = pods::from_template(&spec.template, job.ns(), owner);
            pod.metadata.generate_name = Some(format!("{}-", job.name()));
            create_pods(&ctx, &caches.pods, vec![pod; wanted - active.len()]).await?;
        } else {
            again = Some(left);
        }
    }
    let active: Vec<_> = caches.pods.owned_by(job.uid());
    let active: Vec<_> = active.iter().filter(|pod| pods::is_active(pod)).collect();
    let number = |count: usize| Some(i32::try_from(count).unwrap_or(i32::MAX));
    let mut status = JobStatus {
        active: number(active.len()).filter(|count| *count > 0),
        ready: number(active.iter().filter(|pod| pods::is_ready(pod)).count()),
        succeeded: number(succeeded).filter(|count| *count > 0),
        failed: number(failed).filter(|count| *count > 0),
        start_time: old.start_time.clone().or((!suspended).then_some(Time(now))),
        ..old.clone()
    };
    if let Some((kind, reason, message)) = verdict {
        status.completion_time = (kind == "Complete").then_some(Time(now));
        status.conditions.get_or_insert_default().push(JobCondition {
            type_: kind.into(),
            status: "True".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_probe_time: Some(Time(now)),
            last_transition_time: Some(Time(now)),
        });
    }
    if status != old {
        let api: Api<Job> = Api::namespaced(ctx.client.clone(), job.ns());
        let mut body = serde_json::to_value(&status)?;
        for count in ["active", "succeeded", "failed"] {
            if body.get(count).is_none() {
                body[count] = serde_json::Value::Null;
            }
        }
        let patch = Patch::Merge(json!({"metadata": {"uid": job.uid()}, "status": body}));
        match api.patch_status(job.name(), &PatchParams::default(), &patch).await {
            Ok(job) => caches.jobs.record(job),
            Err(error) if pods::is_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(again)
}

/// How long to wait until the next pod after failures.
fn pause_left(ctx: &Context, owned: &[std::sync::Arc<k8s_openapi::api::core::v1::Pod>], failed: usize) -> Duration {
    let Some(doublings) = failed.checked_sub(1) else { return Duration::ZERO };
    let doublings = u32::try_from(doublings).unwrap_or(6).min(6);
    let pause = (BACKOFF.0 * 2_u32.pow(doublings)).min(BACKOFF.1);
    let failures = owned.iter().filter(|pod| pods::phase(pod) == "Failed");
    let last = failures.map(|pod| {
        let finished = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let finished = finished.filter_map(|it| it.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
        finished.map(|time| time.0).max().unwrap_or(pod.created())
    });
    match last.max() {
        Some(last) => ctx.clock.until(crate::clock::after(last, pause)),
        None => Duration::ZERO,
    }
}
