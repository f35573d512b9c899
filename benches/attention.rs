//! Attention of one token at several depths, for each format of keys and values and each level.
//!
//! One KV head with the four query heads that share it, on one thread. criterion's bytes per second are those of the
//! keys and values that are read.

mod common;

use std::hint::black_box;

use common::Random;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stonechat_kernels::attention::{CHUNK, Head, Partial, Queries, attend, finish, scratch_lines};
use stonechat_kernels::kv::{Cache, GROUP, KvFormat, store_key, store_value};
use stonechat_kernels::{Level, Line};

const HEAD_DIM: usize = 64;
const HEADS: usize = 4;
const DEPTHS: [usize; 4] = [128, 1024, 4096, 16384];

fn attention(criterion: &mut Criterion) {
    let mut random = Random::new();
    let rows = random.floats(HEADS * HEAD_DIM);
    let mut out = vec![0.0; rows.len()];
    let mut buffer = vec![0.0; Partial::floats(HEADS, HEAD_DIM)];
    let mut scratch = vec![Line::ZERO; scratch_lines(HEADS, HEAD_DIM, HEAD_DIM)];
    for format in KvFormat::ALL {
        let (keys, values) = filled(format, &mut random, DEPTHS[DEPTHS.len() - 1]);
        let cache = |bytes| Cache::new(format, HEAD_DIM, bytes).expect("whole groups");
        let head = Head { keys: cache(&keys), values: cache(&values), scale: 0.125, cap: 0.0 };
        let mut group = criterion.benchmark_group(format!("attention-{}", format.as_str()));
        for depth in DEPTHS {
            group.throughput(Throughput::Bytes((2 * depth * head.keys.row_bytes()) as u64));
            let queries = Queries {
                rows: &rows,
                heads: HEADS,
                position: depth - 1,
                window: usize::MAX,
                ahead: 0,
                end: depth,
                slopes: &[],
            };
            for level in common::levels() {
                group.bench_function(BenchmarkId::new(level.name().as_str(), depth), |bencher| {
                    bencher.iter(|| {
                        let mut partial = Partial::new(&mut buffer, HEADS);
                        let chunks = 0..depth.div_ceil(CHUNK);
                        attend(level, &head, black_box(&queries), chunks, &mut partial, &mut scratch)
                            .expect("finite numbers");
                        finish(&partial, &[], &mut out);
                    });
                });
            }
        }
        group.finish();
    }
}

/// Random keys and values of so many positions.
fn filled(format: KvFormat, random: &mut Random, positions: usize) -> (Vec<u8>, Vec<u8>) {
    let level = Level::detect();
    let row_bytes = format.row_bytes(HEAD_DIM).expect("whole blocks");
    let (mut keys, mut values) = (vec![0; positions * row_bytes], vec![0; positions * row_bytes]);
    for group in keys.chunks_exact_mut(GROUP * row_bytes) {
        for slot in 0..GROUP {
            store_key(level, format, &random.floats(HEAD_DIM), slot, group).expect("finite numbers");
        }
    }
    for row in values.chunks_exact_mut(row_bytes) {
        store_value(level, format, &random.floats(HEAD_DIM), row).expect("finite numbers");
    }
    (keys, values)
}

criterion_group! { name = depths; config = common::criterion(); targets = attention }
criterion_main!(depths);
