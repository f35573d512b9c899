//! The numbers that shape mixers with a state, read from a file's keys.

use stonechat_kernels::recurrent::ROW;

use super::keys::{Keys, MOST_WIDTH};
use crate::Error;
use crate::arch::{Mixer, Spec};

/// More taps than any convolution of a model has; keeps what is computed from them in bounds.
pub(crate) const MOST_TAPS: usize = 64;

/// The shape of the mixer with a state; of a model's layers all that have one have the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recurrent {
    /// Which it is; attention where there is none.
    pub mixer: Mixer,
    /// The taps of the convolution, the token's own included.
    pub taps: usize,
    /// The length of what leaves it.
    pub inner: usize,
    /// The numbers of state for each of these; 0 for a convolution alone.
    pub state: usize,
    /// The heads among which `inner` is divided; for Mamba the rank of its time steps.
    pub heads: usize,
    /// The groups of heads that share what writes and reads the state.
    pub groups: usize,
    /// Whether Mamba normalises time steps, and what writes and reads the state.
    pub has_norms: bool,
}

impl Recurrent {
    /// None.
    pub(super) const NONE: Self =
        Self { mixer: Mixer::Attention, taps: 0, inner: 0, state: 0, heads: 0, groups: 0, has_norms: false };

    /// Reads the shape, and bounds what is computed from it.
    pub(super) fn read(keys: &Keys<'_, '_>, spec: &Spec, embedding: usize) -> Result<Self, Error> {
        let mixer = match spec.mixers.recurrent() {
            Mixer::Attention => return Ok(Self::NONE),
            mixer => mixer,
        };
        let taps = |key| match keys.size(key, MOST_WIDTH)? {
            taps if (2..=MOST_TAPS).contains(&taps) => Ok(taps),
            _ => Err(keys.bad(key, "from 2 to 64")),
        };
        if mixer == Mixer::ShortConvolution {
            let taps = taps("shortconv.l_cache")?;
            return Ok(Self { mixer, taps, inner: embedding, heads: 1, groups: 1, ..Self::NONE });
        }
        let size = |key| keys.size(key, MOST_WIDTH);
        let all = Self {
            mixer,
            taps: taps("ssm.conv_kernel")?,
            inner: size("ssm.inner_size")?,
            state: size("ssm.state_size")?,
            heads: size("ssm.time_step_rank")?,
            groups: if mixer == Mixer::Mamba { 1 } else { size("ssm.group_count")? },
            has_norms: keys.opt_bool("ssm.dt_b_c_rms")?.unwrap_or(false),
        };
        if mixer != Mixer::Mamba {
            if !all.inner.is_multiple_of(all.heads) {
                return Err(keys.bad("ssm.inner_size", "a multiple of ssm.time_step_rank"));
            }
            if !all.heads.is_multiple_of(all.groups) {
                return Err(keys.bad("ssm.time_step_rank", "a multiple of ssm.group_count"));
            }
        }
        let shared = all.groups.checked_mul(all.state).filter(|shared| *shared <= MOST_WIDTH);
        if shared.is_none() {
            return Err(keys.bad("ssm.state_size", "of a size that a model can have"));
        }
        Ok(all)
    }

    /// The length of a row of state.
    pub const fn row(&self) -> usize {
        self.state.next_multiple_of(ROW)
    }

    /// The length of a head.
    pub const fn head_dim(&self) -> usize {
        self.inner / self.heads
    }

    /// What all groups write and read the state with: twice this.
    const fn shared(&self) -> usize {
        self.groups * self.state
    }

    /// The channels of the convolution.
    pub const fn channels(&self) -> usize {
        match self.mixer {
            Mixer::Attention => 0,
            Mixer::ShortConvolution | Mixer::Mamba => self.inner,
            _ => self.inner + 2 * self.shared(),
        }
    }

    /// What the first matrices give for a token.
    pub const fn projected(&self) -> usize {
        match self.mixer {
            Mixer::Attention => 0,
            Mixer::ShortConvolution => 3 * self.inner,
            Mixer::Mamba => 2 * self.inner,
            Mixer::Mamba2 | Mixer::AttentionAndMamba2 => self.inner + self.channels() + self.heads,
            Mixer::DeltaNet => self.inner + self.channels() + 2 * self.heads,
        }
    }

    /// What Mamba's second matrix gives for a token: the time step in brief, and what writes and reads the state.
    pub const fn selected(&self) -> usize {
        self.heads + 2 * self.state
    }

    /// The numbers that a token takes between matrices.
    pub const fn wide(&self) -> usize {
        self.projected()
            + match self.mixer {
                Mixer::Attention | Mixer::ShortConvolution => 0,
                Mixer::Mamba => 2 * self.inner + self.selected(),
                _ => self.channels(),
            }
    }

    /// The numbers of the state of one layer: the last inputs of the convolution, and a row for each number that leaves.
    pub fn state_len(&self) -> Option<usize> {
        let rows = if self.state == 0 { 0 } else { self.inner.checked_mul(self.row())? };
        self.tail().checked_add(rows)
    }

    /// Those of them that are inputs of the convolution.
    pub const fn tail(&self) -> usize {
        self.taps.saturating_sub(1) * self.channels()
    }
}
