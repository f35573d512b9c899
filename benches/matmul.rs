//! Matrices at every format, layout and level: where nearly all time goes.
//!
//! `decode`: one token against weights that no cache holds; criterion's bytes per second are the weights', to be
//! held against `limit-read`, which only reads as many bytes with as many threads. `prefill-64`, `prefill-512`:
//! batches against weights that stay in the cache; criterion's elements are operations (two for each weight and
//! token), so "Gelem/s" reads GOP/s, to be held against `limit-multiply`, which only multiplies in registers.

mod common;

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Random, Rows};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stonechat_kernels::layout::{GROUP, interleave};
use stonechat_kernels::{Format, Layout, Level, Line, Matrix, Scratch, ScratchSize, Workers, matmul, probe};
use stonechat_runtime::Pool;

/// The width of a model of a billion parameters.
const COLS: usize = 2048;
/// Weights that are read for each token: beyond the last-level cache of most machines.
const BYTES: usize = 192 << 20;
/// The words of those bytes that a worker takes at a time.
const PIECE: usize = (256 << 10) / 8;
/// Rounds of multiplications that a worker takes at a time: some tenths of a millisecond.
const ROUNDS: u32 = 1 << 14;
/// Rows of the matrix that meets a batch.
const BATCH_ROWS: usize = 2048;

fn limits(criterion: &mut Criterion) {
    let pool = common::pool();
    let words = vec![1u64; BYTES / 8];
    let pieces: Vec<_> = words.chunks(PIECE).collect();
    let mut group = criterion.benchmark_group("limit-read");
    group.throughput(Throughput::Bytes(BYTES as u64));
    for level in common::levels() {
        group.bench_function(level.name().as_str(), |bencher| {
            bencher.iter(|| {
                each_of(&pool, pieces.len(), |i| {
                    black_box(probe::read(level, pieces[i]));
                });
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("limit-multiply");
    let shares = pool.count() * 4;
    for level in common::levels() {
        let products = probe::multiply(level, ROUNDS, 3, 5).count * shares as u64;
        group.throughput(Throughput::Elements(2 * products));
        group.bench_function(level.name().as_str(), |bencher| {
            bencher.iter(|| {
                each_of(&pool, shares, |_| {
                    black_box(probe::multiply(level, ROUNDS, black_box(3), black_box(5)));
                });
            });
        });
    }
    group.finish();
}

/// Gives the numbers from 0 on to the workers.
fn each_of(pool: &Pool, count: usize, job: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    pool.run(&|| {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            job(i);
        }
    });
}

fn decode(criterion: &mut Criterion) {
    let pool = common::pool();
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
    let mut lines = vec![Line::ZERO; size.lines(pool.count()).expect("scratch that fits")];
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

criterion_group! { name = matrices; config = common::criterion(); targets = limits, decode, prefill }
criterion_main!(matrices);
