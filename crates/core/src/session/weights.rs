//! The table of a model's weights in the arena, so that the forward pass finds them without reading names.

use core::ops::Range;

use bytemuck::{Pod, Zeroable};
use stonechat_gguf::Gguf;
use stonechat_kernels::elementwise::{Activation, Xielu, dequantize, scale};
use stonechat_kernels::{Format, Layout, Level, Matrix};

use crate::arch::Mixer;
use crate::model::{GlobalVector, Layer, LayerVector, MOST_TAPS, Norm, StateVector, Vector, Weight};
use crate::{Error, Model};

/// Where a vector begins among the vectors, and its length; empty where there is none.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct VectorRecord {
    at: u32,
    len: u32,
}

impl VectorRecord {
    fn of(self, vectors: &[f32]) -> &[f32] {
        &vectors[self.at as usize..][..self.len as usize]
    }
}

/// Where a matrix of a layer lies in the file, and its bias among the vectors; without rows where there is none.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct TensorRecord {
    offset: u64,
    bias: VectorRecord,
    /// The id of format and layout.
    ty: u32,
    rows: u32,
    cols: u32,
    padding: u32,
}

/// A layer of the table.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct LayerRecord {
    weights: [TensorRecord; Weight::COUNT],
    norms: [VectorRecord; Norm::COUNT],
    norm_biases: [VectorRecord; Norm::COUNT],
    sinks: VectorRecord,
    selection_bias: VectorRecord,
    expert_scale: VectorRecord,
    /// The vectors of a mixer with a state.
    state_vectors: [VectorRecord; StateVector::COUNT],
    /// How many numbers of each position the caches of keys and of values have before this layer's.
    cache: [u64; 2],
    /// How many numbers of state lie before this layer's.
    state: u64,
    layer: Layer,
    output_scale: f32,
    /// The parameters of xIELU.
    activation: [f32; 4],
}

/// The weights of a norm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormWeights<'a> {
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
}

/// The weights as the forward pass asks for them.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    file: &'a [u8],
    layers: &'a [LayerRecord],
    vectors: &'a [f32],
    final_norm: [VectorRecord; 2],
    embedding_norm: [VectorRecord; 2],
    head_bias: VectorRecord,
    input_norm: VectorRecord,
    frequencies: [VectorRecord; 2],
    slopes: VectorRecord,
}

impl<'a> Weights<'a> {
    /// The shape of a layer.
    ///
    /// # Panics
    /// Here and below, if there is no such layer.
    pub fn layer(&self, layer: usize) -> Layer {
        self.layers[layer].layer
    }

    /// How many numbers of each position the caches of keys and of values have before those of a layer.
    pub fn cache(&self, layer: usize) -> [usize; 2] {
        self.layers[layer].cache.map(|numbers| numbers as usize)
    }

    /// How many numbers of state lie before those of a layer.
    pub fn state(&self, layer: usize) -> usize {
        self.layers[layer].state as usize
    }

    /// A vector of a mixer with a state, if the layer has it.
    pub fn state_vector(&self, layer: usize, which: StateVector) -> Option<&'a [f32]> {
        self.some(self.layers[layer].state_vectors[which as usize])
    }

    /// A matrix of a layer, if it has it.
    pub fn matrix(&self, layer: usize, weight: Weight) -> Option<Matrix<'a>> {
        let record = &self.layers[layer].weights[weight as usize];
        if record.rows == 0 {
            return None;
        }
        let (rows, cols) = (record.rows as usize, record.cols as usize);
        let matrix = Layout::of_id(record.ty).and_then(|(format, layout)| {
            let bytes = &self.file[record.offset as usize..][..format.row_bytes(cols)? * rows];
            Matrix::with_layout(format, layout, rows, cols, bytes)
        });
        Some(matrix.expect("the table was made from checked matrices"))
    }

    /// The matrix of one of `count` experts, if the layer has such matrices.
    pub fn expert(&self, layer: usize, weight: Weight, expert: u32, count: usize) -> Option<Matrix<'a>> {
        let rows = self.matrix(layer, weight)?.rows() / count;
        self.part(layer, weight, expert as usize * rows..(expert as usize + 1) * rows)
    }

    /// Some rows of a matrix, if the layer has it.
    ///
    /// # Panics
    /// If these are no [parts](Weight::parts) of it.
    pub fn part(&self, layer: usize, weight: Weight, rows: Range<usize>) -> Option<Matrix<'a>> {
        let all = self.matrix(layer, weight)?;
        let bytes = &all.bytes()[rows.start * all.row_bytes()..rows.end * all.row_bytes()];
        let matrix = Matrix::with_layout(all.format(), all.layout(), rows.len(), all.cols(), bytes);
        Some(matrix.expect("parts have whole groups of rows"))
    }

    pub fn bias(&self, layer: usize, weight: Weight) -> Option<&'a [f32]> {
        self.some(self.layers[layer].weights[weight as usize].bias)
    }

    pub fn norm(&self, layer: usize, norm: Norm) -> Option<NormWeights<'a>> {
        let record = &self.layers[layer];
        let bias = self.some(record.norm_biases[norm as usize]);
        self.some(record.norms[norm as usize]).map(|weight| NormWeights { weight, bias })
    }

    /// None where the residual stream is normalised already.
    pub fn final_norm(&self) -> Option<NormWeights<'a>> {
        self.global_norm(self.final_norm)
    }

    pub fn embedding_norm(&self) -> Option<NormWeights<'a>> {
        self.global_norm(self.embedding_norm)
    }

    fn global_norm(&self, [weight, bias]: [VectorRecord; 2]) -> Option<NormWeights<'a>> {
        self.some(weight).map(|weight| NormWeights { weight, bias: self.some(bias) })
    }

    pub fn head_bias(&self) -> Option<&'a [f32]> {
        self.some(self.head_bias)
    }

    pub fn input_norm(&self) -> NormWeights<'a> {
        NormWeights { weight: self.input_norm.of(self.vectors), bias: None }
    }

    /// The frequencies of a rope.
    pub fn frequencies(&self, rope: usize) -> &'a [f32] {
        self.frequencies[rope].of(self.vectors)
    }

    /// The slopes of all heads; none without ALiBi.
    pub fn slopes(&self) -> &'a [f32] {
        self.slopes.of(self.vectors)
    }

    /// The sinks of all heads; empty where there are none.
    pub fn sinks(&self, layer: usize) -> &'a [f32] {
        self.layers[layer].sinks.of(self.vectors)
    }

    pub fn selection_bias(&self, layer: usize) -> Option<&'a [f32]> {
        self.some(self.layers[layer].selection_bias)
    }

    /// What the weights of chosen experts are multiplied by.
    pub fn expert_scale(&self, layer: usize) -> Option<&'a [f32]> {
        self.some(self.layers[layer].expert_scale)
    }

    /// What the residual stream is multiplied by behind a layer.
    pub fn output_scale(&self, layer: usize) -> f32 {
        self.layers[layer].output_scale
    }

    /// What makes the hidden vector of a layer.
    pub fn activation(&self, layer: usize, activation: Activation) -> Activation {
        let Activation::Xielu(_) = activation else { return activation };
        let [positive, negative, beta, eps] = self.layers[layer].activation;
        Activation::Xielu(Xielu { positive, negative, beta, eps })
    }

    fn some(&self, record: VectorRecord) -> Option<&'a [f32]> {
        (record.len > 0).then(|| record.of(self.vectors))
    }
}

/// The f32 values of all vectors of a model. They are in the file, or not longer than what is, so that no sum of them
/// overflows.
pub(crate) fn vectors_len(model: &Model<'_>) -> Result<usize, Error> {
    let h = model.hyperparameters();
    let mut sum = h.pairs() + if h.alibi > 0.0 { h.heads } else { 0 };
    model.each_global_vector(&mut |which, _| {
        sum += global_len(model, which);
        Ok(())
    })?;
    for number in 0..h.layers {
        model.view(number)?.each_vector(&mut |_, _, len| {
            // Rates of a state are padded, up to 16 times as long as what is in the file.
            sum = sum.saturating_add(len);
            Ok(())
        })?;
    }
    // The table counts in 32 bits.
    if u32::try_from(sum).is_ok() { Ok(sum) } else { Err(Error::TooLarge) }
}

/// The values that a vector of no layer takes of its own; frequencies are counted apart.
fn global_len(model: &Model<'_>, which: GlobalVector) -> usize {
    let h = model.hyperparameters();
    match which {
        GlobalVector::Norm
        | GlobalVector::NormBias
        | GlobalVector::EmbeddingNorm
        | GlobalVector::EmbeddingNormBias => h.embedding,
        GlobalVector::HeadBias => h.vocabulary,
        GlobalVector::InputNorm => h.layer_input,
        GlobalVector::RopeFactors => 0,
    }
}

impl Vector<'_> {
    #[inline(never)]
    fn dequantize(self, level: Level, out: &mut [f32]) {
        match self {
            Vector::Stored { format, bytes } => dequantize(level, format, bytes, out),
            Vector::Ones => out.fill(1.0),
        }
    }

    /// Its rows, of so many columns each.
    fn rows(self, cols: usize) -> impl Iterator<Item = Self> {
        let (format, bytes) = match self {
            Vector::Stored { format, bytes } => (format, bytes),
            Vector::Ones => (Format::F32, &[][..]),
        };
        let row = format.row_bytes(cols).unwrap_or(0).max(1);
        bytes.chunks_exact(row).map(move |bytes| Vector::Stored { format, bytes })
    }
}

/// Takes stretches of the vectors, one after another.
struct Filler<'v> {
    level: Level,
    vectors: &'v mut [f32],
    at: usize,
}

impl Filler<'_> {
    #[inline(never)]
    fn take(&mut self, len: usize, fill: impl FnOnce(&mut [f32])) -> VectorRecord {
        let at = self.at;
        self.at += len;
        fill(&mut self.vectors[at..at + len]);
        VectorRecord { at: at as u32, len: len as u32 }
    }

    #[inline(never)]
    fn put(&mut self, vector: Vector<'_>, len: usize) -> VectorRecord {
        let level = self.level;
        self.take(len, |out| vector.dequantize(level, out))
    }

    /// Rows of `cols`, each followed by zeros up to `stride`.
    #[inline(never)]
    fn put_padded(&mut self, vector: Vector<'_>, cols: usize, stride: usize, len: usize) -> VectorRecord {
        let level = self.level;
        self.take(len, |out| {
            for (out, row) in out.chunks_exact_mut(stride).zip(vector.rows(cols)) {
                let (numbers, zeros) = out.split_at_mut(cols);
                zeros.fill(0.0);
                row.dequantize(level, numbers);
            }
        })
    }

    /// Rows of `cols`, at most [`MOST_TAPS`], as columns.
    #[inline(never)]
    fn put_transposed(&mut self, vector: Vector<'_>, cols: usize, len: usize) -> VectorRecord {
        let level = self.level;
        self.take(len, |out| {
            let mut numbers = [0.0; MOST_TAPS];
            for (i, row) in vector.rows(cols).take(len / cols).enumerate() {
                row.dequantize(level, &mut numbers[..cols]);
                for (out, number) in out.chunks_exact_mut(len / cols).zip(numbers) {
                    out[i] = number;
                }
            }
        })
    }
}

impl<'a> Weights<'a> {
    /// Fills the layer table, dequantizes norms and biases, and computes frequencies and slopes.
    pub fn fill(
        model: &Model<'a>,
        level: Level,
        context: usize,
        layers: &'a mut [LayerRecord],
        vectors: &'a mut [f32],
    ) -> Result<Self, Error> {
        let h = model.hyperparameters();
        let none = VectorRecord::default();
        let mut filler = Filler { level, vectors, at: 0 };
        let (mut final_norm, mut embedding_norm) = ([none; 2], [none; 2]);
        let (mut head_bias, mut input_norm) = (none, none);
        let mut factors = Vector::Ones;
        model.each_global_vector(&mut |which, vectors| {
            let mut put = || filler.put(vectors[0], global_len(model, which));
            match which {
                GlobalVector::Norm => final_norm[0] = put(),
                GlobalVector::NormBias => final_norm[1] = put(),
                GlobalVector::EmbeddingNorm => embedding_norm[0] = put(),
                GlobalVector::EmbeddingNormBias => embedding_norm[1] = put(),
                GlobalVector::HeadBias => head_bias = put(),
                GlobalVector::InputNorm => input_norm = put(),
                GlobalVector::RopeFactors => {
                    // The second are those for contexts beyond the one trained on.
                    let beyond = context > h.ropes[0].original_context;
                    factors = *vectors.get(usize::from(beyond)).unwrap_or(&vectors[0]);
                }
            }
            Ok(())
        })?;
        // What frequencies are divided by comes first, and is replaced in place.
        let mut frequencies = [none; 2];
        for (record, (rope, factors)) in
            frequencies.iter_mut().zip(h.ropes.iter().zip([factors, Vector::Ones]))
        {
            *record = filler.put(factors, rope.dims / 2);
            rope.frequencies(&mut filler.vectors[record.at as usize..][..record.len as usize]);
        }
        let slopes = filler.take(if h.alibi > 0.0 { h.heads } else { 0 }, |out| slopes(h.alibi, out));
        let (mut cache, mut state) = ([0; 2], 0);
        for number in 0..layers.len() {
            layers[number] = fill_layer(model, number, &mut filler)?;
            layers[number].cache = match layers[number].layer.source() {
                Some(source) => layers[source].cache,
                None => cache,
            };
            if layers[number].layer.source().is_none() {
                let layer = &layers[number].layer;
                for (cache, dim) in cache.iter_mut().zip([layer.head_dim(), layer.value_dim()]) {
                    *cache += (layer.kv_heads() * dim) as u64;
                }
            }
            layers[number].state = state;
            if layers[number].layer.mixer().recurs() {
                state += h.recurrent.state_len().unwrap_or(0) as u64;
            }
        }
        let file = model.gguf().bytes();
        Ok(Self {
            file,
            layers,
            vectors,
            final_norm,
            embedding_norm,
            head_bias,
            input_norm,
            frequencies,
            slopes,
        })
    }
}

fn fill_layer(model: &Model<'_>, number: usize, filler: &mut Filler<'_>) -> Result<LayerRecord, Error> {
    let layer = model.view(number)?;
    let mut record = LayerRecord { layer: layer.shape, output_scale: 1.0, ..LayerRecord::zeroed() };
    for weight in Weight::ALL {
        let Some(matrix) = layer.weight(weight)? else { continue };
        record.weights[weight as usize] = TensorRecord {
            offset: offset_in(model.gguf(), matrix.bytes()),
            bias: VectorRecord::default(),
            ty: matrix.layout().id(matrix.format()),
            rows: matrix.rows() as u32,
            cols: matrix.cols() as u32,
            padding: 0,
        };
    }
    let r = &model.hyperparameters().recurrent;
    layer.each_vector(&mut |which, vector, len| {
        let at = match which {
            LayerVector::State(StateVector::Taps) => filler.put_transposed(vector, r.taps, len),
            LayerVector::State(StateVector::Rates) if r.mixer == Mixer::Mamba => {
                filler.put_padded(vector, r.state, r.row(), len)
            }
            _ => filler.put(vector, len),
        };
        match which {
            LayerVector::Norm(norm) => {
                record.norms[norm as usize] = at;
                if norm == Norm::Router {
                    // Not in the file: the vector is also divided by the root of its length.
                    let weights = &mut filler.vectors[at.at as usize..][..len];
                    scale(weights, 1.0 / libm::sqrtf(len as f32));
                }
            }
            LayerVector::NormBias(norm) => record.norm_biases[norm as usize] = at,
            LayerVector::Bias(weight) => record.weights[weight as usize].bias = at,
            LayerVector::Sinks => record.sinks = at,
            LayerVector::SelectionBias => record.selection_bias = at,
            LayerVector::ExpertScale => record.expert_scale = at,
            LayerVector::State(which) => record.state_vectors[which as usize] = at,
            LayerVector::OutputScale => record.output_scale = at.of(filler.vectors)[0],
        }
        Ok(())
    })?;
    if let Activation::Xielu(x) = model.activation(number)? {
        record.activation = [x.positive, x.negative, x.beta, x.eps];
    }
    Ok(record)
}

/// The slopes of ALiBi (Press et al. 2021, arXiv:2108.12409): powers of one ratio for as many heads as the largest power
/// of two, and odd powers of its root for the rest.
fn slopes(alibi: f32, out: &mut [f32]) {
    let whole = 1 << out.len().max(1).ilog2();
    let step = -f64::from(alibi) / whole as f64;
    for (head, slope) in out.iter_mut().enumerate() {
        let exponent = if head < whole { (head + 1) as f64 } else { (2 * (head - whole) + 1) as f64 / 2.0 };
        *slope = libm::exp2(step * exponent) as f32;
    }
}

/// Where `part`, a slice of the file, begins in it.
fn offset_in(gguf: &Gguf<'_>, part: &[u8]) -> u64 {
    (part.as_ptr().addr() - gguf.bytes().as_ptr().addr()) as u64
}
