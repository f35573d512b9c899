//! Real files: those of `tests/golden`, and of the folder that `STONECHAT_GOLDEN` names.

use std::fs;
use std::path::{Path, PathBuf};

/// Every GGUF file of this repository.
pub fn files_here() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_under(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"), &mut found);
    assert!(found.len() >= 15, "this repository has {} files only", found.len());
    found
}

/// The above, and every GGUF file of the folder that `STONECHAT_GOLDEN` names.
pub fn files() -> Vec<PathBuf> {
    let mut found = files_here();
    match std::env::var_os("STONECHAT_GOLDEN") {
        Some(folder) => {
            let here = found.len();
            files_under(Path::new(&folder), &mut found);
            assert!(found.len() > here, "STONECHAT_GOLDEN holds no GGUF file");
        }
        None => eprintln!("STONECHAT_GOLDEN names no folder: only the files of this repository are read"),
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
