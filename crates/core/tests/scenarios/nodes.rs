//! Dead nodes: quarantine (rule 9) and stuck pods (rule 18).

use galaxy_core::Addr;
use galaxy_core::ReleasePolicy::{self, Default, Immutable};
use galaxy_core::ledger::*;

use crate::world::*;

/// A pod that was force deleted while its node was not ready.
fn quarantined(policy: ReleasePolicy) -> (World, WorkloadView, Addr) {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound_to(&PodSpec::of("cart-0", &sts).policy(policy), "b1");
    w.set_ready("b1", false);
    w.force_delete(&p);
    (w, sts, addr)
}

#[test]
fn a_pod_that_vanishes_from_a_dead_node_leaves_its_address_in_quarantine() {
    let (mut w, _, addr) = quarantined(Default);
    let record = w.record(&addr.to_string()).unwrap();
    assert_eq!((record.state, record.node.as_deref()), (State::Quarantined, Some("b1")));
    assert!(record.released_at.is_some());
    w.api.put_node(node("b2", "10.1.1.2"));
    w.settle();
    let others: Vec<Addr> = (0..3).map(|i| w.bound_to(&PodSpec::bare(&format!("p{i}")), "b2").1).collect();
    assert!(!others.contains(&addr));
    let p = w.pod(&PodSpec::bare("p3"));
    assert_eq!(w.filter_on(&p, &["b2"]).reason(), Reason::NoAddress, "kept from others");
}

#[test]
fn its_own_workload_gets_it_back() {
    for policy in [Default, Immutable] {
        let (mut w, sts, addr) = quarantined(policy);
        w.api.put_node(node("b2", "10.1.1.2"));
        let p = w.pod(&PodSpec::of("cart-0", &sts).policy(policy));
        assert_eq!(w.filter(&p).nodes(), ["b2"], "{policy}");
        assert_eq!(w.schedule(&p), Ok(addr), "{policy}");
    }
}

#[test]
fn a_quarantine_ends_when_the_node_is_known_to_be_off_or_back_or_time_is_up() {
    type End = fn(&mut World);
    let ends: [(&str, End); 4] = [
        ("ready again", |w| w.set_ready("b1", true)),
        ("deleted", |w| {
            w.api.remove_node("b1");
            w.settle();
        }),
        ("out of service", |w| {
            w.api.edit_node("b1", |node| node.out_of_service = true);
            w.settle();
        }),
        ("ten minutes", |w| w.pass(601)),
    ];
    for (name, end) in ends {
        let (mut w, _, addr) = quarantined(Default);
        w.pass(590);
        assert_eq!(w.state(&addr.to_string()), Some(State::Quarantined), "{name}");
        end(&mut w);
        assert_eq!(w.state(&addr.to_string()), None, "{name}: freed by its policy");

        let (mut w, _, addr) = quarantined(Immutable);
        end(&mut w);
        assert_eq!(w.state(&addr.to_string()), Some(State::Reserved), "{name}: kept by its policy");
    }
}

#[test]
fn a_quarantine_survives_a_restart_and_still_ends() {
    let (mut w, _, addr) = quarantined(Default);
    w.start();
    w.settle();
    assert_eq!(w.state(&addr.to_string()), Some(State::Quarantined));
    w.pass(601);
    assert_eq!(w.state(&addr.to_string()), None);

    let (mut w, _, addr) = quarantined(Default);
    w.api.edit_node("b1", |node| node.ready = true);
    w.start();
    w.settle();
    assert_eq!(w.state(&addr.to_string()), None, "the node came back meanwhile");
}

#[test]
fn a_pod_that_finished_or_was_stopped_by_its_kubelet_leaves_no_quarantine() {
    let mut w = World::new();
    let (p, addr) = w.bound_to(&PodSpec::bare("p"), "b1");
    w.finish_pod(&p);
    w.set_ready("b1", false);
    w.force_delete(&p);
    assert_eq!(w.state(&addr.to_string()), None);
}

#[test]
fn a_node_without_ready_condition_counts_as_ready_and_a_deleted_one_as_off() {
    let mut w = World::new();
    let (p, addr) = w.bound_to(&PodSpec::bare("p"), "b1");
    w.set_ready("b1", false);
    w.api.remove_node("b1");
    w.settle();
    w.force_delete(&p);
    assert_eq!(w.state(&addr.to_string()), None);
}

/// A Deployment with a pod stuck on b1, which is dead, and its successor.
fn stuck(replace: bool) -> (World, usize, Uid, Addr) {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.9"));
    let d = w.deployment_with("web", 4, Immutable, |deploy| deploy.replace = replace);
    w.reconcile_deployment(d);
    w.reconcile_deployment(d);
    w.reconcile_sets(d);
    w.settle();
    let pods = w.pods_of_deployment(d);
    for (pod, node) in pods.iter().zip(["a1", "a2", "b1", "c1"]) {
        w.selectors.insert(pod.clone(), vec![node.into()]);
    }
    w.run();
    let pod = pods[0].clone();
    let node = w.api.pod(&pod).node.clone().unwrap();
    let addr = w.addr_of(&pod);
    w.set_ready(&node, false);
    let deadline = w.now;
    w.api.edit_pod(&pod, |pod| pod.deletion_deadline = Some(deadline));
    w.settle();
    (w, d, pod, addr)
}

fn successor(w: &World, d: usize) -> Uid {
    let mut unbound = w.pods_of_deployment(d);
    unbound.retain(|uid| w.api.pod(uid).node.is_none());
    unbound.pop().expect("a successor that waits")
}

#[test]
fn a_stuck_pod_keeps_its_address_and_its_successor_waits_and_is_told_the_ways_out() {
    let (mut w, d, pod, addr) = stuck(false);
    w.run();
    let next = successor(&w, d);
    let waiting = w.ledger.waiting();
    let (_, refusal, _) = waiting.iter().find(|(who, _, _)| who.uid == next).expect("the successor waits");
    assert_eq!(refusal.reason, Reason::PredecessorStuck);
    let (name, node) = (w.api.pod(&pod).name.to_string(), w.api.pod(&pod).node.clone().unwrap().to_string());
    for word in [name.as_str(), node.as_str(), "delete", "out-of-service", "force delete", "on-node-failure"] {
        assert!(refusal.detail.contains(word), "{word}: {}", refusal.detail);
    }
    assert!(!refusal.text.contains(&node), "no node name in the scheduler's text (rule 15): {}", refusal.text);
    let told = |notice: &Notice| matches!(notice, Notice::Condition { pod, reason, .. } if pod.uid == next && *reason == "PredecessorStuck");
    assert!(w.notices().iter().any(told));

    w.api.edit_node(&node, |node| node.out_of_service = true);
    w.settle();
    w.force_delete(&pod);
    w.run();
    assert_eq!(w.addr_of(&next), addr, "that very address");
}

#[test]
fn a_successor_may_take_another_address_where_availability_counts_more() {
    let (mut w, d, pod, addr) = stuck(true);
    w.run();
    let bound = w.pods_of_deployment(d).iter().filter(|uid| w.api.pod(uid).node.is_some()).count();
    assert_eq!(bound, 5, "four serve and one is stuck: {:?}", w.ledger.waiting());
    assert_eq!(w.state(&addr.to_string()), Some(State::Bound));
    let node = w.api.pod(&pod).node.clone().unwrap();
    w.api.remove_node(&node);
    w.settle();
    w.force_delete(&pod);
    w.run();
    let id = w.deployments[d].id.clone();
    assert_eq!(w.addresses_of(&id).len(), 4, "the surplus goes");
}

#[test]
fn a_rollout_past_a_stuck_pod_has_a_spare() {
    let (mut w, d, _, _) = stuck(false);
    w.roll(d);
    w.run();
    let newest = w.deployments[d].sets.last().unwrap().0.clone();
    let bound = w.pods_of(&newest).iter().filter(|uid| w.api.pod(uid).node.is_some()).count();
    assert_eq!(bound, 4, "all new pods serve beside the stuck one: {:?}", w.ledger.waiting());
}
