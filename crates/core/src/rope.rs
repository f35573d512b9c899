//! The angles of RoPE (Su et al. 2021, arXiv:2104.09864) and of its stretched forms.
//!
//! In: base, scaling and a position. Out: cosine and sine for each pair of a head. Frequencies are computed once, in
//! f32 through f64 `libm`, the same on every target; the kernels then rotate.

/// How positions are encoded.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rope {
    /// How many values of a head are rotated.
    pub dims: usize,
    /// The base of the frequencies: pair i turns by `base^(-2i/dims)` a position.
    pub base: f32,
    /// How the frequencies are changed for contexts longer than those trained on.
    pub scaling: Scaling,
    /// The context trained on.
    pub original_context: usize,
    /// Multiplies cosines and sines beside what the scaling does.
    pub magnitude: f32,
}

/// See [`Rope::scaling`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scaling {
    /// Not at all, or by the factors that the file has for each pair.
    None,
    /// All divided by a factor (Chen et al. 2023, arXiv:2306.15595).
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Slow ones divided by a factor, fast ones kept, a ramp between (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// The factor.
        factor: f32,
        /// Pairs that turn more often than this over the original context are kept.
        beta_fast: f32,
        /// Pairs that turn less often than this are divided.
        beta_slow: f32,
        /// YaRN's own magnitude `0.1 ln(factor) + 1` is divided by the same with this factor at the logarithm.
        log_multiplier: f32,
    },
}

impl Rope {
    /// No rotation.
    pub const NONE: Self =
        Self { dims: 0, base: 1.0, scaling: Scaling::None, original_context: 0, magnitude: 1.0 };

    /// Replaces each of `out`, a factor for each pair, by the pair's frequency divided by it.
    pub fn frequencies(&self, out: &mut [f32]) {
        let dims = self.dims as f64;
        for (i, out) in out.iter_mut().enumerate() {
            let plain = 1.0 / libm::pow(f64::from(self.base), 2.0 * i as f64 / dims);
            let plain = plain / f64::from(*out);
            *out = match self.scaling {
                Scaling::None => plain,
                Scaling::Linear { factor } => plain / f64::from(factor),
                Scaling::Yarn { factor, beta_fast, beta_slow, .. } => {
                    let pair_of = |beta: f32| self.pair_that_turns(f64::from(beta));
                    let low = libm::floor(pair_of(beta_fast)).max(0.0);
                    let high = libm::ceil(pair_of(beta_slow)).min(dims - 1.0);
                    let ramp = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    plain / f64::from(factor) * ramp + plain * (1.0 - ramp)
                }
            } as f32;
        }
    }

    /// The pair (a fraction) that turns `turns` times over the original context.
    fn pair_that_turns(&self, turns: f64) -> f64 {
        let (dims, context) = (self.dims as f64, self.original_context as f64);
        dims * libm::log(context / (turns * 2.0 * core::f64::consts::PI))
            / (2.0 * libm::log(f64::from(self.base)))
    }

    /// `0.1 multiplier ln(factor) + 1` of YaRN, with which attention is kept sharp over longer contexts; else 1.
    pub fn log_magnitude(&self, multiplier: f32) -> f32 {
        match self.scaling {
            Scaling::Yarn { factor, .. } if factor > 1.0 => log_magnitude(factor, multiplier) as f32,
            _ => 1.0,
        }
    }

    /// What cosines and sines are multiplied by.
    pub fn magnitude(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { factor, log_multiplier, .. } if factor > 1.0 => {
                let at = |multiplier| log_magnitude(factor, multiplier);
                (f64::from(self.magnitude) * at(1.0) / at(log_multiplier)) as f32
            }
            _ => self.magnitude,
        }
    }
}

fn log_magnitude(factor: f32, multiplier: f32) -> f64 {
    0.1 * f64::from(multiplier) * libm::log(f64::from(factor)) + 1.0
}

/// Writes cosine and sine of each pair at `position`.
pub fn angles(frequencies: &[f32], magnitude: f32, position: usize, cos: &mut [f32], sin: &mut [f32]) {
    for ((frequency, cos), sin) in frequencies.iter().zip(cos).zip(sin) {
        let angle = position as f32 * frequency;
        *cos = libm::cosf(angle) * magnitude;
        *sin = libm::sinf(angle) * magnitude;
    }
}
