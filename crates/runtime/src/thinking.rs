//! Thoughts of reasoning models: text is split, as it comes, into what the model thinks and what it answers.
//!
//! In goes text in pieces, control tokens included; out come parts, as soon as it is certain what they are. How the text
//! was cut into pieces makes no difference. Newlines between tags and text belong to neither. Of gpt-oss, whose channels
//! are more than thoughts, the answer keeps its markers; [`tools`](crate::tools) reads them.

use crate::tags::{Found, Pending};

/// The tags between which a family of models thinks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThoughtTags {
    /// Begins a thought.
    pub open: &'static str,
    /// Ends it.
    pub close: &'static str,
    /// What the model itself writes between its last thought and its first word: by this a thought can be cut short.
    pub ending: &'static str,
}

impl ThoughtTags {
    /// Those of Qwen, DeepSeek, SmolLM 3 and many others.
    pub const THINK: Self = Self { open: "<think>", close: "</think>", ending: "\n</think>\n\n" };
    /// Those of gpt-oss.
    pub const GPT_OSS: Self = Self {
        open: "<|channel|>analysis<|message|>",
        close: "<|end|>",
        ending: "<|end|><|start|>assistant<|channel|>final<|message|>",
    };
    /// Those of Gemma 4.
    pub const GEMMA: Self = Self { open: "<|channel>thought", close: "<channel|>", ending: "\n<channel|>" };
    /// Those of Command R.
    pub const COMMAND: Self =
        Self { open: "<|START_THINKING|>", close: "<|END_THINKING|>", ending: "<|END_THINKING|>" };
    /// Those of Mistral.
    pub const MISTRAL: Self = Self { open: "[THINK]", close: "[/THINK]", ending: "[/THINK]" };
    /// Those of Seed-OSS.
    pub const SEED: Self = Self { open: "<seed:think>", close: "</seed:think>", ending: "</seed:think>" };
    /// Those of EXAONE Deep.
    pub const THOUGHT: Self = Self { open: "<thought>", close: "</thought>", ending: "\n</thought>\n\n" };

    /// All, with the words by which a template shows that it knows them.
    const ALL: [(Self, &'static str); 7] = [
        (Self::THINK, "<think>"),
        (Self::GPT_OSS, "<|channel|>analysis<|message|>"),
        (Self::GEMMA, "<|channel>thought"),
        (Self::COMMAND, "<|START_THINKING|>"),
        (Self::MISTRAL, "[THINK]"),
        (Self::SEED, "<seed:think>"),
        (Self::THOUGHT, "<thought>"),
    ];

    /// The tags that a chat template writes, if it writes any.
    pub fn of_template(template: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, words)| template.contains(words)).map(|(tags, _)| *tags)
    }

    /// Whether a prompt ends with the beginning of a thought, so that the model goes on in one. A tag further up is somebody's
    /// words.
    pub fn is_open_at_end_of(self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }
}

/// A part of what a model says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// What it thinks.
    Thought(String),
    /// What it answers.
    Answer(String),
}

/// Splits text. See the [module](self).
#[derive(Clone, Debug)]
pub struct ThoughtSplitter {
    tags: ThoughtTags,
    pending: Pending,
    thinking: bool,
    /// Nothing but newlines came since the last tag, which are dropped.
    fresh: bool,
    /// Newlines of a thought that are dropped if it ends with them.
    newlines: usize,
}

impl ThoughtSplitter {
    /// A splitter for text that begins within a thought or not.
    pub fn new(tags: ThoughtTags, thinking: bool) -> Self {
        Self { tags, pending: Pending::default(), thinking, fresh: thinking, newlines: 0 }
    }

    /// Whether the text so far ends within a thought.
    pub const fn is_thinking(&self) -> bool {
        self.thinking
    }

    /// Takes a piece and hands out what is certain, in parts that are not empty.
    pub fn push(&mut self, piece: &str, out: &mut dyn FnMut(Said)) {
        self.pending.push(piece);
        loop {
            let tag = if self.thinking { self.tags.close } else { self.tags.open };
            match self.pending.next(&[tag]) {
                Found::Text(text) => return self.emit(&text, out),
                Found::Tag(text, _) => {
                    self.emit(&text, out);
                    self.thinking = !self.thinking;
                    self.fresh = true;
                    self.newlines = 0;
                }
            }
        }
    }

    /// Hands out what was held back: nothing more comes.
    pub fn finish(mut self, out: &mut dyn FnMut(Said)) {
        let text = self.pending.finish();
        self.emit(&text, out);
    }

    fn emit(&mut self, text: &str, out: &mut dyn FnMut(Said)) {
        let text = if self.fresh { text.trim_start_matches('\n') } else { text };
        if text.is_empty() {
            return;
        }
        self.fresh = false;
        if !self.thinking {
            return out(Said::Answer(text.to_owned()));
        }
        let inner = text.trim_end_matches('\n');
        let trailing = text.len() - inner.len();
        if inner.is_empty() {
            self.newlines += trailing;
            return;
        }
        out(Said::Thought("\n".repeat(self.newlines) + inner));
        self.newlines = trailing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Thought and answer, each in one piece, of a text cut at some places.
    fn split(tags: ThoughtTags, thinking: bool, text: &str, cuts: &[usize]) -> [String; 2] {
        let mut splitter = ThoughtSplitter::new(tags, thinking);
        let mut said = [String::new(), String::new()];
        let mut take = |part| match part {
            Said::Thought(text) => said[0].push_str(&text),
            Said::Answer(text) => said[1].push_str(&text),
        };
        let mut begin = 0;
        for &cut in cuts {
            if text.is_char_boundary(cut) && cut > begin {
                splitter.push(&text[begin..cut], &mut take);
                begin = cut;
            }
        }
        splitter.push(&text[begin..], &mut take);
        splitter.finish(&mut take);
        said
    }

    #[test]
    fn each_family_thinks_between_its_tags() {
        let check = |tags, thinking, text, expected: [&str; 2]| {
            assert_eq!(split(tags, thinking, text, &[]), expected, "{text}");
        };
        check(ThoughtTags::THINK, false, "<think>\nHm.\n\nSo.\n</think>\n\nHi\n", ["Hm.\n\nSo.", "Hi\n"]);
        check(ThoughtTags::THINK, true, "Hm.\n</think>Hi", ["Hm.", "Hi"]);
        check(ThoughtTags::THINK, false, "\nHi < 3", ["", "\nHi < 3"]);
        check(ThoughtTags::THINK, false, "<think>\n\n</think>\n\nHi", ["", "Hi"]);
        check(ThoughtTags::THINK, false, "<think>no end\n", ["no end", ""]);
        check(
            ThoughtTags::GPT_OSS,
            false,
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi",
            ["Hm.", "<|start|>assistant<|channel|>final<|message|>Hi"],
        );
        check(ThoughtTags::GEMMA, false, "<|channel>thought\nHm.\n<channel|>Hi", ["Hm.", "Hi"]);
        check(ThoughtTags::COMMAND, false, "<|START_THINKING|>Hm<|END_THINKING|>Hi", ["Hm", "Hi"]);
        check(ThoughtTags::MISTRAL, false, "[THINK]a[/THINK]b[THINK]c[/THINK]d", ["ac", "bd"]);
    }

    #[test]
    fn tags_are_those_that_a_template_writes() {
        assert_eq!(ThoughtTags::of_template("... '<think>' ..."), Some(ThoughtTags::THINK));
        assert_eq!(ThoughtTags::of_template("no thought"), None);
        assert!(ThoughtTags::THINK.is_open_at_end_of("a<think>b</think><think>\n"));
        assert!(!ThoughtTags::THINK.is_open_at_end_of("<think>\n\n</think>\n\n"));
        assert!(!ThoughtTags::THINK.is_open_at_end_of("Hi"));
        assert!(!ThoughtTags::THINK.is_open_at_end_of("What is <think>?<|im_start|>assistant\n"));
    }

    proptest! {
        #[test]
        fn where_text_is_cut_makes_no_difference(
            text in "(<think>|</think>|<thi|nk>|</|\n|é|[a<>]){0,20}",
            mut cuts in prop::collection::vec(0usize..120, 0..12),
            thinking in any::<bool>(),
        ) {
            cuts.sort_unstable();
            cuts.retain(|cut| *cut <= text.len());
            let whole = split(ThoughtTags::THINK, thinking, &text, &[]);
            let every: Vec<usize> = (0..=text.len()).collect();
            prop_assert_eq!(&split(ThoughtTags::THINK, thinking, &text, &cuts), &whole);
            prop_assert_eq!(&split(ThoughtTags::THINK, thinking, &text, &every), &whole);
        }
    }
}
