//! The model: a file's hyperparameters and tensors, checked against each other.
//!
//! In goes a [`Gguf`]; out comes a [`Model`], in which every tensor that the forward pass needs is known to exist, to
//! have the right shape and a format that the kernels can multiply. Weights stay where they are.

mod keys;
mod layer;
mod recurrent;
mod shape;
mod tensors;

use core::fmt::Write;

use stonechat_gguf::{Gguf, Name, Tensor};
use stonechat_kernels::elementwise::{Activation, Xielu};
use stonechat_kernels::{Format, Layout, Matrix};

use crate::Error;
use crate::arch::{self, Gate, Mixer, NormTensor, Presence, QkNorm, Shared, Spec};

pub use keys::Keys;
use keys::{MOST_WIDTH, Path};
pub use layer::{Latent, Layer};
pub(crate) use recurrent::MOST_TAPS;
pub use recurrent::Recurrent;
pub use shape::{Experts, Hyperparameters};
pub(crate) use tensors::Weight;
pub use tensors::{Norm, NormTensors};

/// A vector to be dequantized once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Vector<'a> {
    /// Of the file.
    Stored { format: Format, bytes: &'a [u8] },
    /// In no file: all 1.
    Ones,
}

/// A model. See the [module](self).
#[derive(Clone, Debug)]
pub struct Model<'a> {
    gguf: Gguf<'a>,
    spec: Spec,
    hyperparameters: Hyperparameters,
    embedding: Matrix<'a>,
    head: Matrix<'a>,
    positions: Option<Matrix<'a>>,
    token_types: Option<Matrix<'a>>,
    layer_inputs: Option<LayerInputs<'a>>,
    dense: [Option<Matrix<'a>>; 2],
}

/// Where each layer's own input comes from: a row for each token, and a projection of the embedding, each for all layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerInputs<'a> {
    pub embedding: Matrix<'a>,
    pub projection: Matrix<'a>,
}

impl<'a> Model<'a> {
    /// Reads hyperparameters and checks every tensor.
    pub fn from_gguf(gguf: &Gguf<'a>) -> Result<Self, Error> {
        let architecture = gguf.str("general.architecture")?;
        let mut spec =
            *arch::find(architecture).ok_or(Error::UnknownArchitecture(Name::new(architecture)))?;
        let keys = Keys { gguf, prefix: spec.name };
        (spec.adapt)(&keys, &mut spec)?;
        let embedding = tensor(gguf, "token_embd.weight")?;
        let vocabulary = usize::try_from(shape(&embedding)[0]).unwrap_or(0);
        let hyperparameters = Hyperparameters::read(&keys, &spec, vocabulary)?;
        let h = &hyperparameters;
        let embedding = matrix(&embedding, [vocabulary, h.embedding])?;
        let head = match gguf.tensor("output.weight") {
            Some(head) => matrix(&head, [vocabulary, h.embedding])?,
            None => embedding,
        };
        let global = |name, rows, cols| matrix(&tensor(gguf, name)?, [rows, cols]);
        let positions = spec.positions.then(|| global("position_embd.weight", h.context, h.embedding));
        let token_types = match spec.token_types {
            Presence::Never => None,
            Presence::Maybe => gguf.tensor("token_types.weight"),
            Presence::Always => Some(tensor(gguf, "token_types.weight")?),
        };
        let token_types = token_types.map(|types| matrix(&types, [rows(&types).max(1), h.embedding]));
        let all_inputs = h.layers * h.layer_input;
        let layer_inputs = (all_inputs > 0).then(|| {
            let embedding = global("per_layer_token_embd.weight", vocabulary, all_inputs)?;
            let projection = global("per_layer_model_proj.weight", all_inputs, h.embedding)?;
            Ok::<_, Error>(LayerInputs { embedding, projection })
        });
        let model = Self {
            gguf: *gguf,
            spec,
            hyperparameters,
            embedding,
            head,
            positions: positions.transpose()?,
            token_types: token_types.transpose()?,
            layer_inputs: layer_inputs.transpose()?,
            dense: dense(gguf, h.embedding)?,
        };
        model.check()?;
        Ok(model)
    }

    /// Looks at every tensor that the model uses.
    fn check(&self) -> Result<(), Error> {
        let h = &self.hyperparameters;
        self.each_global_vector(&mut |_, _| Ok(()))?;
        for number in 0..h.layers {
            let layer = self.view(number)?;
            if let Some(source) = layer.shape.source() {
                let (source, own) = (self.layer(source)?, &layer.shape);
                if (source.kv_heads(), source.head_dim()) != (own.kv_heads(), own.head_dim()) {
                    let expected = "the same in layers that share keys and values";
                    return Err(self.keys().bad("attention.head_count_kv", expected));
                }
            }
            for weight in Weight::ALL {
                let matrix = layer.weight(weight)?;
                // A factor beside a matrix, or a bias of a part of one, would change every number.
                // Mamba 2 and the delta rule have a bias for time steps, and no matrix.
                let strays: &[_] = match matrix {
                    Some(_) if layer.scale(weight).is_some() => &["input_scale"],
                    Some(_) => &["scale", "input_scale"],
                    None if weight == Weight::StateStep => &[],
                    None => &["bias"],
                };
                if let Some(stray) = strays.iter().find_map(|kind| layer.tensor(weight.name(), kind)) {
                    return Err(Error::StrayTensor(Name::new(stray.name)));
                }
            }
            layer.each_vector(&mut |_, _, _| Ok(()))?;
            for name in self.spec.biases {
                if layer.tensor(name, "weight").is_some() {
                    layer.needed(name, "bias")?;
                }
            }
            self.activation(number)?;
        }
        Ok(())
    }

    /// The numbers that shape the model.
    pub const fn hyperparameters(&self) -> &Hyperparameters {
        &self.hyperparameters
    }

    /// The description of the architecture.
    pub const fn spec(&self) -> &Spec {
        &self.spec
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

    /// A vector for each position, to be added to the embedding.
    pub const fn positions(&self) -> Option<&Matrix<'a>> {
        self.positions.as_ref()
    }

    /// The vectors for tokens of a first text, a second, and so on.
    pub const fn token_types(&self) -> Option<&Matrix<'a>> {
        self.token_types.as_ref()
    }

    /// The matrices that an embedding goes through one after another.
    pub fn dense(&self) -> impl Iterator<Item = &Matrix<'a>> {
        self.dense.iter().flatten()
    }

    /// The longest vector that goes into one of these matrices or comes out.
    pub(crate) fn widest_embedding(&self) -> usize {
        self.dense().map(Matrix::rows).fold(self.hyperparameters.embedding, usize::max)
    }

    pub(crate) const fn layer_inputs(&self) -> Option<&LayerInputs<'a>> {
        self.layer_inputs.as_ref()
    }

    pub(crate) fn keys(&self) -> Keys<'_, 'a> {
        Keys { gguf: &self.gguf, prefix: self.spec.name }
    }

    /// The shape of a layer.
    pub fn layer(&self, number: usize) -> Result<Layer, Error> {
        Layer::read(&self.keys(), &self.spec, &self.hyperparameters, number)
    }

    /// How many layers carry a state from position to position.
    pub fn recurrent_layers(&self) -> Result<usize, Error> {
        let mut count = 0;
        for number in 0..self.hyperparameters.layers {
            count += usize::from(self.layer(number)?.mixer().recurs());
        }
        Ok(count)
    }

    /// How many layers have keys and values, or share those of others.
    pub fn attending_layers(&self) -> Result<usize, Error> {
        let mut count = 0;
        for number in 0..self.hyperparameters.layers {
            count += usize::from(self.layer(number)?.mixer().attends());
        }
        Ok(count)
    }

    /// A layer with its tensors.
    pub(crate) fn view(&self, number: usize) -> Result<LayerView<'_, 'a>, Error> {
        let mut prefix = Path::new();
        let _ = write!(prefix, "blk.{number}.");
        let mut tensors = heapless::Vec::new();
        for tensor in self.gguf.tensors().filter(|tensor| tensor.name.starts_with(&*prefix)) {
            // What does not fit is missing, should it be needed.
            let _ = tensors.push(tensor);
        }
        Ok(LayerView { model: self, number, prefix: prefix.len(), shape: self.layer(number)?, tensors })
    }

    /// What makes the hidden vector of a layer.
    pub(crate) fn activation(&self, number: usize) -> Result<Activation, Error> {
        let Activation::Xielu(_) = self.spec.activation else { return Ok(self.spec.activation) };
        let keys = self.keys();
        let number = |key| keys.float_of_all_in(key, number);
        // The parameters are stored before what keeps them positive.
        let softplus = |x: f32| if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) };
        let beta = number("xielu.beta")?;
        Ok(Activation::Xielu(Xielu {
            positive: softplus(number("xielu.alpha_p")?),
            negative: beta + softplus(number("xielu.alpha_n")?),
            beta,
            eps: number("xielu.eps")?,
        }))
    }

    /// Hands every vector that belongs to no layer to `each`.
    pub(crate) fn each_global_vector(&self, each: &mut EachGlobal<'_, 'a>) -> Result<(), Error> {
        let h = &self.hyperparameters;
        let named = |name, len| self.gguf.tensor(name).map(|tensor| vector(&tensor, len)).transpose();
        let norms = |which| self.spec.norms.iter().find(move |norm| norm.norm == which);
        // Where the last layer leaves the residual stream normalised, nothing is left to be done.
        if norms(Norm::FeedForwardSum).is_none() {
            let weight = match norms(Norm::Output).map_or("output_norm.weight", |norm| norm.tensor) {
                "" => Vector::Ones,
                name => vector(&tensor(&self.gguf, name)?, h.embedding)?,
            };
            each(GlobalVector::Norm, &[weight])?;
            if let Some(bias) = named("output_norm.bias", h.embedding)? {
                each(GlobalVector::NormBias, &[bias])?;
            }
        }
        if self.spec.embedding_norm == Presence::Always {
            let weight = vector(&tensor(&self.gguf, "token_embd_norm.weight")?, h.embedding)?;
            each(GlobalVector::EmbeddingNorm, &[weight])?;
            if let Some(bias) = named("token_embd_norm.bias", h.embedding)? {
                each(GlobalVector::EmbeddingNormBias, &[bias])?;
            }
        }
        if let Some(bias) = named("output.bias", h.vocabulary)? {
            each(GlobalVector::HeadBias, &[bias])?;
        }
        if self.layer_inputs.is_some() {
            let norm = vector(&tensor(&self.gguf, "per_layer_proj_norm.weight")?, h.layer_input)?;
            each(GlobalVector::InputNorm, &[norm])?;
        }
        let pairs = h.ropes[0].dims / 2;
        if pairs > 0 {
            // What frequencies are divided by: always, or within and beyond the context trained on.
            match (named("rope_freqs.weight", pairs)?, named("rope_factors_short.weight", pairs)?) {
                (Some(factors), _) => each(GlobalVector::RopeFactors, &[factors])?,
                (None, Some(short)) => {
                    let long = vector(&tensor(&self.gguf, "rope_factors_long.weight")?, pairs)?;
                    each(GlobalVector::RopeFactors, &[short, long])?;
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// What the norms of q and k go over.
    pub(crate) const fn qk_norm(&self) -> QkNorm {
        self.spec.qk_norm
    }
}

/// More tensors than a layer that runs has.
const MOST_TENSORS: usize = 64;

/// A layer of a model: its shape and its tensors, which are looked for once.
pub(crate) struct LayerView<'m, 'a> {
    model: &'m Model<'a>,
    number: usize,
    /// The length of `blk.N.`.
    prefix: usize,
    pub shape: Layer,
    tensors: heapless::Vec<Tensor<'a>, MOST_TENSORS>,
}

impl<'a> LayerView<'_, 'a> {
    /// The tensor `blk.N.name.kind`, or `blk.N.name` where the kind is empty.
    #[inline(never)]
    fn tensor(&self, name: &str, kind: &str) -> Option<&Tensor<'a>> {
        self.tensors.iter().find(|tensor| {
            let rest = tensor.name[self.prefix..].strip_prefix(name);
            let dot = if kind.is_empty() { "" } else { "." };
            rest.and_then(|rest| rest.strip_prefix(dot)) == Some(kind)
        })
    }

    /// The same, or an error that says that it is missing.
    #[inline(never)]
    fn needed(&self, name: &str, kind: &str) -> Result<&Tensor<'a>, Error> {
        self.tensor(name, kind).ok_or_else(|| {
            let mut path = Path::new();
            let dot = if kind.is_empty() { "" } else { "." };
            let _ = write!(path, "blk.{}.{name}{dot}{kind}", self.number);
            Error::MissingTensor(Name::new(&path))
        })
    }

    /// A tensor that a file has always, maybe, or never.
    fn find(&self, name: &str, kind: &str, presence: Presence) -> Result<Option<&Tensor<'a>>, Error> {
        match presence {
            Presence::Never => Ok(None),
            Presence::Maybe => Ok(self.tensor(name, kind)),
            Presence::Always => self.needed(name, kind).map(Some),
        }
    }

    /// A matrix, if the layer has it.
    #[inline(never)]
    pub fn weight(&self, weight: Weight) -> Result<Option<Matrix<'a>>, Error> {
        let Some(tensor) = self.find(weight.name(), "weight", self.presence(weight))? else {
            return Ok(None);
        };
        let h = &self.model.hyperparameters;
        let expected = weight.shape(h, &self.shape);
        let matrix = matrix(tensor, expected)?;
        let group = matrix.layout().group();
        let partial = weight.parts(h, &self.shape).into_iter().find(|rows| !rows.is_multiple_of(group));
        if let Some(rows) = partial {
            return Err(Error::PartialGroup { tensor: Name::new(tensor.name), rows, group });
        }
        Ok(Some(matrix))
    }

    /// Whether a layer has a matrix.
    #[inline(never)]
    fn presence(&self, weight: Weight) -> Presence {
        let (layer, model) = (&self.shape, self.model);
        let needed = |needed| if needed { Presence::Always } else { Presence::Never };
        let experts = layer.has_experts();
        let dense = layer.feed_forward() > 0 && (!experts || layer.has_dense_beside_experts());
        let (mixer, attends) = (layer.mixer(), layer.mixer().attends());
        let is_of = |mixers: &[Mixer]| needed(mixers.contains(&mixer));
        let shares_experts = experts && model.hyperparameters.experts.shared > 0;
        let has_own_cache = layer.source().is_none();
        let has = |weight: Weight| self.tensor(weight.name(), "weight").is_some();
        let is_fused = || has(Weight::Qkv);
        let is_latent = layer.is_latent();
        match weight {
            Weight::Qkv if mixer == Mixer::DeltaNet => needed(!has(Weight::StateIn)),
            Weight::StateGate => needed(mixer == Mixer::DeltaNet && !has(Weight::StateIn)),
            Weight::StateIn | Weight::StateBetaAlpha if mixer == Mixer::DeltaNet => Presence::Maybe,
            Weight::StateBeta | Weight::StateAlpha => {
                needed(mixer == Mixer::DeltaNet && !has(Weight::StateBetaAlpha))
            }
            Weight::StateIn => is_of(&[Mixer::Mamba, Mixer::Mamba2, Mixer::AttentionAndMamba2]),
            Weight::StateSelect | Weight::StateStep => is_of(&[Mixer::Mamba]),
            Weight::StateOut => needed(mixer.recurs() && mixer != Mixer::ShortConvolution),
            Weight::ConvolutionIn | Weight::ConvolutionOut => is_of(&[Mixer::ShortConvolution]),
            Weight::QueryDown | Weight::QueryUp => needed(layer.query_rank() > 0),
            Weight::LatentDown => needed(is_latent),
            Weight::LatentUp => needed(is_latent && !has(Weight::KeyUp)),
            Weight::KeyUp | Weight::ValueUp => needed(is_latent && has(Weight::KeyUp)),
            Weight::Q if is_latent => needed(layer.query_rank() == 0),
            Weight::Qkv | Weight::K | Weight::V if is_latent => Presence::Never,
            Weight::Qkv | Weight::Q | Weight::K | Weight::V | Weight::Output if !attends => Presence::Never,
            Weight::Qkv if has_own_cache => Presence::Maybe,
            Weight::Q => needed(!has_own_cache || !is_fused()),
            Weight::V if model.spec.values_may_be_keys && has_own_cache => Presence::Maybe,
            Weight::K | Weight::V => needed(has_own_cache && !is_fused()),
            Weight::Output => Presence::Always,
            Weight::Gate => needed(dense && model.spec.gate == Gate::Separate),
            Weight::Up | Weight::Down => needed(dense),
            Weight::Router | Weight::ExpertDown => needed(experts),
            Weight::ExpertGateUp if experts && model.spec.gate != Gate::None => Presence::Maybe,
            Weight::Qkv | Weight::ExpertGateUp | Weight::StateBetaAlpha => Presence::Never,
            Weight::ExpertGate if model.spec.gate == Gate::None => Presence::Never,
            Weight::ExpertGate | Weight::ExpertUp => needed(experts && !has(Weight::ExpertGateUp)),
            Weight::SharedRouter => needed(shares_experts && model.spec.routing.shared == Shared::Weighted),
            Weight::SharedGate | Weight::SharedUp | Weight::SharedDown => needed(shares_experts),
            Weight::InputGate | Weight::InputProjection => needed(model.layer_inputs.is_some()),
        }
    }

    /// What `scale` beside a matrix is, and its length, where the architecture has one.
    fn scale(&self, weight: Weight) -> Option<(LayerVector, usize)> {
        let h = &self.model.hyperparameters;
        match weight {
            _ if !self.shape.has_dense_beside_experts() => None,
            Weight::Router => Some((LayerVector::Norm(Norm::Router), h.embedding)),
            Weight::ExpertDown => Some((LayerVector::ExpertScale, h.experts.count)),
            _ => None,
        }
    }

    /// Hands every vector of the layer to `each`.
    pub fn each_vector(&self, each: &mut EachOfLayer<'_, 'a>) -> Result<(), Error> {
        let (h, spec, layer) = (&self.model.hyperparameters, &self.model.spec, &self.shape);
        for NormTensor { norm, tensor, presence } in spec.norms {
            let of_cache = matches!(norm, Norm::Key | Norm::Value);
            if *norm == Norm::Output
                || *norm == Norm::InputPost && self.model.layer_inputs.is_none()
                || of_cache && layer.source().is_some()
                || norm.is_of_attention() && !layer.mixer().attends()
                || *norm == Norm::Hidden && layer.has_experts()
                || norm.is_beside_experts() && !layer.has_dense_beside_experts()
                || *norm == Norm::Query && layer.is_latent() && layer.query_rank() == 0
            {
                continue;
            }
            let len = norm.len(h, layer, spec.qk_norm);
            if tensor.is_empty() {
                each(LayerVector::Norm(*norm), Vector::Ones, len)?;
                continue;
            }
            // llama.cpp writes some norms without the kind.
            let kind = if self.tensor(tensor, "").is_some() { "" } else { "weight" };
            let Some(weight) = self.find(tensor, kind, *presence)? else { continue };
            each(LayerVector::Norm(*norm), vector(weight, len)?, len)?;
            if let Some(bias) = self.tensor(tensor, "bias") {
                each(LayerVector::NormBias(*norm), vector(bias, len)?, len)?;
            }
        }
        for weight in Weight::ALL {
            if let (Some(bias), true) =
                (self.tensor(weight.name(), "bias"), self.presence(weight) != Presence::Never)
            {
                let len = weight.shape(h, layer)[0];
                each(LayerVector::Bias(weight), vector(bias, len)?, len)?;
            }
        }
        for weight in Weight::ALL {
            if let Some((which, len)) = self.scale(weight) {
                each(which, vector(self.needed(weight.name(), "scale")?, len)?, len)?;
            }
        }
        let selection = if layer.has_experts() { spec.routing.selection_bias } else { Presence::Never };
        let others = [
            ("attn_sinks", "weight", spec.sinks, LayerVector::Sinks, layer.heads()),
            ("exp_probs_b", "bias", selection, LayerVector::SelectionBias, h.experts.count),
            ("layer_output_scale", "weight", Presence::Maybe, LayerVector::OutputScale, 1),
        ];
        for (name, kind, presence, which, len) in others {
            if let Some(tensor) = self.find(name, kind, presence)? {
                each(which, vector(tensor, len)?, len)?;
            }
        }
        self.each_vector_of_mixer(each)
    }

    /// Hands those of a mixer with a state to `each`.
    fn each_vector_of_mixer(&self, each: &mut EachOfLayer<'_, 'a>) -> Result<(), Error> {
        let (r, mixer) = (&self.model.hyperparameters.recurrent, self.shape.mixer());
        if !mixer.recurs() {
            return Ok(());
        }
        let convolution = if mixer == Mixer::ShortConvolution { "shortconv.conv" } else { "ssm_conv1d" };
        let taps = self.needed(convolution, "weight")?;
        // By rows: each channel has its taps together.
        matrix(taps, [r.channels(), r.taps])?;
        let len = r.channels() * r.taps;
        each(LayerVector::State(StateVector::Taps), vector(taps, len)?, len)?;
        let (always, maybe, never) = (Presence::Always, Presence::Maybe, Presence::Never);
        let (steps, skips, norm) = match mixer {
            Mixer::Mamba => (never, always, never),
            Mixer::Mamba2 | Mixer::AttentionAndMamba2 => (always, always, self.model.spec.state_norm),
            Mixer::DeltaNet => (always, never, always),
            _ => (never, never, never),
        };
        let of_channels = mixer == Mixer::Mamba;
        let norm_len = if mixer == Mixer::DeltaNet { r.head_dim() } else { r.inner };
        let others = [
            (convolution, "bias", maybe, StateVector::TapsBias, r.channels()),
            ("ssm_dt", "bias", steps, StateVector::StepBias, r.heads),
            ("ssm_d", "", skips, StateVector::Skips, if of_channels { r.inner } else { r.heads }),
            ("ssm_norm", "weight", norm, StateVector::Norm, norm_len),
        ];
        for (name, kind, presence, which, len) in others {
            if let Some(tensor) = self.find(name, kind, presence)? {
                each(LayerVector::State(which), vector(tensor, len)?, len)?;
            }
        }
        if mixer == Mixer::ShortConvolution {
            return Ok(());
        }
        let rates = self.needed("ssm_a", "")?;
        if of_channels {
            matrix(rates, [r.inner, r.state])?;
            // Whole rows, with zeros behind what the file has.
            let len = r.inner.checked_mul(r.row()).ok_or(Error::TooLarge)?;
            return each(LayerVector::State(StateVector::Rates), vector(rates, r.inner * r.state)?, len);
        }
        each(LayerVector::State(StateVector::Rates), vector(rates, r.heads)?, r.heads)
    }
}

/// What is handed a layer's vectors: which it is, itself and its length.
pub(crate) type EachOfLayer<'f, 'a> = dyn FnMut(LayerVector, Vector<'a>, usize) -> Result<(), Error> + 'f;

/// What is handed the vectors of no layer: which it is and itself, or the two from which one is chosen.
pub(crate) type EachGlobal<'f, 'a> = dyn FnMut(GlobalVector, &[Vector<'a>]) -> Result<(), Error> + 'f;

/// A vector of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LayerVector {
    Norm(Norm),
    NormBias(Norm),
    Bias(Weight),
    /// A score for each head.
    Sinks,
    /// What is added to an expert's score while some are chosen.
    SelectionBias,
    /// What an expert's weight is multiplied by.
    ExpertScale,
    /// What the residual stream is multiplied by behind the layer.
    OutputScale,
    /// Of a mixer with a state.
    State(StateVector),
}

/// A vector of a mixer with a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StateVector {
    /// The weights of the convolution: channel by channel in the file, tap by tap in the arena.
    Taps,
    TapsBias,
    /// How fast the state fades, for each number of it or each head.
    Rates,
    /// How much of the input goes past the state.
    Skips,
    /// What is added to time steps.
    StepBias,
    Norm,
}

impl StateVector {
    pub const COUNT: usize = Self::Norm as usize + 1;
}

/// A vector of no layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GlobalVector {
    Norm,
    NormBias,
    EmbeddingNorm,
    EmbeddingNormBias,
    HeadBias,
    InputNorm,
    RopeFactors,
}

/// The matrices `dense_2` and `dense_3`, as sentence-transformers numbers them, behind an embedding of this length.
fn dense<'a>(gguf: &Gguf<'a>, embedding: usize) -> Result<[Option<Matrix<'a>>; 2], Error> {
    let mut width = embedding;
    let mut read = |name, bias: &str| {
        if gguf.tensor(bias).is_some() {
            return Err(Error::StrayTensor(Name::new(bias)));
        }
        let Some(tensor) = gguf.tensor(name) else { return Ok(None) };
        let matrix = matrix(&tensor, [rows(&tensor).clamp(1, MOST_WIDTH), width])?;
        width = matrix.rows();
        Ok(Some(matrix))
    };
    Ok([read("dense_2.weight", "dense_2.bias")?, read("dense_3.weight", "dense_3.bias")?])
}

/// The rows that a tensor has.
fn rows(tensor: &Tensor<'_>) -> usize {
    usize::try_from(shape(tensor)[0]).unwrap_or(0)
}

#[inline(never)]
fn tensor<'a>(gguf: &Gguf<'a>, name: &str) -> Result<Tensor<'a>, Error> {
    gguf.tensor(name).ok_or(Error::MissingTensor(Name::new(name)))
}

#[inline(never)]
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

/// A tensor of `len` values, in whatever dimensions.
#[inline(never)]
fn vector<'a>(tensor: &Tensor<'a>, len: usize) -> Result<Vector<'a>, Error> {
    let [rows, cols] = shape(tensor);
    let expected = match usize::try_from(rows) {
        Ok(rows) if rows > 0 && len.is_multiple_of(rows) && cols == (len / rows) as u64 => [rows, len / rows],
        _ => [1, len],
    };
    let matrix = matrix(tensor, expected)?;
    if matrix.layout() != Layout::Rows {
        let tensor = Name::new(tensor.name);
        return Err(Error::PartialGroup { tensor, rows: expected[0], group: matrix.layout().group() });
    }
    Ok(Vector::Stored { format: matrix.format(), bytes: matrix.bytes() })
}

/// Rows and columns; rows are all dimensions but the first.
#[inline(never)]
fn shape(tensor: &Tensor<'_>) -> [u64; 2] {
    let cols = tensor.dims.row_len();
    let elements = tensor.dims.elements().unwrap_or(0);
    [elements.checked_div(cols).unwrap_or(0), cols]
}
