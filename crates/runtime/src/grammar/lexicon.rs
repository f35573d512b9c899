//! A model's vocabulary in the form in which grammars are matched: the bytes of each token, in a trie, and the tokenizer.
//!
//! In: a tokenizer. Out: a [`Lexicon`], which keeps it, so that grammars may outlive the engine and go to other threads.

use std::ops::ControlFlow;
use std::sync::Arc;

use llguidance::toktrie::{TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use stonechat_core::Vocabulary;
use stonechat_core::vocabulary::{Encode, TokenKind};

use crate::{Error, Tokenizer};

/// Longer tokens do not fit into the trie. Grammars go without them: other tokens spell the same.
const LONGEST: usize = 512;

/// See the [module](self).
pub(super) struct Lexicon {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

impl Lexicon {
    /// The lexicon of a model. An error where no token ends its answers, since then no answer would end.
    pub(super) fn new(tokenizer: Arc<Tokenizer>) -> Result<Self, Error> {
        let path = tokenizer.path();
        let trie = trie(tokenizer.vocabulary()).map_err(|error| Error::model(path, error))?;
        let trie = trie.ok_or_else(|| Error::NoEnd { path: path.into() })?;
        Ok(Self { trie, tokenizer })
    }

    /// The fewest tokens that spell these bytes, if any do.
    pub(super) fn fewest(&self, bytes: &[u8]) -> Option<Vec<TokenId>> {
        // For each place how many tokens lead there, and the last of them.
        let mut best: Vec<Option<(usize, TokenId)>> = vec![None; bytes.len() + 1];
        for start in 0..bytes.len() {
            let count = if start == 0 { 0 } else { best[start]?.0 };
            let mut node = self.trie.root();
            for (end, byte) in (start + 1..).zip(&bytes[start..]) {
                let Some(child) = self.trie.child_at_byte(node, *byte) else { break };
                node = child;
                if let Some(token) = node.token_id()
                    && best[end].is_none_or(|(fewest, _)| count + 1 < fewest)
                {
                    best[end] = Some((count + 1, token));
                }
            }
        }
        let (mut tokens, mut end) = (Vec::new(), bytes.len());
        while end > 0 {
            let (_, token) = best[end]?;
            tokens.push(token);
            end -= self.trie.token_len(token);
        }
        tokens.reverse();
        Some(tokens)
    }
}

impl TokenizerEnv for Lexicon {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// The tokens that the model's tokenizer makes of text in the middle of an answer.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let vocabulary = self.tokenizer.vocabulary();
        // A newline takes the space that some vocabularies put before a text.
        let (before, lead): (&[u8], &[u8]) =
            if vocabulary.add_space_prefix() { (b"\n", b" \n") } else { (b"", b"") };
        let text = [before, bytes].concat();
        let options = Encode { bos: false, special: false };
        let mut scratch = vec![0; vocabulary.scratch_for(&text, options)];
        let mut tokens = Vec::new();
        let encoded = vocabulary.encode(&text, options, &mut scratch, &mut |token| {
            tokens.push(token);
            ControlFlow::Continue(())
        });
        let mut skipped = 0;
        let first = tokens.iter().take_while(|token| {
            let goes_on = skipped < lead.len();
            if goes_on {
                skipped += self.trie.token_len(**token);
            }
            goes_on
        });
        let first = first.count();
        tokens.drain(..first);
        let spelled = self.trie.decode_raw(&tokens);
        if encoded.is_err() || skipped != lead.len() || spelled != bytes {
            return self.trie.greedy_tokenize(bytes);
        }
        tokens
    }
}

/// The tokens by their bytes. Nothing where no token ends an answer.
fn trie(vocabulary: &Vocabulary<'_>) -> Result<Option<TokTrie>, stonechat_core::vocabulary::Error> {
    let mut buffer = vec![0; vocabulary.max_piece_len()];
    let (mut words, mut ends) = (Vec::with_capacity(vocabulary.len()), Vec::new());
    for id in 0..vocabulary.len() as u32 {
        let kind = vocabulary.token(id).map_or(TokenKind::Unused, |token| token.kind);
        let is_end = vocabulary.is_end_of_generation(id);
        let is_text = !is_end && !matches!(kind, TokenKind::Control | TokenKind::Unknown);
        let piece = vocabulary.piece(id, !is_text, &mut buffer)?;
        // The marker keeps what is not text apart from text that reads the same. As a byte it is part of no text.
        let word = match piece {
            [] if is_text => Vec::new(),
            piece if !is_text => [&[TokTrie::SPECIAL_TOKEN_MARKER], piece].concat(),
            piece if piece.contains(&TokTrie::SPECIAL_TOKEN_MARKER) => Vec::new(),
            piece => piece.to_vec(),
        };
        words.push(if word.len() > LONGEST { Vec::new() } else { word });
        if is_end {
            ends.push(id);
        }
    }
    // What a chat's turn ends with comes first: it is what is chosen where nothing else may come.
    let first = vocabulary.eot().or(vocabulary.eos()).filter(|id| ends.contains(id));
    if let Some(at) = first.and_then(|first| ends.iter().position(|end| *end == first)) {
        ends.swap(0, at);
    }
    let Some(first) = ends.first() else { return Ok(None) };
    let info = TokRxInfo::new(words.len() as u32, *first);
    Ok(Some(TokTrie::from(&info, &words).with_eos_tokens(&ends)))
}
