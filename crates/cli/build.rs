//! Tells the program which commit it was built from: `STONECHAT_COMMIT`, or "unknown" where the sources are in no
//! repository (a package of the registry, for instance).
//!
//! Read from `.git` itself, so that building needs no git.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Digits of a commit's id that name it well enough.
const DIGITS: usize = 9;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let commit = commit(&package.join("../../.git"));
    println!("cargo:rustc-env=STONECHAT_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit that is checked out: `git` is the repository's folder, or in a linked worktree a file that names it.
fn commit(git: &Path) -> Option<String> {
    let folder = match fs::read_to_string(git) {
        Ok(text) => git.parent()?.join(text.strip_prefix("gitdir:")?.trim()),
        Err(_) => git.to_path_buf(),
    };
    let head = read(&folder.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref: ") else { return short(&head) };
    // A worktree's branches are those of the repository that it belongs to.
    let shared = match read(&folder.join("commondir")) {
        Some(path) => folder.join(path),
        None => folder,
    };
    if let Some(id) = read(&shared.join(name)) {
        return short(&id);
    }
    let packed = read(&shared.join("packed-refs"))?;
    let line = packed.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' '))?;
    short(line)
}

/// A file's text without the newline; the build runs again when it changes.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo:rerun-if-changed={}", path.display());
    Some(text.trim_end().to_owned())
}

fn short(id: &str) -> Option<String> {
    let is_id = id.len() >= DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id[..DIGITS].to_owned())
}
