//! One distinct address for each of several range lists, by minimum-cost bipartite matching.
//!
//! First fit is not enough: for the lists `a~b` and `a`, taking `a` for the first leaves the second empty-handed although
//! `b, a` serves both. With k lists it is enough to offer the k best candidates of each (fewer if it has fewer): a list
//! that uses a worse one could swap it for one of its k best, of which the other k - 1 lists leave at least one.

use std::collections::{BTreeMap, VecDeque};

use crate::addr::Addr;

/// The most lists that one pod may have.
pub const MAX_LISTS: usize = 32;

/// What a choice costs: the sum of the cost classes first, then the ranks of the first list, the second, and so on.
/// Paths add and subtract edges, so costs are an ordered group: compared lexicographically, added member by member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    class: i32,
    ranks: [i32; MAX_LISTS],
}

impl Cost {
    const ZERO: Cost = Cost { class: 0, ranks: [0; MAX_LISTS] };

    /// This cost with `sign` times the cost of `list`'s candidate at `rank` added.
    fn step(mut self, sign: i32, list: usize, rank: usize, class: u8) -> Cost {
        self.class += sign * i32::from(class);
        self.ranks[list] += sign * rank as i32;
        self
    }
}

/// Picks one address for each list, all distinct, in the order of the lists; none if that cannot be done.
///
/// A candidate is an address and its cost class (lower is better), in the list's order of preference. The choice has the
/// least total cost; among equals the first list gets its earliest candidate, then the second, and so on, so the same
/// input always gives the same answer. More than [`MAX_LISTS`] lists cannot be served.
pub fn match_lists(lists: &[Vec<(Addr, u8)>]) -> Option<Vec<Addr>> {
    if lists.len() > MAX_LISTS {
        return None;
    }
    let mut matching = Matching { lists, rank_of: vec![None; lists.len()], taken: BTreeMap::new() };
    for list in 0..lists.len() {
        matching.augment(list)?;
    }
    Some(lists.iter().zip(&matching.rank_of).filter_map(|(list, rank)| rank.map(|rank| list[rank].0)).collect())
}

struct Matching<'a> {
    lists: &'a [Vec<(Addr, u8)>],
    /// The rank of the candidate each list holds.
    rank_of: Vec<Option<usize>>,
    /// The list that holds each address.
    taken: BTreeMap<Addr, usize>,
}

impl Matching<'_> {
    /// Serves one more list at the least cost, moving earlier lists to other candidates of theirs where that helps:
    /// the shortest augmenting path from `start` to an address nobody holds (Bellman-Ford, since steps back cost less
    /// than nothing).
    fn augment(&mut self, start: usize) -> Option<()> {
        // For each list, what reaching it costs: it must then give its address to the list in `giver`, where it has that rank.
        let mut reached: Vec<Option<Cost>> = vec![None; self.lists.len()];
        let mut giver = vec![(start, 0); self.lists.len()];
        let mut end: Option<(Cost, usize, usize)> = None;
        reached[start] = Some(Cost::ZERO);

        // First in, first out keeps this O(lists × candidates) steps; any other order may be exponential.
        let mut queue = VecDeque::from([start]);
        while let Some(list) = queue.pop_front() {
            let Some(so_far) = reached[list] else {
                continue;
            };
            for (rank, &(addr, class)) in self.lists[list].iter().enumerate() {
                let cost = so_far.step(1, list, rank, class);
                match self.taken.get(&addr) {
                    None if end.is_none_or(|(best, ..)| cost < best) => end = Some((cost, list, rank)),
                    Some(&holder) if holder != list => {
                        let held = self.rank_of[holder].unwrap_or_default();
                        let cost = cost.step(-1, holder, held, self.lists[holder][held].1);
                        if reached[holder].is_none_or(|best| cost < best) {
                            reached[holder] = Some(cost);
                            giver[holder] = (list, rank);
                            if !queue.contains(&holder) {
                                queue.push_back(holder);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }

        let (_, mut list, mut rank) = end?;
        loop {
            self.taken.insert(self.lists[list][rank].0, list);
            self.rank_of[list] = Some(rank);
            if list == start {
                return Some(());
            }
            (list, rank) = giver[list];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Family;
    use proptest::prelude::*;

    fn addr(n: u32) -> Addr {
        Addr::from_bits(Family::V4, n.into()).unwrap()
    }

    fn lists(lists: &[&[(u32, u8)]]) -> Vec<Vec<(Addr, u8)>> {
        lists.iter().map(|list| list.iter().map(|&(n, class)| (addr(n), class)).collect()).collect()
    }

    fn picks(input: &[&[(u32, u8)]]) -> Option<Vec<u32>> {
        match_lists(&lists(input)).map(|picks| picks.iter().map(|addr| addr.bits() as u32).collect())
    }

    #[test]
    fn table() {
        let same: &[(u32, u8)] = &[(1, 2), (2, 2)];
        for (input, want) in [
            (&[][..], Some(vec![])),
            (&[&[][..]], None),
            (&[same], Some(vec![1])),
            (&[same, same], Some(vec![1, 2])),
            (&[same, same, same], None),
            // First fit would leave the second list with nothing.
            (&[same, &[(1, 2)]], Some(vec![2, 1])),
            // What the pod owns (class 0) wins over order, and a chain of three moves along.
            (&[&[(1, 2), (2, 0)]], Some(vec![2])),
            (&[&[(1, 2), (2, 2)], &[(1, 2), (3, 2)], &[(1, 2)]], Some(vec![2, 3, 1])),
            // Recently freed (3) only where nothing else will do.
            (&[&[(1, 3), (2, 2)], &[(2, 2)]], Some(vec![1, 2])),
            // The cheaper of two entries for one address counts.
            (&[&[(1, 3), (1, 0), (2, 1)], &[(2, 0)]], Some(vec![1, 2])),
        ] {
            assert_eq!(picks(input), want, "{input:?}");
        }
    }

    #[test]
    fn the_largest_input_is_served_and_one_more_list_is_not() {
        let row: Vec<(Addr, u8)> = (0..=MAX_LISTS as u32).map(|n| (addr(n), 2)).collect();
        let mut input = vec![row; MAX_LISTS];
        let picks = match_lists(&input).unwrap();
        assert!(picks.iter().enumerate().all(|(list, pick)| *pick == addr(list as u32)));
        input.push(vec![(addr(99), 0)]);
        assert_eq!(match_lists(&input), None);
    }

    #[test]
    fn the_last_list_moves_all_the_others() {
        // List i takes i or i + 1; the last insists on 0, so that everyone moves up by one.
        let mut input: Vec<Vec<(Addr, u8)>> =
            (0..MAX_LISTS as u32 - 1).map(|n| vec![(addr(n), 0), (addr(n + 1), 0)]).collect();
        input.push(vec![(addr(0), 3)]);
        let picks = match_lists(&input).unwrap();
        let want: Vec<Addr> = (1..MAX_LISTS as u32).chain([0]).map(addr).collect();
        assert_eq!(picks, want);
    }

    #[test]
    fn the_worst_input_is_quick() {
        // Every list wants the same addresses, each list at costs of its own, so that each new one moves many others.
        let input: Vec<Vec<(Addr, u8)>> = (0..MAX_LISTS as u32)
            .map(|list| (0..=MAX_LISTS as u32).map(|n| (addr(n), ((n * 7 + list * 13) % 11) as u8)).collect())
            .collect();
        let started = std::time::Instant::now();
        let picks = match_lists(&input).unwrap();
        assert_eq!(picks.iter().collect::<std::collections::BTreeSet<_>>().len(), MAX_LISTS);
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "took {:?}", started.elapsed());
    }

    /// Every choice there is, in the promised order of preference.
    fn brute_force(lists: &[Vec<(Addr, u8)>]) -> Option<Vec<Addr>> {
        fn walk(
            lists: &[Vec<(Addr, u8)>],
            at: &mut Vec<(usize, Addr, u8)>,
            best: &mut Option<(u32, Vec<usize>, Vec<Addr>)>,
        ) {
            let Some(list) = lists.get(at.len()) else {
                let total = at.iter().map(|pick| u32::from(pick.2)).sum();
                let found = (total, at.iter().map(|pick| pick.0).collect(), at.iter().map(|pick| pick.1).collect());
                if best.as_ref().is_none_or(|best| found < *best) {
                    *best = Some(found);
                }
                return;
            };
            for (rank, &(addr, class)) in list.iter().enumerate() {
                if at.iter().all(|pick| pick.1 != addr) {
                    at.push((rank, addr, class));
                    walk(lists, at, best);
                    at.pop();
                }
            }
        }
        let mut best = None;
        walk(lists, &mut Vec::new(), &mut best);
        best.map(|(_, _, picks)| picks)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn agrees_with_brute_force(
            input in proptest::collection::vec(proptest::collection::vec((0u32..7, 0u8..4), 0..6), 0..6)
        ) {
            let input: Vec<Vec<(Addr, u8)>> =
                input.into_iter().map(|list| list.into_iter().map(|(n, class)| (addr(n), class)).collect()).collect();
            prop_assert_eq!(match_lists(&input), brute_force(&input));
        }

        #[test]
        fn k_best_candidates_are_enough(
            input in proptest::collection::vec(proptest::collection::vec((0u32..9, 0u8..4), 0..8), 0..5)
        ) {
            let k = input.len();
            let mut input: Vec<Vec<(Addr, u8)>> =
                input.into_iter().map(|list| list.into_iter().map(|(n, class)| (addr(n), class)).collect()).collect();
            for list in &mut input {
                // Cheapest first, each address once, as a caller offers them.
                list.sort_by_key(|&(addr, class)| (class, addr));
                let mut seen = std::collections::BTreeSet::new();
                list.retain(|&(addr, _)| seen.insert(addr));
            }
            let clipped: Vec<_> = input.iter().map(|list| list[..list.len().min(k)].to_vec()).collect();
            prop_assert_eq!(match_lists(&clipped), match_lists(&input));
        }
    }
}
