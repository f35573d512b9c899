//! The two hash tables that make the vocabulary fast: text to token, and a pair of tokens to what they merge into.
//!
//! Both are open-addressed with linear probing, built once into memory that the caller gave, and a third empty. Ids
//! and ranks take 24 bits, so that a slot can hold more in a word.

use super::error::Error;
use super::limits;
use super::text::{Hash, Key};
use super::unicode::len_at;

/// The low 24 bits of a word: an id or a rank.
const ID: u32 = (1 << ID_BITS) - 1;
const ID_BITS: u32 = 24;

/// The words of an empty slot. Its id is one that no token has.
const EMPTY: u32 = u32::MAX;

// An id or rank equal to `ID` would make a slot look empty.
const _: () = assert!(limits::MAX_TOKENS <= ID as usize && limits::MAX_MERGES <= ID as usize);

/// Slots for `entries` entries.
const fn slots(entries: usize) -> usize {
    entries + entries / 2 + 1
}

/// A word of `words`, and a bit in it.
#[inline]
fn bit(key: Key, words: usize) -> (usize, u32) {
    (scale(key.0, words), 1 << (key.0 & 31))
}

/// The slot to begin with, of `slots`, and eight other bits.
#[inline]
fn place(key: Key, slots: usize) -> (usize, u32) {
    (scale(key.0, slots), key.0 as u32 & !ID)
}

/// The upper half of `hash` as a number below `slots`.
#[inline]
const fn scale(hash: u64, slots: usize) -> usize {
    (((hash >> 32) * slots as u64) >> 32) as usize
}

/// Entries that are added, or looked up, together. Each costs places in memory that nothing else has touched: asked for
/// one after another, the processor would wait for each in turn.
pub(super) const TOGETHER: usize = 64;

/// Slots that [`TokenIndex::likely`] looks at.
const LIKELY: usize = 4;

/// Walks over slots from `first` on, around the end, and gives up after [`limits::MAX_PROBES`].
#[inline]
fn probe(first: usize, slots: usize) -> impl Iterator<Item = usize> {
    (first..slots).chain(0..first).take(limits::MAX_PROBES)
}

/// Reads slots that searches will begin with. A search decides by what it reads, and a processor that guessed wrong what to
/// do next has waited for nothing else meanwhile; here it waits for all of them at once.
#[inline]
pub(super) fn touch(slots: &[u32], places: impl Iterator<Item = usize>) {
    core::hint::black_box(places.fold(0, |all, at| all ^ slots[at]));
}

/// Text to token. A slot holds an id and eight bits of the text's hash, so that few texts are compared in vain.
pub(super) struct TokenIndex<'a> {
    slots: &'a [u32],
}

impl<'a> TokenIndex<'a> {
    /// Words of memory for this number of tokens.
    pub(super) const fn words(tokens: usize) -> usize {
        slots(tokens)
    }

    /// Begins an index in memory of [`words`](Self::words).
    pub(super) fn build(slots: &'a mut [u32]) -> TokenIndexBuilder<'a> {
        slots.fill(EMPTY);
        TokenIndexBuilder { slots }
    }

    /// Reads where the search for these begins, so that what lies there is at hand when they are looked for.
    pub(super) fn touch(&self, keys: impl Iterator<Item = Key>) {
        touch(self.slots, keys.map(|key| place(key, self.slots.len()).0));
    }

    /// A token that may have a text of this key; one that does not exist where none of the first few places has one.
    #[inline]
    pub(super) fn likely(&self, key: Key) -> u32 {
        let (first, bits) = place(key, self.slots.len());
        // All that are looked at, so that there is nothing to guess.
        let slots = self.slots[first..].first_chunk::<LIKELY>().unwrap_or(&[EMPTY; LIKELY]);
        slots.iter().rev().fold(ID, |id, slot| if slot & !ID == bits { slot & ID } else { id })
    }

    /// The token whose text has this key and is the one looked for.
    #[inline]
    pub(super) fn find(&self, key: Key, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        search(self.slots, key, is_it)?.ok()
    }
}

/// A [`TokenIndex`] that is being filled.
pub(super) struct TokenIndexBuilder<'a> {
    slots: &'a mut [u32],
}

impl<'a> TokenIndexBuilder<'a> {
    /// Reads where tokens of these keys will go, so that the places are at hand when they are added.
    pub(super) fn touch(&self, keys: impl Iterator<Item = Key>) {
        touch(self.slots, keys.map(|key| place(key, self.slots.len()).0));
    }

    /// Adds the token `id`; `same` says whether another token has the same text.
    pub(super) fn insert(&mut self, id: u32, key: Key, same: impl FnMut(u32) -> bool) -> Result<(), Error> {
        match search(self.slots, key, same) {
            Some(Err(slot)) => {
                self.slots[slot] = id | place(key, self.slots.len()).1;
                Ok(())
            }
            Some(Ok(first)) => Err(Error::DuplicateToken { first, second: id }),
            None => Err(Error::Colliding { what: "tokens" }),
        }
    }

    pub(super) fn finish(self) -> TokenIndex<'a> {
        TokenIndex { slots: self.slots }
    }
}

/// Hashes of every beginning of a token, as bits: whoever spells a text can stop where no token goes on. Bits may
/// coincide, so that it is now and then said of a text that it begins a token when it does not.
pub(super) struct Prefixes<'a> {
    bits: &'a [u32],
}

impl<'a> Prefixes<'a> {
    /// Words of memory for this number of tokens: four to six bits of each word are set.
    pub(super) const fn words(tokens: usize) -> usize {
        tokens
    }

    /// Notes all beginnings of `texts` that end with a character, in memory of [`words`](Self::words).
    pub(super) fn new<'t>(bits: &'a mut [u32], texts: impl Iterator<Item = &'t [u8]>) -> Self {
        bits.fill(0);
        for text in texts {
            let mut hash = Hash::EMPTY;
            let mut at = 0;
            while at < text.len() {
                let len = len_at(text, at);
                hash = hash.with(&text[at..at + len]);
                at += len;
                let (word, bit) = bit(hash.finish(), bits.len());
                bits[word] |= bit;
            }
        }
        Self { bits }
    }

    /// Whether a token may begin with the text of this key.
    #[inline]
    pub(super) fn contains(&self, key: Key) -> bool {
        let (word, bit) = bit(key, self.bits.len());
        self.bits.get(word).is_some_and(|&bits| bits & bit != 0)
    }
}

/// The token that `is_it`, or the empty slot where it would be, or neither after too many slots.
#[inline]
fn search(slots: &[u32], key: Key, mut is_it: impl FnMut(u32) -> bool) -> Option<Result<u32, usize>> {
    let (first, bits) = place(key, slots.len());
    for at in probe(first, slots.len()) {
        let slot = slots[at];
        if slot == EMPTY {
            return Some(Err(at));
        }
        if slot & !ID == bits && is_it(slot & ID) {
            return Some(Ok(slot & ID));
        }
    }
    None
}

/// A pair of tokens to the rank of their merge and the token that it gives.
///
/// A slot holds a rank and eight bits of the pair's hash; what is merged lies in a list by rank. Most pairs that are
/// asked about do not merge, which the slots alone tell.
pub(super) struct MergeIndex<'a> {
    slots: &'a [u32],
    /// Left, right and merged token.
    merges: &'a [[u32; 3]],
}

impl<'a> MergeIndex<'a> {
    /// Words of memory for this number of merges: slots, of which there are no fewer than there are `tokens`, and a list.
    pub(super) const fn words(merges: usize, tokens: usize) -> usize {
        let slots = slots(merges);
        3 * merges + if slots < tokens { tokens } else { slots }
    }

    /// An index of these merges. Of several for one pair, which say nothing new, the first counts.
    pub(super) fn new(slots: &'a mut [u32], merges: &'a [[u32; 3]]) -> Result<Self, Error> {
        slots.fill(EMPTY);
        let mut rank = 0;
        for batch in merges.chunks(TOGETHER) {
            touch(slots, batch.iter().map(|&[left, right, _]| pair_place(left, right, slots.len()).0));
            for &[left, right, _] in batch {
                match search_pair(slots, merges, left, right) {
                    Some(Err(slot)) => slots[slot] = rank | pair_place(left, right, slots.len()).1,
                    Some(Ok(_)) => {}
                    None => return Err(Error::Colliding { what: "merges" }),
                }
                rank += 1;
            }
        }
        Ok(Self { slots, merges })
    }

    /// Rank and product of merging `left` with `right`.
    #[inline]
    pub(super) fn find(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let rank = search_pair(self.slots, self.merges, left, right)?.ok()?;
        Some((rank, self.merges[rank as usize][2]))
    }
}

/// The rank of a pair, or the empty slot where it would be, or neither after too many slots.
#[inline]
fn search_pair(slots: &[u32], merges: &[[u32; 3]], left: u32, right: u32) -> Option<Result<u32, usize>> {
    let (first, bits) = pair_place(left, right, slots.len());
    for at in probe(first, slots.len()) {
        let slot = slots[at];
        if slot == EMPTY {
            return Some(Err(at));
        }
        if slot & !ID == bits {
            let [found_left, found_right, _] = merges[(slot & ID) as usize];
            if found_left == left && found_right == right {
                return Some(Ok(slot & ID));
            }
        }
    }
    None
}

/// The slot to begin with, of `slots`, and eight other bits.
#[inline]
fn pair_place(left: u32, right: u32, slots: usize) -> (usize, u32) {
    place(Key::spread((u64::from(left) << 32 | u64::from(right)).wrapping_mul(0xd6e8_feb8_6659_fd93)), slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::vec;

    #[test]
    fn every_pair_is_found_with_its_rank_and_product_and_no_other() {
        const LAST: u32 = limits::MAX_TOKENS as u32 - 1;
        let mut pairs = HashMap::new();
        let list: vec::Vec<_> = (0..5000u32)
            .map(|rank| {
                let [left, right, merged] = [(rank * 7919) % 1000, LAST - rank % 77, LAST - rank];
                // Of several the first counts.
                pairs.entry((left, right)).or_insert((rank, merged));
                [left, right, merged]
            })
            .collect();
        assert!(pairs.len() > 4000);
        let mut slots = vec![0; MergeIndex::words(5000, 0) - 3 * 5000];
        let index = MergeIndex::new(&mut slots, &list).unwrap();
        for left in 0..1000 {
            for right in LAST - 80..=LAST {
                assert_eq!(index.find(left, right), pairs.get(&(left, right)).copied());
            }
        }
        assert_eq!(index.find(u32::MAX, u32::MAX), None);
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        let mut slots = vec![0; MergeIndex::words(0, 0)];
        assert_eq!(MergeIndex::new(&mut slots, &[]).unwrap().find(0, 0), None);
        let mut slots = vec![0; TokenIndex::words(0)];
        assert_eq!(TokenIndex::build(&mut slots).finish().find(Hash::EMPTY.finish(), |_| true), None);
    }

    #[test]
    fn texts_that_all_collide_are_refused_before_they_cost_much() {
        let mut slots = vec![0; TokenIndex::words(10_000)];
        let mut builder = TokenIndex::build(&mut slots);
        let results: vec::Vec<_> =
            (0..10_000).map(|id| builder.insert(id, Hash::EMPTY.finish(), |_| false)).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), limits::MAX_PROBES);
        assert_eq!(results.last(), Some(&Err(Error::Colliding { what: "tokens" })));
    }
}
