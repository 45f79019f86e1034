//! The scheduling queue by itself, at times that the test decides.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use galaxy_sandbox::scheduler::{
    SchedulerConfig,
    event::{ClusterEvent, NodeChange},
    filter::Plugin,
    queue::{Place, Queue},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

fn pod(uid: &str, version: u32, priority: i32) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": uid, "uid": uid, "resourceVersion": version.to_string()},
        "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn node(cpu: &str) -> Arc<Node> {
    let node = json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": cpu, "pods": "10"}}});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn queue(pop_from_backoff: bool) -> Queue {
    Queue::new(&SchedulerConfig { pop_from_backoff, ..SchedulerConfig::default() })
}

fn pop(queue: &mut Queue, now: i64) -> Option<String> {
    queue.pop(at(now)).map(|pod| pod.uid.clone())
}

fn by(plugins: &[Plugin]) -> BTreeSet<Plugin> {
    plugins.iter().copied().collect()
}

#[test]
fn priority_goes_first_then_age() {
    let mut queue = queue(true);
    for (uid, priority, now) in [("a", 0, 0), ("b", 0, 1), ("c", 5, 2), ("d", 5, 3)] {
        queue.upsert(pod(uid, 1, priority), at(now));
    }
    let order: Vec<_> = (0..4).filter_map(|_| pop(&mut queue, 10)).collect();
    assert_eq!(order, ["c", "d", "a", "b"]);
    assert_eq!(pop(&mut queue, 10), None);
    assert_eq!(queue.place("a"), Some(Place::InFlight));
}

#[test]
fn errors_pause_for_1_2_4_8_10_10_seconds_whatever_happens() {
    let mut queue = queue(true);
    queue.upsert(pod("a", 1, 0), at(0));
    let mut now = 0;
    for pause in [1, 2, 4, 8, 10, 10] {
        assert_eq!(pop(&mut queue, now), Some("a".into()), "at {now}");
        queue.failed("a", at(now));
        queue.event(&ClusterEvent::PodGone, None, at(now));
        queue.upsert(pod("a", 2, 0), at(now));
        let due = now + pause * 1000;
        assert_eq!(queue.next_deadline(), at(due));
        assert_eq!(pop(&mut queue, due - 1), None, "before {due}");
        now = due;
    }
}

#[test]
fn a_refused_pod_sleeps_until_an_event_concerns_it() {
    let allocatable = NodeChange { allocatable: true, ..NodeChange::default() };
    let labels = NodeChange { labels: true, ..NodeChange::default() };
    let (fit, taint, extender) = (Plugin::NodeResourcesFit, Plugin::TaintToleration, Plugin::Extender);
    for (plugins, event, wakes) in [
        (by(&[extender]), ClusterEvent::PodGone, true),
        (by(&[extender]), ClusterEvent::PodAssigned, false),
        (by(&[extender]), ClusterEvent::NodeAdded(node("8")), true),
        (by(&[extender]), ClusterEvent::NodeUpdated(node("8"), labels), true),
        (by(&[fit]), ClusterEvent::PodGone, true),
        (by(&[fit]), ClusterEvent::NodeAdded(node("8")), true),
        (by(&[fit]), ClusterEvent::NodeAdded(node("500m")), false),
        (by(&[fit]), ClusterEvent::NodeUpdated(node("8"), allocatable), true),
        (by(&[fit]), ClusterEvent::NodeUpdated(node("8"), labels), false),
        (by(&[taint]), ClusterEvent::PodGone, false),
        (by(&[taint]), ClusterEvent::NodeAdded(node("8")), true),
        (by(&[taint, extender]), ClusterEvent::PodGone, true),
    ] {
        let mut queue = queue(true);
        queue.upsert(pod("a", 1, 0), at(0));
        assert!(pop(&mut queue, 0).is_some());
        queue.refused("a", plugins.clone(), at(0));
        assert_eq!(pop(&mut queue, 100), None);
        queue.event(&event, None, at(100));
        assert_eq!(pop(&mut queue, 100).is_some(), wakes, "{plugins:?} {event:?}");
    }
}

#[test]
fn its_own_status_wakes_a_pod_that_an_extender_refused_and_no_other() {
    for (plugin, wakes) in [(Plugin::Extender, true), (Plugin::NodeResourcesFit, false)] {
        let mut queue = queue(true);
        queue.upsert(pod("a", 1, 0), at(0));
        assert!(pop(&mut queue, 0).is_some());
        queue.refused("a", by(&[plugin]), at(0));
        queue.upsert(pod("a", 1, 0), at(10));
        assert_eq!(pop(&mut queue, 10), None, "the same version is no change");
        queue.upsert(pod("a", 2, 0), at(10));
        assert_eq!(pop(&mut queue, 10).is_some(), wakes, "{plugin:?}");
    }
}

#[test]
fn without_popping_from_backoff_a_woken_pod_keeps_its_pause() {
    let mut queue = queue(false);
    queue.upsert(pod("a", 1, 0), at(0));
    let mut now = 0;
    for pause in [1, 2, 4] {
        assert!(pop(&mut queue, now).is_some());
        queue.refused("a", by(&[Plugin::Extender]), at(now));
        queue.event(&ClusterEvent::PodGone, None, at(now + 1));
        let until = at(now + pause * 1000);
        assert_eq!(queue.place("a"), Some(Place::Backoff { until, error: false }));
        assert_eq!(pop(&mut queue, now + pause * 1000 - 1), None);
        now += pause * 1000;
    }
    assert_eq!(pop(&mut queue, now), Some("a".into()));
    queue.refused("a", by(&[Plugin::Extender]), at(now));
    queue.event(&ClusterEvent::PodGone, None, at(now + 60_000));
    assert_eq!(queue.place("a"), Some(Place::Active), "the pause was over long before the event");
}

#[test]
fn nobody_sleeps_for_more_than_five_minutes() {
    let mut queue = queue(true);
    queue.upsert(pod("a", 1, 0), at(0));
    assert!(pop(&mut queue, 0).is_some());
    queue.refused("a", by(&[Plugin::Extender]), at(0));
    assert_eq!(queue.next_deadline(), at(300_000));
    assert_eq!(pop(&mut queue, 299_999), None);
    assert_eq!(pop(&mut queue, 300_000), Some("a".into()));
}

#[test]
fn the_gone_are_forgotten_and_the_excepted_sleep_on() {
    let mut queue = queue(true);
    for uid in ["a", "b", "c"] {
        queue.upsert(pod(uid, 1, 0), at(0));
        assert!(pop(&mut queue, 0).is_some());
        queue.refused(uid, by(&[Plugin::Extender]), at(0));
    }
    assert!(queue.remove("a") && !queue.remove("a"));
    queue.event(&ClusterEvent::Any, Some("b"), at(0));
    assert_eq!(pop(&mut queue, 1), Some("c".into()));
    assert_eq!(pop(&mut queue, 1), None);
    assert_eq!(queue.next_deadline(), at(0) + Duration::from_secs(300));
}
