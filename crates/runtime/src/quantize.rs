//! Quantizing: a model file with fewer bits for each weight.
//!
//! In: a [`Source`], which is a GGUF file or a folder in Hugging Face's layout ([`crate::convert`]), and the [`FileType`]
//! that is wanted. Out: a GGUF file, which appears under its name once it is whole and on the disk. Tensors pass one
//! after another, in pieces of a million weights that all workers share, so that a model of any size takes some ten MB of
//! memory. The bytes depend on neither the number of workers nor the CPU.

mod choice;
mod file_type;
mod source;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use stonechat_gguf::writer::Writer;
use stonechat_gguf::{Name, TensorType, Value};
use stonechat_kernels::{Format, Workers, quantize as kernel};

pub(crate) use choice::is_quantized;
pub use file_type::{FileType, UnknownFileType};
pub use source::Source;
pub(crate) use source::{Data, Entry, Rows, SourceTensor};

use crate::output::{Durability, Output};
use crate::{Error, MappedFile};
use choice::Candidate;

const FILE_TYPE_KEY: &str = "general.file_type";
const VERSION_KEY: &str = "general.quantization_version";
/// The version of ggml's formats (`GGML_QNT_VERSION`).
const VERSION: u32 = 2;

/// Weights that are in memory at a time: what all workers share, and what each takes of it. Multiples of the weights of
/// any block.
const PIECE: usize = 1 << 20;
const SHARE: usize = 1 << 13;

/// What quantizing did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Quantized {
    /// How many tensors the file has of each type, the most frequent first.
    pub types: Vec<(&'static str, usize)>,
    /// The bytes of the new file.
    pub bytes: u64,
}

/// The format of matrices that are quantized already and would be again: that loses more than quantizing once.
pub fn requantized(source: &Source<'_>, ty: FileType) -> Option<Format> {
    let types = types(source, ty);
    source.tensors.iter().zip(types).find_map(|(tensor, ty)| match &tensor.data {
        Data::Rows(rows) if !rows.format.is_float() && !rows.are(ty) => {
            let target = Format::from_ggml(ty.id())?;
            (!target.is_float() && target != rows.format).then_some(rows.format)
        }
        _ => None,
    })
}

fn types(source: &Source<'_>, ty: FileType) -> Vec<TensorType> {
    let candidates: Vec<_> = source
        .tensors
        .iter()
        .map(|tensor| Candidate { name: &tensor.name, dims: &tensor.dims, kept: tensor.kept })
        .collect();
    choice::types(ty, &source.shape(), &candidates)
}

/// Writes `source` to `output` as a file of type `ty`. `progress` gets the weights done and all that there are; where
/// `stop` says so, nothing is left behind.
pub fn quantize(
    source: &Source<'_>,
    ty: FileType,
    output: &Path,
    workers: &dyn Workers,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Quantized, Error> {
    let types = types(source, ty);
    let writer = header(source, ty, &types)
        .map_err(|error| Error::Header { path: output.to_path_buf(), error: Box::new(error) })?;
    let header = writer
        .header()
        .map_err(|error| Error::Header { path: output.to_path_buf(), error: Box::new(error) })?;
    for (tensor, ty) in source.tensors.iter().zip(&types) {
        if matches!(tensor.data, Data::Opaque { .. }) && *ty != tensor.kept {
            return Err(Error::NotWeights { tensor: Name::new(&tensor.name), ty: tensor.kept });
        }
    }

    let mut out = Output::create(output)?;
    out.write(&header)?;
    let total = source.tensors.iter().map(|tensor| tensor.dims.iter().product::<u64>()).sum();
    let mut done = 0;
    let mut passed = |weights: u64| {
        done += weights;
        progress(done, total);
        if stop() { Err(Error::Abandoned { path: output.to_path_buf() }) } else { Ok(()) }
    };
    for (tensor, ty) in source.tensors.iter().zip(&types) {
        let written = match (&tensor.data, Format::from_ggml(ty.id())) {
            (Data::Rows(rows), Some(format)) if !rows.are(*ty) => {
                encode(tensor, rows, format, workers, &mut out, &mut passed)?
            }
            (Data::Rows(Rows { bytes, file, .. }) | Data::Opaque { bytes, file }, _) => {
                copy(bytes, *file, tensor, &mut out, &mut passed)?
            }
            (Data::Made(weights), _) => {
                let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
                out.write(&bytes)?;
                passed(weights.len() as u64)?;
                bytes.len() as u64
            }
        };
        out.pad(writer.padding(written))?;
    }
    // What was read past a cut is zeros: a file of these must not appear.
    source.files.iter().try_for_each(|file| file.check())?;
    Ok(Quantized { types: counted(&types), bytes: out.finish(Durability::Synced)? })
}

/// Everything that stands before the tensors' data.
fn header<'w>(
    source: &Source<'_>,
    ty: FileType,
    types: &[TensorType],
) -> Result<Writer<'w>, stonechat_gguf::Error> {
    let mut writer = Writer::new();
    let mut own = [(FILE_TYPE_KEY, Some(ty.id())), (VERSION_KEY, Some(VERSION))];
    for (key, entry) in &source.metadata {
        match own.iter_mut().find(|(name, _)| name == key) {
            Some((_, value)) => value.take().map_or(Ok(()), |value| writer.metadata(key, value))?,
            None => writer.metadata(key, entry.value())?,
        }
    }
    for (key, value) in own {
        value.map_or(Ok(()), |value| writer.metadata(key, Value::U32(value)))?;
    }
    for (tensor, ty) in source.tensors.iter().zip(types) {
        writer.tensor_without_data(&tensor.name, &tensor.dims, *ty)?;
    }
    Ok(writer)
}

/// Copies a tensor as it is. Returns its length in bytes.
fn copy(
    bytes: &[u8],
    file: Option<&MappedFile>,
    tensor: &SourceTensor<'_>,
    out: &mut Output<'_>,
    passed: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<u64, Error> {
    let weights: u64 = tensor.dims.iter().product();
    let mut left = weights;
    for piece in bytes.chunks(4 * PIECE) {
        out.write(piece)?;
        if let Some(file) = file {
            file.release(piece);
        }
        let now = (weights as u128 * piece.len() as u128 / bytes.len() as u128) as u64;
        left -= now;
        passed(now)?;
    }
    passed(left)?;
    Ok(bytes.len() as u64)
}

/// Brings a tensor to another format. Returns its length in bytes.
fn encode(
    tensor: &SourceTensor<'_>,
    rows: &Rows<'_>,
    format: Format,
    workers: &dyn Workers,
    out: &mut Output<'_>,
    passed: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<u64, Error> {
    let weights = tensor.dims.iter().product::<u64>() as usize;
    let bytes_of = |weights: usize| weights / format.block_len() * format.block_bytes();
    let mut buffer = vec![0; bytes_of(PIECE.min(weights))];
    for start in (0..weights).step_by(PIECE) {
        let end = (start + PIECE).min(weights);
        let buffer = &mut buffer[..bytes_of(end - start)];
        let shares = Mutex::new(buffer.chunks_mut(bytes_of(SHARE)).enumerate());
        let failed = AtomicBool::new(false);
        workers.run(&|| {
            let mut floats = vec![0.0; SHARE];
            // A worker that panicked ends the run; what it held is in order, or nobody will look at it.
            while let Some((i, share)) = shares.lock().unwrap_or_else(PoisonError::into_inner).next() {
                let first = start + i * SHARE;
                if rows.can_copy_to(format) {
                    rows.copy(first, share);
                    continue;
                }
                let floats = &mut floats[..SHARE.min(end - first)];
                rows.read(first, floats);
                if kernel::quantize(format, floats, share).is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
            }
        });
        if failed.into_inner() {
            return Err(Error::Weights { tensor: Name::new(&tensor.name), format });
        }
        out.write(buffer)?;
        if let Some(file) = rows.file {
            file.release(rows.span(start, end));
        }
        passed((end - start) as u64)?;
    }
    if let Some(file) = rows.file {
        file.release(rows.bytes);
    }
    Ok(bytes_of(weights) as u64)
}

/// How many there are of each type, the most frequent first.
fn counted(types: &[TensorType]) -> Vec<(&'static str, usize)> {
    let mut counts: Vec<(&'static str, usize)> = Vec::new();
    for ty in types {
        match counts.iter_mut().find(|(name, _)| *name == ty.name()) {
            Some((_, count)) => *count += 1,
            None => counts.push((ty.name(), 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use stonechat_gguf::Gguf;
    use stonechat_kernels::Alone;

    use super::*;

    fn golden() -> MappedFile {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"));
        MappedFile::open(path.join("../../tests/golden/models/llama_k/llama_k-Q8_0.gguf")).unwrap()
    }

    #[test]
    fn a_run_that_is_stopped_leaves_nothing_behind_and_keeps_what_was_there() {
        let file = golden();
        let source = Source::from_gguf(&file, &Gguf::parse(&file).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.gguf");
        std::fs::write(&output, "what was there").unwrap();
        let pieces = Cell::new(0);
        let stop = || {
            pieces.set(pieces.get() + 1);
            pieces.get() == 5
        };
        let error = quantize(&source, FileType::Q4_K_M, &output, &Alone, &stop, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, Error::Abandoned { .. }), "{error}");
        assert_eq!(std::fs::read(&output).unwrap(), b"what was there");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn progress_ends_where_the_weights_do() {
        let file = golden();
        let source = Source::from_gguf(&file, &Gguf::parse(&file).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let mut last = (0, 0);
        let mut progress = |done, total| {
            assert!(done >= last.0, "{done} after {}", last.0);
            last = (done, total);
        };
        let output = folder.path().join("out.gguf");
        let done = quantize(&source, FileType::Q5_0, &output, &Alone, &|| false, &mut progress).unwrap();
        let weights = source.tensors.iter().map(|tensor| tensor.dims.iter().product::<u64>()).sum();
        assert_eq!(last, (weights, weights));
        assert_eq!(done.bytes, output.metadata().unwrap().len());
        assert_eq!(done.types.iter().map(|(_, count)| count).sum::<usize>(), source.tensors.len());
    }

    /// A part that is released is read again as it was.
    #[test]
    fn a_file_is_the_same_after_it_was_released() {
        let file = golden();
        let before = file.to_vec();
        file.release(&file);
        file.release(&file[5000..20_000]);
        file.release(&file[..0]);
        assert!(*before == *file);
    }
}
