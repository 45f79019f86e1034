//! A sorted set for the indexes of a million addresses: about 9 bytes for an item of 8, where a `BTreeSet`, whose nodes of
//! eleven are half empty after ascending insertion, takes 17.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;

/// What an index keeps in place of a long key; whoever looks up compares the key itself. 32 bits: few collide, and memory
/// is per address.
pub(super) type Hash32 = u32;

pub(super) fn hash(value: impl Hash) -> Hash32 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish() as Hash32
}

/// Sorted pieces of up to [`MOST`] items, each under a lower bound of its items. Look-ups and changes are O(log items).
pub(super) struct SortedSet<T> {
    pieces: BTreeMap<T, Vec<T>>,
    len: usize,
}

const MOST: usize = 128;
/// Pieces grow and shrink in steps of so many items.
const STEP: usize = 16;
/// A piece with fewer items than this is joined with a neighbour, if both fit in one that still has room.
const FEW: usize = MOST / 4;
const ROOMY: usize = MOST * 3 / 4;

fn put<T>(piece: &mut Vec<T>, at: usize, item: T) {
    if piece.len() == piece.capacity() {
        piece.reserve_exact(STEP);
    }
    piece.insert(at, item);
}

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        SortedSet { pieces: BTreeMap::new(), len: 0 }
    }
}

impl<T: Ord + Copy> SortedSet<T> {
    /// The bound of the piece in which `item` is, or belongs; none if it is less than all bounds.
    fn bound(&self, item: &T) -> Option<T> {
        self.pieces.range(..=item).next_back().map(|(bound, _)| *bound)
    }

    /// Adds an item; nothing happens if it is there.
    pub(super) fn insert(&mut self, item: T) {
        let Some((_, piece)) = self.pieces.range_mut(..=item).next_back() else {
            self.insert_first(item);
            return;
        };
        let Err(at) = piece.binary_search(&item) else { return };
        self.len += 1;
        if piece.len() < MOST {
            put(piece, at, item);
            return;
        }
        // What comes in more or less ascending order fills its pieces; anything else leaves both halves room.
        let cut = if at >= MOST * 7 / 8 { at } else { MOST / 2 };
        let mut rest = piece.split_off(cut);
        if at < cut {
            put(piece, at, item)
        } else {
            put(&mut rest, at - cut, item)
        }
        piece.shrink_to(piece.len());
        self.pieces.insert(rest[0], rest);
    }

    /// Adds an item that is less than all bounds: the first piece moves under it, if there is one with room.
    fn insert_first(&mut self, item: T) {
        let mut piece = Vec::new();
        if let Some(first) = self.pieces.first_entry().filter(|first| first.get().len() < MOST) {
            piece = first.remove();
        }
        put(&mut piece, 0, item);
        self.pieces.insert(item, piece);
        self.len += 1;
    }

    /// Takes an item out; nothing happens if it is not there.
    pub(super) fn remove(&mut self, item: &T) {
        let Some((&bound, piece)) = self.pieces.range_mut(..=*item).next_back() else { return };
        let Ok(at) = piece.binary_search(item) else { return };
        piece.remove(at);
        self.len -= 1;
        let left = piece.len();
        if piece.capacity() > left + 2 * STEP {
            piece.shrink_to(left + STEP);
        }
        if left == 0 {
            self.pieces.remove(&bound);
        } else if left < FEW {
            self.join(bound);
        }
    }

    /// Joins a piece with the one before or after it, if both together leave room.
    fn join(&mut self, bound: T) {
        let before = self.pieces.range(..bound).next_back().map(|(bound, _)| *bound);
        for first in before.into_iter().chain([bound]) {
            let mut from_here = self.pieces.range_mut(first..);
            let (Some((_, piece)), Some((&next, rest))) = (from_here.next(), from_here.next()) else { continue };
            if piece.len() + rest.len() <= ROOMY {
                piece.reserve_exact(rest.len());
                piece.append(rest);
                self.pieces.remove(&next);
                return;
            }
        }
    }

    /// The items within `range`, ascending.
    pub(super) fn range(&self, range: RangeInclusive<T>) -> impl DoubleEndedIterator<Item = T> + '_ {
        let (first, last) = range.into_inner();
        let from = self.bound(&first).unwrap_or(first);
        let pieces = self.pieces.range(from..=last);
        pieces.flat_map(move |(_, piece)| {
            let begin = piece.partition_point(|item| *item < first);
            let end = piece.partition_point(|item| *item <= last);
            piece[begin..end].iter().copied()
        })
    }

    /// All items, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.pieces.values().flatten().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl<T: Ord + Copy> PartialEq for SortedSet<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Ord + Copy + fmt::Debug> fmt::Debug for SortedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    impl<T: Ord + Copy + fmt::Debug> SortedSet<T> {
        fn check(&self) {
            let mut before = None;
            for (bound, piece) in &self.pieces {
                assert!(!piece.is_empty() && piece.len() <= MOST, "{} items", piece.len());
                assert!(piece.capacity() <= piece.len() + 2 * STEP, "{} of {}", piece.len(), piece.capacity());
                assert!(*bound <= piece[0] && before < Some(*bound), "{piece:?} under {bound:?} after {before:?}");
                assert!(piece.is_sorted_by(|a, b| a < b), "{piece:?}");
                before = piece.last().copied();
            }
            assert_eq!(self.iter().count(), self.len());
        }
    }

    #[test]
    fn ascending_items_fill_their_pieces() {
        let mut set = SortedSet::default();
        (0..MOST as u32 * 10).for_each(|item| set.insert(item));
        set.check();
        assert_eq!(set.pieces.len(), 10);
        for item in (0..MOST as u32 * 10).filter(|item| item % 50 != 0) {
            set.remove(&item);
        }
        set.check();
        assert_eq!((set.len(), set.pieces.len()), (26, 1), "what is left is joined");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16),
        Remove(u16),
        /// So many in a row, up or down.
        Run(u16, u16, bool),
        Drain(u16, u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..2_000u16).prop_map(Step::Insert),
            (0..2_000u16).prop_map(Step::Remove),
            (0..2_000u16, 1..300u16, any::<bool>()).prop_map(|(from, n, up)| Step::Run(from, n, up)),
            (0..2_000u16, 1..300u16).prop_map(|(from, n)| Step::Drain(from, n)),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_tree_does(steps in proptest::collection::vec(step(), 1..60), a in 0..2_300u16, b in 0..2_300u16) {
            let (mut set, mut tree) = (SortedSet::default(), BTreeSet::new());
            for step in steps {
                let (items, insert): (Vec<u16>, bool) = match step {
                    Step::Insert(item) => (vec![item], true),
                    Step::Remove(item) => (vec![item], false),
                    Step::Run(from, n, true) => ((from..from + n).collect(), true),
                    Step::Run(from, n, false) => ((from..from + n).rev().collect(), true),
                    Step::Drain(from, n) => ((from..from + n).collect(), false),
                };
                for item in items {
                    if insert {
                        set.insert(item);
                        tree.insert(item);
                    } else {
                        set.remove(&item);
                        tree.remove(&item);
                    }
                }
                set.check();
                prop_assert_eq!(set.len(), tree.len());
            }
            let (low, high) = (a.min(b), a.max(b));
            let found: Vec<u16> = set.range(low..=high).collect();
            prop_assert_eq!(&found, &tree.range(low..=high).copied().collect::<Vec<_>>());
            let back: Vec<u16> = set.range(low..=high).rev().collect();
            prop_assert_eq!(back, found.into_iter().rev().collect::<Vec<_>>());
        }
    }
}
