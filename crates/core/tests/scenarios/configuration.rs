//! Configuration never changes an owner (rule 5).

use galaxy_core::ledger::*;

use crate::world::*;

/// The usual racks without the second.
fn smaller() -> Vec<galaxy_core::topology::PoolConfig> {
    let mut config = racks();
    config.remove(1);
    config
}

#[test]
fn an_address_that_leaves_the_configuration_stays_with_its_owner_and_is_not_handed_out_again() {
    let mut w = World::new();
    let (p, addr) = w.bound_to(&PodSpec::bare("p"), "b1");
    w.configure(smaller());
    w.sweep();
    assert_eq!(w.record(&addr.to_string()).unwrap().pod_uid, Some(p.clone()));
    let info = w.ledger.info(addr).unwrap();
    assert!(info.orphaned && info.state == Some(State::Bound));
    assert_eq!(w.ledger.stats().orphaned, 1);
    w.delete_pod(&p);
    assert!(w.objects().is_empty());
    assert_eq!(w.ledger.info(addr), None, "neither configured nor owned");
}

#[test]
fn an_orphaned_reservation_is_kept_but_cannot_be_used() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound_to(&PodSpec::of("cart-0", &sts).immutable(), "b1");
    w.delete_pod(&p);
    w.configure(smaller());
    w.sweep();
    assert!(w.objects().contains_key(&addr), "the owner is the same");
    let p = w.pod(&PodSpec::of("cart-0", &sts).immutable());
    assert_eq!(w.filter(&p).nodes(), ["a1", "a2", "c1"], "fresh elsewhere");
    w.configure(racks());
    assert_eq!(w.filter(&p).nodes(), ["b1"], "it is back, and so is the promise");
    assert_eq!(w.schedule(&p), Ok(addr));
}

#[test]
fn a_restart_keeps_what_is_out_of_the_configuration() {
    let mut w = World::new();
    let (p, addr) = w.bound_to(&PodSpec::bare("p"), "b1");
    w.config = smaller();
    w.start();
    w.settle();
    w.sweep();
    assert_eq!(w.record(&addr.to_string()).unwrap().pod_uid, Some(p));
    assert!(w.ledger.info(addr).unwrap().orphaned);
}

#[test]
fn an_address_that_moves_to_another_pool_takes_its_network() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound_to(&PodSpec::of("cart-0", &sts).immutable(), "b1");
    w.delete_pod(&p);
    let mut config = smaller();
    config.push(galaxy_core::topology::PoolConfig {
        vlan: 7,
        ..pool(&["10.1.2.0/24"], &["10.0.1.2~10.0.1.5"], "10.0.1.254/23")
    });
    w.configure(config);
    let p = w.pod(&PodSpec::of("cart-0", &sts).immutable());
    assert_eq!(w.filter(&p).nodes(), ["c1"]);
    let (_, grants) = w.bind_until_binding(&p, "c1");
    assert_eq!((grants[0].ip, grants[0].vlan, grants[0].prefix_len), (addr.ip(), 7, 23));
}

#[test]
fn a_configuration_that_takes_the_address_of_a_bind_under_way_fails_it_and_the_next_try_is_served() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let pod = w.pod_ref(&p);
    assert_eq!(w.call(|l, now| l.bind(now, &pod, "b1")), BindStep::Wait);
    w.configure(smaller());
    let step = w.call(|l, now| l.bind_poll(now, &p, "b1"));
    assert!(matches!(&step, BindStep::Refused(text) if text.contains("configuration")), "{step:?}");
    assert!(w.schedule(&p).is_ok());
    w.sweep();
    assert_eq!(w.objects().len(), 1, "what it cannot use is freed: {:?}", w.objects());
}

#[test]
fn an_address_out_of_every_range_that_an_admin_reserved_stays() {
    let mut w = World::new();
    w.admin_reserves("10.77.0.1", "pool__reserved-for-node_");
    w.configure(smaller());
    w.sweep();
    assert_eq!(w.state("10.77.0.1"), Some(State::Admin));
    assert!(w.ledger.info(ip("10.77.0.1")).unwrap().orphaned);
}

#[test]
fn nodes_move_with_the_configuration_and_with_their_addresses() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p").lists(&[&["10.0.1.2~10.0.1.5"]]));
    assert_eq!(w.filter(&p).nodes(), ["b1"]);
    w.api.edit_node("c1", |node| node.ips = vec!["10.1.1.9".parse().unwrap()]);
    w.settle();
    assert_eq!(w.filter(&p).nodes(), ["b1", "c1"]);
    let mut config = racks();
    config[1] = pool(&["10.1.0.0/24"], &["10.0.1.2~10.0.1.5"], "10.0.1.1/24");
    w.configure(config);
    assert_eq!(w.filter(&p).nodes(), ["a1", "a2"]);
    w.api.remove_node("a2");
    w.settle();
    assert_eq!(w.filter_on(&p, &["a1", "a2"]).nodes(), ["a1"]);
}

#[test]
fn a_node_with_addresses_of_both_families_reaches_the_pools_of_both() {
    let mut config = racks();
    config.push(pool(&["fd00:1::/64"], &["fd00:5::2~fd00:5::9"], "fd00:5::1/64"));
    let mut w = World::with(Settings::default(), config);
    let both = vec!["10.1.0.9".parse().unwrap(), "fd00:1::9".parse().unwrap()];
    w.api.put_node(NodeView { ips: both, ..node("d1", "10.1.0.9") });
    w.settle();
    let p = w.pod(&PodSpec::bare("p").lists(&[&["10.0.0.2~10.0.0.5"], &["fd00:5::~fd00:5::ffff"]]));
    assert_eq!(w.filter(&p).nodes(), ["d1"]);
    w.schedule(&p).unwrap();
    let got: Vec<String> = w.api.pod(&p).annotated.iter().map(ToString::to_string).collect();
    assert_eq!(got, ["10.0.0.2", "fd00:5::2"]);
}
