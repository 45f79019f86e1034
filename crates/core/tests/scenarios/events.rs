//! Objects that change by hand, running pods without objects, old records, and events that come late
//! (rules 4, 5, 6 and 9).

use galaxy_core::ReleasePolicy::{Default, Immutable, Never};
use galaxy_core::ledger::*;

use crate::world::*;

#[test]
fn the_object_of_a_live_pod_deleted_by_hand_is_made_again() {
    let mut w = World::new();
    let (p, addr) = w.bound(&PodSpec::bare("p"));
    w.api.delete(addr);
    w.settle();
    assert_eq!(w.record(&addr.to_string()).unwrap().pod_uid, Some(p));
}

#[test]
fn an_object_deleted_while_a_write_about_it_is_under_way_is_made_again() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let write = w.take_op(ip("10.0.0.2"));
    let outcome = w.api.apply(write.addr, &write.op);
    w.api.delete(write.addr);
    while let Some(event) = w.api.events.pop_front() {
        w.deliver(event);
    }
    w.report(&write, outcome);
    w.settle();
    assert_eq!(w.record("10.0.0.2").map(|record| record.pod_uid), Some(Some(p)));
}

#[test]
fn an_edit_does_not_take_the_address_of_a_live_pod() {
    let mut w = World::new();
    let (p, addr) = w.bound(&PodSpec::bare("p"));
    w.api.edit(addr, |record| {
        record.state = State::Reserved;
        record.pod_uid = None;
    });
    w.settle();
    assert_eq!(w.record(&addr.to_string()).unwrap().pod_uid, Some(p), "written again");
}

#[test]
fn a_reservation_deleted_by_hand_is_free() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.delete_pod(&p);
    w.api.delete(addr);
    w.settle();
    assert_eq!(w.ledger.info(addr).unwrap().state, None);
    w.pass(61);
    assert_eq!(w.bound(&PodSpec::bare("q")).1, addr);
}

#[test]
fn an_admins_reservation_is_never_touched() {
    for key in ["pool__reserved-for-node_", "sts_shop_cart_cart-0", "nonsense"] {
        let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.3"));
        w.admin_reserves("10.0.0.2", key);
        assert_eq!(w.bound(&PodSpec::bare("p")).1, ip("10.0.0.3"));
        let q = w.pod(&PodSpec::bare("q"));
        assert_eq!(w.schedule(&q).unwrap_err().reason, Reason::NoAddress);
        w.sweep();
        w.pass(3600);
        w.sweep();
        let info = w.ledger.info(ip("10.0.0.2")).unwrap();
        assert_eq!((info.state, info.key.as_deref()), (Some(State::Admin), Some(key)));
        w.start();
        w.settle();
        assert_eq!(w.state("10.0.0.2"), Some(State::Admin));
        w.api.delete(ip("10.0.0.2"));
        w.settle();
        w.pass(1);
        assert!(w.schedule(&q).is_ok(), "given back by the admin, it is free");
    }
}

#[test]
fn a_label_that_comes_and_goes() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.delete_pod(&p);
    w.api.label(addr, true);
    w.settle();
    assert_eq!(w.ledger.info(addr).unwrap().state, Some(State::Admin));
    let (p, other) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    assert_ne!(other, addr, "the admin has it");
    w.delete_pod(&p);
    w.api.label(addr, false);
    w.settle();
    assert_eq!(w.ledger.info(addr).unwrap().state, Some(State::Reserved), "what it was before");
}

#[test]
fn a_label_on_a_live_pods_object_waits_for_the_pod_to_go() {
    for policy in [Default, Immutable] {
        let mut w = World::new();
        let sts = w.stateful_set("cart", 1);
        let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).policy(policy));
        w.api.label(addr, true);
        w.settle();
        assert_eq!(w.api.raw(addr).unwrap().pod_uid, Some(p.clone()), "the owner stays");
        w.delete_pod(&p);
        w.api.remove_workload(&sts.id);
        w.settle();
        w.sweep();
        w.sweep();
        assert!(w.objects().contains_key(&addr), "{policy}: left to the admin");
        w.pass(3600);
        w.sweep();
        let (_, other) = w.bound(&PodSpec::bare("q"));
        assert_ne!(other, addr, "{policy}");
    }
}

#[test]
fn a_running_pod_without_object_is_adopted_where_the_kubelet_confirms_it() {
    let mut w = World::new();
    let p = w.create_pod(&PodSpec::bare("p"));
    w.api.edit_pod(&p, |pod| {
        pod.node = Some("a1".into());
        pod.phase = Phase::Running;
        pod.annotated = vec![ip("10.0.0.4").ip()];
        pod.ips = vec![ip("10.0.0.4").ip()];
    });
    w.settle();
    let record = w.record("10.0.0.4").unwrap();
    assert_eq!((record.state, record.pod_uid, record.node.as_deref()), (State::Bound, Some(p), Some("a1")));
}

#[test]
fn an_unconfirmed_annotation_is_disputed_and_withheld() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.3"));
    let p = w.create_pod(&PodSpec::bare("p"));
    w.api.edit_pod(&p, |pod| {
        pod.node = Some("a1".into());
        pod.phase = Phase::Running;
        pod.annotated = vec![ip("10.0.0.2").ip()];
        pod.ips = vec!["192.168.7.7".parse().unwrap()];
    });
    w.settle();
    assert!(w.objects().is_empty(), "nothing is written");
    assert!(w.ledger.info(ip("10.0.0.2")).unwrap().disputed);
    assert_eq!(w.bound(&PodSpec::bare("q")).1, ip("10.0.0.3"));
    let r = w.pod(&PodSpec::bare("r"));
    assert!(w.schedule(&r).is_err());
    w.start();
    w.settle();
    assert!(w.ledger.info(ip("10.0.0.2")).unwrap().disputed, "after a restart, too");
    w.delete_pod(&p);
    w.pass(1);
    assert!(w.was_woken(&r));
    assert_eq!(w.schedule(&r), Ok(ip("10.0.0.2")), "nobody claims it any more");
}

#[test]
fn an_annotation_that_names_another_pods_address_is_reported_and_ignored() {
    let mut w = World::new();
    let (p, addr) = w.bound(&PodSpec::bare("p"));
    w.notices();
    let q = w.create_pod(&PodSpec::bare("q"));
    w.api.edit_pod(&q, |pod| {
        pod.node = Some("a1".into());
        pod.phase = Phase::Running;
        pod.annotated = vec![addr.ip()];
        pod.ips = vec![addr.ip()];
    });
    w.settle();
    assert_eq!(w.record(&addr.to_string()).unwrap().pod_uid, Some(p));
    let told = |n: &Notice| matches!(n, Notice::PodEvent { pod, reason: "FloatingIPConflict", .. } if pod.uid == q);
    assert!(w.notices().iter().any(told));
    w.delete_pod(&q);
    assert_eq!(w.objects().len(), 1, "a stranger's going frees nothing");
}

#[test]
fn a_pending_pods_annotation_is_a_wish_not_a_fact() {
    let mut w = World::new();
    let p = w.create_pod(&PodSpec::bare("p"));
    w.api.edit_pod(&p, |pod| pod.annotated = vec![ip("10.0.0.4").ip()]);
    w.settle();
    assert!(w.objects().is_empty());
    assert_eq!(w.schedule(&p), Ok(ip("10.0.0.2")));
}

#[test]
fn a_missing_pod_is_proved_before_anything_is_freed() {
    let mut w = World::new();
    let (p, addr) = w.bound(&PodSpec::bare("p"));
    w.call(|l, now| l.pod_missing(now, &p));
    w.pass(3600);
    assert!(w.objects().contains_key(&addr));
    let doubts = w.call(|l, now| l.sweep(now));
    assert_eq!(doubts, [Doubt::Pod(w.pod_ref(&p))]);
    w.call(|l, now| l.pod_alive(now, &p));
    assert_eq!(w.call(|l, now| l.sweep(now)), [], "it is there after all; idle, a sweep has nothing to ask");
    w.call(|l, now| l.pod_missing(now, &p));
    w.api.remove_pod(&p);
    w.api.events.clear();
    w.sweep();
    assert!(w.objects().is_empty());
}

#[test]
fn a_pod_that_went_while_nobody_watched_is_found_by_the_sweep() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, freed) = w.bound(&PodSpec::bare("p"));
    let (q, kept) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.api.remove_pod(&p);
    w.api.remove_pod(&q);
    w.start();
    w.settle();
    assert_eq!(w.objects().len(), 2, "the cache alone proves nothing");
    w.sweep();
    assert!(!w.objects().contains_key(&freed));
    assert_eq!(w.state(&kept.to_string()), Some(State::Reserved));
}

#[test]
fn old_records_without_uids_are_kept_used_and_freed_like_new_ones() {
    let mut w = World::new();
    let tapp = w.tapp("demo", 3);
    let sts = w.stateful_set("cart", 3);
    let legacy = |addr: &str, workload: WorkloadId, pod: &str, policy| Record {
        workload: Some(workload),
        pod_name: Some(pod.into()),
        policy,
        ..blank(addr, State::Reserved)
    };
    w.api.create(legacy("10.0.0.3", WorkloadId::stateful_set(NS, "cart"), "cart-1", Immutable));
    w.api.create(legacy("10.0.0.4", WorkloadId::new(UNKNOWN_GROUP, "tapp", NS, "demo"), "demo-1", Immutable));
    w.api.create(legacy("10.0.0.5", WorkloadId::new(UNKNOWN_GROUP, "tapp", NS, "demo"), "demo-7", Immutable));
    w.api.create(legacy("10.0.2.3", WorkloadId::new(UNKNOWN_GROUP, "tapp", NS, "demo"), "demo-9", Never));
    let p = w.create_pod(&PodSpec::of("demo-1", &tapp).immutable());
    w.start();
    w.settle();
    assert_eq!(w.schedule(&p), Ok(ip("10.0.0.4")), "the kind was all that the old key knew");
    assert_eq!(w.record("10.0.0.4").unwrap().workload, Some(tapp.id.clone()));
    assert_eq!(w.bound(&PodSpec::of("cart-1", &sts).immutable()).1, ip("10.0.0.3"));
    w.sweep();
    assert_eq!(w.state("10.0.0.5"), None, "the ordinal is out of range");
    assert_eq!(w.state("10.0.2.3"), Some(State::Reserved), "never stays");
}

#[test]
fn an_old_record_of_a_pod_without_uid_goes_to_that_pod_or_is_freed() {
    let mut w = World::new();
    let old = |addr: &str, pod: &str| Record {
        workload: Some(WorkloadId::bare_pod(NS, pod)),
        pod_name: Some(pod.into()),
        node: Some("a1".into()),
        ..blank(addr, State::Bound)
    };
    w.api.create(old("10.0.0.3", "alive"));
    w.api.create(old("10.0.0.4", "dead"));
    let p = w.create_pod(&PodSpec::bare("alive"));
    w.api.edit_pod(&p, |pod| {
        pod.node = Some("a1".into());
        pod.phase = Phase::Running;
        pod.annotated = vec![ip("10.0.0.3").ip()];
        pod.ips = pod.annotated.clone();
    });
    w.start();
    w.settle();
    w.sweep();
    assert_eq!(w.record("10.0.0.3").unwrap().pod_uid, Some(p));
    assert_eq!(w.state("10.0.0.4"), None);
}

#[test]
fn an_object_made_by_another_decider_for_a_pod_that_is_gone_is_deleted() {
    let mut w = World::new();
    let (p, _) = w.bound(&PodSpec::bare("p"));
    w.delete_pod(&p);
    let stranger = Record {
        workload: Some(WorkloadId::bare_pod(NS, "p")),
        pod_name: Some("p".into()),
        pod_uid: Some(p),
        ..blank("10.0.0.5", State::Bound)
    };
    w.api.create(stranger);
    w.settle();
    assert_eq!(w.state("10.0.0.5"), None);
}

#[test]
fn late_and_repeated_address_events_change_nothing() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    let old = w.api.read(addr).unwrap();
    w.delete_pod(&p);
    let kept = w.api.read(addr).unwrap();
    w.call(|l, now| l.address_observed(now, old.clone()));
    w.call(|l, now| l.address_observed(now, kept.clone()));
    w.call(|l, now| l.address_deleted(now, addr, &ObjectRef { uid: Uid::from("other"), version: 1 }));
    w.settle();
    assert_eq!(w.ledger.info(addr).unwrap().state, Some(State::Reserved));
    assert_eq!(w.api.read(addr).unwrap(), kept, "nothing was written");
}

#[test]
fn a_late_event_of_an_earlier_workload_of_the_name_is_ignored() {
    let mut w = World::new();
    let old = w.stateful_set("cart", 9);
    let late = w.api.workloads[&old.id].clone();
    w.api.remove_workload(&old.id);
    let new = w.stateful_set("cart", 1);
    w.call(|l, now| l.workload_observed(now, late.clone()));
    let (p, addr) = w.bound(&PodSpec::of("cart-5", &new).immutable());
    w.delete_pod(&p);
    assert_eq!(w.state(&addr.to_string()), None, "ordinal 5 is out of the new one's range");

    // An answer that was on its way while the workload went.
    w.api.remove_workload(&new.id);
    w.settle();
    w.call(|l, now| l.workload_observed(now, late));
    let (p, addr) = w.bound(&PodSpec::of("cart-6", &new).immutable());
    w.delete_pod(&p);
    assert_eq!(w.state(&addr.to_string()), None, "the workload is gone");
}

#[test]
fn a_standby_learns_and_writes_nothing_and_a_new_leader_starts_from_the_list() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.call(|l, now| l.set_active(now, false));
    assert!(matches!(w.filter(&p), Verdict::NotNow(_)));
    let pod = w.pod_ref(&p);
    assert!(matches!(w.call(|l, now| l.bind(now, &pod, "a1")), BindStep::Refused(_)));
    let q = w.pod(&PodSpec::bare("q"));
    w.delete_pod(&p);
    w.pass(60);
    assert!(w.ops.is_empty() && w.call(|l, now| l.sweep(now)).is_empty());
    assert_eq!(w.state(&addr.to_string()), Some(State::Bound), "not its job now");

    w.load();
    w.call(|l, now| l.set_active(now, true));
    w.settle();
    w.sweep();
    assert_eq!(w.state(&addr.to_string()), Some(State::Reserved));
    assert!(w.schedule(&q).is_ok());
}

#[test]
fn pods_that_slept_through_a_change_of_leader_are_woken() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2"));
    let (p, _) = w.bound(&PodSpec::bare("p"));
    let q = w.pod(&PodSpec::bare("q"));
    assert!(w.schedule(&q).is_err());
    for fresh in [true, false] {
        if fresh {
            w.start();
        } else {
            w.call(|l, now| l.set_active(now, false));
            w.load();
            w.call(|l, now| l.set_active(now, true));
        }
        w.settle();
        assert_eq!(w.ledger.waiting().len(), 1, "counts as refused; fresh: {fresh}");
    }
    w.delete_pod(&p);
    w.pass(1);
    assert!(w.was_woken(&q));
    assert!(w.schedule(&q).is_ok());
}

#[test]
fn a_pod_that_is_gone_does_not_come_back_by_a_late_event() {
    let mut w = World::new();
    let (p, _) = w.bound(&PodSpec::bare("p"));
    let late = w.api.pod(&p).clone();
    w.delete_pod(&p);
    w.call(|ledger, now| ledger.pod_observed(now, late));
    assert!(!w.ledger.knows_pod(&p));
}

#[test]
fn the_end_of_another_incarnation_of_a_workload_frees_nothing() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.delete_pod(&p);
    w.call(|ledger, now| ledger.workload_gone(now, &sts.id, Some(&"an-earlier-one".into())));
    w.settle();
    assert!(w.objects().contains_key(&addr));
    w.call(|ledger, now| ledger.workload_gone(now, &sts.id, Some(&sts.uid)));
    w.settle();
    assert!(w.objects().is_empty());
}

#[test]
fn a_workload_that_is_gone_does_not_come_back_by_a_late_event() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, _) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.call(|ledger, now| ledger.workload_gone(now, &sts.id, Some(&sts.uid)));
    // Its last event carries the version of the deletion.
    let late = WorkloadView { version: sts.version + 1_000_000, ..sts };
    w.call(|ledger, now| ledger.workload_observed(now, late));
    w.delete_pod(&p);
    assert!(w.objects().is_empty(), "nothing is kept for what is gone");
}
