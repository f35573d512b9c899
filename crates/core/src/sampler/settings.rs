//! How tokens are picked, in numbers: what users of llama.cpp know, by its names.

use super::chain::Chain;
use crate::Error;

/// How tokens are picked. The default is greedy; all else has llama.cpp's defaults.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling {
    /// The steps, and their order.
    pub chain: Chain,
    /// Divides logits before the draw; 0 always picks the most likely token.
    pub temperature: f32,
    /// How far the temperature goes down where the model is sure, and up where it is not; 0 keeps it as it is.
    pub dynatemp_range: f32,
    /// How the temperature follows the entropy: its share of the highest possible, to this power.
    pub dynatemp_exponent: f32,
    /// Only the k most likely tokens; 0 for all.
    pub top_k: usize,
    /// Only the most likely tokens that together reach this probability; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the most likely; 0 for all.
    pub min_p: f32,
    /// Only the tokens whose surprise is nearest to what is expected, that together exceed this probability; 1 for all.
    pub typical_p: f32,
    /// Only tokens at most this many standard deviations below the highest logit; 0 or less for all.
    pub top_n_sigma: f32,
    /// How often XTC strikes; 0 for never.
    pub xtc_probability: f32,
    /// Of tokens at least this likely, XTC leaves the least likely alone; it never strikes above a half.
    pub xtc_threshold: f32,
    /// Divides positive logits, and multiplies negative ones, of recent tokens; 1 for no penalty.
    pub repeat_penalty: f32,
    /// Taken off the logit of a recent token for each time that it occurs.
    pub frequency_penalty: f32,
    /// Taken off the logit of a recent token once.
    pub presence_penalty: f32,
    /// How many of the last tokens are recent.
    pub repeat_last: usize,
    /// The penalty for tokens that would go on with a repetition.
    pub dry: Dry,
    /// Picks by surprise, in place of all steps but biases and the temperature.
    pub mirostat: Option<Mirostat>,
    /// The key of the generator.
    pub seed: u64,
}

/// "Don't repeat yourself": the longer the repetition that a token would go on with, the less likely it becomes. Its
/// logit loses `multiplier * base^(length - allowed_length)`. Source: p-e-w's proposal to text-generation-webui (#5677).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Dry {
    /// The penalty of the shortest repetition; 0 for none.
    pub multiplier: f32,
    /// By how much each further token multiplies it; below 1 for no penalty at all.
    pub base: f32,
    /// The shortest repetition that is penalized, in tokens.
    pub allowed_length: usize,
    /// How many of the last tokens are searched.
    pub last: usize,
}

/// Mirostat 2 (Basu et al. 2020, arXiv:2007.14966): cuts off what would be too surprising, and learns from what was
/// picked how much that is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mirostat {
    /// The surprise to aim at, in bits.
    pub tau: f32,
    /// How quickly it learns.
    pub eta: f32,
}

impl Default for Mirostat {
    fn default() -> Self {
        Self { tau: 5.0, eta: 0.1 }
    }
}

impl Default for Dry {
    /// Switched off.
    fn default() -> Self {
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, last: 64 }
    }
}

impl Dry {
    /// Whether it does anything.
    pub fn is_on(&self) -> bool {
        self.multiplier != 0.0 && self.base >= 1.0 && self.last > 0
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            chain: Chain::default(),
            temperature: 0.0,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repeat_last: 64,
            dry: Dry::default(),
            mirostat: None,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Whether the numbers make sense.
    pub(super) fn check(&self) -> Result<(), Error> {
        const MOST: f32 = f32::MAX;
        const FINITE: &str = "a finite number";
        const POSITIVE: &str = "a finite number that is not negative";
        const SHARE: &str = "between 0 and 1";
        let within = |name, value: f32, low: f32, high: f32, expected| {
            if (low..=high).contains(&value) { Ok(()) } else { Err(Error::BadSampling { name, expected }) }
        };
        within("the temperature", self.temperature, 0.0, MOST, POSITIVE)?;
        within("the range of the dynamic temperature", self.dynatemp_range, 0.0, MOST, POSITIVE)?;
        within("the exponent of the dynamic temperature", self.dynatemp_exponent, 0.0, MOST, POSITIVE)?;
        within("top-p", self.top_p, 0.0, 1.0, SHARE)?;
        within("min-p", self.min_p, 0.0, 1.0, SHARE)?;
        within("typical-p", self.typical_p, 0.0, 1.0, SHARE)?;
        within("top-n-sigma", self.top_n_sigma, -MOST, MOST, FINITE)?;
        within("the probability of XTC", self.xtc_probability, 0.0, 1.0, SHARE)?;
        within("the threshold of XTC", self.xtc_threshold, 0.0, 1.0, SHARE)?;
        // The reciprocal is finite too.
        within("the repeat penalty", self.repeat_penalty, f32::MIN_POSITIVE, MOST, "a positive number")?;
        within("the frequency penalty", self.frequency_penalty, -MOST, MOST, FINITE)?;
        within("the presence penalty", self.presence_penalty, -MOST, MOST, FINITE)?;
        within("the multiplier of DRY", self.dry.multiplier, -MOST, MOST, FINITE)?;
        within("the base of DRY", self.dry.base, 0.0, MOST, POSITIVE)?;
        if let Some(mirostat) = &self.mirostat {
            within("the target of mirostat", mirostat.tau, 0.0, MOST, POSITIVE)?;
            within("the learning rate of mirostat", mirostat.eta, 0.0, MOST, POSITIVE)?;
        }
        Ok(())
    }
}
