//! Pre-tokenizers: how a text is cut into the pieces within which byte pairs merge.
//!
//! Each follows the regular expressions in its model's `tokenizer.json`. There is no regex engine: an expression is a
//! [`Stage`], a small function that says how many bytes it matches at the start of a text. Stages work as in
//! llama.cpp and `tokenizers`: the first cuts the text into what it matches and what lies between, the next cuts each
//! of these. Adding a pre-tokenizer is a row in [`PRE_TOKENIZERS`] and, where its expression is new, a function.

use super::unicode::{Class, class_at, len_at};

/// How many bytes an expression matches at the start of a text that is not empty; 0 if it does not match there.
pub(super) type Stage = fn(&[u8]) -> usize;

/// What `tokenizer.ggml.pre` stands for.
pub(super) struct PreTokenizer {
    /// The names that files use.
    names: &'static [&'static str],
    stages: &'static [Stage],
    /// A piece that is a token as a whole becomes that token, even if no merges lead to it.
    pub(super) ignore_merges: bool,
    /// Texts begin with BOS unless the file says otherwise.
    pub(super) add_bos: bool,
}

/// Every pre-tokenizer that is known.
static PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
            "trillion",
            "granite-docling",
        ],
        stages: &[gpt2],
        ignore_merges: false,
        add_bos: false,
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
        stages: &[digit, gpt2],
        ignore_merges: false,
        add_bos: false,
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
        stages: &[llama3],
        ignore_merges: true,
        add_bos: true,
    },
    PreTokenizer { names: &["glm4", "glm5"], stages: &[llama3], ignore_merges: true, add_bos: false },
    PreTokenizer {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe"],
        stages: &[llama3],
        ignore_merges: false,
        add_bos: false,
    },
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
        stages: &[qwen2],
        ignore_merges: false,
        add_bos: false,
    },
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
        split(self.stages, text, each)
    }
}

fn split<E>(stages: &[Stage], text: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let Some((stage, rest)) = stages.split_first() else {
        return if text.is_empty() { Ok(()) } else { each(text) };
    };
    let mut unmatched = 0;
    let mut at = 0;
    while at < text.len() {
        let len = stage(&text[at..]);
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

/// `\p{N}`
fn digit(text: &[u8]) -> usize {
    match class_at(text, 0) {
        (Class::Number, len) => len,
        _ => 0,
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(text: &[u8]) -> usize {
    let contraction = contraction(text, |byte| byte);
    if contraction > 0 {
        return contraction;
    }
    let start = usize::from(text[0] == b' ');
    match class_at(text, start).0 {
        class @ (Class::Letter | Class::Number | Class::Other) => run(text, start, class),
        Class::Space | Class::End => spaces(text),
    }
}

/// As [`qwen2`], but `\p{N}{1,3}`
fn llama3(text: &[u8]) -> usize {
    words_and_lines(text, 3)
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
fn qwen2(text: &[u8]) -> usize {
    words_and_lines(text, 1)
}

/// The expression of [`qwen2`] with numbers of up to `digits` characters.
fn words_and_lines(text: &[u8], digits: usize) -> usize {
    let contraction = contraction(text, |byte| byte.to_ascii_lowercase());
    if contraction > 0 {
        return contraction;
    }
    let (class, len) = class_at(text, 0);
    match class {
        Class::Letter => return run(text, 0, Class::Letter),
        Class::Number => {
            let mut end = len;
            for _ in 1..digits {
                end += digit(&text[end..]);
            }
            return end;
        }
        _ => {}
    }
    if !is_newline(text[0]) && class_at(text, len).0 == Class::Letter {
        return run(text, len, Class::Letter);
    }
    let start = usize::from(text[0] == b' ');
    if class_at(text, start).0 == Class::Other {
        let end = run(text, start, Class::Other);
        return end + text[end..].iter().take_while(|&&byte| is_newline(byte)).count();
    }
    // Only white space is left, and all of it matters where it ends lines.
    let space = &text[..run(text, 0, Class::Space)];
    match space.iter().rposition(|&byte| is_newline(byte)) {
        Some(last) => last + 1,
        None => spaces(text),
    }
}

const fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// `'s|'t|'re|'ve|'m|'ll|'d` on letters that `fold` may make small first.
fn contraction(text: &[u8], fold: fn(u8) -> u8) -> usize {
    if text[0] != b'\'' {
        return 0;
    }
    let letter = |index: usize| text.get(index).map_or(0, |&byte| fold(byte));
    match (letter(1), letter(2)) {
        (b's' | b't' | b'm' | b'd', _) => 2,
        (b'r' | b'v', b'e') | (b'l', b'l') => 3,
        _ => 0,
    }
}

/// Where the run of characters of `class` ends that begins at `start`.
fn run(text: &[u8], start: usize, class: Class) -> usize {
    let mut end = start;
    loop {
        match class_at(text, end) {
            (found, len) if found == class => end += len,
            _ => return end,
        }
    }
}

/// `\s+(?!\S)|\s+`: white space, but for the last character where something follows, if that leaves any.
fn spaces(text: &[u8]) -> usize {
    let mut last = 0;
    let mut end = 0;
    loop {
        match class_at(text, end) {
            (Class::Space, len) => {
                last = end;
                end += len;
            }
            (Class::End, _) => return end,
            _ => return if last > 0 { last } else { end },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use core::str::from_utf8;
    use std::string::String;
    use std::vec::Vec;

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
            assert!(pieces >= 5);
        }
    }

    #[test]
    fn no_name_stands_for_two() {
        let mut names: Vec<_> = PRE_TOKENIZERS.iter().flat_map(|pre| pre.names).collect();
        let len = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), len);
        assert!(PreTokenizer::find("default").is_none());
    }
}
