//! Every level that this CPU has gives the bits of the reference, through the public functions.
//!
//! Values are random, with what is most likely to go wrong mixed in: zeros of both signs, subnormals, the largest
//! finite numbers, weights of -128; every tail of rows, columns and tokens; slices at every alignment.
//! Without the feature `std` no level can be detected, and nothing is left to compare.
#![cfg(feature = "std")]

mod support;

use stonechat_kernels::activations::{Activations, Quantized, QuantizedMut};
use stonechat_kernels::elementwise::{self, Activation, NotFinite, Rotation, Xielu};
use stonechat_kernels::{Alone, Format, Layout, Level, Line, Matrix, Scratch, ScratchSize, layout, matmul};
use support::Random;

/// The levels to judge.
fn levels() -> impl Iterator<Item = Level> {
    Level::available().filter(|level| *level != Level::REFERENCE)
}

impl Random {
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    /// A number of any finite kind, most of them around 1.
    fn wild(&mut self) -> f32 {
        match self.below(24) {
            0 => 0.0,
            1 => -0.0,
            2 => f32::from_bits(self.next() & 0x807f_ffff),
            3 => f32::MIN_POSITIVE * self.plain(),
            4 => f32::MAX * self.plain().signum(),
            5 => 1e30 * self.plain(),
            6 => 1e-30 * self.plain(),
            7 => 100.0 * self.plain(),
            _ => self.plain(),
        }
    }

    /// The bits of a half-precision number of any finite kind.
    fn half(&mut self) -> u16 {
        match self.below(16) {
            0 => 0,
            1 => 0x8000,
            2 => self.next() as u16 & 0x83ff,
            3 => 0x7bff | self.next() as u16 & 0x8000,
            _ => 0x2c00 + (self.next() as u16 & 0x8bff),
        }
    }

    /// The bytes of `rows` rows: random integers, sometimes all at one extreme, and finite scales.
    fn weights(&mut self, format: Format, rows: usize, cols: usize) -> Vec<u8> {
        let len = rows * format.row_bytes(cols).expect("whole blocks");
        let mut bytes = self.bytes(len);
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            match self.below(12) {
                0 => block.fill(0x80),
                1 => block.fill(0x7f),
                2 => block.fill(0xff),
                3 => block.fill(0),
                _ => {}
            }
            match format {
                Format::F32 => block.copy_from_slice(&self.wild().to_le_bytes()),
                // The largest f32, cut off, is finite.
                Format::BF16 => block.copy_from_slice(&self.wild().to_le_bytes()[2..]),
                // From subnormal numbers on, most of them around 1.
                Format::MXFP4 if self.below(8) > 0 => block[0] = 108 + self.below(32) as u8,
                // The upper 4 bits of a half, of which it is finite.
                Format::IQ1_M => block[55] &= 0xbf,
                _ => {}
            }
            for at in format.halves() {
                block[*at..at + 2].copy_from_slice(&self.half().to_le_bytes());
            }
        }
        bytes
    }
}

/// The formats that meet int8 activations.
fn quantized() -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(|format| !format.is_float())
}

/// The bits; a NaN is a NaN.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() }).collect()
}

#[track_caller]
fn assert_bits(level: Level, expected: &[f32], actual: &[f32], what: &str) {
    for (i, (e, a)) in bits(expected).into_iter().zip(bits(actual)).enumerate() {
        assert!(
            e == a,
            "{what}: value {i} at level {} is {} ({a:#010x}), not {} ({e:#010x})",
            level.name(),
            actual[i],
            expected[i]
        );
    }
    assert_eq!(expected.len(), actual.len());
}

/// Activations in both forms.
struct Rows {
    cols: usize,
    f32: Vec<f32>,
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
}

impl Rows {
    fn new(random: &mut Random, tokens: usize, cols: usize) -> Self {
        let len = tokens * cols;
        let mut q: Vec<i8> = (0..len).map(|_| (random.next() as i8).max(-127)).collect();
        for block in q.chunks_exact_mut(32) {
            match random.below(10) {
                0 => block.fill(127),
                1 => block.fill(-127),
                2 => block.fill(0),
                _ => {}
            }
        }
        let sums = q.chunks_exact(16).map(|half| half.iter().map(|q| i16::from(*q)).sum()).collect();
        let d = random.many(len / 32, |random| random.wild().abs());
        Self { cols, f32: random.many(len, Random::wild), q, d, sums }
    }

    fn int8(&self) -> Activations<'_> {
        let quantized = Quantized { q: &self.q, d: &self.d, sums: &self.sums };
        Activations { cols: self.cols, f32: &self.f32, quantized: Some(quantized) }
    }

    fn float(&self) -> Activations<'_> {
        Activations { cols: self.cols, f32: &self.f32, quantized: None }
    }
}

fn multiply(level: Level, stack: &[Matrix<'_>], x: &Activations<'_>) -> Vec<f32> {
    let rows: usize = stack.iter().map(Matrix::rows).sum();
    let mut out = vec![f32::NAN; rows * x.tokens()];
    let size = ScratchSize::new(x.cols, x.tokens());
    let mut lines = vec![Line::ZERO; size.lines(1).expect("few")];
    matmul(level, &Alone, stack, x, &mut out, &mut Scratch::new(&mut lines, size));
    out
}

/// Compares one product, with the weights at a random alignment.
fn compare_product(
    random: &mut Random,
    format: Format,
    rows: usize,
    cols: usize,
    tokens: usize,
    float: bool,
) {
    let weights = random.weights(format, rows, cols);
    let offset = random.below(16);
    let mut shifted = vec![0; offset];
    shifted.extend_from_slice(&weights);
    let matrix = Matrix::new(format, rows, cols, &shifted[offset..]).expect("whole rows");
    let data = Rows::new(random, tokens, cols);
    let x = if float { data.float() } else { data.int8() };
    let expected = multiply(Level::REFERENCE, &[matrix], &x);
    let what = format!("{format} {rows} x {cols}, {tokens} tokens, offset {offset}");
    for level in levels() {
        assert_bits(level, &expected, &multiply(level, &[matrix], &x), &what);
    }
    if rows.is_multiple_of(16) && Layout::Rows16.takes(format) && !format.is_float() {
        let groups = interleaved(&matrix);
        shifted[offset..].copy_from_slice(&groups);
        let packed = Matrix::with_layout(format, Layout::Rows16, rows, cols, &shifted[offset..]);
        let packed = packed.expect("groups of 16 rows");
        for level in Level::available() {
            assert_bits(level, &expected, &multiply(level, &[packed], &x), &format!("packed {what}"));
        }
    }
}

/// The bytes of a matrix in groups of 16 rows.
fn interleaved(matrix: &Matrix<'_>) -> Vec<u8> {
    let mut groups = vec![0; matrix.bytes().len()];
    let bytes = 16 * matrix.row_bytes();
    for (rows, group) in matrix.bytes().chunks_exact(bytes).zip(groups.chunks_exact_mut(bytes)) {
        layout::interleave(matrix.format(), rows, group);
    }
    groups
}

#[test]
fn quantized_products_have_the_bits_of_the_reference_for_every_tail() {
    let random = &mut Random(1);
    for format in quantized() {
        let block = format.block_len();
        for rows in 1..=20 {
            compare_product(random, format, rows, block * (1 + rows % 3), 1, false);
        }
        for tokens in 2..=20 {
            let rows = 1 + random.below(35);
            compare_product(random, format, rows, block * (1 + tokens % 4), tokens, false);
            compare_product(random, format, 32, block * (1 + tokens % 4), tokens, false);
        }
    }
}

#[test]
fn quantized_products_of_long_rows_have_the_bits_of_the_reference() {
    let random = &mut Random(2);
    for format in quantized() {
        compare_product(random, format, 33, 1536, 1, false);
        compare_product(random, format, 17, 1024, 5, false);
        compare_product(random, format, 48, 1536, 1, false);
        compare_product(random, format, 48, 2560, 37, false);
    }
}

#[test]
fn float_products_have_the_bits_of_the_reference() {
    let random = &mut Random(3);
    for format in Format::ALL {
        let block = format.block_len().max(32);
        compare_product(random, format, 16, 2 * block, 2, true);
        for tokens in [1, 2, 3, 5] {
            let rows = 1 + random.below(9);
            compare_product(random, format, rows, block * (1 + tokens % 3), tokens, true);
        }
    }
    for format in [Format::F32, Format::F16, Format::BF16] {
        // Without blocks, a row may end anywhere.
        for cols in 1..=40 {
            let (rows, tokens) = (1 + random.below(5), 1 + random.below(3));
            compare_product(random, format, rows, cols, tokens, true);
        }
    }
}

#[test]
fn float_products_of_many_rows_columns_and_tokens_have_the_bits_of_the_reference() {
    // Sums that are put away in between, and tiles of rows and tokens that are not full.
    let random = &mut Random(11);
    for format in [Format::F32, Format::F16, Format::BF16, Format::Q4_0, Format::Q4_K] {
        let cols = if format.is_float() { 2048 + 16 * 5 } else { 2048 + 256 };
        for (rows, tokens) in [(99, 6), (193, 4), (97, 13), (7, 11)] {
            compare_product(random, format, rows, cols, tokens, true);
        }
    }
}

#[test]
fn a_stack_of_matrices_has_the_bits_of_the_reference() {
    let random = &mut Random(4);
    let cols = 512;
    let data = Rows::new(random, 3, cols);
    let last = random.weights(Format::Q4_0, 32, cols);
    let weights = [Format::Q4_1, Format::Q6_K, Format::F16].map(|f| (f, random.weights(f, 21, cols)));
    let stack: Vec<_> =
        weights.iter().map(|(format, bytes)| Matrix::new(*format, 21, cols, bytes).expect("rows")).collect();
    // A packed matrix that begins in the middle of a range of rows.
    let packed = Matrix::new(Format::Q4_0, 32, cols, &last).expect("rows");
    let packed = interleaved(&packed);
    let packed = Matrix::with_layout(Format::Q4_0, Layout::Rows16, 32, cols, &packed).expect("groups");
    let stack = [stack, vec![packed]].concat();
    let expected = multiply(Level::REFERENCE, &stack, &data.int8());
    for level in levels() {
        assert_bits(level, &expected, &multiply(level, &stack, &data.int8()), "a stack");
    }
}

#[test]
fn dequantized_rows_have_the_bits_of_the_reference() {
    let random = &mut Random(5);
    for format in Format::ALL {
        for blocks in 1..=20 {
            let cols = format.block_len() * blocks;
            let offset = random.below(16);
            let mut bytes = vec![0; offset];
            bytes.extend(random.weights(format, 1, cols));
            let mut expected = vec![0.0; cols];
            elementwise::dequantize(Level::REFERENCE, format, &bytes[offset..], &mut expected);
            for level in levels() {
                let mut actual = vec![0.0; cols];
                elementwise::dequantize(level, format, &bytes[offset..], &mut actual);
                assert_bits(level, &expected, &actual, format.as_str());
            }
        }
    }
}

fn quantize(level: Level, x: &[f32]) -> (Result<(), NotFinite>, Vec<i8>, Vec<u32>, Vec<i16>) {
    let mut q = vec![1; x.len()];
    let mut d = vec![1.0; x.len() / 32];
    let mut sums = vec![1; x.len() / 16];
    let result = elementwise::quantize(level, x, &mut QuantizedMut { q: &mut q, d: &mut d, sums: &mut sums });
    (result, q, bits(&d), sums)
}

#[test]
fn quantized_activations_have_the_bits_of_the_reference() {
    let random = &mut Random(6);
    for round in 0..200 {
        let offset = round % 16;
        let mut x = random.many(offset + 32 * (1 + round % 5), |random| match round % 4 {
            0 => random.wild(),
            1 => random.plain(),
            // Halves between two integers, to see ties.
            2 => random.below(255) as f32 - 127.0 + 0.5 * random.below(2) as f32,
            _ => f32::MIN_POSITIVE * 200.0 * random.plain(),
        });
        if round % 4 == 2 {
            x[offset] = 127.0;
        }
        let x = &x[offset..];
        let expected = quantize(Level::REFERENCE, x);
        for level in levels() {
            assert_eq!(expected, quantize(level, x), "level {}", level.name());
        }
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for level in Level::available() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..64 {
                let mut x = vec![1.0; 64];
                x[at] = bad;
                assert_eq!(quantize(level, &x).0, Err(NotFinite), "{bad} at {at}, level {}", level.name());
                let norm = elementwise::rms_norm(level, &x, &[1.0; 64], 1e-5, &mut [0.0; 64]);
                assert_eq!(norm, Err(NotFinite), "{bad} at {at}, level {}", level.name());
            }
        }
    }
}

#[test]
fn norms_have_the_bits_of_the_reference() {
    let random = &mut Random(7);
    for n in (1..=80).chain([576, 2048]) {
        let offset = random.below(16);
        let tame = |random: &mut Random| random.wild().clamp(-1e15, 1e15);
        let (x, weight) = (random.many(n + offset, tame), random.many(n, Random::wild));
        let mut expected = vec![0.0; n];
        elementwise::rms_norm(Level::REFERENCE, &x[offset..], &weight, 1e-5, &mut expected).expect("finite");
        for level in levels() {
            let mut actual = vec![0.0; n];
            elementwise::rms_norm(level, &x[offset..], &weight, 1e-5, &mut actual).expect("finite");
            assert_bits(level, &expected, &actual, "norm");
        }
    }
}

#[test]
fn layer_norms_have_the_bits_of_the_reference() {
    let random = &mut Random(11);
    for n in (1..=80).chain([576, 2048]) {
        let offset = random.below(16);
        let tame = |random: &mut Random| random.wild().clamp(-1e15, 1e15);
        let (x, weight) = (random.many(n + offset, tame), random.many(n, Random::wild));
        let bias = random.many(n, Random::wild);
        for bias in [None, Some(&bias[..])] {
            let norm = |level, out: &mut [f32]| {
                elementwise::layer_norm(level, &x[offset..], &weight, bias, 1e-5, out).expect("finite");
            };
            let mut expected = vec![0.0; n];
            norm(Level::REFERENCE, &mut expected);
            for level in levels() {
                let mut actual = vec![0.0; n];
                norm(level, &mut actual);
                assert_bits(level, &expected, &actual, "layer norm");
            }
        }
    }
}

#[test]
fn activations_have_the_bits_of_the_reference() {
    let random = &mut Random(12);
    let xielu = Xielu { positive: 0.8, negative: 0.7, beta: 0.5, eps: -1e-6 };
    for n in (1..=40).chain([5000]) {
        let gate = random
            .many(n, |random| if random.below(2) == 0 { random.plain() } else { 20.0 * random.plain() });
        let up = random.many(n, Random::plain);
        for activation in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluErf,
            Activation::ReluSquared,
            Activation::Xielu(xielu),
            Activation::ClampedSilu,
        ] {
            for up in [None, Some(&up[..])] {
                let mut expected = vec![0.0; n];
                elementwise::activate(Level::REFERENCE, activation, &gate, up, &mut expected);
                for level in levels() {
                    let mut actual = vec![0.0; n];
                    elementwise::activate(level, activation, &gate, up, &mut actual);
                    assert_bits(level, &expected, &actual, "activation");
                }
            }
        }
    }
}

#[test]
fn soft_caps_have_the_bits_of_the_reference_and_are_those_of_their_formula() {
    let random = &mut Random(13);
    for n in (1..=40).chain([5000]) {
        let x = random.many(n, Random::wild);
        for cap in [0.5, 30.0, 50.0] {
            let mut expected = x.clone();
            elementwise::soft_cap(Level::REFERENCE, &mut expected, cap);
            for (x, found) in x.iter().zip(&expected) {
                let exact = f64::from(cap) * (f64::from(*x) / f64::from(cap)).tanh();
                assert!(
                    (f64::from(*found) - exact).abs() < 2e-7 * f64::from(cap),
                    "{x} capped at {cap}: {found}"
                );
            }
            for level in levels() {
                let mut actual = x.clone();
                elementwise::soft_cap(level, &mut actual, cap);
                assert_bits(level, &expected, &actual, "soft cap");
            }
        }
    }
}

/// Each against its formula in float64.
#[test]
fn activations_are_what_their_papers_say() {
    let xielu = Xielu { positive: 0.8, negative: 0.7, beta: 0.5, eps: -1e-6 };
    let gelu = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
        0.5 * x * (1.0 + inner.tanh())
    };
    let formulas: [(Activation, &dyn Fn(f64) -> f64); 5] = [
        (Activation::Silu, &|x| x / (1.0 + (-x).exp())),
        (Activation::Gelu, &gelu),
        (Activation::ReluSquared, &|x| x.max(0.0).powi(2)),
        (Activation::Xielu(xielu), &|x| {
            0.5 * x + if x > 0.0 { 0.8 * x * x } else { 0.7 * (x.min(-1e-6).exp_m1() - x) }
        }),
        (Activation::ClampedSilu, &|x| x.min(7.0) / (1.0 + (-1.702 * x.min(7.0)).exp())),
    ];
    let x: Vec<f32> = (-400..=400).map(|i| i as f32 * 0.025).collect();
    let mut out = vec![0.0; x.len()];
    for (activation, formula) in formulas {
        elementwise::activate(Level::REFERENCE, activation, &x, None, &mut out);
        for (x, out) in x.iter().zip(&out) {
            let expected = formula(f64::from(*x));
            let off = (f64::from(*out) - expected).abs();
            assert!(off < 2e-6 * (1.0 + expected.abs()), "{activation:?} of {x} is {out}, not {expected}");
        }
    }
}

#[test]
fn rotations_have_the_bits_of_the_reference() {
    let random = &mut Random(8);
    for rotation in [Rotation::Adjacent, Rotation::Halves] {
        for pairs in 1..=40 {
            let head_dim = 2 * pairs + random.below(3);
            let (cos, sin) = (random.many(pairs, Random::plain), random.many(pairs, Random::plain));
            let offset = random.below(16);
            let heads = random.many(offset + 3 * head_dim, Random::wild);
            let mut expected = heads.clone();
            elementwise::rope(Level::REFERENCE, rotation, &cos, &sin, head_dim, &mut expected[offset..]);
            for level in levels() {
                let mut actual = heads.clone();
                elementwise::rope(level, rotation, &cos, &sin, head_dim, &mut actual[offset..]);
                assert_bits(level, &expected, &actual, "rope");
            }
        }
    }
}

#[test]
fn gates_have_the_bits_of_the_reference() {
    let random = &mut Random(9);
    let edges =
        [-87.0, -87.000_01, -86.999_99, 87.0, 87.000_01, 88.722_83, 88.722_84, -88.722_83, -88.722_84];
    for n in (1..=40).chain([5000]) {
        let mut gate = random.many(n, |random| match random.below(3) {
            0 => random.wild(),
            1 => 60.0 * random.plain(),
            _ => random.plain(),
        });
        for (i, gate) in gate.iter_mut().enumerate().filter(|(i, _)| i % 7 == 3) {
            *gate = edges[i / 7 % edges.len()];
        }
        let up = random.many(n, Random::wild);
        let mut expected = vec![0.0; n];
        elementwise::silu_mul(Level::REFERENCE, &gate, &up, &mut expected);
        for level in levels() {
            let mut actual = vec![0.0; n];
            elementwise::silu_mul(level, &gate, &up, &mut actual);
            assert_bits(level, &expected, &actual, "silu");
        }
    }
}

#[test]
fn halves_have_the_bits_of_the_reference() {
    let random = &mut Random(10);
    // Every exponent and sign, with mantissas at and around the ties of rounding.
    let mut x = Vec::new();
    for top in 0..=0x3ff_u32 {
        for low in [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x3000, 0x7f_ffff, 0x7f_efff, 0x7f_f000] {
            let value = f32::from_bits(top << 22 ^ low ^ (random.next() & 0x007f_0000));
            x.push(if value.is_nan() { 0.0 } else { value });
        }
    }
    for n in (1..=20).chain([x.len()]) {
        let offset = (x.len() - n).min(random.below(16));
        let x = &x[offset..offset + n];
        let (mut expected, mut actual) = (vec![0; n], vec![0; n]);
        elementwise::to_f16(Level::REFERENCE, x, &mut expected);
        for level in levels() {
            elementwise::to_f16(level, x, &mut actual);
            assert_eq!(expected, actual, "level {}", level.name());
        }
    }
}
