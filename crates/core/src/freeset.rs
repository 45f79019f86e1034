//! The free addresses: a set that costs by the run, so a free address inside a run costs nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::addr::{Addr, Family};
use crate::range::IpRange;

/// A mutable set of addresses as a map of maximal runs. Look-ups and single changes are O(log runs).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct FreeSet {
    /// First address of a run to its last; runs are disjoint and not adjacent.
    runs: BTreeMap<Addr, Addr>,
    v4_len: u64,
    /// Modulo 2^128: 0 also stands for all of IPv6.
    v6_len: u128,
}

impl FreeSet {
    /// The empty set.
    pub const fn new() -> Self {
        FreeSet { runs: BTreeMap::new(), v4_len: 0, v6_len: 0 }
    }

    /// Adds `addr`; false if it was there.
    pub fn insert(&mut self, addr: Addr) -> bool {
        let fresh = !self.contains(addr);
        if fresh {
            self.insert_range(IpRange::single(addr));
        }
        fresh
    }

    /// Adds every address of `range`, merging with the runs it meets. O(runs met × log runs).
    pub fn insert_range(&mut self, range: IpRange) {
        let (mut first, mut last) = (range.first(), range.last());
        // A run that ends right before the range or inside it.
        if let Some((&start, &end)) = self.runs.range(..=first).next_back()
            && (end >= first || end.next() == Some(first))
        {
            first = start;
            last = last.max(end);
            self.take_run(start, end);
        }
        // Runs that begin inside the range or right after it.
        let reach = last.next().unwrap_or(last);
        while let Some((&start, &end)) = self.runs.range(first..=reach).next() {
            last = last.max(end);
            self.take_run(start, end);
        }
        self.put_run(first, last);
    }

    /// Takes `addr` out; false if it was not there.
    pub fn remove(&mut self, addr: Addr) -> bool {
        let Some((&first, last)) = self.runs.range_mut(..=addr).next_back().filter(|(_, last)| addr <= **last) else {
            return false;
        };
        let above = addr.next().filter(|next| *next <= *last).map(|next| (next, *last));
        match addr.prev().filter(|_| addr != first) {
            Some(below) => *last = below,
            None => drop(self.runs.remove(&first)),
        }
        self.runs.extend(above);
        match addr.family() {
            Family::V4 => self.v4_len -= 1,
            Family::V6 => self.v6_len = self.v6_len.wrapping_sub(1),
        }
        true
    }

    /// Takes out every address of `range`. O(runs met × log runs).
    pub fn remove_range(&mut self, range: &IpRange) {
        while let Some(run) = self.run_at_or_after(range.first()) {
            if run.intersect(range).is_none() {
                break;
            }
            self.take_run(run.first(), run.last());
            let (below, above) = run.minus(range);
            for rest in below.into_iter().chain(above) {
                self.put_run(rest.first(), rest.last());
            }
        }
    }

    /// Whether `addr` is in the set.
    pub fn contains(&self, addr: Addr) -> bool {
        self.runs.range(..=addr).next_back().is_some_and(|(_, &last)| addr <= last)
    }

    /// The lowest address of the set within `range`.
    pub fn first_in(&self, range: &IpRange) -> Option<Addr> {
        self.runs_in(range).next().map(|run| run.first())
    }

    /// The addresses of the set within `range`, ascending and lazy.
    pub fn iter_in(&self, range: &IpRange) -> impl Iterator<Item = Addr> + '_ {
        self.runs_in(range).flat_map(|run| run.addrs())
    }

    /// The runs, clipped to `range`, ascending and lazy.
    pub fn runs_in(&self, range: &IpRange) -> impl Iterator<Item = IpRange> + '_ {
        let range = *range;
        let first = range.first();
        let before = self.runs.range(..=first).next_back().filter(|(_, last)| **last >= first);
        let start = before.map_or(first, |(start, _)| *start);
        self.runs.range(start..).map(|(&first, &last)| run(first, last)).map_while(move |run| run.intersect(&range))
    }

    /// Number of addresses of the set within `range`, at most `u128::MAX`. O(runs in the range).
    pub fn len_in(&self, range: &IpRange) -> u128 {
        self.runs_in(range).fold(0, |sum, run| sum.saturating_add(run.len()))
    }

    /// All runs, ascending, disjoint and not adjacent.
    pub fn runs(&self) -> impl Iterator<Item = IpRange> + '_ {
        self.runs.iter().map(|(&first, &last)| run(first, last))
    }

    /// Number of addresses, at most `u128::MAX`. O(1).
    pub fn len(&self) -> u128 {
        let all_v6 = self.runs.get(&Addr::V6_MIN) == Some(&Addr::V6_MAX);
        let v6_len = if all_v6 { u128::MAX } else { self.v6_len };
        v6_len.saturating_add(self.v4_len.into())
    }

    /// Whether no address is in the set.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The run that contains `addr`, else the next one above it.
    fn run_at_or_after(&self, addr: Addr) -> Option<IpRange> {
        let at = self.runs.range(..=addr).next_back().filter(|(_, last)| addr <= **last);
        at.or_else(|| self.runs.range(addr..).next()).map(|(&first, &last)| run(first, last))
    }

    fn take_run(&mut self, first: Addr, last: Addr) {
        self.runs.remove(&first);
        match first.family() {
            Family::V4 => self.v4_len -= run_len(first, last) as u64,
            Family::V6 => self.v6_len = self.v6_len.wrapping_sub(run_len(first, last)),
        }
    }

    fn put_run(&mut self, first: Addr, last: Addr) {
        self.runs.insert(first, last);
        match first.family() {
            Family::V4 => self.v4_len += run_len(first, last) as u64,
            Family::V6 => self.v6_len = self.v6_len.wrapping_add(run_len(first, last)),
        }
    }
}

/// Length of a run modulo 2^128; at most 2^32 for IPv4.
fn run_len(first: Addr, last: Addr) -> u128 {
    (last.bits() - first.bits()).wrapping_add(1)
}

fn run(first: Addr, last: Addr) -> IpRange {
    IpRange::new(first, last).expect("a run is of one family and not empty")
}

impl FromIterator<IpRange> for FreeSet {
    fn from_iter<I: IntoIterator<Item = IpRange>>(ranges: I) -> Self {
        let mut set = FreeSet::new();
        for range in ranges {
            set.insert_range(range);
        }
        set
    }
}

impl fmt::Debug for FreeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.runs()).finish()
    }
}

#[cfg(test)]
mod tests;
