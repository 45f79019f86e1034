//! Ranges of addresses and sorted sets of ranges.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::addr::{Addr, Family};

/// Why a range string was refused. Every message names the value (shortened) and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A part is not an address.
    #[error("range {range:?}: {part:?} is not an IP address; write one address or `first~last`{hint}")]
    NotAnAddress {
        /// The whole range.
        range: String,
        /// The part that did not parse.
        part: String,
        /// What was probably meant, or nothing.
        hint: &'static str,
    },
    /// An IPv4 address in IPv6 clothes would be a second name for the same address.
    #[error("range {range:?}: {mapped} is an IPv4-mapped IPv6 address; write {plain}")]
    Mapped {
        /// The whole range.
        range: String,
        /// The address as written.
        mapped: IpAddr,
        /// The address it stands for.
        plain: IpAddr,
    },
    /// One end is IPv4, the other IPv6.
    #[error("range {range:?}: one end is IPv4 and the other IPv6; both ends must be of one family")]
    MixedFamilies {
        /// The whole range.
        range: String,
    },
    /// The range ends before it begins.
    #[error("range {range:?}: it ends before it begins; write {last}~{first}")]
    Reversed {
        /// The whole range.
        range: String,
        /// The end as written first.
        first: IpAddr,
        /// The end as written last.
        last: IpAddr,
    },
}

/// An inclusive range of addresses of one family, never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpRange {
    first: Addr,
    last: Addr,
}

impl IpRange {
    /// The range from `first` to `last`; none if it would be empty or mix families.
    pub fn new(first: Addr, last: Addr) -> Option<Self> {
        (first.family() == last.family() && first <= last).then_some(IpRange { first, last })
    }

    /// The range of one address.
    pub fn single(addr: Addr) -> Self {
        IpRange { first: addr, last: addr }
    }

    /// Every address of a family.
    pub fn all(family: Family) -> Self {
        IpRange { first: family.min(), last: family.max() }
    }

    /// The lowest address.
    pub fn first(&self) -> Addr {
        self.first
    }

    /// The highest address.
    pub fn last(&self) -> Addr {
        self.last
    }

    /// The family of both ends.
    pub fn family(&self) -> Family {
        self.first.family()
    }

    /// Whether `addr` lies in the range.
    pub fn contains(&self, addr: Addr) -> bool {
        self.first <= addr && addr <= self.last
    }

    /// Number of addresses; `u128::MAX` for all of IPv6, which has one more.
    // Never empty, so there is no `is_empty` to go with it.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u128 {
        (self.last.bits() - self.first.bits()).saturating_add(1)
    }

    /// The addresses in both ranges; none if there are none.
    pub fn intersect(&self, other: &IpRange) -> Option<IpRange> {
        IpRange::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// What is left of this range below and above `hole`.
    pub fn minus(&self, hole: &IpRange) -> (Option<IpRange>, Option<IpRange>) {
        if self.intersect(hole).is_none() {
            return (Some(*self), None);
        }
        let below = hole.first.prev().and_then(|last| IpRange::new(self.first, last));
        let above = hole.last.next().and_then(|first| IpRange::new(first, self.last));
        (below, above)
    }

    /// The addresses in ascending order. Lazy, but as long as the range: clip it first.
    pub fn addrs(&self) -> impl Iterator<Item = Addr> + use<> {
        let last = self.last;
        std::iter::successors(Some(self.first), move |addr| if *addr < last { addr.next() } else { None })
    }
}

impl From<IpNet> for IpRange {
    fn from(net: IpNet) -> Self {
        IpRange { first: net.network().into(), last: net.broadcast().into() }
    }
}

impl FromStr for IpRange {
    type Err = RangeError;

    /// `a` or `a~b`, both ends included; no spaces, no CIDR.
    fn from_str(s: &str) -> Result<Self, RangeError> {
        let (first, last) = match s.split_once('~') {
            Some((first, last)) => (parse_end(s, first)?, parse_end(s, last)?),
            None => {
                let addr = parse_end(s, s)?;
                (addr, addr)
            }
        };
        if first.is_ipv4() != last.is_ipv4() {
            return Err(RangeError::MixedFamilies { range: shown(s) });
        }
        IpRange::new(first.into(), last.into()).ok_or_else(|| RangeError::Reversed { range: shown(s), first, last })
    }
}

fn parse_end(range: &str, part: &str) -> Result<IpAddr, RangeError> {
    let ip: IpAddr = part.parse().map_err(|_| RangeError::NotAnAddress {
        range: shown(range),
        part: shown(part),
        hint: if part.contains('/') {
            ", not a CIDR"
        } else if part.contains(char::is_whitespace) {
            ", without spaces"
        } else if part.contains('-') {
            ", with `~` and not `-`"
        } else if part.contains(',') {
            ", each range as a string of its own"
        } else {
            ""
        },
    })?;
    match ip.to_canonical() {
        plain if plain == ip => Ok(ip),
        plain => Err(RangeError::Mapped { range: shown(range), mapped: ip, plain }),
    }
}

/// A user's text as far as an error repeats it: a huge annotation must not make a huge message.
pub(crate) fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 96;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}~{}", self.first, self.last) }
    }
}

impl fmt::Debug for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of addresses as sorted, disjoint, non-adjacent ranges. It costs by the range, never by the address.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RangeSet {
    ranges: Vec<IpRange>,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        RangeSet { ranges: Vec::new() }
    }

    /// The union of `ranges`, which may be in any order, overlap and touch. O(n log n).
    pub fn from_ranges(ranges: impl IntoIterator<Item = IpRange>) -> Self {
        let mut ranges: Vec<IpRange> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut merged: Vec<IpRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(before) if touches(before, &range) => before.last = before.last.max(range.last),
                _ => merged.push(range),
            }
        }
        RangeSet { ranges: merged }
    }

    /// Whether `addr` is in the set. O(log n).
    pub fn contains(&self, addr: Addr) -> bool {
        let i = self.ranges.partition_point(|range| range.last < addr);
        self.ranges.get(i).is_some_and(|range| range.contains(addr))
    }

    /// Whether any address of `range` is in the set. O(log n).
    pub fn overlaps(&self, range: &IpRange) -> bool {
        let i = self.ranges.partition_point(|r| r.last < range.first);
        self.ranges.get(i).is_some_and(|r| r.intersect(range).is_some())
    }

    /// The parts of the set that lie in `range`, ascending. O(log n) plus what it yields.
    pub fn clip(&self, range: &IpRange) -> impl Iterator<Item = IpRange> + '_ {
        let range = *range;
        let i = self.ranges.partition_point(|r| r.last < range.first);
        self.ranges[i..].iter().map_while(move |r| r.intersect(&range))
    }

    /// The addresses in both sets. O(n + m).
    pub fn intersect(&self, other: &RangeSet) -> RangeSet {
        let (mut i, mut j) = (0, 0);
        let mut ranges = Vec::new();
        while let (Some(a), Some(b)) = (self.ranges.get(i), other.ranges.get(j)) {
            ranges.extend(a.intersect(b));
            if a.last < b.last { i += 1 } else { j += 1 }
        }
        RangeSet { ranges }
    }

    /// Adds every address of `range`. O(n).
    pub fn insert(&mut self, range: IpRange) {
        let start = self.ranges.partition_point(|r| r.last < range.first && !touches(r, &range));
        let end = start + self.ranges[start..].partition_point(|r| touches(&range, r));
        let merged = match self.ranges.get(start..end) {
            Some([lowest, .., highest]) => {
                IpRange { first: lowest.first.min(range.first), last: highest.last.max(range.last) }
            }
            Some([only]) => IpRange { first: only.first.min(range.first), last: only.last.max(range.last) },
            _ => range,
        };
        self.ranges.splice(start..end, [merged]);
    }

    /// Takes out every address of `range`. O(n).
    pub fn remove(&mut self, range: IpRange) {
        let start = self.ranges.partition_point(|r| r.last < range.first);
        let end = start + self.ranges[start..].partition_point(|r| r.first <= range.last);
        let left: Vec<IpRange> = self.ranges[start..end]
            .iter()
            .flat_map(|r| {
                let (below, above) = r.minus(&range);
                below.into_iter().chain(above)
            })
            .collect();
        self.ranges.splice(start..end, left);
    }

    /// The ranges, ascending, disjoint and not adjacent.
    pub fn iter(&self) -> std::iter::Copied<std::slice::Iter<'_, IpRange>> {
        self.ranges.iter().copied()
    }

    /// The ranges as a slice, see [`RangeSet::iter`].
    pub fn ranges(&self) -> &[IpRange] {
        &self.ranges
    }

    /// Number of addresses, at most `u128::MAX`.
    pub fn len(&self) -> u128 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.len()))
    }

    /// Whether no address is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// Whether `b` overlaps `a` or begins right after it; `a` must not begin after `b` ends.
fn touches(a: &IpRange, b: &IpRange) -> bool {
    b.first <= a.last || a.last.next() == Some(b.first)
}

impl FromIterator<IpRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = IpRange>>(ranges: I) -> Self {
        RangeSet::from_ranges(ranges)
    }
}

impl<'a> IntoIterator for &'a RangeSet {
    type Item = IpRange;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, IpRange>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.ranges).finish()
    }
}

#[cfg(test)]
mod tests;
