//! Packing: a model file whose matrices lie as the kernels like to read them.
//!
//! In: a GGUF file. Out: another of the same size, which gives the same bits, with the rows of every quantized matrix in
//! groups of 16 ([`Layout::Rows16`]) where they fill them. Tensors pass one after another through a buffer of 16 rows;
//! the file appears under its name once it is whole and on the disk.

use std::path::Path;

use stonechat_gguf::writer::Writer;
use stonechat_gguf::{Gguf, Tensor, TensorType};
use stonechat_kernels::{Layout, layout};

use crate::output::{Durability, Output};
use crate::{Error, MappedFile};

/// Where tensors begin in the packed file: whole cache lines.
const ALIGNMENT: u32 = 64;
/// The key that states it.
const ALIGNMENT_KEY: &str = "general.alignment";

/// What packing did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Packed {
    /// Matrices whose rows now lie in groups.
    pub packed: usize,
    /// Tensors that were copied as they are.
    pub copied: usize,
    /// The bytes of the new file.
    pub bytes: u64,
}

/// Packs `file`, whose view is `gguf`, to `output`. `progress` gets the bytes done and those of all tensors; where
/// `stop` says so, nothing is left behind.
pub fn pack(
    file: &MappedFile,
    gguf: &Gguf<'_>,
    output: &Path,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Packed, Error> {
    let tensors = || gguf.tensors().map(|tensor| (tensor, packed_type(&tensor)));
    if !tensors().any(|(_, ty)| ty.is_some()) {
        return Err(Error::NothingToPack { path: file.path().to_path_buf() });
    }
    let refused = |error| Error::Header { path: output.to_path_buf(), error: Box::new(error) };
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().filter(|(key, _)| *key != ALIGNMENT_KEY) {
        writer.metadata(key, value).map_err(refused)?;
    }
    writer.metadata(ALIGNMENT_KEY, ALIGNMENT).map_err(refused)?;
    for (tensor, packed) in tensors() {
        writer
            .tensor_without_data(tensor.name, &tensor.dims, packed.unwrap_or(tensor.ty))
            .map_err(refused)?;
    }
    let header = writer.header().map_err(refused)?;

    let mut out = Output::create(output)?;
    out.write(&header)?;
    let total = gguf.tensors().map(|tensor| tensor.data.len() as u64).sum();
    let mut done = 0;
    let mut result = Packed::default();
    let mut group = Vec::new();
    for (tensor, packed) in tensors() {
        // Small enough that Ctrl-C and progress are not kept waiting.
        let piece = match packed {
            Some(_) => tensor.data.len() / rows(&tensor) * layout::GROUP,
            None => 1 << 20,
        };
        for bytes in tensor.data.chunks(piece) {
            if stop() {
                return Err(Error::Abandoned { path: output.to_path_buf() });
            }
            match packed.and_then(|ty| Layout::of_id(ty.id())) {
                Some((format, _)) => {
                    group.resize(bytes.len(), 0);
                    layout::interleave(format, bytes, &mut group);
                    out.write(&group)?;
                }
                None => out.write(bytes)?,
            }
            done += bytes.len() as u64;
            progress(done, total);
        }
        out.pad(writer.padding(tensor.data.len() as u64))?;
        *if packed.is_some() { &mut result.packed } else { &mut result.copied } += 1;
    }
    // What was read past a cut is zeros: a file of these must not appear.
    file.check()?;
    result.bytes = out.finish(Durability::Synced)?;
    Ok(result)
}

/// The type that a tensor will have, where it can be packed.
fn packed_type(tensor: &Tensor<'_>) -> Option<TensorType> {
    let (format, Layout::Rows) = Layout::of_id(tensor.ty.id())? else { return None };
    let fits = Layout::Rows16.takes(format) && rows(tensor).is_multiple_of(layout::GROUP);
    fits.then(|| TensorType::from_id(Layout::Rows16.id(format))).flatten()
}

/// All rows of a tensor, which is never empty.
fn rows(tensor: &Tensor<'_>) -> usize {
    tensor.dims.get(1..).unwrap_or_default().iter().product::<u64>() as usize
}
