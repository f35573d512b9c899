//! The tokens that a list of merges names: which two become which.
//!
//! In go the list's texts and the index of the tokens; out come ids. A list of half a million names a million tokens, each
//! at places in memory of its own, and waiting for those is nearly all of the work. So a token is known by a number of
//! its own, its check, and its text is not read again.

use stonechat_gguf::Array;

use super::Tokens;
use super::error::Error;
use super::index::{TOGETHER, TokenIndex, touch};
use super::text::{Key, Text};

/// A word of each token that tells it from all others that a search for it may meet: a part of its text's key.
///
/// What a good list names are tokens, and then the one whose check is right is the one: of two with the same check on the
/// way of one search, neither keeps it. A text that is no token passes for one once in a billion times, in a file that is
/// wrong already.
pub(super) struct Checks<'a>(&'a mut [u32]);

impl<'a> Checks<'a> {
    /// Checks of as many tokens as there are words.
    pub(super) fn new(words: &'a mut [u32]) -> Self {
        Self(words)
    }

    /// Notes that of a token whose text has this key.
    #[inline]
    pub(super) fn note(&mut self, id: u32, key: Key) {
        if let Some(check) = self.0.get_mut(id as usize) {
            *check = key.0 as u32;
        }
    }

    /// Takes the checks of two tokens away if they are the same.
    pub(super) fn tell_apart(&mut self, id: u32, other: u32) {
        if let Ok([check, other]) = self.0.get_disjoint_mut([id as usize, other as usize])
            && check == other
        {
            // A part of the check lies in the slots too: the opposite of it is never found there.
            [*check, *other] = [!*check; 2];
        }
    }

    /// Whether a token that may have a text of this key has one.
    #[inline]
    fn is_it(&self, id: u32, key: Key) -> bool {
        self.0.get(id as usize).is_some_and(|&check| check == key.0 as u32)
    }

    /// Reads the checks of these tokens, so that they are at hand.
    #[inline]
    fn touch(&self, ids: impl Iterator<Item = u32>) {
        touch(self.0, ids.map(|id| (id as usize).min(self.0.len() - 1)));
    }
}

/// A merge while its tokens are looked up.
#[derive(Clone, Copy, Default)]
struct Sought<'a> {
    /// The texts that it joins.
    texts: [Text<'a>; 2],
    keys: [Key; 2],
    /// What the tokens may be.
    likely: [u32; 2],
}

/// Finds the tokens of each merge: the left, the right, and the merged one.
pub(super) fn find_merges(
    merges: &Array<'_>,
    tokens: &Tokens<'_>,
    index: &TokenIndex<'_>,
    checks: &Checks<'_>,
    found: &mut [[u32; 3]],
) -> Result<(), Error> {
    let mut all_sought = [Sought::default(); TOGETHER];
    let mut rank = 0;
    let mut offset = 0;
    let mut last = 0;
    for all_found in found.chunks_mut(TOGETHER) {
        let all_sought = &mut all_sought[..all_found.len()];
        for (rank, sought) in (rank..).zip(&mut *all_sought) {
            let (string, bytes) = merges.string_and_rest_at(offset).ok_or(Error::BadMerge { rank })?;
            offset += size_of::<u64>() + string.len();
            sought.texts = Text::split_merge(bytes, string.len()).ok_or(Error::BadMerge { rank })?;
            sought.keys = sought.texts.each_ref().map(Text::key);
        }
        index.touch(all_sought.iter().flat_map(|sought| sought.keys));
        for sought in &mut *all_sought {
            sought.likely = sought.keys.map(|key| index.likely(key));
        }
        checks.touch(all_sought.iter().flat_map(|sought| sought.likely));
        for (sought, found) in all_sought.iter().zip(all_found) {
            let find = |side: usize| {
                let (key, likely) = (sought.keys[side], sought.likely[side]);
                if checks.is_it(likely, key) {
                    return Some(likely);
                }
                index.find(key, |id| tokens.indexed_text(id) == sought.texts[side])
            };
            // Lists are in the order of the tokens that they give, as a rule, each of which has one merge or several.
            let is_it = |id: u32| tokens.indexed_text(id).joins(&sought.texts);
            // Which of both cannot be guessed, so that to add is better than to choose.
            let merged = last + u32::from(is_it(last + 1));
            let merged = Some(merged).filter(|&id| is_it(id));
            let merged = merged.or_else(|| index.find(Text::joined_key(&sought.texts), is_it));
            let (Some(left), Some(right), Some(merged)) = (find(0), find(1), merged) else {
                return Err(Error::UnknownMerge { rank });
            };
            last = merged;
            *found = [left, right, merged];
            rank += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_tokens_with_one_check_neither_is_known_by_it() {
        let [one, other] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_89ab_cdef].map(Key);
        let mut words = [0; 3];
        let mut checks = Checks::new(&mut words);
        for (id, key) in [(0, one), (1, other), (2, Key(7))] {
            checks.note(id, key);
        }
        assert!([0, 1].iter().all(|&id| checks.is_it(id, one) && checks.is_it(id, other)));
        checks.tell_apart(2, 0);
        checks.tell_apart(1, 0);
        assert!([0, 1].iter().all(|&id| !checks.is_it(id, one) && !checks.is_it(id, other)));
        assert!(checks.is_it(2, Key(7)) && !checks.is_it(3, Key(7)));
    }
}
