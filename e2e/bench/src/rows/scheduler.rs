//! Pods through the real kube-scheduler: with galaxy-ipam, with an extender that only binds, with none.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use galaxy_plane::{Component, IpamOptions, Options, Plane, Rack, Scheduler, wait_for};
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};

use crate::{
    Scale,
    etcd::{self, Etcd},
    ground::{RESOURCE, apply, pause, typed},
    objects::{self, Pod},
    raw::OnlyBinds,
    report::{Rates, Report, Target},
};

/// Turns of each kind; a turn restarts the scheduler.
const TURNS: usize = 6;
/// Pods that a scheduler binds before it is measured.
const WARM: usize = 30;
/// The resource that the extender that only binds is called for.
const ONLY_BIND: &str = "bench.galaxy.test/only-bind";
const RACK: usize = 200;
const LIMIT: Duration = Duration::from_secs(300);

/// Who binds the pods of a turn.
struct Mode {
    scheduler: Scheduler,
    /// A pod of it as the API server keeps it; name, uid and turn are to be put in.
    pod: String,
    uid: String,
}

pub(crate) async fn run(version: &str, program: &Path, scale: &Scale, report: &mut Report) -> Result<()> {
    let (nodes, pods) = (scale.kwok_nodes, (scale.slice * 2).min(scale.kwok_nodes * 10));
    eprintln!("starting Kubernetes {version}, {nodes} nodes played by kwok");
    let racks = racks(nodes)?;
    let options = Options {
        version: version.to_owned(),
        racks: racks.clone(),
        scheduler: None,
        eviction_after: Duration::from_secs(300),
        ..Options::default()
    };
    let plane = Plane::start(options).await?;
    let kubeconfig = Some(plane.install_galaxy().await?);
    apply(&plane, "topology", &config_map(&racks)).await?;
    let mut ipam = plane.start_ipam(&IpamOptions { kubeconfig, ..IpamOptions::new(program) })?;
    ipam.ready(LIMIT).await?;
    let only_binds = OnlyBinds::start(plane.client()).await?;
    let mut modes = Vec::new();
    for (resource, scheduler) in [
        (Some(RESOURCE), Scheduler::with_galaxy(ipam.extender_url(), true)),
        (Some(ONLY_BIND), only_binding(only_binds.port)),
        (None, none()),
    ] {
        modes.push(Mode::new(&plane, resource, scheduler).await?);
    }

    let etcd = Etcd::of(&plane)?;
    let mut turns: Vec<Vec<Duration>> = vec![Vec::new(); modes.len()];
    for turn in 0..TURNS {
        for (at, mode) in modes.iter().enumerate() {
            plane.schedule(&mode.scheduler).await?;
            let kind = (turn * modes.len() + at) as u16;
            mode.bound(&plane, &etcd, &format!("warm{kind}"), 800 + kind, WARM).await?;
            played(&plane).await?;
            let took = mode.bound(&plane, &etcd, &format!("turn{kind}"), 900 + kind, pods).await?;
            turns[at].push(took);
            played(&plane).await?;
        }
    }
    let [ours, only, none] = &turns[..] else { unreachable!("three modes") };
    let against = |theirs: &[Duration]| {
        let mut rates = Rates::of(pods);
        ours.iter().zip(theirs).for_each(|(ours, theirs)| rates.turn(*ours, *theirs));
        rates
    };
    let (with_only, with_none) = (against(only), against(none));
    report.row(
        format!("pods/s of kube-scheduler, {nodes} nodes: with us ÷ with only binding"),
        with_only.ratio(),
        Target::AtLeast(0.8),
        with_only.text("pods", "only bound"),
    );
    report.shown("… with us ÷ without any extender", with_none.ratio(), with_none.text("pods", "without"));
    plane.kill(Component::Scheduler);
    ipam.stop(Duration::from_secs(20)).await?;
    plane.stop()
}

impl Mode {
    async fn new(plane: &Plane, resource: Option<&str>, scheduler: Scheduler) -> Result<Self> {
        let mut pod = objects::pod("seedpod", resource);
        pod["metadata"]["labels"] = json!({"turn": "seedturn"});
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let pods: Api<KubePod> = Api::namespaced(plane.client(), "default");
        let made: KubePod = pods.create(&params, &typed(pod)?).await?;
        let uid = made.uid().context("a pod without a uid")?;
        let mut object = serde_json::to_value(&made)?;
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("Pod");
        Ok(Self { scheduler, pod: object.to_string(), uid })
    }

    /// Puts pods there at one moment; how long until all are bound.
    async fn bound(&self, plane: &Plane, etcd: &Etcd, turn: &str, kind: u16, count: usize) -> Result<Duration> {
        let api: Api<KubePod> = Api::namespaced(plane.client(), "default");
        let params = WatchParams::default().labels(&format!("turn={turn}")).fields("spec.nodeName!=");
        let mut events = api.watch_metadata(&params, "0").await?.boxed();
        let objects = (0..count).map(|number| {
            let pod = Pod::new(turn, kind, number);
            let object = self.pod.replace("seedturn", turn).replace("seedpod", &pod.name).replace(&self.uid, &pod.uid);
            (format!("{}{}", etcd::PODS, pod.name), object)
        });
        let begun = Instant::now();
        etcd.put(objects).await?;
        let mut bound = BTreeSet::new();
        while bound.len() < count {
            ensure!(begun.elapsed() < LIMIT, "{} of {count} pods are bound", bound.len());
            match tokio::time::timeout(LIMIT, events.try_next()).await.context("pods are not bound")?? {
                Some(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => drop(bound.insert(pod.name_any())),
                Some(_) => {}
                // A new one begins with what is there.
                None => events = api.watch_metadata(&params, "0").await?.boxed(),
            }
        }
        Ok(begun.elapsed())
    }
}

/// Waits until kwok runs all pods.
async fn played(plane: &Plane) -> Result<()> {
    let api: Api<KubePod> = Api::namespaced(plane.client(), "default");
    let params = ListParams::default().fields("status.phase=Pending").limit(1);
    wait_for("the pods to run", LIMIT, async || {
        ensure!(api.list_metadata(&params).await?.items.is_empty(), "some are pending");
        Ok(())
    })
    .await?;
    pause().await;
    Ok(())
}

/// All nodes are looked at, as in what is shipped.
fn none() -> Scheduler {
    let mut scheduler = Scheduler::default();
    scheduler.document()["percentageOfNodesToScore"] = json!(100);
    scheduler
}

fn only_binding(port: u16) -> Scheduler {
    let mut scheduler = none();
    scheduler.document()["extenders"] = json!([{
        "urlPrefix": format!("http://127.0.0.1:{port}/v1"), "bindVerb": "bind", "weight": 1, "nodeCacheCapable": true,
        "managedResources": [{"name": ONLY_BIND, "ignoredByScheduler": true}],
    }]);
    scheduler
}

/// Racks of up to [`RACK`] nodes.
fn racks(nodes: usize) -> Result<Vec<Rack>> {
    let rack = |number: usize| {
        let nodes = RACK.min(nodes - (number - 1) * RACK);
        Ok(Rack { name: format!("rack{number}-node"), subnet: format!("10.0.{number}.0/24").parse()?, nodes })
    };
    (1..=nodes.div_ceil(RACK)).map(rack).collect()
}

/// A /16 of addresses for the pods of each rack.
fn config_map(racks: &[Rack]) -> Value {
    let pool = |(number, rack): (usize, &Rack)| {
        json!({
            "nodeSubnets": [rack.subnet.to_string()],
            "ips": [format!("10.{0}.0.10~10.{0}.195.89", 100 + number)],
            "subnet": format!("10.{}.0.0/16", 100 + number),
            "gateway": format!("10.{}.255.254", 100 + number),
        })
    };
    let pools: Vec<Value> = racks.iter().enumerate().map(pool).collect();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "floatingip-config", "namespace": "kube-system"},
        "data": {"floatingips": Value::Array(pools).to_string()},
    })
}
