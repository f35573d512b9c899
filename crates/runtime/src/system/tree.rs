//! A folder that looks like the root of a system, for tests.

use std::fs;

use tempfile::TempDir;

use super::Root;

/// Writes the files into a folder that lives as long as the first part of the result.
pub fn tree(files: &[(&str, &str)]) -> (TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, files);
    let root = Root(folder.path().to_path_buf());
    (folder, root)
}

/// Writes or rewrites files.
pub fn put(folder: &TempDir, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}
