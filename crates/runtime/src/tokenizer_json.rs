//! `tokenizer.json`: a tokenizer as the library `tokenizers` keeps it, which lies beside models in other formats.
//!
//! A GGUF file carries its vocabulary itself, and `stonechat-core` reads that. This is for a folder without such a file,
//! or with one whose tokenizer the core does not know: in goes the JSON file, out come tokens, made by the library.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use crate::{Error, MappedFile};

/// The name of the file.
const NAME: &str = "tokenizer.json";

/// A tokenizer from a `tokenizer.json`.
#[derive(Debug)]
pub struct TokenizerJson {
    tokenizer: Tokenizer,
    path: PathBuf,
}

impl TokenizerJson {
    /// The file that `path` stands for: a folder's `tokenizer.json`, or a JSON file itself. Nothing for other paths; that
    /// the file is there is not looked at.
    pub fn locate(path: &Path) -> Option<PathBuf> {
        if path.is_dir() {
            return Some(path.join(NAME));
        }
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")).then(|| path.into())
    }

    /// The `tokenizer.json` in the folder of a model's file, if there is one.
    pub fn beside(model: &Path) -> Option<PathBuf> {
        Some(model.with_file_name(NAME)).filter(|path| path.is_file())
    }

    /// Reads a file. A text is encoded whole: what the file says of padding and of a greatest length is left aside.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = MappedFile::open(path)?;
        let mut tokenizer =
            guarded(path, || Tokenizer::from_bytes(&*file).map_err(|error| error.to_string()))?;
        tokenizer.with_padding(None);
        guarded(path, || tokenizer.with_truncation(None).map(|_| ()).map_err(|error| error.to_string()))?;
        Ok(Self { tokenizer, path: path.into() })
    }

    /// The tokens of a text; `bos` puts what the file wants at the beginning of texts before them, and `special` lets
    /// special tokens in the text count as such.
    pub fn encode(&mut self, text: &str, bos: bool, special: bool) -> Result<Vec<u32>, Error> {
        self.tokenizer.set_encode_special_tokens(!special);
        let encode = |text, whole| {
            guarded(&self.path, || self.tokenizer.encode_fast(text, whole).map_err(|error| error.to_string()))
        };
        let mut ids = Vec::new();
        if bos {
            // The library puts beginning and end around a text together. Any text tells which of them there is.
            let (around, plain) = (encode("a", true)?, encode("a", false)?);
            if !around.get_ids().starts_with(plain.get_ids()) {
                ids.extend_from_slice(&around.get_ids()[..1]);
            }
        }
        ids.extend_from_slice(encode(text, false)?.get_ids());
        Ok(ids)
    }

    /// How the vocabulary writes a token.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }
}

/// What the library does with a file that may hold anything: its panics are errors like its own.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, String>) -> Result<T, Error> {
    let failed = |reason: String| Error::Tokenizer { path: path.into(), reason };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed("the library that reads it gave up on what it says".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tokenizers").join(path)
    }

    #[test]
    fn a_folder_stands_for_its_file_and_a_json_file_for_itself() {
        let folder = golden("wordpiece");
        let file = folder.join(NAME);
        assert_eq!(TokenizerJson::locate(&folder), Some(file.clone()));
        assert_eq!(TokenizerJson::locate(&file), Some(file.clone()));
        assert_eq!(TokenizerJson::locate(&golden("wordpiece.gguf")), None);
        assert_eq!(TokenizerJson::beside(&folder.join("model.gguf")), Some(file));
        assert_eq!(TokenizerJson::beside(&golden("wordpiece.gguf")), None);
    }

    #[test]
    fn texts_have_the_tokens_of_the_library_and_begin_as_the_file_asks() {
        let goldens = std::fs::File::open(golden("families.json.gz")).unwrap();
        let goldens: serde_json::Value =
            serde_json::from_reader(flate2::read::GzDecoder::new(goldens)).unwrap();
        let golden_texts = &goldens["tokenizers"]["wordpiece"];
        let mut tokenizer = TokenizerJson::open(&golden("wordpiece").join(NAME)).unwrap();
        let pairs =
            golden_texts["texts"].as_array().unwrap().iter().zip(golden_texts["ids"].as_array().unwrap());
        assert!(pairs.len() > 90);
        for (text, ids) in pairs {
            let ids: Vec<_> = ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            let text = text.as_str().unwrap();
            assert_eq!(tokenizer.encode(text, false, false).unwrap(), ids, "{text:?}");
            assert_eq!(tokenizer.encode(text, true, false).unwrap(), [&[2], &ids[..]].concat(), "{text:?}");
        }
        assert_eq!(tokenizer.piece(2).as_deref(), Some("[CLS]"));
        assert_eq!(tokenizer.encode("[SEP]", false, true).unwrap(), [3]);
        assert_ne!(tokenizer.encode("[SEP]", false, false).unwrap(), [3]);
    }

    #[test]
    fn tokenizers_of_real_models_give_their_tokens() {
        let Some(folder) = std::env::var_os("STONECHAT_GOLDEN").map(PathBuf::from) else {
            println!("not asked to run; set STONECHAT_GOLDEN to the folder of golden data");
            return;
        };
        let goldens = std::fs::read(folder.join("tokenizers/goldens.json")).unwrap();
        let goldens: serde_json::Value = serde_json::from_slice(&goldens).unwrap();
        for name in ["gpt2", "llama3_2", "qwen2_5"] {
            let mut tokenizer =
                TokenizerJson::open(&folder.join("tokenizers").join(name).join(NAME)).unwrap();
            let ids = goldens["tokenizers"][name]["ids"].as_array().unwrap();
            let pairs = goldens["texts"].as_array().unwrap().iter().zip(ids);
            assert_eq!(pairs.len(), 142);
            for (text, ids) in pairs {
                let ids: Vec<_> =
                    ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
                // The golden's author let control tokens count as such.
                let found = tokenizer.encode(text.as_str().unwrap(), false, true).unwrap();
                assert_eq!(found, ids, "{name}: {text}");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_tokenizer_is_refused_in_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let whole = std::fs::read(golden("wordpiece").join(NAME)).unwrap();
        for text in [&b"{}"[..], b"[1, 2", b"\xff\xfe", &whole[..whole.len() / 2]] {
            std::fs::write(&path, text).unwrap();
            let error = TokenizerJson::open(&path).unwrap_err().to_string();
            assert!(error.contains(NAME) && error.ends_with("; fetch the file again"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let error = TokenizerJson::open(&folder.path().join("none.json")).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
}
