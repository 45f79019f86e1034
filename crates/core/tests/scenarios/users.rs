//! What people ask for: releases, lists, pages, numbers.

use galaxy_core::ReleasePolicy::{Immutable, Never};
use galaxy_core::ledger::*;

use crate::world::*;

#[test]
fn a_reservation_is_released_whatever_its_policy() {
    for policy in [Immutable, Never] {
        let mut w = World::new();
        let sts = w.stateful_set("cart", 1);
        let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).policy(policy));
        w.delete_pod(&p);
        assert_eq!(w.release(addr, "sts_shop_cart_cart-0"), ReleaseStep::Done);
        assert!(w.objects().is_empty());
        assert_eq!(w.release(addr, "sts_shop_cart_cart-0"), ReleaseStep::Done, "not allocated is released");
    }
}

#[test]
fn reservations_of_workloads_pools_and_bare_pods_are_released_too() {
    let mut w = World::new();
    let d = w.deployment("web", 4, Immutable);
    w.run();
    let pod = w.pods_of_deployment(d)[0].clone();
    let addr = w.addr_of(&pod);
    w.delete_pod(&pod);
    assert_eq!(w.release(addr, "dp_shop_web_"), ReleaseStep::Done);
    let (p, bare) = w.bound(&PodSpec::bare("one-0").never());
    w.delete_pod(&p);
    assert_eq!(w.release(bare, "NULL_shop_NULL_one-0"), ReleaseStep::Done);
    w.named_pool("blue", Some(1), true);
    let (pooled, key) = w.objects().into_iter().find(|(_, key)| key.starts_with("pool__")).unwrap();
    assert_eq!(key, "pool__blue_");
    assert_eq!(w.release(pooled, "pool__blue_"), ReleaseStep::Done);
    assert!(!w.objects().contains_key(&addr) && !w.objects().contains_key(&bare));
}

#[test]
fn what_is_in_use_reserved_by_an_admin_or_anothers_is_not_released() {
    let mut w = World::new();
    let (p, addr) = w.bound(&PodSpec::bare("p"));
    let refused = |step: ReleaseStep| match step {
        ReleaseStep::Refused(text) => text,
        other => panic!("{other:?}"),
    };
    let text = refused(w.release(addr, "NULL_shop_NULL_p"));
    assert!(text.contains("is running") && text.contains(&p.to_string()), "{text}");
    let text = refused(w.release(addr, "NULL_shop_NULL_q"));
    assert!(text.contains("allocated to another pod NULL_shop_NULL_p"), "{text}");
    w.admin_reserves("10.0.0.5", "pool__reserved-for-node_");
    let text = refused(w.release(ip("10.0.0.5"), "pool__reserved-for-node_"));
    assert!(text.contains("reserved by an administrator"), "{text}");
    let text = refused(w.release(ip("10.99.0.5"), "NULL_shop_NULL_p"));
    assert!(text.contains("no configured pool"), "{text}");
    assert_eq!(w.objects().len(), 2);
}

#[test]
fn a_pod_not_in_the_caches_is_proved_gone_before_its_address_is_released() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.api.remove_pod(&p);
    w.start();
    w.settle();
    let request = ReleaseRequest { addr, key: "sts_shop_cart_cart-0".to_owned() };
    let step = w.call(|l, now| l.release(now, &request));
    assert!(matches!(&step, ReleaseStep::Prove(pod) if pod.uid == p), "{step:?}");
    assert_eq!(w.release(addr, "sts_shop_cart_cart-0"), ReleaseStep::Done);
    assert!(w.objects().is_empty());
}

#[test]
fn a_release_that_the_api_refuses_says_so() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.delete_pod(&p);
    let request = ReleaseRequest { addr, key: "sts_shop_cart_cart-0".to_owned() };
    assert_eq!(w.call(|l, now| l.release(now, &request)), ReleaseStep::Wait);
    let write = w.take_op(addr);
    w.report(&write, Outcome::Refused("forbidden".to_owned()));
    let step = w.call(|l, now| l.release_poll(now, addr));
    assert!(matches!(&step, ReleaseStep::Refused(text) if text.contains("forbidden")), "{step:?}");
}

#[test]
fn pages_walk_all_addresses_in_numeric_order() {
    let mut w = World::new();
    w.bound_to(&PodSpec::bare("p"), "c1");
    w.admin_reserves("10.77.0.1", "x");
    let (total, all) = w.ledger.page(0, 100);
    assert_eq!((total, all.len()), (13, 13));
    let addrs: Vec<_> = all.iter().map(|info| info.addr).collect();
    assert!(addrs.windows(2).all(|pair| pair[0] < pair[1]), "{addrs:?}");
    assert_eq!(all.iter().filter(|info| info.state.is_some()).count(), 2);
    for (skip, take) in [(0, 1), (3, 4), (7, 2), (12, 9), (13, 1), (99, 1)] {
        let (total, page) = w.ledger.page(skip, take);
        let rest = &all[(skip as usize).min(13)..];
        assert_eq!((total, &page[..]), (13, &rest[..take.min(rest.len())]), "skip {skip} take {take}");
    }
    assert_eq!(w.ledger.addresses().count(), 2);
}

#[test]
fn numbers_for_metrics() {
    let mut w = World::new();
    let d = w.deployment("web", 4, Immutable);
    w.run();
    let pod = w.pods_of_deployment(d)[0].clone();
    w.delete_pod(&pod);
    w.admin_reserves("10.0.1.5", "x");
    let spec = w.extra_pod(d);
    let p = w.pod(&spec);
    w.filter(&p);
    let spec = w.extra_pod(d);
    let q = w.pod(&spec);
    w.filter(&q);
    let stats = w.ledger.stats();
    assert_eq!(stats.states, [3, 1, 0, 1], "bound, reserved, quarantined, admin");
    assert_eq!(stats.pools.iter().map(|(used, total)| (*used, *total)).collect::<Vec<_>>(), [(4, 4), (1, 4), (0, 4)]);
    assert_eq!((stats.holds, stats.orphaned, stats.disputed, stats.pending, stats.generation), (1, 0, 0, 0, 1));
    assert_eq!(stats.waiting, [(Reason::LimitReached, 1)]);
}

#[test]
fn a_query_for_an_owner_finds_all_its_addresses_and_few_others() {
    let mut w = World::new();
    w.deployment("web", 3, Immutable);
    w.run();
    let cart = w.stateful_set("cart", 2);
    w.bound(&PodSpec::of("cart-0", &cart));
    let (p, _) = w.bound(&PodSpec::of("cart-1", &cart).policy(Immutable));
    w.delete_pod(&p);
    w.bound(&PodSpec::bare("one-0").pool("blue"));
    w.named_pool("blue", Some(2), true);
    w.admin_reserves("10.0.1.5", "dp_shop_web_x");
    let all: Vec<AddressInfo> = w.ledger.addresses().collect();
    assert_eq!(all.len(), 8);
    let found = |owner: &OwnerQuery<'_>| {
        let addrs = w.ledger.addresses_of(owner).expect("something is asked");
        w.ledger.describe_all(&addrs)
    };
    for info in &all {
        let Some(id) = info.workload.as_ref() else { continue };
        let app = if id.model() == Model::Bare { "NULL" } else { &*id.name };
        let full =
            OwnerQuery { pool: None, namespace: Some(&id.namespace), app: Some(app), pod: info.pod_name.as_deref() };
        let none = OwnerQuery::default();
        let mut queries = vec![
            full,
            OwnerQuery { namespace: full.namespace, ..none },
            OwnerQuery { app: full.app, ..none },
            OwnerQuery { pod: None, ..full },
        ];
        queries.extend(full.pod.map(|_| OwnerQuery { pod: full.pod, ..none }));
        queries.extend(info.pool.as_deref().map(|pool| OwnerQuery { pool: Some(pool), ..none }));
        for query in queries {
            assert!(found(&query).contains(info), "{} by {query:?}", info.addr);
        }
    }
    let count = |owner: OwnerQuery<'_>| found(&owner).len();
    let none = OwnerQuery::default();
    assert_eq!(w.ledger.addresses_of(&none), None);
    // What an admin has reserved may be anybody's.
    assert_eq!(count(OwnerQuery { namespace: Some("other"), ..none }), 1);
    assert_eq!(count(OwnerQuery { app: Some("cart"), ..none }), 3);
    assert_eq!(count(OwnerQuery { pod: Some("cart-1"), ..none }), 2);
    assert_eq!(count(OwnerQuery { pool: Some("blue"), ..none }), 3);
    assert_eq!(count(OwnerQuery { pool: Some("green"), ..none }), 1);
}
