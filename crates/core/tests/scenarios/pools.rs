//! Named pools: sized, unsized, pre-allocated, shared.

use galaxy_core::ReleasePolicy::Never;
use galaxy_core::ledger::*;

use crate::world::*;

fn blue(w: &mut World, name: &str, replicas: u32) -> usize {
    w.deployment_with(name, replicas, Never, |deploy| deploy.pool = Some("blue".to_owned()))
}

#[test]
fn a_size_limits_the_pods_of_all_that_use_the_pool() {
    let mut w = World::new();
    w.named_pool("blue", Some(3), false);
    let one = blue(&mut w, "one", 2);
    w.run();
    let two = blue(&mut w, "two", 2);
    w.run();
    let bound = |w: &World, d| {
        let pods = w.pods_of_deployment(d);
        pods.iter().filter(|uid| w.api.pod(uid).node.is_some()).count()
    };
    assert_eq!((bound(&w, one), bound(&w, two)), (2, 1));
    let waiting = w.ledger.waiting();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].1.reason, Reason::LimitReached);
    assert!(waiting[0].1.detail.contains("\"blue\"") && waiting[0].1.detail.contains("3"), "{:?}", waiting[0]);
    w.named_pool("blue", Some(4), false);
    w.run();
    assert_eq!(bound(&w, two), 2, "the pool grew, the pod that waited was woken");
    let status = w.ledger.pool_status("blue");
    assert_eq!((status.used, status.reserved), (4, 0));
}

#[test]
fn the_size_counts_pods_of_stateful_sets_too() {
    let mut w = World::new();
    w.named_pool("blue", Some(2), false);
    let sts = w.stateful_set("cart", 3);
    for i in 0..2 {
        w.bound(&PodSpec::of(&format!("cart-{i}"), &sts).pool("blue"));
    }
    let p = w.pod(&PodSpec::of("cart-2", &sts).pool("blue"));
    assert_eq!(w.filter(&p).reason(), Reason::LimitReached);
}

#[test]
fn a_pod_with_several_addresses_takes_several_units() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.9"));
    w.named_pool("blue", Some(2), false);
    let lists: &[&[&str]] = &[&["10.0.0.2~10.0.0.9"], &["10.0.0.2~10.0.0.9"]];
    let (p, _) = w.bound(&PodSpec::bare("p-0").pool("blue").lists(lists));
    let q = w.pod(&PodSpec::bare("q-0").pool("blue"));
    assert_eq!(w.filter(&q).reason(), Reason::LimitReached);
    assert_eq!(w.api.pod(&p).annotated.len(), 2);
}

#[test]
fn without_a_size_each_deployment_has_its_own_limit() {
    let mut w = World::new();
    let one = blue(&mut w, "one", 4);
    w.run();
    let spec = w.extra_pod(one);
    let p = w.pod(&spec);
    assert_eq!(w.filter(&p).reason(), Reason::LimitReached);
    let two = blue(&mut w, "two", 2);
    w.run();
    assert!(w.is_rolled_out(two));
}

#[test]
fn what_one_deployment_leaves_in_the_pool_the_next_takes_even_in_another_namespace() {
    let mut w = World::new();
    let one = blue(&mut w, "one", 2);
    w.run();
    let before: Vec<_> = w.objects().into_keys().collect();
    w.delete_deployment(one);
    w.run();
    assert!(w.objects().values().all(|key| key == "pool__blue_"), "{:?}", w.objects());
    let two = blue(&mut w, "two", 2);
    w.run();
    assert!(w.is_rolled_out(two));
    assert_eq!(w.objects().into_keys().collect::<Vec<_>>(), before, "blue to green without a change of addresses");
    assert!(w.objects().values().all(|key| key.starts_with("pool__blue_dp_shop_two_two-")), "{:?}", w.objects());
}

#[test]
fn a_stateful_pod_of_a_pool_keeps_its_address_under_its_name() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).pool("blue"));
    w.delete_pod(&p);
    assert_eq!(w.objects()[&addr], "pool__blue_sts_shop_cart_cart-0");
    blue(&mut w, "one", 2);
    w.run();
    assert_eq!(w.bound(&PodSpec::of("cart-0", &sts).pool("blue")).1, addr);
}

#[test]
fn pre_allocation_fills_the_pool_and_pods_take_from_it() {
    let mut w = World::new();
    w.named_pool("blue", Some(3), true);
    assert_eq!(w.objects().len(), 3);
    assert!(w.objects().values().all(|key| key == "pool__blue_"));
    let reserved: Vec<_> = w.objects().into_keys().collect();
    let one = blue(&mut w, "one", 2);
    w.run();
    assert!(w.is_rolled_out(one));
    assert_eq!(w.objects().into_keys().collect::<Vec<_>>(), reserved, "no fresh address was taken");
    let status = w.ledger.pool_status("blue");
    assert_eq!((status.used, status.reserved, status.shortfall, status.settling), (2, 1, 0, false));
}

#[test]
fn a_shortfall_is_shown_and_made_good_when_addresses_come_free() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.4"));
    let (p, _) = w.bound(&PodSpec::bare("p"));
    w.named_pool("blue", Some(3), true);
    let status = w.ledger.pool_status("blue");
    assert_eq!((status.reserved, status.shortfall), (2, 1));
    assert!(w.notices().contains(&Notice::PoolChanged("blue".into())));
    w.delete_pod(&p);
    w.pass(5);
    let status = w.ledger.pool_status("blue");
    assert_eq!((status.reserved, status.shortfall), (3, 0));
}

#[test]
fn shrinking_and_deleting_a_pool_frees_nothing() {
    let mut w = World::new();
    let pool = w.named_pool("blue", Some(3), true);
    w.named_pool("blue", Some(1), true);
    assert_eq!(w.objects().len(), 3);
    w.api.remove_pool(&pool);
    w.settle();
    w.sweep();
    assert_eq!(w.objects().len(), 3);
    assert_eq!(w.ledger.pool_status("blue").object, None);
    assert_eq!(w.ledger.pool_names(), ["blue".into()]);
}

#[test]
fn of_pools_with_one_name_kube_systems_counts_else_the_oldest() {
    let mut w = World::new();
    let other = |w: &mut World, namespace: &str, size| {
        let uid = w.api.new_uid();
        let view = PoolView {
            uid: uid.clone(),
            namespace: namespace.into(),
            name: "blue".into(),
            version: 0,
            created: w.now,
            size: Some(size),
            pre_allocate: false,
        };
        w.api.put_pool(view);
        w.settle();
        uid
    };
    let first = other(&mut w, "zoo", 1);
    other(&mut w, "ant", 2);
    let size = |w: &World| w.ledger.pool_status("blue").object.and_then(|pool| pool.size);
    assert_eq!(size(&w), Some(1), "the oldest");
    assert_eq!(w.ledger.pool_status("blue").rejected.len(), 1);
    w.named_pool("blue", Some(3), false);
    assert_eq!(size(&w), Some(3), "kube-system's");
    assert_eq!(w.ledger.pool_status("blue").rejected.len(), 2);
    w.api.remove_pool(&first);
    w.settle();
    assert_eq!(w.ledger.pool_status("blue").rejected.len(), 1);
}

#[test]
fn in_a_sized_pool_the_size_rules_over_replicas_and_spare() {
    let mut w = World::new();
    w.named_pool("blue", Some(2), false);
    let d = blue(&mut w, "web", 2);
    w.run();
    w.roll(d);
    w.run();
    assert!(!w.is_rolled_out(d), "the new pod waits: the size leaves no room for a spare");
    let waiting = w.ledger.waiting();
    assert!(waiting[0].1.detail.contains("Pool.size"), "the condition says what to change: {:?}", waiting[0].1);
    w.named_pool("blue", Some(3), false);
    w.run();
    assert!(w.is_rolled_out(d));
}

#[test]
fn what_is_kept_for_a_pod_name_counts_as_used_for_all_others() {
    let mut w = World::new();
    w.named_pool("blue", Some(1), false);
    let sts = w.stateful_set("db", 1);
    let (p, addr) = w.bound(&PodSpec::of("db-0", &sts).pool("blue"));
    w.delete_pod(&p);
    let other = w.pod(&PodSpec::bare("x-0").pool("blue"));
    assert_eq!(w.schedule(&other).unwrap_err().reason, Reason::LimitReached);
    assert_eq!(w.bound(&PodSpec::of("db-0", &sts).pool("blue")).1, addr);
}
