//! Pre-tokenizers: how a text is cut into the pieces within which pairs merge.
//!
//! A pre-tokenizer is a row of [`PRE_TOKENIZERS`]: the names that files use and [`Rule`]s. The first rule cuts the text
//! into what it matches and what lies between, the next cuts each of these, as in llama.cpp and `tokenizers`. Adding a
//! pre-tokenizer is a name in a row, or a new row with its model's regular expressions; the build stops at what
//! [`super::pattern`] does not know. Where llama.cpp only comes near to a model's own expression (letters of either
//! case, Chinese, digits beside letters), the model's own stands here.

use super::pattern::{Compiled, Failed, Op, Pattern, Set, Start, pattern, shrink};
use super::unicode::{Class, Classes, class_at, decode, len_at};

/// One way to cut text.
enum Rule {
    /// What matches is a piece.
    Pattern(Pattern),
    /// Numbers in groups of three characters, counted from the right: all characters of `digits`, but, if so said, not
    /// where a word follows. A pattern would look ahead to the end of the number from each group.
    Thirds { digits: Classes, unless_word: bool },
}

/// What `tokenizer.ggml.pre` stands for.
pub(super) struct PreTokenizer {
    /// The names that files use.
    names: &'static [&'static str],
    rules: &'static [Rule],
    pub(super) whole: Whole,
    pub(super) spelling: Spelling,
    pub(super) bos: Bos,
}

/// Which pieces become a token as a whole if there is one, even if no merges lead to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whole {
    None,
    All,
    /// Those that consist of line ends.
    LineEnds,
}

/// Whether texts begin with BOS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bos {
    /// If the file says so.
    IfAsked,
    /// Unless the file says otherwise.
    UnlessRefused,
    /// Whatever the file says: some files of these models are wrong.
    Always,
}

/// What the pairs are pairs of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spelling {
    /// Bytes, each written as a printable character.
    Bytes,
    /// Characters, with `\u{2581}` for a space; those that are no token are spelled as byte tokens.
    Characters,
}

macro_rules! rule {
    ($text:expr) => {
        Rule::Pattern(pattern!($text))
    };
}

const NUMBER: Rule = rule!(r"\p{N}");
const NUMBERS: Rule = rule!(r"\p{N}+");
const UP_TO_THREE: Rule = rule!(r"\p{N}{1,3}");
const THREE_DIGITS: Rule = rule!(r"[0-9][0-9][0-9]");
const LINES: Rule = rule!(r"[^\n]+|[\n]+");
const LINE_END: Rule = rule!(r"[\r\n]");

/// Words with a space before them, as GPT-2 has them. `tokenizers` calls it `ByteLevel`.
const GPT2: Rule = rule!(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+");

/// Words with any sign before them, and up to three digits.
const LLAMA3: Rule = rule!(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// As [`LLAMA3`] with single digits.
const QWEN2: Rule = rule!(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// As [`LLAMA3`] with white space in powers of two.
const JAIS2: Rule = rule!(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)",
    r"|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
));

/// As [`QWEN2`] with marks in words.
const QWEN35: Rule = rule!(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// As [`LLAMA3`] with whole numbers.
const MINICPM5: Rule = rule!(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// As [`QWEN2`] without contractions, which would cut Turkish suffixes.
const UFAKZEKA: Rule =
    rule!(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+");

/// As [`QWEN2`], with line ends apart from signs.
const SEED_CODER: Rule = rule!(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// As [`QWEN2`], with one line end at a time.
const BAILING: Rule = rule!(concat!(
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*",
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
));

/// As [`BAILING`], with marks in words and words joined by spaces.
const EXAONE_MOE: Rule = rule!(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
));

/// Words that begin anew at a capital letter.
const TEKKEN: Rule = rule!(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// As [`TEKKEN`] with contractions in words and up to three digits.
const GPT4O: Rule = rule!(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// As [`GPT4O`] with single digits.
const YOUTU_WORDS: Rule = rule!(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// As [`GPT4O`] with Chinese apart.
const KIMI_K2: Rule = rule!(concat!(
    r"[\p{Han}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// Words, and identifiers with the sign before them.
const DEEPSEEK3: Rule = rule!(concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// As [`DEEPSEEK3`], with line ends apart.
const SPARK: Rule = rule!(concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"
));

/// Chinese and Japanese.
const CJK: Rule = rule!(r"[一-龥぀-ゟ゠-ヿ]+");

/// Chinese, Korean, and all that lies between U+0800 and Chinese.
const HAN_HANGUL: Rule = rule!(r"[一-龥ࠀ-一가-퟿]+");

/// Words with a space before them, cut at signs of several scripts.
const BLOOM: Rule = rule!(r" ?[^(\s|.,!?…。，、।۔،)]+");

/// Scripts without spaces between words.
#[rustfmt::skip]
const AFMOE_SCRIPTS: Rule = rule!("[一-鿿㐀-䶿\u{f900}-\u{faff}\u{3040}-ゟ゠-ヿ･-ﾟ⼀-\u{2fdf}เ-\u{e7f}\u{e80}-\u{eff}ក-\u{17ff}က-႟ꩠ-ꩿꧠ-\u{a9ff}가-\u{d7af}ᄀ-ᇿ]+");

/// Words of scripts with capital letters. What an editor might take for another letter is written as its number.
#[rustfmt::skip]
const CASED_WORDS: Rule = rule!(concat!(
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-",
    "\u{1f7d}",
    r"ᾀ-ᾴᾶ-ᾼ",
    "\u{1fbe}",
    r"ῂ-ῄῆ-ῌῐ-",
    "\u{1fd3}",
    r"ῖ-",
    "\u{1fdb}",
    r"ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ",
    "\u{2126}",
    r"ℨ",
    "\u{212a}",
    r"-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
));

/// What most rows have in common.
const PLAIN: PreTokenizer =
    PreTokenizer { names: &[], rules: &[], whole: Whole::None, spelling: Spelling::Bytes, bos: Bos::IfAsked };

/// Every pre-tokenizer that is known: all that llama.cpp knows, but for `whitespace`, which is a tokenizer of its own.
static PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
        ],
        rules: &[GPT2],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        rules: &[NUMBER, GPT2],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        rules: &[LLAMA3],
        whole: Whole::All,
        bos: Bos::UnlessRefused,
        ..PLAIN
    },
    PreTokenizer { names: &["glm4", "glm5"], rules: &[LLAMA3], whole: Whole::All, ..PLAIN },
    PreTokenizer { names: &["dbrx", "smaug-bpe", "chatglm-bpe"], rules: &[LLAMA3], ..PLAIN },
    PreTokenizer {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "megrez",
            "kormo",
            "f2llmv2",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        rules: &[QWEN2],
        ..PLAIN
    },
    PreTokenizer { names: &["qwen35"], rules: &[QWEN35], ..PLAIN },
    PreTokenizer { names: &["jais-2"], rules: &[JAIS2], ..PLAIN },
    PreTokenizer { names: &["minicpm5"], rules: &[UP_TO_THREE, MINICPM5], whole: Whole::All, ..PLAIN },
    PreTokenizer { names: &["ufakzeka"], rules: &[UFAKZEKA], ..PLAIN },
    PreTokenizer { names: &["seed-coder"], rules: &[SEED_CODER], ..PLAIN },
    PreTokenizer { names: &["bailingmoe", "bailingmoe2", "llada-moe"], rules: &[BAILING], ..PLAIN },
    PreTokenizer { names: &["exaone-moe"], rules: &[EXAONE_MOE], ..PLAIN },
    PreTokenizer { names: &["laguna"], rules: &[LINES, QWEN2], ..PLAIN },
    PreTokenizer {
        names: &["tekken"],
        rules: &[TEKKEN],
        whole: Whole::All,
        bos: Bos::UnlessRefused,
        ..PLAIN
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        rules: &[GPT4O],
        ..PLAIN
    },
    PreTokenizer { names: &["granite-embed-multi-97m"], rules: &[GPT4O], whole: Whole::All, ..PLAIN },
    PreTokenizer {
        names: &["tiny_aya", "cohere2moe"],
        rules: &[Rule::Thirds { digits: Classes::DIGIT, unless_word: true }, GPT4O],
        ..PLAIN
    },
    PreTokenizer {
        names: &["youtu"],
        rules: &[rule!(r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"), YOUTU_WORDS],
        whole: Whole::All,
        ..PLAIN
    },
    PreTokenizer { names: &["kimi-k2"], rules: &[KIMI_K2], ..PLAIN },
    PreTokenizer {
        names: &["deepseek-llm"],
        rules: &[
            LINE_END,
            CASED_WORDS,
            rule!(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            rule!(r"\s+$"),
            HAN_HANGUL,
            NUMBERS,
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        rules: &[LINE_END, rule!(r"\s?\p{L}+"), rule!(r"\s?\p{P}+"), HAN_HANGUL, NUMBER],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"],
        rules: &[UP_TO_THREE, CJK, DEEPSEEK3],
        ..PLAIN
    },
    PreTokenizer { names: &["spark2_5"], rules: &[UP_TO_THREE, CJK, SPARK, NUMBER], ..PLAIN },
    PreTokenizer {
        names: &["afmoe"],
        rules: &[Rule::Thirds { digits: Classes::NUMBERS, unless_word: false }, AFMOE_SCRIPTS, DEEPSEEK3],
        ..PLAIN
    },
    PreTokenizer {
        names: &["superbpe"],
        rules: &[NUMBERS, Rule::Thirds { digits: Classes::DIGIT, unless_word: false }],
        ..PLAIN
    },
    PreTokenizer {
        names: &["falcon"],
        rules: &[rule!(r"[\p{P}\$\+<=>\^~\|`]+"), GPT2, THREE_DIGITS],
        ..PLAIN
    },
    PreTokenizer {
        names: &["default"],
        rules: &[rule!(r"[\p{P}\$\+<=>\^~\|]+"), GPT2, NUMBERS, THREE_DIGITS],
        ..PLAIN
    },
    PreTokenizer { names: &["poro-chat", "bloom", "gpt3-finnish"], rules: &[BLOOM], ..PLAIN },
    PreTokenizer { names: &["viking"], rules: &[BLOOM, NUMBER], ..PLAIN },
    PreTokenizer {
        names: &["chameleon"],
        rules: &[
            rule!(r"<sentinel:[0-9]+>"),
            rule!(r"IMGIMG[A-I]{1,4}Z"),
            rule!(r"([\t\n]|    |  )"),
            NUMBER,
            rule!(r"[\p{P}!-/:-@\[-`{-~]"),
            GPT2,
        ],
        bos: Bos::UnlessRefused,
        ..PLAIN
    },
    PreTokenizer {
        names: &["gemma4", "granite-embed-multi-311m"],
        rules: &[LINES],
        whole: Whole::LineEnds,
        spelling: Spelling::Characters,
        bos: Bos::Always,
    },
    PreTokenizer { names: &["sarvam-moe"], rules: &[LINES], spelling: Spelling::Characters, ..PLAIN },
];

impl PreTokenizer {
    /// The pre-tokenizer that files call `name`.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        PRE_TOKENIZERS.iter().find(|pre| pre.names.contains(&name))
    }

    /// Hands out the pieces of `text` in order, none of them empty, until one is refused.
    pub(super) fn split<E>(
        &self,
        text: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        split(self.rules, text, each)
    }
}

fn split<E>(rules: &[Rule], text: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let Some((rule, rest)) = rules.split_first() else {
        return if text.is_empty() { Ok(()) } else { each(text) };
    };
    match rule {
        Rule::Pattern(pattern) => split_pattern(pattern, rest, text, each),
        Rule::Thirds { digits, unless_word } => split_thirds(*digits, *unless_word, rest, text, each),
    }
}

fn split_pattern<E>(
    pattern: &Pattern,
    rest: &[Rule],
    text: &[u8],
    each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut failed = Failed::default();
    let mut unmatched = 0;
    let mut at = 0;
    while at < text.len() {
        let len = pattern.matches(text, at, &mut failed);
        if len == 0 {
            at += len_at(text, at);
            continue;
        }
        if unmatched < at {
            split(rest, &text[unmatched..at], each)?;
        }
        split(rest, &text[at..at + len], each)?;
        at += len;
        unmatched = at;
    }
    split(rest, &text[unmatched..], each)
}

fn split_thirds<E>(
    digits: Classes,
    unless_word: bool,
    rest: &[Rule],
    text: &[u8],
    each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let is_digit = |at| class_at(text, at).filter(|&(class, _)| digits.contains(class));
    let mut unmatched = 0;
    let mut at = 0;
    while at < text.len() {
        let (mut end, mut count) = (at, 0);
        while let Some((_, len)) = is_digit(end) {
            end += len;
            count += 1;
        }
        if count == 0 || unless_word && is_word_at(text, end) {
            at = end;
            if at < text.len() {
                at += len_at(text, at);
            }
            continue;
        }
        if unmatched < at {
            split(rest, &text[unmatched..at], each)?;
        }
        while at < end {
            let start = at;
            for _ in 0..if count % 3 == 0 { 3 } else { count % 3 } {
                at += is_digit(at).map_or(0, |(_, len)| len);
                count -= 1;
            }
            split(rest, &text[start..at], each)?;
        }
        unmatched = at;
    }
    split(rest, &text[unmatched..], each)
}

/// Whether a character of a word is at `at`: `\w`.
fn is_word_at(text: &[u8], at: usize) -> bool {
    const OTHERS: Classes = Classes::MARKS.with(Classes::of(&[Class::Digit, Class::Connector]));
    let letter =
        || decode(&text[at..]).and_then(|(point, _)| char::from_u32(point)).is_some_and(char::is_alphabetic);
    class_at(text, at).is_some_and(|(class, _)| OTHERS.contains(class) || letter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use core::str::from_utf8;
    use proptest::strategy::Strategy;
    use proptest::test_runner::{Config, TestRunner};
    use std::string::String;
    use std::vec::Vec;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior,
    };

    fn cut(name: &str, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        let Ok(()) = PreTokenizer::find(name).unwrap().split::<Infallible>(text.as_bytes(), &mut |piece| {
            pieces.push(from_utf8(piece).unwrap().into());
            Ok(())
        });
        pieces
    }

    #[test]
    fn gpt2_keeps_one_space_before_a_word_and_leaves_the_others_together() {
        assert_eq!(cut("gpt-2", "Hello   world  "), ["Hello", "  ", " world", "  "]);
        assert_eq!(cut("gpt-2", "a\t\tb\n c"), ["a", "\t", "\t", "b", "\n", " c"]);
        assert_eq!(cut("gpt-2", " \u{3000} x"), [" \u{3000}", " x"]);
    }

    #[test]
    fn gpt2_splits_words_numbers_and_signs() {
        assert_eq!(cut("gpt-2", "x1234 56?! ½é"), ["x", "1234", " 56", "?!", " ½", "é"]);
    }

    #[test]
    fn gpt2_knows_contractions_in_small_letters_only() {
        assert_eq!(cut("gpt-2", "I'll we've he's"), ["I", "'ll", " we", "'ve", " he", "'s"]);
        assert_eq!(cut("gpt-2", "I'LL 'x'"), ["I", "'", "LL", " '", "x", "'"]);
    }

    #[test]
    fn smollm_cuts_every_digit_off_first_so_that_a_space_before_one_stands_alone() {
        assert_eq!(cut("smollm", "in 1984  7"), ["in", " ", "1", "9", "8", "4", "  ", "7"]);
    }

    #[test]
    fn llama3_takes_three_digits_and_qwen2_one() {
        assert_eq!(cut("llama-bpe", "12345678"), ["123", "456", "78"]);
        assert_eq!(cut("qwen2", "123"), ["1", "2", "3"]);
    }

    #[test]
    fn llama3_knows_contractions_in_any_case() {
        assert_eq!(cut("llama3", "We'Ve I'LL it'S"), ["We", "'Ve", " I", "'LL", " it", "'S"]);
        assert_eq!(cut("llama3", "l'eau"), ["l", "'eau"]);
    }

    #[test]
    fn llama3_joins_any_sign_to_the_word_after_it() {
        assert_eq!(cut("llama3", "(foo\tbar\n(baz"), ["(foo", "\tbar", "\n", "(baz"]);
        assert_eq!(cut("llama3", "a  b"), ["a", " ", " b"]);
    }

    #[test]
    fn llama3_joins_line_ends_to_the_signs_and_spaces_before_them() {
        assert_eq!(cut("llama3", "x;\r\n\n  y"), ["x", ";\r\n\n", " ", " y"]);
        assert_eq!(cut("llama3", "a \n \n  b"), ["a", " \n \n", " ", " b"]);
        assert_eq!(cut("llama3", "a \n "), ["a", " \n", " "]);
    }

    #[test]
    fn bytes_that_are_not_utf8_count_as_signs_and_are_kept() {
        for pre in PRE_TOKENIZERS {
            let text = b"a\xff\xfe b\xe2\x82 1\xf0";
            let mut joined = Vec::new();
            let mut pieces = 0;
            let Ok(()) = pre.split::<Infallible>(text, &mut |piece| {
                joined.extend_from_slice(piece);
                pieces += 1;
                Ok(())
            });
            assert_eq!(joined, text);
            assert!(pieces >= if pre.spelling == Spelling::Bytes && pre.rules.len() == 1 { 3 } else { 1 });
        }
    }

    #[test]
    fn a_rule_cuts_a_line_of_100_000_letters_digits_or_spaces_as_fast_as_many_short_ones() {
        for c in ["a", "A", "1", " ", "\u{3000}", "中", "\u{301}", "'", "\n"] {
            for end in ["", "x", "1"] {
                let text = c.repeat(100_000) + end;
                let short = c.repeat(10_000) + end;
                for pre in PRE_TOKENIZERS {
                    let time = |text: &str, times: usize| {
                        let start = std::time::Instant::now();
                        for _ in 0..times {
                            let Ok(()) = pre.split::<Infallible>(text.as_bytes(), &mut |_| Ok(()));
                        }
                        start.elapsed()
                    };
                    // Quadratic time would be ten times as long, in any try; a machine that does something else is not.
                    let fast = (0..5).any(|_| time(&text, 1) < 4 * time(&short, 10));
                    assert!(fast, "{} {c:?} {end:?}", pre.names[0]);
                }
            }
        }
    }

    /// What `tokenizers` has for the expression of a rule.
    fn tokenizers_split(rule: &Rule) -> Split {
        let pattern = match rule {
            Rule::Pattern(pattern) => pattern.text,
            Rule::Thirds { digits: Classes::NUMBERS, .. } => r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
            Rule::Thirds { unless_word: false, .. } => r"\d{1,3}(?=(?:\d{3})*(?!\d))",
            Rule::Thirds { .. } => r"\d{1,3}(?=(?:\d{3})*\b)",
        };
        let pattern = SplitPattern::Regex(pattern.into());
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap()
    }

    /// What `tokenizers` makes of a text.
    fn cut_by_tokenizers(split: &Split, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        split.pre_tokenize(&mut pieces).unwrap();
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.into_iter().map(|(piece, ..)| piece.into()).collect()
    }

    /// Text in which whatever a rule looks at is frequent. No characters that are newer than Unicode 15.1, which the
    /// other side knows.
    fn text() -> impl Strategy<Value = String> {
        const PARTS: &[&str] = &[
            "a",
            "B",
            "é",
            "É",
            "ǅ",
            "ʰ",
            "中",
            "々",
            "〇",
            "か",
            "カ",
            "한",
            "ㄱ",
            "ㄅ",
            "ก",
            "ក",
            "क",
            "ि",
            "\u{301}",
            "\u{903}",
            "\u{20dd}",
            "ſ",
            "ß",
            "\u{212a}",
            "1",
            "23",
            "456",
            "٣",
            "½",
            "Ⅷ",
            "²",
            " ",
            "  ",
            "   ",
            "\t",
            "\n",
            "\r",
            "\r\n",
            "\u{85}",
            "\u{a0}",
            "\u{3000}",
            "\u{2028}",
            "'s",
            "'S",
            "'ſ",
            "'ll",
            "'Ve",
            "'",
            "’",
            ".",
            ",",
            "…",
            "。",
            "،",
            "_",
            "‿",
            "/",
            "!",
            "?!",
            "$",
            "+",
            "€",
            "🦙",
            "\u{200b}",
            "\u{feff}",
            "\u{ad}",
            "\0",
            "\u{e000}",
            "\u{378}",
            "(",
            "|",
            "<sentinel:12>",
            "IMGIMGABZ",
            "IMGIMGABCDEZ",
            "\u{ac00}",
            "\u{d7a3}",
            "\u{a000}",
            "\u{800}",
        ];
        proptest::collection::vec(proptest::sample::select(PARTS), 0..24).prop_map(|parts| parts.concat())
    }

    #[test]
    fn every_rule_cuts_as_tokenizers_does_with_its_expression() {
        // Made once: to compile an expression takes `tokenizers` far longer than to cut a text with it.
        let rules: Vec<_> = PRE_TOKENIZERS
            .iter()
            .flat_map(|pre| pre.rules.iter().map(|rule| (pre.names[0], rule, tokenizers_split(rule))))
            .collect();
        let mut runner = TestRunner::new(Config::with_cases(150));
        let result = runner.run(&text(), |text| {
            for (name, rule, theirs) in &rules {
                let mut pieces = Vec::new();
                let Ok(()) =
                    split::<Infallible>(core::slice::from_ref(rule), text.as_bytes(), &mut |piece| {
                        pieces.push(String::from_utf8(piece.to_vec()).unwrap());
                        Ok(())
                    });
                proptest::prop_assert_eq!(
                    &pieces,
                    &cut_by_tokenizers(theirs, &text),
                    "{} {}",
                    name,
                    match rule {
                        Rule::Pattern(pattern) => pattern.text,
                        Rule::Thirds { .. } => "thirds",
                    }
                );
            }
            Ok(())
        });
        result.unwrap();
    }

    #[test]
    fn no_name_stands_for_two() {
        let mut names: Vec<_> = PRE_TOKENIZERS.iter().flat_map(|pre| pre.names).collect();
        let len = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), len);
        assert!(PreTokenizer::find("gpt-3").is_none());
    }
}
