//! Ten thousand pods of one workload, or of one pool: nothing that happens to each of them may cost by their number.

use std::time::{Duration, Instant};

use galaxy_core::ledger::*;
use galaxy_core::{IpRange, ReleasePolicy};

use crate::scene::{POOLS, Scene, address, record, reserved};
use crate::time_on_core;

/// The pool in which pods are bound.
const POOL: usize = POOLS / 2;

/// What each of many pods costs, on the average, where there are a thousand and where there are ten thousand.
pub(crate) fn table() {
    const FEW: usize = 1_000;
    const MANY: usize = 10_000;
    println!("| each pod of one workload or pool               | of {FEW} | of {MANY} | ratio |");
    println!("| --- | ---: | ---: | ---: |");
    for ((what, few), (_, many)) in run(FEW).into_iter().zip(run(MANY)) {
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("| {what:<46} | {few:>7.1?} | {many:>8.1?} | {ratio:>5.2} |");
    }
    println!();
}

fn run(count: usize) -> Vec<(&'static str, Duration)> {
    let mut steps = Steps { count, took: Vec::new() };
    steps.come_and_go();
    steps.wait_for_reserved();
    steps.wait_for_a_pool();
    steps.wait_for_ranges();
    steps.took
}

/// The average time of each step for one pod.
struct Steps {
    count: usize,
    took: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn time(&mut self, what: &'static str, step: impl FnOnce()) {
        let (start, on_core) = (Instant::now(), time_on_core());
        step();
        // What other processes took of the core is not the ledger's.
        let took = time_on_core().zip(on_core).map_or(start.elapsed(), |(after, before)| after - before);
        self.took.push((what, took / self.count as u32));
    }

    fn scene(&self, records: Vec<Stored>, replicas: usize) -> Scene {
        Scene::with(self.count * 2 * POOLS, POOLS, records, replicas as u32)
    }

    /// Pods of an immutable Deployment.
    fn come_and_go(&mut self) {
        let mut scene = self.scene(Vec::new(), self.count);
        let mut pods = scene.pods(self.count, true);
        self.time("Deployment: filter, bind, bound", || bind(&mut scene, &mut pods));
        let deadline = scene.now.plus_secs(30);
        self.time("Deployment: being deleted", || {
            for pod in &mut pods {
                pod.version += 1;
                pod.deletion_deadline = Some(deadline);
                scene.ledger.pod_observed(scene.now, pod.clone());
            }
        });
        self.time("Deployment: deleted, its address is kept", || gone(&mut scene, &pods));
        let mut pods = scene.pods(self.count, true);
        self.time("Deployment: filter, bind, bound with a kept one", || bind(&mut scene, &mut pods));
    }

    /// Pods beyond their Deployment's limit, which then is raised; for each there is a reserved address.
    fn wait_for_reserved(&mut self) {
        let kept = |at: usize| {
            let mut stored = reserved(address(POOL, at), at as u64);
            stored.record.policy = ReleasePolicy::Never;
            stored
        };
        let mut scene = self.scene((0..self.count).map(kept).collect(), 0);
        let mut pods = scene.pods(self.count, true);
        pods.iter_mut().for_each(|pod| pod.policy = ReleasePolicy::Never);
        self.time("Deployment: refused by the limit", || refuse(&mut scene, &pods));
        scene.scale(self.count as u32);
        self.time("Deployment: woken for a reserved address", || wake(&mut scene, pods.len()));
    }

    /// Pods of a pool that is full, and then is not.
    fn wait_for_a_pool(&mut self) {
        let mut scene = self.scene(Vec::new(), 0);
        let size = |scene: &mut Scene, version: u64, size: usize| {
            let view = PoolView {
                uid: "pool".into(),
                namespace: "kube-system".into(),
                name: "blue".into(),
                version,
                created: scene.now,
                size: Some(size as u32),
                pre_allocate: false,
            };
            scene.ledger.named_pool_observed(scene.now, view);
        };
        size(&mut scene, 1, 0);
        let mut pods = scene.pods(self.count, true);
        for pod in &mut pods {
            (pod.pool, pod.policy) = (Some("blue".into()), ReleasePolicy::Never);
        }
        self.time("pool: refused by its size", || refuse(&mut scene, &pods));
        size(&mut scene, 2, self.count);
        self.time("pool: woken when it grows", || wake(&mut scene, pods.len()));
        self.time("pool: filter, bind, bound", || bind(&mut scene, &mut pods));
        self.time("pool: deleted, its address is kept", || gone(&mut scene, &pods));
    }

    /// Pods that all name the same range, in which every address is taken, and then is not.
    fn wait_for_ranges(&mut self) {
        let holders: Vec<Stored> = (0..self.count).map(|at| record(address(POOL, at), at as u64)).collect();
        let uids: Vec<Uid> = holders.iter().filter_map(|stored| stored.record.pod_uid.clone()).collect();
        let mut scene = self.scene(holders, 0);
        let range = IpRange::new(address(POOL, 0), address(POOL, self.count - 1)).expect("ascending");
        let mut pods = scene.pods(self.count, false);
        pods.iter_mut().for_each(|pod| pod.ranges = Ok(vec![vec![range]]));
        self.time("one range: refused, all is taken", || refuse(&mut scene, &pods));
        for uid in &uids {
            scene.ledger.pod_gone(scene.now, uid);
        }
        scene.settle();
        // What was immutable of a Deployment that nobody knows is kept: it is gone.
        for at in 0..self.count {
            let record = record(address(POOL, at), at as u64).record;
            let id = record.workload.expect("of a Deployment");
            scene.ledger.workload_gone(scene.now, &id, None);
        }
        scene.settle();
        self.time("one range: woken when it is free", || wake(&mut scene, pods.len()));
    }
}

fn bind(scene: &mut Scene, pods: &mut [PodView]) {
    for pod in pods {
        scene.pod = pod.clone();
        scene.filter();
        scene.bind();
        scene.bound();
        *pod = scene.pod.clone();
    }
}

fn gone(scene: &mut Scene, pods: &[PodView]) {
    for pod in pods {
        scene.ledger.pod_gone(scene.now, &pod.uid);
        scene.settle();
    }
}

fn refuse(scene: &mut Scene, pods: &[PodView]) {
    for pod in pods {
        let filtered = scene.ledger.filter(scene.now, pod, &Scene::offers(&scene.nodes));
        assert!(matches!(&filtered, Filtered::Nodes { verdicts, .. } if !verdicts.contains(&None)), "{filtered:?}");
    }
}

/// A second passes: all that wait are woken.
fn wake(scene: &mut Scene, count: usize) {
    scene.now = scene.now.plus_secs(1);
    scene.ledger.tick(scene.now);
    let notices = scene.ledger.drain().notices;
    assert_eq!(notices.iter().filter(|notice| matches!(notice, Notice::Wake { .. })).count(), count);
}
