//! What a vocabulary does, on small ones made for the purpose.

mod vocabulary_support;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use stonechat_core::vocabulary::{Encode, Error, TokenKind, Vocabulary, limits};
use stonechat_gguf::Gguf;
use vocabulary_support::*;

const SPECIAL: Encode = Encode { bos: false, special: true };

/// The tokens of a text as the vocabulary writes them.
fn written_tokens(vocabulary: &Vocabulary<'_>, text: &str, options: Encode) -> Vec<String> {
    let ids = encode(vocabulary, text.as_bytes(), options);
    let text = |id| String::from_utf8(vocabulary.token(id).unwrap().text.to_vec()).unwrap();
    ids.into_iter().map(text).collect()
}

fn split(vocabulary: &Vocabulary<'_>, text: &str) -> Vec<String> {
    written_tokens(vocabulary, text, Encode::default())
}

fn split_special(vocabulary: &Vocabulary<'_>, text: &str) -> Vec<String> {
    written_tokens(vocabulary, text, SPECIAL)
}

mod bpe {
    use super::*;

    #[test]
    fn merges_are_made_in_the_order_of_the_list_and_of_equals_the_leftmost_first() {
        let file = Builder::bpe("gpt-2", &["b c", "a b", "bc d", "a a"]).build();
        with_vocabulary(&file, |vocabulary| {
            assert_eq!(split(vocabulary, "abcd"), ["a", "bcd"]);
            assert_eq!(split(vocabulary, "abd"), ["ab", "d"]);
            assert_eq!(split(vocabulary, "aaa"), ["aa", "a"]);
        });
    }

    #[test]
    fn pieces_never_merge_with_one_another() {
        let file = Builder::bpe("gpt-2", &["a Ġ", "Ġ a", "1 2"]).build();
        with_vocabulary(&file, |vocabulary| assert_eq!(split(vocabulary, "a a12"), ["a", "Ġa", "12"]));
        let file = Builder::bpe("smollm", &["1 2"]).build();
        with_vocabulary(&file, |vocabulary| assert_eq!(split(vocabulary, "12"), ["1", "2"]));
    }

    #[test]
    fn only_llama_3_takes_a_whole_piece_that_no_merges_lead_to() {
        for (pre, expected) in [("llama-bpe", &["Ġabc"][..]), ("qwen2", &["Ġ", "a", "b", "c"])] {
            let mut builder = Builder::bpe(pre, &["x y"]);
            builder.add("Ġabc", NORMAL);
            with_vocabulary(&builder.build(), |vocabulary| assert_eq!(split(vocabulary, " abc"), expected));
        }
    }

    #[test]
    fn a_whole_piece_that_is_a_control_token_is_still_text() {
        let mut builder = Builder::bpe("llama-bpe", &["x y"]);
        builder.add("abc", CONTROL);
        with_vocabulary(&builder.build(), |vocabulary| assert_eq!(split(vocabulary, "abc"), ["a", "b", "c"]));
    }

    #[test]
    fn a_byte_without_a_token_is_left_out_and_counted() {
        let mut builder = Builder::bpe("gpt-2", &["a b"]);
        builder.tokens[6] = b"other".to_vec();
        with_vocabulary(&builder.build(), |vocabulary| {
            let mut ids = Vec::new();
            let mut scratch = [0; 100];
            let encoded = vocabulary
                .encode(b"a\x06b", Encode::default(), &mut scratch, &mut |id| {
                    ids.push(id);
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(ids, [97, 98]);
            assert_eq!((encoded.tokens, encoded.dropped), (2, 1));
        });
    }

    #[test]
    fn pieces_are_the_bytes_that_a_tokens_characters_stand_for() {
        let mut builder = Builder::bpe("gpt-2", &["Ġ a"]);
        let foreign = builder.add("中Ġ", NORMAL);
        let shown = builder.add("Ġ中", USER_DEFINED);
        let unused = builder.add("unused", UNUSED);
        with_vocabulary(&builder.build(), |vocabulary| {
            assert_eq!(decode(vocabulary, &[256]), b" a");
            assert_eq!(decode(vocabulary, &[0xf0, 0x9f, 0xa6, 0x99]), "🦙".as_bytes());
            assert_eq!(decode(vocabulary, &[foreign]), "中 ".as_bytes());
            assert_eq!(decode(vocabulary, &[shown]), "Ġ中".as_bytes());
            assert_eq!(decode(vocabulary, &[unused]), b"");
        });
    }

    #[test]
    fn llama_3_asks_for_bos_and_gpt_2_does_not_unless_the_file_says_otherwise() {
        let add = |builder: Builder| {
            let builder = builder.with_id("bos_token_id", 7).with_id("eos_token_id", 8);
            with_vocabulary(&builder.build(), |vocabulary| (vocabulary.add_bos(), vocabulary.add_eos()))
        };
        assert_eq!(add(Builder::bpe("llama-bpe", &["a b"])), (true, false));
        assert_eq!(add(Builder::bpe("gpt-2", &["a b"])), (false, false));
        assert_eq!(add(Builder::bpe("gpt-2", &["a b"]).with_flag("add_bos_token", true)), (true, false));
        assert_eq!(
            add(Builder::bpe("llama-bpe", &["a b"]).with_flag("add_bos_token", false)),
            (false, false)
        );
        assert_eq!(add(Builder::bpe("gpt-2", &["a b"]).with_flag("add_eos_token", true)), (false, true));
        // A default needs no token.
        let file = Builder::bpe("llama-bpe", &["a b"]).build();
        with_vocabulary(&file, |vocabulary| assert!(!vocabulary.add_bos()));
    }

    #[test]
    fn of_a_merge_that_is_listed_twice_the_first_place_counts() {
        let mut builder = Builder::bpe("gpt-2", &["a b", "b c"]);
        builder.merges.as_mut().unwrap().push(b"a b".to_vec());
        with_vocabulary(&builder.build(), |vocabulary| assert_eq!(split(vocabulary, "abc"), ["ab", "c"]));
    }
}

mod spm {
    use super::*;

    #[test]
    fn the_best_score_merges_first_and_of_equals_the_leftmost() {
        let file = Builder::spm(&[("ab", -2.0), ("bc", -1.0), ("aa", -3.0), ("▁", -9.0)]).build();
        with_vocabulary(&file, |vocabulary| {
            assert_eq!(split(vocabulary, "abc"), ["▁", "<0x61>", "bc"]);
            assert_eq!(split(vocabulary, "aaa"), ["▁", "aa", "<0x61>"]);
        });
    }

    #[test]
    fn a_space_goes_before_the_text_and_before_what_follows_a_control_token() {
        let tokens = [("▁", -9.0), ("a", -9.0), ("▁a", -1.0)];
        with_vocabulary(&Builder::spm(&tokens).build(), |vocabulary| {
            assert!(vocabulary.add_space_prefix());
            assert_eq!(split(vocabulary, "a a"), ["▁a", "▁a"]);
            assert_eq!(split(vocabulary, " a"), ["▁", "▁a"]);
            assert_eq!(split(vocabulary, ""), [""; 0]);
            assert_eq!(split_special(vocabulary, "a</s>a"), ["▁a", "</s>", "▁a"]);
        });
        let file = Builder::spm(&tokens).with_flag("add_space_prefix", false).build();
        with_vocabulary(&file, |vocabulary| {
            assert!(!vocabulary.add_space_prefix());
            assert_eq!(split_special(vocabulary, "a</s>a"), ["a", "</s>", "a"]);
        });
    }

    #[test]
    fn a_character_that_is_no_token_is_spelled_in_bytes() {
        let file = Builder::spm(&[("▁", -1.0), ("é", -1.0)]).build();
        with_vocabulary(&file, |vocabulary| {
            assert_eq!(split(vocabulary, "éà"), ["▁", "é", "<0xC3>", "<0xA0>"]);
            let ids = encode(vocabulary, b"\xff\xe2\x96", Encode::default());
            assert_eq!(decode(vocabulary, &ids), b" \xff\xe2\x96");
        });
    }

    #[test]
    fn without_a_token_for_its_bytes_it_is_unknown_or_left_out() {
        let mut builder = Builder::spm(&[("▁", -1.0)]);
        builder.tokens[3 + 0xa0] = b"other".to_vec();
        with_vocabulary(&builder.build(), |vocabulary| {
            assert_eq!(split(vocabulary, "à"), ["▁", "<unk>"]);
            assert_eq!(split(vocabulary, "è"), ["▁", "<0xC3>", "<0xA8>"]);
        });
    }

    #[test]
    fn text_never_becomes_a_control_unknown_or_byte_token_however_it_merges() {
        let mut builder = Builder::spm(&[("<s", -1.0), ("▁", -9.0), ("</", -1.0), ("</s", -1.0)]);
        builder.add("x", CONTROL);
        builder.tokens[3] = b"y".to_vec();
        with_vocabulary(&builder.build(), |vocabulary| {
            assert_eq!(split(vocabulary, "<s>"), ["▁", "<s", "<0x3E>"]);
            assert_eq!(split(vocabulary, "</s>"), ["▁", "</s", "<0x3E>"]);
            assert_eq!(split(vocabulary, "xy"), ["▁", "<0x78>", "<0x79>"]);
            assert_eq!(split_special(vocabulary, "<s>x"), ["<s>", "x"]);
        });
    }

    #[test]
    fn words_merge_with_one_another_where_a_token_holds_two() {
        let tokens = [("▁", -9.0), ("a", -9.0), ("▁a", -2.0), ("a▁", -1.0), ("a▁a", -1.0)];
        let file = Builder::spm(&tokens).with_flag("add_space_prefix", false).build();
        with_vocabulary(&file, |vocabulary| assert_eq!(split(vocabulary, "a a a"), ["a▁a", "▁a"]));
    }

    #[test]
    fn pieces_have_spaces_again_and_bytes_are_bytes() {
        let mut builder = Builder::spm(&[("▁one▁two", -1.0)]);
        let user = builder.add("▁x", USER_DEFINED);
        with_vocabulary(&builder.build(), |vocabulary| {
            assert_eq!(decode(vocabulary, &[259]), b" one two");
            assert_eq!(decode(vocabulary, &[3 + 0xe9]), b"\xe9");
            assert_eq!(decode(vocabulary, &[user]), "▁x".as_bytes());
        });
    }

    #[test]
    fn the_first_three_tokens_are_unknown_bos_and_eos_unless_the_file_says_otherwise() {
        with_vocabulary(&Builder::spm(&[]).build(), |vocabulary| {
            assert_eq!(
                (vocabulary.unknown(), vocabulary.bos(), vocabulary.eos()),
                (Some(0), Some(1), Some(2))
            );
            assert_eq!((vocabulary.add_bos(), vocabulary.add_eos()), (true, false));
        });
        let file = Builder::spm(&[]).with_id("bos_token_id", 9).with_flag("add_bos_token", false).build();
        with_vocabulary(&file, |vocabulary| {
            assert_eq!((vocabulary.bos(), vocabulary.add_bos()), (Some(9), false));
        });
    }
}

mod special {
    use super::*;

    #[test]
    fn control_tokens_in_a_text_are_text_unless_asked_for() {
        let mut builder = Builder::bpe("gpt-2", &["a b"]);
        builder.add("<|x|>", CONTROL);
        with_vocabulary(&builder.build(), |vocabulary| {
            assert_eq!(split(vocabulary, "a<|x|>"), ["a", "<", "|", "x", "|", ">"]);
            assert_eq!(
                split_special(vocabulary, "a<|x|><|x|>b<|x"),
                ["a", "<|x|>", "<|x|>", "b", "<", "|", "x"]
            );
        });
    }

    #[test]
    fn user_defined_tokens_are_always_found_and_cut_the_text_around_them() {
        let mut builder = Builder::bpe("gpt-2", &["a b"]);
        builder.add("bb", USER_DEFINED);
        with_vocabulary(&builder.build(), |vocabulary| {
            assert_eq!(split(vocabulary, "abbb"), ["a", "bb", "b"]);
        });
    }

    #[test]
    fn the_leftmost_is_found_and_of_several_at_one_place_the_longest() {
        let mut builder = Builder::bpe("gpt-2", &["q q"]);
        for token in ["<a", "<a>", "<a><b>!", "b>"] {
            builder.add(token, CONTROL);
        }
        builder.add("<a><", USER_DEFINED);
        with_vocabulary(&builder.build(), |vocabulary| {
            assert_eq!(split_special(vocabulary, "<a><b>!"), ["<a><b>!"]);
            assert_eq!(split_special(vocabulary, "<a><b>?"), ["<a><", "b>", "?"]);
            assert_eq!(split_special(vocabulary, "<a>"), ["<a>"]);
            assert_eq!(split_special(vocabulary, "<<ab>"), ["<", "<a", "b>"]);
            // Longer ones that are not asked for do not hide a shorter one that is always found.
            assert_eq!(split(vocabulary, "<a><b>!"), ["<a><", "b", ">", "!"]);
        });
    }

    #[test]
    fn control_tokens_have_no_bytes_unless_asked_for() {
        with_vocabulary(&Builder::spm(&[]).build(), |vocabulary| {
            let mut buffer = [0; 8];
            for id in 0..3 {
                assert_eq!(vocabulary.piece(id, false, &mut buffer), Ok(&b""[..]));
            }
            assert_eq!(vocabulary.piece(1, true, &mut buffer), Ok(&b"<s>"[..]));
        });
    }

    #[test]
    fn bos_comes_first_where_it_is_asked_for_and_exists() {
        let file = Builder::bpe("gpt-2", &["a b"]).with_id("bos_token_id", 65).build();
        let bos = Encode { bos: true, special: false };
        with_vocabulary(&file, |vocabulary| {
            assert_eq!(encode(vocabulary, b"ab", bos), [65, 256]);
            assert_eq!(encode(vocabulary, b"", bos), [65]);
        });
        let file = Builder::bpe("gpt-2", &["a b"]).build();
        with_vocabulary(&file, |vocabulary| assert_eq!(encode(vocabulary, b"ab", bos), [256]));
    }

    /// The texts of the tokens that end an answer.
    fn ends(builder: &Builder) -> BTreeSet<String> {
        with_vocabulary(&builder.build(), |vocabulary| {
            (0..vocabulary.len() as u32)
                .filter(|&id| vocabulary.is_end_of_generation(id))
                .map(|id| String::from_utf8(vocabulary.token(id).unwrap().text.to_vec()).unwrap())
                .collect()
        })
    }

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn answers_end_with_eos_with_what_keys_state_and_with_well_known_names() {
        let mut builder =
            Builder::bpe("gpt-2", &["a b"]).with_id("eos_token_id", 65).with_id("eom_token_id", 66);
        for token in ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<end_of_turn>", "<|file_sep|>"] {
            builder.add(token, CONTROL);
        }
        let expected = set(&["A", "B", "<|im_end|>", "<|endoftext|>", "<end_of_turn>", "<|file_sep|>"]);
        assert_eq!(ends(&builder), expected);
        with_vocabulary(&builder.build(), |vocabulary| {
            assert_eq!(vocabulary.eot(), vocabulary.find(b"<|im_end|>"));
            assert_eq!(vocabulary.eom(), Some(66));
            assert!(!vocabulary.is_end_of_generation(u32::MAX));
        });
    }

    #[test]
    fn a_well_known_name_is_a_control_token_whatever_its_file_says() {
        let mut builder = Builder::bpe("gpt-2", &["a b"]);
        let end = builder.add("<|im_end|>", NORMAL);
        let channel = builder.add("<|channel|>", CONTROL);
        with_vocabulary(&builder.build(), |vocabulary| {
            assert_eq!(vocabulary.token(end).unwrap().kind, TokenKind::Control);
            assert_eq!(split_special(vocabulary, "a<|im_end|>"), ["a", "<|im_end|>"]);
            assert_eq!(decode(vocabulary, &[end]), b"");
            assert_eq!(vocabulary.token(channel).unwrap().kind, TokenKind::UserDefined);
            assert_eq!(split(vocabulary, "a<|channel|>"), ["a", "<|channel|>"]);
            assert_eq!(decode(vocabulary, &[channel]), b"<|channel|>");
        });
    }

    #[test]
    fn where_calls_and_returns_end_answers_the_end_of_a_message_does_not() {
        let mut builder = Builder::bpe("gpt-2", &["a b"]);
        builder.add("<|end|>", CONTROL);
        builder.add("<|call|>", CONTROL);
        assert_eq!(ends(&builder), set(&["<|end|>", "<|call|>"]));
        builder.add("<|return|>", CONTROL);
        assert_eq!(ends(&builder), set(&["<|call|>", "<|return|>"]));
    }

    #[test]
    fn where_tools_answer_the_end_of_sentence_is_a_tag_of_html() {
        let mut builder = Builder::bpe("gpt-2", &["a b"]);
        let tag = builder.add("</s>", NORMAL);
        assert_eq!(ends(&builder), set(&["</s>"]));
        builder.add("<|tool_response>", CONTROL);
        assert_eq!(ends(&builder), set(&["<|tool_response>"]));
        with_vocabulary(&builder.build(), |vocabulary| assert_eq!(decode(vocabulary, &[tag]), b"</s>"));
    }
}

#[test]
fn tokens_are_found_by_their_texts_and_have_kind_and_score() {
    let file = Builder::spm(&[("▁a", -1.5)]).build();
    with_vocabulary(&file, |vocabulary| {
        assert_eq!(vocabulary.len(), 260);
        let token = vocabulary.token(259).unwrap();
        assert_eq!((token.text, token.kind, token.score), ("▁a".as_bytes(), TokenKind::Normal, -1.5));
        assert_eq!(vocabulary.token(3).unwrap().kind, TokenKind::Byte);
        assert_eq!(vocabulary.find("▁a".as_bytes()), Some(259));
        assert_eq!(vocabulary.find(b" a"), None);
        assert_eq!(vocabulary.token(260), None);
        for id in 0..260 {
            assert_eq!(vocabulary.find(vocabulary.token(id).unwrap().text), Some(id));
        }
    });
}

#[test]
fn tokens_without_text_may_be_many_and_are_never_found() {
    let mut builder = Builder::spm(&[("▁", -1.0)]);
    for kind in [NORMAL, CONTROL, USER_DEFINED, UNKNOWN, UNUSED] {
        builder.add("", kind);
        builder.add("", kind);
    }
    with_vocabulary(&builder.build(), |vocabulary| {
        assert_eq!(vocabulary.find(b""), None);
        assert_eq!(split_special(vocabulary, " "), ["▁", "▁"]);
        assert_eq!(decode(vocabulary, &[262, 264]), b"");
    });
}

#[test]
fn without_a_list_of_kinds_all_tokens_are_normal() {
    let mut builder = Builder::bpe("gpt-2", &["a b"]);
    builder.kinds = None;
    with_vocabulary(&builder.build(), |vocabulary| {
        assert_eq!(split(vocabulary, "ab"), ["ab"]);
        assert_eq!(vocabulary.token(256).unwrap().kind, TokenKind::Normal);
    });
}

#[test]
fn whoever_takes_the_tokens_can_stop_them() {
    let file = Builder::bpe("gpt-2", &["x y"]).build();
    with_vocabulary(&file, |vocabulary| {
        let mut ids = Vec::new();
        let mut stop_after_two = |id| {
            ids.push(id);
            if ids.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let encoded =
            vocabulary.encode(b"a b c", Encode::default(), &mut [0; 100], &mut stop_after_two).unwrap();
        assert_eq!(encoded.tokens, 2);
        assert_eq!(ids, [97, 32]);
    });
}

/// The letters that repeat, once, twice, four times and so on as a token each.
fn doubling(unit: &str) -> Vec<String> {
    (0..6).map(|power| unit.repeat(1 << power)).collect()
}

#[test]
fn a_word_of_200_000_letters_or_spaces_takes_no_longer_than_many_short_ones() {
    let doubles: Vec<_> =
        ["a", "Ġ"].iter().flat_map(|unit| doubling(unit)).map(|half| format!("{half} {half}")).collect();
    let merges: Vec<_> = doubles.iter().map(String::as_str).collect();
    let bpe = Builder::bpe("llama-bpe", &merges).build();
    let doubles: Vec<_> = ["a", "▁"].iter().flat_map(|unit| doubling(unit)).collect();
    let tokens: Vec<_> = doubles.iter().zip(0u8..).map(|(text, i)| (text.as_str(), -f32::from(i))).collect();
    let spm = Builder::spm(&tokens).build();
    for file in [bpe, spm] {
        with_vocabulary(&file, |vocabulary| {
            for text in ["a".repeat(200_000), " ".repeat(200_000), "ab".repeat(100_000)] {
                // Some 50 ms; quadratic time would be minutes.
                let start = Instant::now();
                let ids = plain(vocabulary, &text);
                assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
                let decoded = decode(vocabulary, &ids);
                assert!(decoded.ends_with(text.as_bytes()) && decoded.len() <= text.len() + 1);
            }
        });
    }
}

mod refusals {
    use super::*;

    #[test]
    fn each_contradiction_in_the_file_is_one_sentence() {
        let bpe = || Builder::bpe("gpt-2", &["a b", "ab c"]);
        let spm = || Builder::spm(&[("▁", -1.0)]);
        let edited = |mut builder: Builder, edit: fn(&mut Builder)| {
            edit(&mut builder);
            builder
        };
        let cases = [
            (
                edited(bpe(), |b| b.model = "rwkv"),
                "the file's tokenizer (key `tokenizer.ggml.model`) is `rwkv`, which is not supported; \
                 `gpt2`, `llama`, `gemma4`, `bert` and `t5` are",
            ),
            (
                edited(bpe(), |b| b.pre = Some("gpt-3")),
                "the file's pre-tokenizer (key `tokenizer.ggml.pre`) is `gpt-3`, which is not known, so that text \
                 cannot be split as the model expects; use a newer stonechat, or set the key to a known one that splits in \
                 the same way, such as `llama-bpe`, `qwen2` or `gpt-2`",
            ),
            (
                edited(bpe(), |b| b.pre = None),
                "the file names no pre-tokenizer (key `tokenizer.ggml.pre`), without which text cannot be split as \
                 the model expects; convert the model again with a newer converter",
            ),
            (
                edited(bpe(), |b| b.merges = None),
                "the vocabulary has no merges (key `tokenizer.ggml.merges`), without which its tokenizer `gpt2` \
                 cannot work",
            ),
            (
                edited(bpe(), |b| b.merges = Some(Vec::new())),
                "the vocabulary has no merges (key `tokenizer.ggml.merges`), without which its tokenizer `gpt2` \
                 cannot work",
            ),
            (
                edited(bpe(), |b| b.merges.as_mut().unwrap()[1] = b"abc".to_vec()),
                "merge 1 of the vocabulary (key `tokenizer.ggml.merges`) is not two texts with a space between them",
            ),
            (
                edited(bpe(), |b| b.merges.as_mut().unwrap()[1] = b"ab xyz".to_vec()),
                "merge 1 of the vocabulary (key `tokenizer.ggml.merges`) joins or gives a text that is no token",
            ),
            (
                edited(bpe(), |b| b.merges.as_mut().unwrap()[0] = b"a c".to_vec()),
                "merge 0 of the vocabulary (key `tokenizer.ggml.merges`) joins or gives a text that is no token",
            ),
            (
                edited(bpe(), |b| b.tokens[70] = b"a".to_vec()),
                "tokens 70 and 97 of the vocabulary have the same text",
            ),
            (
                edited(bpe(), |b| b.tokens[70] = vec![b'x'; limits::MAX_TOKEN_BYTES + 1]),
                "token 70 has a text of 16385 bytes; the limit is 16384",
            ),
            (
                edited(spm(), |b| {
                    b.tokens.clear();
                    b.kinds = None;
                    b.scores = Some(Vec::new());
                }),
                "the vocabulary has no tokens (key `tokenizer.ggml.tokens`)",
            ),
            (
                edited(spm(), |b| b.kinds = Some(vec![1; 7])),
                "the array of key `tokenizer.ggml.token_type` has 7 elements, but the vocabulary has 260 tokens",
            ),
            (
                edited(spm(), |b| b.scores = Some(vec![0.0; 261])),
                "the array of key `tokenizer.ggml.scores` has 261 elements, but the vocabulary has 260 tokens",
            ),
            (edited(spm(), |b| b.scores = None), "the file has no key `tokenizer.ggml.scores`"),
            (
                spm().with_id("eos_token_id", 260),
                "key `tokenizer.ggml.eos_token_id` is 260, but the vocabulary has 260 tokens",
            ),
            (
                spm().with_id("fim_pad_token_id", u32::MAX),
                "key `tokenizer.ggml.fim_pad_token_id` is 4294967295, but the vocabulary has 260 tokens",
            ),
            (
                bpe().with_flag("add_bos_token", true),
                "key `tokenizer.ggml.add_bos_token` is set, but the file does not say which token that is (key \
                 `tokenizer.ggml.bos_token_id`)",
            ),
            (
                bpe().with_flag("bos_token_id", true),
                "the value of key `tokenizer.ggml.bos_token_id` is of type bool; an integer was expected",
            ),
        ];
        for (builder, expected) in cases {
            assert_eq!(refused(&builder.build()).to_string(), expected);
        }
    }

    #[test]
    fn a_file_without_a_vocabulary_says_which_key_it_lacks() {
        let file = stonechat_gguf::writer::Writer::new().finish().unwrap();
        assert_eq!(refused(&file).to_string(), "the file has no key `tokenizer.ggml.model`");
    }

    #[test]
    fn memory_that_is_too_small_or_unaligned_is_refused() {
        let file = Builder::bpe("gpt-2", &["a b"]).build();
        let gguf = Gguf::parse(&file).unwrap();
        let needed = Vocabulary::memory(&gguf).unwrap();
        let mut memory = vec![0u32; needed / 4 + 1];
        let memory: &mut [u8] = bytemuck::cast_slice_mut(&mut memory);
        let error = Error::Memory { needed, given: needed - 1 };
        assert_eq!(Vocabulary::new(&gguf, &mut memory[..needed - 1]).err(), Some(error));
        assert!(Vocabulary::new(&gguf, &mut memory[..needed]).is_ok());
        assert!(Vocabulary::new(&gguf, &mut memory[1..=needed]).is_err());
        assert!(Vocabulary::new(&gguf, &mut []).is_err());
    }

    #[test]
    fn scratch_that_is_too_small_is_refused_with_what_would_do() {
        let file = Builder::bpe("gpt-2", &["a b"]).build();
        with_vocabulary(&file, |vocabulary| {
            let mut go_on = |_| ControlFlow::Continue(());
            let text = b"a long word";
            let needed = vocabulary.scratch_for(text, Encode::default());
            let mut scratch = vec![0; needed];
            let result = vocabulary.encode(text, Encode::default(), &mut scratch[1..], &mut go_on);
            assert_eq!(result, Err(Error::Scratch { needed, given: needed - 1 }));
            assert!(vocabulary.encode(text, Encode::default(), &mut scratch, &mut go_on).is_ok());
        });
    }

    #[test]
    fn a_token_that_does_not_exist_or_fit_is_refused() {
        let file = Builder::bpe("gpt-2", &["a b"]).build();
        with_vocabulary(&file, |vocabulary| {
            let unknown = Error::UnknownToken { id: 257, tokens: 257 };
            assert_eq!(unknown.to_string(), "there is no token 257: the vocabulary has 257");
            assert_eq!(vocabulary.piece(257, false, &mut [0; 9]), Err(unknown));
            assert_eq!(vocabulary.piece(256, false, &mut [0; 1]), Err(Error::Buffer { needed: 2, given: 1 }));
        });
    }
}
