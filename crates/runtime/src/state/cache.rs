//! The prompt cache: beginnings of prompts that were computed once, found again by what they say.
//!
//! In: a prompt's tokens. Out: a session that has been fed as many of them as any earlier prompt began with, be it in
//! this process or one that ended long ago. A folder holds a tree: each file is the state of up to [`BLOCK`] tokens and is
//! named after the tokens before it and its own, so prompts that begin alike share files, and what
//! follows a file is found by its name. Keys and values depend on earlier tokens only, so any part of a file's
//! tokens is worth taking.
//!
//! Files appear whole, nobody changes them, and any may vanish: processes share the folder without locks. Where the
//! folder grows beyond its limit, what has not been used for longest goes. A damaged file is removed, and what
//! it held computed again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use stonechat_core::Session;

use super::{Keep, Kept, Key};
use crate::Error;
use crate::output::{Durability, UNFINISHED};

/// The tokens of a full file: those that attention takes as one chunk.
pub const BLOCK: usize = 256;
/// Fewer tokens are computed as quickly as they are found. (Nine took some 40 ms, which is more than 1,536 that were known.)
const WORTH_KEEPING: usize = 4;
/// What the names of the files end with.
const EXTENSION: &str = "kv";
/// A file used within this time is not marked as used again: flash wears out.
const MARK_AGAIN: Duration = Duration::from_mins(1);
/// An unfinished file that nobody has touched for so long has no writer.
const ABANDONED: Duration = Duration::from_hours(1);

/// A folder of beginnings.
#[derive(Clone, Debug)]
pub struct PromptCache {
    folder: PathBuf,
    limit: u64,
    key: Key,
}

/// The tokens up to a place in the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Node([u8; 16]);

impl Node {
    fn root(key: &Key) -> Self {
        Self(*key.0.first_chunk().expect("16 of 32"))
    }

    /// Where these tokens lead.
    fn then(&self, tokens: &[u32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
        let hash: [u8; 32] = hash.finalize().into();
        Self(*hash.first_chunk().expect("16 of 32"))
    }

    fn hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

/// How many tokens two texts begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl PromptCache {
    /// The cache in `folder`, which is made if it does not exist, of at most `limit` bytes, for what `session`
    /// computes.
    pub fn open(folder: impl Into<PathBuf>, limit: u64, session: &Session<'_>) -> Result<Self, Error> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|source| Error::NoFolder { path: folder.clone(), source })?;
        Ok(Self { folder, limit, key: Key::of(session) })
    }

    /// Feeds `session`, which stands at the beginning, as many of the first `tokens` as are known; returns how many. What
    /// cannot be read is not known.
    pub fn restore(&self, session: &mut Session<'_>, tokens: &[u32]) -> usize {
        let tokens = &tokens[..tokens.len().min(session.context())];
        let mut node = Node::root(&self.key);
        while session.position() < tokens.len() {
            let at = session.position();
            let rest = &tokens[at..];
            let Some((found, len)) = self.best(&node, at, rest) else { break };
            let path = found.path.clone();
            let next = (len == BLOCK).then(|| node.then(&rest[..BLOCK]));
            match found.restore(session, len) {
                Ok(()) => mark_as_used(&path),
                Err(error) => {
                    if matches!(error, Error::State { .. }) {
                        let _ = fs::remove_file(&path);
                    }
                    break;
                }
            }
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        session.position()
    }

    /// Keeps the state of the `tokens` that `session` was fed from its beginning, as far as it is not known. Returns
    /// how many bytes that took.
    ///
    /// # Panics
    /// If `session` was fed fewer tokens.
    pub fn keep(&self, session: &Session<'_>, tokens: &[u32]) -> Result<u64, Error> {
        assert!(tokens.len() <= session.position(), "tokens that were fed");
        // A recurrent state is that after all tokens: it is no beginning of anything.
        if !session.state().is_empty() {
            return Ok(0);
        }
        let mut node = Node::root(&self.key);
        let mut written = 0;
        for (number, block) in tokens.chunks(BLOCK).enumerate() {
            let at = number * BLOCK;
            if block.len() < WORTH_KEEPING {
                break;
            }
            let next = node.then(block);
            if self.best(&node, at, block).is_none_or(|(_, len)| len < block.len()) {
                let path = self.folder.join(format!("{}-{}.{EXTENSION}", node.hex(), next.hex()));
                let keep = Keep { key: self.key, position: at, tokens: block, note: b"" };
                written += super::write(&path, &keep, session, Durability::Cached)?;
                self.drop_beginnings(&node, at, block, &path);
            }
            node = next;
        }
        if written > 0 {
            self.trim();
        }
        Ok(written)
    }

    /// The file after `node` that begins with most of `tokens`, and how many these are.
    fn best(&self, node: &Node, position: usize, tokens: &[u32]) -> Option<(Kept, usize)> {
        self.after(node, position)
            .map(|kept| {
                let len = common(kept.tokens(), tokens);
                (kept, len)
            })
            .filter(|(_, len)| *len > 0)
            .max_by_key(|(_, len)| *len)
    }

    /// The files after `node`. Damaged ones are removed.
    fn after(&self, node: &Node, position: usize) -> impl Iterator<Item = Kept> {
        let prefix = format!("{}-", node.hex());
        self.files().into_iter().filter_map(move |file| {
            let name = file.path.file_name()?.to_str()?;
            if !name.starts_with(&prefix) {
                return None;
            }
            match Kept::open(&file.path, &self.key) {
                Ok(kept) => (kept.position() == position && kept.tokens().len() <= BLOCK).then_some(kept),
                Err(Error::State { .. }) => {
                    let _ = fs::remove_file(&file.path);
                    None
                }
                Err(_) => None,
            }
        })
    }

    /// Removes what the file `path` of `tokens` has made superfluous: files of fewer tokens, which it begins with.
    fn drop_beginnings(&self, node: &Node, position: usize, tokens: &[u32], path: &Path) {
        for kept in self.after(node, position) {
            if kept.path != path && tokens.starts_with(kept.tokens()) {
                let _ = fs::remove_file(&kept.path);
            }
        }
    }

    /// All files of the folder, whosever.
    fn files(&self) -> Vec<Entry> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                let used = metadata.modified().ok()?;
                Some(Entry { path: entry.path(), bytes: metadata.len(), used })
            })
            .collect()
    }

    /// Removes what has not been used for longest, until the rest is within the limit, and what killed writers left.
    fn trim(&self) {
        let mut files = self.files();
        files.retain(|file| {
            let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(UNFINISHED) && file.used.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(&file.path);
            }
            file.path.extension().is_some_and(|extension| extension == EXTENSION)
        });
        files.sort_by_key(|file| file.used);
        let mut sum: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files {
            if sum <= self.limit {
                break;
            }
            if fs::remove_file(&file.path).is_ok() {
                sum -= file.bytes;
            }
        }
    }
}

/// A file of the folder.
struct Entry {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Notes that a file was of use, which is what its time of modification stands for.
fn mark_as_used(path: &Path) {
    let file = fs::OpenOptions::new().append(true).open(path);
    let Ok(file) = file else { return };
    let recent =
        file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|used| used.elapsed().ok());
    if recent.is_none_or(|age| age > MARK_AGAIN) {
        let _ = file.set_modified(SystemTime::now());
    }
}
