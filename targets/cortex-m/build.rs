//! Makes the plan for the model that goes into the image, and the memory map of the board it is for.
//!
//! `STONECHAT_MODEL` names the GGUF file (by default the tiny model in int8), `STONECHAT_CONTEXT` the tokens of context. A
//! model or a plan that does not fit stops the build in one sentence.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::exit;

use stonechat_core::{Limits, Model, Plan};
use stonechat_gguf::Gguf;

/// A board that the image is for.
struct Board {
    names: &'static str,
    flash: (u32, usize),
    ram: (u32, usize),
}

const MPS2: Board = Board { names: "mps2-an386 and an500", flash: (0, 4 << 20), ram: (0x2000_0000, 4 << 20) };
const MPS2_M33: Board =
    Board { names: "mps2-an505", flash: (0x1000_0000, 4 << 20), ram: (0x3800_0000, 4 << 20) };

/// What code may take of the flash (it takes up to 645 kB), and the stack of the RAM.
const CODE: usize = 704 << 10;
const STACK: usize = 64 << 10;

/// Tokens of a prompt that are computed together. The plan is made on the machine that builds, whose kernels may want room
/// for a matrix engine from 5 tokens on.
const BATCH: usize = 4;

fn main() {
    for name in ["STONECHAT_MODEL", "STONECHAT_CONTEXT"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rustc-check-cfg=cfg(armv8m)");
    let is_armv8m = env::var("TARGET").is_ok_and(|target| target.starts_with("thumbv8m"));
    if is_armv8m {
        println!("cargo:rustc-cfg=armv8m");
    }
    let board = if is_armv8m { MPS2_M33 } else { MPS2 };
    let path = env::var("STONECHAT_MODEL").map_or_else(
        |_| PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../models/tiny/tiny-Q8_0.gguf"),
        PathBuf::from,
    );
    let context = env::var("STONECHAT_CONTEXT").unwrap_or_else(|_| "256".into());
    let Ok(context) = context.parse() else {
        refuse(&format!(
            "STONECHAT_CONTEXT is '{context}', which is no number; give the tokens of context, e.g. 256"
        ));
    };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            refuse(&format!("cannot read the model {}: {error}; set STONECHAT_MODEL", path.display()))
        }
    };
    let flash = board.flash.1 - CODE;
    if bytes.len() > flash {
        refuse(&format!(
            "the model {} has {} bytes, {} more than the flash of {} has beside the code; quantize it to fewer bits, or \
             take a smaller one",
            path.display(),
            bytes.len(),
            bytes.len() - flash,
            board.names
        ));
    }
    let limits = Limits { context, batch: BATCH, ..Limits::default() };
    let plan = match plan(&bytes, limits) {
        Ok(plan) => plan,
        Err(error) => refuse(&format!("{}: {error}", path.display())),
    };
    let ram = board.ram.1 - STACK;
    if plan.bytes() > ram {
        refuse(&format!(
            "a context of {context} takes {} bytes, {} more than the RAM of {} has beside the stack; set a shorter \
             STONECHAT_CONTEXT",
            plan.bytes(),
            plan.bytes() - ram,
            board.names
        ));
    }
    println!("cargo:rerun-if-changed={}", path.display());
    println!("cargo:rustc-env=STONECHAT_MODEL={}", path.canonicalize().unwrap_or(path).display());
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let sizes = format!(
        "const ARENA: usize = {};\nconst CONTEXT: usize = {context};\nconst BATCH: usize = {BATCH};\n",
        plan.bytes()
    );
    fs::write(out.join("sizes.rs"), sizes).unwrap();
    let memory = format!(
        "MEMORY {{ FLASH : ORIGIN = {:#x}, LENGTH = {} RAM : ORIGIN = {:#x}, LENGTH = {} }}\n",
        board.flash.0, board.flash.1, board.ram.0, board.ram.1
    );
    fs::write(out.join("memory.x"), memory).unwrap();
    println!("cargo:rustc-link-search={}", out.display());
}

fn plan(bytes: &[u8], limits: Limits) -> Result<Plan, Box<dyn Error>> {
    Ok(Plan::new(&Model::from_gguf(&Gguf::parse(bytes)?)?, limits)?)
}

/// Stops the build with this sentence.
fn refuse(sentence: &str) -> ! {
    println!("cargo:error={sentence}");
    exit(1)
}
