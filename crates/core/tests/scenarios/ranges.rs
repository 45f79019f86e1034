//! `request_ip_range`: one address from each list, by exact matching (rule 10).

use galaxy_core::Addr;
use galaxy_core::ledger::*;

use crate::world::*;

fn got(w: &World, uid: &Uid) -> Vec<Addr> {
    w.api.pod(uid).annotated.iter().copied().map(Addr::from).collect()
}

fn ips(list: &[&str]) -> Vec<Addr> {
    list.iter().map(|text| ip(text)).collect()
}

#[test]
fn one_address_from_each_list_in_the_order_of_the_lists() {
    let config = vec![pool(&["10.1.0.0/16"], &["10.0.0.2~10.0.0.238"], "10.0.0.1/24")];
    let mut w = World::with(Settings::default(), config);
    let lists: &[&[&str]] = &[&["10.0.0.200~10.0.0.238"], &["10.0.0.2~10.0.0.30"], &["10.0.0.60~10.0.0.80"]];
    let (p, _) = w.bound(&PodSpec::bare("p").lists(lists));
    assert_eq!(got(&w, &p), ips(&["10.0.0.200", "10.0.0.2", "10.0.0.60"]));
    w.delete_pod(&p);
    assert!(w.objects().is_empty(), "all are freed");
}

#[test]
fn alternatives_are_walked_in_the_order_written() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.99"));
    let (_, addr) = w.bound(&PodSpec::bare("p").lists(&[&["10.0.0.40", "10.0.0.2~10.0.0.9"]]));
    assert_eq!(addr, ip("10.0.0.40"));
    let (_, addr) = w.bound(&PodSpec::bare("q").lists(&[&["10.0.0.40", "10.0.0.2~10.0.0.9"]]));
    assert_eq!(addr, ip("10.0.0.2"));
}

#[test]
fn overlapping_lists_are_matched_not_first_fitted() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.3"));
    let (p, _) = w.bound(&PodSpec::bare("p").lists(&[&["10.0.0.2~10.0.0.3"], &["10.0.0.2"]]));
    assert_eq!(got(&w, &p), ips(&["10.0.0.3", "10.0.0.2"]));
}

#[test]
fn too_few_distinct_addresses_are_refused_at_filter_and_nothing_is_taken() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.9"));
    let p = w.pod(&PodSpec::bare("p").lists(&[&["10.0.0.2~10.0.0.3"], &["10.0.0.2"], &["10.0.0.3"]]));
    assert_eq!(w.filter(&p).reason(), Reason::NoAddress);
    assert!(w.bind(&p, "a1").is_err());
    assert!(w.objects().is_empty());
}

#[test]
fn all_lists_must_be_routed_to_one_node() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p").lists(&[&["10.0.0.2~10.0.0.5"], &["10.0.2.2~10.0.2.5"]]));
    assert_eq!(w.filter(&p).nodes(), ["a1", "a2"], "only these reach both pools");
    let q = w.pod(&PodSpec::bare("q").lists(&[&["10.0.0.2~10.0.0.5"], &["10.0.1.2~10.0.1.5"]]));
    assert_eq!(w.filter(&q).reason(), Reason::NoAddress, "no node reaches both");
}

#[test]
fn a_stateful_pod_gets_all_its_addresses_back() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.9"));
    let sts = w.stateful_set("cart", 1);
    let lists: &[&[&str]] = &[&["10.0.0.4~10.0.0.9"], &["10.0.0.2~10.0.0.9"]];
    let (p, _) = w.bound(&PodSpec::of("cart-0", &sts).immutable().lists(lists));
    let before = got(&w, &p);
    w.delete_pod(&p);
    assert_eq!(w.objects().len(), 2);
    let (p, _) = w.bound(&PodSpec::of("cart-0", &sts).immutable().lists(lists));
    assert_eq!(got(&w, &p), before);
}

#[test]
fn an_added_list_costs_one_fresh_address_and_the_others_stay() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.9"));
    let sts = w.stateful_set("cart", 1);
    let (p, kept) = w.bound(&PodSpec::of("cart-0", &sts).immutable().lists(&[&["10.0.0.4~10.0.0.9"]]));
    w.delete_pod(&p);
    let lists: &[&[&str]] = &[&["10.0.0.2~10.0.0.9"], &["10.0.0.4~10.0.0.9"]];
    let (p, _) = w.bound(&PodSpec::of("cart-0", &sts).immutable().lists(lists));
    assert!(got(&w, &p).contains(&kept), "{:?}", got(&w, &p));
    assert_eq!(w.objects().len(), 2);
}

#[test]
fn a_removed_list_gives_its_address_up() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.9"));
    let sts = w.stateful_set("cart", 1);
    let both: &[&[&str]] = &[&["10.0.0.4"], &["10.0.0.5"]];
    let (p, _) = w.bound(&PodSpec::of("cart-0", &sts).immutable().lists(both));
    w.delete_pod(&p);
    w.bound(&PodSpec::of("cart-0", &sts).immutable().lists(&[&["10.0.0.5"]]));
    w.sweep();
    assert_eq!(w.objects().into_keys().collect::<Vec<_>>(), ips(&["10.0.0.5"]));
}

#[test]
fn ranges_and_a_deployment_that_keeps_do_not_go_together() {
    let mut w = World::new();
    let d = w.deployment("web", 2, galaxy_core::ReleasePolicy::Immutable);
    w.run();
    let spec = w.extra_pod(d);
    let p = w.pod(&spec.lists(&[&["10.0.0.2~10.0.0.5"]]));
    let refusal = w.filter(&p).refusal();
    assert_eq!(refusal.reason, Reason::UnsupportedPolicy);
    assert!(refusal.text.contains("request_ip_range"), "{}", refusal.text);
}

#[test]
fn a_malformed_annotation_is_refused_with_its_text_and_does_not_wait() {
    let mut w = World::new();
    let p = w.pod(&PodSpec::bare("p"));
    let why = "annotation k8s.v1.cni.galaxy.io/args: request_ip_range[0][0]: \"10.0.0.x\"";
    w.api.edit_pod(&p, |pod| pod.ranges = Err(why.to_owned()));
    w.settle();
    let refusal = w.schedule(&p).unwrap_err();
    assert_eq!(refusal.reason, Reason::BadAnnotation);
    assert!(refusal.text.contains(why), "{}", refusal.text);
    assert!(w.ledger.waiting().is_empty(), "only an edit can cure it");
    assert!(w.bind(&p, "a1").unwrap_err().contains(why));
}

#[test]
fn a_list_outside_all_pools_is_named() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.9"));
    let nowhere: &[&str] = &["10.9.0.1~10.9.0.4", "10.9.1.0", "10.9.2.0", "10.9.3.0", "10.9.4.0"];
    let p = w.pod(&PodSpec::bare("p").lists(&[&["10.0.0.2~10.0.0.9"], nowhere]));
    let refusal = w.schedule(&p).unwrap_err();
    assert_eq!(refusal.reason, Reason::NoAddress);
    assert_eq!(
        refusal.text,
        "FloatingIPPlugin:NoFIPLeft request_ip_range 10.9.0.1~10.9.0.4, 10.9.1.0, 10.9.2.0 and 2 more is in no configured pool"
    );
    assert!(
        refusal.detail.ends_with("; ask for other addresses or add them to the configuration"),
        "{}",
        refusal.detail
    );
}

#[test]
fn hostile_ranges_are_clipped_before_they_cost_anything() {
    let mut w = World::new();
    let all: &[&str] = &["0.0.0.0~255.255.255.255", "::~ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
    let (_, addr) = w.bound(&PodSpec::bare("p").lists(&[all, all, all]));
    assert_eq!(addr, ip("10.0.0.2"));
    assert_eq!(w.objects().len(), 3);
}

#[test]
fn an_address_of_a_list_that_was_freed_a_moment_ago_is_taken_last() {
    let mut w = World::with(Settings::default(), flat("10.0.0.2~10.0.0.9"));
    let lists: &[&[&str]] = &[&["10.0.0.2~10.0.0.3"]];
    let (p, first) = w.bound(&PodSpec::bare("p").lists(lists));
    assert_eq!(first, ip("10.0.0.2"));
    w.delete_pod(&p);
    let (_, second) = w.bound(&PodSpec::bare("q").lists(lists));
    assert_eq!(second, ip("10.0.0.3"));
    let (_, third) = w.bound(&PodSpec::bare("r").lists(lists));
    assert_eq!(third, ip("10.0.0.2"), "where there is no other it is taken");
}
