//! Making room for a pod of higher priority: which pods would have to go, where, and what the extenders say to that.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rand::{Rng, seq::SliceRandom};
use serde_json::json;

use super::{
    cache::{Cache, NodeInfo, PodInfo},
    extender::Extender,
    filter::{Filter, Plugin, Refusal, summary},
};
use crate::control::{Caches, Context, meta::Meta, pods};

/// What came of the attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing can be done; why.
    Hopeless(String),
    /// It was not tried: a nomination stands as it is.
    NotNow(String),
    /// These pods have to go from that node.
    Victims {
        /// The node.
        node: String,
        /// Uids of its pods, the most important first.
        victims: Vec<String>,
    },
}

/// What an attempt works with.
pub struct Attempt<'a> {
    /// The pod without a place.
    pub pod: &'a PodInfo,
    /// Nodes and pods.
    pub cache: &'a Cache,
    /// Resources that the scheduler does not count.
    pub ignored: &'a BTreeSet<String>,
    /// Why each node was refused.
    pub refusals: &'a BTreeMap<String, Refusal>,
    /// Asked in their order.
    pub extenders: &'a [Arc<Extender>],
}

type Candidates = BTreeMap<String, Vec<Arc<PodInfo>>>;

impl Attempt<'_> {
    /// Looks for pods whose removal makes room. Removes nothing.
    pub async fn run(&self, rng: &mut impl Rng) -> Outcome {
        if let Some(reason) = self.ineligible() {
            return Outcome::NotNow(reason);
        }
        let candidates = match self.candidates(rng) {
            Ok(candidates) => candidates,
            Err(reason) => return Outcome::Hopeless(reason),
        };
        let candidates = match self.ask(candidates).await {
            Ok(candidates) => candidates,
            Err(reason) => return Outcome::Hopeless(reason),
        };
        match choose(candidates) {
            Some((node, victims)) => {
                Outcome::Victims { node, victims: victims.iter().map(|pod| pod.uid.clone()).collect() }
            }
            None => Outcome::Hopeless("no candidate node for preemption".to_owned()),
        }
    }

    fn ineligible(&self) -> Option<String> {
        let spec = self.pod.pod.spec.as_ref();
        if spec.and_then(|spec| spec.preemption_policy.as_deref()) == Some("Never") {
            return Some("not eligible due to preemptionPolicy=Never.".to_owned());
        }
        let status = self.pod.pod.status.as_ref();
        let nominated = status.and_then(|status| status.nominated_node_name.as_deref())?;
        if self.refusals.get(nominated).is_some_and(|refusal| refusal.unresolvable) {
            return None;
        }
        let node = self.cache.nodes().get(nominated)?;
        let going =
            |pod: &&Arc<PodInfo>| pod.priority < self.pod.priority && pod.pod.is_deleting() && is_preempted(&pod.pod);
        let going = node.pods.values().find(going);
        going.map(|_| "not eligible due to a terminating pod on the nominated node.".to_owned())
    }

    /// The nodes where removing pods of lower priority makes room, with those pods.
    fn candidates(&self, rng: &mut impl Rng) -> Result<Candidates, String> {
        let mut found = Candidates::new();
        let mut errors = Vec::new();
        let mut refusals = BTreeMap::new();
        for (name, node) in self.cache.nodes() {
            let hopeless = |reason: &str| Refusal {
                plugin: Plugin::NodeResourcesFit,
                reasons: vec![reason.to_owned()],
                unresolvable: true,
            };
            let refusal = match self.refusals.get(name) {
                Some(refusal) if !refusal.unresolvable => match self.victims(node) {
                    Ok(victims) if victims.is_empty() => {
                        // The node's own refusal stays unexplained, as when only an extender refused it.
                        errors.push(format!("expected at least one victim pod on node {name:?}"));
                        continue;
                    }
                    Ok(victims) => {
                        found.insert(name.clone(), victims);
                        continue;
                    }
                    Err(Some(refusal)) => refusal,
                    Err(None) => hopeless("No preemption victims found for incoming pod"),
                },
                _ => hopeless("Preemption is not helpful for scheduling"),
            };
            refusals.insert(name.clone(), refusal);
        }
        if !found.is_empty() {
            return Ok(found);
        }
        // kube-scheduler looks at nodes in parallel, so its list of errors comes in any order.
        errors.shuffle(rng);
        Err(match errors.len() {
            0 => summary(self.cache.nodes().len(), &refusals),
            1 => errors.remove(0),
            _ => format!("[{}]", errors.join(", ")),
        })
    }

    /// The pods that have to leave `node`, as few and as unimportant as can be; an error if all of lower priority are not enough,
    /// or there are none.
    fn victims(&self, node: &NodeInfo) -> Result<Vec<Arc<PodInfo>>, Option<Refusal>> {
        let (mut lower, mut staying): (Vec<_>, Vec<_>) =
            node.pods.values().cloned().partition(|other| other.priority < self.pod.priority);
        if lower.is_empty() {
            return Err(None);
        }
        self.fits(node, &staying, &lower).map_err(Some)?;
        lower.sort_by_key(importance);
        let mut victims = Vec::new();
        for (at, pod) in lower.iter().enumerate() {
            staying.push(pod.clone());
            let gone: Vec<_> = victims.iter().chain(&lower[at + 1..]).cloned().collect();
            if self.fits(node, &staying, &gone).is_err() {
                staying.pop();
                victims.push(pod.clone());
            }
        }
        Ok(victims)
    }

    fn fits(&self, node: &NodeInfo, staying: &[Arc<PodInfo>], gone: &[Arc<PodInfo>]) -> Result<(), Refusal> {
        let without: HashSet<&str> = gone.iter().map(|pod| pod.uid.as_str()).collect();
        let filter = Filter::new(self.pod, self.cache, self.ignored, &without);
        filter.check(&node.with_pods(staying.iter().cloned()), &[])
    }

    /// Has the extenders strike candidates and victims.
    async fn ask(&self, mut candidates: Candidates) -> Result<Candidates, String> {
        for extender in self.extenders {
            let config = &extender.config;
            if candidates.is_empty() || config.preempt_verb.is_empty() || !extender.is_interested(&self.pod.pod) {
                continue;
            }
            let victims = candidates
                .iter()
                .map(|(node, pods)| (node.clone(), pods.iter().map(|pod| &*pod.pod).collect()))
                .collect();
            let answer = match extender.preempt(self.pod, &victims).await {
                Ok(answer) => answer,
                Err(_) if config.ignorable => continue,
                Err(error) => return Err(error.to_string()),
            };
            let mut left = Candidates::new();
            for (node, uids) in answer {
                if uids.is_empty() {
                    match config.ignorable {
                        true => continue,
                        false => return Err(format!("expected at least one victim pod on node {node:?}")),
                    }
                }
                let there = self.cache.nodes().get(&node);
                let find = |uid: &String| {
                    let pod = there.and_then(|there| there.pods.get(uid)).cloned();
                    pod.ok_or_else(|| {
                        let url = &config.url_prefix;
                        format!(
                            "extender: {url} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node"
                        )
                    })
                };
                left.insert(node.clone(), uids.iter().map(find).collect::<Result<_, _>>()?);
            }
            candidates = left;
        }
        Ok(candidates)
    }
}

/// The node whose loss hurts least: lowest top priority, least priority in sum, fewest pods, youngest important pod.
fn choose(candidates: Candidates) -> Option<(String, Vec<Arc<PodInfo>>)> {
    candidates.into_iter().min_by_key(|(_, victims)| {
        let top = victims.iter().map(|pod| pod.priority).max();
        let sum: i64 = victims.iter().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum();
        let started = victims.iter().filter(|pod| Some(pod.priority) == top).map(started).min();
        (top, sum, victims.len(), std::cmp::Reverse(started))
    })
}

fn importance(pod: &Arc<PodInfo>) -> (std::cmp::Reverse<i32>, Timestamp) {
    (std::cmp::Reverse(pod.priority), started(pod))
}

fn started(pod: &Arc<PodInfo>) -> Timestamp {
    let status = pod.pod.status.as_ref();
    let start = status.and_then(|status| status.start_time.as_ref());
    start.map_or(Timestamp::MAX, |time| time.0)
}

fn is_preempted(pod: &Pod) -> bool {
    pods::condition(pod, "DisruptionTarget").is_some_and(|it| it.reason.as_deref() == Some("PreemptionByScheduler"))
}

/// Removes a victim: says so in its status, then deletes it.
///
/// # Errors
/// An answer of the API server that a retry may cure.
pub async fn remove(ctx: &Context, caches: &Caches, victim: &Pod, preemptor: &Pod, node: &str) -> kube::Result<()> {
    let message = format!("default-scheduler: preempting to accommodate a higher priority pod {}", preemptor.uid());
    let (reason, now) = (Some("PreemptionByScheduler"), ctx.clock.now());
    let condition = pods::condition_patch(victim, "DisruptionTarget", "True", reason, Some(&message), now);
    let patch = json!({"metadata": {"uid": victim.uid()}, "status": {"conditions": [condition]}});
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), victim.ns());
    match api.patch_status(victim.name(), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(pod) => caches.pods.record(pod),
        Err(error) if pods::is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    pods::delete(&ctx.client, &caches.pods, victim, None).await?;
    let text = format!("Preempted by pod {} on node {node}", preemptor.uid());
    caches.recorder.normal("default-scheduler", victim, "Preempted", text);
    Ok(())
}
