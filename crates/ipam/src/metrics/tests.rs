use std::collections::{BTreeMap, BTreeSet};

use galaxy_core::{PoolConfig, ledger::Reason};

use super::*;

fn snapshot() -> Snapshot {
    let pool = |gateway: &str, ranges: &[&str]| PoolConfig {
        node_subnets: vec!["10.0.0.0/16".parse().unwrap()],
        ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        subnet: format!("{gateway}/24").parse().unwrap(),
        gateway: gateway.parse().unwrap(),
        vlan: 0,
    };
    let pools = vec![pool("10.20.5.1", &["10.20.5.10~10.20.5.19", "10.20.5.30"]), pool("10.20.6.1", &[])];
    let (topology, _) = Topology::build(pools).unwrap();
    let stats = Stats {
        pools: vec![(3, 11), (0, 0)],
        holds: 2,
        waiting: vec![(Reason::NoAddress, 4), (Reason::LimitReached, 1)],
        states: [5, 6, 7, 8],
        orphaned: 1,
        disputed: 2,
        pending: 3,
        generation: 9,
    };
    Snapshot { stats, topology: Some(Arc::new(topology)) }
}

/// Metrics on which everything has happened once.
fn busy() -> Metrics {
    let metrics = Metrics::new();
    metrics.filter_done(FilterResult::Passed, Duration::from_millis(150));
    metrics.filter_done(FilterResult::Error, Duration::from_millis(150));
    metrics.bind_done(BindResult::Bound, Duration::from_secs(7));
    metrics.bind_done(BindResult::Refused, Duration::from_millis(1));
    metrics.cloud_done(CloudCall::Assign, Duration::from_millis(400), true);
    metrics.cloud_done(CloudCall::Unassign, Duration::from_secs(1), false);
    metrics.api_write("create", "floatingips", "ok");
    metrics.api_retry("create", "floatingips");
    metrics.writer_queue(3, Instant::now().checked_sub(Duration::from_secs(2)));
    metrics.wake();
    metrics.turned_away(Port::Api, Turned::Forbidden);
    metrics.unprotected(Port::Extender, Lack::Tls, true);
    metrics.tls_reloaded(false);
    metrics.tls_expiry(2_000_000_000);
    metrics.lease_transition("acquired");
    metrics.forwarded("bind", "answered");
    metrics.leader(true);
    metrics.config_refused();
    metrics.watch_restart("pods");
    metrics
}

#[test]
fn a_scrape_has_the_series_of_the_original_and_more() {
    let scrape = busy().encode(Format::Text, &snapshot());
    for line in [
        "# TYPE galaxy_ip_counter gauge",
        "galaxy_ip_counter{type=\"allocated\",subnet=\"10.20.5.0/24\",first_ip=\"10.20.5.10\"} 3",
        "galaxy_ip_counter{type=\"total\",subnet=\"10.20.5.0/24\",first_ip=\"10.20.5.10\"} 11",
        "galaxy_ip_counter{type=\"total\",subnet=\"10.20.6.0/24\",first_ip=\"\"} 0",
        "# TYPE galaxy_schedule_latency histogram",
        "galaxy_schedule_latency_bucket{le=\"0.1\",func=\"filter\"} 0",
        "galaxy_schedule_latency_bucket{le=\"0.2\",func=\"filter\"} 1",
        "galaxy_schedule_latency_bucket{le=\"6.4\",func=\"bind\"} 0",
        "galaxy_schedule_latency_bucket{le=\"+Inf\",func=\"bind\"} 1",
        "galaxy_schedule_latency_count{func=\"filter\"} 1",
        "galaxy_cloud_provider_latency_sum{func=\"assign\"} 0.4",
        "galaxy_cloud_provider_latency_count{func=\"unassign\"} 1",
        "galaxy_ipam_cloud_provider_failures_total{func=\"unassign\"} 1",
        "galaxy_ipam_waiting_pods{reason=\"NoAddress\"} 4",
        "galaxy_ipam_addresses{state=\"quarantined\"} 7",
        "galaxy_ipam_api_writes_total{verb=\"create\",resource=\"floatingips\",result=\"ok\"} 1",
        "# TYPE galaxy_ipam_api_writes_total counter",
        "galaxy_ipam_holds 2",
        "galaxy_ipam_leader 1",
        "galaxy_ipam_config_generation 9",
        "galaxy_ipam_config_refused_total 1",
        "galaxy_ipam_writer_queue_length 3",
        "galaxy_ipam_wakes_total 1",
    ] {
        assert!(scrape.lines().any(|found| found == line), "{line} is not in\n{scrape}");
    }
    let age = scrape.lines().find_map(|line| line.strip_prefix("galaxy_ipam_writer_queue_oldest_seconds "));
    assert!(age.unwrap().parse::<f64>().unwrap() >= 2.0);
}

/// Name, type and label names of every family in a scrape of the text format.
fn families(scrape: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let before = families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            assert_eq!(before, None, "{name} is announced twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let family = family.filter(|family| families.contains_key(*family)).unwrap_or(name);
            let (_, labels) = families.get_mut(family).unwrap_or_else(|| panic!("{name} has no TYPE line"));
            let inside = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            labels.extend(inside.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())));
        }
    }
    families
}

#[test]
fn the_description_lists_exactly_what_a_scrape_shows() {
    let scrape = busy().encode(Format::Text, &snapshot());
    let found = families(&scrape);
    let described: BTreeMap<_, _> = ALL
        .iter()
        .map(|metric| {
            let mut labels: BTreeSet<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
            if metric.kind == Kind::Histogram {
                labels.insert("le".to_owned());
            }
            (metric.name.to_owned(), (format!("{:?}", metric.kind).to_lowercase(), labels))
        })
        .collect();
    assert_eq!(found, described);
    for metric in ALL {
        let help = format!("# HELP {} {}.", metric.name, metric.help);
        assert!(scrape.lines().any(|line| line == help), "{help}");
        assert!(markdown().contains(&format!("| `{}` |", metric.name)));
    }
}

#[test]
fn an_idle_start_is_a_valid_scrape() {
    let scrape = Metrics::new().encode(Format::Text, &Snapshot::default());
    families(&scrape);
    assert!(scrape.contains("galaxy_ipam_leader 0\n") && !scrape.contains("# EOF"));
}

#[test]
fn formats() {
    let metrics = busy();
    let open = metrics.encode(Format::OpenMetrics, &snapshot());
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE galaxy_ipam_wakes counter"));
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    for (accept, format) in [
        (None, Format::Text),
        (Some("*/*"), Format::Text),
        (Some("text/plain;version=0.0.4;q=0.3"), Format::Text),
        (Some(prometheus), Format::OpenMetrics),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept:?}");
    }
}
