//! A cloud provider: assign before use, unassign before free (contract §7, rule 20).

use galaxy_core::ReleasePolicy::Immutable;
use galaxy_core::ledger::*;

use crate::world::*;

fn world() -> World {
    World::with(Settings { cloud: true, ..Settings::default() }, racks())
}

fn routed(w: &World) -> Vec<(String, String)> {
    let all = w.api.cloud.iter();
    all.flat_map(|(addr, nodes)| nodes.iter().map(move |node| (addr.to_string(), node.to_string()))).collect()
}

fn one(addr: &str, node: &str) -> Vec<(String, String)> {
    vec![(addr.to_owned(), node.to_owned())]
}

#[test]
fn assigned_after_the_claim_and_before_the_binding_and_unassigned_before_it_is_freed() {
    let mut w = world();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let create = w.take_op(ip("10.0.0.2"));
    assert!(matches!(create.op, Op::Create(_)));
    w.perform(create);
    let assign = w.take_op(ip("10.0.0.2"));
    assert_eq!(assign.op, Op::Assign("a1".into()));
    assert_eq!(w.call(|l, now| l.bind_poll(now, &p, "a1")), BindStep::Wait, "assigning");
    w.perform(assign);
    assert!(matches!(w.call(|l, now| l.bind_poll(now, &p, "a1")), BindStep::Bind { .. }));

    let mut w = world();
    let (p, addr) = w.bound_to(&PodSpec::bare("p"), "a1");
    assert_eq!(routed(&w), one("10.0.0.2", "a1"));
    w.api.remove_pod(&p);
    while let Some(event) = w.api.events.pop_front() {
        w.deliver(event);
    }
    assert_eq!(w.take_op(addr).op, Op::Unassign("a1".into()), "the object is still there");
    assert!(w.objects().contains_key(&addr));
}

#[test]
fn a_kept_address_is_unassigned_and_assigned_to_the_next_node() {
    let mut w = world();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound_to(&PodSpec::of("cart-0", &sts).immutable(), "a1");
    w.delete_pod(&p);
    assert_eq!((routed(&w), w.state(&addr.to_string())), (vec![], Some(State::Reserved)));
    let (_, again) = w.bound_to(&PodSpec::of("cart-0", &sts).immutable(), "a2");
    assert_eq!(again, addr);
    assert_eq!(routed(&w), one("10.0.0.2", "a2"));
}

#[test]
fn every_address_of_a_pod_is_assigned_and_unassigned() {
    let mut w = world();
    let (p, _) = w.bound_to(&PodSpec::bare("p").lists(&[&["10.0.0.2~10.0.0.5"], &["10.0.2.2~10.0.2.5"]]), "a1");
    assert_eq!(routed(&w).len(), 2);
    w.delete_pod(&p);
    assert_eq!((routed(&w), w.objects().len()), (vec![], 0));
}

#[test]
fn a_failed_assignment_fails_the_bind_keeps_the_claim_and_is_tried_again() {
    let mut w = world();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let create = w.take_op(ip("10.0.0.2"));
    w.perform(create);
    let assign = w.take_op(ip("10.0.0.2"));
    w.report(&assign, Outcome::CloudFailed("no slot left on a1".to_owned()));
    let step = w.call(|l, now| l.bind_poll(now, &p, "a1"));
    assert!(matches!(&step, BindStep::Refused(text) if text.contains("no slot left")), "{step:?}");
    assert!(w.objects().contains_key(&ip("10.0.0.2")));
    w.settle();
    assert_eq!(w.bind(&p, "a2"), Ok(vec![ip("10.0.0.2")]), "elsewhere");
    assert_eq!(routed(&w), one("10.0.0.2", "a2"));
}

#[test]
fn until_an_assignment_is_done_filter_passes_only_its_node() {
    let mut w = world();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let create = w.take_op(ip("10.0.0.2"));
    w.perform(create);
    assert_eq!(w.filter(&p).nodes(), ["a1"]);
    assert!(matches!(w.filter_on(&p, &["b1"]), Verdict::NotNow(_)), "it comes again soon");
}

#[test]
fn a_pod_that_goes_while_its_assignment_is_under_way_leaves_nothing_assigned() {
    let mut w = world();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    w.call(|l, now| l.bind(now, &pod, "a1"));
    let create = w.take_op(ip("10.0.0.2"));
    w.perform(create);
    let assign = w.take_op(ip("10.0.0.2"));
    w.delete_pod(&p);
    assert!(w.objects().contains_key(&ip("10.0.0.2")), "not before the cloud has answered");
    w.perform(assign);
    w.settle();
    assert_eq!((routed(&w), w.objects().len()), (vec![], 0));
}

#[test]
fn a_failed_unassignment_keeps_the_object_and_is_tried_again() {
    let mut w = world();
    let (p, addr) = w.bound_to(&PodSpec::bare("p"), "a1");
    w.api.remove_pod(&p);
    while let Some(event) = w.api.events.pop_front() {
        w.deliver(event);
    }
    let unassign = w.take_op(addr);
    w.report(&unassign, Outcome::CloudFailed("busy".to_owned()));
    w.settle();
    assert!(w.objects().contains_key(&addr));
    w.pass(60);
    assert_eq!((routed(&w), w.objects().len()), (vec![], 0));
}

#[test]
fn an_address_bound_before_a_restart_is_unassigned_when_it_goes() {
    let mut w = world();
    let (p, _) = w.bound_to(&PodSpec::bare("p"), "a1");
    w.start();
    w.settle();
    w.delete_pod(&p);
    assert_eq!((routed(&w), w.objects().len()), (vec![], 0));
}

#[test]
fn a_quarantined_address_stays_assigned_until_it_ends() {
    let mut w = world();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound_to(&PodSpec::of("cart-0", &sts).policy(Immutable), "a1");
    w.set_ready("a1", false);
    w.force_delete(&p);
    assert_eq!(routed(&w), one(&addr.to_string(), "a1"));
    w.pass(605);
    assert_eq!((routed(&w), w.state(&addr.to_string())), (vec![], Some(State::Reserved)));
}

#[test]
fn a_delayed_binding_that_lands_on_its_first_node_is_routed_there() {
    let mut w = world();
    let p = w.pod(&PodSpec::bare("p"));
    let (_, first) = w.bind_until_binding(&p, "a1");
    w.call(|l, now| l.binding_done(now, &p, BindingOutcome::Unknown("timed out".to_owned())));
    let (_, second) = w.bind_until_binding(&p, "a2");
    assert_eq!(first, second, "the same address, routed to another node now");
    assert_eq!(w.api.bind(&p, "a1", &first), BindingOutcome::Bound);
    let outcome = w.api.bind(&p, "a2", &second);
    w.call(|l, now| l.binding_done(now, &p, outcome));
    w.settle();
    assert_eq!(routed(&w), one("10.0.0.2", "a1"), "where the pod is");
}
