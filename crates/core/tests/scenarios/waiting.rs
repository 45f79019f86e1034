//! Who waits is woken (rule 16), and refusals are calm (rule 15).

use galaxy_core::ReleasePolicy::Immutable;
use galaxy_core::ledger::*;

use crate::world::*;

/// One address, taken by `p`.
fn full() -> (World, Uid) {
    let mut w = World::with(Settings::default(), flat("10.0.0.2"));
    let (p, _) = w.bound(&PodSpec::bare("p"));
    (w, p)
}

fn waiting(w: &mut World, spec: PodSpec) -> Uid {
    let uid = w.pod(&spec);
    assert_eq!(w.schedule(&uid).unwrap_err().reason, Reason::NoAddress);
    uid
}

#[test]
fn a_release_wakes_the_pod_that_waits_and_a_bind_ends_its_condition() {
    let (mut w, p) = full();
    let q = waiting(&mut w, PodSpec::bare("q"));
    w.pass(1);
    assert_eq!(w.api.pod(&q).condition, Some((false, "NoAddress".into())));
    w.delete_pod(&p);
    w.pass(1);
    assert!(w.was_woken(&q));
    assert!(w.schedule(&q).is_ok());
    assert_eq!(w.api.pod(&q).condition.as_ref().map(|(status, _)| *status), Some(true));
    assert!(w.ledger.waiting().is_empty());
}

#[test]
fn nobody_waiting_nothing_written() {
    let (mut w, p) = full();
    w.notices();
    w.delete_pod(&p);
    w.pass(3600);
    assert_eq!(w.notices(), []);
    assert_eq!(w.ledger.next_deadline(), None);
}

#[test]
fn a_pod_that_never_waited_gets_no_condition() {
    let mut w = World::new();
    let (p, _) = w.bound(&PodSpec::bare("p"));
    w.pass(5);
    assert_eq!(w.api.pod(&p).condition, None);
}

#[test]
fn by_priority_then_age_and_only_as_many_as_can_be_served() {
    let (mut w, p) = full();
    let old = waiting(&mut w, PodSpec::bare("old"));
    let high = waiting(&mut w, PodSpec::bare("high").priority(10));
    let young = waiting(&mut w, PodSpec::bare("young"));
    w.delete_pod(&p);
    w.pass(1);
    assert_eq!((w.was_woken(&high), w.was_woken(&old), w.was_woken(&young)), (true, false, false));
    assert!(w.schedule(&high).is_ok());
    w.delete_pod(&high);
    w.pass(1);
    assert_eq!((w.was_woken(&old), w.was_woken(&young)), (true, false));
}

#[test]
fn a_woken_pod_that_does_not_come_forfeits_its_turn() {
    let (mut w, p) = full();
    let old = waiting(&mut w, PodSpec::bare("old"));
    let young = waiting(&mut w, PodSpec::bare("young"));
    w.delete_pod(&p);
    w.pass(14);
    assert_eq!((w.was_woken(&old), w.was_woken(&young)), (true, false));
    w.pass(3);
    assert!(w.was_woken(&young), "the next has its turn");
    assert!(w.schedule(&young).is_ok());
    w.delete_pod(&young);
    w.pass(60);
    assert_eq!(w.wakes[&old], 1, "not woken again until refused again");
    assert!(w.schedule(&old).is_ok());
}

#[test]
fn after_a_start_who_may_wait_for_something_else_keeps_nobody_asleep() {
    let (mut w, p) = full();
    let q = waiting(&mut w, PodSpec::bare("q"));
    // More important, and the scheduler never got as far as asking for it.
    let elsewhere = w.pod(&PodSpec::bare("elsewhere").priority(10));
    w.starve(&elsewhere);
    w.pass(1);
    w.start();
    w.delete_pod(&p);
    w.pass(1);
    assert_eq!((w.was_woken(&elsewhere), w.was_woken(&q)), (true, true));
    assert!(w.schedule(&q).is_ok());
    w.delete_pod(&q);
    w.pass(60);
    assert_eq!(w.wakes[&elsewhere], 1, "it did not come");
}

#[test]
fn a_woken_pod_that_comes_and_is_refused_waits_again() {
    let (mut w, p) = full();
    let q = waiting(&mut w, PodSpec::bare("q"));
    w.delete_pod(&p);
    w.pass(1);
    let (r, _) = w.bound(&PodSpec::bare("r"));
    assert!(w.schedule(&q).is_err(), "somebody was faster");
    w.delete_pod(&r);
    w.pass(1);
    assert_eq!(w.wakes[&q], 2);
    assert!(w.schedule(&q).is_ok());
}

#[test]
fn pods_being_deleted_are_not_woken_and_gone_ones_do_not_wait() {
    let (mut w, p) = full();
    let q = waiting(&mut w, PodSpec::bare("q"));
    let r = waiting(&mut w, PodSpec::bare("r"));
    let deadline = w.now.plus_secs(30);
    w.api.edit_pod(&q, |pod| pod.deletion_deadline = Some(deadline));
    w.settle();
    w.delete_pod(&p);
    w.pass(1);
    assert_eq!((w.was_woken(&q), w.was_woken(&r)), (false, true));
    w.delete_pod(&r);
    assert!(w.ledger.waiting().is_empty());
}

#[test]
fn nobody_is_woken_for_what_cannot_serve_it() {
    let mut w = World::new();
    for i in 0..4 {
        w.bound_to(&PodSpec::bare(&format!("b{i}")), "b1");
    }
    let (a, _) = w.bound_to(&PodSpec::bare("a"), "a1");
    let q = w.pod(&PodSpec::bare("q"));
    w.selectors.insert(q.clone(), vec!["b1".into()]);
    assert!(w.schedule(&q).is_err());
    w.delete_pod(&a);
    w.pass(60);
    assert!(!w.was_woken(&q), "an address of another rack is none for it");
    w.configure({
        let mut config = racks();
        config[1] = pool(&["10.1.1.0/24"], &["10.0.1.2~10.0.1.6"], "10.0.1.1/24");
        config
    });
    w.pass(1);
    assert!(w.was_woken(&q), "the configuration grew");
    assert!(w.schedule(&q).is_ok());
}

#[test]
fn whatever_makes_room_wakes() {
    type Cause = fn(&mut World, &Uid);
    let causes: [(&str, Cause); 6] = [
        ("finished", |w, p| w.finish_pod(p)),
        ("admin", |w, p| {
            let addr = w.addr_of(p);
            w.api.label(addr, true);
            w.delete_pod(p);
            w.pass(30);
            w.api.delete(addr);
            w.settle();
        }),
        ("quarantine", |w, p| {
            let node = w.api.pod(p).node.clone().unwrap();
            w.set_ready(&node, false);
            w.force_delete(p);
            w.pass(605);
        }),
        ("node", |w, p| {
            w.api.put_node(node("d1", "10.2.0.1"));
            w.settle();
            let _ = p;
        }),
        ("configuration", |w, _| w.configure(flat_and_more("10.0.0.2~10.0.0.3"))),
        ("released by a user", |w, p| {
            let addr = w.addr_of(p);
            w.finish_pod(p);
            w.settle();
            assert!(w.ledger.info(addr).is_some());
        }),
    ];
    for (name, cause) in causes {
        let mut w = World::with(Settings::default(), flat_and_more("10.0.0.2"));
        let (p, _) = w.bound(&PodSpec::bare("p"));
        let q = waiting(&mut w, PodSpec::bare("q"));
        w.pass(60);
        assert!(!w.was_woken(&q), "{name}");
        cause(&mut w, &p);
        w.pass(2);
        assert!(w.was_woken(&q), "{name}");
        assert!(w.schedule(&q).is_ok(), "{name}");
    }
}

/// All nodes reach the first pool; nodes of 10.2.0.0/24, of which there are none yet, a second.
fn flat_and_more(range: &str) -> Vec<galaxy_core::topology::PoolConfig> {
    let mut config = flat(range);
    config.push(pool(&["10.2.0.0/24"], &["10.5.0.2~10.5.0.9"], "10.5.0.1/24"));
    config
}

#[test]
fn replicas_wake_the_pods_of_a_deployment() {
    let mut w = World::new();
    let d = w.deployment("web", 4, Immutable);
    w.run();
    let spec = w.extra_pod(d);
    let p = w.pod(&spec);
    assert_eq!(w.schedule(&p).unwrap_err().reason, Reason::LimitReached);
    let id = w.deployments[d].id.clone();
    let set = w.deployments[d].sets[0].0.clone();
    let set = w.api.replica_sets[&set].clone();
    w.api.put_replica_set(ReplicaSetView { replicas: 5, ..set });
    w.scale(&id, 5);
    w.pass(1);
    assert!(w.was_woken(&p));
    assert!(w.schedule(&p).is_ok());
}

#[test]
fn an_edit_of_the_pod_may_be_what_it_needs() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.3"));
    let (p, addr) = w.bound(&PodSpec::bare("p").lists(&[&["10.0.0.2"]]));
    let q = w.pod(&PodSpec::bare("q").lists(&[&["10.0.0.2"]]));
    assert!(w.schedule(&q).is_err());
    w.api.edit_pod(&q, |pod| pod.ranges = Ok(vec![vec!["10.0.0.3".parse().unwrap()]]));
    w.settle();
    w.pass(1);
    assert!(w.was_woken(&q));
    assert_eq!(w.schedule(&q), Ok(ip("10.0.0.3")));
    assert_ne!(w.addr_of(&p), ip("10.0.0.3"));
    assert_eq!(addr, ip("10.0.0.2"));
}

#[test]
fn a_sample_of_nodes_that_missed_the_right_ones_is_tried_again_with_growing_delay() {
    let mut w = World::new();
    for i in 0..4 {
        w.bound_to(&PodSpec::bare(&format!("b{i}")), "b1");
    }
    let mut sample: Vec<Str> = Vec::new();
    for i in 0..100 {
        let name = format!("big{i}");
        w.api.put_node(node(&name, &format!("10.1.1.{}", 10 + i)));
        sample.push(name.as_str().into());
    }
    w.settle();
    let q = w.pod(&PodSpec::bare("q"));
    let mut delays = Vec::new();
    for round in 0..5 {
        assert_eq!(w.filter_nodes(&q, &sample).reason(), Reason::NoAddress);
        w.sleep(&q);
        w.settle();
        let before = w.now;
        for _ in 0..200 {
            if w.wakes.get(&q).copied().unwrap_or(0) > round {
                break;
            }
            w.pass(1);
        }
        delays.push((w.now.0 - before.0) / 1_000_000);
        assert_eq!(w.wakes[&q], round + 1);
    }
    assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]) && delays[4] >= 8, "growing: {delays:?}");
}

#[test]
fn a_pod_whose_nodes_can_never_serve_it_is_not_woken_over_and_over() {
    let mut w = World::new();
    w.api.put_node(node("x1", "192.168.0.1"));
    let q = w.pod(&PodSpec::bare("q"));
    w.selectors.insert(q.clone(), vec!["x1".into()]);
    assert!(w.schedule(&q).is_err());
    for i in 0..10 {
        let (p, _) = w.bound(&PodSpec::bare(&format!("p{i}")));
        w.delete_pod(&p);
        w.pass(20);
        if !w.asleep.contains(&q) {
            assert!(w.schedule(&q).is_err());
        }
    }
    assert!(w.wakes.get(&q).copied().unwrap_or(0) <= 1, "{:?}", w.wakes);
}

#[test]
fn the_texts_are_functions_of_slow_state() {
    let (mut w, _) = full();
    let q = w.pod(&PodSpec::bare("q"));
    let r = w.pod(&PodSpec::bare("r"));
    let first = w.schedule(&q).unwrap_err();
    w.pass(100);
    let again = w.schedule(&q).unwrap_err();
    assert_eq!(first, again, "no clock, no attempt count");
    assert_eq!(w.schedule(&r).unwrap_err().text, first.text, "no count of waiters, no pod");
}

#[test]
fn the_condition_is_written_once_per_change_of_reason_and_never_within_filter() {
    let (mut w, _) = full();
    let q = w.pod(&PodSpec::bare("q"));
    w.notices();
    assert!(matches!(w.filter(&q), Verdict::Refused(_)));
    let conditions =
        |w: &mut World| w.notices().iter().filter(|notice| matches!(notice, Notice::Condition { .. })).count();
    assert_eq!(conditions(&mut w), 0);
    w.pass(1);
    assert_eq!(conditions(&mut w), 1);
    for _ in 0..5 {
        assert!(w.schedule(&q).is_err());
        w.pass(5);
    }
    assert_eq!(conditions(&mut w), 0, "the same reason is no news");
}

#[test]
fn not_ready_answers_are_errors_not_refusals() {
    let mut ledger = Ledger::new(Settings::default());
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let view = w.api.pod(&p).clone();
    let answer = |ledger: &mut Ledger| match ledger.filter(w.now, &view, &[]) {
        Filtered::NotNow(text) => text,
        other => panic!("{other:?}"),
    };
    assert!(answer(&mut ledger).contains("leader"));
    ledger.set_active(Time(0), true);
    assert!(answer(&mut ledger).contains("configuration"));
}
