//! Says where the linker script is, and which model goes into the image: `STONECHAT_MODEL`, by default the tiny one in int8.

use std::env;
use std::path::PathBuf;

fn main() {
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap());
    println!("cargo:rustc-link-search={}", folder.display());
    println!("cargo:rerun-if-changed=link.ld");
    println!("cargo:rerun-if-env-changed=STONECHAT_MODEL");
    let path = env::var("STONECHAT_MODEL")
        .map_or_else(|_| folder.join("../../models/tiny/tiny-Q8_0.gguf"), PathBuf::from);
    match path.canonicalize() {
        Ok(path) => {
            println!("cargo:rerun-if-changed={}", path.display());
            println!("cargo:rustc-env=STONECHAT_MODEL={}", path.display());
        }
        Err(error) => {
            println!("cargo:error=cannot read the model {}: {error}; set STONECHAT_MODEL", path.display())
        }
    }
}
