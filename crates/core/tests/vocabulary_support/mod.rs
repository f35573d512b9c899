//! What the vocabulary's tests share: a vocabulary with its memory, and encoding into vectors.
#![allow(dead_code, reason = "each test target uses a part")]

use std::ops::ControlFlow;

use stonechat_core::vocabulary::{Encode, Error, Vocabulary};
use stonechat_gguf::Gguf;
use stonechat_gguf::writer::{ArrayBuffer, Writer};

/// Makes the vocabulary of a file and hands it to `test`.
pub fn with_vocabulary<T>(file: &[u8], test: impl FnOnce(&Vocabulary<'_>) -> T) -> T {
    let gguf = Gguf::parse(file).unwrap();
    let mut memory = vec![0u32; Vocabulary::memory(&gguf).unwrap() / 4];
    let vocabulary = Vocabulary::new(&gguf, bytemuck::cast_slice_mut(&mut memory)).unwrap();
    test(&vocabulary)
}

/// Makes the vocabulary of a file that is expected to be refused.
pub fn refused(file: &[u8]) -> Error {
    let gguf = Gguf::parse(file).unwrap();
    match Vocabulary::memory(&gguf) {
        Err(error) => error,
        Ok(len) => Vocabulary::new(&gguf, bytemuck::cast_slice_mut(&mut vec![0u32; len / 4])).unwrap_err(),
    }
}

/// The tokens of a text, made in exactly the scratch that is asked for it.
pub fn encode(vocabulary: &Vocabulary<'_>, text: &[u8], options: Encode) -> Vec<u32> {
    let words = vocabulary.scratch_for(text, options);
    assert!(words <= vocabulary.scratch_len(text.len()));
    let mut ids = Vec::new();
    let encoded = vocabulary
        .encode(text, options, &mut vec![0; words], &mut |id| {
            ids.push(id);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(encoded.tokens, ids.len());
    ids
}

/// The tokens of a text in which nothing is special.
pub fn plain(vocabulary: &Vocabulary<'_>, text: &str) -> Vec<u32> {
    encode(vocabulary, text.as_bytes(), Encode::default())
}

/// The bytes of tokens, control tokens left out.
pub fn decode(vocabulary: &Vocabulary<'_>, ids: &[u32]) -> Vec<u8> {
    let mut buffer = vec![0; vocabulary.max_piece_len()];
    ids.iter().flat_map(|&id| vocabulary.piece(id, false, &mut buffer).unwrap().to_vec()).collect()
}

/// What `tokenizer.ggml.token_type` calls them.
pub const NORMAL: i32 = 1;
pub const UNKNOWN: i32 = 2;
pub const CONTROL: i32 = 3;
pub const USER_DEFINED: i32 = 4;
pub const UNUSED: i32 = 5;
pub const BYTE: i32 = 6;

/// A vocabulary in the making. What is `None` is left out of the file.
#[derive(Clone, Debug)]
pub struct Builder {
    pub model: &'static str,
    pub pre: Option<&'static str>,
    pub tokens: Vec<Vec<u8>>,
    pub kinds: Option<Vec<i32>>,
    pub scores: Option<Vec<f32>>,
    pub merges: Option<Vec<Vec<u8>>>,
    pub ids: Vec<(&'static str, u32)>,
    pub flags: Vec<(&'static str, bool)>,
    pub charsmap: Option<Vec<u8>>,
}

impl Builder {
    /// Byte-level BPE with a token for each byte, whose id is the byte, and one for what each merge gives.
    pub fn bpe(pre: &'static str, merges: &[&str]) -> Self {
        let mut builder = Self {
            model: "gpt2",
            pre: Some(pre),
            tokens: Vec::new(),
            kinds: Some(Vec::new()),
            scores: None,
            merges: Some(merges.iter().map(|merge| merge.as_bytes().to_vec()).collect()),
            ids: Vec::new(),
            flags: Vec::new(),
            charsmap: None,
        };
        for byte in 0..=255 {
            builder.add(&written(&[byte]), NORMAL);
        }
        for merge in merges {
            builder.add(&merge.replacen(' ', "", 1), NORMAL);
        }
        builder
    }

    /// SentencePiece's BPE with its three control tokens, a token for each byte, whose id is the byte and three, and
    /// these, with a score each.
    pub fn spm(tokens: &[(&str, f32)]) -> Self {
        let mut builder = Self {
            model: "llama",
            pre: None,
            tokens: Vec::new(),
            kinds: Some(Vec::new()),
            scores: Some(Vec::new()),
            merges: None,
            ids: Vec::new(),
            flags: Vec::new(),
            charsmap: None,
        };
        builder.add("<unk>", UNKNOWN);
        builder.add("<s>", CONTROL);
        builder.add("</s>", CONTROL);
        for byte in 0..=255 {
            builder.add(&format!("<0x{byte:02X}>"), BYTE);
        }
        for &(token, score) in tokens {
            let id = builder.add(token, NORMAL);
            builder.scores.as_mut().unwrap()[id as usize] = score;
        }
        builder
    }

    /// WordPiece with `[UNK]`, `[CLS]` and `[SEP]` and these tokens, as files write them.
    pub fn wordpiece(tokens: &[&str]) -> Self {
        let mut builder = Self::spm(&[]);
        builder.model = "bert";
        builder.tokens.clear();
        builder.kinds = Some(Vec::new());
        builder.scores = None;
        builder.add("[UNK]", UNKNOWN);
        builder.add("[CLS]", CONTROL);
        builder.add("[SEP]", CONTROL);
        for token in tokens {
            builder.add(token, NORMAL);
        }
        builder.with_id("unknown_token_id", 0).with_id("cls_token_id", 1).with_id("seperator_token_id", 2)
    }

    /// SentencePiece's unigram model with three control tokens and these, with a score each.
    pub fn unigram(tokens: &[(&str, f32)]) -> Self {
        let mut builder = Self::spm(&[]);
        builder.model = "t5";
        builder.tokens.truncate(3);
        builder.kinds.as_mut().unwrap().truncate(3);
        builder.scores.as_mut().unwrap().truncate(3);
        for &(token, score) in tokens {
            builder.add(token, NORMAL);
            *builder.scores.as_mut().unwrap().last_mut().unwrap() = score;
        }
        builder.with_id("unknown_token_id", 0).with_id("eos_token_id", 2)
    }

    /// Adds a token of this kind and gives its id.
    pub fn add(&mut self, text: &str, kind: i32) -> u32 {
        self.tokens.push(text.as_bytes().to_vec());
        self.kinds.as_mut().unwrap().push(kind);
        if let Some(scores) = &mut self.scores {
            scores.push(0.0);
        }
        self.tokens.len() as u32 - 1
    }

    pub fn with_id(mut self, key: &'static str, id: u32) -> Self {
        self.ids.push((key, id));
        self
    }

    pub fn with_flag(mut self, key: &'static str, value: bool) -> Self {
        self.flags.push((key, value));
        self
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        writer.metadata(&key("model"), self.model).unwrap();
        if let Some(pre) = self.pre {
            writer.metadata(&key("pre"), pre).unwrap();
        }
        let strings = |texts: &[Vec<u8>]| ArrayBuffer::new(texts.iter().map(Vec::as_slice));
        writer.metadata(&key("tokens"), &strings(&self.tokens)).unwrap();
        if let Some(kinds) = &self.kinds {
            writer.metadata(&key("token_type"), &ArrayBuffer::new(kinds.iter().copied())).unwrap();
        }
        if let Some(scores) = &self.scores {
            writer.metadata(&key("scores"), &ArrayBuffer::new(scores.iter().copied())).unwrap();
        }
        if let Some(merges) = &self.merges {
            writer.metadata(&key("merges"), &strings(merges)).unwrap();
        }
        if let Some(charsmap) = &self.charsmap {
            writer
                .metadata(&key("precompiled_charsmap"), &ArrayBuffer::new(charsmap.iter().copied()))
                .unwrap();
        }
        for &(name, id) in &self.ids {
            writer.metadata(&key(name), id).unwrap();
        }
        for &(name, flag) in &self.flags {
            writer.metadata(&key(name), flag).unwrap();
        }
        writer.finish().unwrap()
    }
}

/// How bytes are written in a byte-level vocabulary, said once more in another way than the code under test has it.
pub fn written(bytes: &[u8]) -> String {
    let shown = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let character = |byte: u8| {
        if shown(byte) {
            return char::from(byte);
        }
        let before = (0..byte).filter(|&other| !shown(other)).count();
        char::from_u32(0x100 + before as u32).unwrap()
    };
    bytes.iter().map(|&byte| character(byte)).collect()
}
