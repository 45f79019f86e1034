//! A control plane to measure on: nodes, a topology, as many allocated addresses as wanted, and galaxy-ipam.
//!
//! No scheduler, controller or kubelet runs on it, so that nothing moves but what a row moves. Loaded objects are copies of what
//! galaxy-ipam and the API server themselves wrote for a few seeds.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use galaxy_api::{FloatingIP, floatingip::State};
use galaxy_plane::{Component, Ipam, IpamOptions, Options, Plane, wait_for};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod as KubePod};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    etcd::{self, Etcd},
    extender::Extender,
    objects::{self, Pod, address, gateway, node_name},
    raw::Raw,
};

/// How long galaxy-ipam may take to become ready.
const READY: Duration = Duration::from_secs(300);
/// How long it may take to end.
const END: Duration = Duration::from_secs(20);
/// Between turns, so that what one leaves behind does not burden the next.
const PAUSE: Duration = Duration::from_millis(700);
/// The seeds: a pod of its own, and one of a workload that keeps its addresses for ever.
const BARE: &str = "seedpod";
const WORKLOAD: &str = "seedwork";
const ORDINAL: &str = "seedwork-0";
/// The resource that asks for an address.
pub(crate) const RESOURCE: &str = "tke.cloud.tencent.com/eni-ip";

/// The control plane.
pub(crate) struct Ground {
    pub(crate) plane: Plane,
    pub(crate) etcd: Etcd,
    pub(crate) raw: Raw,
    program: PathBuf,
    kubeconfig: PathBuf,
    seeds: Seeds,
    /// Numbers of addresses that were given out, and how many of those were released since.
    numbered: usize,
    released: usize,
}

/// A galaxy-ipam that decides.
pub(crate) struct Service {
    ipam: Ipam,
    /// Calls it.
    pub(crate) calls: Extender,
    /// From its start until it said that it is ready.
    pub(crate) took: Duration,
}

/// Objects of one kind in the text of the first, with what differs from one to another.
struct Seed {
    object: String,
    name: String,
    uid: String,
    /// Address and uid of the FloatingIP.
    ip: String,
    ip_uid: String,
}

struct Seeds {
    waiting: Seed,
    waiting_ordinal: Seed,
    unconcerned: Seed,
    bound: Seed,
    bound_ip: Seed,
    kept_ip: Seed,
}

impl Seed {
    fn pod(pod: &KubePod) -> Result<Self> {
        let (ip, ip_uid) = (String::new(), String::new());
        Ok(Self { object: stored(pod, "v1", "Pod")?, name: name(pod), uid: uid(pod), ip, ip_uid })
    }

    fn ip(ip: &FloatingIP, pod: &KubePod) -> Result<Self> {
        let object = stored(ip, "galaxy.k8s.io/v1alpha1", "FloatingIP")?;
        Ok(Self { object, name: name(pod), uid: uid(pod), ip: name(ip), ip_uid: uid(ip) })
    }

    /// The object for another pod.
    fn of(&self, pod: &Pod) -> String {
        self.object.replace(&self.uid, &pod.uid).replace(&self.name, &pod.name)
    }

    /// The object for another pod with address number `number`.
    fn with(&self, pod: &Pod, number: usize) -> String {
        let (rack, ip) = (number % objects::RACKS, address(number).to_string());
        let object = self.of(pod).replace(&self.ip_uid, &format!("f0000000-0000-4000-8000-{number:012}"));
        object.replace(&self.ip, &ip).replace(&gateway(0), &gateway(rack)).replace(&node_name(0), &node_name(rack))
    }
}

impl Ground {
    /// Starts it, with so many nodes and no address allocated.
    pub(crate) async fn start(version: &str, program: &Path, nodes: usize) -> Result<Self> {
        eprintln!("starting Kubernetes {version}, {nodes} nodes");
        let options = Options { version: version.to_owned(), scheduler: None, ..Options::default() };
        let plane = Plane::start(options).await?;
        let kubeconfig = plane.install_galaxy().await?;
        apply(&plane, "topology", &objects::config_map()).await?;
        plane.kill(Component::ControllerManager);
        plane.kill(Component::Kwok);
        let etcd = Etcd::of(&plane)?;
        let keyed = |number| (format!("{}{}", etcd::NODES, node_name(number)), objects::node(number).to_string());
        etcd.load((0..nodes).map(keyed)).await?;
        let program = program.to_owned();
        let mut service = start(&plane, &program, &kubeconfig, &[]).await?;
        let (seeds, raw) = sow(&plane, &service.calls).await?;
        service.end().await?;
        etcd.remove(etcd::PODS).await?;
        etcd.remove(etcd::FLOATING_IPS).await?;
        Ok(Self { plane, etcd, raw, program, kubeconfig, seeds, numbered: 0, released: 0 })
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<()> {
        self.plane.stop()
    }

    /// Starts galaxy-ipam with more flags, if any, and waits until it decides.
    pub(crate) async fn service(&self, flags: &[String]) -> Result<Service> {
        start(&self.plane, &self.program, &self.kubeconfig, flags).await
    }

    /// Addresses that are kept for the pods of workloads, a hundred each, until so many are allocated in all.
    pub(crate) async fn reserve(&mut self, total: usize) -> Result<()> {
        let missing = total.saturating_sub(self.allocated());
        if missing == 0 {
            return Ok(());
        }
        eprintln!("allocating {missing} addresses");
        let seed = &self.seeds.kept_ip;
        let made = (self.numbered..self.numbered + missing).map(|number| {
            let pod = Pod::new(&format!("w{}", number / 100), 1, number % 100);
            let object = seed.with(&pod, number).replace(WORKLOAD, &format!("w{}", number / 100));
            (format!("{}{}", etcd::FLOATING_IPS, address(number)), object)
        });
        self.etcd.load(made).await?;
        self.numbered += missing;
        self.seen().await
    }

    /// More addresses, each with a running pod called `NAME-…`; their numbers. Not while galaxy-ipam runs, as all of this loading.
    pub(crate) async fn occupy(&mut self, pods: &str, kind: u16, count: usize) -> Result<Range<usize>> {
        let numbers = self.numbered..self.numbered + count;
        eprintln!("allocating {count} addresses with pods {pods}-…");
        let pod = |number: usize| Pod::new(pods, kind, number);
        let (bound, bound_ip) = (&self.seeds.bound, &self.seeds.bound_ip);
        let ips = numbers
            .clone()
            .map(|number| (format!("{}{}", etcd::FLOATING_IPS, address(number)), bound_ip.with(&pod(number), number)));
        self.etcd.load(ips).await?;
        let running = numbers.clone().map(|number| {
            let pod = pod(number);
            let mut object = bound.with(&pod, number);
            object = object.replace(&self.seeds.bound_ip.ip, &address(number).to_string());
            (format!("{}{}", etcd::PODS, pod.name), object)
        });
        self.etcd.load(running).await?;
        self.numbered += count;
        self.seen().await?;
        Ok(numbers)
    }

    /// How many addresses are allocated, but for those that galaxy-ipam gave out.
    pub(crate) fn allocated(&self) -> usize {
        self.numbered - self.released
    }

    /// So many of them are released.
    pub(crate) fn released(&mut self, count: usize) {
        self.released += count;
    }

    /// Pods that wait to be bound, with or without the wish for an address.
    pub(crate) async fn pods(&self, name: &str, kind: u16, count: usize, wants: bool) -> Result<Vec<Pod>> {
        self.wait_with(if wants { &self.seeds.waiting } else { &self.seeds.unconcerned }, name, kind, count).await
    }

    /// Pods of the workload that keeps its addresses for ever.
    pub(crate) async fn ordinals(&self, kind: u16, count: usize) -> Result<Vec<Pod>> {
        self.wait_with(&self.seeds.waiting_ordinal, WORKLOAD, kind, count).await
    }

    async fn wait_with(&self, seed: &Seed, name: &str, kind: u16, count: usize) -> Result<Vec<Pod>> {
        let pods: Vec<Pod> = (0..count).map(|number| Pod::new(name, kind, number)).collect();
        self.etcd.put(pods.iter().map(|pod| (format!("{}{}", etcd::PODS, pod.name), seed.of(pod)))).await?;
        pause().await;
        Ok(pods)
    }

    /// Waits until the API server has seen all that was put into its store.
    async fn seen(&self) -> Result<()> {
        let ips: Api<FloatingIP> = Api::all(self.plane.client());
        wait_for("the API server to see the objects", READY, async || {
            let first = ips.list_metadata(&ListParams::default().limit(1)).await?;
            let all = first.items.len() as i64 + first.metadata.remaining_item_count.unwrap_or(0);
            ensure!(all >= self.allocated() as i64, "{all} of {} FloatingIPs", self.allocated());
            Ok(())
        })
        .await
    }
}

impl Service {
    /// Ends it as a rolling update does.
    pub(crate) async fn end(&mut self) -> Result<()> {
        self.ipam.stop(END).await
    }

    /// Its resident memory in bytes.
    pub(crate) async fn resident(&self) -> Result<f64> {
        self.calls.metric("process_resident_memory_bytes", &[]).await
    }

    /// Waits until it has nothing more to write.
    pub(crate) async fn idle(&self) -> Result<()> {
        pause().await;
        wait_for("galaxy-ipam to have written everything", READY, async || {
            let queued = self.calls.metric("galaxy_ipam_writer_queue_length", &[]).await?;
            let pending = self.calls.metric("galaxy_ipam_pending_addresses", &[]).await?;
            ensure!(queued + pending == 0.0, "{queued} operations, {pending} addresses");
            Ok(())
        })
        .await?;
        pause().await;
        Ok(())
    }

    /// Waits until it knows so many addresses with pods.
    pub(crate) async fn knows(&self, bound: usize) -> Result<()> {
        let states = [r#"state="bound""#];
        wait_for("galaxy-ipam to know the pods", READY, async || {
            let known = self.calls.metric("galaxy_ipam_addresses", &states).await?;
            ensure!(known as usize == bound, "{known} of {bound}");
            Ok(())
        })
        .await?;
        pause().await;
        Ok(())
    }
}

/// A moment for what is under way to end.
pub(crate) async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

/// Applies an object.
pub(crate) async fn apply(plane: &Plane, name: &str, object: &Value) -> Result<()> {
    let path = plane.dir().join(format!("{name}.json"));
    std::fs::write(&path, object.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    plane.apply(&path).await
}

async fn start(plane: &Plane, program: &Path, kubeconfig: &Path, flags: &[String]) -> Result<Service> {
    let options =
        IpamOptions { kubeconfig: Some(kubeconfig.to_owned()), flags: flags.to_vec(), ..IpamOptions::new(program) };
    let begun = Instant::now();
    let mut ipam = plane.start_ipam(&options)?;
    let calls = Extender::new(ipam.extender_url(), ipam.api_url());
    while !calls.ready().await {
        ipam.process().running()?;
        ensure!(begun.elapsed() < READY, "galaxy-ipam is not ready after {READY:?}: {}", ipam.process().log_end());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(Service { ipam, calls, took: begun.elapsed() })
}

/// Has galaxy-ipam and the API server write one object of each kind.
async fn sow(plane: &Plane, calls: &Extender) -> Result<(Seeds, Raw)> {
    let client = plane.client();
    let pods: Api<KubePod> = Api::namespaced(client.clone(), "default");
    let ips: Api<FloatingIP> = Api::all(client.clone());
    let unconcerned = pods.create(&post(), &typed(objects::pod(BARE, None))?).await?;
    pods.delete(BARE, &DeleteParams::default().grace_period(0)).await?;
    let waiting = pods.create(&post(), &typed(objects::pod(BARE, Some(RESOURCE)))?).await?;
    let owner = stateful_set(&client).await?;
    let mut ordinal = objects::pod(ORDINAL, Some(RESOURCE));
    ordinal["metadata"]["annotations"] = json!({"k8s.v1.cni.galaxy.io/release-policy": "never"});
    ordinal["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": WORKLOAD, "uid": uid(&owner), "controller": true,
    }]);
    let ordinal = pods.create(&post(), &typed(ordinal)?).await?;
    for pod in [&waiting, &ordinal] {
        calls.bind(&Pod { name: name(pod), uid: uid(pod) }, &node_name(0)).await?;
    }
    let of = async |pod: &KubePod, state: State| {
        wait_for("the seeds' addresses", READY, async || {
            let listed = ips.list(&ListParams::default()).await?;
            let is_it = |ip: &&FloatingIP| {
                ip.spec.state == Some(state) && ip.spec.pod.as_ref().is_some_and(|at| at.name == name(pod))
            };
            listed.items.iter().find(is_it).cloned().with_context(|| format!("{} has none", name(pod)))
        })
        .await
    };
    let bound_ip = of(&waiting, State::Bound).await?;
    let mut bound = pods.get(BARE).await?;
    bound.status.get_or_insert_default().phase = Some("Running".to_owned());
    of(&ordinal, State::Bound).await?;
    pods.delete(ORDINAL, &DeleteParams::default().grace_period(0)).await?;
    let kept_ip = of(&ordinal, State::Reserved).await?;
    let raw = Raw::install(plane, &bound_ip).await?;
    let seeds = Seeds {
        waiting: Seed::pod(&waiting)?,
        waiting_ordinal: Seed { name: ORDINAL.to_owned(), ..Seed::pod(&ordinal)? },
        unconcerned: Seed::pod(&unconcerned)?,
        bound: Seed { ip: name(&bound_ip), ip_uid: "no uid".to_owned(), ..Seed::pod(&bound)? },
        bound_ip: Seed::ip(&bound_ip, &waiting)?,
        kept_ip: Seed::ip(&kept_ip, &ordinal)?,
    };
    Ok((seeds, raw))
}

/// The workload of the pods with ordinals; no controller makes any.
async fn stateful_set(client: &Client) -> Result<StatefulSet> {
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), "default");
    let set = json!({
        "metadata": {"name": WORKLOAD},
        "spec": {
            "replicas": 1_000_000, "serviceName": WORKLOAD, "selector": {"matchLabels": {"app": "bench"}},
            "template": {"metadata": {"labels": {"app": "bench"}}, "spec": {"containers": [{"name": "main", "image": "none"}]}},
        },
    });
    Ok(sets.create(&post(), &typed(set)?).await?)
}

/// An object as the API server keeps it, in JSON.
fn stored<K: serde::Serialize>(object: &K, api_version: &str, kind: &str) -> Result<String> {
    let mut object = serde_json::to_value(object)?;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
    }
    Ok(object.to_string())
}

/// An object from its JSON.
pub(crate) fn typed<K: serde::de::DeserializeOwned>(object: Value) -> Result<K> {
    Ok(serde_json::from_value(object)?)
}

fn name(object: &impl Resource) -> String {
    object.meta().name.clone().unwrap_or_default()
}

fn uid(object: &impl Resource) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

fn post() -> PostParams {
    PostParams::default()
}
