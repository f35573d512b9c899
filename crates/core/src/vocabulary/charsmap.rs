//! The normalization that a SentencePiece model carries: a map from sequences of characters to what they become, made
//! from Unicode's rules (NFKC and its like) when the model was trained; `tokenizer.ggml.precompiled_charsmap`.
//!
//! The format is SentencePiece's (`src/normalizer.cc`): the size of a trie, the trie as a double array of Darts-clone
//! (32 bits each, little-endian), and the replacements, each ended by a zero byte.

/// A map, whose parts lie in the file.
#[derive(Clone, Copy)]
pub(super) struct Charsmap<'a> {
    trie: &'a [[u8; 4]],
    replacements: &'a [u8],
}

impl<'a> Charsmap<'a> {
    /// Takes the map apart, or nothing if its sizes contradict one another. What the trie says is checked in use.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk()?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let (trie, []) = trie.as_chunks() else { return None };
        (replacements.last() == Some(&0)).then_some(Self { trie, replacements })
    }

    /// The longest replacement in bytes.
    pub(super) fn longest(self) -> usize {
        self.replacements.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0)
    }

    fn unit(self, index: u32) -> Option<u32> {
        self.trie.get(index as usize).map(|unit| u32::from_le_bytes(*unit))
    }

    /// What the longest sequence becomes that the map knows at the start of `text`, and its length.
    pub(super) fn replace(self, text: &[u8]) -> Option<(&'a [u8], usize)> {
        let mut found = None;
        let mut node = offset(self.unit(0)?);
        for (&byte, len) in text.iter().zip(1..) {
            node ^= u32::from(byte);
            let Some(unit) = self.unit(node).filter(|&unit| byte != 0 && label(unit) == u32::from(byte))
            else {
                break;
            };
            node ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = self.unit(node)? & 0x7fff_ffff;
                let replacement = self.replacements.get(start as usize..)?;
                let end = replacement.iter().position(|&byte| byte == 0)?;
                found = Some((&replacement[..end], len));
            }
        }
        found
    }
}

/// Where the children of a node lie, relative to it.
const fn offset(unit: u32) -> u32 {
    (unit >> 10) << ((unit & 1 << 9) >> 6)
}

/// The byte that leads to a node; a value has its highest bit set.
const fn label(unit: u32) -> u32 {
    unit & (1 << 31 | 0xff)
}
