//! Weights to bytes: beside what ggml makes of the same weights, and at the edges of what a format can say.

mod support;
#[path = "support/vectors.rs"]
mod vectors;

use stonechat_kernels::elementwise::NotFinite;
use stonechat_kernels::quantize::{FORMATS, quantize};
use stonechat_kernels::{Format, Level, elementwise};
use support::Random;
use vectors::{bytes, floats};

/// Formats that leave no choice.
const EXACT: [Format; 7] =
    [Format::F16, Format::BF16, Format::Q8_0, Format::Q4_0, Format::Q4_1, Format::Q5_0, Format::Q5_1];

fn encode(format: Format, weights: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; format.row_bytes(weights.len()).expect("whole blocks")];
    quantize(format, weights, &mut bytes).expect("finite weights");
    bytes
}

fn decode(format: Format, bytes: &[u8], len: usize) -> Vec<f32> {
    let mut weights = vec![0.0; len];
    elementwise::dequantize(Level::REFERENCE, format, bytes, &mut weights);
    weights
}

/// The root of the mean squared difference.
fn rms(a: &[f32], b: &[f32]) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    (squares / a.len() as f64).sqrt()
}

#[test]
fn formats_without_a_choice_have_the_bytes_of_ggml() {
    for vectors in vectors::all() {
        for format in EXACT {
            let vector = &vectors["types"][format.as_str()];
            let found = encode(format, &floats(&vector["input_f32"]));
            assert!(found == bytes(&vector["bytes"]), "{format}");
        }
    }
}

#[test]
fn formats_with_a_choice_are_no_further_from_the_weights_than_ggml_is() {
    for vectors in vectors::all() {
        for format in FORMATS.into_iter().filter(|format| *format != Format::F32 && !EXACT.contains(format)) {
            let vector = &vectors["types"][format.as_str()];
            let (weights, theirs) = (floats(&vector["input_f32"]), floats(&vector["dequant_f32"]));
            let ours = decode(format, &encode(format, &weights), weights.len());
            // Blocks come from several distributions, of which the widest would hide what happens to the others.
            for (i, weights) in weights.chunks(format.block_len()).enumerate() {
                let range = i * format.block_len()..(i + 1) * format.block_len();
                let (ours, theirs) = (rms(weights, &ours[range.clone()]), rms(weights, &theirs[range]));
                println!("{format}, block {i}: {ours:.3e}, {:.3} of ggml's", ours / theirs);
                assert!(ours <= theirs, "{format}, block {i}: {ours} from the weights, ggml {theirs}");
            }
        }
    }
}
/// How far apart the levels of a format lie, as a part of the range of the weights in a block.
fn step(format: Format) -> f32 {
    1.0 / match format {
        Format::F32 | Format::F16 => 1000.0,
        Format::BF16 | Format::Q8_0 => 100.0,
        Format::Q6_K => 50.0,
        Format::Q5_0 | Format::Q5_1 | Format::Q5_K => 28.0,
        Format::Q3_K => 6.0,
        Format::Q2_K => 3.0,
        _ => 12.0,
    }
}

#[test]
fn weights_of_any_shape_come_back_to_within_a_step() {
    let mut random = Random(11);
    for format in FORMATS {
        for size in [0.02, 1.0, 300.0] {
            for shape in 0..6 {
                let mut weight = |i: usize| match shape {
                    0 => random.plain(),
                    1 => random.plain() + 1.5,
                    2 => random.plain() - 1.5,
                    3 => f32::from(u8::from(random.below(7) == 0)),
                    4 => i as f32 / 256.0,
                    _ => -1.0,
                };
                let weights: Vec<f32> = (0..256).map(|i| weight(i) * size).collect();
                let found = decode(format, &encode(format, &weights), weights.len());
                let most = weights.iter().fold(0.0, |most: f32, weight| most.max(weight.abs()));
                let bound = 2.0 * most * step(format);
                let off = weights.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off <= bound, "{format}, shape {shape} of size {size}: {off}, more than {bound}");
            }
        }
    }
}

#[test]
fn zeros_stay_zeros_and_next_to_nothing_stays_next_to_nothing() {
    for format in FORMATS {
        assert!(
            decode(format, &encode(format, &[0.0; 256]), 256).iter().all(|weight| *weight == 0.0),
            "{format}"
        );
        for tiny in [f32::from_bits(1), 1e-38, -1e-30, 1e-8] {
            let found = decode(format, &encode(format, &[tiny; 256]), 256);
            assert!(found.iter().all(|weight| weight.abs() <= 1e-7), "{format}: {tiny} becomes {}", found[0]);
        }
    }
}

#[test]
fn a_weight_that_a_format_cannot_say_is_an_error() {
    for format in FORMATS {
        let mut bytes = vec![0; format.row_bytes(256).expect("whole blocks")];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            for place in [0, 100, 255] {
                let mut weights = [0.5; 256];
                weights[place] = bad;
                let result = quantize(format, &weights, &mut bytes);
                let expected = if format == Format::F32 && bad == f32::MAX { Ok(()) } else { Err(NotFinite) };
                assert_eq!(result, expected, "{format} with {bad} at {place}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "can only be read")]
fn formats_that_can_only_be_read_are_refused() {
    let _ = quantize(Format::IQ2_S, &[0.0; 256], &mut [0; 82]);
}
