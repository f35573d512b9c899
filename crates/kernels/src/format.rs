//! The formats that weights are stored in: names, block sizes and ggml's ids.
//!
//! Layouts are ggml's, so that files in the wild run as they are. A row of a matrix is a whole number of blocks.

use core::fmt;

/// One line for each format: its name, the id in `enum ggml_type` of ggml.h, the weights in a block, and its bytes.
macro_rules! formats {
    ($($(#[$doc:meta])+ $name:ident $id:literal $len:literal $bytes:literal;)+) => {
        /// How the numbers of a matrix are stored.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[allow(non_camel_case_types, reason = "the names that the field uses")]
        pub enum Format {
            $($(#[$doc])+ $name,)+
        }

        impl Format {
            /// Every format that the kernels can multiply.
            pub const ALL: [Self; [$($id),+].len()] = [$(Self::$name),+];

            /// The format of a ggml tensor type id (`enum ggml_type` in ggml.h), if there are kernels for it.
            pub const fn from_ggml(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The id that ggml gives the format.
            pub const fn ggml_id(self) -> u32 {
                match self {
                    $(Self::$name => $id,)+
                }
            }

            /// The name as ggml spells it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The number of weights in a block.
            pub const fn block_len(self) -> usize {
                match self {
                    $(Self::$name => $len,)+
                }
            }

            /// The number of bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self {
                    $(Self::$name => $bytes,)+
                }
            }
        }
    };
}

formats! {
    /// IEEE single precision.
    F32 0 1 4;
    /// IEEE half precision.
    F16 1 1 2;
    /// The upper half of an f32.
    BF16 30 1 2;
    /// 32 int8, one f16 scale.
    Q8_0 8 32 34;
    /// 32 int4 around 8, one f16 scale.
    Q4_0 2 32 18;
    /// 32 int4, one f16 scale and one f16 minimum.
    Q4_1 3 32 20;
    /// 32 int5 around 16, one f16 scale.
    Q5_0 6 32 22;
    /// 32 int5, one f16 scale and one f16 minimum.
    Q5_1 7 32 24;
    /// 256 int2 in 16 sub-blocks with 4-bit scales and minima.
    Q2_K 10 256 84;
    /// 256 int3 around 4 in 16 sub-blocks with 6-bit scales around 32.
    Q3_K 11 256 110;
    /// 256 int4 in 8 sub-blocks with 6-bit scales and minima.
    Q4_K 12 256 144;
    /// 256 int5 in 8 sub-blocks with 6-bit scales and minima.
    Q5_K 13 256 176;
    /// 256 int6 around 32 in 16 sub-blocks with 8-bit scales.
    Q6_K 14 256 210;
    /// 32 of 16 uneven levels, one f16 scale.
    IQ4_NL 20 32 18;
    /// 256 of the same levels in 8 sub-blocks with 6-bit scales around 32.
    IQ4_XS 23 256 136;
    /// 32 floats of 4 bits (E2M1), one scale that is a power of two (E8M0).
    MXFP4 39 32 17;
    /// 64 floats of 4 bits (E2M1) in 4 sub-blocks with scales of 8 bits (E4M3 without a sign).
    NVFP4 40 64 36;
    /// 128 signs, one f16 scale.
    Q1_0 41 128 18;
    /// 64 of -1, 0, 1 and 2, one f16 scale.
    Q2_0 42 64 18;
    /// 256 of -1, 0 and 1, five to a byte, one f16 scale.
    TQ1_0 34 256 54;
    /// 256 of -1, 0 and 1, four to a byte, one f16 scale.
    TQ2_0 35 256 66;
    /// 256 in groups of 8 from a book of 2048, in 8 sub-blocks with 3-bit scales and an eighth more or less.
    IQ1_S 19 256 50;
    /// 256 in groups of 8 from the same book, in 16 sub-blocks with 3-bit scales; an eighth more or less in each group.
    IQ1_M 29 256 56;
    /// 256 in groups of 8 from a book of 256 and with signs, in 8 sub-blocks with 4-bit scales.
    IQ2_XXS 16 256 66;
    /// 256 in groups of 8 from a book of 512 and with signs, in 16 sub-blocks with 4-bit scales.
    IQ2_XS 17 256 74;
    /// 256 in groups of 8 from a book of 1024 and with signs, in 16 sub-blocks with 4-bit scales.
    IQ2_S 22 256 82;
    /// 256 in groups of 4 from a book of 256 and with signs, in 8 sub-blocks with 4-bit scales.
    IQ3_XXS 18 256 98;
    /// 256 in groups of 4 from a book of 512 and with signs, in 8 sub-blocks with 4-bit scales.
    IQ3_S 21 256 110;
}

impl Format {
    /// Whether a weight stands for itself, so that it meets activations in f32 and never in int8.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Whether a block stores the numbers of vectors in a codebook.
    pub const fn has_codebook(self) -> bool {
        matches!(
            self,
            Self::IQ1_S
                | Self::IQ1_M
                | Self::IQ2_XXS
                | Self::IQ2_XS
                | Self::IQ2_S
                | Self::IQ3_XXS
                | Self::IQ3_S
        )
    }

    /// Where a block has numbers of half precision. (That of `IQ1_M` lies in pieces.)
    pub const fn halves(self) -> &'static [usize] {
        match self {
            Self::Q4_1 | Self::Q5_1 | Self::Q4_K | Self::Q5_K => &[0, 2],
            Self::Q2_K => &[80, 82],
            Self::Q3_K => &[108],
            Self::Q6_K => &[208],
            Self::TQ1_0 => &[52],
            Self::TQ2_0 => &[64],
            Self::F32 | Self::BF16 | Self::MXFP4 | Self::NVFP4 | Self::IQ1_M => &[],
            _ => &[0],
        }
    }

    /// The bytes of a row of `cols` weights, if that is a whole number of blocks and does not overflow.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if cols.is_multiple_of(self.block_len()) {
            (cols / self.block_len()).checked_mul(self.block_bytes())
        } else {
            None
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
