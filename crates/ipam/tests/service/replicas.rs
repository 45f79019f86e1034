//! Several replicas: who decides when, and that each answers.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use galaxy_api::FloatingIP;
use galaxy_ipam::{
    cli::Options,
    clock::SystemClock,
    service::{self, Running, Setup},
};
use galaxy_sandbox::apiserver::{Action, Gate, Rule, Server};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes};
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::site::{POOLS, Site, eventually, object};

/// Lease duration of the replicas here.
const LEASE: Duration = Duration::from_secs(6);
/// Renew deadline of the replicas here.
const RENEW: Duration = Duration::from_secs(4);
/// What happens at once: long for a busy machine, and yet much less than a lease.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A replica in a runtime of its own with one thread, so that it can be killed and stopped like a process.
pub(crate) struct Replica {
    running: Option<Running>,
    agent: &'static str,
    runtime: Option<Runtime>,
}

impl Replica {
    async fn start(kubernetes: &Server, agent: &'static str) -> Self {
        Self::start_with(kubernetes, agent, &[]).await
    }

    pub(crate) async fn start_with(kubernetes: &Server, agent: &'static str, flags: &[String]) -> Self {
        let mut config = kubernetes.config(agent);
        config.default_retry = false;
        let args = [
            "galaxy-ipam",
            "--bind=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--api-auth=none",
            "--port=0",
            "--api-port=0",
            "--leader-elect-lease-duration=6s",
            "--leader-elect-renew-deadline=4s",
            "--leader-elect-retry-period=300ms",
        ];
        let flags = flags.iter().map(Into::into);
        let options = Options::parse_args(args.iter().map(Into::into).chain(flags)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let started = runtime.spawn(async move {
            let client = Client::try_from(config).unwrap();
            let clock = std::sync::Arc::new(SystemClock::start());
            service::start(Setup { client, options, file: Default::default(), clock, cloud: None }).await.unwrap()
        });
        let running = Some(started.await.unwrap());
        Replica { running, agent, runtime: Some(runtime) }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn leads(&self) -> bool {
        self.running().engine().read(|ledger| ledger.readiness().is_ok()) && self.running().engine().is_active()
    }

    /// Ends it as SIGTERM does; returns when it has ended.
    async fn stop(&mut self) {
        let mut running = self.running.take().unwrap();
        let stopped = self.runtime.as_ref().unwrap().spawn(async move { running.stop().await });
        stopped.await.unwrap().unwrap();
    }

    /// Ends it as kill -9 does.
    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
        self.running = None;
    }

    /// Stops it as SIGSTOP does, until the returned end is dropped.
    fn freeze(&self) -> mpsc::Sender<()> {
        let (thaw, frozen) = mpsc::channel::<()>();
        self.runtime.as_ref().unwrap().spawn(async move {
            // Blocks the only thread, timers and all.
            let _ = frozen.recv();
        });
        thaw
    }

    async fn readyz(&self) -> (StatusCode, String) {
        send(Method::GET, &format!("http://{}/readyz", self.running().extender), &[], Bytes::new()).await
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let server = if path.starts_with("/v1/ip") { self.running().api } else { self.running().extender };
        let (status, text) = send(Method::POST, &format!("http://{server}{path}"), &[], body.to_string().into()).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    async fn filter(&self, pod: &Pod) -> Value {
        self.post("/v1/filter", &json!({"Pod": pod, "NodeNames": ["n1", "n2"]})).await.1
    }

    async fn bind(&self, pod: &Pod) -> String {
        self.post("/v1/bind", &binding(pod)).await.1["Error"].as_str().unwrap().to_owned()
    }

    /// Filters and binds until that succeeds, as the scheduler would.
    async fn place(&self, pod: &Pod) {
        eventually(true, async || {
            self.filter(pod).await["NodeNames"].as_array().is_some_and(|names| !names.is_empty())
                && self.bind(pod).await.is_empty()
        })
        .await;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn binding(pod: &Pod) -> Value {
    let meta = &pod.metadata;
    json!({"PodName": meta.name, "PodNamespace": meta.namespace, "PodUID": meta.uid, "Node": "n1"})
}

async fn send(method: Method, url: &str, headers: &[(&str, &str)], body: Bytes) -> (StatusCode, String) {
    let mut request = Request::builder().method(method).uri(url).header("Content-Type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let (parts, body) = client.request(request.body(Full::new(body)).unwrap()).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) struct World {
    pub(crate) kubernetes: Server,
    pub(crate) client: Client,
}

impl World {
    /// A cluster and so many replicas, the first of which leads.
    async fn new(replicas: usize) -> (World, Vec<Replica>) {
        let kubernetes = Site::cluster(Some(POOLS)).await;
        let world = World { client: kubernetes.client("test"), kubernetes };
        let mut all = vec![Replica::start(&world.kubernetes, "first").await];
        eventually(true, async || all[0].leads()).await;
        for agent in ["second", "third"].into_iter().take(replicas - 1) {
            all.push(Replica::start(&world.kubernetes, agent).await);
        }
        for standby in &all[1..] {
            eventually(true, async || standby.readyz().await.1.starts_with("ok: standby of")).await;
        }
        (world, all)
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "kube-system")
    }

    async fn holder(&self) -> String {
        self.leases().get("galaxy-ipam").await.unwrap().spec.unwrap().holder_identity.unwrap_or_default()
    }

    async fn edit_lease(&self, patch: Value) {
        self.leases().patch("galaxy-ipam", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn pod(&self, name: &str) -> Pod {
        let requests = json!({"tke.cloud.tencent.com/eni-ip": "1"});
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [
            {"name": "c", "image": "x", "resources": {"requests": requests, "limits": requests}}]}});
        self.pods().create(&PostParams::default(), &object(pod)).await.unwrap()
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Each address with the pod that has it.
    async fn owners(&self) -> Vec<(String, String)> {
        let fips: Api<FloatingIP> = Api::all(self.client.clone());
        let fips = fips.list(&Default::default()).await.unwrap().items;
        let owner =
            |fip: FloatingIP| (fip.metadata.name.unwrap(), fip.spec.pod.map_or_else(String::new, |pod| pod.name));
        fips.into_iter().map(owner).collect()
    }

    /// What a replica wrote since a mark, its lease and events aside.
    pub(crate) fn writes(&self, agent: &str, mark: u64) -> Vec<String> {
        let calls = self.kubernetes.calls().since(mark);
        let calls = calls.iter().map(|answered| &answered.call).filter(|call| call.user_agent == agent);
        let calls = calls.filter(|call| !matches!(call.verb.as_str(), "get" | "list" | "watch"));
        let calls = calls.filter(|call| !matches!(call.resource.as_str(), "leases" | "events"));
        calls.map(|call| format!("{} {}/{}", call.verb, call.resource, call.subresource)).collect()
    }
}

/// Two replicas never decide at a time; looked at until the returned task is aborted.
fn never_both(replicas: &[Replica]) -> tokio::task::JoinHandle<()> {
    let engines: Vec<_> = replicas.iter().map(|replica| replica.running().engine().clone()).collect();
    tokio::spawn(async move {
        loop {
            let active = engines.iter().filter(|engine| engine.is_active()).count();
            assert!(active <= 1, "{active} replicas decide");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

#[tokio::test]
async fn a_killed_leader_is_replaced_when_its_lease_has_expired() {
    let (world, mut replicas) = World::new(3).await;
    let before = world.pod("before").await;
    replicas[0].place(&before).await;
    let watchman = never_both(&replicas);
    let begun = Instant::now();
    replicas[0].kill();
    let heir = async || replicas[1..].iter().position(Replica::leads);
    eventually(true, async || heir().await.is_some()).await;
    let took = begun.elapsed();
    assert!(took < LEASE + Duration::from_secs(2), "{took:?}");
    // The last renewal was at most a retry period before the kill; nobody may be quicker than the lease.
    assert!(took > LEASE - Duration::from_millis(800), "{took:?}");
    let after = world.pod("after").await;
    for replica in &replicas[1..] {
        replica.place(&after).await;
    }
    let owners = world.owners().await;
    assert_eq!(owners.len(), 2, "{owners:?}");
    assert!(!watchman.is_finished());
    watchman.abort();
}

#[tokio::test]
async fn a_stopped_leader_is_replaced_at_once() {
    let (world, mut replicas) = World::new(2).await;
    let watchman = never_both(&replicas);
    let begun = Instant::now();
    let mut first = replicas.remove(0);
    let heir = &replicas[0];
    let (took, ()) = futures::join!(
        async {
            eventually(true, async || heir.leads()).await;
            begun.elapsed()
        },
        first.stop(),
    );
    assert!(took < AT_ONCE, "{took:?}");
    heir.place(&world.pod("web").await).await;
    assert!(!watchman.is_finished());
    watchman.abort();
}

#[tokio::test]
async fn a_leader_that_slept_through_its_lease_writes_nothing_more_and_leads_again_later() {
    let (world, mut replicas) = World::new(2).await;
    let [first, second] = &replicas[..] else { unreachable!() };
    // The claim is made, but the leader does not learn of it before it falls asleep.
    let (pod, gate) = (world.pod("web").await, Gate::new());
    let rule = Rule::new(Action::HoldAfter(gate.clone())).agent(first.agent).verb("create").resource("floatingips");
    let held = world.kubernetes.faults().add(rule);
    assert_eq!(first.filter(&pod).await["error"], Value::Null);
    let (url, body) = (format!("http://{}/v1/bind", first.running().extender), binding(&pod).to_string());
    let waiting = tokio::spawn(async move { send(Method::POST, &url, &[], body.into()).await });
    gate.arrived(1).await;
    let thaw = first.freeze();
    eventually(true, async || second.leads()).await;
    let mark = world.kubernetes.calls().mark();
    second.place(&pod).await;
    let owners = world.owners().await;
    assert_eq!(owners.len(), 1, "the claim that the first made is used: {owners:?}");

    gate.open();
    held.remove();
    let woken = Instant::now();
    drop(thaw);
    eventually(true, async || first.readyz().await.1.starts_with("ok: standby of")).await;
    assert!(woken.elapsed() < AT_ONCE, "{:?}", woken.elapsed());
    let (_, answer) = waiting.await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_ne!(answer["Error"], "", "it did not bind the pod");
    // Nothing but the claim whose answer came late.
    assert_eq!(world.writes(first.agent, mark), ["create floatingips/"]);
    assert_eq!(world.owners().await, owners);

    // It can lead again, and knows what the other did.
    let holder = world.holder().await;
    replicas[1].kill();
    let pods = world.pods();
    pods.delete("web", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await.unwrap();
    eventually(Vec::new(), async || world.owners().await).await;
    assert!(replicas[0].leads());
    assert_ne!(world.holder().await, holder);
}

#[tokio::test]
async fn leadership_follows_the_lease_whoever_edits_it() {
    let (world, replicas) = World::new(2).await;
    let [first, second] = &replicas[..] else { unreachable!() };
    let original = world.holder().await;
    // Somebody takes the lease away; when the stranger has not been heard of for long enough, one of the two takes it.
    world.edit_lease(json!({"spec": {"holderIdentity": "stranger", "leaseDurationSeconds": 1}})).await;
    let begun = Instant::now();
    eventually(false, async || first.leads()).await;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    eventually(true, async || first.leads() || second.leads()).await;

    // Somebody gives it to a replica that did not ask.
    let leading = world.holder().await;
    let (from, to) = if leading == original { (first, second) } else { (second, first) };
    eventually(true, async || to.readyz().await.1 == format!("ok: standby of {leading}")).await;
    let far = "2999-01-01T00:00:00.000000Z";
    world.edit_lease(json!({"spec": {"renewTime": far, "acquireTime": "1970-01-01T00:00:00.000000Z"}})).await;
    let other = if leading == original { None } else { Some(original.clone()) };
    if let Some(other) = other {
        world.edit_lease(json!({"spec": {"holderIdentity": other}})).await;
        let begun = Instant::now();
        eventually((false, true), async || (from.leads(), to.leads())).await;
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
    let pods = join_all(["a", "b"].map(|name| world.pod(name))).await;
    futures::join!(first.place(&pods[0]), second.place(&pods[1]));
    assert_eq!(world.owners().await.len(), 2);
}

#[tokio::test]
async fn a_lease_that_is_deleted_is_made_again_by_its_holder() {
    let (world, replicas) = World::new(2).await;
    let watchman = never_both(&replicas);
    let holder = world.holder().await;
    for _ in 0..3 {
        world.leases().delete("galaxy-ipam", &DeleteParams::default()).await.unwrap();
        eventually(true, async || world.leases().get_opt("galaxy-ipam").await.unwrap().is_some()).await;
        assert_eq!(world.holder().await, holder);
        assert!(replicas[0].leads(), "{:?}", replicas[0].readyz().await);
    }
    assert!(!watchman.is_finished());
    watchman.abort();
}

#[tokio::test]
async fn renewals_whose_answers_are_lost_count_and_those_that_never_arrive_end_leadership_in_time() {
    let (world, replicas) = World::new(2).await;
    let [first, second] = &replicas[..] else { unreachable!() };
    let watchman = never_both(&replicas);
    let of_first = |action| Rule::new(action).agent("first").verb("update").resource("leases");
    let faults = world.kubernetes.faults();
    let every_other = faults.add(of_first(Action::DropAfter).probability(0.5));
    let begun = Instant::now();
    while begun.elapsed() < 2 * LEASE {
        assert!(first.leads() && !second.leads());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    every_other.remove();

    let _cut = faults.add(of_first(Action::error(503, "ServiceUnavailable")));
    let begun = Instant::now();
    eventually(false, async || first.leads()).await;
    assert!(begun.elapsed() < RENEW + Duration::from_secs(1), "{:?}", begun.elapsed());
    eventually(true, async || second.leads()).await;
    first.place(&world.pod("web").await).await;
    assert!(!watchman.is_finished());
    watchman.abort();
}

/// How often a replica listed the FloatingIPs.
fn lists(world: &World, agent: &str) -> usize {
    let calls = world.kubernetes.calls().since(0);
    let of_agent = |call: &&galaxy_sandbox::apiserver::Call| {
        call.user_agent == agent && call.verb == "list" && call.resource == "floatingips"
    };
    calls.iter().map(|answered| &answered.call).filter(of_agent).count()
}

#[tokio::test]
async fn a_replica_lists_once_where_nobody_led_since_the_lease_was_given_up_and_again_elsewhere() {
    let (world, mut replicas) = World::new(1).await;
    // Nothing says that nobody led before the first of all.
    assert_eq!(lists(&world, "first"), 2);
    replicas[0].stop().await;
    let next = Replica::start(&world.kubernetes, "next").await;
    eventually(true, async || next.leads()).await;
    assert_eq!(lists(&world, "next"), 1);
    replicas[0] = next;
    replicas[0].stop().await;

    // Another comes and goes while this one cannot have the lease yet.
    let faults = world.kubernetes.faults();
    let of_last = Rule::new(Action::error(503, "ServiceUnavailable")).agent("last").verb("update").resource("leases");
    let cut = faults.add(of_last);
    let last = Replica::start(&world.kubernetes, "last").await;
    eventually(true, async || lists(&world, "last") == 1).await;
    world.edit_lease(json!({"spec": {"holderIdentity": "stranger", "leaseDurationSeconds": 6}})).await;
    world.edit_lease(json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}})).await;
    cut.remove();
    eventually(true, async || last.leads()).await;
    assert_eq!(lists(&world, "last"), 2);

    // Emptied by hand: who held it may be alive.
    replicas[0] = last;
    replicas[0].stop().await;
    world.edit_lease(json!({"spec": {"leaseDurationSeconds": 6}})).await;
    let after = Replica::start(&world.kubernetes, "after").await;
    eventually(true, async || after.leads()).await;
    assert_eq!(lists(&world, "after"), 2);
}

#[tokio::test]
async fn a_standby_answers_as_the_leader_would_over_one_hop() {
    let (world, mut replicas) = World::new(2).await;
    let pod = world.pod("web").await;
    let mark = world.kubernetes.calls().mark();
    replicas[1].place(&pod).await;
    assert_eq!(world.writes("second", mark), Vec::<String>::new());
    assert_eq!(world.writes("first", mark), ["create floatingips/", "create pods/binding"]);
    let (status, list) = {
        let url = format!("http://{}/v1/ip?keyword=web", replicas[1].running().api);
        send(Method::GET, &url, &[], Bytes::new()).await
    };
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((status, &list["content"][0]["podName"]), (StatusCode::OK, &json!("web")));
    let (status, answer) = replicas[1].post("/v1/ip", &json!({"ips": [list["content"][0]]})).await;
    assert_eq!(status, StatusCode::ACCEPTED, "the pod lives: {answer}");

    // One hop: what was forwarded once is decided where it arrives.
    let hop = [("x-galaxy-forwarded-by", "somebody")];
    let body = Bytes::from(json!({"Pod": pod, "NodeNames": ["n1"]}).to_string());
    let url = format!("http://{}/v1/filter", replicas[1].running().extender);
    let (status, text) = send(Method::POST, &url, &hop, body).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    let not_now = "galaxy-ipam cannot decide now: not the leader";
    assert_eq!((status, answer["error"].as_str()), (StatusCode::OK, Some(not_now)), "{answer}");
    let url = format!("http://{}/v1/ip", replicas[1].running().api);
    let (status, text) = send(Method::POST, &url, &hop, json!({"ips": []}).to_string().into()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    assert!(text.contains("which does not lead"), "{text}");

    // A leader that has just died: the standby says so at once, and lists what it knows.
    replicas[0].kill();
    let begun = Instant::now();
    let other = world.pod("other").await;
    let answer = replicas[1].filter(&other).await;
    assert!(answer["error"].as_str().is_some() || answer["NodeNames"].is_array(), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let (status, why) = replicas[1].readyz().await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && why.contains("which does not answer"), "{why}");
    let url = format!("http://{}/v1/ip?keyword=web", replicas[1].running().api);
    let (status, list) = send(Method::GET, &url, &[], Bytes::new()).await;
    assert!(status == StatusCode::OK && list.contains("\"podName\": \"web\""), "{list}");
    replicas[1].place(&other).await;
    let url = format!("http://{}/metrics", replicas[1].running().api);
    let (_, metrics) = send(Method::GET, &url, &[], Bytes::new()).await;
    for line in [
        "galaxy_ipam_leader 1",
        "galaxy_ipam_lease_transitions_total{change=\"acquired\"} 1",
        "galaxy_ipam_forwarded_calls_total{call=\"bind\",result=\"answered\"} 1",
        "galaxy_ipam_forwarded_calls_total{call=\"filter\",result=\"failed\"}",
    ] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_leader_that_sleeps_is_not_waited_for_longer_than_the_scheduler_does() {
    let (world, replicas) = World::new(2).await;
    let pod = world.pod("web").await;
    // Held by somebody who connects and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let leader = json!({"metadata": {"annotations": {"galaxy.k8s.io/extender-url": url}},
        "spec": {"holderIdentity": "stranger", "leaseDurationSeconds": 30}});
    world.edit_lease(leader).await;
    let standby = &replicas[1];
    eventually(true, async || standby.readyz().await.1.contains("stranger")).await;
    let begun = Instant::now();
    let answer = standby.filter(&pod).await;
    assert_eq!(answer["error"], "galaxy-ipam cannot decide now: not the leader");
    // The scheduler hangs up after 5 s, of which a busy machine may have taken one.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_forwarded_bind_goes_on_although_the_caller_hangs_up() {
    let (world, replicas) = World::new(2).await;
    let (pod, gate) = (world.pod("web").await, Gate::new());
    let rule = Rule::new(Action::Hold(gate.clone())).agent("first").verb("create").resource("floatingips");
    world.kubernetes.faults().add(rule);
    assert_eq!(replicas[1].filter(&pod).await["error"], Value::Null);
    let (url, body) = (format!("http://{}/v1/bind", replicas[1].running().extender), binding(&pod).to_string());
    let caller = tokio::spawn(async move { send(Method::POST, &url, &[], body.into()).await });
    gate.arrived(1).await;
    caller.abort();
    gate.open();
    let bound = async || world.pods().get("web").await.unwrap().spec.unwrap().node_name;
    eventually(Some("n1".to_owned()), bound).await;
}

#[tokio::test]
async fn the_lease_that_the_original_left_is_waited_out_by_this_replicas_own_clock() {
    for renewed in ["2024-01-05T08:00:12.000000Z", "2999-01-01T00:00:00.000000Z"] {
        let kubernetes = Site::cluster(Some(POOLS)).await;
        let leases: Api<Lease> = Api::namespaced(kubernetes.client("test"), "kube-system");
        let left = json!({"metadata": {"name": "galaxy-ipam"}, "spec": {"holderIdentity": "node-1_3f0c", "leaseTransitions": 7,
            "leaseDurationSeconds": 2, "acquireTime": renewed, "renewTime": renewed}});
        leases.create(&PostParams::default(), &object(left)).await.unwrap();
        let begun = Instant::now();
        let replica = Replica::start(&kubernetes, "first").await;
        eventually(true, async || replica.leads()).await;
        assert!(begun.elapsed() > Duration::from_secs(2), "it may be alive: {:?}", begun.elapsed());
        let spec = leases.get("galaxy-ipam").await.unwrap().spec.unwrap();
        assert_eq!(spec.lease_transitions, Some(8));
    }
}
