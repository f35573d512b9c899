//! Texts of tokens as the index takes them: hashed in parts or at once, and compared.
//!
//! In go bytes where they lie in the file. A [`Text`] is one of them with its first sixteen bytes as a number. Nearly all
//! are no longer, and hashing or comparing numbers has no loop whose end a processor would have to guess: half a million
//! merges name a million texts that each have another length.

/// Bytes that a number holds.
const FIRST: usize = size_of::<u128>();

/// Bytes that a hash takes in together.
const WORD: usize = size_of::<u64>();

/// A running hash of a text that may come in parts.
///
/// It takes in words of eight bytes, the last of which is filled up with zeros.
#[derive(Clone, Copy)]
pub(super) struct Hash {
    /// All words but the last.
    words: u64,
    last: u64,
    len: usize,
}

impl Hash {
    pub(super) const EMPTY: Self = Self { words: 0xcbf2_9ce4_8422_2325, last: 0, len: 0 };

    #[inline]
    pub(super) fn with(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            let at = self.len % WORD;
            if at == 0 && self.len > 0 {
                self = self.next_word(0);
            }
            self.last |= u64::from(byte) << (8 * at);
            self.len += 1;
        }
        self
    }

    /// Takes the last word in, and begins the next one.
    #[inline]
    fn next_word(self, last: u64) -> Self {
        Self { words: take_in(self.words, self.last), last, len: self.len }
    }

    #[inline]
    pub(super) fn finish(self) -> Key {
        Key::spread(take_in(take_in(self.words, self.last), self.len as u64))
    }
}

/// A hash that has taken one more word in.
#[inline]
const fn take_in(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29)
}

/// Where something is in a hash table.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Key(pub(super) u64);

impl Key {
    /// The key of a hash, all of whose bits are spread over the upper half.
    #[inline]
    pub(super) const fn spread(hash: u64) -> Self {
        Self((hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// A text, and its beginning as a number.
#[derive(Clone, Copy, Default)]
pub(super) struct Text<'a> {
    pub(super) bytes: &'a [u8],
    /// The first sixteen bytes, the first of all lowest; zeros after the text's end.
    first: u128,
}

impl<'a> Text<'a> {
    /// The text of the first `len` of some bytes: all that are there, so that sixteen can be read at once where possible.
    #[inline]
    pub(super) fn beginning(bytes: &'a [u8], len: usize) -> Self {
        let first = bytes.first_chunk().map_or_else(|| padded(bytes), |first| u128::from_le_bytes(*first));
        let bytes = &bytes[..len.min(bytes.len())];
        Self { bytes, first: first & ones(bytes.len()) }
    }

    /// The two texts that a merge joins, which are written with a space between them, of the first `len` of some bytes.
    ///
    /// The first character may be a space itself where vocabularies are not written in bytes' alphabet.
    #[inline]
    pub(super) fn split_merge(bytes: &'a [u8], len: usize) -> Option<[Self; 2]> {
        let whole = Self::beginning(bytes, len);
        let space = match first_space(whole.first | 0xff) {
            Some(at) => at,
            None => FIRST + whole.bytes.get(FIRST..)?.iter().position(|&byte| byte == b' ')?,
        };
        let left = Self { bytes: &whole.bytes[..space], first: whole.first & ones(space) };
        Some([left, Self::beginning(&bytes[space + 1..], len - space - 1)])
    }

    /// The same as that of its bytes' [`Hash`].
    #[inline]
    pub(super) fn key(&self) -> Key {
        let len = self.bytes.len();
        let [first, second] = [self.first as u64, (self.first >> 64) as u64];
        let mut hash = Hash { last: first, len, ..Hash::EMPTY };
        if len > WORD {
            hash = hash.next_word(second);
        }
        // The words after the first two, the last of which is read together with what lies before it.
        if let Some((_, rest)) = self.bytes.split_first_chunk::<FIRST>()
            && let Some(last) = self.bytes.last_chunk()
        {
            let (words, last_len) = (rest.len().saturating_sub(1) / WORD, (len - 1) % WORD + 1);
            for word in &rest.as_chunks().0[..words] {
                hash = hash.next_word(u64::from_le_bytes(*word));
            }
            if !rest.is_empty() {
                hash = hash.next_word(u64::from_le_bytes(*last) >> (8 * (WORD - last_len)));
            }
        }
        hash.finish()
    }

    /// The key of one text after the other.
    pub(super) fn joined_key(texts: &[Self; 2]) -> Key {
        texts.iter().fold(Hash::EMPTY, |hash, text| hash.with(text.bytes)).finish()
    }

    /// Whether this is the one text after the other.
    #[inline]
    pub(super) fn joins(&self, [left, right]: &[Self; 2]) -> bool {
        let len = left.bytes.len() + right.bytes.len();
        let first = left.first | right.first.checked_shl(8 * left.bytes.len() as u32).unwrap_or(0);
        if self.bytes.len() != len || self.first != first {
            return false;
        }
        if len <= FIRST {
            return true;
        }
        let (first, second) = self.bytes.split_at(left.bytes.len());
        first == left.bytes && second == right.bytes
    }
}

impl PartialEq for Text<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let len = self.bytes.len();
        (self.first == other.first && len == other.bytes.len()) && (len <= FIRST || self.bytes == other.bytes)
    }
}

/// A number of which this many of the lowest bytes are all ones.
#[inline]
fn ones(bytes: usize) -> u128 {
    ONES[bytes.min(FIRST)]
}

/// In a table, since shifting numbers of 128 bits takes several times as long as a look.
static ONES: [u128; FIRST + 1] = {
    let mut ones = [0; FIRST + 1];
    let mut bytes = 1;
    while bytes <= FIRST {
        ones[bytes] = ones[bytes - 1] << 8 | 0xff;
        bytes += 1;
    }
    ones
};

/// The bytes, of which there are fewer than sixteen, as a number.
#[cold]
fn padded(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// The place of the lowest space among sixteen bytes.
#[inline]
fn first_space(bytes: u128) -> Option<usize> {
    const LOW: u128 = u128::MAX / 0xff;
    let other = bytes ^ (LOW * b' ' as u128);
    // A byte that borrows is zero, or lies above one that is: the lowest of them is zero.
    let borrows = other.wrapping_sub(LOW) & !other & (LOW << 7);
    (borrows != 0).then_some(borrows.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// `text` as it lies at the end of a file, and with more after it.
    fn both(text: &[u8], more: &[u8], check: impl Fn(&[u8])) {
        check(text);
        check(&[text, more].concat());
    }

    proptest::proptest! {
        #[test]
        fn a_text_hashes_the_same_whole_and_in_parts(
            parts in proptest::collection::vec(proptest::collection::vec(0u8.., 0..7), 0..8),
            more: [u8; 20],
        ) {
            let text = parts.concat();
            let in_parts = parts.iter().fold(Hash::EMPTY, |hash, part| hash.with(part)).finish();
            both(&text, &more, |bytes| {
                let whole = Text::beginning(bytes, text.len());
                assert_eq!(whole.bytes, text);
                assert_eq!(whole.key(), in_parts);
            });
        }

        #[test]
        fn texts_are_equal_where_their_bytes_are(
            a in proptest::collection::vec(0u8..2, 0..40),
            len in 0usize..40,
            changed in 0usize..40,
            more: [u8; 20],
        ) {
            let mut b = a.clone();
            b.truncate(len);
            if let Some(byte) = b.get_mut(changed) {
                *byte ^= 1;
            }
            both(&a, &more, |bytes| {
                let [a, b] = [Text::beginning(bytes, a.len()), Text::beginning(&b, b.len())];
                assert!(a == a);
                assert_eq!(a == b, a.bytes == b.bytes);
            });
        }

        #[test]
        fn a_merge_is_split_at_its_first_space_but_one_at_its_beginning(
            merge in "[ a]{0,3}[ab]{0,20}[ ]?[ ab]{0,20}",
            more: [u8; 20],
        ) {
            let space = merge.bytes().enumerate().skip(1).find(|&(_, byte)| byte == b' ');
            let expected = space.map(|(at, _)| [&merge.as_bytes()[..at], &merge.as_bytes()[at + 1..]]);
            both(merge.as_bytes(), &more, |bytes| {
                let split = Text::split_merge(bytes, merge.len());
                assert_eq!(split.map(|parts| parts.map(|part| part.bytes)), expected);
                if let (Some(parts), Some(expected)) = (split, expected) {
                    let [mut other, joined] = [expected.concat(), expected.concat()];
                    assert!(Text::beginning(&joined, joined.len()).joins(&parts));
                    if let Some(byte) = other.last_mut() {
                        *byte ^= 1;
                        assert!(!Text::beginning(&other, other.len()).joins(&parts));
                    }
                    assert!(parts.iter().zip(expected).all(|(part, bytes)| *part == Text::beginning(bytes, bytes.len())));
                }
            });
        }
    }

    #[test]
    fn few_of_many_short_texts_share_a_beginning_of_their_hash() {
        let mut hashes: Vec<_> = (0..65_536u32)
            .map(|number| Hash::EMPTY.with(std::format!("{number:x}").as_bytes()).finish().0 >> 32)
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        // Of 65,536 numbers of 32 bits by chance, half a pair is equal.
        assert!(hashes.len() >= 65_530, "{}", hashes.len());
    }
}
