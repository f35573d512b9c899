//! The limits that a file must keep. Each is far above what any known model needs and low enough that a file made
//! to do harm can cost neither much time nor an overflow.

/// The oldest version that is read. Version 1 had 32-bit lengths and vanished within weeks of its birth.
pub const MIN_VERSION: u32 = 2;

/// The newest version that is read. It differs from 2 only in that big-endian files exist.
pub const MAX_VERSION: u32 = 3;

/// Metadata entries in a file. Real files have 20 to 70.
pub const MAX_METADATA: u64 = 4096;

/// Bytes before the tensor data: header, metadata and tensor table. The largest vocabularies take some 20 MB.
/// Offsets in this part are kept in 32 bits.
pub const MAX_HEADER_BYTES: u64 = 1 << 30;

/// Bytes of a metadata key; the format's own limit.
pub const MAX_KEY_BYTES: u64 = (1 << 16) - 1;

/// Bytes of a string. Chat templates take some 20 KB; a whole `tokenizer.json`, which some files carry, up to 35 MB.
pub const MAX_STRING_BYTES: u64 = 1 << 26;

/// Elements of an array. The largest known are merge lists of half a million.
pub const MAX_ARRAY_LEN: u64 = 1 << 24;

/// Arrays within one another; 1 is an array of plain values. Known files do not nest at all.
pub const MAX_ARRAY_DEPTH: u32 = 4;

/// Metadata entries whose place is remembered, so that [`Gguf::get`](crate::Gguf::get) finds them without reading
/// what lies before. Entries after these are found by a scan.
pub const INDEXED_METADATA: usize = 256;

/// Tensors in a file. Known files have up to some 2,000.
pub const MAX_TENSORS: u64 = 16_384;

/// Bytes of a tensor's name; the format's own limit.
pub const MAX_TENSOR_NAME_BYTES: u64 = 64;

/// Dimensions of a tensor; ggml's own limit.
pub const MAX_DIMS: usize = 4;

/// The alignment of tensor data where `general.alignment` says nothing; the format's own default.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// The least `general.alignment`: the format asks for a multiple of 8.
pub const MIN_ALIGNMENT: u64 = 8;

/// The greatest `general.alignment`: above the page size of every system.
pub const MAX_ALIGNMENT: u64 = 1 << 20;

/// Bytes of a key or a tensor name that an error repeats; the rest is cut off.
pub const ERROR_NAME_BYTES: usize = 62;
