//! What a quantized file may be: llama.cpp's names and numbers for the formats and mixes of formats.

use std::fmt;
use std::str::FromStr;

use stonechat_kernels::Format;

/// A kind of quantized file: the format that most of its matrices have, and how many of the others are better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(non_camel_case_types, reason = "the names that the field uses")]
pub enum FileType {
    /// All in single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper halves of f32.
    BF16,
    /// 8 bits.
    Q8_0,
    /// 4 bits.
    Q4_0,
    /// 4 bits with a minimum.
    Q4_1,
    /// 5 bits.
    Q5_0,
    /// 5 bits with a minimum.
    Q5_1,
    /// 2 bits and more.
    Q2_K,
    /// 3 bits.
    Q3_K_S,
    /// 3 bits and more.
    Q3_K_M,
    /// 3 bits and much more.
    Q3_K_L,
    /// 4 bits, some matrices 5.
    Q4_K_S,
    /// 4 bits, some matrices 6: what most people take.
    Q4_K_M,
    /// 5 bits.
    Q5_K_S,
    /// 5 bits, some matrices 6.
    Q5_K_M,
    /// 6 bits.
    Q6_K,
    /// 4 bits of uneven levels.
    IQ4_NL,
    /// The same with smaller scales.
    IQ4_XS,
}

/// Names, `general.file_type` (`enum llama_ftype` of llama.cpp) and format of each.
const TABLE: [(FileType, &str, u32, Format); 19] = [
    (FileType::F32, "F32", 0, Format::F32),
    (FileType::F16, "F16", 1, Format::F16),
    (FileType::BF16, "BF16", 32, Format::BF16),
    (FileType::Q8_0, "Q8_0", 7, Format::Q8_0),
    (FileType::Q6_K, "Q6_K", 18, Format::Q6_K),
    (FileType::Q5_1, "Q5_1", 9, Format::Q5_1),
    (FileType::Q5_K_M, "Q5_K_M", 17, Format::Q5_K),
    (FileType::Q5_K_S, "Q5_K_S", 16, Format::Q5_K),
    (FileType::Q5_0, "Q5_0", 8, Format::Q5_0),
    (FileType::Q4_1, "Q4_1", 3, Format::Q4_1),
    (FileType::Q4_K_M, "Q4_K_M", 15, Format::Q4_K),
    (FileType::Q4_K_S, "Q4_K_S", 14, Format::Q4_K),
    (FileType::IQ4_NL, "IQ4_NL", 25, Format::IQ4_NL),
    (FileType::Q4_0, "Q4_0", 2, Format::Q4_0),
    (FileType::IQ4_XS, "IQ4_XS", 30, Format::IQ4_XS),
    (FileType::Q3_K_L, "Q3_K_L", 13, Format::Q3_K),
    (FileType::Q3_K_M, "Q3_K_M", 12, Format::Q3_K),
    (FileType::Q3_K_S, "Q3_K_S", 11, Format::Q3_K),
    (FileType::Q2_K, "Q2_K", 10, Format::Q2_K),
];

/// Names that stand for another, as in llama.cpp.
const ALIASES: [(&str, FileType); 3] =
    [("Q3_K", FileType::Q3_K_M), ("Q4_K", FileType::Q4_K_M), ("Q5_K", FileType::Q5_K_M)];

impl FileType {
    /// The names of all, from the largest files to the smallest.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|(_, name, ..)| *name)
    }

    fn row(self) -> &'static (Self, &'static str, u32, Format) {
        TABLE.iter().find(|(ty, ..)| *ty == self).unwrap_or(&TABLE[0])
    }

    /// The name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// `general.file_type`.
    pub fn id(self) -> u32 {
        self.row().2
    }

    /// The format of most matrices.
    pub fn format(self) -> Format {
        self.row().3
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No type of file has this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownFileType(pub String);

impl fmt::Display for UnknownFileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no type '{}'; the types are", self.0)?;
        for (i, name) in FileType::names().enumerate() {
            write!(f, "{} {name}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownFileType {}

impl FromStr for FileType {
    type Err = UnknownFileType;

    /// A name, in capitals or not.
    fn from_str(text: &str) -> Result<Self, UnknownFileType> {
        let names = TABLE.iter().map(|(ty, name, ..)| (*name, *ty)).chain(ALIASES);
        names
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, ty)| ty)
            .ok_or_else(|| UnknownFileType(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_back_and_aliases_are_those_of_llama_cpp() {
        for (ty, name, ..) in TABLE {
            assert_eq!((name.parse(), ty.name()), (Ok(ty), name));
            assert_eq!(name.to_ascii_lowercase().parse(), Ok(ty));
        }
        assert_eq!("q4_k".parse(), Ok(FileType::Q4_K_M));
        let error = "Q9".parse::<FileType>().unwrap_err().to_string();
        assert!(error.starts_with("there is no type 'Q9'; the types are F32, F16,"), "{error}");
        assert!(error.ends_with(", Q2_K"), "{error}");
    }
}
