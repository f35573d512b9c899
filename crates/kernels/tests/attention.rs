//! Attention at every level that this CPU has gives the bits of the reference, however it is shared out.
//!
//! Without the feature `std` no level can be detected, and nothing is left to compare.
#![cfg(feature = "std")]

mod support;

use stonechat_kernels::attention::{self, CHUNK, Head, Partial, Queries};
use stonechat_kernels::kv::{self, Cache, GROUP};
use stonechat_kernels::{KvFormat, Level, Line};
use support::Random;

fn levels() -> impl Iterator<Item = Level> {
    Level::available().filter(|level| *level != Level::REFERENCE)
}

impl Random {
    /// A number that a key or value may be: mostly around 1, zeros of both signs, very small and rather large.
    fn wild(&mut self) -> f32 {
        match self.below(24) {
            0 => 0.0,
            1 => -0.0,
            2 => f32::from_bits(self.next() & 0x807f_ffff),
            3 => 1e-6 * self.plain(),
            4 => 1e-30 * self.plain(),
            5 => 100.0 * self.plain(),
            _ => self.plain(),
        }
    }

    /// Rows of numbers, some of them all the same, so that quantized they are all at an extreme.
    fn rows(&mut self, rows: usize, head_dim: usize) -> Vec<f32> {
        let mut all = self.many(rows * head_dim, Self::wild);
        for row in all.chunks_exact_mut(head_dim) {
            match self.below(12) {
                0 => row.fill(1.5),
                1 => row.fill(-1.5),
                2 => row.fill(0.0),
                _ => {}
            }
        }
        all
    }
}

/// A KV head with everything that attention reads.
struct Stored {
    formats: [KvFormat; 2],
    /// The length of a key and of a value.
    dims: [usize; 2],
    /// Keys and values, behind as many bytes that are not theirs, so that every alignment is seen.
    bytes: [Vec<u8>; 2],
    offset: usize,
    cap: f32,
}

impl Stored {
    /// Stores `positions` keys and values; what is left of the last group of positions is noise.
    fn new(
        level: Level,
        random: &mut Random,
        formats: [KvFormat; 2],
        dims: [usize; 2],
        positions: usize,
    ) -> Self {
        let offset = random.below(8);
        let room = positions.next_multiple_of(GROUP);
        let row_bytes = [0, 1].map(|i| formats[i].row_bytes(dims[i]).expect("whole blocks"));
        let mut bytes = row_bytes
            .map(|row| -> Vec<u8> { (0..offset + room * row).map(|_| random.next() as u8).collect() });
        let (keys, values) = (random.rows(positions, dims[0]), random.rows(positions, dims[1]));
        let rows = keys.chunks_exact(dims[0]).zip(values.chunks_exact(dims[1]));
        for (position, (key, value)) in rows.enumerate() {
            let group = offset + position / GROUP * GROUP * row_bytes[0];
            let group = &mut bytes[0][group..][..GROUP * row_bytes[0]];
            kv::store_key(level, formats[0], key, position % GROUP, group).expect("finite");
            let row = &mut bytes[1][offset + position * row_bytes[1]..][..row_bytes[1]];
            kv::store_value(level, formats[1], value, row).expect("finite");
        }
        Self { formats, dims, bytes, offset, cap: 0.0 }
    }

    fn head(&self) -> Head<'_> {
        let [keys, values] = [0, 1].map(|i| {
            Cache::new(self.formats[i], self.dims[i], &self.bytes[i][self.offset..]).expect("whole groups")
        });
        Head { keys, values, scale: 1.0 / (self.dims[0] as f32).sqrt(), cap: self.cap }
    }
}

/// The attention of all queries, chunk by chunk into partial results of their own where `apart`.
fn attend(level: Level, head: &Head<'_>, queries: &Queries<'_>, sinks: &[f32], apart: bool) -> Vec<u32> {
    let (head_dim, value_dim) = (head.keys.head_dim(), head.values.head_dim());
    let rows = queries.rows.len() / head_dim;
    let mut lines = vec![Line::ZERO; attention::scratch_lines(rows, head_dim, value_dim)];
    let last = queries.positions(rows - 1).end - 1;
    let first = queries.positions(0).start / CHUNK;
    let mut buffer = vec![f32::NAN; Partial::floats(rows, value_dim)];
    let mut run = |chunks, buffer: &mut [f32]| {
        let mut partial = Partial::new(buffer, rows);
        attention::attend(level, head, queries, chunks, &mut partial, &mut lines).expect("finite");
    };
    if apart {
        run(first..first + 1, &mut buffer);
        for chunk in first + 1..=last / CHUNK {
            let mut later = vec![f32::NAN; Partial::floats(rows, value_dim)];
            run(chunk..chunk + 1, &mut later);
            let (mut partial, later) = (Partial::new(&mut buffer, rows), Partial::new(&mut later, rows));
            attention::merge(level, &mut partial, &later);
        }
    } else {
        run(first..last / CHUNK + 1, &mut buffer);
    }
    let mut out = vec![0.0; rows * value_dim];
    attention::finish(&Partial::new(&mut buffer, rows), sinks, &mut out);
    assert!(out.iter().all(|v| v.is_finite()), "an input that tests something");
    out.into_iter().map(f32::to_bits).collect()
}

fn pairs() -> impl Iterator<Item = [KvFormat; 2]> {
    KvFormat::ALL.into_iter().flat_map(|keys| KvFormat::ALL.map(|values| [keys, values]))
}

/// Compares all levels on the queries of `tokens` tokens, the last of which stands at `position`.
fn compare(
    random: &mut Random,
    formats: [KvFormat; 2],
    dims: [usize; 2],
    heads: usize,
    shape: (usize, usize, usize),
) {
    compare_ahead(random, formats, dims, heads, shape, (0, shape.1 + 1));
}

/// The same where tokens also attend to `ahead` positions behind them, of `end` that there are.
fn compare_ahead(
    random: &mut Random,
    formats: [KvFormat; 2],
    dims: [usize; 2],
    heads: usize,
    (tokens, position, window): (usize, usize, usize),
    (ahead, end): (usize, usize),
) {
    let mut stored = Stored::new(Level::REFERENCE, random, formats, dims, end);
    // One in three has a soft cap, slopes, or sinks.
    stored.cap = if random.below(3) == 0 { 1.0 + 4.0 * random.plain().abs() } else { 0.0 };
    let slopes: Vec<f32> = (1..=heads).map(|head| 0.5f32.powi(head as i32)).collect();
    let slopes = if random.below(3) == 0 { &slopes[..] } else { &[] };
    let sinks = random.many(tokens * heads, Random::plain);
    let sinks = if random.below(3) == 0 { &sinks[..] } else { &[] };
    // Loud queries make softmax sharp: then many weights are 0.
    let loud = if random.below(2) == 0 { 1.0 } else { 30.0 };
    let rows = random.many(tokens * heads * dims[0], |random| loud * random.plain());
    let queries = Queries { rows: &rows, heads, position: position + 1 - tokens, window, ahead, end, slopes };
    let expected = attend(Level::REFERENCE, &stored.head(), &queries, sinks, false);
    // A tile whose windows begin in different chunks has no first chunk in common.
    let chunks_apart = tokens == 1;
    for level in levels() {
        for apart in [false, true].into_iter().filter(|apart| !apart || chunks_apart) {
            let actual = attend(level, &stored.head(), &queries, sinks, apart);
            let wrong = (0..expected.len()).find(|i| expected[*i] != actual[*i]);
            assert!(
                wrong.is_none(),
                "keys {} values {} lengths {dims:?} heads {heads} tokens {tokens} position {position} \
                 window {window} ahead {ahead} of {end} apart {apart}: number {wrong:?} differs at level {}",
                formats[0].as_str(),
                formats[1].as_str(),
                level.name()
            );
        }
    }
}

#[test]
fn every_pair_of_formats_has_the_bits_of_the_reference() {
    let random = &mut Random(1);
    for formats in pairs() {
        for head_dim in [32, 64, 96, 128, 256] {
            let heads = 1 + random.below(5);
            let position = random.below(300);
            compare(random, formats, [head_dim; 2], heads, (1, position, usize::MAX));
            let tokens = 3.min(position + 1);
            compare(random, formats, [head_dim; 2], heads, (tokens, position, usize::MAX));
        }
    }
}

#[test]
fn heads_of_any_length_have_the_bits_of_the_reference() {
    let random = &mut Random(2);
    for formats in [[KvFormat::F16; 2], [KvFormat::F32; 2], [KvFormat::F16, KvFormat::F32]] {
        for head_dim in [1, 2, 8, 16, 17, 24, 36, 48, 65, 80, 112] {
            let heads = 1 + random.below(4);
            compare(random, formats, [head_dim; 2], heads, (2, 40, usize::MAX));
        }
    }
}

/// As in latent attention, and the other way round.
#[test]
fn keys_and_values_of_different_lengths_have_the_bits_of_the_reference() {
    let random = &mut Random(5);
    for formats in pairs() {
        for dims in [[576, 512], [96, 32], [32, 96]] {
            compare(random, formats, dims, 5, (1, 300, usize::MAX));
            compare(random, formats, dims, 1, (7, 259, usize::MAX));
        }
    }
    for dims in [[48, 32], [17, 24], [24, 17]] {
        compare(random, [KvFormat::F16; 2], dims, 3, (2, 270, usize::MAX));
    }
}

/// Starts and ends in the middle of chunks and groups, one position, whole chunks, three chunks, tokens on both sides
/// of a chunk's end, and windows that leave tokens of a tile nothing in common.
#[test]
fn windows_that_begin_and_end_anywhere_have_the_bits_of_the_reference() {
    let random = &mut Random(3);
    let shapes = [
        (1, 0, usize::MAX),
        (1, 255, usize::MAX),
        (1, 256, usize::MAX),
        (1, 700, usize::MAX),
        (1, 300, 1),
        (1, 299, 200),
        (1, 512, 496),
        (4, 257, usize::MAX),
        (9, 260, usize::MAX),
        (20, 19, usize::MAX),
        (7, 515, 3),
        (5, 259, 4),
        (11, 530, 256),
        (13, 521, 257),
        (6, 40, 17),
    ];
    for shape in shapes {
        for formats in [[KvFormat::F16; 2], [KvFormat::Q8_0, KvFormat::Q4_0], [KvFormat::Q4_0, KvFormat::F16]]
        {
            for heads in [1, 3, 4] {
                compare(random, formats, [64; 2], heads, shape);
            }
        }
    }
}

/// Texts that end before a token's window does, at its end and behind it; windows that leave tokens of a tile nothing in
/// common, and that begin or end in another chunk than their tokens.
#[test]
fn tokens_that_look_ahead_have_the_bits_of_the_reference() {
    let random = &mut Random(5);
    let all = usize::MAX;
    let shapes = [
        ((1, 0, all), (all, 1)),
        ((1, 0, all), (all, 300)),
        ((4, 257, all), (all, 258)),
        ((9, 250, all), (all, 700)),
        ((12, 11, 5), (4, 12)),
        ((12, 300, 5), (4, 302)),
        ((9, 260, 2), (1, 600)),
        ((20, 255, 65), (64, 520)),
        ((7, 515, 130), (129, 516)),
        ((5, 100, 1), (0, 101)),
    ];
    for (shape, ahead) in shapes {
        for formats in [[KvFormat::F16; 2], [KvFormat::F32; 2], [KvFormat::Q8_0, KvFormat::Q4_0]] {
            for heads in [1, 3, 4] {
                compare_ahead(random, formats, [64, 64], heads, shape, ahead);
            }
        }
    }
}

#[test]
fn every_level_stores_the_same_bytes() {
    for formats in pairs() {
        for head_dim in [32, 64, 96] {
            let stored = |level| {
                let stored = Stored::new(level, &mut Random(4), formats, [head_dim, head_dim + 32], 37);
                stored.bytes
            };
            let expected = stored(Level::REFERENCE);
            for level in levels() {
                assert!(expected == stored(level), "{formats:?} at level {}", level.name());
            }
        }
    }
}

#[test]
fn a_head_that_is_no_whole_blocks_has_no_quantized_form() {
    for format in KvFormat::ALL {
        assert_eq!(format.row_bytes(48).is_none(), format.is_quantized());
        assert_eq!(Cache::new(format, 48, &[]).is_none(), format.is_quantized());
    }
}

/// The weights that the last of three positions gives each, from values that are one-hot.
fn weights(cap: f32, slopes: &[f32], sinks: &[f32]) -> [f32; 4] {
    weights_at(2, cap, slopes, sinks)
}

/// The same of another position, which attends to what lies behind it, too.
fn weights_at(position: usize, cap: f32, slopes: &[f32], sinks: &[f32]) -> [f32; 4] {
    let (format, head_dim) = (KvFormat::F32, 4);
    let row_bytes = format.row_bytes(head_dim).expect("whole blocks");
    let [mut keys, mut values] = [0; 2].map(|_| vec![0; GROUP * row_bytes]);
    for (position, score) in [3.0, 1.0, 2.0].into_iter().enumerate() {
        kv::store_key(Level::REFERENCE, format, &[score, 0.0, 0.0, 0.0], position, &mut keys)
            .expect("finite");
        let mut value = [0.0; 4];
        value[position] = 1.0;
        let row = &mut values[position * row_bytes..][..row_bytes];
        kv::store_value(Level::REFERENCE, format, &value, row).expect("finite");
    }
    let cache = |bytes| Cache::new(format, head_dim, bytes).expect("whole groups");
    let head = Head { keys: cache(&keys), values: cache(&values), scale: 1.0, cap };
    let rows = [1.0, 0.0, 0.0, 0.0];
    let queries =
        Queries { rows: &rows, heads: 1, position, window: usize::MAX, ahead: usize::MAX, end: 3, slopes };
    let weights = attend(Level::REFERENCE, &head, &queries, sinks, false);
    [0, 1, 2, 3].map(|i| f32::from_bits(weights[i]))
}

/// What softmax makes of scores, in float64.
fn softmax(scores: &[f64]) -> Vec<f64> {
    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
    scores.iter().map(|score| score.exp() / sum).collect()
}

#[test]
fn caps_slopes_and_sinks_are_what_their_papers_say() {
    let close = |found: [f32; 4], expected: &[f64]| {
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    };
    close(weights(0.0, &[], &[]), &softmax(&[3.0, 1.0, 2.0]));
    let capped = [3.0f64, 1.0, 2.0].map(|score| 1.5 * (score / 1.5).tanh());
    close(weights(1.5, &[], &[]), &softmax(&capped));
    close(weights(0.0, &[0.25], &[]), &softmax(&[3.0 - 0.5, 1.0 - 0.25, 2.0]));
    // Distance counts on both sides.
    close(weights_at(1, 0.0, &[0.25], &[]), &softmax(&[3.0 - 0.25, 1.0, 2.0 - 0.25]));
    close(weights_at(0, 0.0, &[], &[]), &softmax(&[3.0, 1.0, 2.0]));
    for sink in [-5.0, 2.5, 9.0] {
        close(weights(0.0, &[], &[sink as f32]), &softmax(&[3.0, 1.0, 2.0, sink])[..3]);
    }
}
