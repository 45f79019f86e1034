//! The list of metrics: names, labels and what they mean. Registration and documentation both read it.

use std::fmt::Write;

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// One metric as a scrape shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Name, for counters with `_total`.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// What it means, without a full stop.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $id: Description =
            Description { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*
        /// Every metric, in the order of a scrape.
        pub static ALL: &[&Description] = &[$(&$id),*];
    };
}

metrics! {
    IP_COUNTER = Gauge "galaxy_ip_counter" ["type", "subnet", "first_ip"]
        "Addresses of a configured pool by type: allocated (in use, reserved or kept back) and total (all that can be handed out)";
    ADDRESSES = Gauge "galaxy_ipam_addresses" ["state"]
        "FloatingIP objects by state: bound, reserved, quarantined (the pod vanished with its node) and admin (label reserved)";
    WAITING = Gauge "galaxy_ipam_waiting_pods" ["reason"]
        "Unscheduled pods that wait for an address, by the reason of their last refusal";
    ORPHANED = Gauge "galaxy_ipam_orphaned_addresses" []
        "Addresses that left the configuration while somebody had them; they stay with their owner and are not handed out again";
    DISPUTED = Gauge "galaxy_ipam_disputed_addresses" []
        "Addresses kept back because a running pod's annotation names them and nothing confirms it";
    ODD = Gauge "galaxy_ipam_odd_objects" []
        "FloatingIP objects with a name or members that make no sense; the log names each once, with member and value";
    HOLDS = Gauge "galaxy_ipam_holds" []
        "Pods that passed filter and have not been bound yet, each with a claim on a limit or on a reserved address";
    PENDING = Gauge "galaxy_ipam_pending_addresses" []
        "Addresses with a write, a read-back or a cloud call under way or due";
    CONFIG_GENERATION = Gauge "galaxy_ipam_config_generation" []
        "How many configurations have come into force since the start";
    QUEUE_LENGTH = Gauge "galaxy_ipam_writer_queue_length" []
        "Operations that wait for the writer or are under way";
    LEADER = Gauge "galaxy_ipam_leader" []
        "1 where this replica is the leader, else 0";
    QUEUE_AGE = Gauge "galaxy_ipam_writer_queue_oldest_seconds" []
        "Age of the oldest operation in the writer's queue; 0 when it is empty";
    BUILD_INFO = Gauge "galaxy_ipam_build_info" ["version"]
        "Always 1; the label is the version of galaxy-ipam";
    CPU = Counter "process_cpu_seconds_total" []
        "Processor time used, user and system";
    START_TIME = Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970";
    RESIDENT = Gauge "process_resident_memory_bytes" []
        "Resident memory";
    VIRTUAL = Gauge "process_virtual_memory_bytes" []
        "Virtual memory";
    OPEN_FDS = Gauge "process_open_fds" []
        "Open file descriptors";
    SCHEDULE_LATENCY = Histogram "galaxy_schedule_latency" ["func"]
        "Time to answer the scheduler in seconds, by func: filter and bind";
    CLOUD_LATENCY = Histogram "galaxy_cloud_provider_latency" ["func"]
        "Time that calls of the cloud provider took in seconds, by func: assign and unassign; failed calls count too";
    CLOUD_FAILURES = Counter "galaxy_ipam_cloud_provider_failures_total" ["func"]
        "Calls of the cloud provider that failed, by func: assign and unassign";
    FILTERS = Counter "galaxy_ipam_filter_results_total" ["result"]
        "Answers to filter calls by result: passed (at least one node), refused, error (undecidable now) and unconcerned (the pod wants no address)";
    BINDS = Counter "galaxy_ipam_bind_results_total" ["result"]
        "Answers to bind calls by result: bound, refused and pending (goes on in the background)";
    WRITES = Counter "galaxy_ipam_api_writes_total" ["verb", "resource", "result"]
        "Writes to the API server by verb, resource and result";
    RETRIES = Counter "galaxy_ipam_api_retries_total" ["verb", "resource"]
        "Writes to the API server that were tried again";
    WATCH_RESTARTS = Counter "galaxy_ipam_watch_restarts_total" ["resource"]
        "Watches that had to list their resource again";
    TURNED_AWAY = Counter "galaxy_ipam_turned_away_total" ["port", "reason"]
        "Connections and requests turned away by port (extender, api) and reason: handshake (TLS), unauthenticated, forbidden and unavailable (the API server could not be asked who may)";
    UNPROTECTED = Gauge "galaxy_ipam_unprotected" ["port", "lack"]
        "1 where a port lacks a protection, else 0: tls, client_certificates (extender) and authorization (api)";
    TLS_RELOADS = Counter "galaxy_ipam_tls_reloads_total" ["result"]
        "Changed certificate files by result: ok (in force) and refused (the ones before stay in force)";
    TLS_EXPIRY = Gauge "galaxy_ipam_tls_certificate_expiry_seconds" []
        "When the certificate in use expires, in seconds since 1970; 0 without TLS";
    LEASE_TRANSITIONS = Counter "galaxy_ipam_lease_transitions_total" ["change"]
        "How often this replica acquired, lost and released the leader's lease, by change";
    FORWARDED = Counter "galaxy_ipam_forwarded_calls_total" ["call", "result"]
        "Calls that came to this replica while another led, by call (filter, priority, bind, preempt, api) and result: answered, failed (no answer of the leader) and no_leader (none was known)";
    WAKES = Counter "galaxy_ipam_wakes_total" []
        "Waiting pods that were woken because an address became available";
    REFUSED_CONFIGS = Counter "galaxy_ipam_config_refused_total" []
        "Configurations that were refused; the one before stayed in force";
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The list as a Markdown page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics of galaxy-ipam\n\n\
         Served at `:9041/metrics` in the Prometheus text format, or in OpenMetrics where the scraper asks for it.\n\
         `galaxy_ip_counter`, `galaxy_schedule_latency` and `galaxy_cloud_provider_latency` are those of the original.\n\n\
         | name | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String does not fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help
        );
    }
    page
}
