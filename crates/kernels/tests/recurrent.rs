//! The steps of recurrent mixers: every level gives the bits of the reference, and the reference what the formulas say.
//! Without the feature `std` no level can be detected, and nothing is left to compare.
#![cfg(feature = "std")]

mod support;

use stonechat_kernels::recurrent::{self, Convolution, Decay};
use stonechat_kernels::{Level, math};
use support::Random;

/// Numbers around 1, with zeros of both signs and subnormal ones between them.
fn numbers(random: &mut Random, n: usize) -> Vec<f32> {
    random.many(n, |random| match random.below(16) {
        0 => 0.0,
        1 => -0.0,
        2 => f32::from_bits(random.next() & 0x807f_ffff),
        3 => 100.0 * random.plain(),
        _ => random.plain(),
    })
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() }).collect()
}

/// Every level leaves in the buffers what the reference does.
#[track_caller]
fn compare<const N: usize>(what: &str, buffers: [&[f32]; N], work: impl Fn(Level, [&mut [f32]; N])) {
    let run = |level| {
        let mut copies = buffers.map(<[f32]>::to_vec);
        work(level, copies.each_mut().map(Vec::as_mut_slice));
        copies.map(|copy| bits(&copy))
    };
    let expected = run(Level::REFERENCE);
    for level in Level::available() {
        assert!(run(level) == expected, "{what} at level {}", level.name());
    }
}

#[test]
fn convolutions_give_the_bits_of_the_reference() {
    let mut random = Random(1);
    for n in (1..70).chain([256]) {
        for taps in [1, 2, 3, 4, 7] {
            let stride = n + random.below(5);
            let window = numbers(&mut random, taps * n);
            let (weights, bias) = (numbers(&mut random, taps * stride), numbers(&mut random, n));
            for (bias, silu) in [(None, false), (Some(&bias[..]), true)] {
                let by = Convolution { taps, weights: &weights, stride, bias, silu };
                let oldest = random.below(taps);
                compare(&format!("{taps} taps of {n}"), [&vec![0.0; n]], |level, [out]| {
                    recurrent::convolve(level, &by, &window, oldest, out);
                });
            }
        }
    }
}

#[test]
fn softplus_and_gates_give_the_bits_of_the_reference() {
    let mut random = Random(2);
    for n in 0..70 {
        let (x, by) = (numbers(&mut random, n), numbers(&mut random, n));
        compare("softplus", [&x], |level, [x]| recurrent::softplus(level, x));
        compare("gate", [&x], |level, [x]| recurrent::gate(level, x, &by));
    }
    let extremes =
        [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 88.0, -88.0, 104.0].repeat(2);
    compare("softplus", [&extremes], |level, [x]| recurrent::softplus(level, x));
}

#[test]
fn states_give_the_bits_of_the_reference() {
    let mut random = Random(3);
    for n in [16, 32, 48, 128] {
        for rows in [1, 2, 3, 5, 16] {
            let what = format!("{rows} rows of {n}");
            let state = numbers(&mut random, n * rows);
            let rates: Vec<f32> = numbers(&mut random, n * rows).into_iter().map(|x| -x.abs()).collect();
            let steps: Vec<f32> = numbers(&mut random, rows).into_iter().map(f32::abs).collect();
            let (inputs, out) = (numbers(&mut random, rows), vec![0.0; rows]);
            let (b, c) = (numbers(&mut random, n), numbers(&mut random, n));
            for decay in [Decay::Rates { rates: &rates, steps: &steps }, Decay::Factor(random.plain())] {
                compare(&what, [&state, &out], |level, [state, out]| {
                    recurrent::scan(level, state, decay, &inputs, [&b, &c], out);
                });
            }
            let factors = [random.plain(), random.plain()];
            compare(&what, [&state, &out], |level, [state, out]| {
                recurrent::delta_rule(level, state, factors, [&b, &c], &inputs, out);
            });
        }
    }
}

#[test]
fn softplus_is_the_logarithm_of_one_plus_an_exponential() {
    for i in -4000..4000 {
        let x = i as f32 / 37.0;
        let exact = f64::from(x).exp().ln_1p();
        let found = f64::from(math::softplus(x));
        // Where e^x would be subnormal it is taken for 0.
        assert!((found - exact).abs() <= 4e-7 * exact + 2e-38, "softplus({x}) is {found}, not {exact}");
    }
}

/// A state space whose state was empty gives `c·b` times its input, and fades by its factor from then on.
#[test]
fn a_state_space_remembers_and_fades() {
    let (b, c) = ([2.0; 16], [0.5; 16]);
    let (mut state, mut out) = ([0.0; 16], [0.0]);
    let mut feed = |input: f32, decay| {
        recurrent::scan(Level::REFERENCE, &mut state, decay, &[input], [&b, &c], &mut out);
        out[0]
    };
    assert_eq!(feed(3.0, Decay::Factor(0.5)), 48.0);
    assert_eq!(feed(0.0, Decay::Factor(0.5)), 24.0);
    let rates = [-core::f32::consts::LN_2; 16];
    let faded = feed(1.0, Decay::Rates { rates: &rates, steps: &[1.0] });
    assert!((faded - 28.0).abs() < 1e-5, "{faded}");
}

/// The delta rule puts a value in a key's place: asked by the key, it gives the value, whatever was there.
#[test]
fn the_delta_rule_replaces_what_a_key_stands_for() {
    let mut key = [0.0; 16];
    key[3] = 1.0;
    let (mut state, mut out) = ([0.25; 32], [0.0; 2]);
    for values in [[5.0, -7.0], [2.0, 1.0]] {
        recurrent::delta_rule(Level::REFERENCE, &mut state, [1.0, 1.0], [&key, &key], &values, &mut out);
        assert_eq!(out, values);
    }
    recurrent::delta_rule(Level::REFERENCE, &mut state, [0.5, 0.0], [&key, &key], &[9.0; 2], &mut out);
    assert_eq!(out, [1.0, 0.5], "nothing is learnt at rate 0, and what is there fades");
}
