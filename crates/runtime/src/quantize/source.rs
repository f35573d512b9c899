//! A model to be written as a GGUF file: its metadata, and tensors that are read piece by piece.

use stonechat_gguf::writer::ArrayBuffer;
use stonechat_gguf::{Gguf, Tensor, TensorType, Value};
use stonechat_kernels::elementwise::dequantize;
use stonechat_kernels::{Format, Layout, Level, layout};

use crate::MappedFile;
use crate::quantize::choice::Shape;

/// A model and where its tensors lie.
#[derive(Debug, Default)]
pub struct Source<'a> {
    pub(crate) metadata: Vec<(String, Entry<'a>)>,
    pub(crate) tensors: Vec<SourceTensor<'a>>,
    pub(crate) files: Vec<&'a MappedFile>,
}

/// A value of the metadata: as it stands in a file, or made here.
#[derive(Debug)]
pub(crate) enum Entry<'a> {
    Value(Value<'a>),
    Text(String),
    Array(ArrayBuffer),
}

impl Entry<'_> {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Value(value) => *value,
            Self::Text(text) => Value::String(text.as_bytes()),
            Self::Array(array) => array.into(),
        }
    }
}

/// A tensor of a [`Source`].
#[derive(Debug)]
pub(crate) struct SourceTensor<'a> {
    pub(crate) name: String,
    /// In ggml's order: the length of a row comes first.
    pub(crate) dims: Vec<u64>,
    /// The type it has if it is not quantized.
    pub(crate) kept: TensorType,
    pub(crate) data: Data<'a>,
}

/// What a tensor holds.
#[derive(Debug)]
pub(crate) enum Data<'a> {
    /// Rows in a file.
    Rows(Rows<'a>),
    /// Numbers that are not weights, to be copied.
    Opaque { bytes: &'a [u8], file: Option<&'a MappedFile> },
    /// Weights that are in no file.
    Made(Vec<f32>),
}

/// Rows in a file, and what is to be done to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) bytes: &'a [u8],
    /// The file that `bytes` are in.
    pub(crate) file: Option<&'a MappedFile>,
    pub(crate) format: Format,
    pub(crate) layout: Layout,
    /// Numbers in a row; a tensor of one dimension counts as rows of one number.
    pub(crate) row: usize,
    /// Rows of a head, where the first half of each head is to be interleaved with the second: RoPE's pairs lie half a
    /// head apart in the one, side by side in the other.
    pub(crate) interleaved_heads: Option<usize>,
    /// What is added to each weight.
    pub(crate) shift: f32,
}

impl Rows<'_> {
    /// Whether the bytes are what a tensor of this type holds, in its order.
    pub(crate) fn are(&self, ty: TensorType) -> bool {
        self.is_plain() && self.layout.id(self.format) == ty.id()
    }

    fn is_plain(&self) -> bool {
        self.interleaved_heads.is_none() && self.shift == 0.0
    }

    /// The number of the row that stands at place `row` of the result.
    fn origin(&self, row: usize) -> usize {
        match self.interleaved_heads {
            Some(head) => row / head * head + row % 2 * (head / 2) + row % head / 2,
            None => row,
        }
    }

    /// The weights from number `start` on, which is a multiple of 256, in f32.
    pub(crate) fn read(&self, start: usize, out: &mut [f32]) {
        let level = Level::detect();
        match (self.layout, self.interleaved_heads) {
            (Layout::Rows, None) => {
                let blocks = start / self.format.block_len();
                let bytes = &self.bytes[blocks * self.format.block_bytes()..];
                let len = out.len() / self.format.block_len() * self.format.block_bytes();
                dequantize(level, self.format, &bytes[..len], out);
            }
            (Layout::Rows, Some(_)) => self.each_row(start, out, |row, column, out| {
                let numbers = self.format.block_bytes();
                let first = (self.origin(row) * self.row + column) * numbers;
                dequantize(level, self.format, &self.bytes[first..first + out.len() * numbers], out);
            }),
            (Layout::Rows16, _) => self.each_row(start, out, |row, column, out| {
                let mut block = [0; layout::MOST_BLOCK_BYTES];
                let block = &mut block[..self.format.block_bytes()];
                for (i, out) in out.chunks_mut(self.format.block_len()).enumerate() {
                    self.gather(row, column / self.format.block_len() + i, block);
                    dequantize(level, self.format, block, out);
                }
            }),
        }
        if self.shift != 0.0 {
            out.iter_mut().for_each(|weight| *weight += self.shift);
        }
    }

    /// The blocks of weights from number `start` on as they are, one row after another.
    pub(crate) fn copy(&self, start: usize, out: &mut [u8]) {
        let (len, bytes) = (self.format.block_len(), self.format.block_bytes());
        let first = start / len;
        match self.layout {
            Layout::Rows => out.copy_from_slice(&self.bytes[first * bytes..][..out.len()]),
            Layout::Rows16 => {
                let in_row = self.row / len;
                for (i, out) in out.chunks_mut(bytes).enumerate() {
                    self.gather((first + i) / in_row, (first + i) % in_row, out);
                }
            }
        }
    }

    /// Whether a tensor of this format needs no more than [`copy`](Self::copy).
    pub(crate) fn can_copy_to(&self, format: Format) -> bool {
        self.is_plain() && self.format == format
    }

    /// Copies a block out of rows that lie side by side.
    fn gather(&self, row: usize, block: usize, out: &mut [u8]) {
        let group_bytes = layout::GROUP * out.len();
        let in_row = self.row / self.format.block_len();
        let group = row / layout::GROUP * in_row + block;
        layout::gather(
            self.format,
            &self.bytes[group * group_bytes..][..group_bytes],
            row % layout::GROUP,
            out,
        );
    }

    /// Cuts `out`, the weights from number `start` on, at the ends of rows.
    fn each_row(&self, start: usize, mut out: &mut [f32], mut part: impl FnMut(usize, usize, &mut [f32])) {
        let (mut row, mut column) = (start / self.row, start % self.row);
        while !out.is_empty() {
            let (now, rest) = out.split_at_mut((self.row - column).min(out.len()));
            part(row, column, now);
            (row, column, out) = (row + 1, 0, rest);
        }
    }

    /// The bytes that the weights from number `start` to number `end` are read from, as far as they lie together.
    pub(crate) fn span(&self, start: usize, end: usize) -> &[u8] {
        let bytes = |weights: usize| weights / self.format.block_len() * self.format.block_bytes();
        match (self.layout, self.interleaved_heads) {
            (Layout::Rows, None) => &self.bytes[bytes(start)..bytes(end)],
            // Pieces of these lie among others that are still to be read.
            _ => &[],
        }
    }
}

impl<'a> Source<'a> {
    /// What a GGUF file holds.
    pub fn from_gguf(file: &'a MappedFile, gguf: &Gguf<'a>) -> Self {
        let metadata = gguf
            .metadata()
            // A file that is not in parts does not say so.
            .filter(|(key, _)| !key.starts_with("split."))
            .map(|(key, value)| (key.to_owned(), Entry::Value(value)))
            .collect();
        let tensors = gguf.tensors().map(|tensor| of_gguf(file, &tensor)).collect();
        Self { metadata, tensors, files: vec![file] }
    }

    /// The files that all this lies in.
    pub fn files(&self) -> &[&'a MappedFile] {
        &self.files
    }

    fn get(&self, key: &str) -> Option<Value<'_>> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, entry)| entry.value())
    }

    pub(crate) fn shape(&self) -> Shape {
        let architecture = self.get("general.architecture").and_then(|value| match value {
            Value::String(name) => std::str::from_utf8(name).ok(),
            _ => None,
        });
        let architecture = architecture.unwrap_or_default().to_owned();
        // Where layers differ, the first one counts.
        let number = |key: &str| match self.get(&format!("{architecture}.{key}"))? {
            Value::Array(array) => array.iter().next()?.as_u64(),
            value => value.as_u64(),
        };
        let heads = number("attention.head_count").unwrap_or(0);
        Shape {
            layers: number("block_count").unwrap_or(0),
            heads,
            kv_heads: number("attention.head_count_kv").unwrap_or(heads),
            experts: number("expert_count").unwrap_or(0),
            architecture,
        }
    }
}

fn of_gguf<'a>(file: &'a MappedFile, tensor: &Tensor<'a>) -> SourceTensor<'a> {
    let data = match Layout::of_id(tensor.ty.id()) {
        Some((format, layout)) => Data::Rows(Rows {
            bytes: tensor.data,
            file: Some(file),
            format,
            layout,
            row: tensor.dims.row_len() as usize,
            interleaved_heads: None,
            shift: 0.0,
        }),
        None => Data::Opaque { bytes: tensor.data, file: Some(file) },
    };
    SourceTensor { name: tensor.name.to_owned(), dims: tensor.dims.to_vec(), kept: tensor.ty, data }
}
