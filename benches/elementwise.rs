//! What happens to a row of activations between matrices, at each level, on one thread.
//!
//! Rows of the width and hidden size of a model of a billion parameters. criterion's elements are values, so "Gelem/s"
//! reads as billions of values a second.

mod common;

use std::hint::black_box;

use common::Random;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stonechat_kernels::activations::QuantizedMut;
use stonechat_kernels::elementwise::{Rotation, quantize, rms_norm, rope, silu_mul, to_f16};

const WIDTH: usize = 2048;
const HIDDEN: usize = 8192;
const HEAD_DIM: usize = 64;

fn elementwise(criterion: &mut Criterion) {
    let mut random = Random::new();
    let x = random.floats(HIDDEN);
    let y = random.floats(HIDDEN);
    let mut out = vec![0.0; HIDDEN];
    let mut halves = vec![0; HIDDEN];
    let (mut q, mut d, mut sums) = (vec![0; HIDDEN], vec![0.0; HIDDEN / 32], vec![0; HIDDEN / 16]);
    let (cos, sin): (Vec<_>, Vec<_>) =
        (0..HEAD_DIM / 2).map(|i| ((i as f32).cos(), (i as f32).sin())).unzip();
    let mut group = criterion.benchmark_group("elementwise");
    for level in common::levels() {
        let id = |kernel: &str| BenchmarkId::new(kernel, level.name());
        group.throughput(Throughput::Elements(HIDDEN as u64));
        group.bench_function(id("quantize"), |bencher| {
            let mut out = QuantizedMut { q: &mut q, d: &mut d, sums: &mut sums };
            bencher.iter(|| quantize(level, black_box(&x), &mut out));
        });
        group.bench_function(id("silu_mul"), |bencher| {
            bencher.iter(|| silu_mul(level, black_box(&x), &y, &mut out));
        });
        group.throughput(Throughput::Elements(WIDTH as u64));
        group.bench_function(id("rms_norm"), |bencher| {
            bencher.iter(|| rms_norm(level, black_box(&x[..WIDTH]), &y[..WIDTH], 1e-5, &mut out[..WIDTH]));
        });
        group.bench_function(id("to_f16"), |bencher| {
            bencher.iter(|| to_f16(level, black_box(&x[..WIDTH]), &mut halves[..WIDTH]));
        });
        for (name, rotation) in [("rope-adjacent", Rotation::Adjacent), ("rope-halves", Rotation::Halves)] {
            // In place: a rotation keeps the length of every pair, so the values stay what they were in size.
            let mut heads = x[..WIDTH].to_vec();
            group.bench_function(id(name), |bencher| {
                bencher.iter(|| rope(level, rotation, &cos, &sin, HEAD_DIM, black_box(&mut heads)));
            });
        }
    }
    group.finish();
}

criterion_group! { name = rows; config = common::criterion(); targets = elementwise }
criterion_main!(rows);
