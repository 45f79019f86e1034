//! Which address a pod gets (contract §3.5 to §3.8) and which nodes can give it one.

use galaxy_core::ReleasePolicy::{Default, Immutable, Never};
use galaxy_core::ledger::*;

use crate::world::*;

#[test]
fn nodes_pass_by_the_pools_they_reach_and_refusals_keep_the_originals_words() {
    let mut w = World::new();
    w.api.put_node(node("x1", "192.168.0.1"));
    w.api.put_node(NodeView { ips: Vec::new(), ..node("y1", "192.168.0.1") });
    let p = w.pod(&PodSpec::bare("p"));
    assert_eq!(w.filter(&p).nodes(), ["a1", "a2", "b1", "c1"]);
    let refusal = w.filter_on(&p, &["x1"]).refusal();
    assert_eq!(refusal.reason, Reason::NodeNotConfigured);
    assert!(refusal.text.starts_with("FloatingIPPlugin:NoFIPConfigNode"), "{}", refusal.text);
    for unknown in ["y1", "nowhere"] {
        let refusal = w.filter_on(&p, &[unknown]).refusal();
        assert_eq!(refusal.reason, Reason::UnknownNode);
        assert!(refusal.text.starts_with("FloatingIPPlugin:UnknowNode"), "{}", refusal.text);
    }
}

#[test]
fn a_request_with_whole_nodes_is_judged_by_their_addresses() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let view = w.api.pod(&p).clone();
    let offer = |address: &str| Offer { name: "new-node", ips: Some(vec![address.parse().expect("an address")]) };
    let mut verdict = |address: &str| w.call(|l, now| l.filter(now, &view, &[offer(address)]));
    assert!(matches!(verdict("10.1.0.77"), Filtered::Nodes { verdicts, .. } if verdicts == [None]));
    assert!(matches!(verdict("10.9.0.77"), Filtered::Nodes { verdicts, .. } if verdicts == [Some(0)]));
}

#[test]
fn the_lowest_free_address_of_the_nodes_pools_is_taken_and_network_gateway_and_broadcast_never() {
    let mut w = World::with(Settings::default(), flat("10.0.0.0~10.0.0.2"));
    let (_, addr) = w.bound(&PodSpec::bare("p"));
    assert_eq!(addr, ip("10.0.0.2"));
    let q = w.pod(&PodSpec::bare("q"));
    assert_eq!(w.schedule(&q).unwrap_err().reason, Reason::NoAddress);
}

#[test]
fn a_pool_without_free_addresses_refuses_its_nodes_only() {
    let mut w = World::new();
    for i in 0..4 {
        w.bound_to(&PodSpec::bare(&format!("p{i}")), "b1");
    }
    let q = w.pod(&PodSpec::bare("q"));
    assert_eq!(w.filter(&q).nodes(), ["a1", "a2", "c1"]);
    let refusal = w.filter_on(&q, &["b1"]).refusal();
    assert!(refusal.text.starts_with("FloatingIPPlugin:NoFIPLeft"), "{}", refusal.text);
}

#[test]
fn addresses_freed_within_the_reuse_delay_are_taken_last() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.4"));
    let (p, first) = w.bound(&PodSpec::bare("p"));
    w.delete_pod(&p);
    let (_, second) = w.bound(&PodSpec::bare("q"));
    let (_, third) = w.bound(&PodSpec::bare("r"));
    let (_, fourth) = w.bound(&PodSpec::bare("s"));
    assert_eq!([second, third, fourth], [ip("10.0.0.3"), ip("10.0.0.4"), first], "the freed one comes last");

    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.4"));
    let (p, first) = w.bound(&PodSpec::bare("p"));
    w.delete_pod(&p);
    w.pass(61);
    assert_eq!(w.bound(&PodSpec::bare("q")).1, first, "after the delay it is like any other");
}

#[test]
fn a_deployment_of_the_default_policy_has_no_limit_and_keeps_nothing() {
    let mut w = World::new();
    let d = w.deployment("web", 1, Default);
    w.run();
    for _ in 0..3 {
        let spec = w.extra_pod(d);
        w.bound(&spec);
    }
    assert_eq!(w.objects().len(), 4);
    w.delete_deployment(d);
    w.run();
    assert!(w.objects().is_empty(), "{:?}", w.objects());
}

#[test]
fn a_deployment_that_keeps_reuses_its_newest_reservation() {
    for policy in [Immutable, Never] {
        let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.9"));
        let d = w.deployment("web", 4, policy);
        w.run();
        let pods = w.pods_of_deployment(d);
        assert!(w.objects().values().all(|key| key.starts_with("dp_shop_web_web-")), "{:?}", w.objects());
        let (older, newer) = (w.addr_of(&pods[0]), w.addr_of(&pods[1]));
        w.delete_pod(&pods[0]);
        w.delete_pod(&pods[1]);
        assert_eq!(w.objects()[&newer], "dp_shop_web_");
        let spec = w.extra_pod(d);
        assert_eq!(w.bound(&spec).1, newer, "{policy}: the newest first");
        let spec = w.extra_pod(d);
        assert_eq!(w.bound(&spec).1, older, "{policy}");
    }
}

#[test]
fn a_stateful_pod_that_keeps_gets_its_own_address_back_only_where_it_is_routed() {
    for policy in [Immutable, Never] {
        let mut w = World::new();
        let sts = w.stateful_set("cart", 3);
        let (p, addr) = w.bound_to(&PodSpec::of("cart-1", &sts).policy(policy), "b1");
        w.delete_pod(&p);
        assert_eq!(w.objects()[&addr], "sts_shop_cart_cart-1");
        let again = w.pod(&PodSpec::of("cart-1", &sts).policy(policy));
        assert_eq!(w.filter(&again).nodes(), ["b1"], "only its rack routes the address");
        assert_eq!(w.schedule(&again), Ok(addr));
        let other = w.pod(&PodSpec::of("cart-2", &sts).policy(policy));
        assert_eq!(w.filter(&other).nodes().len(), 4, "another ordinal is free to go anywhere");
    }
}

#[test]
fn no_reservation_pins_a_pod_to_a_subnet_that_is_not_offered() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 3);
    let (p, addr) = w.bound_to(&PodSpec::of("cart-1", &sts).immutable(), "b1");
    w.delete_pod(&p);
    let again = w.pod(&PodSpec::of("cart-1", &sts).immutable());
    assert_eq!(w.filter_on(&again, &["a1", "c1"]).nodes(), ["a1", "c1"], "fresh, where the old one cannot be routed");
    let fresh = w.bind(&again, "a1").unwrap()[0];
    assert_ne!(fresh, addr);
    w.sweep();
    assert_eq!(w.objects().len(), 1, "the old one is given up for the fresh one: {:?}", w.objects());
}

#[test]
fn a_deployment_claims_fresh_and_gives_up_what_no_offered_node_routes() {
    let mut w = World::new();
    let d = w.deployment("web", 1, Immutable);
    w.run();
    let pods = w.pods_of_deployment(d);
    let old = w.addr_of(&pods[0]);
    assert_eq!(old, ip("10.0.0.2"), "on a1");
    w.delete_pod(&pods[0]);
    let spec = w.extra_pod(d);
    let p = w.pod(&spec);
    assert_eq!(w.filter_on(&p, &["b1"]).nodes(), ["b1"]);
    let fresh = w.bind(&p, "b1").unwrap()[0];
    w.sweep();
    let id = w.deployments[d].id.clone();
    assert_eq!(w.addresses_of(&id).into_iter().collect::<Vec<_>>(), [fresh], "immutable frees one reserved for it");
}

#[test]
fn custom_and_bare_pods_own_by_name() {
    let mut w = World::new();
    let tapp = w.tapp("demo", 3);
    let (p, addr) = w.bound(&PodSpec::of("demo-1", &tapp).immutable());
    assert_eq!(w.objects()[&addr], "tapp_shop_demo_demo-1");
    w.delete_pod(&p);
    assert_eq!(w.bound(&PodSpec::of("demo-1", &tapp).immutable()).1, addr);

    let (p, addr) = w.bound(&PodSpec::bare("job-7").never());
    assert_eq!(w.objects()[&addr], "NULL_shop_NULL_job-7");
    w.delete_pod(&p);
    assert_eq!(w.state(&addr.to_string()), Some(State::Reserved));
    assert_eq!(w.bound(&PodSpec::bare("job-7").never()).1, addr);
}

#[test]
fn which_policies_are_supported() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let tapp = w.tapp("demo", 1);
    let job = w.workload_view(WorkloadId::new("batch", "Job", NS, "once"), 1);
    let fat = w.workload_view(WorkloadId::new("fat.io", "Fat", NS, "fat"), 1);
    w.kinds.insert(("fat.io".to_owned(), "Fat".to_owned()), KindStatus::Unavailable("no scale".to_owned()));
    let not_stateful = Some("not a stateful name");
    let no_replicas = Some("parent workload has no replicas");
    for (spec, refused) in [
        (PodSpec::of("cart-x", &sts).immutable(), None),
        (PodSpec::of("cart-0", &sts).never(), None),
        (PodSpec::of("demo-0", &tapp), None),
        (PodSpec::of("demo-0", &tapp).immutable(), None),
        (PodSpec::of("demo-a", &tapp).immutable(), not_stateful),
        (PodSpec::of("demo-", &tapp).never(), not_stateful),
        (PodSpec::of("demo-12345678901234567890123", &tapp).never(), not_stateful),
        (PodSpec::of("fat-0", &fat).immutable(), no_replicas),
        (PodSpec::of("fat-0", &fat).never(), None),
        (PodSpec::of("once-12345", &job).never(), not_stateful),
        (PodSpec::bare("one-0").immutable(), no_replicas),
        (PodSpec::bare("one").never(), not_stateful),
        (PodSpec::bare("one-0").never(), None),
        (PodSpec::bare("one"), None),
    ] {
        let p = w.pod(&spec);
        match (w.filter(&p), refused) {
            (Verdict::Pass(_), None) => {}
            (Verdict::Refused(refusal), Some(why)) => {
                assert!(refusal.text.contains(why) && refusal.text.contains("FloatingIPPlugin"), "{refusal:?}");
                assert!(refusal.text.contains(NS), "the text names the pod or its workload: {refusal:?}");
            }
            (verdict, _) => panic!("{} {}: {verdict:?}", spec.name, spec.policy),
        }
        w.delete_pod(&p);
    }
}

#[test]
fn a_deployment_pod_waits_until_its_replica_set_and_revision_are_known() {
    let mut w = World::new();
    let d = w.deployment("web", 1, Immutable);
    w.reconcile_deployment(d);
    w.api.events.clear();
    let spec = w.extra_pod(d);
    let p = w.pod(&spec);
    assert_eq!(w.schedule(&p).unwrap_err().reason, Reason::WorkloadUnknown);
    let set = w.deployments[d].sets[0].0.clone();
    let view = w.api.replica_sets[&set].clone();
    w.api.put_replica_set(ReplicaSetView { revision: None, replicas: 1, ..view.clone() });
    w.settle();
    assert_eq!(w.filter(&p).reason(), Reason::WorkloadUnknown);
    w.sleep(&p);
    w.settle();
    w.api.put_replica_set(ReplicaSetView { replicas: 1, ..view });
    w.settle();
    w.pass(1);
    assert!(w.was_woken(&p), "the revision is what it waited for");
    assert!(w.schedule(&p).is_ok());
}

#[test]
fn a_replica_set_of_its_own_is_a_workload_of_its_own() {
    let mut w = World::new();
    let d = w.deployment("web", 1, Immutable);
    w.run();
    let view = w.workload_view(WorkloadId::replica_set(NS, "web-5d"), 1);
    w.api.put_replica_set(ReplicaSetView {
        uid: view.uid.clone(),
        namespace: NS.into(),
        name: "web-5d".into(),
        version: 0,
        controller: None,
        replicas: 1,
        revision: None,
    });
    w.api.put_workload(view.clone());
    w.settle();
    let (p, addr) = w.bound(&PodSpec::of("web-5d-x2k4p", &view).immutable());
    assert_eq!(w.objects()[&addr], "replicasets_shop_web-5d_web-5d-x2k4p");
    w.delete_pod(&p);
    assert_eq!(w.objects()[&addr], "replicasets_shop_web-5d_");
    let spec = w.extra_pod(d);
    let q = w.pod(&spec);
    assert_ne!(w.schedule(&q).ok(), Some(addr), "the Deployment web does not take it");
    assert_eq!(w.bound(&PodSpec::of("web-5d-zzzzz", &view).immutable()).1, addr);
}

#[test]
fn scores_follow_the_free_share_and_preemption_follows_the_reservation() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 3);
    let (p, _) = w.bound_to(&PodSpec::of("cart-0", &sts).immutable(), "b1");
    w.bound_to(&PodSpec::bare("q"), "b1");
    let offer = |name| Offer { name, ips: None };
    let scores = w.call(|l, _| l.prioritize(&[offer("a1"), offer("b1"), offer("c1"), offer("nowhere")]));
    assert_eq!(scores, [10, 5, 10, 0]);
    w.delete_pod(&p);
    let again = w.pod(&PodSpec::of("cart-0", &sts).immutable());
    let view = w.api.pod(&again).clone();
    assert_eq!(w.call(|l, now| l.preempt(now, &view, &["a1", "b1", "nowhere"])), [false, true, false]);
    assert!(w.ops.is_empty(), "read-only");
    let view = PodView { policy: Default, ..view };
    assert_eq!(w.call(|l, now| l.preempt(now, &view, &["a1", "b1", "nowhere"])), [true, true, true]);
}

#[test]
fn of_addresses_freed_a_moment_ago_the_one_freed_longest_ago_is_taken() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.3"));
    let (p, low) = w.bound(&PodSpec::bare("p"));
    let (q, high) = w.bound(&PodSpec::bare("q"));
    assert_eq!((low, high), (ip("10.0.0.2"), ip("10.0.0.3")));
    w.delete_pod(&q);
    w.pass(5);
    w.delete_pod(&p);
    assert_eq!(w.bound(&PodSpec::bare("r")).1, high);
}
