//! A model's vocabulary on its own, to be shared by threads while an engine computes on another.
//!
//! In: a model's file, which is mapped a second time; that costs no memory but the index. Out: a [`Tokenizer`], which keeps all
//! that it needs and may outlive the engine.

use std::fmt;
use std::path::Path;

use self_cell::{MutBorrow, self_cell};
use stonechat_core::Vocabulary;
use stonechat_core::vocabulary::Encode;
use stonechat_gguf::Gguf;

use crate::prompt::encode;
use crate::{Arena, Error, MappedFile};

/// What a vocabulary lives in.
struct Ground {
    file: MappedFile,
    index: MutBorrow<Arena>,
}

self_cell!(
    /// A vocabulary and what it lives in.
    struct Living {
        owner: Ground,
        #[covariant]
        dependent: Vocabulary,
    }
);

/// A vocabulary. See the [module](self).
pub struct Tokenizer(Living);

impl Tokenizer {
    /// The vocabulary of the model in `file`.
    pub fn new(file: &MappedFile) -> Result<Self, Error> {
        let path = file.path();
        let at = |error: stonechat_core::vocabulary::Error| Error::model(path, error);
        let file = file.again()?;
        let bytes = {
            let gguf = Gguf::parse(&file).map_err(|error| Error::model(path, error))?;
            Vocabulary::memory(&gguf).map_err(at)?
        };
        let ground = Ground { file, index: MutBorrow::new(Arena::new(bytes)?) };
        let living = Living::try_new(ground, |ground| {
            let gguf = Gguf::parse(&ground.file).map_err(|error| Error::model(path, error))?;
            Vocabulary::new(&gguf, ground.index.borrow_mut().as_mut_slice()).map_err(at)
        })?;
        living.borrow_owner().file.check()?;
        Ok(Self(living))
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> &Vocabulary<'_> {
        self.0.borrow_dependent()
    }

    /// The model's file.
    pub fn file(&self) -> &MappedFile {
        &self.0.borrow_owner().file
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.file().path()
    }

    /// The tokens of `text`.
    pub fn encode(&self, text: &[u8], options: Encode) -> Result<Vec<u32>, Error> {
        let tokens = encode(self.vocabulary(), text, options).map_err(|error| self.failed(error));
        // What was read past a cut is zeros, of which nothing is to be said but that.
        self.file().check()?;
        tokens
    }

    /// A failure of the core; if the file was cut short in the meantime, that is the cause to name.
    pub fn failed(&self, error: impl Into<stonechat_core::Error>) -> Error {
        self.file().check().map_or_else(|cut| cut, |()| Error::model(self.path(), error))
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("file", &self.path())
            .field("vocabulary", self.vocabulary())
            .finish_non_exhaustive()
    }
}
