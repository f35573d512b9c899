//! What multiplies unpacked weights: not for each format, but for each kind of parts that formats unpack to.
//!
//! In: [`Part`]s of 32 weights of 8 or 16 rows, and some tokens. Out: their sums, block after block, in the order of the
//! contract.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::matmul::{Lanes, Part, X, hidden};
use super::unpacked::At;
use crate::Format;
use core::marker::PhantomData;

/// The kinds of parts. What weights are too high by is subtracted as a multiple of the activations' sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Unsigned weights of at most 4 bits.
    Four {
        /// How much too high they are.
        surplus: u8,
    },
    /// Unsigned weights of at most 5 bits.
    Five {
        /// How much too high they are.
        surplus: u8,
    },
    /// Int8, as [`Lanes::weights8`] makes it.
    Eight,
    /// Unsigned weights of 4 bits with a minimum.
    FourMinimum,
    /// Unsigned weights of 5 bits with a minimum.
    FiveMinimum,
    /// Unsigned weights of 4 bits with an integer scale and a minimum.
    ScaledFour,
    /// Unsigned weights of 5 bits with an integer scale and a minimum.
    ScaledFive,
    /// Unsigned weights of at most 5 bits with an integer scale for each half.
    BiasedFive {
        /// How much too high they are: a multiple of 4.
        surplus: u8,
    },
    /// Unsigned weights of at most 7 bits with an integer scale for each half.
    BiasedSeven {
        /// How much too high they are: a multiple of 4, at most 64.
        surplus: u8,
    },
    /// Unsigned weights of 6 bits, 32 too high, with an integer scale for each half.
    ScaledSix,
    /// Unsigned weights of 2 bits with an integer scale and a minimum for each half.
    ScaledMinima,
    /// Int8 with an integer scale for each half.
    ScaledEight,
    /// Unsigned weights of at most 5 bits with a scale of its own for each half.
    Halves {
        /// How much too high they are.
        surplus: u8,
    },
}

/// The kind of parts that a format unpacks to.
pub const fn kind_of(format: Format) -> Kind {
    match format {
        Format::Q4_0 => Kind::Four { surplus: 8 },
        Format::Q1_0 | Format::Q2_0 | Format::TQ1_0 | Format::TQ2_0 => Kind::Four { surplus: 1 },
        Format::Q5_0 => Kind::Five { surplus: 16 },
        Format::MXFP4 => Kind::Five { surplus: 12 },
        Format::NVFP4 => Kind::Halves { surplus: 12 },
        Format::Q4_1 => Kind::FourMinimum,
        Format::Q5_1 => Kind::FiveMinimum,
        Format::Q4_K => Kind::ScaledFour,
        Format::Q5_K => Kind::ScaledFive,
        Format::Q3_K => Kind::BiasedFive { surplus: 4 },
        // Levels up to 9, up to 15, and up to 62.
        Format::IQ1_S | Format::IQ1_M => Kind::BiasedFive { surplus: 12 },
        Format::IQ3_S => Kind::BiasedFive { surplus: 16 },
        Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S | Format::IQ3_XXS => {
            Kind::BiasedSeven { surplus: 64 }
        }
        Format::Q6_K => Kind::ScaledSix,
        Format::Q2_K => Kind::ScaledMinima,
        Format::IQ4_XS => Kind::ScaledEight,
        Format::Q8_0 | Format::IQ4_NL => Kind::Eight,
        Format::F32 | Format::F16 | Format::BF16 => panic!("floats are not unpacked"),
    }
}

impl Kind {
    /// The integer scales of 32 weights.
    pub const fn scales(self) -> usize {
        match self {
            Self::ScaledFour | Self::ScaledFive => 1,
            Self::BiasedFive { .. }
            | Self::BiasedSeven { .. }
            | Self::ScaledSix
            | Self::ScaledMinima
            | Self::ScaledEight => 2,
            _ => 0,
        }
    }

    /// The minima of 32 weights.
    pub const fn minima(self) -> usize {
        match self {
            Self::FourMinimum | Self::FiveMinimum | Self::ScaledFour | Self::ScaledFive => 1,
            Self::ScaledMinima => 2,
            _ => 0,
        }
    }

    /// Whether each half has a scale of its own.
    pub const fn has_half_scales(self) -> bool {
        matches!(self, Self::Halves { .. })
    }

    /// How much too high weights are; those of `Eight` and `ScaledEight` as an instruction set wants them.
    pub const fn surplus(self, of_eight: u8) -> u8 {
        match self {
            Self::Four { surplus }
            | Self::Five { surplus }
            | Self::Halves { surplus }
            | Self::BiasedFive { surplus }
            | Self::BiasedSeven { surplus } => surplus,
            Self::ScaledSix => 32,
            Self::Eight | Self::ScaledEight => of_eight,
            _ => 0,
        }
    }
}

/// Both accumulators of some rows for each of `T` tokens.
#[derive(Clone, Copy, Debug)]
pub struct Totals<F, const T: usize> {
    acc: [F; T],
    accm: [F; T],
}

impl<F: Copy, const T: usize> Totals<F, T> {
    /// From nothing.
    #[inline(always)]
    pub const fn new(zero: F) -> Self {
        Self { acc: [zero; T], accm: [zero; T] }
    }

    /// The outputs of each token.
    ///
    /// # Safety
    /// The CPU has the features of `L`.
    #[inline(always)]
    pub unsafe fn sums<L: Lanes<ROWS, F = F>, const ROWS: usize>(&self) -> [[f32; ROWS]; T] {
        let mut sums = [[0.0; ROWS]; T];
        for (sums, (acc, accm)) in sums.iter_mut().zip(self.acc.iter().zip(&self.accm)) {
            // SAFETY: the caller's promise.
            *sums = unsafe { L::sum(*acc, *accm) };
        }
        sums
    }
}

/// How parts of a kind meet tokens.
///
/// # Safety
/// Of every function: as for [`Lanes`].
pub trait Multiply<const ROWS: usize> {
    /// The instruction set.
    type Lanes: Lanes<ROWS>;
    /// The minima of 32 weights.
    const MINIMA: usize;

    /// Whether each half has a scale of its own, so that there are two sums.
    const HALVES: bool = false;

    /// The integer sums of the contract: one of all, or one of each half.
    unsafe fn isums<const T: usize>(
        part: &Part<IntegersOf<Self, ROWS>, FloatsOf<Self, ROWS>>,
        surplus: u8,
        x: &[X; T],
    ) -> [[IntegersOf<Self, ROWS>; T]; 2];
}

/// Vectors of integers of an instruction set.
pub type IntegersOf<M, const ROWS: usize> = <<M as Multiply<ROWS>>::Lanes as Lanes<ROWS>>::I;
/// Vectors of floats of an instruction set.
pub type FloatsOf<M, const ROWS: usize> = <<M as Multiply<ROWS>>::Lanes as Lanes<ROWS>>::F;

/// Defines a kind: `isums` from a part `$part`, a surplus, and tokens.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident, $minima:literal minima:
        |$part:ident, $surplus:pat_param, $x:ident| $dot:expr;)+) => {$(
        $(#[$doc])+
        #[derive(Debug)]
        pub struct $name<L>(PhantomData<L>);

        impl<L: Lanes<ROWS>, const ROWS: usize> Multiply<ROWS> for $name<L> {
            type Lanes = L;
            const MINIMA: usize = $minima;

            #[inline(always)]
            unsafe fn isums<const T: usize>(
                $part: &Part<L::I, L::F>,
                $surplus: u8,
                $x: &[X; T],
            ) -> [[L::I; T]; 2] {
                // SAFETY: the caller's promise.
                [unsafe { $dot }; 2]
            }
        }
    )+};
}

kinds! {
    /// [`Kind::Four`].
    Four, 0 minima: |part, surplus, x| L::dot4(&part.w, i32::from(surplus), x);
    /// [`Kind::Five`].
    Five, 0 minima: |part, surplus, x| L::dot5(&part.w, i32::from(surplus), x);
    /// [`Kind::Eight`].
    Eight, 0 minima: |part, _, x| L::dot8(&part.w, x);
    /// [`Kind::FourMinimum`].
    FourMinimum, 1 minima: |part, _, x| L::dot4(&part.w, 0, x);
    /// [`Kind::FiveMinimum`].
    FiveMinimum, 1 minima: |part, _, x| L::dot5(&part.w, 0, x);
    /// [`Kind::ScaledFour`].
    ScaledFour, 1 minima: |part, _, x| L::scaled_dot4(&part.w, part.scales[0], x);
    /// [`Kind::ScaledFive`].
    ScaledFive, 1 minima: |part, _, x| L::scaled_dot5(&part.w, part.scales[0], x);
    /// [`Kind::BiasedFive`].
    BiasedFive, 0 minima: |part, surplus, x| L::biased_dot5(&part.w, i32::from(surplus), &part.scales, x);
    /// [`Kind::BiasedSeven`].
    BiasedSeven, 0 minima: |part, surplus, x| L::biased_dot7(&part.w, i32::from(surplus), &part.scales, x);
    /// [`Kind::ScaledSix`].
    ScaledSix, 0 minima: |part, _, x| L::scaled_dot6(&part.w, &part.scales, x);
    /// [`Kind::ScaledMinima`].
    ScaledMinima, 2 minima: |part, _, x| L::biased_dot5(&part.w, 0, &part.scales, x);
    /// [`Kind::ScaledEight`].
    ScaledEight, 0 minima: |part, _, x| L::scaled_dot8(&part.w, &part.scales, x);
}

/// [`Kind::Halves`].
#[derive(Debug)]
pub struct Halves<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Multiply<ROWS> for Halves<L> {
    type Lanes = L;
    const MINIMA: usize = 0;
    const HALVES: bool = true;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &Part<L::I, L::F>, surplus: u8, x: &[X; T]) -> [[L::I; T]; 2] {
        // SAFETY: the caller's promise.
        unsafe { L::half_dots5(&part.w, i32::from(surplus), x) }
    }
}

/// Adds the products of parts, from block `first` of 32 on, with `T` tokens.
///
/// # Safety
/// The CPU has the features of `M::Lanes`; there are these tokens, and they have these blocks.
#[inline(always)]
pub unsafe fn add<M: Multiply<ROWS>, const T: usize, const ROWS: usize>(
    parts: &[Part<IntegersOf<M, ROWS>, FloatsOf<M, ROWS>>],
    surplus: u8,
    x: &At<'_>,
    first: usize,
    totals: &mut Totals<FloatsOf<M, ROWS>, T>,
) {
    let Totals { mut acc, mut accm } = *totals;
    let blocks = x.cols / 32;
    for (b, part) in parts.iter().enumerate() {
        let from = x.token * blocks + first + b;
        // Hidden, or these places would be calculated in vectors, which have better things to do.
        let at: [usize; T] = core::array::from_fn(|t| from + t * hidden(blocks));
        // SAFETY: the caller's promise.
        unsafe {
            let blocks = at.map(|at| X::new(x.x, at));
            let isums = M::isums(part, surplus, &blocks);
            for t in 0..T {
                let dx = *x.x.d.get_unchecked(at[t]);
                acc[t] = M::Lanes::add_scaled(part.d[0], dx, isums[0][t], acc[t]);
                if M::HALVES {
                    acc[t] = M::Lanes::add_scaled(part.d[1], dx, isums[1][t], acc[t]);
                }
                if M::MINIMA == 1 {
                    accm[t] = M::Lanes::add_minimum(part.minima[0], dx, &blocks[t], accm[t]);
                }
                if M::MINIMA == 2 {
                    accm[t] = M::Lanes::add_minima(part.minima, dx, &blocks[t], accm[t]);
                }
            }
        }
    }
    *totals = Totals { acc, accm };
}
