//! The API over the ledger itself, whose writes go to a store that always obeys.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::Router;
use futures::future::{BoxFuture, ready};
use galaxy_api::Pool;
use galaxy_core::{
    Addr, IpRange, PoolConfig, ReleasePolicy, Topology,
    ledger::{
        AddressInfo, Ledger, ObjectRef, Op, Outcome, OwnerQuery, Phase, PodRef, PodView, PoolStatus, PoolView, Record,
        ReleaseRequest, ReleaseStep, Settings, State, Stored, Time, Uid, WorkloadId, WorkloadView, Write,
    },
};
use galaxy_ipam::{
    http::{self, Backend},
    metrics::{Metrics, Snapshot},
};
use galaxy_sandbox::apiserver::{Options, Server};
use kube::{Api, ResourceExt, api::PostParams};
use serde_json::json;
use tokio::sync::watch;

use crate::{Answer, send, shelf::addr};

struct Inside {
    ledger: Ledger,
    objects: BTreeMap<Addr, u64>,
    /// Writes wait while this is set.
    slow: bool,
    writes: VecDeque<Write>,
    version: u64,
}

/// A ledger and its store.
struct Desk {
    inside: Mutex<Inside>,
    settled: watch::Sender<u64>,
}

const NOW: Time = Time(1_709_625_612_000_000);

impl Desk {
    /// A leader with addresses 10.0.0.10 to 10.0.0.19, and these objects.
    fn new(records: Vec<Record>) -> Self {
        let pool = PoolConfig {
            node_subnets: vec!["10.1.0.0/16".parse().unwrap()],
            ranges: vec!["10.0.0.10~10.0.0.19".parse::<IpRange>().unwrap()],
            subnet: "10.0.0.0/24".parse().unwrap(),
            gateway: "10.0.0.1".parse().unwrap(),
            vlan: 0,
        };
        let (topology, _) = Topology::build(vec![pool]).unwrap();
        let mut ledger = Ledger::new(Settings::default());
        ledger.configure(NOW, topology);
        ledger.set_active(NOW, true);
        let stored = |record: Record| Stored {
            object: ObjectRef { uid: format!("object-{}", record.addr).into(), version: 1 },
            record,
        };
        let objects = records.iter().map(|record| (record.addr, 1)).collect();
        ledger.load(NOW, records.into_iter().map(stored).collect());
        ledger.workload_observed(NOW, stateful_set());
        ledger.loaded(NOW);
        let inside = Inside { ledger, objects, slow: false, writes: VecDeque::new(), version: 1 };
        let desk = Desk { inside: Mutex::new(inside), settled: watch::Sender::new(0) };
        desk.with(|_| ());
        desk
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// Calls the ledger and carries out what it asks for.
    fn with<T>(&self, call: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut inside = self.lock();
        let result = call(&mut inside.ledger);
        loop {
            let outbox = inside.ledger.drain();
            inside.writes.extend(outbox.writes);
            if inside.slow {
                break;
            }
            let Some(write) = inside.writes.pop_front() else { break };
            inside.version += 1;
            let version = inside.version;
            let object = |addr: Addr| ObjectRef { uid: format!("object-{addr}").into(), version };
            let outcome = match write.op {
                Op::Create(record) if !inside.objects.contains_key(&record.addr) => {
                    inside.objects.insert(record.addr, version);
                    Outcome::Stored(object(record.addr))
                }
                Op::Update(at, record) if inside.objects.get(&record.addr) == Some(&at.version) => {
                    inside.objects.insert(record.addr, version);
                    Outcome::Stored(object(record.addr))
                }
                Op::Delete(at) if inside.objects.get(&write.addr) == Some(&at.version) => {
                    inside.objects.remove(&write.addr);
                    Outcome::Gone
                }
                op => panic!("unexpected for {}: {op:?}", write.addr),
            };
            inside.ledger.outcome(NOW, write.addr, write.ticket, outcome);
        }
        inside.ledger.check_invariants();
        drop(inside);
        self.settled.send_modify(|count| *count += 1);
        result
    }
}

impl Backend for Desk {
    fn ready(&self) -> Result<(), String> {
        self.lock().ledger.readiness().map_err(str::to_owned)
    }

    fn synced(&self) -> Result<(), String> {
        Ok(())
    }

    fn addresses_from(&self, first: Addr, take: usize) -> Vec<AddressInfo> {
        self.lock().ledger.addresses_from(first).take(take).collect()
    }

    fn addresses_of(&self, owner: &OwnerQuery<'_>) -> Option<Vec<Addr>> {
        self.lock().ledger.addresses_of(owner)
    }

    fn describe(&self, addrs: &[Addr]) -> Vec<AddressInfo> {
        self.lock().ledger.describe_all(addrs)
    }

    fn page(&self, skip: u128, take: usize) -> (u128, Vec<AddressInfo>) {
        self.lock().ledger.page(skip, take)
    }

    fn release(&self, request: &ReleaseRequest) -> ReleaseStep {
        self.with(|ledger| ledger.release(NOW, request))
    }

    fn release_poll(&self, addr: Addr) -> ReleaseStep {
        self.with(|ledger| ledger.release_poll(NOW, addr))
    }

    fn pool_status(&self, name: &str) -> PoolStatus {
        self.lock().ledger.pool_status(name)
    }

    fn pool_written(&self, pool: &Pool) {
        let view = PoolView {
            uid: pool.uid().unwrap().into(),
            namespace: pool.namespace().unwrap().into(),
            name: pool.name_any().into(),
            version: pool.resource_version().unwrap().parse().unwrap(),
            created: NOW,
            size: pool.spec.limit().ok(),
            pre_allocate: pool.spec.pre_allocate_ip,
        };
        self.with(|ledger| ledger.named_pool_observed(NOW, view));
    }

    fn pool_deleted(&self, uid: &Uid) {
        self.with(|ledger| ledger.named_pool_gone(NOW, uid));
    }

    fn settled(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Here every pod that the ledger does not know is gone.
    fn prove<'a>(&'a self, pod: &'a PodRef) -> BoxFuture<'a, Result<(), String>> {
        self.with(|ledger| ledger.pod_gone(NOW, &pod.uid));
        Box::pin(ready(Ok(())))
    }

    fn snapshot(&self) -> Snapshot {
        let inside = self.lock();
        Snapshot { stats: inside.ledger.stats(), topology: inside.ledger.topology().cloned() }
    }
}

fn stateful_set() -> WorkloadView {
    WorkloadView {
        id: WorkloadId::stateful_set("shop", "cart"),
        uid: "cart".into(),
        version: 1,
        replicas: Some(9),
        ordinal_start: 0,
        surges_first: false,
        max_surge: 0,
        spare_addresses: None,
        replace_on_node_failure: false,
    }
}

/// The address of pod shop/cart-N, whose uid is `pod-N`.
fn of_pod(ip: &str, n: u32) -> Record {
    Record {
        addr: addr(ip),
        state: State::Bound,
        workload: Some(WorkloadId::stateful_set("shop", "cart")),
        workload_uid: Some("cart".into()),
        pod_name: Some(format!("cart-{n}").into()),
        pod_uid: Some(format!("pod-{n}").into()),
        pool: None,
        node: Some("worker-1".into()),
        policy: ReleasePolicy::Never,
        spare: false,
        released_at: None,
        updated_at: NOW,
        key: None,
    }
}

/// The same, kept for the pod's name.
fn kept(ip: &str, n: u32) -> Record {
    Record { state: State::Reserved, pod_uid: None, node: None, released_at: Some(NOW), ..of_pod(ip, n) }
}

fn running(n: u32) -> PodView {
    PodView {
        uid: format!("pod-{n}").into(),
        namespace: "shop".into(),
        name: format!("cart-{n}").into(),
        version: 2,
        created: NOW,
        policy: ReleasePolicy::Never,
        pool: None,
        ranges: Ok(Vec::new()),
        controller: None,
        node: Some("worker-1".into()),
        phase: Phase::Running,
        deletion_deadline: None,
        priority: 0,
        unschedulable: None,
        refused_by_us: false,
        ips: Vec::new(),
        annotated: Vec::new(),
        condition: None,
    }
}

struct Site {
    desk: Arc<Desk>,
    router: Router,
    // Keeps the API server running.
    _kubernetes: Server,
}

impl Site {
    async fn new(records: Vec<Record>) -> Self {
        let desk = Arc::new(Desk::new(records));
        let kubernetes = Server::start(Options::default()).await.unwrap();
        let crds = Api::all(kubernetes.client("admin"));
        for crd in galaxy_api::crd::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        let client = kubernetes.client("galaxy-ipam");
        let router = http::router(desk.clone(), client, Arc::new(Metrics::new()), crate::open());
        Site { desk, router, _kubernetes: kubernetes }
    }

    async fn get(&self, uri: &str) -> Answer {
        send(&self.router, axum::http::Request::get(uri).body(axum::body::Body::empty()).unwrap()).await
    }

    async fn post(&self, uri: &str, body: String) -> Answer {
        let request = axum::http::Request::post(uri).header("content-type", "application/json");
        send(&self.router, request.body(body.into()).unwrap()).await
    }
}

#[tokio::test]
async fn kept_addresses_are_released_and_free_afterwards() {
    let pooled = Record {
        pool: Some("blue".into()),
        workload: None,
        workload_uid: None,
        pod_name: None,
        ..kept("10.0.0.12", 0)
    };
    let site = Site::new(vec![kept("10.0.0.10", 1), kept("10.0.0.11", 2), pooled, kept("10.9.9.9", 3)]).await;
    let list = site.get("/v1/ip?appName=cart").await.json();
    assert_eq!(list["totalElements"], 3);
    assert_eq!(list["content"][2]["note"], "Orphaned");
    let pool = site.get("/v1/ip?poolName=blue").await.json();
    let items = [list["content"].as_array().unwrap().clone(), pool["content"].as_array().unwrap().clone()].concat();
    assert!(items.iter().all(|item| item["releasable"] == true), "{items:?}");
    let answer = site.post("/v1/ip", json!({"ips": items}).to_string()).await;
    assert_eq!(answer.json(), json!({"code": 200, "message": ""}));
    assert!(site.desk.lock().objects.is_empty());
    let list = site.get("/v1/ip?size=99").await.json();
    assert_eq!(list["totalElements"], 10, "the configured ones remain, free: {list}");
    // The answer to a lost answer is the same.
    assert_eq!(site.post("/v1/ip", json!({"ips": [items[0]]}).to_string()).await.status, 200);
}

#[tokio::test]
async fn what_must_not_be_released_is_refused_with_a_reason() {
    let admin = Record {
        state: State::Admin,
        workload: None,
        workload_uid: None,
        pod_name: None,
        pod_uid: None,
        key: Some("pool__reserved-for-node_".into()),
        ..of_pod("10.0.0.13", 0)
    };
    let site = Site::new(vec![of_pod("10.0.0.10", 1), kept("10.0.0.11", 2), admin]).await;
    site.desk.with(|ledger| ledger.pod_observed(NOW, running(1)));
    let item = |ip: &str, pod: &str| json!({"ip": ip, "namespace": "shop", "appName": "cart", "podName": pod});
    for (item, reason) in [
        (item("10.0.0.10", "cart-1"), "10.0.0.10: pod shop_cart-1 (uid pod-1) is running"),
        (item("10.0.0.11", "cart-7"), "10.0.0.11 is allocated to another pod sts_shop_cart_cart-2"),
        (json!({"ip": "10.0.0.13", "poolName": "reserved-for-node"}), "10.0.0.13 is reserved by an administrator"),
        (item("192.168.0.1", "cart-1"), "192.168.0.1 is in no configured pool"),
    ] {
        let answer = site.post("/v1/ip", json!({"ips": [item]}).to_string()).await;
        assert_eq!(answer.status, 202, "{item}: {answer:?}");
        let answer = answer.json();
        assert_eq!(answer["unreleased"], json!([item["ip"]]));
        let given = answer["reasons"][0].as_str().unwrap();
        assert!(given.starts_with(reason), "{given}");
    }
    assert_eq!(site.desk.lock().objects.len(), 3);
}

#[tokio::test]
async fn the_address_of_a_pod_nobody_knows_is_released_once_the_pod_is_proved_gone() {
    let site = Site::new(vec![of_pod("10.0.0.10", 1)]).await;
    let item = json!({"ip": "10.0.0.10", "namespace": "shop", "appName": "cart", "podName": "cart-1"});
    let answer = site.post("/v1/ip", json!({"ips": [item]}).to_string()).await;
    assert_eq!(answer.json(), json!({"code": 200, "message": ""}));
    assert!(site.desk.lock().objects.is_empty());
}

#[tokio::test]
async fn the_answer_comes_when_the_object_is_gone() {
    let site = Arc::new(Site::new(vec![kept("10.0.0.10", 1)]).await);
    site.desk.lock().slow = true;
    let item = json!({"ip": "10.0.0.10", "namespace": "shop", "appName": "cart", "podName": "cart-1"});
    let request = tokio::spawn({
        let site = site.clone();
        async move { site.post("/v1/ip", json!({"ips": [item]}).to_string()).await.status }
    });
    while site.desk.lock().writes.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!request.is_finished());
    site.desk.lock().slow = false;
    site.desk.with(|_| ());
    assert_eq!(request.await.unwrap(), 200);
    assert!(site.desk.lock().objects.is_empty());
}

#[tokio::test]
async fn pools_are_filled_up_to_their_size_and_never_shrunk() {
    let site = Site::new(vec![kept("10.0.0.10", 1)]).await;
    for (size, code, real) in [(4, 200, 4), (2, 200, 4), (9, 200, 9), (12, 202, 9), (9, 200, 9)] {
        let body = json!({"name": "blue", "size": size, "preAllocateIP": true}).to_string();
        let message = if code == 202 { "No enough IPs" } else { "" };
        let answer = site.post("/v1/pool", body).await;
        assert_eq!(answer.json(), json!({"code": code, "message": message, "realPoolSize": real}), "size {size}");
        let list = site.get("/v1/ip?poolName=blue&size=99").await.json();
        assert_eq!(list["totalElements"], real, "{list}");
    }
}

#[tokio::test]
async fn a_scrape_shows_the_ledger() {
    let site = Site::new(vec![kept("10.0.0.10", 1), kept("10.9.9.9", 3)]).await;
    let scrape = site.get("/metrics").await.text;
    for line in [
        "galaxy_ip_counter{type=\"allocated\",subnet=\"10.0.0.0/24\",first_ip=\"10.0.0.10\"} 1",
        "galaxy_ip_counter{type=\"total\",subnet=\"10.0.0.0/24\",first_ip=\"10.0.0.10\"} 10",
        "galaxy_ipam_addresses{state=\"reserved\"} 2",
        "galaxy_ipam_orphaned_addresses 1",
        "galaxy_ipam_config_generation 1",
    ] {
        assert!(scrape.lines().any(|found| found == line), "{line} is not in\n{scrape}");
    }
}
