//! Limits of Deployments and what a hold reserves (rules 11 and 12).

use galaxy_core::ReleasePolicy::{Immutable, Never};
use galaxy_core::ledger::*;

use crate::world::*;

#[test]
fn a_deployment_that_keeps_waits_at_its_replicas_and_is_told_the_numbers() {
    for policy in [Immutable, Never] {
        let mut w = World::new();
        let d = w.deployment("web", 4, policy);
        w.run();
        let spec = w.extra_pod(d);
        let p = w.pod(&spec);
        let refusal = w.schedule(&p).unwrap_err();
        assert_eq!(refusal.reason, Reason::LimitReached);
        assert!(refusal.text.contains("wait for releasing"), "{}", refusal.text);
        assert!(refusal.detail.contains("4 of 4"), "{}", refusal.detail);
    }
}

#[test]
fn two_filters_cannot_take_the_same_last_unit() {
    let mut w = World::new();
    let d = w.deployment("web", 4, Immutable);
    w.run();
    let pods = w.pods_of_deployment(d);
    w.delete_pod(&pods[0]);
    let (one, two) = (w.extra_pod(d), w.extra_pod(d));
    let (one, two) = (w.pod(&one), w.pod(&two));
    assert!(matches!(w.filter(&one), Verdict::Pass(_)));
    assert_eq!(w.filter(&two).reason(), Reason::LimitReached, "the unit is held for the first");
    assert!(w.bind(&one, "a1").is_ok());
    assert_eq!(w.filter(&two).reason(), Reason::LimitReached);
}

#[test]
fn two_filters_do_not_hold_the_same_reserved_address() {
    let mut w = World::new();
    let d = w.deployment("web", 4, Immutable);
    w.run();
    let pods = w.pods_of_deployment(d);
    let freed = [w.addr_of(&pods[0]), w.addr_of(&pods[1])];
    w.delete_pod(&pods[0]);
    w.delete_pod(&pods[1]);
    let (one, two) = (w.extra_pod(d), w.extra_pod(d));
    let (one, two) = (w.pod(&one), w.pod(&two));
    assert!(matches!(w.filter(&one), Verdict::Pass(_)));
    assert!(matches!(w.filter(&two), Verdict::Pass(_)));
    let got = [w.bind(&two, "a1").unwrap()[0], w.bind(&one, "a1").unwrap()[0]];
    assert_eq!(got, freed, "each binds to the one it held: the second call got the older");
}

/// A Deployment of one with its unit held by a pod that passed filter, and another pod that wants it.
fn held() -> (World, usize, Uid, Uid) {
    let mut w = World::new();
    let d = w.deployment("web", 4, Immutable);
    w.run();
    let pods = w.pods_of_deployment(d);
    w.delete_pod(&pods[0]);
    let (one, two) = (w.extra_pod(d), w.extra_pod(d));
    let (one, two) = (w.pod(&one), w.pod(&two));
    assert!(matches!(w.filter(&one), Verdict::Pass(_)));
    assert!(w.schedule(&two).is_err());
    (w, d, one, two)
}

#[test]
fn a_hold_ends_with_its_pod() {
    let (mut w, _, one, two) = held();
    w.delete_pod(&one);
    w.pass(1);
    assert!(w.was_woken(&two));
    assert!(w.schedule(&two).is_ok());
}

#[test]
fn a_hold_ends_after_ten_minutes() {
    let (mut w, _, _, two) = held();
    w.pass(590);
    assert!(!w.was_woken(&two));
    w.pass(20);
    assert!(w.was_woken(&two));
    assert!(w.schedule(&two).is_ok());
}

#[test]
fn a_hold_ends_when_the_scheduler_gives_the_pod_up() {
    let (mut w, _, one, two) = held();
    w.starve(&one);
    w.settle();
    w.pass(1);
    assert!(w.was_woken(&two));
    assert!(w.schedule(&two).is_ok());
}

#[test]
fn an_old_refusal_does_not_end_a_newer_hold() {
    let mut w = World::new();
    let d = w.deployment("web", 4, Immutable);
    w.run();
    let pods = w.pods_of_deployment(d);
    let (one, two) = (w.extra_pod(d), w.extra_pod(d));
    let (one, two) = (w.pod(&one), w.pod(&two));
    assert!(w.schedule(&one).is_err());
    w.delete_pod(&pods[0]);
    assert!(matches!(w.filter(&one), Verdict::Pass(_)));
    // The same refusal again, with something else changed.
    w.api.edit_pod(&one, |pod| pod.priority = 7);
    w.settle();
    assert_eq!(w.filter(&two).reason(), Reason::LimitReached, "still held");
}

#[test]
fn a_hold_ends_with_the_pods_next_filter() {
    let (mut w, _, one, two) = held();
    w.api.put_node(node("x1", "192.168.0.1"));
    w.settle();
    assert_eq!(w.filter_on(&one, &["x1"]).reason(), Reason::NodeNotConfigured);
    w.pass(1);
    assert!(w.was_woken(&two), "what the first gave up is there for the second");
}

#[test]
fn a_bind_without_a_filter_is_checked_against_the_limit() {
    let mut w = World::new();
    let d = w.deployment("web", 4, Immutable);
    w.run();
    let spec = w.extra_pod(d);
    let p = w.pod(&spec);
    let text = w.bind(&p, "a1").unwrap_err();
    assert!(text.contains("4 of 4"), "{text}");
    assert_eq!(w.objects().len(), 4);
}

#[test]
fn never_keeps_reserved_addresses_beyond_the_limit_but_pods_get_no_more() {
    let mut w = World::new();
    let d = w.deployment("web", 4, Never);
    w.run();
    let before = w.objects().len();
    w.edit_deployment(d, |deploy| deploy.replicas = 1);
    w.run();
    w.sweep();
    assert_eq!(w.objects().len(), before, "never frees nothing");
    assert_eq!(w.pods_of_deployment(d).len(), 1);
    let id = w.deployments[d].id.clone();
    let limit = 1; // the spare is for another version
    let mut served = 1;
    for _ in 0..3 {
        let spec = w.extra_pod(d);
        let p = w.pod(&spec);
        served += u32::from(w.schedule(&p).is_ok());
    }
    assert_eq!(served, limit);
    assert_eq!(w.addresses_of(&id).len(), before);
}

#[test]
fn no_pod_of_a_deployment_scaled_to_nothing_or_gone_is_served() {
    let mut w = World::new();
    let d = w.deployment("web", 4, Immutable);
    w.run();
    let spec = w.extra_pod(d);
    let id = w.deployments[d].id.clone();
    w.scale(&id, 0);
    let p = w.pod(&spec);
    assert_eq!(w.filter(&p).reason(), Reason::LimitReached);
    w.api.remove_workload(&id);
    w.settle();
    assert_eq!(w.filter(&p).reason(), Reason::WorkloadUnknown);
}
