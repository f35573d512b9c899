//! The model: a file's hyperparameters and tensors, checked against each other.
//!
//! In goes a [`Gguf`]; out comes a [`Model`], in which every tensor that the forward pass needs is known to exist, to
//! have the right shape and a format that the kernels can multiply. Weights stay where they are.

use core::fmt::Write;

use stonechat_gguf::{Gguf, Name, Tensor};
use stonechat_kernels::{Format, Layout, Matrix};

use crate::Error;
use crate::arch::{self, Spec};
use crate::rope::{Rope, Scaling};

/// The numbers that shape a transformer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hyperparameters {
    /// The longest context that the model was made for, in tokens.
    pub context: usize,
    /// The length of a token's vector.
    pub embedding: usize,
    /// The number of layers.
    pub layers: usize,
    /// The number of query heads of a layer.
    pub heads: usize,
    /// The number of key and value heads of a layer; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// The length of a head.
    pub head_dim: usize,
    /// The length of the hidden vector of the feed-forward part.
    pub feed_forward: usize,
    /// The number of tokens.
    pub vocabulary: usize,
    /// What RMSNorm adds below the root.
    pub norm_eps: f32,
    /// How positions are encoded.
    pub rope: Rope,
}

impl Hyperparameters {
    /// The length of all query heads together.
    pub const fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The length of all key heads together.
    pub const fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// How many query heads share a KV head.
    pub const fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The longest vector that enters a matrix.
    pub fn widest_input(&self) -> usize {
        self.embedding.max(self.q_dim()).max(self.feed_forward)
    }
}

/// The matrices of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Weight {
    Q,
    K,
    V,
    Output,
    Gate,
    Up,
    Down,
}

impl Weight {
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::Output, Self::Gate, Self::Up, Self::Down];

    const fn name(self) -> &'static str {
        match self {
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
            Self::Output => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }

    /// Outputs and inputs.
    pub const fn shape(self, h: &Hyperparameters) -> [usize; 2] {
        match self {
            Self::Q => [h.q_dim(), h.embedding],
            Self::K | Self::V => [h.kv_dim(), h.embedding],
            Self::Output => [h.embedding, h.q_dim()],
            Self::Gate | Self::Up => [h.feed_forward, h.embedding],
            Self::Down => [h.embedding, h.feed_forward],
        }
    }
}

/// The norms of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Norm {
    Attention,
    FeedForward,
}

impl Norm {
    pub const ALL: [Self; 2] = [Self::Attention, Self::FeedForward];

    const fn name(self) -> &'static str {
        match self {
            Self::Attention => "attn_norm",
            Self::FeedForward => "ffn_norm",
        }
    }
}

/// A vector of the file, to be dequantized once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vector<'a> {
    pub format: Format,
    pub bytes: &'a [u8],
}

/// A model. See the [module](self).
#[derive(Clone, Debug)]
pub struct Model<'a> {
    gguf: Gguf<'a>,
    spec: &'static Spec,
    hyperparameters: Hyperparameters,
    embedding: Matrix<'a>,
    head: Matrix<'a>,
}

impl<'a> Model<'a> {
    /// Reads hyperparameters and checks every tensor.
    pub fn from_gguf(gguf: &Gguf<'a>) -> Result<Self, Error> {
        let architecture = gguf.str("general.architecture")?;
        let spec = arch::find(architecture).ok_or(Error::UnknownArchitecture(Name::new(architecture)))?;
        let embedding = tensor(gguf, "token_embd.weight")?;
        let hyperparameters = read(gguf, spec, &embedding)?;
        let h = &hyperparameters;
        let shape = [h.vocabulary, h.embedding];
        let embedding = matrix(&embedding, shape)?;
        let head = match gguf.tensor("output.weight") {
            Some(head) => matrix(&head, shape)?,
            None => embedding,
        };
        let model = Self { gguf: *gguf, spec, hyperparameters, embedding, head };
        model.final_norm()?;
        model.rope_factors()?;
        for layer in 0..h.layers {
            for weight in Weight::ALL {
                model.weight(layer, weight)?;
                model.bias(layer, weight)?;
            }
            for norm in Norm::ALL {
                model.norm(layer, norm)?;
            }
        }
        Ok(model)
    }

    /// The numbers that shape the model.
    pub const fn hyperparameters(&self) -> &Hyperparameters {
        &self.hyperparameters
    }

    /// The description of the architecture.
    pub const fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// The file.
    pub const fn gguf(&self) -> &Gguf<'a> {
        &self.gguf
    }

    /// The embedding: a row of `embedding` values for each token.
    pub const fn embedding(&self) -> &Matrix<'a> {
        &self.embedding
    }

    /// The output head, which is the embedding where the file has no other.
    pub const fn head(&self) -> &Matrix<'a> {
        &self.head
    }

    pub(crate) fn weight(&self, layer: usize, weight: Weight) -> Result<Matrix<'a>, Error> {
        let tensor = tensor(&self.gguf, &in_layer(layer, weight.name(), "weight"))?;
        matrix(&tensor, weight.shape(&self.hyperparameters))
    }

    /// A bias, where the file has one.
    pub(crate) fn bias(&self, layer: usize, weight: Weight) -> Result<Option<Vector<'a>>, Error> {
        let Some(tensor) = self.gguf.tensor(&in_layer(layer, weight.name(), "bias")) else { return Ok(None) };
        vector(&tensor, weight.shape(&self.hyperparameters)[0]).map(Some)
    }

    pub(crate) fn norm(&self, layer: usize, norm: Norm) -> Result<Vector<'a>, Error> {
        let tensor = tensor(&self.gguf, &in_layer(layer, norm.name(), "weight"))?;
        vector(&tensor, self.hyperparameters.embedding)
    }

    pub(crate) fn final_norm(&self) -> Result<Vector<'a>, Error> {
        vector(&tensor(&self.gguf, "output_norm.weight")?, self.hyperparameters.embedding)
    }

    /// What the frequencies of RoPE are divided by, where the file has it.
    pub(crate) fn rope_factors(&self) -> Result<Option<Vector<'a>>, Error> {
        let Some(tensor) = self.gguf.tensor("rope_freqs.weight") else { return Ok(None) };
        vector(&tensor, self.hyperparameters.rope.dims / 2).map(Some)
    }
}

type Path = heapless::String<64>;

/// `blk.{layer}.{name}.{kind}`: names are short constants and layers few, so that it always fits.
fn in_layer(layer: usize, name: &str, kind: &str) -> Path {
    let mut path = Path::new();
    let _ = write!(path, "blk.{layer}.{name}.{kind}");
    path
}

fn tensor<'a>(gguf: &Gguf<'a>, name: &str) -> Result<Tensor<'a>, Error> {
    gguf.tensor(name).ok_or(Error::MissingTensor(Name::new(name)))
}

fn matrix<'a>(tensor: &Tensor<'a>, expected: [usize; 2]) -> Result<Matrix<'a>, Error> {
    let name = Name::new(tensor.name);
    let (format, layout) = Layout::of_id(tensor.ty.id())
        .ok_or(Error::UnsupportedFormat { tensor: name.clone(), format: tensor.ty.name() })?;
    let found = shape(tensor);
    let right = found == expected.map(|n| n as u64);
    if right && !expected[0].is_multiple_of(layout.group()) {
        return Err(Error::PartialGroup { tensor: name, rows: expected[0], group: layout.group() });
    }
    right
        .then(|| Matrix::with_layout(format, layout, expected[0], expected[1], tensor.data))
        .flatten()
        .ok_or(Error::TensorShape { tensor: name, expected, found })
}

fn vector<'a>(tensor: &Tensor<'a>, len: usize) -> Result<Vector<'a>, Error> {
    matrix(tensor, [1, len]).map(|row| Vector { format: row.format(), bytes: row.bytes() })
}

/// Rows and columns; rows are all dimensions but the first.
fn shape(tensor: &Tensor<'_>) -> [u64; 2] {
    let cols = tensor.dims.row_len();
    let elements = tensor.dims.elements().unwrap_or(0);
    [elements.checked_div(cols).unwrap_or(0), cols]
}

/// More layers than any model has; keeps what is computed from them in bounds.
const MOST_LAYERS: usize = 4096;
/// Wider than any model; likewise.
const MOST_WIDTH: usize = 1 << 24;

fn read(gguf: &Gguf<'_>, spec: &Spec, embedding: &Tensor<'_>) -> Result<Hyperparameters, Error> {
    let keys = Keys { gguf, prefix: spec.name };
    let size = |key, most| keys.size(key, most);
    let embedding_length = size("embedding_length", MOST_WIDTH)?;
    let heads = size("attention.head_count", MOST_WIDTH)?;
    let kv_heads = keys.opt_size("attention.head_count_kv", MOST_WIDTH)?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        return Err(keys.bad("attention.head_count", "a multiple of attention.head_count_kv"));
    }
    let head_dim = match keys.opt_size("attention.key_length", MOST_WIDTH)? {
        Some(length) => length,
        None if embedding_length.is_multiple_of(heads) => embedding_length / heads,
        None => return Err(keys.bad("embedding_length", "a multiple of attention.head_count")),
    };
    if keys.opt_size("attention.value_length", MOST_WIDTH)?.is_some_and(|length| length != head_dim) {
        return Err(keys.bad("attention.value_length", "equal to attention.key_length"));
    }
    let heads_fit = heads.checked_mul(head_dim).is_some_and(|dim| dim <= MOST_WIDTH);
    if !heads_fit {
        return Err(keys.bad("attention.head_count", "such that all heads together stay below 2^24"));
    }
    let eps = gguf.f32(&keys.path("attention.layer_norm_rms_epsilon"))?;
    if !(eps.is_finite() && eps > 0.0) {
        return Err(keys.bad("attention.layer_norm_rms_epsilon", "a positive number"));
    }
    let context = size("context_length", u32::MAX as usize)?;
    let rope = read_rope(&keys, head_dim, context)?;
    let rows = usize::try_from(shape(embedding)[0]).unwrap_or(0);
    Ok(Hyperparameters {
        context,
        embedding: embedding_length,
        layers: size("block_count", MOST_LAYERS)?,
        heads,
        kv_heads,
        head_dim,
        feed_forward: size("feed_forward_length", MOST_WIDTH)?,
        vocabulary: rows,
        norm_eps: eps,
        rope,
    })
}

fn read_rope(keys: &Keys<'_, '_>, head_dim: usize, context: usize) -> Result<Rope, Error> {
    let gguf = keys.gguf;
    let dims = keys.opt_size("rope.dimension_count", MOST_WIDTH)?.unwrap_or(head_dim);
    if dims > head_dim || !dims.is_multiple_of(2) {
        return Err(keys.bad("rope.dimension_count", "an even number, at most a head's length"));
    }
    let positive = |key, default| match gguf.opt_f32(&keys.path(key))? {
        None => Ok(default),
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        Some(_) => Err(keys.bad(key, "a positive number")),
    };
    let base = positive("rope.freq_base", 10_000.0)?;
    let factor = positive("rope.scaling.factor", 1.0)?;
    let scaling = match gguf.opt_str(&keys.path("rope.scaling.type"))? {
        None if gguf.opt_f32(&keys.path("rope.scale_linear"))?.is_some() => {
            Scaling::Linear { factor: positive("rope.scale_linear", 1.0)? }
        }
        None | Some("none") => Scaling::None,
        Some("linear") => Scaling::Linear { factor },
        Some("yarn") => Scaling::Yarn {
            factor,
            original_context: keys
                .opt_size("rope.scaling.original_context_length", u32::MAX as usize)?
                .unwrap_or(context),
            beta_fast: positive("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: positive("rope.scaling.yarn_beta_slow", 1.0)?,
            attention_factor: positive("rope.scaling.attn_factor", 1.0)?,
        },
        Some(other) => return Err(Error::UnknownRopeScaling(Name::new(other))),
    };
    Ok(Rope { dims, base, scaling })
}

/// The keys of one architecture.
struct Keys<'g, 'a> {
    gguf: &'g Gguf<'a>,
    prefix: &'static str,
}

impl Keys<'_, '_> {
    fn path(&self, key: &str) -> Path {
        let mut path = Path::new();
        let _ = write!(path, "{}.{key}", self.prefix);
        path
    }

    fn bad(&self, key: &str, expected: &'static str) -> Error {
        Error::BadValue { key: Name::new(&self.path(key)), expected }
    }

    fn size(&self, key: &str, most: usize) -> Result<usize, Error> {
        self.checked(key, self.gguf.u32(&self.path(key))?, most)
    }

    fn opt_size(&self, key: &str, most: usize) -> Result<Option<usize>, Error> {
        self.gguf.opt_u32(&self.path(key))?.map(|value| self.checked(key, value, most)).transpose()
    }

    fn checked(&self, key: &str, value: u32, most: usize) -> Result<usize, Error> {
        match value as usize {
            0 => Err(self.bad(key, "at least 1")),
            value if value > most => Err(self.bad(key, "of a size that a model can have")),
            value => Ok(value),
        }
    }
}
