//! The program whose executed instructions `scripts/count-instructions.sh` counts: one step of a model, or one product
//! of a matrix, between the two marks that the counter looks for.
//!
//! `instructions FILE.gguf decode|prefill`: one token after ten others, or 64 tokens at once, through the whole
//! model on one thread. `instructions FORMAT:rows|rows16 decode|prefill`: 1 or 64 tokens through a matrix of
//! 256 x 1024. On stdout: the level, the tokens and the weights.

use std::error::Error;
use std::hint::black_box;

use stonechat_core::{Limits, Model, Plan, Session};
use stonechat_gguf::Gguf;
use stonechat_kernels::{Activations, Alone, Format, Layout, Level, Line, Matrix, Quantized};
use stonechat_kernels::{Scratch, ScratchSize, markers, matmul};
use stonechat_runtime::{Arena, MappedFile};

/// Tokens that a decoding step finds in the context.
const BEFORE: usize = 10;
/// Tokens of a prefill.
const PROMPT: usize = 64;
/// The matrix of a product.
const ROWS: usize = 256;
const COLS: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [subject, step] = &arguments[..] else {
        return Err("usage: instructions (FILE.gguf | FORMAT:rows | FORMAT:rows16) (decode | prefill)".into());
    };
    let tokens = match step.as_str() {
        "decode" => 1,
        "prefill" => PROMPT,
        other => return Err(format!("no step '{other}'; there are decode and prefill").into()),
    };
    let level = Level::detect();
    let weights = match subject.split_once(':') {
        Some((format, layout)) => product(level, format, layout, tokens)?,
        None => model(level, subject, tokens)?,
    };
    println!("level={} tokens={tokens} weights={weights}", level.name());
    Ok(())
}

/// Feeds the tokens to a model; gives the number of its weights.
fn model(level: Level, path: &str, tokens: usize) -> Result<usize, Box<dyn Error>> {
    let file = MappedFile::open(path)?;
    let gguf = Gguf::parse(&file)?;
    let model = Model::from_gguf(&gguf)?;
    let plan = Plan::new(&model, Limits { context: BEFORE + PROMPT, batch: PROMPT, ..Limits::default() })?;
    let mut arena = Arena::new(plan.bytes())?;
    let mut session = Session::new(&model, &plan, arena.as_mut_slice(), level)?;
    let ids: Vec<u32> = (0..BEFORE + PROMPT).map(|i| 1 + 7 * i as u32 % 500).collect();
    let (before, fed) = if tokens == 1 { (BEFORE, BEFORE + 1) } else { (0, tokens) };
    if before > 0 {
        session.feed(&ids[..before], &Alone)?;
    }
    markers::open();
    let result = session.feed(&ids[before..fed], &Alone);
    markers::close();
    result?;
    black_box(session.logits());
    Ok(gguf.tensors().filter_map(|tensor| tensor.dims.elements()).sum::<u64>() as usize)
}

/// Multiplies a matrix; gives the number of its weights.
fn product(level: Level, format: &str, layout: &str, tokens: usize) -> Result<usize, Box<dyn Error>> {
    let format = Format::ALL.into_iter().find(|known| known.as_str() == format).ok_or("no such format")?;
    let layout = match layout {
        "rows" => Layout::Rows,
        "rows16" => Layout::Rows16,
        other => return Err(format!("no layout '{other}'; there are rows and rows16").into()),
    };
    // No instruction depends on a value; zeros are as good as any.
    let bytes = vec![0; ROWS * format.row_bytes(COLS).ok_or("no whole number of blocks")?];
    let matrix =
        Matrix::with_layout(format, layout, ROWS, COLS, &bytes).ok_or("no such layout of the format")?;
    let values = tokens * COLS;
    let (q, d, sums, f32) =
        (vec![0; values], vec![0.0; values / 32], vec![0; values / 16], vec![0.0; values]);
    let quantized = Quantized { q: &q, d: &d, sums: &sums };
    let x = Activations { cols: COLS, f32: &f32, quantized: Some(quantized) };
    let size = ScratchSize::new(COLS, tokens);
    let mut lines = vec![Line::ZERO; size.lines(1).ok_or("too much scratch")?];
    let mut out = vec![0.0; tokens * ROWS];
    let mut scratch = Scratch::new(&mut lines, size);
    markers::open();
    matmul(level, &Alone, &[matrix], &x, &mut out, &mut scratch);
    markers::close();
    black_box(&out);
    Ok(ROWS * COLS)
}
