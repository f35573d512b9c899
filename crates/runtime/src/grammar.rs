//! Answers that match a JSON schema, a regular expression, or a grammar, and are always complete.
//!
//! In: an engine, and a text in a [`Language`]. Out: a [`Grammar`], which a [`Generator`](crate::Generator) asks which tokens may come.
//! llguidance says that, and `shortest` how few bytes complete an answer from where it stands: a token is only chosen
//! if the tokens that are left spell these, so that an answer is complete however many tokens it may have.

mod formats;
mod gbnf;
mod lexicon;
mod shortest;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, SimpleVob, TokEnv, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::{Constraint, Engine, Error, Tokenizer};
use lexicon::Lexicon;
use shortest::{Mark, NEVER, Shortest, TOO_COMPLEX};

/// White space that a model may put between parts of JSON: a space, or a new line and how far it is indented. More is only
/// what small models lose themselves in.
const JSON_SPACE: &str = r" |\n{1,2}[ \t]{0,20}";

/// In what language it is said what answers match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// A JSON schema: see llguidance's documentation for what it knows of it. The properties of an object come in the order
    /// of the schema.
    JsonSchema,
    /// A regular expression in the syntax of the crate `regex`, that the whole answer matches.
    Regex,
    /// A grammar in llguidance's variant of Lark's language, whose rule `start` the answer matches.
    Lark,
    /// A grammar in llama.cpp's language, whose rule `root` the answer matches.
    Gbnf,
}

impl Language {
    /// What it is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonSchema => "JSON schema",
            Self::Regex => "regular expression",
            Self::Lark => "Lark grammar",
            Self::Gbnf => "GBNF grammar",
        }
    }

    fn mistake(self, place: Option<(usize, usize)>, reason: impl Into<String>) -> Error {
        Error::Grammar { kind: self.name(), place, reason: reason.into() }
    }

    /// As llguidance takes it.
    fn read(self, text: &str) -> Result<TopLevelGrammar, Error> {
        match self {
            Self::JsonSchema => {
                let mut schema: Value = serde_json::from_str(text).map_err(|error| {
                    let reason = error.to_string();
                    let reason = reason.split(" at line ").next().unwrap_or_default();
                    self.mistake(Some((error.line(), error.column())), reason)
                })?;
                formats::tighten(&mut schema);
                if let Some(schema) = schema.as_object_mut()
                    && !schema.contains_key("x-guidance")
                {
                    schema.insert("x-guidance".into(), json!({ "whitespace_pattern": JSON_SPACE }));
                }
                Ok(TopLevelGrammar::from_json_schema(schema))
            }
            Self::Regex => match regex_syntax::parse(text) {
                Ok(_) => Ok(TopLevelGrammar::from_regex(text)),
                Err(error) => {
                    let (span, reason) = match &error {
                        regex_syntax::Error::Parse(error) => (Some(error.span()), error.kind().to_string()),
                        regex_syntax::Error::Translate(error) => {
                            (Some(error.span()), error.kind().to_string())
                        }
                        _ => (None, error.to_string()),
                    };
                    Err(self.mistake(span.map(|span| (span.start.line, span.start.column)), reason))
                }
            },
            Self::Lark => Ok(TopLevelGrammar::from_lark(text.to_owned())),
            Self::Gbnf => match gbnf::to_lark(text) {
                Ok(lark) => Ok(TopLevelGrammar::from_lark(lark)),
                Err(mistake) => Err(self.mistake(Some(mistake.place), mistake.reason)),
            },
        }
    }

    /// llguidance's words as one sentence: it writes where in front, and shows the place in further lines.
    fn complaint(self, text: &str, words: &str) -> Error {
        let said = first_line(words);
        let said = said.strip_prefix("at ").unwrap_or(said);
        if self == Self::Lark
            && let Some(reason) = said.strip_prefix("EOF: ")
        {
            let last = text.lines().last().unwrap_or_default();
            let place = (text.lines().count().max(1), last.chars().count() + 1);
            return self.mistake(Some(place), lowercased(reason));
        }
        let placed = || {
            let (line, rest) = said.split_once('(')?;
            let (column, reason) = rest.split_once("): ")?;
            let reason = reason.split(" (at ").next().unwrap_or(reason);
            Some(((line.parse().ok()?, column.parse().ok()?), reason))
        };
        match placed() {
            Some((place, reason)) => {
                // Of what was brought to Lark first the place there means nothing.
                self.mistake(Some(place).filter(|_| self == Self::Lark), lowercased(reason))
            }
            None => self.mistake(None, lowercased(said)),
        }
    }
}

/// What llguidance says first; further lines are for those who look for mistakes in it.
fn first_line(words: &str) -> &str {
    let line = words.lines().next().unwrap_or_default();
    line.strip_suffix("<non-verbose/>").unwrap_or(line).trim()
}

/// Words as the part of a sentence.
fn lowercased(words: &str) -> String {
    let mut chars = words.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().collect::<String>() + &words[first.len_utf8()..]
        }
        _ => words.to_owned(),
    }
}

/// Makes grammars for a model: what they share is made once.
pub struct Grammars {
    factory: ParserFactory,
    lexicon: Arc<Lexicon>,
}

impl Grammars {
    /// For the model of this engine, which need not be kept.
    pub fn new(engine: &Engine) -> Result<Self, Error> {
        Self::of(Arc::new(Tokenizer::new(engine.file())?))
    }

    /// For the model that has this vocabulary.
    #[allow(clippy::missing_panics_doc, reason = "the expressions are llguidance's own")]
    pub fn of(tokenizer: Arc<Tokenizer>) -> Result<Self, Error> {
        let lexicon = Arc::new(Lexicon::new(tokenizer)?);
        let tokens: TokEnv = lexicon.clone();
        let can = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let slices = SlicedBiasComputer::json_slices();
        let mut factory = ParserFactory::new(&tokens, can, &slices).expect("expressions that it knows");
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory, lexicon })
    }

    /// The grammar that `text` describes.
    pub fn read(&self, language: Language, text: &str) -> Result<Grammar, Error> {
        let read = language.read(text)?;
        let parser = self.factory.create_parser(read);
        let parser = parser.map_err(|error| language.complaint(text, &error.to_string()))?;
        let shortest = Shortest::new(parser.parser.grammar(), self.factory.limits());
        let shortest = shortest.map_err(|reason| language.mistake(None, reason))?;
        let fresh = Matcher::new(Ok(parser));
        let mut grammar = Grammar {
            kind: language.name(),
            exact: matches!(language, Language::JsonSchema | Language::Regex),
            lexicon: self.lexicon.clone(),
            matcher: fresh.clone(),
            fresh,
            unread: shortest.clone(),
            shortest,
            mask: None,
            chosen: Vec::new(),
            forced: VecDeque::new(),
            left: 0,
            ended: false,
            stale: false,
        };
        if grammar.completion().is_none() {
            let none = "no text that can be written matches it; loosen it";
            let reason = if grammar.shortest.gave_up() { TOO_COMPLEX } else { none };
            return Err(language.mistake(None, reason));
        }
        Ok(grammar)
    }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars")
            .field("tokens", &self.lexicon.tok_trie().vocab_size())
            .finish_non_exhaustive()
    }
}

/// What answers must match. See the [module](self).
#[derive(Clone)]
pub struct Grammar {
    kind: &'static str,
    /// Whether `shortest` is known to be exact far from the end, too.
    exact: bool,
    lexicon: Arc<Lexicon>,
    /// The matcher before the first token, and where it stands.
    fresh: Matcher,
    matcher: Matcher,
    /// The way to the end from where the matcher stands, and from before the first token.
    shortest: Shortest,
    unread: Shortest,
    /// The tokens that may come, if they are known.
    mask: Option<SimpleVob>,
    /// The tokens that were chosen, and where `shortest` stood and how many were left before each.
    chosen: Vec<(u32, Mark, usize)>,
    /// Tokens that must come.
    forced: VecDeque<u32>,
    /// How many tokens may still come.
    left: usize,
    /// Whether a token was chosen that ends the answer.
    ended: bool,
    /// Whether tokens were taken back that the matcher has seen.
    stale: bool,
}

/// So near to the end of what there is room for, each completion is written out and matched before it is relied on.
const NEAR: usize = 64;

impl Grammar {
    /// The grammar that `text` describes, for the model of an engine. Where there are several, [`Grammars`] makes them sooner.
    pub fn new(engine: &Engine, language: Language, text: &str) -> Result<Self, Error> {
        Grammars::new(engine)?.read(language, text)
    }

    /// The tokens of the shortest answer, of which there are as few as spell it. (One that is longer in bytes may have fewer.)
    pub fn fewest_tokens(&mut self) -> usize {
        self.restart(usize::MAX);
        self.completion().map_or(usize::MAX, |tokens| tokens.len())
    }

    fn restart(&mut self, most: usize) {
        self.matcher = self.fresh.clone();
        if self.shortest.gave_up() {
            self.shortest = self.unread.clone();
        }
        self.shortest.back_to(self.unread.mark());
        self.mask = None;
        self.chosen.clear();
        self.forced.clear();
        self.left = most;
        (self.ended, self.stale) = (false, false);
    }

    /// The tokens that complete the answer soonest, if they can be found and match.
    fn completion(&mut self) -> Option<Vec<u32>> {
        let bytes = self.shortest.completion()?;
        self.lexicon.fewest(&bytes)
    }

    fn end(&self) -> u32 {
        self.lexicon.tok_trie().eos_token()
    }

    fn is_end(&self, token: u32) -> bool {
        self.lexicon.tok_trie().eos_tokens().contains(&token)
    }

    /// What the matcher objects to: it gave up.
    fn failed(&self, words: &str) -> Error {
        let reason = format!("it is too complex ({}); simplify it", first_line(words));
        Error::Grammar { kind: self.kind, place: None, reason }
    }

    /// Lets the matcher stand where the chosen tokens end.
    fn settle(&mut self) -> Result<(), Error> {
        if self.stale {
            self.matcher = self.fresh.clone();
            for (token, ..) in &self.chosen {
                self.matcher.consume_token(*token).map_err(|error| self.failed(&error.to_string()))?;
            }
            self.stale = false;
        }
        Ok(())
    }

    /// Whether the answer, with `token` behind it, can be completed in `left` tokens; `shortest` stands behind it.
    fn leads_to_an_end(&mut self, token: u32, left: usize) -> Result<bool, Error> {
        let fewest = self.shortest.fewest() as usize;
        if fewest >= NEVER as usize {
            return Ok(false);
        }
        // No token is shorter than a byte.
        if self.exact && fewest.saturating_add(NEAR) <= left {
            return Ok(true);
        }
        let Some(completion) = self.completion().filter(|completion| completion.len() <= left) else {
            return Ok(false);
        };
        let whole = [&[token], &completion[..], &[self.end()]].concat();
        Ok(self.possible_from_here(&whole)? == whole.len())
    }

    fn possible_from_here(&mut self, tokens: &[u32]) -> Result<usize, Error> {
        self.matcher.validate_tokens(tokens).map_err(|error| self.failed(&error.to_string()))
    }

    /// Ends the answer.
    fn choose_end(&mut self, token: u32) {
        self.chosen.push((token, self.shortest.mark(), self.left));
        self.left = self.left.saturating_sub(1);
        self.ended = true;
        self.mask = None;
    }
}

impl Constraint for Grammar {
    fn fewest(&mut self) -> usize {
        self.fewest_tokens()
    }

    fn begin(&mut self, most: usize) -> Result<(), Error> {
        let fewest = self.fewest_tokens();
        self.restart(most);
        if fewest > most { Err(Error::NoAnswerSoShort { fewest, most }) } else { Ok(()) }
    }

    fn forced(&mut self) -> Result<Option<u32>, Error> {
        self.settle()?;
        if self.ended || self.matcher.is_stopped() {
            if let Some(words) = self.matcher.get_error() {
                return Err(self.failed(&words));
            }
            let end = self.end();
            self.choose_end(end);
            return Ok(Some(end));
        }
        if self.forced.is_empty() {
            self.forced.extend(self.matcher.compute_ff_tokens());
        }
        if let Some(token) = self.forced.pop_front() {
            if self.choose(token)? {
                return Ok(Some(token));
            }
            // The tokenizer's own spelling is longer than there is room for.
            self.forced.clear();
            return self.shortest().map(Some);
        }
        // Where there is room for more than the completion has bytes there is a choice.
        if (self.shortest.fewest() as usize) < self.left {
            return Ok(None);
        }
        match self.completion() {
            Some(completion) if completion.len() < self.left => Ok(None),
            _ => self.shortest().map(Some),
        }
    }

    fn allowed(&mut self) -> Result<Option<&[u32]>, Error> {
        if self.mask.is_none() {
            self.settle()?;
            let mask = self.matcher.compute_mask_or_eos().map_err(|error| self.failed(&error.to_string()))?;
            self.mask = Some(mask);
        }
        Ok(self.mask.as_ref().filter(|mask| !mask.is_zero()).map(SimpleVob::as_slice))
    }

    fn choose(&mut self, token: u32) -> Result<bool, Error> {
        self.settle()?;
        if self.is_end(token) {
            self.choose_end(token);
            return Ok(true);
        }
        let mark = self.shortest.mark();
        let left = self.left.saturating_sub(1);
        let read = self.shortest.read(self.lexicon.tok_trie().token(token));
        if !read || self.left == 0 || !self.leads_to_an_end(token, left)? {
            self.shortest.back_to(mark);
            if let Some(mask) = &mut self.mask {
                mask.disallow_token(token);
            }
            return Ok(false);
        }
        self.matcher.consume_token(token).map_err(|error| self.failed(&error.to_string()))?;
        self.chosen.push((token, mark, self.left));
        self.left = left;
        self.mask = None;
        Ok(true)
    }

    fn shortest(&mut self) -> Result<u32, Error> {
        self.settle()?;
        self.forced.clear();
        let completion = self.completion().ok_or_else(|| self.failed("no completion was found"))?;
        let Some(&token) = completion.first() else {
            let end = self.end();
            self.choose_end(end);
            return Ok(end);
        };
        let mark = self.shortest.mark();
        self.shortest.read(self.lexicon.tok_trie().token(token));
        self.matcher.consume_token(token).map_err(|error| self.failed(&error.to_string()))?;
        self.chosen.push((token, mark, self.left));
        self.left = self.left.saturating_sub(1);
        self.mask = None;
        Ok(token)
    }

    fn possible(&mut self, tokens: &[u32]) -> Result<usize, Error> {
        self.settle()?;
        if self.ended || self.matcher.is_stopped() {
            return Ok(0);
        }
        self.possible_from_here(tokens)
    }

    fn take_back(&mut self, tokens: usize) {
        for _ in 0..tokens {
            let Some((_, mark, left)) = self.chosen.pop() else { break };
            self.shortest.back_to(mark);
            self.left = left;
            self.ended = false;
            self.stale = true;
            self.mask = None;
            self.forced.clear();
        }
    }

    fn is_complete(&mut self) -> bool {
        self.ended || self.settle().is_ok() && self.matcher.is_accepting().unwrap_or(false)
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").field("kind", &self.kind).field("left", &self.left).finish_non_exhaustive()
    }
}
