//! Every way in which a file can be wrong, made byte by byte, and the error that each must end in.

#[path = "support/raw.rs"]
mod raw;

use raw::Raw;
use stonechat_gguf::{Error, Gguf, Name, Quantity, Section, TensorType, ValueType, limits};

const U32: u32 = ValueType::U32.id();
const BOOL: u32 = ValueType::Bool.id();
const STRING: u32 = ValueType::String.id();
const ARRAY: u32 = ValueType::Array.id();
const F32: u32 = TensorType::F32.id();
const Q4_0: u32 = TensorType::Q4_0.id();

impl Raw {
    /// A tensor's place in the table.
    fn tensor(self, name: &str, dims: &[u64], ty: u32, start: u64) -> Self {
        let named = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(named, |raw, &dim| raw.u64(dim)).u32(ty).u64(start)
    }

    /// Zeros up to the next multiple of 32, then `len` more.
    fn data(mut self, len: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + len, 0);
        self
    }
}

fn error(raw: &Raw) -> Error {
    Gguf::parse(&raw.0).expect_err("the file is wrong")
}

/// Checks the error of a file and its sentence.
#[track_caller]
fn refused(raw: &Raw, expected: &Error, sentence: &str) {
    let error = error(raw);
    assert_eq!(error, *expected);
    assert_eq!(error.to_string(), sentence);
}

fn name(text: &str) -> Name {
    Name::new(text)
}

mod header {
    use super::*;

    #[test]
    fn an_empty_file() {
        refused(&Raw(vec![]), &Error::Empty, "the file is empty");
    }

    #[test]
    fn another_format() {
        refused(
            &Raw(b"\x1b[2J and more".to_vec()),
            &Error::NotGguf { magic: *b"\x1b[2J" },
            r#"not a GGUF file: it begins with "\x1b[2J", not "GGUF"; give a GGUF file, or convert this one first"#,
        );
    }

    #[test]
    fn what_people_have_in_place_of_a_model_is_recognised() {
        for (bytes, advice) in [
            ("version https://git-lfs.github.com/spec/v1\n", "it looks like a Git LFS pointer: "),
            ("<!DOCTYPE html>", "it looks like a web page: "),
            ("PK\x03\x04", "it looks like a zip archive: "),
            ("lmgg", "it looks like a model of before GGUF: "),
        ] {
            let said = error(&Raw(bytes.into())).to_string();
            assert!(said.contains(advice), "{said}");
        }
    }

    #[test]
    fn a_file_of_three_bytes() {
        refused(
            &Raw(b"GGU".to_vec()),
            &Error::Truncated { offset: 0, section: Section::Header, needed: 4, left: 3 },
            "the file ends inside the header: 4 bytes are needed at byte 0 and 3 are left; \
             it is damaged or incomplete",
        );
    }

    #[test]
    fn versions_that_are_not_read() {
        for version in [0, 1, 4, 0xffff, 0x1234_5678] {
            let raw = Raw(b"GGUF".to_vec()).u32(version).u64(0).u64(0);
            refused(
                &raw,
                &Error::UnsupportedVersion { version },
                &format!("GGUF version {version} at byte 4 is not supported; versions 2 to 3 are"),
            );
        }
    }

    #[test]
    fn a_big_endian_file() {
        refused(
            &Raw(b"GGUF\0\0\0\x03".to_vec()),
            &Error::BigEndian { version: 3 },
            "the file is big-endian (GGUF version 3); convert it to little-endian first",
        );
    }

    // CVE-2024-21836: the number of tensors times the size of their entries wrapped, and a small allocation took many.
    // CVE-2026-27940: the same product a second time, in another place.
    #[test]
    fn a_number_of_tensors_that_would_wrap_an_allocation() {
        for count in [limits::MAX_TENSORS + 1, 1 << 56, u64::MAX] {
            refused(
                &Raw::new(count, 0),
                &Error::TooMuch {
                    offset: 8,
                    section: Section::Header,
                    quantity: Quantity::Tensors,
                    count,
                    limit: limits::MAX_TENSORS,
                },
                &format!("the header at byte 8 states {count} tensors; the limit is 16384"),
            );
        }
    }

    // CVE-2024-23605: the same with the number of metadata entries.
    #[test]
    fn a_number_of_entries_that_would_wrap_an_allocation() {
        for count in [limits::MAX_METADATA + 1, 1 << 58, u64::MAX] {
            refused(
                &Raw::new(0, count),
                &Error::TooMuch {
                    offset: 16,
                    section: Section::Header,
                    quantity: Quantity::Metadata,
                    count,
                    limit: limits::MAX_METADATA,
                },
                &format!("the header at byte 16 states {count} metadata entries; the limit is 4096"),
            );
        }
    }

    #[test]
    fn counts_within_the_limits_cost_nothing_where_the_file_ends() {
        let section = Section::Key(0);
        let expected = Error::Truncated { offset: 24, section, needed: 8, left: 0 };
        assert_eq!(error(&Raw::new(limits::MAX_TENSORS, limits::MAX_METADATA)), expected);
        let section = Section::TensorName(0);
        let expected = Error::Truncated { offset: 24, section, needed: 8, left: 0 };
        assert_eq!(error(&Raw::new(limits::MAX_TENSORS, 0)), expected);
    }
}

mod metadata {
    use super::*;

    fn one() -> Raw {
        Raw::new(0, 1)
    }

    #[track_caller]
    fn too_much(raw: &Raw, offset: u64, section: Section, quantity: Quantity, count: u64, limit: u64) {
        assert_eq!(error(raw), Error::TooMuch { offset, section, quantity, count, limit });
    }

    // CVE-2024-23496: one was added to a string's length, which made an allocation of 0 bytes.
    #[test]
    fn a_key_whose_length_would_wrap() {
        for count in [limits::MAX_KEY_BYTES + 1, u64::MAX] {
            too_much(
                &one().u64(count),
                24,
                Section::Key(0),
                Quantity::KeyBytes,
                count,
                limits::MAX_KEY_BYTES,
            );
        }
    }

    #[test]
    fn a_string_whose_length_would_wrap() {
        for count in [limits::MAX_STRING_BYTES + 1, u64::MAX] {
            too_much(
                &one().string("k").u32(STRING).u64(count),
                37,
                Section::Value(name("k")),
                Quantity::StringBytes,
                count,
                limits::MAX_STRING_BYTES,
            );
        }
    }

    // CVE-2025-49847: a token of 2 GiB became a negative length when it was narrowed to 32 bits.
    #[test]
    fn a_token_longer_than_31_bits() {
        let count = 1 << 31;
        too_much(
            &one().string("tokenizer.ggml.tokens").u32(ARRAY).u32(STRING).u64(1).u64(count),
            69,
            Section::Value(name("tokenizer.ggml.tokens")),
            Quantity::StringBytes,
            count,
            limits::MAX_STRING_BYTES,
        );
    }

    // CVE-2024-21825: the number of an array's elements times their size wrapped.
    #[test]
    fn an_array_whose_size_would_wrap() {
        for ty in ValueType::ALL {
            for count in [limits::MAX_ARRAY_LEN + 1, 1 << 61, u64::MAX] {
                too_much(
                    &one().string("k").u32(ARRAY).u32(ty.id()).u64(count),
                    41,
                    Section::Value(name("k")),
                    Quantity::ArrayElements,
                    count,
                    limits::MAX_ARRAY_LEN,
                );
            }
        }
    }

    #[test]
    fn an_array_longer_than_the_file() {
        for ty in ValueType::ALL {
            let raw = one().string("k").u32(ARRAY).u32(ty.id()).u64(limits::MAX_ARRAY_LEN);
            let needed = match ty {
                ValueType::String => 8,
                ValueType::Array => 4,
                ty => limits::MAX_ARRAY_LEN * ty.size().unwrap() as u64,
            };
            let section = Section::Value(name("k"));
            assert_eq!(error(&raw), Error::Truncated { offset: 49, section, needed, left: 0 });
        }
    }

    #[test]
    fn arrays_nested_too_deeply() {
        let nested = |depth| (1..depth).fold(one().string("k").u32(ARRAY), |raw, _| raw.u32(ARRAY).u64(1));
        let deepest = nested(limits::MAX_ARRAY_DEPTH).u32(U32).u64(1).u32(7);
        Gguf::parse(&deepest.0).unwrap();

        let raw = nested(limits::MAX_ARRAY_DEPTH + 1).u32(U32).u64(1).u32(7);
        let quantity = Quantity::ArrayDepth;
        too_much(&raw, 37 + 4 * 12, Section::Value(name("k")), quantity, 5, limits::MAX_ARRAY_DEPTH.into());
        let sentence = "the value of key `k` at byte 85 states 5 arrays within one another; the limit is 4";
        assert_eq!(error(&raw).to_string(), sentence);

        // Deep enough to overflow a stack, were it walked.
        let raw = (0..1_000_000).fold(one().string("k").u32(ARRAY), |raw, _| raw.u32(ARRAY).u64(1));
        too_much(&raw, 85, Section::Value(name("k")), quantity, 5, limits::MAX_ARRAY_DEPTH.into());
    }

    #[test]
    fn a_type_that_does_not_exist() {
        for id in [13, 255, u32::MAX] {
            let key = name("k");
            refused(
                &one().string("k").u32(id),
                &Error::UnknownValueType { key: key.clone(), offset: 33, id },
                &format!("the value of key `k` has the unknown type {id} at byte 33"),
            );
            let raw = one().string("k").u32(ARRAY).u32(id).u64(0);
            assert_eq!(error(&raw), Error::UnknownValueType { key, offset: 37, id });
        }
    }

    #[test]
    fn a_bool_that_is_neither() {
        refused(
            &one().string("k").u32(BOOL).bytes(&[2]),
            &Error::BadBool { key: name("k"), offset: 37, value: 2 },
            "the value of key `k` at byte 37 is 2 where a bool must be 0 or 1",
        );
        let raw = one().string("k").u32(ARRAY).u32(BOOL).u64(3).bytes(&[1, 0, 255]);
        assert_eq!(error(&raw), Error::BadBool { key: name("k"), offset: 51, value: 255 });
    }

    /// Zeros that are never touched, so that the gigabyte costs no memory.
    #[test]
    fn a_header_longer_than_any_vocabulary_needs() {
        const ARRAYS: usize = 10;
        let payload = limits::MAX_ARRAY_LEN as usize * 8;
        let mut bytes = vec![0; 24 + ARRAYS * (32 + payload)];
        bytes[..24].copy_from_slice(&Raw::new(0, ARRAYS as u64).0);
        for i in 0..ARRAYS {
            let at = 24 + i * (25 + payload);
            let head = Raw(vec![]).string([b'a' + i as u8]).u32(ARRAY).u32(ValueType::F64.id());
            let head = head.u64(limits::MAX_ARRAY_LEN).0;
            bytes[at..at + head.len()].copy_from_slice(&head);
        }
        let offset = 24 + 8 * (25 + payload) as u64;
        let section = Section::Value(name("h"));
        let (quantity, limit) = (Quantity::HeaderBytes, limits::MAX_HEADER_BYTES);
        let expected = Error::TooMuch { offset, section, quantity, count: offset, limit };
        assert_eq!(error(&Raw(bytes)), expected);
    }

    #[test]
    fn a_key_that_is_not_text() {
        refused(
            &one().string(b"\xff").u32(U32).u32(0),
            &Error::NameNotUtf8 { offset: 24, section: Section::Key(0) },
            "the key of metadata entry 0 at byte 24 is not UTF-8",
        );
    }

    #[test]
    fn a_key_that_occurs_twice() {
        let raw = Raw::new(0, 3).string("a").u32(U32).u32(0).string("b").u32(U32).u32(0);
        refused(
            &raw.string("a").u32(BOOL).bytes(&[1]),
            &Error::DuplicateKey { key: name("a"), offset: 24 + 2 * 17 },
            "key `a` occurs a second time at byte 58",
        );
    }

    /// The index holds 256 entries and the window of the search 64: pairs on both sides of each, and across.
    #[test]
    fn a_key_that_occurs_twice_among_many() {
        const KEYS: usize = 700;
        let size = 8 + 4 + 4 + 4;
        for (first, second) in [(0, 1), (0, 699), (63, 64), (255, 256), (100, 300), (256, 699), (698, 699)] {
            let raw = (0..KEYS).fold(Raw::new(0, KEYS as u64), |raw, i| {
                let key = format!("{:04}", if i == second { first } else { i });
                raw.string(key).u32(U32).u32(i as u32)
            });
            let offset = (24 + second * size) as u64;
            let key = name(&format!("{first:04}"));
            assert_eq!(error(&raw), Error::DuplicateKey { key, offset });
        }
    }

    /// Two words with the same 32-bit FNV-1a hash, which the index uses: equal hashes alone are no clash.
    #[test]
    fn keys_that_collide_in_the_index_stay_apart() {
        let raw = Raw::new(0, 2).string("costarring").u32(U32).u32(1).string("liquid").u32(U32).u32(2);
        let file = Gguf::parse(&raw.0).unwrap();
        assert_eq!(file.u32("costarring"), Ok(1));
        assert_eq!(file.u32("liquid"), Ok(2));
    }

    #[test]
    fn an_alignment_that_is_no_power_of_two_or_out_of_bounds() {
        for alignment in [0, 1, 4, 24, 33, 1 << 21, 1 << 31, u32::MAX] {
            refused(
                &one().string("general.alignment").u32(U32).u32(alignment),
                &Error::BadAlignment { alignment },
                &format!(
                    "key `general.alignment` is {alignment}; it must be a power of two from 8 to 1048576"
                ),
            );
        }
        for alignment in [8, 64, 1 << 20] {
            let raw = one().string("general.alignment").u32(U32).u32(alignment);
            assert_eq!(Gguf::parse(&raw.0).unwrap().alignment(), alignment.into());
        }
    }

    #[test]
    fn an_alignment_of_another_type() {
        let raw = one().string("general.alignment").u32(STRING).string("32");
        let key = name("general.alignment");
        let found = ValueType::String;
        assert_eq!(error(&raw), Error::WrongType { key, expected: "an integer", found });
    }

    #[test]
    fn a_split_model() {
        let split = |count| one().string("split.count").u32(U32).u32(count);
        refused(
            &split(3),
            &Error::Split { count: 3 },
            "the model is split into 3 files (key `split.count`), which is not supported; \
             merge them with `llama-gguf-split --merge` first",
        );
        // A merged file says 0.
        for count in [0, 1] {
            Gguf::parse(&split(count).0).unwrap();
        }
    }

    #[test]
    fn names_from_the_file_are_escaped_and_cut() {
        let key = format!("\x1b[31m{}", "ä".repeat(100));
        let error = error(&one().string(&key).u32(99));
        let sentence = format!(
            "the value of key `\\u{{1b}}[31m{}…` has the unknown type 99 at byte 237",
            "ä".repeat(28)
        );
        assert_eq!(error.to_string(), sentence);
    }
}

mod tensors {
    use super::*;

    const AT: u64 = 24;

    fn one() -> Raw {
        Raw::new(1, 0)
    }

    #[test]
    fn a_name_that_is_too_long() {
        let long = "x".repeat(65);
        refused(
            &one().tensor(&long, &[1], F32, 0),
            &Error::TooMuch {
                offset: AT,
                section: Section::TensorName(0),
                quantity: Quantity::TensorNameBytes,
                count: 65,
                limit: 64,
            },
            "the name of tensor 0 at byte 24 states 65 bytes of a tensor name; the limit is 64",
        );
        Gguf::parse(&one().tensor(&long[1..], &[1], F32, 0).data(4).0).unwrap();
    }

    #[test]
    fn a_name_that_is_not_text() {
        let raw = one().string(b"\xc3").u32(1).u64(1).u32(F32).u64(0);
        assert_eq!(error(&raw), Error::NameNotUtf8 { offset: AT, section: Section::TensorName(0) });
    }

    #[test]
    fn a_name_that_occurs_twice() {
        let raw = Raw::new(2, 0).tensor("t", &[1], F32, 0).tensor("t", &[1], F32, 32).data(64);
        refused(
            &raw,
            &Error::DuplicateTensor { tensor: name("t"), offset: AT + 33 },
            "tensor `t` occurs a second time at byte 57",
        );
    }

    // CVE-2024-21802: dimensions were read into an array of four, whatever their number.
    #[test]
    fn more_dimensions_than_four() {
        for count in [5, u32::MAX] {
            refused(
                &one().string("t").u32(count).u64(1).u64(1).u64(1).u64(1).u64(1).u32(F32).u64(0),
                &Error::TooMuch {
                    offset: AT + 9,
                    section: Section::TensorEntry(name("t")),
                    quantity: Quantity::Dimensions,
                    count: count.into(),
                    limit: 4,
                },
                &format!(
                    "the table entry of tensor `t` at byte 33 states {count} dimensions of a tensor; \
                     the limit is 4"
                ),
            );
        }
    }

    #[test]
    fn a_dimension_of_zero() {
        refused(
            &one().tensor("t", &[4, 0], F32, 0).data(16),
            &Error::ZeroDimension { tensor: name("t"), offset: AT + 21 },
            "tensor `t` has a dimension of zero at byte 45",
        );
    }

    #[test]
    fn a_type_that_is_unknown_or_withdrawn() {
        for id in [4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, u32::MAX] {
            refused(
                &one().tensor("t", &[32], id, 0).data(128),
                &Error::UnknownTensorType { tensor: name("t"), offset: AT + 21, id },
                &format!("tensor `t` has the type {id} at byte 45, which is unknown or no longer in use"),
            );
        }
    }

    #[test]
    fn rows_that_are_not_whole_blocks() {
        refused(
            &one().tensor("t", &[48, 2], Q4_0, 0).data(54),
            &Error::PartialBlock { tensor: name("t"), offset: AT, ty: TensorType::Q4_0, row: 48 },
            "tensor `t` at byte 24 has rows of 48 elements, which are not whole blocks of 32 (Q4_0)",
        );
    }

    // CVE-2026-33298: a dimension of 2^42 + 1 wrapped the size of the tensor to almost nothing.
    // CVE-2025-53630: the sum of the tensors' sizes wrapped.
    #[test]
    fn dimensions_whose_product_wraps() {
        let too_large = Error::TensorTooLarge { tensor: name("t"), offset: AT };
        let sentence = "the dimensions of tensor `t` at byte 24 multiply to more than 64 bits hold";
        for dims in [&[1 << 32, 1 << 32][..], &[u64::MAX, 2], &[1 << 16; 4], &[1 << 62]] {
            refused(&one().tensor("t", dims, F32, 0).data(64), &too_large, sentence);
        }
        // Below the edge it is the end of the file that refuses them.
        for dims in [&[1152, (1 << 42) + 1][..], &[(1 << 62) - 8]] {
            let error = error(&one().tensor("t", dims, F32, 0).data(64));
            assert!(matches!(error, Error::TensorOutOfFile { .. }), "{error}");
        }
    }

    // CVE-2026-7482: tensors that reach beyond the file were read all the same.
    #[test]
    fn data_outside_the_file() {
        let outside = |start, len, have| {
            let raw = one().tensor("t", &[len], F32, start).data(have);
            let data = raw.0.len() as u64 - have as u64;
            let (tensor, file) = (name("t"), raw.0.len() as u64);
            let expected = Error::TensorOutOfFile { tensor, start, len: len * 4, data, file };
            assert_eq!(error(&raw), expected);
            expected.to_string()
        };
        assert_eq!(
            outside(0, 16, 63),
            "tensor `t` has 64 bytes at offset 0 of the data at byte 64, but the file ends at byte 127; \
             it is damaged or incomplete"
        );
        outside(0, 16, 0);
        outside(32, 1, 32);
        outside(1 << 40, 16, 64);
        // Start, or start and length, wrap.
        outside(u64::MAX - 31, 16, 64);
        outside(u64::MAX - 127, 16, 64);
    }

    #[test]
    fn data_that_is_not_aligned() {
        refused(
            &one().tensor("t", &[1], F32, 16).data(64),
            &Error::MisalignedTensor { tensor: name("t"), offset: AT + 25, start: 16, alignment: 32 },
            "the data offset 16 of tensor `t`, stated at byte 49, is not a multiple of 32",
        );
    }

    #[test]
    fn data_that_overlaps() {
        let raw = Raw::new(2, 0).tensor("a", &[16], F32, 0).tensor("b", &[16], F32, 32).data(128);
        refused(
            &raw,
            &Error::Overlap { tensor: name("b"), offset: 96 + 32, other: 96 },
            "the data of tensor `b` at byte 128 overlaps that of another tensor at byte 96",
        );
        let same = Raw::new(2, 0).tensor("a", &[16], F32, 0).tensor("b", &[16], F32, 0).data(64);
        assert_eq!(error(&same), Error::Overlap { tensor: name("b"), offset: 96, other: 96 });
    }

    #[test]
    fn data_in_another_order_than_the_table_may_not_overlap_either() {
        let table = |starts: [u64; 3]| {
            let names = ["a", "b", "c"].into_iter().zip(starts);
            names.fold(Raw::new(3, 0), |raw, (name, start)| raw.tensor(name, &[16], F32, start)).data(192)
        };
        let file = table([128, 0, 64]);
        let file = Gguf::parse(&file.0).unwrap();
        assert_eq!(file.tensor("c").unwrap().offset, 128 + 64);

        let error = error(&table([64, 0, 96]));
        assert_eq!(error, Error::Overlap { tensor: name("c"), offset: 128 + 96, other: 128 + 64 });
    }

    /// The most tensors that are allowed, in the worst order: the time must stay bounded.
    #[test]
    fn the_worst_table_takes_no_more_than_a_few_seconds() {
        let count = limits::MAX_TENSORS;
        let raw = (0..count).fold(Raw::new(count, 0), |raw, i| {
            raw.tensor(&format!("{i:05}"), &[8], F32, (count - 1 - i) * 32)
        });
        let raw = raw.data(count as usize * 32);
        let began = std::time::Instant::now();
        let file = Gguf::parse(&raw.0).unwrap();
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
        assert_eq!(file.tensors().len() as u64, count);
    }
}
