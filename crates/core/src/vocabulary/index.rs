//! The two hash tables that make the vocabulary fast: text to token, and a pair of tokens to what they merge into.
//!
//! Both are open-addressed with linear probing, built once into memory that the caller gave, and a third empty. Ids
//! and ranks take 24 bits, so that a slot can hold more in a word.

use super::error::Error;
use super::limits;
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

/// A running hash of a text that may come in parts: FNV-1a, finished by a multiplication.
#[derive(Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    pub(super) const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    #[inline]
    pub(super) fn with(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self
    }

    /// A word of `words`, and a bit in it.
    #[inline]
    fn bit(self, words: usize) -> (usize, u32) {
        let mixed = mix(self.0);
        (scale(mixed, words), 1 << (mixed & 31))
    }

    /// The slot to begin with, of `slots`, and eight other bits.
    #[inline]
    fn finish(self, slots: usize) -> (usize, u32) {
        let mixed = mix(self.0);
        (scale(mixed, slots), mixed as u32 & !ID)
    }
}

/// Spreads all bits over the upper half.
#[inline]
const fn mix(hash: u64) -> u64 {
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The upper half of `hash` as a number below `slots`.
#[inline]
const fn scale(hash: u64, slots: usize) -> usize {
    (((hash >> 32) * slots as u64) >> 32) as usize
}

/// Whether two texts are the same. Most are so short that a call would cost more than the look itself.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // Beginning and end, which overlap where the text is not as long as both.
    if let (Some(a_first), Some(a_last), Some(b_first), Some(b_last)) =
        (a.first_chunk(), a.last_chunk(), b.first_chunk(), b.last_chunk())
    {
        let differ = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
        return differ(a_first, b_first) | differ(a_last, b_last) == 0 && (a.len() <= 16 || a == b);
    }
    if let (Some(a_first), Some(a_last), Some(b_first), Some(b_last)) =
        (a.first_chunk(), a.last_chunk(), b.first_chunk(), b.last_chunk())
    {
        let differ = |a: &[u8; 4], b: &[u8; 4]| u32::from_ne_bytes(*a) ^ u32::from_ne_bytes(*b);
        return differ(a_first, b_first) | differ(a_last, b_last) == 0;
    }
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// Walks over slots from `first` on, around the end, and gives up after [`limits::MAX_PROBES`].
#[inline]
fn probe(first: usize, slots: usize) -> impl Iterator<Item = usize> {
    (first..slots).chain(0..first).take(limits::MAX_PROBES)
}

/// Reads slots that searches will begin with. A search decides by what it reads, and a processor that guessed wrong what to
/// do next has waited for nothing else meanwhile; here it waits for all of them at once.
#[inline]
fn touch(slots: &[u32], places: impl Iterator<Item = usize>) {
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
    pub(super) fn touch(&self, hashes: impl Iterator<Item = Hash>) {
        touch(self.slots, hashes.map(|hash| hash.finish(self.slots.len()).0));
    }

    /// A token that may have a text of this hash; one that does not exist where none has.
    #[inline]
    pub(super) fn likely(&self, hash: Hash) -> u32 {
        let (first, bits) = hash.finish(self.slots.len());
        let slots = probe(first, self.slots.len()).map(|at| self.slots[at]).take_while(|&slot| slot != EMPTY);
        slots.filter(|slot| slot & !ID == bits).map(|slot| slot & ID).next().unwrap_or(ID)
    }

    /// The token whose text has this hash and is the one looked for.
    #[inline]
    pub(super) fn find(&self, hash: Hash, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        search(self.slots, hash, is_it)?.ok()
    }
}

/// A [`TokenIndex`] that is being filled.
pub(super) struct TokenIndexBuilder<'a> {
    slots: &'a mut [u32],
}

impl<'a> TokenIndexBuilder<'a> {
    /// Reads where tokens of these hashes will go, so that the places are at hand when they are added.
    pub(super) fn touch(&self, hashes: impl Iterator<Item = Hash>) {
        touch(self.slots, hashes.map(|hash| hash.finish(self.slots.len()).0));
    }

    /// Adds the token `id`; `same` says whether another token has the same text.
    pub(super) fn insert(&mut self, id: u32, hash: Hash, same: impl FnMut(u32) -> bool) -> Result<(), Error> {
        match search(self.slots, hash, same) {
            Some(Err(slot)) => {
                self.slots[slot] = id | hash.finish(self.slots.len()).1;
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
                let (word, bit) = hash.bit(bits.len());
                bits[word] |= bit;
            }
        }
        Self { bits }
    }

    /// Whether a token may begin with the text of this hash.
    #[inline]
    pub(super) fn contains(&self, hash: Hash) -> bool {
        let (word, bit) = hash.bit(self.bits.len());
        self.bits.get(word).is_some_and(|&bits| bits & bit != 0)
    }
}

/// The token that `is_it`, or the empty slot where it would be, or neither after too many slots.
#[inline]
fn search(slots: &[u32], hash: Hash, mut is_it: impl FnMut(u32) -> bool) -> Option<Result<u32, usize>> {
    let (first, bits) = hash.finish(slots.len());
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
    /// Words of memory for this number of merges.
    pub(super) const fn words(merges: usize) -> usize {
        slots(merges) + 3 * merges
    }

    /// Begins an index of this number of merges in memory of [`words`](Self::words).
    pub(super) fn build(words: &'a mut [u32], merges: usize) -> MergeIndexBuilder<'a> {
        let (slots, list) = words.split_at_mut(slots(merges));
        slots.fill(EMPTY);
        MergeIndexBuilder { slots, merges: list.as_chunks_mut().0 }
    }

    /// Rank and product of merging `left` with `right`.
    #[inline]
    pub(super) fn find(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let rank = search_pair(self.slots, self.merges, left, right)?.ok()?;
        Some((rank, self.merges[rank as usize][2]))
    }
}

/// A [`MergeIndex`] that is being filled.
pub(super) struct MergeIndexBuilder<'a> {
    slots: &'a mut [u32],
    merges: &'a mut [[u32; 3]],
}

impl<'a> MergeIndexBuilder<'a> {
    /// Reads where these pairs will go, so that the places are at hand when they are added.
    pub(super) fn touch(&self, pairs: impl Iterator<Item = (u32, u32)>) {
        touch(self.slots, pairs.map(|(left, right)| hash_pair(left, right, self.slots.len()).0));
    }

    /// Adds a merge. Of several for one pair, which say nothing new, the first stays.
    pub(super) fn insert(&mut self, left: u32, right: u32, rank: u32, merged: u32) -> Result<(), Error> {
        match search_pair(self.slots, self.merges, left, right) {
            Some(Err(slot)) => {
                self.slots[slot] = rank | hash_pair(left, right, self.slots.len()).1;
                self.merges[rank as usize] = [left, right, merged];
                Ok(())
            }
            Some(Ok(_)) => Ok(()),
            None => Err(Error::Colliding { what: "merges" }),
        }
    }

    pub(super) fn finish(self) -> MergeIndex<'a> {
        MergeIndex { slots: self.slots, merges: self.merges }
    }
}

/// The rank of a pair, or the empty slot where it would be, or neither after too many slots.
#[inline]
fn search_pair(slots: &[u32], merges: &[[u32; 3]], left: u32, right: u32) -> Option<Result<u32, usize>> {
    let (first, bits) = hash_pair(left, right, slots.len());
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
fn hash_pair(left: u32, right: u32, slots: usize) -> (usize, u32) {
    let mixed = mix((u64::from(left) << 32 | u64::from(right)).wrapping_mul(0xd6e8_feb8_6659_fd93));
    (scale(mixed, slots), mixed as u32 & !ID)
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
        let mut words = vec![0; MergeIndex::words(5000)];
        let mut builder = MergeIndex::build(&mut words, 5000);
        for rank in 0..5000u32 {
            let (left, right, merged) = ((rank * 7919) % 1000, LAST - rank % 77, LAST - rank);
            // Of several the first counts.
            pairs.entry((left, right)).or_insert((rank, merged));
            builder.insert(left, right, rank, merged).unwrap();
        }
        assert!(pairs.len() > 4000);
        let index = builder.finish();
        for left in 0..1000 {
            for right in LAST - 80..=LAST {
                assert_eq!(index.find(left, right), pairs.get(&(left, right)).copied());
            }
        }
        assert_eq!(index.find(u32::MAX, u32::MAX), None);
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        let mut words = vec![0; MergeIndex::words(0)];
        assert_eq!(MergeIndex::build(&mut words, 0).finish().find(0, 0), None);
        let mut slots = vec![0; TokenIndex::words(0)];
        assert_eq!(TokenIndex::build(&mut slots).finish().find(Hash::EMPTY, |_| true), None);
    }

    #[test]
    fn texts_that_all_collide_are_refused_before_they_cost_much() {
        let mut slots = vec![0; TokenIndex::words(10_000)];
        let mut builder = TokenIndex::build(&mut slots);
        let results: vec::Vec<_> = (0..10_000).map(|id| builder.insert(id, Hash::EMPTY, |_| false)).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), limits::MAX_PROBES);
        assert_eq!(results.last(), Some(&Err(Error::Colliding { what: "tokens" })));
    }

    #[test]
    fn a_text_hashes_the_same_in_parts() {
        let whole = Hash::EMPTY.with(b"hello").finish(1 << 20);
        assert_eq!(Hash::EMPTY.with(b"he").with(b"").with(b"llo").finish(1 << 20), whole);
    }
}
