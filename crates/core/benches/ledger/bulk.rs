//! Ten thousand pods of one workload, or one pool: nothing that happens to each of them may cost by their number.

use std::time::{Duration, Instant};

use galaxy_core::ledger::*;
use galaxy_core::{IpRange, ReleasePolicy};

use crate::scene::{Scene, address};

/// What each of many pods costs, on the average, with a thousand and with ten thousand of them.
pub(crate) fn table() {
    const FEW: usize = 1_000;
    const MANY: usize = 10_000;
    let (few, many) = (run(FEW), run(MANY));
    println!("| of one workload or pool, each | {FEW} pods | {MANY} pods | ratio |");
    println!("| --- | ---: | ---: | ---: |");
    for ((what, few), (_, many)) in few.into_iter().zip(many) {
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("| {what:<46} | {few:>9.1?} | {many:>9.1?} | {ratio:>5.2} |");
    }
    println!();
}

/// The average time of a step over all pods.
struct Steps {
    took: Vec<(&'static str, Duration)>,
    pods: usize,
}

impl Steps {
    fn time(&mut self, what: &'static str, step: impl FnOnce()) {
        let start = Instant::now();
        step();
        self.took.push((what, start.elapsed() / self.pods as u32));
    }
}

fn run(count: usize) -> Vec<(&'static str, Duration)> {
    let mut steps = Steps { took: Vec::new(), pods: count };
    come_and_go(&mut steps, count);
    wait_for_reserved(&mut steps, count);
    wait_in_pool(&mut steps, count);
    wait_for_ranges(&mut steps, count);
    steps.took
}

fn observe(scene: &mut Scene, pods: &mut [PodView], edit: impl Fn(&mut PodView)) {
    for pod in pods {
        pod.version += 1;
        edit(pod);
        scene.ledger.pod_observed(scene.now, pod.clone());
        scene.settle();
    }
}

fn gone(scene: &mut Scene, pods: &[PodView]) {
    for pod in pods {
        scene.ledger.pod_gone(scene.now, &pod.uid);
        scene.settle();
    }
}

fn bind_all(scene: &mut Scene, pods: &mut [PodView]) {
    for pod in pods {
        scene.pod = pod.clone();
        scene.filter();
        scene.bind();
        scene.bound();
        *pod = scene.pod.clone();
    }
}

/// Pods of an immutable Deployment that has nothing reserved.
fn come_and_go(steps: &mut Steps, count: usize) {
    let mut scene = Scene::of_few_nodes(count * 40);
    let mut pods = scene.pods_of_a_deployment(count);
    steps.time("filter, bind, bound", || bind_all(&mut scene, &mut pods));
    let deadline = scene.now.plus_secs(30);
    steps.time("being deleted", || observe(&mut scene, &mut pods, |pod| pod.deletion_deadline = Some(deadline)));
    // A binding while they all are on their way out.
    steps.time("deleted, the address is kept", || gone(&mut scene, &pods));
    assert_eq!(scene.ledger.stats().holds, 0);
}

/// All are refused by their Deployment's limit, which then is raised: each takes one of as many reserved addresses.
fn wait_for_reserved(steps: &mut Steps, count: usize) {
    let mut scene = Scene::of_few_nodes(count * 40);
    let mut pods = scene.pods_of_a_deployment(count);
    bind_all(&mut scene, &mut pods);
    scene.scale(0, count as u32);
    gone(&mut scene, &pods);
    scene.scale(0, 0);
    scene.settle();
    // All that was reserved is free now; take it again, and keep it.
    scene.scale(0, count as u32);
    let mut pods = scene.pods_of_a_deployment(count);
    bind_all(&mut scene, &mut pods);
    gone(&mut scene, &pods);
    let mut pods = scene.pods_of_a_deployment(count);
    scene.forget_replica_sets();
    steps.time("refused, its ReplicaSet is not known", || refuse_all(&mut scene, &pods));
    scene.know_replica_sets();
    steps.time("woken for a reserved address", || assert_eq!(wakes(&mut scene), count));
    bind_all(&mut scene, &mut pods);
}

fn refuse_all(scene: &mut Scene, pods: &[PodView]) {
    for pod in pods {
        let filtered = scene.ledger.filter(scene.now, pod, &Scene::offers(&scene.nodes));
        assert!(matches!(&filtered, Filtered::Nodes { verdicts, .. } if !verdicts.contains(&None)), "{filtered:?}");
    }
}

/// Lets a second pass; how many pods are woken.
fn wakes(scene: &mut Scene) -> usize {
    scene.now = scene.now.plus_secs(1);
    scene.ledger.tick(scene.now);
    scene.ledger.drain().notices.iter().filter(|notice| matches!(notice, Notice::Wake { .. })).count()
}

/// Pods of a pool that is full, and then is not.
fn wait_in_pool(steps: &mut Steps, count: usize) {
    let mut scene = Scene::of_few_nodes(count * 40);
    scene.named_pool("blue", 0);
    let mut pods = scene.bare_pods(count);
    for pod in &mut pods {
        pod.pool = Some("blue".into());
        pod.policy = ReleasePolicy::Never;
    }
    steps.time("refused, the pool is full", || refuse_all(&mut scene, &pods));
    scene.named_pool("blue", count as u32);
    steps.time("woken when the pool grows", || assert_eq!(wakes(&mut scene), count));
    steps.time("filter, bind, bound in the pool", || bind_all(&mut scene, &mut pods));
    steps.time("deleted, kept in the pool", || gone(&mut scene, &pods));
}

/// Pods that all name the same ranges, in which every address is taken, and then is not.
fn wait_for_ranges(steps: &mut Steps, count: usize) {
    let mut scene = Scene::of_few_nodes(count * 40);
    let lists = vec![vec![IpRange::new(address(0, 0), address(0, count * 2 - 1)).expect("ascending")]];
    let with_lists = |mut pods: Vec<PodView>| {
        pods.iter_mut().for_each(|pod| pod.ranges = Ok(lists.clone()));
        pods
    };
    let mut holders = with_lists(scene.bare_pods(count));
    for pod in &mut holders {
        scene.pod = pod.clone();
        scene.bind_to(0);
        *pod = scene.pod.clone();
    }
    let pods = with_lists(scene.bare_pods(count));
    steps.time("refused, its ranges are taken", || refuse_all(&mut scene, &pods));
    gone(&mut scene, &holders);
    steps.time("woken when its ranges are free", || assert_eq!(wakes(&mut scene), count));
}
