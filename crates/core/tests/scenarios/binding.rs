//! Claims, Bindings, and answers that get lost (rules 1, 2, 3, 7 and 8).

use galaxy_core::ledger::*;

use crate::world::*;

fn unknown() -> Outcome {
    Outcome::Unknown("timed out".to_owned())
}

#[test]
fn a_bind_claims_writes_and_then_binds_with_the_pools_network() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    assert_eq!(w.call(|l, now| l.bind(now, &pod, "a1")), BindStep::Wait);
    assert!(matches!(&w.ops[0].op, Op::Create(record) if record.pod_uid.as_ref() == Some(&p)));
    assert_eq!(w.call(|l, now| l.bind_poll(now, &p, "a1")), BindStep::Wait, "not before the object is there");
    w.settle();
    let step = w.call(|l, now| l.bind_poll(now, &p, "a1"));
    let grant = Grant { ip: ip("10.0.0.2").ip(), prefix_len: 24, gateway: "10.0.0.1".parse().unwrap(), vlan: 0 };
    assert_eq!(step, BindStep::Bind { pod, node: "a1".into(), grants: vec![grant] });
}

#[test]
fn bind_is_idempotent_by_uid_and_node() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    assert_eq!(w.call(|l, now| l.bind(now, &pod, "a1")), BindStep::Wait);
    assert_eq!(w.call(|l, now| l.bind(now, &pod, "a1")), BindStep::Wait, "the same node joins");
    let other = w.call(|l, now| l.bind(now, &pod, "b1"));
    assert!(matches!(&other, BindStep::Refused(text) if text.contains("a1")), "{other:?}");
    w.settle();
    let (_, grants) = w.bind_until_binding(&p, "a1");
    assert_eq!(w.call(|l, now| l.bind_poll(now, &p, "a1")), BindStep::Wait, "the Binding is created exactly once");
    let outcome = w.api.bind(&p, "a1", &grants);
    w.call(|l, now| l.binding_done(now, &p, outcome));
    assert_eq!(w.call(|l, now| l.bind_poll(now, &p, "a1")), BindStep::Done);
    assert_eq!(w.call(|l, now| l.bind(now, &pod, "a1")), BindStep::Done);
    assert!(matches!(w.call(|l, now| l.bind(now, &pod, "b1")), BindStep::Refused(_)));
}

#[test]
fn bind_refuses_what_it_does_not_know() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let stranger = PodRef { uid: Uid::from("other"), ..w.pod_ref(&p) };
    assert!(matches!(w.call(|l, now| l.bind(now, &stranger, "a1")), BindStep::Refused(_)));
    assert!(w.bind(&p, "nowhere").unwrap_err().contains("nowhere"));
    w.delete_pod(&p);
    let gone = PodRef { namespace: NS.into(), name: "p".into(), uid: p };
    let step = w.call(|l, now| l.bind(now, &gone, "a1"));
    assert!(matches!(&step, BindStep::Refused(text) if text.contains("gone")), "{step:?}");
}

#[test]
fn somebody_elses_object_makes_the_pod_choose_another_address() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    // Another decider was faster.
    let other = Record {
        pod_name: Some("other".into()),
        pod_uid: Some(Uid::from("other")),
        workload: Some(WorkloadId::bare_pod(NS, "other")),
        node: Some("a2".into()),
        ..blank("10.0.0.2", State::Bound)
    };
    w.api.create(other.clone());
    w.api.events.clear();
    w.settle();
    let (_, grants) = w.bind_until_binding(&p, "a1");
    assert_eq!(grants[0].ip, ip("10.0.0.3").ip());
    assert_eq!(w.record("10.0.0.2"), Some(other));
    let info = w.ledger.info(ip("10.0.0.2")).unwrap();
    assert_eq!(info.pod_uid, Some(Uid::from("other")), "it learned who has it");
}

#[test]
fn already_exists_on_an_object_of_ours_is_used() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    // The create went through, its answer did not; the retry meets it.
    let write = w.take_op(ip("10.0.0.2"));
    w.api.apply(write.addr, &write.op);
    w.api.events.clear();
    w.report(&write, Outcome::Stale);
    let read = w.take_op(ip("10.0.0.2"));
    assert_eq!(read.op, Op::Read);
    w.perform(read);
    assert_eq!(w.bind(&p, "a1"), Ok(vec![ip("10.0.0.2")]));
    assert_eq!(w.objects().len(), 1);
}

#[test]
fn a_create_of_unknown_outcome_is_read_back_before_anything_else() {
    for landed in [true, false] {
        let mut w = World::new();
        let p = w.pod(&PodSpec::bare("p"));
        let pod = w.pod_ref(&p);
        w.call(|l, now| l.bind(now, &pod, "a1"));
        let write = w.take_op(ip("10.0.0.2"));
        if landed {
            w.api.apply(write.addr, &write.op);
        }
        w.report(&write, unknown());
        assert_eq!(w.ops.len(), 1);
        assert_eq!(w.ops[0].op, Op::Read, "nothing is decided before the read");
        assert_eq!(w.bind(&p, "a1"), Ok(vec![ip("10.0.0.2")]), "landed: {landed}");
    }
}

#[test]
fn a_delayed_create_that_lands_late_is_cleaned_up() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let write = w.take_op(ip("10.0.0.2"));
    w.report(&write, unknown());
    w.delete_pod(&p);
    assert!(w.objects().is_empty());
    w.api.apply(write.addr, &write.op);
    w.settle();
    assert!(w.objects().is_empty(), "the late object of a pod that is gone is deleted: {:?}", w.objects());
}

#[test]
fn a_delayed_create_that_lands_on_another_owner_changes_nothing() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2"));
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let write = w.take_op(ip("10.0.0.2"));
    w.report(&write, unknown());
    w.delete_pod(&p);
    let (q, addr) = w.bound(&PodSpec::bare("q"));
    assert_eq!(w.api.apply(write.addr, &write.op), Outcome::Stale, "the object is the lock");
    w.settle();
    assert_eq!(w.record(&addr.to_string()).unwrap().pod_uid, Some(q));
}

#[test]
fn an_update_of_unknown_outcome_and_a_conflict_are_read_back() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.start_deletion(&p);
    w.api.remove_pod(&p);
    while let Some(event) = w.api.events.pop_front() {
        w.deliver(event);
    }
    // Somebody annotates the object by hand: the update meets a conflict.
    w.api.edit(addr, |_| {});
    w.api.events.clear();
    w.settle();
    assert_eq!(w.state(&addr.to_string()), Some(State::Reserved));

    let p = w.pod(&PodSpec::of("cart-0", &sts).immutable());
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let write = w.take_op(addr);
    w.api.apply(addr, &write.op);
    w.report(&write, unknown());
    assert_eq!(w.bind(&p, "a1"), Ok(vec![addr]));
    assert_eq!(w.record(&addr.to_string()).unwrap().pod_uid, Some(p));
}

#[test]
fn a_conflicting_edit_between_release_and_its_write_does_not_revive_the_dead_owner() {
    let mut w = World::new();
    let d = w.deployment("web", 4, galaxy_core::ReleasePolicy::Immutable);
    w.run();
    let pod = w.pods_of_deployment(d)[0].clone();
    let addr = w.addr_of(&pod);
    w.api.remove_pod(&pod);
    while let Some(event) = w.api.events.pop_front() {
        w.deliver(event);
    }
    w.api.edit(addr, |_| {});
    w.api.events.clear();
    w.settle();
    assert_eq!(w.objects()[&addr], "dp_shop_web_", "reserved, not bound to the pod that is gone");
}

#[test]
fn a_delete_of_unknown_outcome_is_finished() {
    for landed in [true, false] {
        let mut w = World::new();
        let (p, addr) = w.bound(&PodSpec::bare("p"));
        w.api.remove_pod(&p);
        while let Some(event) = w.api.events.pop_front() {
            w.deliver(event);
        }
        let write = w.take_op(addr);
        assert!(matches!(write.op, Op::Delete(_)));
        if landed {
            w.api.apply(addr, &write.op);
        }
        w.report(&write, unknown());
        w.settle();
        assert!(w.objects().is_empty(), "landed: {landed}");
        assert_eq!(w.ledger.info(addr).unwrap().state, None);
    }
}

#[test]
fn a_refused_write_fails_the_bind_with_its_reason_and_leaves_nothing() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let write = w.take_op(ip("10.0.0.2"));
    w.report(&write, Outcome::Refused("exceeded quota".to_owned()));
    let step = w.call(|l, now| l.bind_poll(now, &p, "a1"));
    assert!(matches!(&step, BindStep::Refused(text) if text.contains("exceeded quota")), "{step:?}");
    assert_eq!(w.ledger.info(ip("10.0.0.2")).unwrap().state, None);
    assert_eq!(w.bind(&p, "a1"), Ok(vec![ip("10.0.0.2")]), "the next try is like the first");
}

#[test]
fn a_refused_delete_is_tried_again() {
    let mut w = World::new();
    let (p, addr) = w.bound(&PodSpec::bare("p"));
    w.api.remove_pod(&p);
    while let Some(event) = w.api.events.pop_front() {
        w.deliver(event);
    }
    let write = w.take_op(addr);
    w.report(&write, Outcome::Refused("forbidden".to_owned()));
    assert!(w.ops.is_empty(), "not at once");
    w.pass(60);
    assert!(w.objects().is_empty());
}

#[test]
fn an_outcome_with_an_old_ticket_is_ignored() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let write = w.take_op(ip("10.0.0.2"));
    w.perform(write.clone());
    w.report(&write, Outcome::Gone);
    w.report(&Write { ticket: write.ticket + 77, ..write }, Outcome::Gone);
    assert_eq!(w.bind(&p, "a1"), Ok(vec![ip("10.0.0.2")]));
}

#[test]
fn a_binding_without_answer_keeps_its_address_until_the_pod_is_seen() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2"));
    let p = w.pod(&PodSpec::bare("p"));
    let (_, grants) = w.bind_until_binding(&p, "a1");
    w.call(|l, now| l.binding_done(now, &p, BindingOutcome::Unknown("timed out".to_owned())));
    let view = w.api.pod(&p).clone();
    w.call(|l, now| l.pod_observed(now, view));
    assert!(matches!(w.call(|l, now| l.bind_poll(now, &p, "a1")), BindStep::Refused(_)));
    w.pass(3600);
    w.sweep();
    assert_eq!(w.objects().len(), 1, "it may still land");
    let q = w.pod(&PodSpec::bare("q"));
    assert_eq!(w.filter(&q).reason(), Reason::NoAddress);

    // It lands.
    assert_eq!(w.api.bind(&p, "a1", &grants), BindingOutcome::Bound);
    w.settle();
    let pod = w.pod_ref(&p);
    assert_eq!(w.call(|l, now| l.bind(now, &pod, "a1")), BindStep::Done);
}

#[test]
fn a_binding_without_answer_is_tried_again_with_the_same_address() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let (_, grants) = w.bind_until_binding(&p, "a1");
    w.call(|l, now| l.binding_done(now, &p, BindingOutcome::Unknown("timed out".to_owned())));
    assert_eq!(w.bind(&p, "a1"), Ok(vec![galaxy_core::Addr::from(grants[0].ip)]));
    assert_eq!(w.objects().len(), 1);
}

#[test]
fn a_delayed_binding_that_lands_after_a_bind_to_another_node_wins_and_the_rest_is_freed() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let (_, first) = w.bind_until_binding(&p, "a1");
    w.call(|l, now| l.binding_done(now, &p, BindingOutcome::Unknown("timed out".to_owned())));
    assert_eq!(w.filter_on(&p, &["b1"]).nodes(), ["b1"], "its node is not offered: fresh elsewhere");
    let (_, second) = w.bind_until_binding(&p, "b1");
    assert_ne!(first, second);
    assert_eq!(w.objects().len(), 2, "the first is kept: its Binding may still land");
    // The first lands; the second meets a conflict.
    assert_eq!(w.api.bind(&p, "a1", &first), BindingOutcome::Bound);
    let outcome = w.api.bind(&p, "b1", &second);
    w.call(|l, now| l.binding_done(now, &p, outcome));
    w.settle();
    w.sweep();
    let left: Vec<_> = w.objects().into_keys().collect();
    assert_eq!(left, [galaxy_core::Addr::from(first[0].ip)]);
    assert_eq!(w.record(&left[0].to_string()).unwrap().node.as_deref(), Some("a1"));
    let pod = w.pod_ref(&p);
    assert!(matches!(w.call(|l, now| l.bind(now, &pod, "b1")), BindStep::Refused(_)));
    assert_eq!(w.call(|l, now| l.bind(now, &pod, "a1")), BindStep::Done);
}

#[test]
fn bound_elsewhere_with_our_address_records_that_node() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let (_, grants) = w.bind_until_binding(&p, "a1");
    w.api.bind(&p, "a2", &grants);
    w.call(|l, now| l.binding_done(now, &p, BindingOutcome::Unknown("conflict".to_owned())));
    w.settle();
    assert_eq!(w.record("10.0.0.2").unwrap().node.as_deref(), Some("a2"));
}

#[test]
fn bound_elsewhere_without_our_address_frees_it() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    w.bind_until_binding(&p, "a1");
    w.api.bind(&p, "a2", &[]);
    w.call(|l, now| l.binding_done(now, &p, BindingOutcome::Unknown("conflict".to_owned())));
    w.settle();
    assert!(w.objects().is_empty(), "{:?}", w.objects());
}

#[test]
fn a_binding_that_finds_no_pod_frees_the_address() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let (_, grants) = w.bind_until_binding(&p, "a1");
    w.api.remove_pod(&p);
    w.api.events.clear();
    let outcome = w.api.bind(&p, "a1", &grants);
    assert_eq!(outcome, BindingOutcome::NotFound);
    w.call(|l, now| l.binding_done(now, &p, outcome));
    w.settle();
    assert!(w.objects().is_empty());
}

#[test]
fn a_claim_that_never_got_bound_pins_nothing() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let (_, first) = w.bind_until_binding(&p, "a1");
    w.call(|l, now| l.binding_done(now, &p, BindingOutcome::Refused("node a1 is being deleted".to_owned())));
    assert_eq!(w.filter(&p).nodes(), ["a1", "a2"], "nodes that route the claim first");
    assert_eq!(w.filter_on(&p, &["b1", "c1"]).nodes(), ["b1", "c1"]);
    let addrs = w.bind(&p, "b1").unwrap();
    assert_ne!(addrs[0].ip(), first[0].ip);
    w.sweep();
    assert_eq!(w.objects().into_keys().collect::<Vec<_>>(), addrs, "the first claim is freed");
}

#[test]
fn a_late_event_of_an_old_pod_changes_nothing_of_a_new_one() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (old, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    let late = w.api.pod(&old).clone();
    w.delete_pod(&old);
    let (new, again) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    assert_eq!(again, addr);
    w.call(|l, now| l.pod_gone(now, &old));
    w.call(|l, now| l.pod_observed(now, late.clone()));
    w.call(|l, now| l.pod_observed(now, PodView { phase: Phase::Succeeded, ..late }));
    w.settle();
    let record = w.record(&addr.to_string()).unwrap();
    assert_eq!((record.state, record.pod_uid), (State::Bound, Some(new)));
}

#[test]
fn the_successor_of_a_pod_whose_deletion_was_not_seen_gets_its_address() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (old, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.api.remove_pod(&old);
    w.api.events.clear();
    let new = w.pod(&PodSpec::of("cart-0", &sts).immutable());
    assert_eq!(w.schedule(&new), Ok(addr), "a newer pod of the name proves the older one gone");
}

#[test]
fn after_a_restart_a_predecessor_nobody_saw_go_is_proved_gone_at_once() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (old, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.api.remove_pod(&old);
    let new = w.create_pod(&PodSpec::of("cart-0", &sts).immutable());
    w.start();
    assert_eq!(w.schedule(&new).unwrap_err().reason, Reason::PredecessorAlive);
    assert_eq!(w.state(&addr.to_string()), Some(State::Reserved), "proved by the read it asked for");
    w.pass(1);
    assert!(w.was_woken(&new));
    assert_eq!(w.schedule(&new), Ok(addr));
}
