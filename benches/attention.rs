//! Attention of one token at several depths, for each format of keys and values and each level.
//!
//! One KV head with the four query heads that share it, on one thread: the engine gives each worker such heads.
//! criterion's bytes per second are those of the keys and values that are read.

mod common;

use std::hint::black_box;

use common::Random;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stonechat_kernels::attention::{Cache, Head, attend};
use stonechat_kernels::{Line, Scratch};

const HEAD_DIM: usize = 64;
const QUERY_HEADS: usize = 4;
const DEPTHS: [usize; 4] = [128, 1024, 4096, 16384];

fn attention(criterion: &mut Criterion) {
    let mut random = Random::new();
    let deepest = DEPTHS[DEPTHS.len() - 1] * HEAD_DIM;
    let (keys, values) = (random.floats(deepest), random.floats(deepest));
    let (half_keys, half_values) = (random.halves(deepest), random.halves(deepest));
    let caches = [
        ("f32", 4, Cache::F32(&keys), Cache::F32(&values)),
        ("f16", 2, Cache::F16(&half_keys), Cache::F16(&half_values)),
    ];
    let queries = random.floats(QUERY_HEADS * HEAD_DIM);
    let mut out = vec![0.0; queries.len()];
    let mut scratch = vec![Line::ZERO; Scratch::lines(HEAD_DIM, HEAD_DIM)];
    for (name, value_bytes, keys, values) in caches {
        let mut group = criterion.benchmark_group(format!("attention-{name}"));
        for depth in DEPTHS {
            group.throughput(Throughput::Bytes((2 * depth * HEAD_DIM * value_bytes) as u64));
            let head = Head { positions: &(0..depth), keys, values, scale: 0.125 };
            for level in common::levels() {
                group.bench_function(BenchmarkId::new(level.name().as_str(), depth), |bencher| {
                    bencher
                        .iter(|| attend(level, &head, HEAD_DIM, black_box(&queries), &mut out, &mut scratch));
                });
            }
        }
        group.finish();
    }
}

criterion_group! { name = depths; config = common::criterion(); targets = attention }
criterion_main!(depths);
