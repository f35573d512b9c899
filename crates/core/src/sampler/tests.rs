use std::vec;
use std::vec::Vec;

use super::*;

/// Nothing that changes probabilities: one step at a time is switched on by a test.
fn plain() -> Sampling {
    Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Sampling::default() }
}

fn room(logits: &[f32], history: &[u32]) -> Vec<Candidate> {
    vec![Candidate { weight: 0.0, token: 0 }; memory(logits.len(), history.len()).unwrap()]
}

fn draws(sampling: Sampling, logits: &[f32], count: usize) -> Vec<u32> {
    let sampler = Sampler::new(sampling).unwrap();
    let mut memory = room(logits, &[]);
    (0..count).map(|position| sampler.pick(logits, &[], position, &mut memory)).collect()
}

/// The probabilities of tokens that may still be picked, by descending probability.
fn shares(sampler: &Sampler<'_>, probabilities: &[f32], history: &[u32]) -> Vec<(u32, f32)> {
    let logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
    let mut memory = room(&logits, history);
    let kept = sampler.candidates(&logits, None, history, 0, &mut memory);
    let mut kept: Vec<_> = kept.iter().map(|c| (c.token(), c.probability())).collect();
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    kept
}

/// Compares with the vectors of llama.cpp's tests/test-sampling.cpp, whose candidates come in any order.
fn expect(sampling: Sampling, probabilities: &[f32], history: &[u32], expected: &[f32]) {
    let sampler = Sampler::new(sampling).unwrap();
    let shares = shares(&sampler, probabilities, history);
    let mut expected = expected.to_vec();
    expected.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(shares.len(), expected.len(), "{sampling:?}");
    for ((_, share), expected) in shares.iter().zip(expected) {
        assert!((share - expected).abs() < 1e-5, "{sampling:?}: {shares:?}");
    }
}

const FOUR: &[f32] = &[0.1, 0.2, 0.3, 0.4];

#[test]
fn temperatures_are_llama_cpps() {
    for dynatemp_exponent in [1.0, 2.0] {
        let base = Sampling { dynatemp_exponent, ..plain() };
        expect(base, FOUR, &[], FOUR);
        let sampler = Sampler::new(Sampling { temperature: 0.0, ..base }).unwrap();
        assert_eq!(shares(&sampler, FOUR, &[]), [(3, 1.0)]);
    }
}

#[test]
fn cut_offs_are_llama_cpps() {
    let top_k = |top_k, expected: &[f32]| expect(Sampling { top_k, ..plain() }, FOUR, &[], expected);
    top_k(1, &[1.0]);
    top_k(3, &[0.44444, 0.33333, 0.22222]);
    top_k(4, FOUR);
    top_k(0, FOUR);
    let top_p = |top_p, expected: &[f32]| expect(Sampling { top_p, ..plain() }, FOUR, &[], expected);
    top_p(0.0, &[1.0]);
    top_p(0.7, &[0.571_429, 0.428_571]);
    top_p(0.8, &[0.44444, 0.33333, 0.22222]);
    top_p(1.0, FOUR);
    let min_p = |min_p, expected: &[f32]| expect(Sampling { min_p, ..plain() }, FOUR, &[], expected);
    min_p(0.0, FOUR);
    min_p(0.24, FOUR);
    min_p(0.26, &[0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9]);
    min_p(0.49, &[0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9]);
    min_p(0.51, &[0.3 / 0.7, 0.4 / 0.7]);
    min_p(0.74, &[0.3 / 0.7, 0.4 / 0.7]);
    min_p(0.76, &[1.0]);
    min_p(1.0, &[1.0]);
    let sigma = |n, expected: &[f32]| expect(Sampling { top_n_sigma: n, ..plain() }, FOUR, &[], expected);
    sigma(1.0, &[0.0, 0.0, 0.428_571, 0.571_429]);
    sigma(0.0, FOUR);
    sigma(3.0, FOUR);
    let typical = |p, expected: &[f32]| {
        expect(Sampling { typical_p: 0.5, ..plain() }, p, &[], expected);
    };
    typical(&[0.97, 0.01, 0.01, 0.01], &[1.0]);
    typical(&[0.4, 0.2, 0.2, 0.2], &[1.0 / 3.0; 3]);
}

#[test]
fn xtc_is_llama_cpps() {
    let xtc = |xtc_threshold, expected: &[f32]| {
        let sampling = Sampling { xtc_probability: 1.0, xtc_threshold, ..plain() };
        expect(sampling, FOUR, &[], expected);
        expect(Sampling { xtc_probability: 0.0, ..sampling }, FOUR, &[], FOUR);
    };
    xtc(0.09, &[1.0]);
    xtc(0.19, &[0.1 / 0.3, 0.2 / 0.3]);
    xtc(0.29, &[0.1 / 0.6, 0.2 / 0.6, 0.3 / 0.6]);
    xtc(0.39, FOUR);
    xtc(0.51, FOUR);
}

#[test]
fn xtc_strikes_as_often_as_asked() {
    let sampling =
        Sampling { xtc_probability: 0.3, xtc_threshold: 0.05, top_k: 2, temperature: 0.0, ..plain() };
    let struck = draws(sampling, &[0.0, 1.0, -5.0], 4000).iter().filter(|token| **token == 0).count();
    assert!((1100..1300).contains(&struck), "{struck}");
}

#[test]
fn penalties_are_llama_cpps() {
    let five = &[0.2; 5];
    let check = |history: &[u32], repeat_penalty, both, expected: &[f32]| {
        let s = Sampling { repeat_penalty, frequency_penalty: both, presence_penalty: both, ..plain() };
        expect(s, five, history, expected);
    };
    check(&[0], 50.0, 0.0, &[0.0, 0.25, 0.25, 0.25, 0.25]);
    check(&[0, 1, 2], 50.0, 0.0, &[0.0, 0.0, 0.0, 0.5, 0.5]);
    check(&[0, 1, 2, 0, 0], 50.0, 0.0, &[0.0, 0.0, 0.0, 0.5, 0.5]);
    check(&[0], 1.0, 5.0, &[0.000_011, 0.249_997, 0.249_997, 0.249_997, 0.249_997]);
    check(&[0, 1, 2], 1.0, 5.0, &[0.000_023, 0.000_023, 0.000_023, 0.499_966, 0.499_966]);
    check(&[0, 1, 2, 0, 0], 1.0, 5.0, &[0.0, 0.000_023, 0.000_023, 0.499_977, 0.499_977]);
}

#[test]
fn dry_is_llama_cpps() {
    let dry = |p: &[f32], history: &[u32], multiplier, allowed_length, breaker, expected: &[f32]| {
        let dry = Dry { multiplier, base: 1.1, allowed_length, last: history.len() };
        let whole = [breaker];
        let breakers = Breakers::of_tokens(&whole);
        let sampler = Sampler::new(Sampling { dry, ..plain() }).unwrap().with_breakers(breakers);
        let mut shares = shares(&sampler, p, history);
        shares.sort_by_key(|(token, _)| *token);
        for ((_, share), expected) in shares.iter().zip(expected) {
            assert!((share - expected).abs() < 1e-5, "{shares:?}");
        }
    };
    let (four, five) = (&[0.25; 4], &[0.2; 5]);
    dry(four, &[0, 1], 1.0, 2, 0, four);
    dry(four, &[0, 1, 2, 0, 1], 1.0, 2, 0, &[0.296_923, 0.296_923, 0.109_232, 0.296_923]);
    dry(five, &[0, 1, 3, 4, 0, 1], 1.0, 2, 1 << 3, five);
    dry(five, &[0, 1, 2, 0, 1], 2.0, 2, 0, &[0.241_818, 0.241_818, 0.032_727, 0.241_818, 0.241_818]);
    dry(five, &[0, 1, 2, 3, 4, 0, 1], 1.0, 4, 0, five);
}

/// The chains of `test_sampler_queue` in llama.cpp's tests/test-sampling.cpp: 10,000 tokens, token t as likely as t.
#[test]
fn chains_keep_as_many_as_llama_cpps() {
    let logits: Vec<f32> = (0..10_000).map(|token| (token as f32).ln()).collect();
    let mut memory = room(&logits, &[]);
    let mut kept = |letters, top_k, top_p, min_p| {
        let chain = Chain::from_letters(letters).unwrap();
        let sampler = Sampler::new(Sampling { chain, top_k, top_p, min_p, ..plain() }).unwrap();
        let kept = sampler.candidates(&logits, None, &[], 0, &mut memory);
        let least = kept.iter().map(Candidate::token).min().unwrap() as usize;
        // The most likely ones, without a gap.
        assert_eq!(least + kept.len(), 10_000);
        kept.len()
    };
    assert_eq!(kept("k", 10_000, 1.0, 1.0), 10_000);
    assert_eq!(kept("k", 1, 1.0, 1.0), 1);
    assert_eq!(kept("p", 10_000, 1.0, 1.0), 10_000);
    assert_eq!(kept("p", 10_000, 0.0, 1.0), 1);
    assert_eq!(kept("m", 10_000, 1.0, 1.0), 1);
    assert_eq!(kept("m", 10_000, 1.0, 1e-12), 9_999);
    assert_eq!(kept("k", 100, 1.0, 1.0), 100);
    // The sums of the likeliest tokens: 2 of them exceed 0.0003, 5528 exceed 0.8 of all.
    assert_eq!(kept("p", 10_000, 0.0003, 1.0), 2);
    assert_eq!(kept("p", 10_000, 0.8, 1.0), 5_528);
    assert_eq!(kept("m", 10_000, 1.0, 9_997.9 / 9_999.0), 2);
    assert_eq!(kept("m", 10_000, 1.0, 0.1), 9_000);
    assert_eq!(kept("kp", 100, 0.8, 0.1), 80);
    assert_eq!(kept("pk", 100, 0.8, 0.1), 100);
    assert_eq!(kept("mp", 100, 0.8, 9_997.9 / 9_999.0), 2);
    assert_eq!(kept("mkp", 100, 0.8, 0.1), 80);
}

/// Whatever the chain and its order, what is kept is what a plain implementation keeps, which sorts everything.
#[test]
fn partial_selection_keeps_what_sorting_keeps() {
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    for n in [1, 2, 255, 256, 257, 5_000, 20_000] {
        // Few values, so that there are many ties.
        let logits: Vec<f32> = (0..n).map(|_| (random() % 400) as f32 * 0.02 - 4.0).collect();
        let mut sorted: Vec<u32> = (0..n as u32).collect();
        sorted.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
        let mut memory = room(&logits, &[]);
        for k in [1, 2, 40, 100, 300, 3_000, 19_999] {
            let chain = Chain::from_letters("k").unwrap();
            let sampler = Sampler::new(Sampling { chain, top_k: k, ..plain() }).unwrap();
            let kept = sampler.candidates(&logits, None, &[], 0, &mut memory);
            assert!(kept.iter().map(Candidate::token).eq(sorted.iter().copied().take(k)), "{n} {k}");
        }
        for p in [0.01, 0.3, 0.9] {
            let chain = Chain::from_letters("p").unwrap();
            let sampler = Sampler::new(Sampling { chain, top_p: p, ..plain() }).unwrap();
            let kept = sampler.candidates(&logits, None, &[], 0, &mut memory);
            let mass: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            assert!(kept.iter().map(Candidate::token).eq(sorted.iter().copied().take(kept.len())));
            let share = |kept: &[Candidate]| {
                kept.iter().map(|c| f64::from(logits[c.token() as usize]).exp()).sum::<f64>()
            };
            assert!(share(kept) / mass > f64::from(p) - 1e-5);
            assert!(share(&kept[..kept.len() - 1]) / mass < f64::from(p) + 1e-5);
        }
    }
}

#[test]
fn the_greedy_pick_is_the_lower_id_of_equals() {
    assert_eq!(draws(Sampling::default(), &[1.0, 3.0, 3.0, 2.0], 3), [1, 1, 1]);
    // With a step that makes the short cut impossible, too; and -0 equals 0.
    let slow = Sampling { repeat_penalty: 1.5, ..Sampling::default() };
    assert_eq!(draws(slow, &[1.0, 3.0, 3.0, 2.0], 3), [1, 1, 1]);
    assert_eq!(draws(slow, &[-1.0, -0.0, 0.0], 1), [1]);
}

#[test]
fn draws_follow_the_probabilities() {
    // Probabilities 1/2, 1/4, 1/4.
    let picks = draws(plain(), &[2f32.ln(), 0.0, 0.0], 10_000);
    let share = |token| picks.iter().filter(|&&pick| pick == token).count();
    assert!((4800..5200).contains(&share(0)), "{}", share(0));
    assert!((2300..2700).contains(&share(1)), "{}", share(1));
}

#[test]
fn a_repeated_token_is_penalized_once() {
    let sampler = Sampler::new(Sampling { repeat_penalty: 1.5, ..Sampling::default() }).unwrap();
    let history = [0, 0, 0];
    let mut memory = room(&[0.0; 2], &history);
    assert_eq!(sampler.pick(&[3.0, 1.9], &history, 0, &mut memory), 0);
    assert_eq!(sampler.pick(&[3.0, 2.1], &history, 0, &mut memory), 1);
}

#[test]
fn biases_come_first_and_forbid() {
    let biases = [(1, f32::NEG_INFINITY), (2, 0.5), (99, 1.0)];
    let logits = [1.0, 3.0, 0.6];
    let mut memory = room(&logits, &[]);
    let sampler = Sampler::new(Sampling::default()).unwrap().with_biases(&biases).unwrap();
    assert_eq!(sampler.pick(&logits, &[], 0, &mut memory), 2);
    let sampler = Sampler::new(plain()).unwrap().with_biases(&biases).unwrap();
    assert!((0..200).all(|position| sampler.pick(&logits, &[], position, &mut memory) != 1));
    assert!(Sampler::new(plain()).unwrap().with_biases(&[(0, f32::INFINITY)]).is_err());
}

#[test]
fn only_permitted_tokens_are_picked() {
    let logits: Vec<f32> = (0..70).map(|token| token as f32 * 0.1).collect();
    let mut memory = room(&logits, &[5]);
    for sampling in [Sampling::default(), plain(), Sampling { repeat_penalty: 9.0, ..Sampling::default() }] {
        let sampler = Sampler::new(sampling).unwrap();
        for position in 0..50 {
            let allowed = [1 << 5, 1 << 1, 0];
            let token = sampler.pick_among(&logits, Some(&allowed), &[33], position, &mut memory);
            assert!(token == 5 || token == 33);
            // A penalty finds its token among fewer.
            assert!(sampling.repeat_penalty == 1.0 || token == 5);
        }
    }
    // Bits beyond the vocabulary permit nothing.
    let sampler = Sampler::new(Sampling::default()).unwrap();
    assert_eq!(sampler.pick_among(&logits, Some(&[0, 0, 1 << 6]), &[], 0, &mut memory), 69);
}

#[test]
fn mirostat_cuts_where_it_learned_to() {
    let mirostat = Some(Mirostat { tau: 1.0, eta: 0.5 });
    let sampler = Sampler::new(Sampling { mirostat, ..plain() }).unwrap();
    // Surprises of 1, 2, 3 and 3 bits; the limit is 2 at first.
    let logits: Vec<f32> = [0.5f32, 0.25, 0.125, 0.125].iter().map(|p| p.ln() + 1e-6).collect();
    let mut memory = room(&logits, &[]);
    sampler.set_mirostat_limit(2.01);
    let kept = sampler.candidates(&logits, None, &[], 0, &mut memory);
    assert_eq!(kept.iter().map(Candidate::token).collect::<Vec<_>>(), [0, 1]);
    assert!((kept[0].probability() - 2.0 / 3.0).abs() < 1e-6);
    let token = sampler.pick(&logits, &[], 0, &mut memory);
    let surprise = -[2f32 / 3.0, 1.0 / 3.0][token as usize].log2();
    assert!((sampler.mirostat_limit() - (2.01 - 0.5 * (surprise - 1.0))).abs() < 1e-5);
    // However low the limit, the most likely is left.
    sampler.set_mirostat_limit(-3.0);
    assert_eq!(sampler.pick(&logits, &[], 0, &mut memory), 0);
    assert_eq!(Sampler::new(Sampling { mirostat, ..plain() }).unwrap().mirostat_limit(), 2.0);
}

#[test]
fn a_history_longer_than_the_memory_is_seen_in_part() {
    let sampling =
        Sampling { repeat_penalty: 1.5, dry: Dry { multiplier: 1.0, ..Dry::default() }, ..plain() };
    let sampler = Sampler::new(sampling).unwrap();
    let logits = [0.5; 8];
    let history: Vec<u32> = (0..100).map(|i| i % 7).collect();
    for context in [0, 1, 3, 50] {
        let mut memory = vec![Candidate { weight: 0.0, token: 0 }; memory(8, context).unwrap()];
        assert!(sampler.pick(&logits, &history, 0, &mut memory) < 8);
    }
}

#[test]
fn log_probabilities_and_entropy_are_the_models_own() {
    let logits: Vec<f32> = FOUR.iter().map(|p| p.ln() + 2.0).collect();
    let mut memory = room(&logits, &[]);
    let said = Probabilities::of(&logits, &mut memory);
    for (token, p) in (0..).zip(FOUR) {
        assert!((said.log(token) - p.ln()).abs() < 1e-6);
    }
    assert_eq!(said.log(4), f32::NEG_INFINITY);
    let entropy: f32 = FOUR.iter().map(|p| -p * p.ln()).sum();
    assert!((said.entropy - entropy).abs() < 1e-6);
    let top: Vec<_> = said.most_likely(2, &mut memory).map(|(token, _)| token).collect();
    assert_eq!(top, [3, 2]);
    assert_eq!(said.most_likely(0, &mut memory).count(), 0);
    assert_eq!(said.most_likely(9, &mut memory).count(), 4);
}

#[test]
fn parameters_that_make_no_sense_are_refused() {
    let base = Sampling::default();
    let dry = Dry { base: f32::NAN, ..Dry::default() };
    for bad in [
        Sampling { temperature: f32::NAN, ..base },
        Sampling { temperature: -1.0, ..base },
        Sampling { dynatemp_range: -1.0, ..base },
        Sampling { dynatemp_exponent: f32::INFINITY, ..base },
        Sampling { top_p: 1.5, ..base },
        Sampling { min_p: f32::NAN, ..base },
        Sampling { typical_p: -0.1, ..base },
        Sampling { top_n_sigma: f32::NAN, ..base },
        Sampling { xtc_probability: 2.0, ..base },
        Sampling { xtc_threshold: -1.0, ..base },
        Sampling { repeat_penalty: 0.0, ..base },
        Sampling { presence_penalty: f32::INFINITY, ..base },
        Sampling { frequency_penalty: f32::NAN, ..base },
        Sampling { mirostat: Some(Mirostat { tau: -1.0, eta: 0.1 }), ..base },
        Sampling { dry, ..base },
    ] {
        assert!(matches!(Sampler::new(bad), Err(Error::BadSampling { .. })), "{bad:?}");
    }
}
