//! What is counted, in the OpenMetrics format.

use std::{
    fmt,
    sync::atomic::{AtomicI64, AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::Registry,
};

type Labels = Vec<(&'static str, String)>;

/// Seconds.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 20.0];

#[derive(Clone)]
struct Latency;

impl MetricConstructor<Histogram> for Latency {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

/// All that is counted.
pub struct Metrics {
    registry: Registry,
    calls: Family<Labels, Histogram, Latency>,
    conflicts: Family<Labels, Counter<u64, AtomicU64>>,
    retries: Family<Labels, Counter<u64, AtomicU64>>,
    orphans: Family<Labels, Counter<u64, AtomicU64>>,
    refused_configs: Counter<u64, AtomicU64>,
    valid_config: Gauge<i64, AtomicI64>,
    sandboxes: Gauge<i64, AtomicI64>,
    ready: Gauge<i64, AtomicI64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("galaxy_agent");
        let calls = Family::new_with_constructor(Latency);
        let help = "Time of CNI calls by command, plugin (\"\" for the whole call) and result, in seconds";
        registry.register("cni_duration_seconds", help, calls.clone());
        let mut counters = |name, help| {
            let family = Family::<Labels, Counter<u64, AtomicU64>>::default();
            registry.register(name, help, family.clone());
            family
        };
        let conflicts =
            counters("conflicts", "Addresses not given to a pod: unconfirmed by a FloatingIP, or in_use by another");
        let retries =
            counters("retries", "What had to be done again, by kind: watch, add (of a known sandbox), del, sweep");
        let orphans =
            counters("orphans", "What belonged to no sandbox and was removed, by kind: state, device, record, file");
        let refused_configs = Counter::default();
        registry.register("config_refused", "Configuration files that were refused", refused_configs.clone());
        let mut gauge = |name, help| {
            let gauge = Gauge::<i64, AtomicI64>::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let valid_config = gauge("config_valid", "1 if the configuration file is the one in force");
        let sandboxes = gauge("sandboxes", "Sandboxes with a state file");
        let ready = gauge("ready", "1 if pods can get their addresses");
        Metrics { registry, calls, conflicts, retries, orphans, refused_configs, valid_config, sandboxes, ready }
    }
}

impl Metrics {
    /// A call ended: of one plugin, or as a whole.
    pub fn call(&self, command: &'static str, plugin: &str, succeeded: bool, took: Duration) {
        let result = if succeeded { "success" } else { "failure" };
        let labels =
            vec![("command", command.to_owned()), ("plugin", plugin.to_owned()), ("result", result.to_owned())];
        self.calls.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// An address was not given to a pod.
    pub fn conflict(&self, kind: &str) {
        self.conflicts.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// Something had to be done again.
    pub fn retry(&self, kind: &str) {
        self.retries.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// An orphan was removed.
    pub fn orphan(&self, kind: &str) {
        self.orphans.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// A configuration file was refused.
    pub fn config_refused(&self) {
        self.refused_configs.inc();
    }

    /// Whether the configuration file is the one in force.
    pub fn config_valid(&self, valid: bool) {
        self.valid_config.set(valid.into());
    }

    /// Sandboxes with a state file.
    pub fn sandboxes(&self, count: usize) {
        self.sandboxes.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether pods can get their addresses.
    pub fn ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    /// The OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}
