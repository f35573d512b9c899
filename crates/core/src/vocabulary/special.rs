//! Tokens with a meaning of their own: which end an answer, which are control tokens whatever the file says, and
//! where they stand in a text.
//!
//! Files state some of them by key. Others are only known by their names, which converters have kept for years; the
//! names here are those that llama.cpp goes by.

use super::{TokenKind, keys};

/// A role that a token can play.
pub(super) struct Role {
    /// The key that states the token's id.
    pub(super) key: Option<&'static str>,
    /// Where no key does: the first of these that is a token, and which then is a control token.
    pub(super) names: &'static [&'static str],
    /// Whether it ends an answer.
    pub(super) ends: bool,
}

/// The end of a turn.
pub(super) static END_OF_TURN: Role = Role {
    key: Some(keys::EOT),
    names: &[
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "<｜end▁of▁sentence｜>",
        "<end_of_utterance>",
    ],
    ends: true,
};

/// The end of a message that awaits a tool's answer.
pub(super) static END_OF_MESSAGE: Role = Role { key: Some(keys::EOM), names: &["<|eom_id|>"], ends: true };

/// The other roles: all of them serve to fill in the middle of a text.
pub(super) static OTHERS: &[Role] = &[
    Role {
        key: Some(keys::FIM_PAD),
        names: &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
        ends: true,
    },
    Role {
        key: Some(keys::FIM_REPO),
        names: &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
        ends: true,
    },
    Role { key: Some(keys::FIM_FILE), names: &["<|file_sep|>"], ends: true },
    Role {
        key: None,
        names: &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
        ends: false,
    },
    Role {
        key: None,
        names: &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
        ends: false,
    },
    Role {
        key: None,
        names: &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
        ends: false,
    },
];

/// Names that are control tokens and end an answer, whichever others do.
static ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Names that are shown, though their files call them control tokens: they divide the channels of an answer.
static SHOWN: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// More tokens than names and roles can find.
pub(super) const MAX_NAMED: usize = 64;

/// What names and keys say of some tokens, beyond the file's list of kinds.
#[derive(Default)]
pub(super) struct Named {
    kinds: heapless::Vec<(u32, TokenKind), MAX_NAMED>,
    ends: heapless::Vec<u32, MAX_NAMED>,
}

impl Named {
    /// Looks all names up with `find`.
    pub(super) fn new(find: &dyn Fn(&str) -> Option<u32>) -> Self {
        let mut named = Self::default();
        for &name in ENDS {
            if let Some(id) = find(name) {
                named.add_end(id);
                named.set_kind(id, TokenKind::Control);
            }
        }
        for id in SHOWN.iter().filter_map(|name| find(name)) {
            named.set_kind(id, TokenKind::UserDefined);
        }
        let ends = |name| find(name).filter(|&id| named.is_end(id));
        // Where an answer ends with a call or with what is returned, `<|end|>` only ends a message in it.
        let calls = ends("<|call|>").or(ends("<|calls|>")).is_some();
        let returns = ends("<|return|>").or(ends("<|flush|>")).is_some();
        let message = ends("<|end|>").filter(|_| calls && returns);
        // In some vocabularies `</s>` is the HTML tag.
        let tag = ends("</s>").filter(|_| ends("<|tool_response>").or(find("<|plamo:eos|>")).is_some());
        for (id, kind) in [(message, TokenKind::UserDefined), (tag, TokenKind::Normal)] {
            if let Some(id) = id {
                named.ends.retain(|&end| end != id);
                named.set_kind(id, kind);
            }
        }
        named
    }

    /// The token that plays a role: the one that the file states, or one of the role's names.
    pub(super) fn play(
        &mut self,
        role: &Role,
        stated: Option<u32>,
        find: &dyn Fn(&str) -> Option<u32>,
    ) -> Option<u32> {
        let id = stated.or_else(|| {
            let id = role.names.iter().find_map(|name| find(name))?;
            if self.kind(id).is_none() {
                self.set_kind(id, TokenKind::Control);
            }
            Some(id)
        })?;
        // A name that does not end an answer here does not become an end by its role; a key says so itself.
        if role.ends && (stated.is_some() || self.kind(id) == Some(TokenKind::Control)) {
            self.add_end(id);
        }
        Some(id)
    }

    /// Lets a token end an answer.
    pub(super) fn add_end(&mut self, id: u32) {
        if !self.is_end(id) {
            // There is room for every name and role.
            let _ = self.ends.push(id);
        }
    }

    /// Whether a token ends an answer.
    pub(super) fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// The kind of a token, if its name says more than the file.
    pub(super) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.iter().find(|(named, _)| *named == id).map(|&(_, kind)| kind)
    }

    fn set_kind(&mut self, id: u32, kind: TokenKind) {
        match self.kinds.iter_mut().find(|(named, _)| *named == id) {
            Some((_, found)) => *found = kind,
            // There is room for every name and role.
            None => _ = self.kinds.push((id, kind)),
        }
    }

    /// Every token whose kind a name decides.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.kinds.iter().map(|&(id, _)| id)
    }
}

/// White space beside special tokens that is left out. No file states it: these models are known by their names, as in
/// llama.cpp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Strips {
    Nothing,
    /// Before the mask that a text is to be completed at.
    Before(u32),
    /// After all but these: Phi-3.
    AfterAllBut([Option<u32>; 3]),
}

impl Strips {
    /// By the names of model, architecture and pre-tokenizer.
    pub(super) fn find(
        name: &str,
        architecture: &str,
        pre: &str,
        find: &dyn Fn(&str) -> Option<u32>,
    ) -> Self {
        let named = |word: &str| {
            name.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
        };
        if ["jina-v2-de", "jina-v2-es", "jina-v2-code"].contains(&pre)
            || ["nomic-bert-moe", "jina-bert-v3"].contains(&architecture)
        {
            find("<mask>").map_or(Self::Nothing, Self::Before)
        } else if named("phi-3") || named("phi3") {
            Self::AfterAllBut(["<unk>", "<s>", "<|endoftext|>"].map(find))
        } else if named("modern-bert") {
            find("[MASK]").map_or(Self::Nothing, Self::Before)
        } else {
            Self::Nothing
        }
    }

    /// Whether white space before this token is left out.
    pub(super) fn before(self, id: u32) -> bool {
        self == Self::Before(id)
    }

    /// Whether white space after this token is left out.
    pub(super) fn after(self, id: u32) -> bool {
        matches!(self, Self::AfterAllBut(others) if !others.contains(&Some(id)))
    }
}

/// Bytes with which texts begin.
#[derive(Clone, Copy, Default)]
struct FirstBytes([u64; 4]);

impl FirstBytes {
    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    #[inline]
    fn contains(self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
    }
}

/// The tokens that are looked for in a text before it is tokenized, by their texts.
///
/// Of those that occur the leftmost is taken, and of several at one place the longest, as `tokenizers` does.
pub(super) struct SpecialTokens<'a> {
    /// Sorted by text.
    ids: &'a [u32],
    /// How texts begin: of all tokens, and of those that are found even if control tokens are not asked for.
    first: [FirstBytes; 2],
}

/// An occurrence of a token in a text.
#[derive(Clone, Copy)]
pub(super) struct Occurrence {
    pub(super) id: u32,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl<'a> SpecialTokens<'a> {
    /// Sorts the tokens `ids`, whose texts are not empty and differ.
    ///
    /// To look a text up is a call: written out wherever a sort compares two, it was 18 kB of the program.
    pub(super) fn new(
        ids: &'a mut [u32],
        text: &dyn Fn(u32) -> &'a [u8],
        always: impl Fn(u32) -> bool,
    ) -> Self {
        ids.sort_unstable_by(|&a, &b| text(a).cmp(text(b)));
        let mut first = [FirstBytes::default(); 2];
        for &id in ids.iter() {
            first[0].insert(text(id)[0]);
            if always(id) {
                first[1].insert(text(id)[0]);
            }
        }
        Self { ids, first }
    }

    /// The next token in `input` at or after `from`; `all`, or only those that `always` are tokens.
    pub(super) fn next(
        &self,
        input: &[u8],
        from: usize,
        all: bool,
        text: impl Fn(u32) -> &'a [u8],
        always: impl Fn(u32) -> bool,
    ) -> Option<Occurrence> {
        let first = self.first[usize::from(!all)];
        (from..input.len()).filter(|&start| first.contains(input[start])).find_map(|start| {
            let id = self.longest(&input[start..], &text, |id| all || always(id))?;
            Some(Occurrence { id, start, end: start + text(id).len() })
        })
    }

    /// The longest of the tokens that `wanted` accepts with which `input` begins.
    fn longest(
        &self,
        input: &[u8],
        text: impl Fn(u32) -> &'a [u8],
        wanted: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut best = None;
        // Those that agree with the input so far. The shortest of them comes first.
        let mut ids = self.ids;
        for depth in 0.. {
            if let Some(&id) = ids.first().filter(|&&id| text(id).len() == depth) {
                if wanted(id) {
                    best = Some(id);
                }
                ids = &ids[1..];
            }
            let Some(&byte) = input.get(depth) else { break };
            let start = ids.partition_point(|&id| text(id)[depth] < byte);
            let len = ids[start..].partition_point(|&id| text(id)[depth] == byte);
            ids = &ids[start..start + len];
            if ids.is_empty() {
                break;
            }
        }
        best
    }
}
