//! The real files in the folder that `STONECHAT_GOLDEN` names.

use std::fs;
use std::path::{Path, PathBuf};

/// Every GGUF file there; none, and a line on stderr, where the variable is not set.
pub fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    match std::env::var_os("STONECHAT_GOLDEN") {
        Some(folder) => {
            files_under(Path::new(&folder), &mut found);
            assert!(!found.is_empty(), "STONECHAT_GOLDEN holds no GGUF file");
        }
        None => eprintln!("skipped: STONECHAT_GOLDEN is not set"),
    }
    found
}

fn files_under(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a golden folder can be listed") {
        let path = entry.expect("a golden folder can be listed").path();
        if path.is_dir() {
            files_under(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "gguf") {
            found.push(path);
        }
    }
}
