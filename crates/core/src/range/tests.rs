use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::testing::{addr, any_addr, any_range, range, universe};

#[test]
fn parses_what_the_contract_allows() {
    for (text, shown, len) in [
        ("10.20.5.40", "10.20.5.40", 1),
        ("10.20.5.10~10.20.5.19", "10.20.5.10~10.20.5.19", 10),
        ("10.20.5.40~10.20.5.40", "10.20.5.40", 1),
        ("0.0.0.0~255.255.255.255", "0.0.0.0~255.255.255.255", 1 << 32),
        ("10.255.255.250~11.0.0.4", "10.255.255.250~11.0.0.4", 11),
        ("2001:db8::1", "2001:db8::1", 1),
        ("2001:DB8:0::1~2001:db8::ffff", "2001:db8::1~2001:db8::ffff", 0xffff),
        ("::~ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::~ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", u128::MAX),
        ("::1~ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1~ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", u128::MAX),
    ] {
        let parsed: IpRange = text.parse().unwrap();
        assert_eq!((parsed.to_string().as_str(), parsed.len()), (shown, len));
    }
}

#[test]
fn refusals_name_the_value_and_the_way_out() {
    for (text, message) in [
        ("", r#"range "": "" is not an IP address; write one address or `first~last`"#),
        (
            "192.168.0.0~192.168.0.256",
            r#"range "192.168.0.0~192.168.0.256": "192.168.0.256" is not an IP address; write one address or `first~last`"#,
        ),
        (
            "10.0.0.0/24",
            r#"range "10.0.0.0/24": "10.0.0.0/24" is not an IP address; write one address or `first~last`, not a CIDR"#,
        ),
        (
            "10.0.0.1 ~ 10.0.0.2",
            r#"range "10.0.0.1 ~ 10.0.0.2": "10.0.0.1 " is not an IP address; write one address or `first~last`, without spaces"#,
        ),
        (
            "10.0.0.1-10.0.0.2",
            r#"range "10.0.0.1-10.0.0.2": "10.0.0.1-10.0.0.2" is not an IP address; write one address or `first~last`, with `~` and not `-`"#,
        ),
        ("10.0.0.9~10.0.0.1", r#"range "10.0.0.9~10.0.0.1": it ends before it begins; write 10.0.0.1~10.0.0.9"#),
        (
            "10.0.0.9~::a",
            r#"range "10.0.0.9~::a": one end is IPv4 and the other IPv6; both ends must be of one family"#,
        ),
        (
            "::ffff:10.0.0.1",
            r#"range "::ffff:10.0.0.1": ::ffff:10.0.0.1 is an IPv4-mapped IPv6 address; write 10.0.0.1"#,
        ),
    ] {
        assert_eq!(text.parse::<IpRange>().unwrap_err().to_string(), message);
    }
    for text in
        ["~", "1.2.3.4~", "~1.2.3.4", "1.2.3.4~1.2.3.5~1.2.3.6", "01.2.3.4", "1.2.3", "fe80::1%eth0", "1.2.3.4,1.2.3.5"]
    {
        assert!(matches!(text.parse::<IpRange>(), Err(RangeError::NotAnAddress { .. })), "{text}");
    }
}

#[test]
fn a_huge_value_makes_a_short_message() {
    let message = "é".repeat(1 << 20).parse::<IpRange>().unwrap_err().to_string();
    assert!(message.len() < 1_000, "{} bytes", message.len());
}

#[test]
fn whole_spaces_cost_nothing() {
    let mut set = RangeSet::from_ranges([IpRange::all(Family::V6), IpRange::all(Family::V4)]);
    assert_eq!((set.ranges().len(), set.len()), (2, u128::MAX));
    assert!(set.contains(Addr::V4_MAX) && set.contains(Addr::V6_MIN) && set.contains(Addr::V6_MAX));
    set.remove(IpRange::single(Addr::V6_MAX));
    set.remove(IpRange::single(Addr::V4_MIN));
    assert_eq!(set.len(), u128::MAX, "still more than fit");
    set.remove(range("1::~ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"));
    assert_eq!(set.len(), (1 << 112) + (1 << 32) - 1);
    set.insert(IpRange::all(Family::V4));
    assert_eq!(set.ranges()[0], IpRange::all(Family::V4));
    assert_eq!(IpRange::all(Family::V4).addrs().take(3).count(), 3);
    assert_eq!(range("255.255.255.254~255.255.255.255").addrs().count(), 2, "ends at the end of the space");
}

#[test]
fn ten_thousand_ranges_and_the_whole_space() {
    let pools = RangeSet::from_ranges([range("10.0.0.10~10.0.0.19"), range("10.1.0.10~10.1.0.19")]);
    let started = Instant::now();
    let wanted = RangeSet::from_ranges((0..10_000u32).rev().map(|i| {
        let first = Addr::from_bits(Family::V4, u128::from(i) * 400_000).unwrap();
        IpRange::new(first, Addr::from_bits(Family::V4, first.bits() + 200_000).unwrap()).unwrap()
    }));
    assert_eq!(wanted.ranges().len(), 10_000);
    assert_eq!(RangeSet::from_ranges([IpRange::all(Family::V4)]).intersect(&pools), pools);
    let clipped = wanted.intersect(&pools);
    assert!(clipped.len() <= 20);
    assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
}

#[test]
fn neighbours_merge_and_families_do_not() {
    let mut set = RangeSet::from_ranges([range("10.0.0.3"), range("10.0.0.1~10.0.0.2"), range("10.0.0.5~10.0.0.9")]);
    assert_eq!(format!("{set:?}"), "{10.0.0.1~10.0.0.3, 10.0.0.5~10.0.0.9}");
    set.insert(range("10.0.0.4"));
    assert_eq!(format!("{set:?}"), "{10.0.0.1~10.0.0.9}");
    set.remove(range("10.0.0.2~10.0.0.8"));
    assert_eq!(format!("{set:?}"), "{10.0.0.1, 10.0.0.9}");
    let edge = RangeSet::from_ranges([IpRange::single(Addr::V4_MAX), IpRange::single(Addr::V6_MIN)]);
    assert_eq!(edge.ranges().len(), 2);
}

fn naive(ranges: &[IpRange]) -> BTreeSet<Addr> {
    universe().filter(|addr| ranges.iter().any(|range| range.contains(*addr))).collect()
}

fn members(set: &RangeSet) -> BTreeSet<Addr> {
    set.iter().flat_map(|range| range.addrs()).collect()
}

fn check_shape(set: &RangeSet) {
    for pair in set.ranges().windows(2) {
        assert!(pair[0].last < pair[1].first && pair[0].last.next() != Some(pair[1].first), "{set:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn behaves_like_a_naive_set(
        start in proptest::collection::vec(any_range(), 0..8),
        steps in proptest::collection::vec((any::<bool>(), any_range()), 0..12),
        probe in any_range(), at in any_addr(),
    ) {
        let mut set = RangeSet::from_ranges(start.iter().copied());
        let mut model = naive(&start);
        for (insert, range) in steps {
            let addrs = naive(&[range]);
            if insert { set.insert(range); model.extend(&addrs) } else { set.remove(range); model.retain(|a| !addrs.contains(a)) }
            check_shape(&set);
            prop_assert_eq!(members(&set), model.clone());
        }
        prop_assert_eq!(set.len(), model.len() as u128);
        prop_assert_eq!(set.is_empty(), model.is_empty());
        prop_assert_eq!(set.contains(at), model.contains(&at));
        prop_assert_eq!(set.overlaps(&probe), model.iter().any(|addr| probe.contains(*addr)));
        let clipped: BTreeSet<Addr> = set.clip(&probe).flat_map(|range| range.addrs()).collect();
        prop_assert_eq!(clipped, model.iter().copied().filter(|addr| probe.contains(*addr)).collect());
    }

    #[test]
    fn intersections(a in proptest::collection::vec(any_range(), 0..8), b in proptest::collection::vec(any_range(), 0..8)) {
        let both = RangeSet::from_ranges(a.iter().copied()).intersect(&b.iter().copied().collect());
        check_shape(&both);
        prop_assert_eq!(members(&both), &naive(&a) & &naive(&b));
    }

    #[test]
    fn text_round_trips(range in any_range()) {
        prop_assert_eq!(range.to_string().parse::<IpRange>().unwrap(), range);
        prop_assert!(range.contains(addr(&range.first().to_string())));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[0-9a-f:.~/ -]{0,20}") {
        if let Ok(range) = text.parse::<IpRange>() {
            prop_assert!(range.first() <= range.last() && range.first().family() == range.last().family());
        }
    }
}
