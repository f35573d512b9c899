//! What holds of any vocabulary and any text: nothing is lost, the obvious algorithm agrees, nothing panics.

mod vocabulary_support;

use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use stonechat_core::vocabulary::{Encode, Utf8Stream, Vocabulary};
use stonechat_gguf::Gguf;
use vocabulary_support::*;

/// Text in which everything that pre-tokenizers look at is frequent, and some bytes are not UTF-8.
fn text() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: &[&str] = &[
        "a", "b", "aa", "ab", "é", "中", "🦙", "\u{301}", " ", "  ", "\t", "\n", "\r\n", "\u{3000}", "1",
        "23", "½", "'s", "'LL", "'", ".", "<s>", "<|x|>", "▁", "\0",
    ];
    let part = prop_oneof![
        20 => proptest::sample::select(PARTS).prop_map(|part| part.as_bytes().to_vec()),
        2 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(part, 0..30).prop_map(|parts| parts.concat())
}

/// Merges of bytes, as they are written, and of what they give.
fn merges() -> impl Strategy<Value = Vec<String>> {
    merges_of(&["a", "b", "Ġ", "Ã", "©", "1", "."])
}

/// Merges of these characters and of what they give, each of tokens that exist by then.
fn merges_of(characters: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..40).prop_map(|picks| {
        let mut tokens: Vec<_> = characters.iter().map(ToString::to_string).collect();
        let mut merges: Vec<String> = Vec::new();
        for (left, right) in picks {
            let (left, right) = (left.get(&tokens).clone(), right.get(&tokens).clone());
            let merged = format!("{left}{right}");
            if merged.len() < 20 && !tokens.contains(&merged) {
                merges.push(format!("{left} {right}"));
                tokens.push(merged);
            }
        }
        merges
    })
}

fn bpe(pre: &'static str, merges: &[String]) -> Builder {
    let merges: Vec<_> = merges.iter().map(String::as_str).collect();
    let mut builder = Builder::bpe(pre, &merges);
    if merges.is_empty() {
        builder.merges.as_mut().unwrap().push(b"x y".to_vec());
        builder.add("xy", NORMAL);
    }
    builder
}

/// A SentencePiece vocabulary of these tokens, each once.
fn spm(tokens: &[(String, i8)]) -> Builder {
    let mut builder = Builder::spm(&[]);
    for (token, score) in tokens {
        if !builder.tokens.iter().any(|other| other == token.as_bytes()) {
            builder.add(token, NORMAL);
            *builder.scores.as_mut().unwrap().last_mut().unwrap() = f32::from(*score);
        }
    }
    builder
}

fn spm_tokens() -> impl Strategy<Value = Vec<(String, i8)>> {
    vec(("[ab▁é]{1,4}", -5i8..5), 0..40)
}

/// The slow, obvious version of merging by score: all pairs are looked at, the best is taken, and again.
fn merge_by_score(builder: &Builder, text: &str) -> Vec<u8> {
    let find = |text: &str| {
        let id = builder.tokens.iter().position(|token| token == text.as_bytes())?;
        (builder.kinds.as_ref().unwrap()[id] == NORMAL).then(|| builder.scores.as_ref().unwrap()[id])
    };
    let mut symbols: Vec<String> = text.replace(' ', "▁").chars().map(String::from).collect();
    loop {
        let mut best: Option<(f32, usize)> = None;
        for i in 1..symbols.len() {
            if let Some(score) = find(&format!("{}{}", symbols[i - 1], symbols[i]))
                && best.is_none_or(|(found, _)| score > found)
            {
                best = Some((score, i));
            }
        }
        let Some((_, i)) = best else { break };
        let right = symbols.remove(i);
        symbols[i - 1] += &right;
    }
    // Boundaries tell the whole result, since each text has one token.
    symbols.iter().flat_map(|symbol| [symbol.as_bytes(), &[0]].concat()).collect()
}

/// The slow, obvious version of the unigram model: every way to spell a text, and the best sum of scores.
fn best_sum(builder: &Builder, text: &str) -> f64 {
    let scores = builder.scores.as_ref().unwrap();
    let unknown = f64::from(scores[3..].iter().copied().fold(f32::INFINITY, f32::min)) - 10.0;
    let mut best = vec![f64::NEG_INFINITY; text.len() + 1];
    best[0] = 0.0;
    for (start, c) in text.char_indices() {
        for (id, token) in builder.tokens.iter().enumerate().skip(3) {
            if !token.is_empty() && text.as_bytes()[start..].starts_with(token) {
                let end = start + token.len();
                best[end] = best[end].max(best[start] + f64::from(scores[id]));
            }
        }
        if builder.tokens.iter().skip(3).all(|token| token != c.to_string().as_bytes()) {
            let end = start + c.len_utf8();
            best[end] = best[end].max(best[start] + unknown);
        }
    }
    best[text.len()]
}

proptest! {
    #[test]
    fn the_unigram_model_finds_a_spelling_with_the_best_sum(text in "[ab é]{0,20}", tokens in spm_tokens()) {
        let mut builder = Builder::unigram(&[("▁", -3.5), ("x", -4.5)]);
        for (token, score) in &tokens {
            if !builder.tokens.iter().any(|other| other == token.as_bytes()) {
                builder.add(token, NORMAL);
                *builder.scores.as_mut().unwrap().last_mut().unwrap() = f32::from(*score);
            }
        }
        let written = text.replace(' ', "▁");
        let expected = best_sum(&builder, &written);
        let scores = builder.scores.clone().unwrap();
        let worst = f64::from(scores[3..].iter().copied().fold(f32::INFINITY, f32::min)) - 10.0;
        with_vocabulary(&builder.build(), |vocabulary| {
            let ids = plain(vocabulary, &text);
            // An unknown token may stand for several characters: all between the known ones around it.
            let known: Vec<u8> = ids.iter().filter(|&&id| id != 0).flat_map(|&id| vocabulary.token(id).unwrap().text).copied().collect();
            let lost = written.chars().count() - String::from_utf8(known).unwrap().chars().count();
            let sum: f64 = ids.iter().filter(|&&id| id != 0).map(|&id| f64::from(scores[id as usize])).sum();
            prop_assert!((sum + lost as f64 * worst - expected).abs() < 1e-6, "{ids:?} {expected}");
            Ok(())
        })?;
    }

    #[test]
    fn no_byte_is_lost_by_bpe_of_characters(
        text in text(),
        merges in merges_of(&["a", "b", "▁", "é", "中", "1", "."]),
    ) {
        let mut builder = bpe("gemma4", &merges);
        for byte in 0..=255 {
            builder.add(&format!("<0x{byte:02X}>"), BYTE);
        }
        for token in ["▁", "中"] {
            builder.add(token, NORMAL);
        }
        with_vocabulary(&builder.build(), |vocabulary| {
            let decoded = decode(vocabulary, &encode(vocabulary, &text, Encode::default()));
            let spaces = |text: &[u8]| String::from_utf8_lossy(text).replace('▁', " ");
            prop_assert_eq!(spaces(&decoded), spaces(&text));
            Ok(())
        })?;
    }

    #[test]
    fn no_byte_is_lost_by_byte_level_bpe(
        text in text(),
        merges in merges(),
        pre in proptest::sample::select(&[
            "gpt-2", "smollm", "llama-bpe", "qwen2", "dbrx", "deepseek-llm", "deepseek-v3", "tiny_aya", "superbpe",
            "afmoe", "gpt-4o", "kimi-k2", "exaone-moe", "chameleon", "default",
        ][..]),
    ) {
        with_vocabulary(&bpe(pre, &merges).build(), |vocabulary| {
            let ids = encode(vocabulary, &text, Encode::default());
            prop_assert_eq!(decode(vocabulary, &ids), text);
            Ok(())
        })?;
    }

    #[test]
    fn no_byte_is_lost_by_sentencepiece_but_that_its_sign_for_a_space_becomes_one(
        text in text(),
        tokens in spm_tokens(),
    ) {
        let mut builder = spm(&tokens);
        // Every real vocabulary has it; without it, spaces would come back as the bytes of this sign.
        if !builder.tokens.iter().any(|token| token == "▁".as_bytes()) {
            builder.add("▁", NORMAL);
        }
        with_vocabulary(&builder.build(), |vocabulary| {
            let ids = encode(vocabulary, &text, Encode::default());
            let decoded = decode(vocabulary, &ids);
            let Some(decoded) = decoded.strip_prefix(b" ") else {
                prop_assert!(text.is_empty() && decoded.is_empty());
                return Ok(());
            };
            let mut rest = &text[..];
            for &byte in decoded {
                let len = if byte == b' ' && rest.starts_with("▁".as_bytes()) { 3 } else { 1 };
                prop_assert!(len == 3 || rest.first() == Some(&byte));
                rest = &rest[len..];
            }
            prop_assert!(rest.is_empty());
            Ok(())
        })?;
    }

    #[test]
    fn merging_by_score_agrees_with_the_obvious_search(text in "[ab é]{0,20}", tokens in spm_tokens()) {
        let builder = spm(&tokens).with_flag("add_space_prefix", false);
        let expected = merge_by_score(&builder, &text);
        with_vocabulary(&builder.build(), |vocabulary| {
            let mut found = Vec::new();
            let mut spelled = 0;
            for id in plain(vocabulary, &text) {
                let byte = id.wrapping_sub(3) as u8;
                if !(3..259).contains(&id) {
                    found.extend_from_slice(vocabulary.token(id).unwrap().text);
                    found.push(0);
                    continue;
                }
                // The bytes of a character that is no token make up one symbol.
                found.push(byte);
                spelled = if spelled > 0 { spelled - 1 } else { byte.leading_ones().max(1) - 1 };
                if spelled == 0 {
                    found.push(0);
                }
            }
            prop_assert_eq!(found, expected);
            Ok(())
        })?;
    }

    #[test]
    fn special_tokens_and_text_together_are_lossless_too(text in text(), merges in merges()) {
        let mut builder = bpe("smollm", &merges);
        builder.add("<|x|>", CONTROL);
        builder.add("<s>", USER_DEFINED);
        builder.add("<|", USER_DEFINED);
        with_vocabulary(&builder.build(), |vocabulary| {
            let mut buffer = vec![0; vocabulary.max_piece_len()];
            let ids = encode(vocabulary, &text, Encode { bos: false, special: true });
            let decoded: Vec<u8> = ids
                .iter()
                .flat_map(|&id| vocabulary.piece(id, true, &mut buffer).unwrap().to_vec())
                .collect();
            prop_assert_eq!(&decoded, &text);
            let mut joined = String::new();
            let mut stream = Utf8Stream::new();
            for &id in &ids {
                stream.push(vocabulary.piece(id, true, &mut buffer).unwrap(), &mut |part| joined += part);
            }
            stream.finish(&mut |part| joined += part);
            prop_assert_eq!(joined, String::from_utf8_lossy(&text));
            Ok(())
        })?;
    }
}

/// A normalization map whose sizes are right more often than not, and whose trie is anything.
fn charsmap() -> impl Strategy<Value = Vec<u8>> {
    // Units that lead somewhere near for the letters of the texts, some of them with a value.
    let unit = (0u32..24, any::<bool>(), proptest::sample::select(&b"ab \xc3\xa9\xe2"[..]))
        .prop_map(|(offset, leaf, label)| offset << 10 | u32::from(leaf) << 8 | u32::from(label));
    let unit = prop_oneof![9 => unit, 1 => any::<u32>()];
    (vec(unit, 0..300), vec(any::<u8>(), 0..20), prop_oneof![9 => Just(0u32), 1 => any::<u32>()]).prop_map(
        |(trie, mut replacements, off)| {
            replacements.push(0);
            let size = (trie.len() as u32 * 4).wrapping_add(off);
            let trie = trie.iter().flat_map(|unit| unit.to_le_bytes());
            size.to_le_bytes().into_iter().chain(trie).chain(replacements).collect()
        },
    )
}

/// A vocabulary in which every part is right more often than not, and anything else the rest of the time.
fn garbage() -> impl Strategy<Value = Builder> {
    const KEYS: &[&str] =
        &["bos_token_id", "eos_token_id", "eot_token_id", "unknown_token_id", "fim_pad_token_id"];
    const FLAGS: &[&str] = &[
        "add_bos_token",
        "add_eos_token",
        "add_space_prefix",
        "remove_extra_whitespaces",
        "normalizer.lowercase",
        "normalizer.strip_accents",
    ];
    let token = prop_oneof![
        6 => "[ab▁Ġ]{0,3}".prop_map(String::into_bytes),
        1 => proptest::sample::select(&["<0x61>", "<0xZZ>", "<s>", "</s>", "<|end|>", "<|call|>", "<|return|>", "[PAD]"][..])
            .prop_map(|token| token.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    let merge = prop_oneof![
        9 => "[abĠ]{1,2} [abĠ]{1,2}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..6),
    ];
    (
        proptest::sample::select(&["gpt2", "llama", "gemma4", "bert", "t5"][..]),
        proptest::option::weighted(
            0.95,
            proptest::sample::select(&["gpt-2", "llama-bpe", "deepseek-llm", "tiny_aya", "gemma4", "?"][..]),
        ),
        vec((token, prop_oneof![9 => 0..8, 1 => any::<i32>()], any::<u32>()), 0..40),
        vec(merge, 0..6),
        proptest::sample::subsequence(KEYS, 0..3),
        vec(0u32..20, 5),
        proptest::sample::subsequence(FLAGS, 0..3),
        any::<[bool; 4]>(),
        proptest::option::of(charsmap()),
    )
        .prop_map(|(model, pre, tokens, merges, ids, values, flags, choices, charsmap)| {
            let base =
                ["a", "b", "Ġ", "▁", "ab", "Ġa", "aa"].map(|token| (token.as_bytes().to_vec(), NORMAL, 0));
            let mut unique: Vec<(Vec<u8>, i32, u32)> = if choices[1] { Vec::new() } else { base.to_vec() };
            for token in tokens {
                if choices[0] || unique.iter().all(|other| other.0 != token.0) {
                    unique.push(token);
                }
            }
            let find = |text: &[u8]| unique.iter().any(|other| other.0 == text);
            let known = |merge: &Vec<u8>| {
                let mut parts = merge.splitn(2, |&byte| byte == b' ');
                let (left, right) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                find(left) && find(right) && find(&[left, right].concat())
            };
            let mut merges = merges;
            if !choices[1] {
                merges.retain(known);
                merges.push(b"a b".to_vec());
            }
            Builder {
                model,
                pre,
                kinds: (!unique.len().is_multiple_of(7))
                    .then(|| unique.iter().map(|token| token.1).collect()),
                scores: (!unique.len().is_multiple_of(9))
                    .then(|| unique.iter().map(|token| f32::from_bits(token.2)).collect()),
                tokens: unique.into_iter().map(|token| token.0).collect(),
                merges: Some(merges),
                ids: ids.into_iter().zip(values).collect(),
                flags: flags.into_iter().zip(choices).collect(),
                charsmap,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn garbage_is_refused_or_used_but_never_causes_a_panic(
        builder in garbage(),
        text in text(),
        special: bool,
    ) {
        let file = builder.build();
        let gguf = Gguf::parse(&file).unwrap();
        let Ok(len) = Vocabulary::memory(&gguf) else { return Ok(()) };
        let mut memory = vec![0u32; len / 4];
        let Ok(vocabulary) = Vocabulary::new(&gguf, bytemuck::cast_slice_mut(&mut memory)) else { return Ok(()) };
        let mut ids = Vec::new();
        let mut scratch = vec![0; vocabulary.scratch_len(text.len())];
        vocabulary
            .encode(&text, Encode { bos: true, special }, &mut scratch, &mut |id| {
                ids.push(id);
                ControlFlow::Continue(())
            })
            .unwrap();
        prop_assert!(ids.iter().all(|&id| (id as usize) < vocabulary.len()));
        let mut buffer = vec![0; vocabulary.max_piece_len()];
        for id in 0..vocabulary.len() as u32 {
            vocabulary.piece(id, special, &mut buffer).unwrap();
            let text = vocabulary.token(id).unwrap().text;
            prop_assert_eq!(vocabulary.find(text), Some(id).filter(|_| !text.is_empty()));
        }
    }
}

#[test]
fn garbage_is_not_always_refused() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    const MODELS: [&str; 5] = ["gpt2", "llama", "gemma4", "bert", "t5"];
    let mut used = [0; MODELS.len()];
    for _ in 0..1000 {
        let builder = garbage().new_tree(&mut runner).unwrap().current();
        let file = builder.build();
        let gguf = Gguf::parse(&file).unwrap();
        let Ok(len) = Vocabulary::memory(&gguf) else { continue };
        let mut memory = vec![0u32; len / 4];
        if Vocabulary::new(&gguf, bytemuck::cast_slice_mut(&mut memory)).is_ok() {
            used[MODELS.iter().position(|&model| model == builder.model).unwrap()] += 1;
        }
    }
    assert!(used.iter().all(|&used| used >= 10), "{used:?}");
}
