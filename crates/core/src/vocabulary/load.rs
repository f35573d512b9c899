//! Loading: the file's keys are checked against one another, and the index is built.

use stonechat_gguf::{Array, Gguf, Name, ValueType};

use super::bpe::Bpe;
use super::charsmap::Charsmap;
use super::error::Error;
use super::index::{MergeIndex, Prefixes, TOGETHER, TokenIndex};
use super::merge::NO_TOKEN;
use super::merge_list::{Checks, find_merges};
use super::pretokenize::{Bos, PreTokenizer, Spelling};
use super::special::{END_OF_MESSAGE, END_OF_TURN, MAX_NAMED, Named, OTHERS, SpecialTokens, Strips};
use super::spm::{SPACE, Spm, joins_words, spell};
use super::text::{Hash, Key};
use super::unigram::{UNKNOWN_PENALTY, Unigram};
use super::wordpiece::WordPiece;
use super::{Model, SpecialIds, TokenKind, Tokens, Vocabulary, alphabet, keys, limits};

/// What the file has, and how much memory its index takes. Reading it costs next to nothing.
pub(super) struct Layout<'a> {
    tokens: Array<'a>,
    kinds: Option<Array<'a>>,
    scores: Option<Array<'a>>,
    /// The tokenizer, and the array that is its own.
    model: ModelLayout<'a>,
    /// Tokens of the kinds that are looked for in a text first.
    special: usize,
}

enum ModelLayout<'a> {
    Bpe { pre: &'static PreTokenizer, merges: Array<'a> },
    Spm,
    WordPiece,
    Unigram { charsmap: Option<Charsmap<'a>> },
}

impl<'a> Layout<'a> {
    pub(super) fn read(gguf: &Gguf<'a>) -> Result<Self, Error> {
        let model = gguf.str(keys::MODEL)?;
        let model = match model {
            "gpt2" | "gemma4" => {
                let merges = gguf.opt_array(keys::MERGES)?.ok_or(Error::NoMerges)?;
                check_elements(&merges, keys::MERGES, ValueType::String, limits::MAX_MERGES)?;
                if merges.is_empty() {
                    return Err(Error::NoMerges);
                }
                let name = match model {
                    "gemma4" => model,
                    _ => gguf.opt_str(keys::PRE)?.ok_or(Error::NoPreTokenizer)?,
                };
                let pre = PreTokenizer::find(name)
                    .ok_or_else(|| Error::UnknownPreTokenizer { name: Name::new(name) })?;
                ModelLayout::Bpe { pre, merges }
            }
            "llama" => ModelLayout::Spm,
            "bert" => ModelLayout::WordPiece,
            "t5" => ModelLayout::Unigram { charsmap: find_charsmap(gguf)? },
            name => return Err(Error::UnknownModel { name: Name::new(name) }),
        };

        let tokens = gguf.array(keys::TOKENS)?;
        check_elements(&tokens, keys::TOKENS, ValueType::String, limits::MAX_TOKENS)?;
        if tokens.is_empty() {
            return Err(Error::NoTokens);
        }
        let kinds = per_token(gguf, keys::TYPES, ValueType::I32, tokens.len())?;
        let scores = per_token(gguf, keys::SCORES, ValueType::F32, tokens.len())?;
        if scores.is_none() && matches!(model, ModelLayout::Spm | ModelLayout::Unigram { .. }) {
            gguf.array(keys::SCORES)?;
        }
        let special = kinds.map_or(0, |kinds| {
            let (kinds, _) = kinds.bytes().as_chunks();
            kinds.iter().filter(|kind| TokenKind::from_id(u32::from_le_bytes(**kind)).is_special()).count()
        });
        Ok(Self { tokens, kinds, scores, model, special })
    }

    /// Words of memory for the index. No product can overflow: the limits were checked.
    pub(super) fn words(&self) -> usize {
        let model = match &self.model {
            ModelLayout::Bpe { merges, .. } => MergeIndex::words(merges.len(), self.tokens.len()),
            ModelLayout::Spm | ModelLayout::WordPiece => 0,
            ModelLayout::Unigram { .. } => Prefixes::words(self.tokens.len()),
        };
        self.tokens.len() + TokenIndex::words(self.tokens.len()) + model + self.special + MAX_NAMED
    }
}

/// The normalization map, if the file has one.
fn find_charsmap<'a>(gguf: &Gguf<'a>) -> Result<Option<Charsmap<'a>>, Error> {
    let Some(array) = gguf.opt_array(keys::CHARSMAP)? else { return Ok(None) };
    let expected = if array.element_type() == ValueType::I8 { ValueType::I8 } else { ValueType::U8 };
    check_elements(&array, keys::CHARSMAP, expected, limits::MAX_CHARSMAP_BYTES)?;
    Charsmap::parse(array.bytes()).map(Some).ok_or(Error::BadCharsmap)
}

fn check_elements(
    array: &Array<'_>,
    key: &'static str,
    expected: ValueType,
    limit: usize,
) -> Result<(), Error> {
    let (count, found) = (array.len(), array.element_type());
    if found != expected {
        let (key, expected) = (Name::new(key), expected.as_str());
        return Err(stonechat_gguf::Error::WrongElementType { key, expected, found }.into());
    }
    if count > limit {
        return Err(Error::TooMany { key, count, limit });
    }
    Ok(())
}

/// An array that says something of each token, if the file has it.
fn per_token<'a>(
    gguf: &Gguf<'a>,
    key: &'static str,
    expected: ValueType,
    tokens: usize,
) -> Result<Option<Array<'a>>, Error> {
    let Some(array) = gguf.opt_array(key)? else { return Ok(None) };
    check_elements(&array, key, expected, limits::MAX_TOKENS)?;
    let count = array.len();
    if count == tokens { Ok(Some(array)) } else { Err(Error::CountMismatch { key, count, tokens }) }
}

/// Builds a vocabulary in `memory`.
pub(super) fn load<'a>(gguf: &Gguf<'a>, memory: &'a mut [u8]) -> Result<Vocabulary<'a>, Error> {
    let layout = Layout::read(gguf)?;
    let count = layout.tokens.len();
    let given = memory.len();
    let too_small = Error::Memory { needed: layout.words() * size_of::<u32>(), given };
    let (_, words, _) = bytemuck::pod_align_to_mut::<u8, u32>(memory);
    let words = words.get_mut(..layout.words()).ok_or(too_small)?;
    let (offsets, words) = words.split_at_mut(count);
    let (slots, words) = words.split_at_mut(TokenIndex::words(count));

    let max_len = fill_offsets(&layout.tokens, offsets)?;
    let tokens = Tokens { texts: layout.tokens, offsets, kinds: layout.kinds, scores: layout.scores };
    // The memory of the index of merges, which is built last, holds what is needed only until then.
    let (merges, merge_words) = match &layout.model {
        ModelLayout::Bpe { merges, .. } => (merges.len(), MergeIndex::words(merges.len(), count)),
        ModelLayout::Spm | ModelLayout::WordPiece | ModelLayout::Unigram { .. } => (0, 0),
    };
    let (merge_words, words) = words.split_at_mut(merge_words);
    let (merge_slots, merge_list) = merge_words.split_at_mut(merge_words.len() - 3 * merges);
    let mut checks = Checks::new(merge_slots);
    let index = index_tokens(&tokens, slots, &mut checks)?;
    let find = |text: &[u8]| index.find(Hash::EMPTY.with(text).finish(), |id| tokens.text(id) == text);

    let is_plain = |id: &u32| tokens.is_plain(*id);
    let ids = || (0..count as u32).filter(is_plain);
    // Whether words stay apart, so that each can be looked at by itself.
    let words_apart = || !ids().any(|id| joins_words(tokens.text(id)));
    let add_space = gguf.opt_bool(keys::ADD_SPACE)?;
    let (model, words) = match layout.model {
        ModelLayout::Bpe { pre, merges } => {
            let list = merge_list.as_chunks_mut().0;
            find_merges(&merges, &tokens, &index, &checks, list)?;
            let merges = MergeIndex::new(merge_slots, list)?;
            let apart = pre.spelling == Spelling::Characters && words_apart();
            (Model::Bpe(Bpe { pre, merges, words: apart }), words)
        }
        ModelLayout::Spm => {
            (Model::Spm(Spm { add_space: add_space.unwrap_or(true), words: words_apart() }), words)
        }
        ModelLayout::WordPiece => {
            let lowercase = gguf.opt_bool(keys::LOWERCASE)?.unwrap_or(true);
            let strip_accents = gguf.opt_bool(keys::STRIP_ACCENTS)?.unwrap_or(lowercase);
            (Model::WordPiece(WordPiece { lowercase, strip_accents }), words)
        }
        ModelLayout::Unigram { charsmap } => {
            let (bits, words) = words.split_at_mut(Prefixes::words(count));
            let normal = ids().filter(|&id| tokens.kind(id) == TokenKind::Normal);
            let worst = normal.map(|id| tokens.score(id)).fold(f32::INFINITY, f32::min);
            let space = find(SPACE).is_some_and(|id| tokens.is_plain(id));
            let unigram = Unigram {
                add_space: add_space.unwrap_or(false),
                merge_spaces: gguf.opt_bool(keys::MERGE_SPACES)?.unwrap_or(false),
                charsmap,
                prefixes: Prefixes::new(bits, ids().map(|id| tokens.text(id))),
                unknown: f64::from(worst) - UNKNOWN_PENALTY,
                // Where the sign of a space itself is unknown, it is so together with what lies around it.
                words: space && words_apart(),
                // A space becomes three bytes, as does what is no character.
                growth: charsmap.map_or(0, Charsmap::longest).max(SPACE.len()),
            };
            (Model::Unigram(unigram), words)
        }
    };

    let written_in_alphabet = matches!(&model, Model::Bpe(bpe) if bpe.pre.spelling == Spelling::Bytes);
    let bytes = core::array::from_fn(|byte| {
        let byte = byte as u8;
        let id =
            if written_in_alphabet { find(alphabet::write(byte).as_bytes()) } else { find(&spell(byte)) };
        id.unwrap_or(NO_TOKEN)
    });
    let find_name = |name: &str| find(name.as_bytes());
    let mut named_tokens = Named::new(&find_name);
    let ids = find_special(gguf, count, &model, &mut named_tokens, &find_name)?;
    let special = list_special(&tokens, &named_tokens, words);
    let bos = match &model {
        Model::Bpe(bpe) => bpe.pre.bos,
        Model::Spm(_) | Model::WordPiece(_) => Bos::UnlessRefused,
        Model::Unigram(_) => Bos::IfAsked,
    };
    let add_bos = add_flag(gguf, keys::ADD_BOS, bos != Bos::IfAsked, keys::BOS, ids.bos)?;
    let default_eos = matches!(model, Model::Unigram(_));
    let is_bert = matches!(model, Model::WordPiece(_));
    let add_sep = is_bert && add_flag(gguf, keys::ADD_SEP, true, keys::SEP, ids.sep)?;
    let pre = gguf.opt_str(keys::PRE)?.unwrap_or_default();
    let named = |key| gguf.opt_str(key).ok().flatten().unwrap_or_default();
    let strips = Strips::find(named(keys::NAME), named(keys::ARCHITECTURE), pre, &find_name);
    Ok(Vocabulary {
        add_bos: add_bos || bos == Bos::Always && ids.bos.is_some(),
        add_eos: add_flag(gguf, keys::ADD_EOS, default_eos, keys::EOS, ids.eos)?,
        add_sep,
        tokens,
        index,
        model,
        bytes,
        special,
        named: named_tokens,
        strips,
        max_len,
        ids,
    })
}

/// Notes where each text begins, and gives the length of the longest.
fn fill_offsets(tokens: &Array<'_>, offsets: &mut [u32]) -> Result<usize, Error> {
    let mut max_len = 0;
    for ((id, slot), (offset, text)) in (0..).zip(offsets).zip(tokens.strings()?) {
        if text.len() > limits::MAX_TOKEN_BYTES {
            return Err(Error::TokenTooLong { id, len: text.len() });
        }
        max_len = max_len.max(text.len());
        // Fits: all metadata lies within `stonechat_gguf::limits::MAX_HEADER_BYTES`.
        *slot = offset as u32;
    }
    Ok(max_len)
}

/// Indexes the tokens, and notes [checks](Checks) of them where merges will name them.
fn index_tokens<'a>(
    tokens: &Tokens<'a>,
    slots: &'a mut [u32],
    checks: &mut Checks<'_>,
) -> Result<TokenIndex<'a>, Error> {
    let mut builder = TokenIndex::build(slots);
    let mut keys = [Key::default(); TOGETHER];
    let count = tokens.offsets.len() as u32;
    for first in (0..count).step_by(TOGETHER) {
        let ids = first..count.min(first + TOGETHER as u32);
        let keys = &mut keys[..ids.len()];
        for (key, id) in keys.iter_mut().zip(ids.clone()) {
            *key = tokens.indexed_text(id).key();
        }
        builder.touch(keys.iter().copied());
        for (&key, id) in keys.iter().zip(ids) {
            let text = tokens.indexed_text(id);
            // Tokens without text fill up some vocabularies; no text leads to them.
            if text.bytes.is_empty() {
                continue;
            }
            checks.note(id, key);
            builder.insert(id, key, |other| {
                let same = tokens.indexed_text(other) == text;
                if !same {
                    checks.tell_apart(id, other);
                }
                same
            })?;
        }
    }
    Ok(builder.finish())
}

/// The ids that tokens have by convention, where the file states none.
struct Defaults {
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    sep: Option<u32>,
}

/// The tokens with a role: those that the file states, those that have it by convention, and those with well-known
/// names.
fn find_special(
    gguf: &Gguf<'_>,
    tokens: usize,
    model: &Model<'_>,
    named: &mut Named,
    find: &dyn Fn(&str) -> Option<u32>,
) -> Result<SpecialIds, Error> {
    let stated = |key| match gguf.opt_u32(key)? {
        Some(id) if id as usize >= tokens => Err(Error::SpecialOutOfRange { key, id, tokens }),
        id => Ok(id),
    };
    let defaults = match model {
        Model::Bpe(_) => Defaults { bos: None, eos: None, unknown: None, sep: None },
        Model::Spm(_) => Defaults { bos: Some(1), eos: Some(2), unknown: Some(0), sep: None },
        Model::WordPiece(_) => Defaults { bos: Some(101), eos: None, unknown: Some(100), sep: Some(102) },
        Model::Unigram(_) => Defaults { bos: None, eos: Some(1), unknown: Some(2), sep: None },
    };
    let or_default =
        |key, default: Option<u32>| stated(key).map(|id| id.or(default.filter(|&id| (id as usize) < tokens)));
    // Where tokenizers are made for BERTs, its names stand for BOS and EOS.
    let (cls, sep) = match model {
        Model::WordPiece(_) => (stated(keys::CLS)?, None),
        Model::Bpe(_) => (stated(keys::CLS)?, stated(keys::SEP)?),
        Model::Spm(_) | Model::Unigram(_) => (None, None),
    };
    let ids = SpecialIds {
        bos: or_default(keys::BOS, cls.or(defaults.bos))?,
        eos: or_default(keys::EOS, sep.or(defaults.eos))?,
        unknown: or_default(keys::UNKNOWN, defaults.unknown)?,
        sep: or_default(keys::SEP, defaults.sep)?,
        padding: stated(keys::PADDING)?,
        eot: named.play(&END_OF_TURN, stated(keys::EOT)?, find),
        eom: named.play(&END_OF_MESSAGE, stated(keys::EOM)?, find),
    };
    for role in OTHERS {
        let stated = role.key.map(stated).transpose()?.flatten();
        named.play(role, stated, find);
    }
    if let Some(eos) = ids.eos {
        named.add_end(eos);
    }
    Ok(ids)
}

/// Collects the tokens that are looked for in a text first in `words`, of which there are enough.
fn list_special<'a>(tokens: &Tokens<'a>, named: &Named, words: &'a mut [u32]) -> SpecialTokens<'a> {
    let kind = |id| named.kind(id).unwrap_or_else(|| tokens.kind(id));
    let mut len = 0;
    let stated = (0..tokens.offsets.len() as u32).filter(|&id| tokens.kind(id).is_special());
    let other = named.ids().filter(|&id| !tokens.kind(id).is_special());
    for id in stated.chain(other) {
        if kind(id).is_special() && !tokens.text(id).is_empty() {
            words[len] = id;
            len += 1;
        }
    }
    let always = |id| kind(id) == TokenKind::UserDefined;
    SpecialTokens::new(&mut words[..len], &|id| tokens.text(id), always)
}

/// Whether texts begin or end with a token: a flag that the file sets needs the token, a default does without.
fn add_flag(
    gguf: &Gguf<'_>,
    flag: &'static str,
    default: bool,
    key: &'static str,
    id: Option<u32>,
) -> Result<bool, Error> {
    match gguf.opt_bool(flag)? {
        Some(true) if id.is_none() => Err(Error::NoSpecial { flag, key }),
        Some(add) => Ok(add),
        None => Ok(default && id.is_some()),
    }
}
