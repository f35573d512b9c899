//! The tiny model inside the program, for where no other is and no network.
//!
//! In: nothing. Out: a model file's bytes. It tells simple stories and knows nothing else; `models/tiny` says how it was made.

use crate::MappedFile;

/// The name to type.
pub const NAME: &str = "tiny";

/// What it is, for people.
pub const TITLE: &str = "Stories for small children, Q8_0";

/// The file as it is, where a cache line begins, as in a file that is mapped.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../models/tiny/tiny-Q8_0.gguf"));

/// The model as a file, whose path is its name.
pub fn file() -> MappedFile {
    MappedFile::of_program(NAME.as_ref(), &MODEL.0)
}
