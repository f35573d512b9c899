//! How long picking a token takes, in microseconds, for a vocabulary of 128k tokens.
//!
//! `cargo bench -p stonechat-core --bench sampler`

use std::hint::black_box;
use std::time::Instant;

use stonechat_core::sampler::{Candidate, Chain, Dry, Mirostat, memory, uniform};
use stonechat_core::sampler::{Sampler, Sampling, Stream};

const VOCABULARY: usize = 128 * 1024;
const CONTEXT: usize = 4096;

fn main() {
    // About as wide as a model's logits are: a sum of uniform numbers is nearly normal, here with a deviation of 2.
    let at = |i: usize| (0..12).map(|j| uniform(7, Stream::Token, (12 * i + j) as u64)).sum::<f32>() * 2.0;
    let logits: Vec<f32> = (0..VOCABULARY).map(at).collect();
    let history: Vec<u32> = (0..CONTEXT as u32).map(|i| i.wrapping_mul(2_654_435_761) % 1000).collect();
    let room = memory(VOCABULARY, CONTEXT).expect("a small number");
    let mut memory: Vec<Candidate> = vec![bytemuck::Zeroable::zeroed(); room];
    let all = Sampling { temperature: 0.8, ..Sampling::default() };
    let open = Sampling { top_k: 0, top_p: 1.0, min_p: 0.0, ..all };
    let dry = Dry { multiplier: 0.8, last: CONTEXT, ..Dry::default() };
    let chain = |letters| Chain::from_letters(letters).expect("letters of samplers");
    let cases = [
        ("greedy", Sampling::default()),
        ("defaults: top-k 40, top-p 0.95, min-p 0.05", all),
        ("top-k 1000", Sampling { top_k: 1000, ..open }),
        ("top-p 0.95 alone", Sampling { top_p: 0.95, ..open }),
        ("min-p 0.05 alone", Sampling { min_p: 0.05, ..open }),
        ("typical-p 0.5 alone", Sampling { typical_p: 0.5, ..open }),
        ("top-n-sigma 1 alone", Sampling { top_n_sigma: 1.0, ..open }),
        ("temperature alone", open),
        ("dynamic temperature alone", Sampling { dynatemp_range: 0.5, ..open }),
        ("mirostat 2", Sampling { mirostat: Some(Mirostat::default()), ..open }),
        ("defaults, penalties over 4096", Sampling { repeat_penalty: 1.1, repeat_last: CONTEXT, ..all }),
        ("defaults, DRY over 4096", Sampling { dry, ..all }),
        ("XTC, then defaults", Sampling { chain: chain("xkpmt"), xtc_probability: 1.0, ..all }),
    ];
    for (name, sampling) in cases {
        let sampler = Sampler::new(sampling).expect("sensible parameters");
        let mut times: Vec<f64> = (0..100)
            .map(|position| {
                let start = Instant::now();
                black_box(sampler.pick(black_box(&logits), &history, position, &mut memory));
                start.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{name:45} {:8.0} µs (median), {:8.0} µs (best)", times[times.len() / 2], times[0]);
    }
}
