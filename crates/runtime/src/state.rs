//! What a session knows, on disk: the tokens it was fed and their keys and values.
//!
//! In: a session. Out: a file that another process, started later, takes back in milliseconds in place of computing the
//! tokens again, with the same bits. A file is of use to one model under one plan (KV formats, activations, rope) only;
//! a [`Key`] tells. Two things are kept this way: whole conversations, and in the [`cache`] the beginnings that
//! prompts share.
//!
//! ```text
//! offset  bytes
//!      0      8  "STONEKV\n"
//!      8      4  version
//!     12      4  tokens, n
//!     16      4  position of the first of them
//!     20      4  length of the note, m
//!     24      8  length of the state
//!     32     32  key
//!     64      8  XXH3 of the state
//!     72      8  XXH3 of the bytes before, the tokens and the note
//!     80    4 n  tokens
//!             m  note: what the keeper wants to find again, for instance the conversation
//!                state: as stonechat_core::session::state exports it
//! ```
//! Numbers are little-endian. XXH3 (Collet 2019, 64 bits) finds damage, not malice.

pub mod cache;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stonechat_core::Session;
use stonechat_core::session::STATE_UNIT;
use xxhash_rust::xxh3::Xxh3;

use crate::Error;
use crate::output::{Durability, Output};

pub use cache::PromptCache;

const MAGIC: [u8; 8] = *b"STONEKV\n";
const VERSION: u32 = 1;
const HEADER: usize = 80;
/// Of each matrix, so many bytes at its beginning and at its end tell one training from another.
const SAMPLE: usize = 4096;
/// No note is longer: a conversation of millions of words.
const MOST_NOTE: u32 = 64 << 20;

/// Which model and plan a state belongs to: the SHA-256 of all that its bytes depend on, the weights by samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// The key of what this session computes.
    pub fn of(session: &Session<'_>) -> Self {
        let gguf = session.model().gguf();
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        hash.update(VERSION.to_le_bytes());
        // Header, metadata and the table of tensors are what lies before the first of them.
        let start = |data: &[u8]| data.as_ptr() as usize - gguf.bytes().as_ptr() as usize;
        let header = gguf.tensors().map(|tensor| start(tensor.data)).min().unwrap_or(gguf.bytes().len());
        hash.update(&gguf.bytes()[..header]);
        for tensor in gguf.tensors() {
            let data = tensor.data;
            hash.update(&data[..data.len().min(SAMPLE)]);
            hash.update(&data[data.len().saturating_sub(SAMPLE)..]);
        }
        session.fingerprint(|bytes| hash.update(bytes));
        Self(hash.finalize().into())
    }
}

/// What is wrong with a file of state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// It is something else.
    NoState,
    /// It was written by another version of this program.
    Version(u32),
    /// It belongs to another model or plan.
    OtherModel,
    /// Its checksum does not fit its bytes, or it was cut short.
    Damaged,
    /// It is whole, but says what no session says.
    Impossible(&'static str),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoState => f.write_str("is no session of this program; check the path"),
            Self::Version(version) => {
                write!(f, "has format version {version}, this program reads {VERSION}; begin a new session")
            }
            Self::OtherModel => f.write_str(
                "was made with another model file, KV format or rope; give the same ones, or begin a new session",
            ),
            Self::Damaged => f.write_str("is damaged: its checksum is wrong; begin a new session"),
            Self::Impossible(why) => write!(f, "is no session of this program: {why}; begin a new session"),
        }
    }
}

/// What is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep<'k> {
    /// Whose state it is.
    pub key: Key,
    /// The position of the first token, a multiple of [`STATE_UNIT`].
    pub position: usize,
    /// The tokens.
    pub tokens: &'k [u32],
    /// What the keeper wants to find again.
    pub note: &'k [u8],
}

impl Keep<'_> {
    /// The positions of the tokens.
    fn positions(&self) -> Range<usize> {
        self.position..self.position + self.tokens.len()
    }
}

/// Writes the file `path`, whole or not at all. Returns its length.
pub fn write(
    path: &Path,
    keep: &Keep<'_>,
    session: &Session<'_>,
    durability: Durability,
) -> Result<u64, Error> {
    let mut len = 0;
    let mut sum = Xxh3::new();
    let summed = session.export(keep.positions(), |bytes| {
        len += bytes.len() as u64;
        sum.update(bytes);
        Ok::<_, std::convert::Infallible>(())
    });
    let Ok(()) = summed;
    let mut head = Vec::with_capacity(HEADER + 4 * keep.tokens.len() + keep.note.len());
    head.extend(MAGIC);
    for number in [VERSION, keep.tokens.len() as u32, keep.position as u32, keep.note.len() as u32] {
        head.extend(number.to_le_bytes());
    }
    head.extend(len.to_le_bytes());
    head.extend(keep.key.0);
    head.extend(sum.digest().to_le_bytes());
    let mut sum = Xxh3::new();
    sum.update(&head);
    let tokens: Vec<u8> = keep.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    sum.update(&tokens);
    sum.update(keep.note);
    head.extend(sum.digest().to_le_bytes());
    head.extend(tokens);
    head.extend(keep.note);
    let mut out = Output::create_private(path)?;
    out.write(&head)?;
    session.export(keep.positions(), |bytes| out.write(bytes))?;
    out.finish(durability)
}

/// A file of state whose head has been read and found whole.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    file: BufReader<File>,
    position: usize,
    tokens: Vec<u32>,
    note: Vec<u8>,
    len: u64,
    sum: u64,
}

impl Kept {
    /// Opens a file and reads all but the state.
    pub fn open(path: &Path, key: &Key) -> Result<Self, Error> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::State { path: path.into(), problem: Problem::Damaged },
            _ => Error::from_io("read", path, source),
        };
        let problem = |problem| Error::State { path: path.into(), problem };
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::with_capacity(1 << 16, file);
        let mut head = [0; HEADER];
        let magic = file.read_exact(&mut head[..8]);
        if magic.is_err() || head[..8] != MAGIC {
            return Err(match magic {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => failed(error),
                _ => problem(Problem::NoState),
            });
        }
        file.read_exact(&mut head[8..]).map_err(failed)?;
        let word = |at: usize| u32::from_le_bytes(head.as_chunks().0[at / 4]);
        let long = |at: usize| u64::from_le_bytes(head.as_chunks().0[at / 8]);
        if word(8) != VERSION {
            return Err(problem(Problem::Version(word(8))));
        }
        if head[32..64] != key.0 {
            return Err(problem(Problem::OtherModel));
        }
        let (count, note, len) = (word(12), word(20), long(24));
        let before_state = HEADER as u64 + 4 * u64::from(count) + u64::from(note);
        if note > MOST_NOTE || before_state.checked_add(len) != Some(size) {
            return Err(problem(Problem::Damaged));
        }
        let mut tokens = vec![0; 4 * count as usize];
        let mut note = vec![0; note as usize];
        file.read_exact(&mut tokens).and_then(|()| file.read_exact(&mut note)).map_err(failed)?;
        let mut sum = Xxh3::new();
        sum.update(&head[..72]);
        sum.update(&tokens);
        sum.update(&note);
        if sum.digest() != long(72) {
            return Err(problem(Problem::Damaged));
        }
        let tokens = tokens.as_chunks().0.iter().map(|token| u32::from_le_bytes(*token)).collect();
        Ok(Self { path: path.into(), file, position: word(16) as usize, tokens, note, len, sum: long(64) })
    }

    /// The position of the first token.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// The tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What the keeper wanted to find again.
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// Brings the first `taken` tokens into the session, which stands where they begin. On an error it stands there
    /// still.
    ///
    /// A recurrent state is that after all tokens: models that have one take all or none.
    ///
    /// # Panics
    /// If it stands elsewhere, there are not so many tokens, or its context ends before them.
    pub fn restore(mut self, session: &mut Session<'_>, taken: usize) -> Result<(), Error> {
        assert!(taken <= self.tokens.len() && session.position() == self.position, "the tokens that follow");
        assert!(
            session.state().is_empty() || taken == self.tokens.len(),
            "a recurrent state is that after all"
        );
        if taken == 0 {
            return Ok(());
        }
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::State { path: self.path.clone(), problem: Problem::Damaged }
            }
            _ => Error::from_io("read", &self.path, source),
        };
        let units = self.tokens.len().div_ceil(STATE_UNIT);
        let units_taken = taken.div_ceil(STATE_UNIT);
        let (mut read, mut rest, mut sum) = (0, Vec::new(), Xxh3::new());
        session.import(self.position..self.position + taken, |bytes| {
            // Of each stretch the beginning is taken; the rest of it is read for the sum's sake.
            rest.resize(bytes.len() / units_taken * (units - units_taken), 0);
            self.file.read_exact(bytes).and_then(|()| self.file.read_exact(&mut rest)).map_err(failed)?;
            sum.update(bytes);
            sum.update(&rest);
            read += (bytes.len() + rest.len()) as u64;
            Ok::<_, Error>(())
        })?;
        if read != self.len || sum.digest() != self.sum {
            // Where a recurrent state forbids this, the position is 0.
            if session.rewind(self.position).is_err() {
                session.forget();
            }
            return Err(Error::State { path: self.path, problem: Problem::Damaged });
        }
        Ok(())
    }
}
