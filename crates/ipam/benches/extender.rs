//! Calls of the scheduler with 5,000 nodes, by name and as whole objects. `cargo xtask bench`
//!
//! Targets: names at most 2 ms (99th percentile); whole nodes at most 1.5 times what it takes only to parse the body.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::{Bytes, HttpBody};
use axum::http::StatusCode;
use divan::Bencher;
use galaxy_core::ledger::{NodeView, Settings};
use galaxy_core::topology::{PoolConfig, Topology};
use galaxy_core::{Addr, IpRange};
use galaxy_ipam::clock::SystemClock;
use galaxy_ipam::engine::{Engine, Outlets};
use galaxy_ipam::extender::decide_filter;
use galaxy_ipam::metrics::Metrics;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Deserialize;
use serde_json::{Value, json};

const NODES: usize = 5_000;
const POOLS: usize = 20;
const SAMPLES: usize = 200;
/// How long the samples of a case may take together: slow cases get fewer.
const BUDGET: Duration = Duration::from_secs(6);

/// A service with a configuration and nodes, and what a scheduler sends it.
struct Scene {
    engine: Arc<Engine>,
    _outlets: Outlets,
    names: Bytes,
    nodes: Bytes,
}

fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let (engine, outlets) =
            Engine::new(Settings::default(), Arc::new(SystemClock::start()), Arc::new(Metrics::new()));
        engine.with(|ledger, now| {
            ledger.configure(now, topology());
            for n in 0..NODES {
                let ips = vec![node_ip(n).parse().expect("an address")];
                let name = node_name(n).as_str().into();
                ledger.node_observed(now, NodeView { name, ips, ready: true, out_of_service: false });
            }
            ledger.load(now, Vec::new());
            ledger.loaded(now);
            ledger.set_active(now, true);
        });
        let names: Vec<String> = (0..NODES).map(node_name).collect();
        let nodes: Vec<Value> = (0..NODES).map(node).collect();
        let body = |nodes: Value, names: Value| {
            Bytes::from(json!({"Pod": pod(), "Nodes": nodes, "NodeNames": names}).to_string())
        };
        Scene {
            engine,
            _outlets: outlets,
            names: body(Value::Null, json!(names)),
            nodes: body(json!({"metadata": {}, "items": nodes}), Value::Null),
        }
    })
}

fn topology() -> Topology {
    let addr = |text: String| Addr::from(text.parse::<std::net::IpAddr>().expect("an address"));
    let pools = (0..POOLS).map(|pool| PoolConfig {
        node_subnets: vec![format!("172.{}.0.0/16", 16 + pool).parse().expect("a subnet")],
        ranges: vec![
            IpRange::new(addr(format!("10.{pool}.0.2")), addr(format!("10.{pool}.199.255"))).expect("ascending"),
        ],
        subnet: format!("10.{pool}.0.0/16").parse().expect("a subnet"),
        gateway: format!("10.{pool}.255.254").parse().expect("an address"),
        vlan: 0,
    });
    Topology::build(pools.collect()).expect("a valid configuration").0
}

fn node_name(n: usize) -> String {
    format!("ip-172-{}-{}-{}.eu-central-1.compute.internal", 16 + n % POOLS, n / POOLS / 250, n / POOLS % 250 + 1)
}

fn node_ip(n: usize) -> String {
    format!("172.{}.{}.{}", 16 + n % POOLS, n / POOLS / 250, n / POOLS % 250 + 1)
}

/// A node as kubelet keeps it, with the fifty images that it reports: some 12 KB.
fn node(n: usize) -> Value {
    let images = (0..50).map(|image| {
        let name = format!("registry.example.test/platform/service-{image:02}");
        json!({
            "names": [format!("{name}@sha256:{:064x}", image * 7 + n), format!("{name}:v1.{image}.{}", n % 10)],
            "sizeBytes": 50_000_000 + image,
        })
    });
    let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map(|kind| {
        json!({
            "type": kind, "status": if kind == "Ready" { "True" } else { "False" }, "reason": format!("KubeletHas{kind}"),
            "message": "kubelet says how it is", "lastHeartbeatTime": "2026-11-23T12:04:15Z", "lastTransitionTime": "2026-11-20T12:04:15Z",
        })
    });
    let room = json!({"cpu": "32", "memory": "263856792Ki", "pods": "110", "ephemeral-storage": "203056560Ki", "tke.cloud.tencent.com/eni-ip": "100"});
    json!({
        "metadata": {
            "name": node_name(n), "uid": format!("772567b5-f2c0-42b9-93ca-{n:012}"), "resourceVersion": (n * 31).to_string(),
            "creationTimestamp": "2026-11-23T12:04:15Z",
            "labels": {
                "beta.kubernetes.io/arch": "amd64", "kubernetes.io/hostname": node_name(n), "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "m7i.8xlarge", "topology.kubernetes.io/region": "eu-central-1",
                "topology.kubernetes.io/zone": format!("eu-central-1{}", ["a", "b", "c"][n % 3]),
            },
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                "csi.volume.kubernetes.io/nodeid": format!("{{\"csi.example.test\":\"i-{n:017x}\"}}"),
            },
        },
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"], "providerID": format!("cloud:///eu-central-1a/i-{n:017x}")},
        "status": {
            "capacity": room, "allocatable": room, "conditions": conditions, "images": images.collect::<Vec<_>>(),
            "addresses": [{"type": "InternalIP", "address": node_ip(n)}, {"type": "Hostname", "address": node_name(n)}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": "ec2e0ab1f0c34", "systemUUID": "ec2e0ab1-f0c3-4", "bootID": "0d5a3a1c", "kernelVersion": "6.8.0",
                "osImage": "Linux", "containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.37.2",
                "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
            },
        },
    })
}

fn pod() -> Value {
    json!({
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "b6f8a2c4-0000-4000-8000-000000000001", "resourceVersion": "9"},
        "spec": {"containers": [{"name": "web", "resources": {"requests": {"tke.cloud.tencent.com/eni-ip": "1"}}}]},
        "status": {"phase": "Pending"},
    })
}

/// Filters, and sees that all nodes pass.
fn filter(body: &Bytes) {
    let response = decide_filter(&scene().engine, body, Instant::now());
    assert_eq!(response.status(), StatusCode::OK);
    let answer = response.body().size_hint().exact().unwrap_or_default();
    assert!(answer * 2 > body.len() as u64, "all nodes pass");
}

/// The body with the client library's types, as a handler in the plainest style would have it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Plain {
    #[expect(dead_code, reason = "only read")]
    pod: Pod,
    nodes: Items<Node>,
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

/// The body with types that have only what is needed: nothing that gives a type can be faster.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Slim<'a> {
    #[serde(borrow)]
    nodes: Items<SlimNode<'a>>,
}

#[derive(Deserialize)]
struct SlimNode<'a> {
    #[serde(borrow)]
    #[expect(dead_code, reason = "only read")]
    metadata: SlimMeta<'a>,
    #[expect(dead_code, reason = "only read")]
    status: SlimStatus<'a>,
}

#[derive(Deserialize)]
struct SlimMeta<'a> {
    #[expect(dead_code, reason = "only read")]
    name: &'a str,
}

#[derive(Deserialize)]
struct SlimStatus<'a> {
    #[serde(borrow)]
    #[expect(dead_code, reason = "only read")]
    addresses: Vec<SlimAddress<'a>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct SlimAddress<'a> {
    r#type: &'a str,
    address: &'a str,
}

fn decode_plain(body: &Bytes) {
    let read: Plain = serde_json::from_slice(body).expect("a request");
    assert_eq!(divan::black_box(read).nodes.items.len(), NODES);
}

fn decode_slim(body: &Bytes) {
    let read: Slim<'_> = serde_json::from_slice(body).expect("a request");
    assert_eq!(divan::black_box(read).nodes.items.len(), NODES);
}

/// 50th and 99th percentile of each. They take turns, so that they share the machine's fast and slow moments.
fn percentiles<const N: usize>(runs: [&dyn Fn(); N]) -> [(Duration, Duration); N] {
    let began = Instant::now();
    let mut samples = [(); N].map(|()| Vec::with_capacity(SAMPLES));
    for round in 0..SAMPLES {
        if round >= 10 && began.elapsed() >= BUDGET * N as u32 {
            break;
        }
        for (run, samples) in runs.iter().zip(&mut samples) {
            let start = Instant::now();
            run();
            samples.push(start.elapsed());
        }
    }
    samples.map(|mut samples| {
        samples.sort_unstable();
        (samples[samples.len() / 2], samples[samples.len() * 99 / 100])
    })
}

/// The numbers that have targets, in one table.
fn table() {
    let Scene { names, nodes, .. } = scene();
    let verdict = |met: bool| if met { "met" } else { "missed" };
    println!("| filter of 5,000 nodes | body | p50 | p99 | target | |");
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    let row = |what: &str, body: &Bytes, (p50, p99): (Duration, Duration), target: &str, met: &str| {
        println!("| {what:<42} | {:>8} | {p50:>9.1?} | {p99:>9.1?} | {target:>6} | {met:<6} |", body.len());
    };
    let [by_name] = percentiles([&|| filter(names)]);
    row("names", names, by_name, "≤ 2 ms", verdict(by_name.1 <= Duration::from_millis(2)));
    let [plain, slim, whole] = percentiles([&|| decode_plain(nodes), &|| decode_slim(nodes), &|| filter(nodes)]);
    row("only parse, types of the client library", nodes, plain, "", "");
    row("only parse, types with what is needed", nodes, slim, "", "");
    row("whole nodes", nodes, whole, "", "");
    for (what, parse) in [("the client library's types", plain), ("types with what is needed", slim)] {
        let ratio = |whole: Duration, parse: Duration| whole.as_secs_f64() / parse.as_secs_f64();
        let (p50, p99) = (ratio(whole.0, parse.0), ratio(whole.1, parse.1));
        println!("whole nodes ÷ only parsing, {what}: p50 {p50:.2}, p99 {p99:.2} (≤ 1.5: {})", verdict(p99 <= 1.5));
    }
    println!();
}

fn main() {
    // `cargo test` runs benchmarks once, to see that they run; who filters wants to see less.
    if std::env::args().skip(1).all(|arg| arg == "--bench") && std::env::args().len() > 1 {
        table();
    }
    divan::main();
}

#[divan::bench]
fn filter_names(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| filter(&scene().names));
}

#[divan::bench(sample_size = 1, sample_count = 20)]
fn filter_whole_nodes(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| filter(&scene().nodes));
}

#[divan::bench(sample_size = 1, sample_count = 20)]
fn only_parse_with_the_client_librarys_types(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| decode_plain(&scene().nodes));
}

#[divan::bench(sample_size = 1, sample_count = 20)]
fn only_parse_with_what_is_needed(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| decode_slim(&scene().nodes));
}
