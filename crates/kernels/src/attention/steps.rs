//! The steps of attention over vectors of any length, for a tile of queries.
//!
//! Positions sit in lanes for scores and softmax, elements of a head for the weighted sums: neither needs sums across
//! lanes. What an instruction set adds is [`Vectors`].
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]
// Every unsafe function here asks for the same: the CPU has the level's features, and positions and groups lie inside
// the caches. What is read and written then lies inside the slices, whose lengths are those that `walk` gives.
#![allow(clippy::missing_safety_doc, reason = "as said above")]

use super::walk::{Scores, Tile};
use crate::activations::{BLOCK, HALF, Quantized};
use crate::kv::{Cache, GROUP, KvFormat};
use crate::math::fma;
use crate::reference::lanes::{self, LANES};
use core::ops::Range;

/// Vectors of f32.
///
/// # Safety
/// Of every function: the CPU has the level's features, and pointers are valid for what is read and written there.
pub trait Vectors {
    /// The f32 in a vector: 4, 8 or 16.
    const LEN: usize;
    /// A vector.
    type F: Copy;

    /// One value in all lanes.
    unsafe fn splat(x: f32) -> Self::F;
    /// The half-precision number there in all lanes.
    unsafe fn splat_half(from: *const u8) -> Self::F;
    /// `LEN` f32.
    unsafe fn load(from: *const f32) -> Self::F;
    /// `LEN` half-precision numbers.
    unsafe fn load_halves(from: *const u8) -> Self::F;
    /// `LEN` int8.
    unsafe fn load_int8(from: *const u8) -> Self::F;
    /// `LEN` int4 around 8 in the lower halves of bytes.
    unsafe fn load_low_int4(from: *const u8) -> Self::F;
    /// `LEN` int4 around 8 in the upper halves of bytes.
    unsafe fn load_high_int4(from: *const u8) -> Self::F;
    /// To memory.
    unsafe fn store(to: *mut f32, x: Self::F);
    /// `a + b`.
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Whether [`fma_lanes`](Self::fma_lanes) of four costs no more than four [`fma`](Self::fma) of vectors.
    const LANE_FACTORS: bool = false;
    /// `sums[l] = a[l] * b[l] + sums[l]`, the second one number for a vector.
    #[inline(always)]
    unsafe fn fma_lanes<const L: usize>(a: &[Self::F; L], b: *const f32, sums: &mut [Self::F; L]) {
        for (l, (a, sum)) in a.iter().zip(sums).enumerate() {
            // SAFETY: the caller's promise.
            *sum = unsafe { Self::fma(*a, Self::splat(*b.add(l)), *sum) };
        }
    }
    /// The larger, of numbers.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// [`math::exp`](crate::math::exp), of numbers.
    unsafe fn exp(x: Self::F) -> Self::F;

    /// Σ k·q over 32 int8 of `LEN` positions and of `N` queries, whose sums are given: dword j of the keys is at
    /// `keys + 64 j`.
    unsafe fn dot8<const N: usize>(keys: *const u8, q: [*const i8; N], sums: [i32; N]) -> [Self::F; N];
    /// Σ (k - 8)·q over 32 int4: values i and i + 16 are the halves of byte i.
    unsafe fn dot4<const N: usize>(keys: *const u8, q: [*const i8; N], sums: [i32; N]) -> [Self::F; N];
}

/// Makes the steps of a level from its vectors.
macro_rules! steps {
    ($features:literal, $level:ident) => {
        impl $crate::attention::walk::Steps for $level {
            const LEVEL: $crate::LevelName = $crate::LevelName::$level;

            #[target_feature(enable = $features)]
            unsafe fn scores(
                keys: &$crate::kv::Cache<'_>,
                groups: core::ops::Range<usize>,
                queries: $crate::attention::walk::Tile<'_>,
                scale: f32,
                at: usize,
                scores: &mut [$crate::attention::walk::Scores],
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    $crate::attention::steps::scores::<Self>(keys, groups, queries, scale, at, scores);
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn soften(
                scores: &mut $crate::attention::walk::Scores,
                attended: core::ops::Range<usize>,
            ) -> [f32; 2] {
                // SAFETY: the caller's promise.
                unsafe { $crate::attention::steps::soften::<Self>(scores, attended) }
            }

            #[target_feature(enable = $features)]
            unsafe fn mix(
                p: &[$crate::attention::walk::Scores],
                values: &$crate::kv::Cache<'_>,
                positions: core::ops::Range<usize>,
                go_on: bool,
                out: &mut [f32],
            ) {
                // SAFETY: the caller's promise.
                unsafe { $crate::attention::steps::mix::<Self>(p, values, positions, go_on, out) }
            }

            #[target_feature(enable = $features)]
            unsafe fn merge(out: &mut [f32], later: &[f32], weights: [f32; 2]) {
                // SAFETY: the caller's promise.
                unsafe { $crate::attention::steps::merge::<Self>(out, later, weights) }
            }
        }
    };
}
pub(crate) use steps;

/// Calls a function with the number of queries, 1 to 4, as a constant.
macro_rules! for_count {
    ($count:expr, $N:ident => $call:expr) => {
        match $count {
            1 => {
                const $N: usize = 1;
                $call
            }
            2 => {
                const $N: usize = 2;
                $call
            }
            3 => {
                const $N: usize = 3;
                $call
            }
            _ => {
                const $N: usize = 4;
                $call
            }
        }
    };
}

/// See [`Steps::scores`](super::walk::Steps::scores).
#[inline(always)]
pub unsafe fn scores<S: Vectors>(
    keys: &Cache<'_>,
    groups: Range<usize>,
    queries: Tile<'_>,
    scale: f32,
    at: usize,
    scores: &mut [Scores],
) {
    for (i, group) in groups.enumerate() {
        let group = keys.group(group);
        let at = at + i * GROUP;
        // SAFETY: the caller's promise.
        unsafe {
            match queries {
                Tile::Floats(rows) if keys.format() == KvFormat::F16 => {
                    for_count!(scores.len(), N => float_scores::<S, Halves, N>(group, rows, scale, at, scores));
                }
                Tile::Floats(rows) => {
                    for_count!(scores.len(), N => float_scores::<S, Floats, N>(group, rows, scale, at, scores));
                }
                Tile::Int8(x) if keys.format() == KvFormat::Q8_0 => {
                    for_count!(scores.len(), N => int8_scores::<S, N, false>(group, &x, scale, at, scores));
                }
                Tile::Int8(x) => {
                    for_count!(scores.len(), N => int8_scores::<S, N, true>(group, &x, scale, at, scores));
                }
            }
        }
    }
}

/// A way to store floats.
trait Stored {
    const BYTES: usize;
    unsafe fn load<S: Vectors>(from: *const u8) -> S::F;
    /// Number `i` of a row.
    fn get(row: &[u8], i: usize) -> f32;
}

struct Floats;
impl Stored for Floats {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load<S: Vectors>(from: *const u8) -> S::F {
        // SAFETY: the caller's promise; a vector needs no alignment.
        unsafe { S::load(from.cast()) }
    }

    fn get(row: &[u8], i: usize) -> f32 {
        f32::from_le_bytes(row.as_chunks().0[i])
    }
}

struct Halves;
impl Stored for Halves {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Vectors>(from: *const u8) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { S::load_halves(from) }
    }

    fn get(row: &[u8], i: usize) -> f32 {
        crate::math::f16_to_f32(u16::from_le_bytes(row.as_chunks().0[i]))
    }
}

/// The scores of a group of keys in floats.
#[inline(always)]
unsafe fn float_scores<S: Vectors, K: Stored, const N: usize>(
    group: &[u8],
    queries: &[f32],
    scale: f32,
    at: usize,
    scores: &mut [Scores],
) {
    let head_dim = queries.len() / N;
    let mut rows = [queries.as_ptr(); N];
    for (n, row) in rows.iter_mut().enumerate() {
        *row = queries[n * head_dim..].as_ptr();
    }
    for part in (0..GROUP).step_by(S::LEN) {
        // SAFETY: the group holds 16 positions of each element, and the scores those of a chunk.
        unsafe {
            let keys = group.as_ptr().add(part * K::BYTES);
            let products = if S::LANE_FACTORS {
                by_fours::<S, K, N>(keys, rows, head_dim)
            } else {
                by_ones::<S, K, N>(keys, rows, head_dim)
            };
            for n in 0..N {
                S::store(scores[n][at + part..].as_mut_ptr(), S::mul(products[n], S::splat(scale)));
            }
        }
    }
}

/// q·k where a factor can be a lane of a vector: four virtual lanes go together, so that four elements of a query are
/// loaded at once.
#[inline(always)]
unsafe fn by_fours<S: Vectors, K: Stored, const N: usize>(
    keys: *const u8,
    rows: [*const f32; N],
    head_dim: usize,
) -> [S::F; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let lanes = four_lanes::<S, K, N, 4>(keys, rows, head_dim, 0);
        let mut products = [S::splat(0.0); N];
        for (product, [a, b, c, d]) in products.iter_mut().zip(lanes) {
            *product = S::add(S::add(a, c), S::add(b, d));
        }
        products
    }
}

/// q·k, one virtual lane after another: fewer registers.
#[inline(always)]
unsafe fn by_ones<S: Vectors, K: Stored, const N: usize>(
    keys: *const u8,
    rows: [*const f32; N],
    head_dim: usize,
) -> [S::F; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = two_lanes::<S, K, N, 1>(keys, rows, head_dim, 0);
        add_lanes::<S, N, 1>(&mut sums, &two_lanes::<S, K, N, 1>(keys, rows, head_dim, 1));
        let mut products = [S::splat(0.0); N];
        for (product, [sum]) in products.iter_mut().zip(sums) {
            *product = sum;
        }
        products
    }
}

/// `sums += others`.
#[inline(always)]
unsafe fn add_lanes<S: Vectors, const N: usize, const L: usize>(
    sums: &mut [[S::F; L]; N],
    others: &[[S::F; L]; N],
) {
    for (sum, other) in sums.as_flattened_mut().iter_mut().zip(others.as_flattened()) {
        // SAFETY: the caller's promise.
        *sum = unsafe { S::add(*sum, *other) };
    }
}

/// Virtual lanes `j..j + L` after folding 8, 4 and 2.
#[inline(always)]
unsafe fn two_lanes<S: Vectors, K: Stored, const N: usize, const L: usize>(
    keys: *const u8,
    rows: [*const f32; N],
    head_dim: usize,
    j: usize,
) -> [[S::F; L]; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = four_lanes::<S, K, N, L>(keys, rows, head_dim, j);
        add_lanes::<S, N, L>(&mut sums, &four_lanes::<S, K, N, L>(keys, rows, head_dim, j + 2));
        sums
    }
}

/// Virtual lanes `j..j + L` after folding 8 and 4.
#[inline(always)]
unsafe fn four_lanes<S: Vectors, K: Stored, const N: usize, const L: usize>(
    keys: *const u8,
    rows: [*const f32; N],
    head_dim: usize,
    j: usize,
) -> [[S::F; L]; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = eight_lanes::<S, K, N, L>(keys, rows, head_dim, j);
        add_lanes::<S, N, L>(&mut sums, &eight_lanes::<S, K, N, L>(keys, rows, head_dim, j + 4));
        sums
    }
}

/// Virtual lanes `j..j + L` after folding 8.
#[inline(always)]
unsafe fn eight_lanes<S: Vectors, K: Stored, const N: usize, const L: usize>(
    keys: *const u8,
    rows: [*const f32; N],
    head_dim: usize,
    j: usize,
) -> [[S::F; L]; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = lanes::<S, K, N, L>(keys, rows, head_dim, j);
        add_lanes::<S, N, L>(&mut sums, &lanes::<S, K, N, L>(keys, rows, head_dim, j + 8));
        sums
    }
}

/// Virtual lanes `j..j + L` of q·k: lane j has elements j, j + 16, ... of every position in a vector.
#[inline(always)]
unsafe fn lanes<S: Vectors, K: Stored, const N: usize, const L: usize>(
    keys: *const u8,
    rows: [*const f32; N],
    head_dim: usize,
    j: usize,
) -> [[S::F; L]; N] {
    // SAFETY: element i < head_dim of the queries, and of 16 positions' keys.
    unsafe {
        let key = |i: usize| K::load::<S>(keys.add(i * GROUP * K::BYTES));
        let mut sums = [[S::splat(0.0); L]; N];
        let mut i = j;
        while i + L <= head_dim {
            let mut keys = [S::splat(0.0); L];
            for (l, to) in keys.iter_mut().enumerate() {
                *to = key(i + l);
            }
            for n in 0..N {
                S::fma_lanes(&keys, rows[n].add(i), &mut sums[n]);
            }
            i += LANES;
        }
        // What is left of a head that is no multiple of `L`.
        for l in 0..L {
            if i + l < head_dim {
                for n in 0..N {
                    sums[n][l] = S::fma(key(i + l), S::splat(*rows[n].add(i + l)), sums[n][l]);
                }
            }
        }
        sums
    }
}

/// The scores of a group of quantized keys.
#[inline(always)]
unsafe fn int8_scores<S: Vectors, const N: usize, const INT4: bool>(
    group: &[u8],
    x: &Quantized<'_>,
    scale: f32,
    at: usize,
    scores: &mut [Scores],
) {
    let block_bytes = GROUP * if INT4 { HALF } else { BLOCK };
    let blocks = x.d.len() / N;
    for part in (0..GROUP).step_by(S::LEN) {
        // SAFETY: the group holds blocks and scales of 16 positions; the queries have as many blocks each.
        unsafe {
            let mut acc = [S::splat(0.0); N];
            for b in 0..blocks {
                let (mut q, mut sums) = ([x.q.as_ptr(); N], [0; N]);
                for n in 0..N {
                    let block = n * blocks + b;
                    q[n] = x.q[block * BLOCK..].as_ptr();
                    sums[n] = i32::from(x.sums[2 * block]) + i32::from(x.sums[2 * block + 1]);
                }
                let keys = group[b * block_bytes + 4 * part..].as_ptr();
                let isums = if INT4 { S::dot4::<N>(keys, q, sums) } else { S::dot8::<N>(keys, q, sums) };
                let scales = group[blocks * block_bytes + (b * GROUP + part) * 2..].as_ptr();
                let d = S::load_halves(scales);
                for n in 0..N {
                    let d = S::mul(d, S::splat(x.d[n * blocks + b]));
                    acc[n] = S::fma(d, isums[n], acc[n]);
                }
            }
            for n in 0..N {
                S::store(scores[n][at + part..].as_mut_ptr(), S::mul(acc[n], S::splat(scale)));
            }
        }
    }
}

/// See [`Steps::soften`](super::walk::Steps::soften).
#[inline(always)]
pub unsafe fn soften<S: Vectors>(scores: &mut Scores, attended: Range<usize>) -> [f32; 2] {
    // Whole groups, the others in them as scores whose exp is 0: to sums of exps, which are not negative, a 0 is
    // nothing.
    let groups = attended.start / GROUP * GROUP..attended.end.next_multiple_of(GROUP);
    scores[groups.start..attended.start].fill(f32::NEG_INFINITY);
    scores[attended.end..groups.end].fill(f32::NEG_INFINITY);
    let scores = &mut scores[groups];
    // SAFETY: whole vectors in a slice of whole groups.
    unsafe {
        let mut most = [f32::NEG_INFINITY; LANES];
        let mut max = S::splat(f32::NEG_INFINITY);
        for at in (0..scores.len()).step_by(S::LEN) {
            max = S::max(max, S::load(scores[at..].as_ptr()));
        }
        S::store(most.as_mut_ptr(), max);
        let max = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
        // The 16 lanes: as many vectors as it takes.
        let mut sums = [S::splat(0.0); LANES / 4];
        for group in scores.as_chunks_mut::<GROUP>().0 {
            for (part, sum) in group.chunks_exact_mut(S::LEN).zip(&mut sums) {
                let p = S::exp(S::sub(S::load(part.as_ptr()), S::splat(max)));
                S::store(part.as_mut_ptr(), p);
                *sum = S::add(*sum, p);
            }
        }
        let mut all = [0.0; LANES];
        for (part, sum) in all.chunks_exact_mut(S::LEN).zip(sums) {
            S::store(part.as_mut_ptr(), sum);
        }
        [max, lanes::fold(all)]
    }
}

/// How values are read: `LEN` elements of a row from element `i` on.
trait Row {
    unsafe fn load<S: Vectors>(row: *const u8, i: usize) -> S::F;
    /// Element `i`, for what is left of whole vectors.
    fn get(row: &[u8], i: usize) -> f32;
}

impl<T: Stored> Row for T {
    #[inline(always)]
    unsafe fn load<S: Vectors>(row: *const u8, i: usize) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { <T as Stored>::load::<S>(row.add(i * T::BYTES)) }
    }

    fn get(row: &[u8], i: usize) -> f32 {
        <T as Stored>::get(row, i)
    }
}

struct Int8;
impl Row for Int8 {
    #[inline(always)]
    unsafe fn load<S: Vectors>(row: *const u8, i: usize) -> S::F {
        // SAFETY: the caller's promise; a vector's elements lie in one block.
        unsafe {
            let block = row.add(i / BLOCK * 34);
            S::mul(S::splat_half(block), S::load_int8(block.add(2 + i % BLOCK)))
        }
    }

    fn get(_: &[u8], _: usize) -> f32 {
        unreachable!("blocks are whole vectors")
    }
}

struct Int4;
impl Row for Int4 {
    #[inline(always)]
    unsafe fn load<S: Vectors>(row: *const u8, i: usize) -> S::F {
        // SAFETY: the caller's promise; a vector's elements lie in one half of a block.
        unsafe {
            let block = row.add(i / BLOCK * 18);
            let quants = block.add(2 + i % HALF);
            let int = if i % BLOCK < HALF { S::load_low_int4(quants) } else { S::load_high_int4(quants) };
            S::mul(S::splat_half(block), int)
        }
    }

    fn get(_: &[u8], _: usize) -> f32 {
        unreachable!("blocks are whole vectors")
    }
}

/// See [`Steps::mix`](super::walk::Steps::mix).
#[inline(always)]
pub unsafe fn mix<S: Vectors>(
    p: &[Scores],
    values: &Cache<'_>,
    positions: Range<usize>,
    go_on: bool,
    out: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match values.format() {
            KvFormat::F32 => {
                for_count!(p.len(), N => mix_rows::<S, Floats, N>(p, values, positions, go_on, out));
            }
            KvFormat::F16 => {
                for_count!(p.len(), N => mix_rows::<S, Halves, N>(p, values, positions, go_on, out));
            }
            KvFormat::Q8_0 => {
                for_count!(p.len(), N => mix_rows::<S, Int8, N>(p, values, positions, go_on, out));
            }
            KvFormat::Q4_0 => {
                for_count!(p.len(), N => mix_rows::<S, Int4, N>(p, values, positions, go_on, out));
            }
        }
    }
}

#[inline(always)]
unsafe fn mix_rows<S: Vectors, V: Row, const N: usize>(
    p: &[Scores],
    values: &Cache<'_>,
    positions: Range<usize>,
    go_on: bool,
    out: &mut [f32],
) {
    let head_dim = values.head_dim();
    // As many sums as there are registers for: AVX2 has 16, the others 32.
    let wide = S::LEN * if S::LEN == 8 { 2 } else { 4 };
    let mut column = 0;
    // SAFETY: the columns lie in the rows and outputs.
    unsafe {
        while column + wide <= head_dim {
            if S::LEN == 8 {
                mix_columns::<S, V, N, 2>(p, values, positions.clone(), go_on, column, out);
            } else {
                mix_columns::<S, V, N, 4>(p, values, positions.clone(), go_on, column, out);
            }
            column += wide;
        }
        while column + S::LEN <= head_dim {
            mix_columns::<S, V, N, 1>(p, values, positions.clone(), go_on, column, out);
            column += S::LEN;
        }
    }
    if column < head_dim {
        mix_rest::<V>(p, values, positions, go_on, column, out);
    }
}

/// The outputs from `column` on, where heads are no whole vectors. Rare, and so there once for all vectors and queries.
#[inline(never)]
fn mix_rest<V: Row>(
    p: &[Scores],
    values: &Cache<'_>,
    positions: Range<usize>,
    go_on: bool,
    column: usize,
    out: &mut [f32],
) {
    let head_dim = values.head_dim();
    for column in column..head_dim {
        for (p, out) in p.iter().zip(out.chunks_exact_mut(head_dim)) {
            let start = if go_on { out[column] } else { 0.0 };
            out[column] = positions.clone().fold(start, |sum, position| {
                fma(p[position % super::CHUNK], V::get(values.row(position), column), sum)
            });
        }
    }
}

/// `C` vectors of outputs from `column` on, in registers over all positions.
#[inline(always)]
unsafe fn mix_columns<S: Vectors, V: Row, const N: usize, const C: usize>(
    p: &[Scores],
    values: &Cache<'_>,
    positions: Range<usize>,
    go_on: bool,
    column: usize,
    out: &mut [f32],
) {
    let (head_dim, row_bytes) = (values.head_dim(), values.row_bytes());
    let first = positions.start % super::CHUNK;
    // SAFETY: the columns lie in the rows, the positions in the cache and in one chunk.
    unsafe {
        let mut sums = [[S::splat(0.0); C]; N];
        let mut weights = [p[0].as_ptr(); N];
        for n in 0..N {
            weights[n] = p[n][first..].as_ptr();
            if go_on {
                for (c, sum) in sums[n].iter_mut().enumerate() {
                    *sum = S::load(out[n * head_dim + column + c * S::LEN..].as_ptr());
                }
            }
        }
        let mut row = values.row(positions.start).as_ptr();
        for i in 0..positions.len() {
            let mut v = [S::splat(0.0); C];
            for (c, v) in v.iter_mut().enumerate() {
                *v = V::load::<S>(row, column + c * S::LEN);
            }
            for n in 0..N {
                let p = S::splat(*weights[n].add(i));
                for c in 0..C {
                    sums[n][c] = S::fma(p, v[c], sums[n][c]);
                }
            }
            row = row.wrapping_add(row_bytes);
        }
        for n in 0..N {
            for (c, sum) in sums[n].into_iter().enumerate() {
                S::store(out[n * head_dim + column + c * S::LEN..].as_mut_ptr(), sum);
            }
        }
    }
}

/// See [`Steps::merge`](super::walk::Steps::merge).
#[inline(always)]
pub unsafe fn merge<S: Vectors>(out: &mut [f32], later: &[f32], [a, b]: [f32; 2]) {
    let whole = out.len() / S::LEN * S::LEN;
    for at in (0..whole).step_by(S::LEN) {
        let to = &mut out[at..];
        // SAFETY: a whole vector lies at `at` in both.
        unsafe {
            let second = S::mul(S::load(later[at..].as_ptr()), S::splat(b));
            let merged = S::fma(S::load(to.as_ptr()), S::splat(a), second);
            S::store(to.as_mut_ptr(), merged);
        }
    }
    for (out, later) in out[whole..].iter_mut().zip(&later[whole..]) {
        *out = fma(*out, a, later * b);
    }
}
