//! Addresses for tests: a small universe at the four ends of the two address spaces, where arithmetic goes wrong.

use proptest::prelude::*;

use crate::addr::{Addr, Family};
use crate::range::IpRange;

/// Addresses at each end of each space.
const WINDOW: u128 = 24;

pub(crate) fn addr(text: &str) -> Addr {
    text.parse().expect("an address")
}

pub(crate) fn range(text: &str) -> IpRange {
    text.parse().expect("a range")
}

fn windows() -> [IpRange; 4] {
    let window = |family: Family, first: u128| {
        let at = |bits| Addr::from_bits(family, bits).expect("in the family");
        IpRange::new(at(first), at(first + (WINDOW - 1))).expect("ascending")
    };
    let [v4_top, v6_top] = [Addr::V4_MAX, Addr::V6_MAX].map(|max| max.bits() - WINDOW + 1);
    [window(Family::V4, 0), window(Family::V4, v4_top), window(Family::V6, 0), window(Family::V6, v6_top)]
}

/// Every address that the strategies below yield.
pub(crate) fn universe() -> impl Iterator<Item = Addr> {
    windows().into_iter().flat_map(|window| window.addrs())
}

/// An address of the universe.
pub(crate) fn any_addr() -> impl Strategy<Value = Addr> {
    (0..4usize, 0..WINDOW).prop_map(|(window, offset)| {
        let first = windows()[window].first();
        Addr::from_bits(first.family(), first.bits() + offset).expect("in the window")
    })
}

/// A range within one window of the universe.
pub(crate) fn any_range() -> impl Strategy<Value = IpRange> {
    (any_addr(), 0..8u32).prop_map(|(first, more)| {
        let last = (0..more).try_fold(first, |last, _| last.next().filter(|next| universe().any(|addr| addr == *next)));
        IpRange::new(first, last.unwrap_or(first)).expect("ascending")
    })
}
