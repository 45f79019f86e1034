//! What becomes of an address when its pod is gone (contract §4.3), row by row.

use galaxy_core::ReleasePolicy::{self, Default, Immutable, Never};
use galaxy_core::ledger::*;

use crate::world::*;

/// What happens to the workload before its pod goes.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Stays,
    ScaledTo(u32),
    Deleted,
    /// The scale path is absent from the object.
    Scaleless,
}

use Fate::{Deleted, ScaledTo, Scaleless, Stays};

fn meets(w: &mut World, id: &WorkloadId, fate: Fate) {
    match fate {
        Stays => {}
        ScaledTo(replicas) => w.api.edit_workload(id, |view| view.replicas = Some(replicas)),
        Deleted => w.api.remove_workload(id),
        Scaleless => w.api.edit_workload(id, |view| view.replicas = None),
    }
    w.settle();
}

/// The key under which the address is kept, after the pod went before or after its workload met its fate.
fn kept(w: &mut World, pod: &Uid, id: &WorkloadId, fate: Fate, pod_first: bool) -> Option<String> {
    let addr = w.addr_of(pod);
    if pod_first {
        w.delete_pod(pod);
        meets(w, id, fate);
    } else {
        meets(w, id, fate);
        w.delete_pod(pod);
    }
    w.objects().get(&addr).cloned()
}

#[test]
fn deployments() {
    for (policy, pool, fate, want) in [
        (Default, None, Stays, None),
        (Immutable, None, Stays, Some("dp_shop_web_")),
        (Immutable, None, ScaledTo(9), Some("dp_shop_web_")),
        (Immutable, None, ScaledTo(3), None),
        (Immutable, None, ScaledTo(0), None),
        (Immutable, None, Deleted, None),
        (Never, None, Stays, Some("dp_shop_web_")),
        (Never, None, ScaledTo(0), Some("dp_shop_web_")),
        (Never, None, Deleted, Some("dp_shop_web_")),
        (Never, Some("blue"), Stays, Some("pool__blue_")),
        (Never, Some("blue"), Deleted, Some("pool__blue_")),
    ] {
        for pod_first in [true, false] {
            let mut w = World::new();
            let d = w.deployment_with("web", 4, policy, |deploy| deploy.pool = pool.map(str::to_owned));
            w.run();
            let (pods, id) = (w.pods_of_deployment(d), w.deployments[d].id.clone());
            let kept = kept(&mut w, &pods[0], &id, fate, pod_first);
            assert_eq!(kept.as_deref(), want, "{policy} {pool:?} {fate:?}, pod first: {pod_first}");
        }
    }
}

fn by_name(
    rows: &[(&str, ReleasePolicy, Fate, bool)],
    make: impl Fn(&mut World) -> WorkloadView,
    key: impl Fn(&str) -> String,
) {
    for &(name, policy, fate, keeps) in rows {
        for pod_first in [true, false] {
            let mut w = World::new();
            let workload = make(&mut w);
            let (pod, _) = w.bound(&PodSpec::of(name, &workload).policy(policy));
            let kept = kept(&mut w, &pod, &workload.id, fate, pod_first);
            assert_eq!(kept, keeps.then(|| key(name)), "{name} {policy} {fate:?}, pod first: {pod_first}");
        }
    }
}

#[test]
fn stateful_sets() {
    let rows = [
        ("cart-2", Default, Stays, false),
        ("cart-2", Immutable, Stays, true),
        ("cart-2", Immutable, ScaledTo(3), true),
        ("cart-2", Immutable, ScaledTo(2), false),
        ("cart-2", Immutable, ScaledTo(0), false),
        ("cart-2", Immutable, Deleted, false),
        ("cart-2", Never, ScaledTo(0), true),
        ("cart-2", Never, Deleted, true),
    ];
    by_name(&rows, |w| w.stateful_set("cart", 4), |pod| format!("sts_shop_cart_{pod}"));
}

#[test]
fn custom_workloads() {
    let rows = [
        ("demo-2", Default, Stays, false),
        ("demo-2", Immutable, Stays, true),
        ("demo-2", Immutable, ScaledTo(3), true),
        ("demo-2", Immutable, ScaledTo(2), false),
        ("demo-2", Immutable, Deleted, false),
        ("demo-2", Immutable, Scaleless, true),
        ("demo-2", Never, Deleted, true),
    ];
    by_name(&rows, |w| w.tapp("demo", 4), |pod| format!("tapp_shop_demo_{pod}"));
}

#[test]
fn ordinals_are_kept_from_their_start_on() {
    for (ordinal, keeps) in [(4, false), (5, true), (7, true), (8, false)] {
        let mut w = World::new();
        let mut sts = w.workload_view(WorkloadId::stateful_set(NS, "cart"), 3);
        sts.ordinal_start = 5;
        w.api.put_workload(sts.clone());
        let (pod, addr) = w.bound(&PodSpec::of(&format!("cart-{ordinal}"), &sts).immutable());
        w.delete_pod(&pod);
        assert_eq!(w.objects().contains_key(&addr), keeps, "cart-{ordinal}");
    }
}

#[test]
fn bare_pods() {
    for (name, policy, keeps) in [("one-0", Default, false), ("one", Default, false), ("one-0", Never, true)] {
        let mut w = World::new();
        let (pod, addr) = w.bound(&PodSpec::bare(name).policy(policy));
        w.delete_pod(&pod);
        assert_eq!(w.objects().contains_key(&addr), keeps, "{name} {policy}");
    }
}

#[test]
fn a_finished_pod_lets_go_while_its_object_stays() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 2);
    let (p, freed) = w.bound(&PodSpec::bare("p"));
    let (q, kept) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.finish_pod(&p);
    w.finish_pod(&q);
    assert_eq!(w.objects().into_keys().collect::<Vec<_>>(), [kept]);
    assert_eq!(w.state(&kept.to_string()), Some(State::Reserved));
    assert!(!w.objects().contains_key(&freed));
}

#[test]
fn a_failure_written_by_pod_gc_proves_nothing() {
    let mut w = World::new();
    let (p, addr) = w.bound(&PodSpec::bare("p"));
    w.api.edit_pod(&p, |pod| pod.phase = Phase::FailedByPodGc);
    w.settle();
    assert_eq!(w.state(&addr.to_string()), Some(State::Bound));
}

#[test]
fn a_record_of_a_reservation_says_since_when_and_for_whom() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 2);
    let (p, addr) = w.bound_to(&PodSpec::of("cart-0", &sts).immutable(), "a1");
    let bound = w.record(&addr.to_string()).unwrap();
    assert_eq!((bound.state, bound.pod_uid.as_ref(), bound.node.as_deref()), (State::Bound, Some(&p), Some("a1")));
    assert_eq!((bound.released_at, bound.workload_uid.as_ref()), (None, Some(&sts.uid)));
    w.delete_pod(&p);
    let kept = w.record(&addr.to_string()).unwrap();
    assert_eq!((kept.state, kept.pod_uid.clone(), kept.node.clone()), (State::Reserved, None, None));
    assert_eq!((kept.pod_name.as_deref(), kept.policy), (Some("cart-0"), Immutable));
    assert!(kept.released_at.is_some());
}

#[test]
fn a_fresh_pod_costs_two_writes_and_a_release_one() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 2);
    for policy in [Default, Immutable] {
        let before = w.writes;
        let (p, _) = w.bound(&PodSpec::of("cart-0", &sts).policy(policy));
        assert_eq!(w.writes - before, 1, "{policy}: the object; the Binding is the other write");
        w.delete_pod(&p);
        assert_eq!(w.writes - before, 2, "{policy}: the release");
    }
    let before = w.writes;
    let (p, _) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.delete_pod(&p);
    assert_eq!(w.writes - before, 2, "reused and kept again");
}

#[test]
fn an_unused_reservation_goes_when_its_workload_shrinks_or_goes() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 3);
    let d = w.deployment("web", 2, Immutable);
    w.run();
    for i in 0..3 {
        w.bound(&PodSpec::of(&format!("cart-{i}"), &sts).immutable());
    }
    for pod in w.pods_of(&sts.uid) {
        w.delete_pod(&pod);
    }
    assert_eq!(w.addresses_of(&sts.id).len(), 3);
    w.scale(&sts.id, 1);
    assert_eq!(w.addresses_of(&sts.id).len(), 1);
    w.api.remove_workload(&sts.id);
    w.settle();
    assert_eq!(w.addresses_of(&sts.id).len(), 0);

    let id = w.deployments[d].id.clone();
    for pod in w.pods_of_deployment(d) {
        w.delete_pod(&pod);
    }
    assert_eq!(w.addresses_of(&id).len(), 2);
    w.scale(&id, 1);
    assert_eq!(w.addresses_of(&id).len(), 1);
}

#[test]
fn a_reservation_whose_workload_was_deleted_unseen_is_found_by_the_sweep() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 3);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).immutable());
    w.delete_pod(&p);
    w.api.remove_workload(&sts.id);
    w.start();
    assert!(w.objects().contains_key(&addr), "not seen is not gone");
    w.sweep();
    assert!(w.objects().is_empty(), "proved gone by quorum");
}

#[test]
fn never_outlives_its_workload_and_serves_the_next_of_the_name() {
    let mut w = World::new();
    let sts = w.stateful_set("cart", 1);
    let (p, addr) = w.bound(&PodSpec::of("cart-0", &sts).never());
    w.api.remove_workload(&sts.id);
    w.delete_pod(&p);
    w.sweep();
    let again = w.stateful_set("cart", 1);
    assert_ne!(again.uid, sts.uid);
    assert_eq!(w.bound(&PodSpec::of("cart-0", &again).never()).1, addr);
}
