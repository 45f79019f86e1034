//! Metrics of the service, and their exposition.
//!
//! What happens (calls, writes, wakes) is counted here as it happens; what is (addresses, holds, waiting pods) is read
//! from the ledger when somebody scrapes, as a [`Snapshot`].

mod describe;
mod exposition;
mod process;

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use galaxy_core::{
    Topology,
    ledger::{State, Stats},
};
use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};

pub use describe::{ALL, Description, Kind, markdown};
pub use exposition::Format;

/// Labels of one time series.
type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// Buckets of the original's histograms, in seconds.
const BUCKETS: [f64; 7] = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4];

#[derive(Clone)]
struct Latency;

impl MetricConstructor<Histogram> for Latency {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

/// How a filter call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterResult {
    /// The pod wants no address; all nodes pass.
    Unconcerned,
    /// At least one node passes.
    Passed,
    /// No node passes.
    Refused,
    /// Could not be decided now, or the request was malformed.
    Error,
}

impl FilterResult {
    fn as_str(self) -> &'static str {
        match self {
            FilterResult::Unconcerned => "unconcerned",
            FilterResult::Passed => "passed",
            FilterResult::Refused => "refused",
            FilterResult::Error => "error",
        }
    }
}

/// How a bind call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindResult {
    /// The pod is bound with its addresses.
    Bound,
    /// It could not be bound.
    Refused,
    /// The answer was due before the bind was done; it goes on in the background.
    Pending,
}

impl BindResult {
    fn as_str(self) -> &'static str {
        match self {
            BindResult::Bound => "bound",
            BindResult::Refused => "refused",
            BindResult::Pending => "pending",
        }
    }
}

/// One of the two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The scheduler's.
    Extender,
    /// The HTTP API's.
    Api,
}

impl Port {
    /// The port as labels and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Port::Extender => "extender",
            Port::Api => "api",
        }
    }
}

/// Why a connection or a request was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// The TLS handshake failed.
    Handshake,
    /// It is not known who asks.
    Unauthenticated,
    /// They may not.
    Forbidden,
    /// The API server could not be asked.
    Unavailable,
}

impl Turned {
    fn as_str(self) -> &'static str {
        match self {
            Turned::Handshake => "handshake",
            Turned::Unauthenticated => "unauthenticated",
            Turned::Forbidden => "forbidden",
            Turned::Unavailable => "unavailable",
        }
    }
}

/// What a port may lack of protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// TLS.
    Tls,
    /// Client certificates.
    ClientCertificates,
    /// Checks of tokens and rights.
    Authorization,
}

impl Lack {
    fn as_str(self) -> &'static str {
        match self {
            Lack::Tls => "tls",
            Lack::ClientCertificates => "client_certificates",
            Lack::Authorization => "authorization",
        }
    }
}

/// A call of the cloud provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudCall {
    /// AssignIP
    Assign,
    /// UnAssignIP
    Unassign,
}

impl CloudCall {
    /// The call as texts and labels name it.
    pub fn as_str(self) -> &'static str {
        match self {
            CloudCall::Assign => "assign",
            CloudCall::Unassign => "unassign",
        }
    }
}

/// What the ledger knows at the moment of a scrape.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The ledger's counters.
    pub stats: Stats,
    /// The configuration in force; its pools are parallel to `stats.pools`.
    pub topology: Option<Arc<Topology>>,
}

/// All that is counted. Cheap to call from anywhere.
pub struct Metrics {
    registry: Registry,
    schedule_latency: Family<Labels, Histogram, Latency>,
    cloud_latency: Family<Labels, Histogram, Latency>,
    cloud_failures: Family<Labels, Counter>,
    filters: Family<Labels, Counter>,
    binds: Family<Labels, Counter>,
    writes: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    watch_restarts: Family<Labels, Counter>,
    turned_away: Family<Labels, Counter>,
    unprotected: Family<Labels, Gauge>,
    tls_reloads: Family<Labels, Counter>,
    tls_expiry: Gauge,
    lease_transitions: Family<Labels, Counter>,
    forwarded: Family<Labels, Counter>,
    wakes: Counter,
    refused_configs: Counter,
    leader: AtomicI64,
    odd_objects: AtomicI64,
    queue: Mutex<(usize, Option<Instant>)>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that start at zero.
    pub fn new() -> Self {
        let latency = || Family::new_with_constructor(Latency);
        let mut metrics = Metrics {
            registry: Registry::default(),
            schedule_latency: latency(),
            cloud_latency: latency(),
            cloud_failures: Family::default(),
            filters: Family::default(),
            binds: Family::default(),
            writes: Family::default(),
            retries: Family::default(),
            watch_restarts: Family::default(),
            turned_away: Family::default(),
            unprotected: Family::default(),
            tls_reloads: Family::default(),
            tls_expiry: Gauge::default(),
            lease_transitions: Family::default(),
            forwarded: Family::default(),
            wakes: Counter::default(),
            refused_configs: Counter::default(),
            leader: AtomicI64::new(0),
            odd_objects: AtomicI64::new(0),
            queue: Mutex::default(),
        };
        let registry = &mut metrics.registry;
        register(registry, &describe::SCHEDULE_LATENCY, metrics.schedule_latency.clone());
        register(registry, &describe::CLOUD_LATENCY, metrics.cloud_latency.clone());
        register(registry, &describe::CLOUD_FAILURES, metrics.cloud_failures.clone());
        register(registry, &describe::FILTERS, metrics.filters.clone());
        register(registry, &describe::BINDS, metrics.binds.clone());
        register(registry, &describe::WRITES, metrics.writes.clone());
        register(registry, &describe::RETRIES, metrics.retries.clone());
        register(registry, &describe::WATCH_RESTARTS, metrics.watch_restarts.clone());
        register(registry, &describe::TURNED_AWAY, metrics.turned_away.clone());
        register(registry, &describe::UNPROTECTED, metrics.unprotected.clone());
        register(registry, &describe::TLS_RELOADS, metrics.tls_reloads.clone());
        register(registry, &describe::TLS_EXPIRY, metrics.tls_expiry.clone());
        register(registry, &describe::LEASE_TRANSITIONS, metrics.lease_transitions.clone());
        register(registry, &describe::FORWARDED, metrics.forwarded.clone());
        register(registry, &describe::WAKES, metrics.wakes.clone());
        register(registry, &describe::REFUSED_CONFIGS, metrics.refused_configs.clone());
        metrics
    }

    /// A filter call was answered. Latency counts where a decision was made, as in the original.
    pub fn filter_done(&self, result: FilterResult, took: Duration) {
        self.filters.get_or_create(&labels(&describe::FILTERS, [result.as_str()])).inc();
        if result != FilterResult::Error {
            let labels = labels(&describe::SCHEDULE_LATENCY, ["filter"]);
            self.schedule_latency.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// A bind call was answered. Latency counts for pods that were bound, as in the original.
    pub fn bind_done(&self, result: BindResult, took: Duration) {
        self.binds.get_or_create(&labels(&describe::BINDS, [result.as_str()])).inc();
        if result == BindResult::Bound {
            let labels = labels(&describe::SCHEDULE_LATENCY, ["bind"]);
            self.schedule_latency.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// A call of the cloud provider ended.
    pub fn cloud_done(&self, call: CloudCall, took: Duration, success: bool) {
        let latency = labels(&describe::CLOUD_LATENCY, [call.as_str()]);
        self.cloud_latency.get_or_create(&latency).observe(took.as_secs_f64());
        if !success {
            self.cloud_failures.get_or_create(&labels(&describe::CLOUD_FAILURES, [call.as_str()])).inc();
        }
    }

    /// A write to the API server ended. `verb`, `resource` and `result` are lower case words such as `create`,
    /// `floatingips` and `ok`.
    pub fn api_write(&self, verb: &'static str, resource: &'static str, result: &'static str) {
        self.writes.get_or_create(&labels(&describe::WRITES, [verb, resource, result])).inc();
    }

    /// A write to the API server is tried again.
    pub fn api_retry(&self, verb: &'static str, resource: &'static str) {
        self.retries.get_or_create(&labels(&describe::RETRIES, [verb, resource])).inc();
    }

    /// The writer's queue changed: how long it is now and since when the first in it waits.
    pub fn writer_queue(&self, length: usize, oldest: Option<Instant>) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = (length, oldest);
    }

    /// A connection or a request was turned away.
    pub fn turned_away(&self, port: Port, why: Turned) {
        self.turned_away.get_or_create(&labels(&describe::TURNED_AWAY, [port.as_str(), why.as_str()])).inc();
    }

    /// Whether a port lacks a protection.
    pub fn unprotected(&self, port: Port, lack: Lack, lacks: bool) {
        let labels = labels(&describe::UNPROTECTED, [port.as_str(), lack.as_str()]);
        self.unprotected.get_or_create(&labels).set(i64::from(lacks));
    }

    /// Changed certificate files were read; they came into force or were refused.
    pub fn tls_reloaded(&self, success: bool) {
        let result = if success { "ok" } else { "refused" };
        self.tls_reloads.get_or_create(&labels(&describe::TLS_RELOADS, [result])).inc();
    }

    /// When the certificate in use expires, in seconds since 1970.
    pub fn tls_expiry(&self, seconds: i64) {
        self.tls_expiry.set(seconds);
    }

    /// A waiting pod was woken.
    pub fn wake(&self) {
        self.wakes.inc();
    }

    /// This replica became or ceased to be the leader.
    pub fn leader(&self, leads: bool) {
        self.leader.store(i64::from(leads), Ordering::Relaxed);
    }

    /// So many FloatingIP objects have something odd about them.
    pub fn odd_objects(&self, count: usize) {
        self.odd_objects.store(whole(count), Ordering::Relaxed);
    }

    /// The lease was `acquired`, `lost` or `released`.
    pub fn lease_transition(&self, change: &'static str) {
        self.lease_transitions.get_or_create(&labels(&describe::LEASE_TRANSITIONS, [change])).inc();
    }

    /// A call came while another replica led. `result` is `answered`, `failed` or `no_leader`.
    pub fn forwarded(&self, call: &'static str, result: &'static str) {
        self.forwarded.get_or_create(&labels(&describe::FORWARDED, [call, result])).inc();
    }

    /// A configuration was refused.
    pub fn config_refused(&self) {
        self.refused_configs.inc();
    }

    /// A watch had to list again. `resource` is plural and lower case.
    pub fn watch_restart(&self, resource: &str) {
        self.watch_restarts.get_or_create(&labels(&describe::WATCH_RESTARTS, [resource.to_owned()])).inc();
    }

    /// The text of a scrape.
    pub fn encode(&self, format: Format, snapshot: &Snapshot) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode_registry(&mut out, &self.now(snapshot));
        let _ = text::encode_registry(&mut out, &self.registry);
        let _ = text::encode_eof(&mut out);
        exposition::render(format, out)
    }

    /// The gauges of this very moment. They are made anew for every scrape, so that none outlives what it was about.
    fn now(&self, snapshot: &Snapshot) -> Registry {
        let mut registry = Registry::default();
        let stats = &snapshot.stats;
        let series = |description: &'static Description, series: Vec<(Vec<String>, i64)>| {
            let family = Family::<Labels, Gauge>::default();
            for (values, value) in series {
                family.get_or_create(&labels(description, values)).set(value);
            }
            family
        };

        let mut pools = Vec::new();
        for (pool, &(allocated, total)) in snapshot.topology.iter().flat_map(|t| t.pools()).zip(&stats.pools) {
            let subnet = pool.network.to_string();
            let first = pool.ranges.first().map(|range| range.first().to_string()).unwrap_or_default();
            pools.push((vec!["allocated".to_owned(), subnet.clone(), first.clone()], whole(allocated)));
            pools.push((vec!["total".to_owned(), subnet, first], whole(total)));
        }
        register(&mut registry, &describe::IP_COUNTER, series(&describe::IP_COUNTER, pools));

        let states = [State::Bound, State::Reserved, State::Quarantined, State::Admin];
        let states = states.into_iter().zip(stats.states);
        let states = states.map(|(state, count)| (vec![format!("{state:?}").to_lowercase()], whole(count)));
        register(&mut registry, &describe::ADDRESSES, series(&describe::ADDRESSES, states.collect()));
        let waiting = stats.waiting.iter().map(|(reason, pods)| (vec![reason.as_str().to_owned()], whole(*pods)));
        register(&mut registry, &describe::WAITING, series(&describe::WAITING, waiting.collect()));

        let (queued, oldest) = *self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for (description, value) in [
            (&describe::ORPHANED, whole(stats.orphaned)),
            (&describe::DISPUTED, whole(stats.disputed)),
            (&describe::ODD, self.odd_objects.load(Ordering::Relaxed)),
            (&describe::HOLDS, whole(stats.holds)),
            (&describe::PENDING, whole(stats.pending)),
            (&describe::CONFIG_GENERATION, whole(stats.generation)),
            (&describe::QUEUE_LENGTH, whole(queued)),
            (&describe::LEADER, self.leader.load(Ordering::Relaxed)),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(value);
            register(&mut registry, description, gauge);
        }
        let age = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        age.set(oldest.map_or(0.0, |since| since.elapsed().as_secs_f64()));
        register(&mut registry, &describe::QUEUE_AGE, age);

        let version = vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1)];
        register(&mut registry, &describe::BUILD_INFO, series(&describe::BUILD_INFO, version));
        process::register(&mut registry);
        registry
    }
}

fn register(registry: &mut Registry, description: &Description, metric: impl Metric) {
    // prometheus-client adds the suffix of counters and the full stop of the help itself.
    let name = description.name.strip_suffix("_total").unwrap_or(description.name);
    registry.register(name, description.help, metric);
}

/// Pairs the label names of a metric with values.
fn labels<V: Into<Cow<'static, str>>>(description: &Description, values: impl IntoIterator<Item = V>) -> Labels {
    let labels: Labels = description.labels.iter().copied().zip(values.into_iter().map(Into::into)).collect();
    debug_assert_eq!(labels.len(), description.labels.len(), "{} needs a value for each label", description.name);
    labels
}

/// A count as a gauge holds it.
fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
