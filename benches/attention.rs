//! Attention of one token at several depths, for each format of keys and values and each level.
//!
//! One KV head with the four query heads that share it, on one thread: the engine gives each worker such heads.
//! criterion's bytes per second are those of the keys and values that are read.

mod common;

use std::hint::black_box;

use common::Random;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use stonechat_kernels::attention::{CHUNK, Head, Partial, Queries, attend, scratch_lines};
use stonechat_kernels::kv::{Cache, GROUP, store_key, store_value};
use stonechat_kernels::{KvFormat, Level, Line};

const HEAD_DIM: usize = 64;
const QUERY_HEADS: usize = 4;
const DEPTHS: [usize; 4] = [128, 1024, 4096, 16384];

/// The bytes of as many keys and values as the deepest cache has.
fn stored(random: &mut Random, format: KvFormat) -> [Vec<u8>; 2] {
    let row = format.row_bytes(HEAD_DIM).expect("whole blocks");
    let positions = DEPTHS[DEPTHS.len() - 1];
    let mut bytes = [0, 1].map(|_| vec![0; positions * row]);
    for position in 0..positions {
        let (key, value) = (random.floats(HEAD_DIM), random.floats(HEAD_DIM));
        let group = &mut bytes[0][position / GROUP * GROUP * row..][..GROUP * row];
        store_key(Level::REFERENCE, format, &key, position % GROUP, group).expect("finite");
        let place = &mut bytes[1][position * row..][..row];
        store_value(Level::REFERENCE, format, &value, place).expect("finite");
    }
    bytes
}

fn attention(criterion: &mut Criterion) {
    let mut random = Random::new();
    let queries = random.floats(QUERY_HEADS * HEAD_DIM);
    let mut buffer = vec![0.0; Partial::floats(QUERY_HEADS, HEAD_DIM)];
    let mut scratch = vec![Line::ZERO; scratch_lines(QUERY_HEADS, HEAD_DIM)];
    for format in KvFormat::ALL {
        let bytes = stored(&mut random, format);
        let [keys, values] =
            [0, 1].map(|i| Cache::new(format, HEAD_DIM, &bytes[i]).expect("whole groups of whole blocks"));
        let head = Head { keys, values, scale: 0.125 };
        let mut group = criterion.benchmark_group(format!("attention-{}", format.as_str()));
        for depth in DEPTHS {
            group.throughput(Throughput::Bytes((2 * depth * keys.row_bytes()) as u64));
            let chunks = 0..depth.div_ceil(CHUNK);
            for level in common::levels() {
                group.bench_function(BenchmarkId::new(level.name().as_str(), depth), |bencher| {
                    bencher.iter(|| {
                        let rows = black_box(&queries);
                        let queries =
                            Queries { rows, heads: QUERY_HEADS, position: depth - 1, window: usize::MAX };
                        let mut partial = Partial::new(&mut buffer, QUERY_HEADS);
                        attend(level, &head, &queries, chunks.clone(), &mut partial, &mut scratch)
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group! { name = depths; config = common::criterion(); targets = attention }
criterion_main!(depths);
