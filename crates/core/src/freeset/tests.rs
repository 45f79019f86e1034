use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::testing::{addr, any_addr, any_range, range, universe};

#[test]
fn runs_merge_and_split() {
    let mut free = FreeSet::from_iter([range("10.0.0.1~10.0.0.3"), range("10.0.0.5~10.0.0.9")]);
    assert!(free.insert(addr("10.0.0.4")));
    assert!(!free.insert(addr("10.0.0.4")));
    assert_eq!(format!("{free:?}"), "{10.0.0.1~10.0.0.9}");
    assert!(free.remove(addr("10.0.0.5")));
    assert!(!free.remove(addr("10.0.0.5")));
    assert_eq!(format!("{free:?}"), "{10.0.0.1~10.0.0.4, 10.0.0.6~10.0.0.9}");
    assert_eq!((free.len(), free.len_in(&range("10.0.0.4~10.0.0.7"))), (8, 3));
    assert_eq!(free.first_in(&range("10.0.0.5~10.0.0.255")), Some(addr("10.0.0.6")));
    assert_eq!(free.first_in(&range("10.0.0.5")), None);
    let some: Vec<Addr> = free.iter_in(&IpRange::all(Family::V4)).skip(3).take(2).collect();
    assert_eq!(some, [addr("10.0.0.4"), addr("10.0.0.6")]);
}

#[test]
fn whole_spaces_cost_one_run_each() {
    let mut free = FreeSet::from_iter([IpRange::all(Family::V6)]);
    assert_eq!(free.len(), u128::MAX);
    assert!(free.remove(Addr::V6_MAX));
    assert_eq!(free.len(), u128::MAX);
    assert!(free.remove(Addr::V6_MIN));
    assert_eq!(free.len(), u128::MAX - 1);
    free.insert_range(IpRange::all(Family::V4));
    assert_eq!(free.len(), u128::MAX);
    free.insert_range(IpRange::all(Family::V6));
    assert_eq!((free.len(), free.runs().count()), (u128::MAX, 2));
    free.remove_range(&IpRange::all(Family::V6));
    assert_eq!(free.len(), 1 << 32);
    for end in [Addr::V4_MIN, Addr::V4_MAX] {
        assert!(free.remove(end) && !free.contains(end) && free.insert(end));
    }
    assert_eq!(free.runs().collect::<Vec<_>>(), [IpRange::all(Family::V4)]);
    free.remove_range(&IpRange::all(Family::V4));
    assert!(free.is_empty());
    assert_eq!(free, FreeSet::new(), "no count is left over");
}

#[test]
fn a_lookup_in_a_wide_range_does_not_walk_it() {
    // One free address per 2^64, asked for from everywhere: a walk over addresses would never end.
    let mut free = FreeSet::new();
    for i in 0..1_000u128 {
        free.insert(Addr::from_bits(Family::V6, i << 64).unwrap());
    }
    for i in 1..1_000u128 {
        let from = Addr::from_bits(Family::V6, ((i - 1) << 64) + 1).unwrap();
        let wide = IpRange::new(from, Addr::V6_MAX).unwrap();
        assert_eq!(free.first_in(&wide), Addr::from_bits(Family::V6, i << 64));
    }
    assert_eq!(free.iter_in(&IpRange::all(Family::V6)).count(), 1_000);
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Addr),
    InsertRange(IpRange),
    Remove(Addr),
    RemoveRange(IpRange),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any_addr().prop_map(Step::Insert),
        any_range().prop_map(Step::InsertRange),
        any_addr().prop_map(Step::Remove),
        any_range().prop_map(Step::RemoveRange),
        Just(Step::RemoveRange(IpRange::all(Family::V6))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn behaves_like_a_naive_set(steps in proptest::collection::vec(any_step(), 0..40), probe in any_range()) {
        let mut free = FreeSet::new();
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Insert(addr) => prop_assert_eq!(free.insert(addr), model.insert(addr)),
                Step::InsertRange(range) => { free.insert_range(range); model.extend(range.addrs()) }
                Step::Remove(addr) => prop_assert_eq!(free.remove(addr), model.remove(&addr)),
                Step::RemoveRange(range) => { free.remove_range(&range); model.retain(|addr| !range.contains(*addr)) }
            }
            prop_assert_eq!(free.len(), model.len() as u128);
            let runs: Vec<IpRange> = free.runs().collect();
            for pair in runs.windows(2) {
                prop_assert!(pair[0].last() < pair[1].first() && pair[0].last().next() != Some(pair[1].first()));
            }
            prop_assert_eq!(runs.iter().flat_map(|run| run.addrs()).collect::<BTreeSet<_>>(), model.clone());
        }
        for addr in universe() {
            prop_assert_eq!(free.contains(addr), model.contains(&addr));
        }
        for range in [probe, IpRange::all(Family::V4), IpRange::all(Family::V6)] {
            let want: Vec<Addr> = model.iter().copied().filter(|addr| range.contains(*addr)).collect();
            prop_assert_eq!(free.first_in(&range), want.first().copied());
            prop_assert_eq!(free.len_in(&range), want.len() as u128);
            prop_assert_eq!(free.iter_in(&range).collect::<Vec<_>>(), want);
        }
    }
}
