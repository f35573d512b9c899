//! Thoughts of reasoning models, told from what they say, as text comes.
//!
//! In: text in pieces, and the tags between which the model thinks. Out: what is said. A tag may come in pieces, too: what may
//! be the beginning of one is held back, and because it is one there is no need to keep it.

use crate::Tags;

/// Splits text.
#[derive(Debug)]
pub struct Thoughts<'h> {
    tags: Option<Tags<'h>>,
    thinking: bool,
    /// Bytes of the next tag that the text so far ends with.
    held: usize,
    /// Nothing but newlines came since a tag: they belong to neither side.
    fresh: bool,
}

impl<'h> Thoughts<'h> {
    /// Of a model with these tags; with none, or empty ones, it does not think.
    pub fn new(tags: Option<Tags<'h>>) -> Self {
        let tags = tags.filter(|tags| !tags.open.is_empty() && !tags.close.is_empty());
        Self { tags, thinking: false, held: 0, fresh: false }
    }

    /// Begins with an answer. What stands before it may end in an open thought.
    pub fn begin(&mut self, before: &str) {
        self.thinking = self.tags.is_some_and(|tags| before.trim_end().ends_with(tags.open));
        (self.held, self.fresh) = (0, self.thinking);
    }

    /// Whether the text so far ends in a thought.
    pub const fn is_thinking(&self) -> bool {
        self.thinking
    }

    /// Takes text, and hands out of it what is said.
    pub fn push(&mut self, text: &str, out: &mut dyn FnMut(&str)) {
        let Some(tags) = self.tags else { return out(text) };
        // Where text begins that belongs to no tag. While a part of a tag is held, that is nowhere before the next character.
        let mut plain = 0;
        for (at, character) in text.char_indices() {
            let tag = if self.thinking { tags.close } else { tags.open };
            loop {
                if tag[self.held..].starts_with(character) {
                    if self.held == 0 {
                        self.say(&text[plain..at], out);
                    }
                    self.held += character.len_utf8();
                    plain = at + character.len_utf8();
                    break;
                }
                if self.held == 0 {
                    break;
                }
                let shorter = shorter_beginning(tag, self.held);
                self.say(&tag[..self.held - shorter], out);
                self.held = shorter;
            }
            if self.held == tag.len() {
                (self.thinking, self.held, self.fresh) = (!self.thinking, 0, true);
            }
        }
        self.say(&text[plain..], out);
    }

    /// Hands out what was held back: nothing more comes.
    pub fn finish(&mut self, out: &mut dyn FnMut(&str)) {
        if let Some(tags) = self.tags {
            let tag = if self.thinking { tags.close } else { tags.open };
            self.say(&tag[..self.held], out);
            self.held = 0;
        }
    }

    fn say(&mut self, text: &str, out: &mut dyn FnMut(&str)) {
        let text = if self.fresh { text.trim_start_matches('\n') } else { text };
        if text.is_empty() {
            return;
        }
        self.fresh = false;
        if !self.thinking {
            out(text);
        }
    }
}

/// The length of the longest beginning of a tag, shorter than `held`, with which its first `held` bytes end.
fn shorter_beginning(tag: &str, held: usize) -> usize {
    let mut ends = tag[..held].char_indices().map(|(at, _)| held - at).skip(1);
    ends.find(|&len| tag.is_char_boundary(len) && tag[..held].ends_with(&tag[..len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    const THINK: Tags<'_> = Tags { open: "<think>", close: "</think>" };

    /// What is said, and whether the model still thinks, for a text that comes in pieces of so many characters.
    fn said(tags: Tags<'_>, before: &str, text: &str, piece: usize) -> (String, bool) {
        let mut thoughts = Thoughts::new(Some(tags));
        let mut said = String::new();
        thoughts.begin(before);
        let characters: std::vec::Vec<char> = text.chars().collect();
        for piece in characters.chunks(piece) {
            thoughts.push(&piece.iter().collect::<String>(), &mut |text| said.push_str(text));
        }
        let thinking = thoughts.is_thinking();
        thoughts.finish(&mut |text| said.push_str(text));
        (said, thinking)
    }

    #[test]
    fn thoughts_are_not_said_however_the_text_is_cut() {
        for piece in 1..40 {
            let said = |before, text| said(THINK, before, text, piece);
            assert_eq!(said("", "<think>\nHm.\n</think>\n\nHi é!\n"), ("Hi é!\n".into(), false));
            assert_eq!(said("user<think>\n", "Hm.</think>Hi"), ("Hi".into(), false));
            assert_eq!(said("", "a<b <<think>x</think>c</thin"), ("a<b <c</thin".into(), false));
            assert_eq!(said("", "Hi <think>no end"), ("Hi ".into(), true));
            assert_eq!(said("", "\n2 < 3 <thin king>"), ("\n2 < 3 <thin king>".into(), false));
        }
    }

    #[test]
    fn a_tag_that_begins_within_another_beginning_is_found() {
        let tags = Tags { open: "aab", close: "ba" };
        for piece in 1..5 {
            assert_eq!(said(tags, "", "aaab-ba-aa", piece), ("a-aa".into(), false));
        }
    }

    #[test]
    fn parts_of_tags_that_are_control_tokens_count() {
        assert!(THINK.have(b"<think>") && THINK.have(b"</think>") && THINK.have(b"</"));
        assert!(!THINK.have(b"<|im_end|>") && !THINK.have(b"\xff"));
    }

    #[test]
    fn a_model_without_tags_does_not_think() {
        for tags in [None, Some(Tags { open: "", close: "" })] {
            let mut thoughts = Thoughts::new(tags);
            let mut said = String::new();
            thoughts.begin("<think>\n");
            thoughts.push("<think>", &mut |text| said.push_str(text));
            assert_eq!((said.as_str(), thoughts.is_thinking()), ("<think>", false));
        }
    }
}
