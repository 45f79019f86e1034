//! What a scheduler is told: the members of kube-scheduler's own configuration that matter here.

use std::{collections::BTreeSet, time::Duration};

/// A scheduler's configuration. The defaults are kube-scheduler's.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// Pods with this `schedulerName`, or none, are scheduled.
    pub name: String,
    /// Asked in this order.
    pub extenders: Vec<ExtenderConfig>,
    /// The share of nodes that are looked for and offered in clusters above 100 nodes; 0 adapts to the number of nodes.
    pub percentage_of_nodes_to_score: u32,
    /// The first pause of a pod that could not be scheduled; it doubles up to the longest.
    pub pod_initial_backoff: Duration,
    /// The longest such pause.
    pub pod_max_backoff: Duration,
    /// How long a refused pod waits for an event before it is tried anyway.
    pub pod_max_in_unschedulable: Duration,
    /// Whether an idle scheduler takes a pod before its pause is over, as kube-scheduler does from 1.33 on. Never after an error.
    pub pop_from_backoff: bool,
    /// Seed of the choice between equal nodes; random if absent.
    pub seed: Option<u64>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            name: "default-scheduler".to_owned(),
            extenders: Vec::new(),
            percentage_of_nodes_to_score: 0,
            pod_initial_backoff: Duration::from_secs(1),
            pod_max_backoff: Duration::from_secs(10),
            pod_max_in_unschedulable: Duration::from_secs(300),
            pop_from_backoff: true,
            seed: None,
        }
    }
}

/// An HTTP service that is asked about pods. An empty verb is not called.
#[derive(Clone, Debug)]
pub struct ExtenderConfig {
    /// What the verbs are appended to, as `http://host:9040/v1`.
    pub url_prefix: String,
    /// Which nodes can take the pod.
    pub filter_verb: String,
    /// How well they suit it, 0 to 10.
    pub prioritize_verb: String,
    /// Binds the pod.
    pub bind_verb: String,
    /// Which pods may be removed for it.
    pub preempt_verb: String,
    /// What a point of the extender is worth.
    pub weight: i64,
    /// Whether nodes are sent by name only.
    pub node_cache_capable: bool,
    /// Pods that ask for one of these are sent; all pods, if there are none.
    pub managed_resources: Vec<ManagedResource>,
    /// How long an answer may take. Real time.
    pub http_timeout: Duration,
    /// Whether scheduling goes on without it when it fails.
    pub ignorable: bool,
}

/// A resource that an extender looks after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedResource {
    /// Its name.
    pub name: String,
    /// Whether the scheduler itself does not count it per node.
    pub ignored_by_scheduler: bool,
}

impl Default for ExtenderConfig {
    fn default() -> Self {
        Self {
            url_prefix: String::new(),
            filter_verb: String::new(),
            prioritize_verb: String::new(),
            bind_verb: String::new(),
            preempt_verb: String::new(),
            weight: 1,
            node_cache_capable: false,
            managed_resources: Vec::new(),
            http_timeout: Duration::from_secs(5),
            ignorable: false,
        }
    }
}

impl ExtenderConfig {
    /// galaxy-ipam at `url_prefix`, with all its verbs, asked for pods that want a floating IP.
    pub fn galaxy(url_prefix: impl Into<String>) -> Self {
        Self {
            url_prefix: url_prefix.into(),
            filter_verb: "filter".into(),
            prioritize_verb: "priority".into(),
            bind_verb: "bind".into(),
            preempt_verb: "preempt".into(),
            managed_resources: vec![ManagedResource {
                name: "tke.cloud.tencent.com/eni-ip".into(),
                ignored_by_scheduler: true,
            }],
            ..Self::default()
        }
    }
}

/// The resources that no extender wants the scheduler to count.
pub(super) fn ignored_resources(extenders: &[ExtenderConfig]) -> BTreeSet<String> {
    let managed = extenders.iter().flat_map(|extender| &extender.managed_resources);
    managed.filter(|resource| resource.ignored_by_scheduler).map(|resource| resource.name.clone()).collect()
}
