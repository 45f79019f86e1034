//! A rollout never deadlocks (rule 17), and the set of addresses is stable from the first rollout on.

use std::collections::BTreeSet;

use galaxy_core::ReleasePolicy::{Immutable, Never};
use galaxy_core::ledger::*;
use galaxy_core::{Addr, ReleasePolicy};

use crate::world::*;

fn world() -> World {
    World::with(Settings::default(), flat("10.0.0.2~10.0.0.30"))
}

fn set(w: &World, d: usize) -> BTreeSet<Addr> {
    w.addresses_of(&w.deployments[d].id)
}

fn roll(w: &mut World, d: usize) -> BTreeSet<Addr> {
    w.roll(d);
    w.run();
    assert!(w.is_rolled_out(d), "{:?}: {:?}", w.deployments[d], w.ledger.waiting());
    set(w, d)
}

#[test]
fn small_deployments_of_the_default_strategy_roll_three_times_and_keep_their_set() {
    for policy in [Immutable, Never] {
        for replicas in 1..=5 {
            let mut w = world();
            let d = w.deployment("web", replicas, policy);
            w.run();
            assert_eq!(set(&w, d).len() as u32, replicas, "{policy} {replicas}");
            let first = roll(&mut w, d);
            let second = roll(&mut w, d);
            let third = roll(&mut w, d);
            assert_eq!(first, second, "{policy} {replicas}");
            assert_eq!(second, third, "{policy} {replicas}");
            let spare = usize::from(replicas <= 3);
            assert_eq!(third.len(), replicas as usize + spare, "{policy} {replicas}");
            let marked = third.iter().filter(|addr| w.api.raw(**addr).is_some_and(|record| record.spare));
            assert_eq!(marked.count(), spare, "the spare is marked in its object");
        }
    }
}

#[test]
fn the_set_survives_a_restart_between_rollouts() {
    for replicas in 1..=3 {
        let mut w = world();
        let d = w.deployment("web", replicas, Immutable);
        w.run();
        let first = roll(&mut w, d);
        w.start();
        w.settle();
        assert_eq!(set(&w, d), first);
        assert_eq!(roll(&mut w, d), first, "{replicas}");
    }
}

#[test]
fn a_crash_looping_version_leaves_the_old_pods_and_their_addresses_alone() {
    for policy in [Immutable, Never] {
        for replicas in 1..=4 {
            let mut w = world();
            let d = w.deployment("web", replicas, policy);
            w.run();
            let old: BTreeSet<Uid> = w.pods_of_deployment(d).into_iter().collect();
            w.edit_deployment(d, |deploy| deploy.broken = Some(2));
            w.roll(d);
            w.run();
            let serving = w.pods_of_deployment(d).into_iter().filter(|pod| old.contains(pod)).count() as u32;
            let unavailable = w.deployments[d].resolved().1;
            assert_eq!(serving, replicas - unavailable, "{policy} {replicas}");

            // A new version over the unfinished one.
            let after = roll(&mut w, d);
            assert_eq!(roll(&mut w, d), after, "{policy} {replicas}");
        }
    }
}

#[test]
fn a_rollback_half_way_finishes_and_keeps_the_set() {
    for policy in [Immutable, Never] {
        for replicas in 1..=4 {
            let mut w = world();
            let d = w.deployment("web", replicas, policy);
            w.run();
            let before = roll(&mut w, d);
            w.edit_deployment(d, |deploy| deploy.broken = Some(3));
            w.roll(d);
            w.run();
            w.edit_deployment(d, |deploy| deploy.template = 2);
            w.run();
            assert!(w.is_rolled_out(d), "{policy} {replicas}: {:?}", w.ledger.waiting());
            assert_eq!(set(&w, d), before, "{policy} {replicas}");
        }
    }
}

#[test]
fn a_pause_stops_and_resumes() {
    let mut w = world();
    let d = w.deployment("web", 3, Immutable);
    w.run();
    w.roll(d);
    w.reconcile_deployment(d);
    w.reconcile_deployment(d);
    w.edit_deployment(d, |deploy| deploy.paused = true);
    w.run();
    assert!(!w.is_rolled_out(d));
    w.edit_deployment(d, |deploy| deploy.paused = false);
    w.run();
    assert!(w.is_rolled_out(d));
    assert_eq!(set(&w, d).len(), 4);
}

#[test]
fn scaling_during_a_rollout() {
    for (from, to) in [(1, 3), (2, 4), (3, 1), (3, 2), (4, 2), (2, 0)] {
        let mut w = world();
        let d = w.deployment("web", from, Immutable);
        w.run();
        w.roll(d);
        w.reconcile_deployment(d);
        w.settle();
        w.reconcile_deployment(d);
        w.reconcile_sets(d);
        w.settle();
        w.schedule_all();
        w.edit_deployment(d, |deploy| deploy.replicas = to);
        w.run();
        assert!(w.is_rolled_out(d), "{from} to {to}: {:?}", w.ledger.waiting());
        assert!(set(&w, d).len() as u32 <= to + 1, "{from} to {to}: {:?}", set(&w, d));
        if to == 0 {
            assert!(w.objects().is_empty(), "{:?}", w.objects());
        }
    }
}

#[test]
fn recreate_needs_no_spare() {
    for policy in [Immutable, Never] {
        let mut w = world();
        let d = w.deployment_with("web", 2, policy, |deploy| deploy.strategy = Strategy::Recreate);
        w.run();
        let before = set(&w, d);
        assert_eq!(before.len(), 2);
        assert_eq!(roll(&mut w, d), before);
        assert_eq!(roll(&mut w, d), before);
    }
}

#[test]
fn a_scale_down_ends_the_spare() {
    let mut w = world();
    let d = w.deployment("web", 3, Immutable);
    w.run();
    assert_eq!(roll(&mut w, d).len(), 4);
    w.edit_deployment(d, |deploy| deploy.replicas = 2);
    w.run();
    assert_eq!(set(&w, d).len(), 2, "two pods, and no spare until the next rollout");
    assert_eq!(roll(&mut w, d).len(), 3);
}

#[test]
fn another_strategy_ends_the_spare() {
    let mut w = world();
    let d = w.deployment("web", 2, Immutable);
    w.run();
    assert_eq!(roll(&mut w, d).len(), 3);
    w.edit_deployment(d, |deploy| deploy.strategy = Strategy::Pods(0, 1));
    w.run();
    assert_eq!(set(&w, d).len(), 2);
    let set = set(&w, d);
    assert_eq!(roll(&mut w, d), set);
}

#[test]
fn the_annotation_restores_the_originals_waiting_or_allows_more() {
    let mut w = world();
    let d = w.deployment_with("web", 2, Immutable, |deploy| deploy.spare_addresses = Some(0));
    w.run();
    w.roll(d);
    w.run();
    assert!(!w.is_rolled_out(d), "0: waits for an old pod to go");
    let waiting = w.ledger.waiting();
    assert_eq!(waiting[0].1.reason, Reason::LimitReached);
    assert!(waiting[0].1.detail.contains("spare-addresses"), "{}", waiting[0].1.detail);
    w.edit_deployment(d, |deploy| deploy.spare_addresses = None);
    w.run();
    assert!(w.is_rolled_out(d));

    let mut w = world();
    let d = w.deployment_with("web", 4, Immutable, |deploy| {
        deploy.strategy = Strategy::Pods(3, 0);
        deploy.spare_addresses = Some(9);
    });
    w.run();
    let first = roll(&mut w, d);
    assert_eq!(first.len(), 7, "up to maxSurge");
    assert_eq!(roll(&mut w, d), first);
}

#[test]
fn never_more_addresses_than_replicas_and_spare_at_any_moment_of_a_rollout() {
    for (replicas, strategy) in [
        (1, Strategy::Percent(25, 25)),
        (3, Strategy::Pods(3, 0)),
        (4, Strategy::Percent(25, 25)),
        (2, Strategy::Pods(2, 1)),
    ] {
        for policy in [Immutable, Never] {
            let mut w = world();
            let d = w.deployment_with("web", replicas, policy, |deploy| deploy.strategy = strategy);
            w.run();
            w.roll(d);
            let limit = replicas as usize + usize::from(w.deployments[d].resolved().1 == 0);
            for _ in 0..60 {
                w.reconcile_deployment(d);
                w.settle();
                w.reconcile_sets(d);
                w.settle();
                w.schedule_all();
                let size = set(&w, d).len();
                assert!(size <= limit, "{replicas} {strategy:?} {policy}: {size}");
                w.kubelets();
                w.settle();
                w.pass(1);
            }
            assert!(w.is_rolled_out(d), "{replicas} {strategy:?} {policy}");
        }
    }
}

/// Pods of the older ReplicaSet keep what they need: those of the newest take only what is beyond it.
#[test]
fn the_newest_set_leaves_the_older_ones_their_share() {
    let mut w = world();
    let d = w.deployment_with("web", 4, ReleasePolicy::Immutable, |deploy| deploy.strategy = Strategy::Pods(2, 2));
    w.run();
    w.edit_deployment(d, |deploy| deploy.broken = Some(2));
    w.roll(d);
    w.run();
    // Two old pods serve; one of them is killed and comes back.
    let old_set = w.deployments[d].sets[0].0.clone();
    let old = w.pods_of(&old_set);
    assert_eq!(old.len(), 2);
    w.delete_pod(&old[0]);
    w.run();
    let old = w.pods_of(&old_set);
    assert_eq!(old.iter().filter(|uid| w.api.pod(uid).node.is_some()).count(), 2, "{:?}", w.ledger.waiting());
}

#[test]
fn the_successor_of_a_pod_that_is_ending_waits_for_that_very_address() {
    for replicas in 1..=3 {
        let mut w = world();
        let d = w.deployment("web", replicas, ReleasePolicy::Immutable);
        w.run();
        let before = set(&w, d);
        let pods = w.pods_of_deployment(d);
        let spec = w.extra_pod(d);
        let successor = w.pod(&spec);
        assert_eq!(
            w.schedule(&successor).unwrap_err().reason,
            Reason::LimitReached,
            "the spare is for another version"
        );
        w.delete_pod(&pods[0]);
        w.pass(1);
        assert!(w.was_woken(&successor));
        assert!(w.schedule(&successor).is_ok());
        assert_eq!(set(&w, d), before);
    }
}
