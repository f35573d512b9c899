//! The table of a model's weights in the arena, so that the forward pass finds them without reading names.

use bytemuck::{Pod, Zeroable};
use stonechat_gguf::Gguf;
use stonechat_kernels::elementwise::{Activation, Xielu, dequantize};
use stonechat_kernels::{Layout, Level, Matrix};

use crate::model::{GlobalVector, Layer, LayerVector, Norm, Vector, Weight};
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
    /// How many numbers of each position the cache has before this layer's.
    cache: u64,
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

    /// How many numbers of each position the cache has before those of a layer.
    pub fn cache(&self, layer: usize) -> usize {
        self.layers[layer].cache as usize
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
        let all = self.matrix(layer, weight)?;
        let (rows, len) = (all.rows() / count, all.bytes().len() / count);
        let bytes = &all.bytes()[expert as usize * len..][..len];
        let matrix = Matrix::with_layout(all.format(), all.layout(), rows, all.cols(), bytes);
        Some(matrix.expect("experts have whole groups of rows"))
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
            sum += len;
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
        self.take(len, |out| match vector {
            Vector::Stored { format, bytes } => dequantize(level, format, bytes, out),
            Vector::Ones => out.fill(1.0),
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
        let mut cache = 0;
        for number in 0..layers.len() {
            layers[number] = fill_layer(model, number, &mut filler)?;
            layers[number].cache = match layers[number].layer.source() {
                Some(source) => layers[source].cache,
                None => cache,
            };
            if layers[number].layer.source().is_none() {
                cache += layers[number].layer.kv_dim() as u64;
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
    layer.each_vector(&mut |which, vector, len| {
        let at = filler.put(vector, len);
        match which {
            LayerVector::Norm(norm) => record.norms[norm as usize] = at,
            LayerVector::NormBias(norm) => record.norm_biases[norm as usize] = at,
            LayerVector::Bias(weight) => record.weights[weight as usize].bias = at,
            LayerVector::Sinks => record.sinks = at,
            LayerVector::SelectionBias => record.selection_bias = at,
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
