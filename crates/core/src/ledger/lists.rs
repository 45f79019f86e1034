//! Pods that name the addresses they want (`request_ip_range`): one from each list, distinct, by exact matching (rule 10).
//!
//! A pod's owner may write ten thousand ranges. They are clipped to the pools and freed of overlaps once, when the pod is
//! first looked at; after that a decision looks at each part once, however many classes of nodes there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use super::Ledger;
use super::decide::Offer;
use super::pods::Pod;
use super::promises::Promises;
use super::space::Class;
use super::verdict::Refusal;
use crate::addr::Addr;
use crate::matching::match_lists;
use crate::range::{IpRange, RangeSet};
use crate::topology::{PoolId, Topology};

/// One range list as far as there are pools: whatever else it names costs nothing from here on (rule 13).
#[derive(Debug)]
pub(super) struct Clipped {
    /// Disjoint parts with their place in the order written.
    by_pool: BTreeMap<PoolId, Vec<(u32, IpRange)>>,
    all: RangeSet,
}

impl Clipped {
    fn new(topology: &Topology, ranges: &[IpRange]) -> Self {
        let mut by_pool: BTreeMap<PoolId, Vec<(u32, IpRange)>> = BTreeMap::new();
        for (place, range) in first_named(ranges) {
            for (part, pool) in topology.clip(&range) {
                by_pool.entry(pool).or_default().push((place, part));
            }
        }
        by_pool.values_mut().for_each(|parts| parts.sort_unstable());
        let all = by_pool.values().flatten().map(|&(_, part)| part).collect();
        Clipped { by_pool, all }
    }
}

/// The ranges without what an earlier one names: disjoint pieces, each with the place of its range. O(n log n).
fn first_named(ranges: &[IpRange]) -> Vec<(u32, IpRange)> {
    let mut coming: Vec<(IpRange, u32)> = ranges.iter().copied().zip(0..).collect();
    coming.sort_unstable();
    let mut coming = coming.into_iter().peekable();
    // The ranges that have begun, the earliest written first.
    let mut begun: BinaryHeap<Reverse<(u32, Addr)>> = BinaryHeap::new();
    let mut pieces: Vec<(u32, IpRange)> = Vec::with_capacity(ranges.len());
    let mut at: Option<Addr> = None;
    loop {
        let here = match (at, coming.peek()) {
            (Some(at), _) if !begun.is_empty() => at,
            (_, Some((next, _))) => next.first(),
            (_, None) => return pieces,
        };
        while let Some((range, place)) = coming.next_if(|(range, _)| range.first() <= here) {
            begun.push(Reverse((place, range.last())));
        }
        let Some(&Reverse((place, last))) = begun.peek() else { continue };
        if last < here {
            begun.pop();
            at = Some(here);
            continue;
        }
        // Up to where the next one begins, which may have been written earlier.
        let before_next = coming.peek().and_then(|(next, _)| next.first().prev()).filter(|before| *before >= here);
        let end = before_next.map_or(last, |before| before.min(last));
        match pieces.last_mut() {
            Some((of, piece)) if *of == place && piece.last().next() == Some(here) => {
                *piece = IpRange::new(piece.first(), end).unwrap_or(*piece);
            }
            _ => pieces.extend(IpRange::new(here, end).map(|piece| (place, piece))),
        }
        at = end.next();
        if at.is_none() {
            // The end of a family: nothing that has begun goes on.
            begun.clear();
        }
    }
}

/// The first addresses of one list that one pool can give, each with its place in the order written.
#[derive(Default)]
struct Found {
    free: Vec<(u32, Addr)>,
    /// Freed within the reuse delay: taken last.
    cooling: Vec<(u32, Addr)>,
}

/// What can be had for the lists of a pod, before a class of nodes is chosen.
struct Candidates {
    lists: Arc<[Clipped]>,
    own: Vec<Addr>,
    named: Vec<Addr>,
    /// For each list.
    found: Vec<BTreeMap<PoolId, Found>>,
}

/// What it costs to give a pod an address: what it has, what is kept for it, a free one, one freed a moment ago.
const OWN: u8 = 0;
const NAMED: u8 = 1;
const FREE: u8 = 2;
const COOLING: u8 = 3;

/// How many ranges of a list a message names.
const RANGES_TOLD: usize = 3;

impl Ledger {
    /// Of the classes that can serve every list, those that keep the most of what the pod already has.
    pub(super) fn evaluate_lists(
        &self,
        pod: &Pod,
        classes: &[Class],
        limited: bool,
        promises: &Promises,
    ) -> Result<Offer, Refusal> {
        let mut best: Option<(usize, Vec<Class>)> = None;
        let candidates = self.candidates(pod, &self.all_pools(classes), promises);
        for &class in classes {
            let Some(chosen) = self.match_class(&candidates, class) else { continue };
            let fresh = chosen.iter().filter(|&&addr| self.table.slot(addr).is_none()).count();
            match &mut best {
                Some((least, served)) if *least == fresh => served.push(class),
                Some((least, _)) if *least < fresh => {}
                _ => best = Some((fresh, vec![class])),
            }
        }
        let (_, classes) = best.ok_or_else(|| self.no_address(pod))?;
        Ok(Offer { classes, reuse: None, limited })
    }

    /// One address for each list on nodes of the class.
    pub(super) fn choose_lists(&self, pod: &Pod, class: Class, promises: &Promises) -> Option<Vec<Addr>> {
        self.match_class(&self.candidates(pod, self.space.pools_of(class), promises), class)
    }

    fn clipped<'a>(&self, pod: &'a Pod) -> &'a Arc<[Clipped]> {
        pod.clipped.get_or_init(|| {
            let lists = pod.view.ranges.iter().flatten();
            lists.map(|ranges| Clipped::new(&self.space.topology, ranges)).collect()
        })
    }

    /// The first list that names no address of any pool, as a person wrote it: waiting would not help such a pod.
    pub(super) fn list_outside_pools(&self, pod: &Pod) -> Option<String> {
        let at = self.clipped(pod).iter().position(|list| list.by_pool.is_empty())?;
        let ranges = pod.view.ranges.as_ref().ok()?.get(at)?;
        let mut text = ranges.iter().take(RANGES_TOLD).map(IpRange::to_string).collect::<Vec<_>>().join(", ");
        if ranges.len() > RANGES_TOLD {
            text += &format!(" and {} more", ranges.len() - RANGES_TOLD);
        }
        Some(text)
    }

    fn candidates(&self, pod: &Pod, pools: &[PoolId], promises: &Promises) -> Candidates {
        let lists = self.clipped(pod);
        let addr = |slot: &u32| self.table.at(*slot).addr;
        // More than one for each list are never needed.
        let limit = lists.len();
        let found = |list: &Clipped| {
            let here = pools.iter().filter_map(|&pool| Some((pool, list.by_pool.get(&pool)?)));
            here.map(|(pool, parts)| (pool, self.find(pool, parts, limit, promises))).collect()
        };
        Candidates {
            lists: lists.clone(),
            own: self.table.slots_of(&pod.view.uid).iter().map(addr).collect(),
            named: self.kept_by_name(pod).unwrap_or_default().iter().map(addr).collect(),
            found: lists.iter().map(found).collect(),
        }
    }

    fn find(&self, pool: PoolId, parts: &[(u32, IpRange)], limit: usize, promises: &Promises) -> Found {
        let mut found = Found::default();
        let open = |addr: &Addr| !promises.addrs.contains(addr);
        for &(place, part) in parts {
            let room = limit - found.free.len();
            found.free.extend(self.space.free_in(pool, &part).filter(open).take(room).map(|addr| (place, addr)));
            if found.free.len() == limit {
                return found;
            }
        }
        if !self.space.is_cooling(pool) {
            return found;
        }
        for &(place, part) in parts {
            let room = limit - found.cooling.len();
            let cooling = self.space.cooling_in(pool, &part).filter(open).take(room);
            found.cooling.extend(cooling.map(|addr| (place, addr)));
        }
        found
    }

    fn match_class(&self, candidates: &Candidates, class: Class) -> Option<Vec<Addr>> {
        let pools = self.space.pools_of(class);
        let limit = candidates.lists.len();
        let of_list = |(list, found): (&Clipped, &BTreeMap<PoolId, Found>)| {
            let mut all: Vec<(Addr, u8)> = Vec::new();
            for (addrs, cost) in [(&candidates.own, OWN), (&candidates.named, NAMED)] {
                let within = |addr: &Addr| list.all.contains(*addr) && self.space.routes(class, *addr);
                all.extend(addrs.iter().copied().filter(within).map(|addr| (addr, cost)));
            }
            let here = || pools.iter().filter_map(|pool| found.get(pool));
            let mut free: Vec<(u32, Addr)> = here().flat_map(|found| &found.free).copied().collect();
            free.sort_unstable();
            free.truncate(limit);
            let mut cooling: Vec<(u32, Addr)> = here().flat_map(|found| &found.cooling).copied().collect();
            cooling.sort_unstable();
            cooling.truncate(limit - free.len());
            all.extend(free.into_iter().map(|(_, addr)| (addr, FREE)));
            all.extend(cooling.into_iter().map(|(_, addr)| (addr, COOLING)));
            all
        };
        let all: Vec<Vec<(Addr, u8)>> = candidates.lists.iter().zip(&candidates.found).map(of_list).collect();
        match_lists(&all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{any_range, range, universe};
    use proptest::prelude::*;

    #[test]
    fn a_place_goes_to_who_names_it_first() {
        let named = |texts: &[&str]| {
            let ranges: Vec<IpRange> = texts.iter().map(|text| range(text)).collect();
            first_named(&ranges).iter().map(|(place, piece)| format!("{place}:{piece}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(named(&[]), "");
        assert_eq!(named(&["10.0.0.5", "10.0.0.1~10.0.0.9"]), "1:10.0.0.1~10.0.0.4 0:10.0.0.5 1:10.0.0.6~10.0.0.9");
        assert_eq!(named(&["10.0.0.1~10.0.0.9", "10.0.0.5"]), "0:10.0.0.1~10.0.0.9");
        assert_eq!(named(&["10.0.0.4~10.0.0.6", "10.0.0.1~10.0.0.5"]), "1:10.0.0.1~10.0.0.3 0:10.0.0.4~10.0.0.6");
        assert_eq!(
            named(&["255.255.255.255", "::", "0.0.0.0~255.255.255.255"]),
            "2:0.0.0.0~255.255.255.254 0:255.255.255.255 1:::"
        );
    }

    proptest! {
        #[test]
        fn as_asked_address_by_address(ranges in proptest::collection::vec(any_range(), 0..12)) {
            let pieces = first_named(&ranges);
            prop_assert!(pieces.windows(2).all(|pair| pair[0].1.last() < pair[1].1.first()));
            for addr in universe() {
                let want = ranges.iter().position(|range| range.contains(addr));
                let found = pieces.iter().find(|(_, piece)| piece.contains(addr)).map(|(place, _)| *place as usize);
                prop_assert_eq!(found, want, "{}", addr);
            }
        }
    }
}
