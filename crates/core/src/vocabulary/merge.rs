//! The loop that both tokenizers share: take the best pair of neighbours, make one symbol of it, look at its new
//! neighbours, until no pair is left.
//!
//! Symbols are a linked list over the bytes of the text and candidate pairs a binary heap, both in the caller's
//! scratch: n bytes take O(n log n) steps however they merge.

/// Words of scratch per byte of text: a token, two links, and two queued pairs of two words each.
pub(super) const WORDS_PER_BYTE: usize = 7;

/// Stands for a symbol that is no token.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// A token, or a character that is none, and the bytes it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// The token, or [`NO_TOKEN`].
    pub(super) id: u32,
    /// Its first byte.
    pub(super) start: usize,
    /// The byte after its last.
    pub(super) end: usize,
}

/// What a pair of symbols can become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merge {
    /// Lower is taken first, and of equals the one further left.
    pub(super) rank: u32,
    /// The token that takes the pair's place.
    pub(super) id: u32,
}

/// The symbols that a text is made of at some moment.
pub(super) struct Symbols<'s> {
    /// The token of the symbol that begins at each byte.
    ids: &'s mut [u32],
    /// Where the symbol that begins at each byte ends: the next one begins there.
    ends: &'s mut [u32],
    /// Where the symbol before the one that begins at each byte begins. The first points to itself.
    before: &'s mut [u32],
    queue: Queue<'s>,
    /// The bytes filled so far.
    len: usize,
    last: usize,
}

/// Marks a byte where no symbol begins any more.
const GONE: u32 = u32::MAX - 1;

impl<'s> Symbols<'s> {
    /// Room for a text of `len` bytes, or `None` if `scratch` has fewer than `len *` [`WORDS_PER_BYTE`] words.
    pub(super) fn new(scratch: &'s mut [u32], len: usize) -> Option<Self> {
        let (ids, rest) = scratch.split_at_mut_checked(len)?;
        let (ends, rest) = rest.split_at_mut_checked(len)?;
        let (before, rest) = rest.split_at_mut_checked(len)?;
        let pairs = rest.get_mut(..len.checked_mul(4)?)?;
        let queue = Queue { pairs: bytemuck::cast_slice_mut(pairs), len: 0 };
        Some(Self { ids, ends, before, queue, len: 0, last: 0 })
    }

    /// Appends a symbol of `len` bytes, of which there are at most as many as there is room for.
    #[inline]
    pub(super) fn push(&mut self, id: u32, len: usize) {
        let start = self.len;
        self.len += len;
        self.ids[start] = id;
        self.ends[start] = self.len as u32;
        self.before[start] = self.last as u32;
        self.last = start;
    }

    /// The symbols in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Symbol> {
        let mut at = 0;
        core::iter::from_fn(move || {
            let symbol = (at < self.len).then(|| self.get(at))?;
            at = symbol.end;
            Some(symbol)
        })
    }

    #[inline]
    fn get(&self, start: usize) -> Symbol {
        Symbol { id: self.ids[start], start, end: self.ends[start] as usize }
    }

    /// Merges neighbours for as long as `find` knows what a pair becomes.
    pub(super) fn merge(&mut self, find: impl Fn(Symbol, Symbol) -> Option<Merge>) {
        let mut right = if self.len == 0 { 0 } else { self.ends[0] as usize };
        while right < self.len {
            self.consider(self.before[right] as usize, &find);
            right = self.ends[right] as usize;
        }
        while let Some((rank, start)) = self.queue.pop() {
            let left = self.get(start);
            if left.id == GONE || left.end == self.len {
                continue;
            }
            let right = self.get(left.end);
            // A pair that has changed since it was queued was queued again as it is now.
            let Some(merge) = find(left, right).filter(|merge| merge.rank == rank) else { continue };
            self.ids[start] = merge.id;
            self.ends[start] = right.end as u32;
            self.ids[right.start] = GONE;
            if right.end < self.len {
                self.before[right.end] = start as u32;
            }
            if start > 0 {
                self.consider(self.before[start] as usize, &find);
            }
            self.consider(start, &find);
        }
    }

    /// Queues the pair whose left symbol begins at `start`, if there is one and it can merge.
    #[inline]
    fn consider(&mut self, start: usize, find: &impl Fn(Symbol, Symbol) -> Option<Merge>) {
        let left = self.get(start);
        if left.end < self.len
            && let Some(merge) = find(left, self.get(left.end))
        {
            self.queue.push(merge.rank, start);
        }
    }
}

/// A binary heap of pairs: rank, then the place of the left symbol.
///
/// n symbols begin with n - 1 pairs; each of at most n - 1 merges takes one away and adds at most two. So there are
/// never more than 2n.
struct Queue<'s> {
    pairs: &'s mut [[u32; 2]],
    len: usize,
}

impl Queue<'_> {
    fn push(&mut self, rank: u32, start: usize) {
        let pair = [rank, start as u32];
        let mut hole = self.len;
        self.len += 1;
        while hole > 0 {
            let parent = (hole - 1) / 2;
            if self.pairs[parent] <= pair {
                break;
            }
            self.pairs[hole] = self.pairs[parent];
            hole = parent;
        }
        self.pairs[hole] = pair;
    }

    fn pop(&mut self) -> Option<(u32, usize)> {
        self.len = self.len.checked_sub(1)?;
        let pairs = &mut self.pairs[..=self.len];
        let [rank, start] = pairs[0];
        let (&mut moved, pairs) = pairs.split_last_mut()?;
        let mut hole = 0;
        loop {
            let mut child = 2 * hole + 1;
            if child + 1 < pairs.len() && pairs[child + 1] < pairs[child] {
                child += 1;
            }
            if child >= pairs.len() || moved <= pairs[child] {
                break;
            }
            pairs[hole] = pairs[child];
            hole = child;
        }
        if let Some(slot) = pairs.get_mut(hole) {
            *slot = moved;
        }
        Some((rank, start as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// The slow, obvious version: look at all pairs, take the best, begin again.
    fn merge_naively(ids: &[u32], find: impl Fn(u32, u32) -> Option<Merge>) -> Vec<u32> {
        let mut ids = ids.to_vec();
        loop {
            let best = ids
                .windows(2)
                .enumerate()
                .filter_map(|(i, pair)| find(pair[0], pair[1]).map(|merge| (merge.rank, i, merge.id)))
                .min();
            let Some((_, i, id)) = best else { return ids };
            ids[i] = id;
            ids.remove(i + 1);
        }
    }

    /// Some pairs of small numbers merge, in an order that looks random.
    fn find(seed: u32, left: u32, right: u32) -> Option<Merge> {
        let hash = (left.wrapping_mul(0x9e37_79b1) ^ right.wrapping_mul(0x85eb_ca77) ^ seed)
            .wrapping_mul(0xc2b2_ae3d)
            .rotate_left(15);
        let merge = Merge { rank: hash >> 8 & 15, id: hash >> 16 & 7 };
        (!hash.is_multiple_of(3)).then_some(merge)
    }

    proptest::proptest! {
        #[test]
        fn the_queue_merges_in_the_order_of_the_obvious_search(
            ids in proptest::collection::vec(0u32..8, 0..60),
            seed: u32,
        ) {
            let mut scratch = vec![0; ids.len() * WORDS_PER_BYTE];
            let mut symbols = Symbols::new(&mut scratch, ids.len()).unwrap();
            for &id in &ids {
                symbols.push(id, 1);
            }
            symbols.merge(|left, right| find(seed, left.id, right.id));
            let merged: Vec<_> = symbols.iter().map(|symbol| symbol.id).collect();
            proptest::prop_assert_eq!(merged, merge_naively(&ids, |left, right| find(seed, left, right)));
        }
    }

    #[test]
    fn too_little_scratch_is_refused() {
        let mut scratch = vec![0; 3 * WORDS_PER_BYTE - 1];
        assert!(Symbols::new(&mut scratch, 3).is_none());
        assert!(Symbols::new(&mut scratch, 2).is_some());
        assert!(Symbols::new(&mut scratch, usize::MAX).is_none());
    }
}
