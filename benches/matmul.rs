//! Matrices at every format, layout and level: where nearly all time goes.
//!
//! `decode`: one token against weights that no cache holds; criterion's bytes per second are the weights', to be
//! held against `limit/read`, which only reads as many bytes with as many threads. `prefill-64`, `prefill-512`:
//! batches against weights that stay in the cache; criterion's elements are operations (two for each weight and
//! token), so "Gelem/s" reads GOP/s.

mod common;

use std::hint::black_box;

use common::{Random, Rows};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stonechat_kernels::layout::{GROUP, interleave};
use stonechat_kernels::split::{Chunks, Split};
use stonechat_kernels::{Format, Layout, Level, Line, Matrix, Scratch, ScratchSize, Workers, matmul};
use stonechat_runtime::Pool;

/// The width of a model of a billion parameters.
const COLS: usize = 2048;
/// Weights that are read for each token: beyond the last-level cache of most machines.
const BYTES: usize = 192 << 20;
/// Rows of the matrix that meets a batch.
const BATCH_ROWS: usize = 2048;

fn decode(criterion: &mut Criterion) {
    let pool = pool_and_limit(criterion);
    for format in Format::ALL {
        let row_bytes = format.row_bytes(COLS).expect("whole blocks");
        let rows = (BYTES / row_bytes).next_multiple_of(GROUP);
        measure(criterion, &pool, "decode", format, rows, 1, Throughput::Bytes((rows * row_bytes) as u64));
    }
}

fn prefill(criterion: &mut Criterion) {
    let pool = common::pool();
    for tokens in [64, 512] {
        let operations = Throughput::Elements((2 * BATCH_ROWS * COLS * tokens) as u64);
        for format in Format::ALL {
            let name = format!("prefill-{tokens}");
            measure(criterion, &pool, &name, format, BATCH_ROWS, tokens, operations.clone());
        }
    }
}

fn measure(
    criterion: &mut Criterion,
    pool: &Pool,
    name: &str,
    format: Format,
    rows: usize,
    tokens: usize,
    throughput: Throughput,
) {
    let mut random = Random::new();
    let plain = random.weights(format, rows * COLS);
    let x = Rows::new(&mut random, tokens, COLS);
    let x = x.activations();
    let mut out = vec![0.0; tokens * rows];
    let size = ScratchSize::new(COLS, tokens);
    let mut lines = vec![Line::ZERO; size.lines(pool.count()).expect("a number")];
    let mut group = criterion.benchmark_group(name);
    group.throughput(throughput);
    for layout in [Layout::Rows, Layout::Rows16].into_iter().filter(|layout| layout.takes(format)) {
        let laid = lay(format, layout, &plain);
        let weights = laid.as_deref().unwrap_or(&plain);
        let matrix = Matrix::with_layout(format, layout, rows, COLS, weights).expect("whole rows");
        for level in common::levels() {
            group.bench_function(id(format, layout, level), |bencher| {
                bencher.iter(|| {
                    let mut scratch = Scratch::new(&mut lines, size);
                    matmul(level, pool, &[matrix], black_box(&x), &mut out, &mut scratch);
                });
            });
        }
    }
    group.finish();
}

/// The weights in another layout; nothing where they lie in it already.
fn lay(format: Format, layout: Layout, plain: &[u8]) -> Option<Vec<u8>> {
    (layout == Layout::Rows16).then(|| {
        let bytes = GROUP * format.row_bytes(COLS).expect("whole blocks");
        let mut laid = vec![0; plain.len()];
        for (rows, group) in plain.chunks_exact(bytes).zip(laid.chunks_exact_mut(bytes)) {
            interleave(format, rows, group);
        }
        laid
    })
}

fn id(format: Format, layout: Layout, level: Level) -> BenchmarkId {
    let packed = if layout == Layout::Rows16 { "-rows16" } else { "" };
    BenchmarkId::new(format!("{format}{packed}"), level.name())
}

/// The pool, after measuring what the memory gives it.
fn pool_and_limit(criterion: &mut Criterion) -> Pool {
    let pool = common::pool();
    let mut words = vec![1u64; BYTES / 8];
    let mut group = criterion.benchmark_group("limit");
    group.throughput(Throughput::Bytes(BYTES as u64));
    group.bench_function("read", |bencher| bencher.iter(|| black_box(read(&pool, &mut words))));
    group.finish();
    pool
}

/// Reads all words, with all workers: pieces of 256 KiB, eight sums in flight.
fn read(pool: &Pool, words: &mut [u64]) -> u64 {
    let total = std::sync::atomic::AtomicU64::new(0);
    let pieces = Split::new(Chunks::new(words, (256 << 10) / 8));
    pool.run(&|| {
        let mut sums = [0u64; 32];
        while let Some((_, piece)) = pieces.claim() {
            for words in piece.as_chunks().0 {
                let words: &[u64; 32] = words;
                for (sum, word) in sums.iter_mut().zip(words) {
                    *sum = sum.wrapping_add(*word);
                }
            }
        }
        let sum = sums.iter().fold(0, |all: u64, sum| all.wrapping_add(*sum));
        total.fetch_add(sum, std::sync::atomic::Ordering::Relaxed);
    });
    total.into_inner()
}

criterion_group! { name = matrices; config = common::criterion(); targets = decode, prefill }
criterion_main!(matrices);
