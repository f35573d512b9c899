//! What a record says about a model: its kind, its size, who it is, and what its tokens take.

use sha2::{Digest, Sha256};
use stonechat_core::{Cost, Model, Plan};
use stonechat_gguf::{Gguf, Tensor};
use stonechat_kernels::Layout;

use super::work::Work;

/// A model as the records name it.
#[derive(Clone, Debug)]
pub struct ModelFacts {
    /// Architecture, size and quantization: `llama 135M Q4_1`.
    pub kind: String,
    /// The bytes of all tensors.
    pub bytes: u64,
    /// The number of all weights.
    pub params: u64,
    /// SHA-256 over the model's vectors: who it is, in whatever format or layout its matrices are.
    pub id: String,
    /// The longest context that it was made for.
    pub context: usize,
    /// `packed` if matrices lie in groups of rows, else `plain`.
    pub layout: &'static str,
    /// What its tokens take.
    pub cost: Cost,
}

impl ModelFacts {
    pub fn of(model: &Model<'_>, cost: Cost) -> Self {
        let gguf = model.gguf();
        let params: u64 = gguf.tensors().filter_map(|tensor| tensor.dims.elements()).sum();
        let architecture = model.spec().name;
        let is_packed = gguf.tensors().any(|tensor| format(&tensor).1 != Layout::Rows);
        Self {
            kind: format!("{architecture} {} {}", rounded(params), quantization(gguf)),
            bytes: gguf.tensors().map(|tensor| tensor.data.len() as u64).sum(),
            params,
            id: id(gguf),
            context: model.hyperparameters().context,
            layout: if is_packed { "packed" } else { "plain" },
            cost,
        }
    }

    /// Bytes that the work takes from memory: weights and recurrent state once for each batch, and each time the keys and
    /// values so far.
    pub fn bytes_read(&self, work: Work, plan: &Plan) -> f64 {
        let limits = plan.limits();
        let cache = plan.regions().iter().filter(|region| ["keys", "values"].contains(&region.name));
        let position_bytes = cache.map(|region| region.bytes).sum::<usize>() as f64 / limits.context as f64;
        // The positions that a batch attends to end with its own last.
        let batch = work.step().min(limits.batch);
        let ends = (0..work.tokens()).step_by(batch).map(|done| work.depth + work.tokens().min(done + batch));
        let weights = self.cost.bytes(work.step() as u64, limits.batch as u64);
        let state = plan.regions().iter().filter(|region| region.name == "recurrent state");
        let state = state.map(|region| region.bytes).sum::<usize>() as f64 * ends.len() as f64;
        (work.tokens() / work.step()) as f64 * weights as f64
            + position_bytes * ends.sum::<usize>() as f64
            + state
    }

    /// Products of int8 that the work takes.
    pub fn products(&self, work: Work) -> f64 {
        (work.tokens() / work.step()) as f64 * self.cost.products(work.step() as u64) as f64
    }
}

/// Norms and biases differ between any two trainings, and stay as they are when matrices are quantized or packed.
fn id(gguf: &Gguf<'_>) -> String {
    let mut vectors: Vec<Tensor<'_>> =
        gguf.tensors().filter(|tensor| tensor.dims.elements() == Some(tensor.dims.row_len())).collect();
    vectors.sort_by_key(|tensor| tensor.name);
    let mut hash = Sha256::new();
    for tensor in vectors {
        hash.update(tensor.name);
        hash.update([0]);
        hash.update(tensor.data);
    }
    format!("{:x}", hash.finalize())
}

/// A number of weights in the way models are named.
fn rounded(params: u64) -> String {
    let params = params as f64;
    match params {
        1e10.. => format!("{:.0}B", params / 1e9),
        1e9.. => format!("{:.1}B", params / 1e9),
        1e6.. => format!("{:.0}M", params / 1e6),
        _ => format!("{:.0}K", params / 1e3),
    }
}

/// What the file says (`general.file_type`, llama.cpp's `llama_ftype`), else the format that most bytes are in.
fn quantization(gguf: &Gguf<'_>) -> String {
    let said =
        gguf.opt_u32("general.file_type").ok().flatten().and_then(|number| {
            FILE_TYPES.iter().find(|(n, _)| *n == number).map(|(_, name)| (*name).to_owned())
        });
    said.unwrap_or_else(|| {
        let mut bytes: Vec<(&str, usize)> = Vec::new();
        for tensor in gguf.tensors() {
            let name = format(&tensor).0;
            match bytes.iter_mut().find(|(other, _)| *other == name) {
                Some((_, sum)) => *sum += tensor.data.len(),
                None => bytes.push((name, tensor.data.len())),
            }
        }
        bytes.into_iter().max_by_key(|(_, sum)| *sum).map_or_else(String::new, |(name, _)| name.to_owned())
    })
}

/// The name of a tensor's format, and how its rows lie.
fn format(tensor: &Tensor<'_>) -> (&'static str, Layout) {
    match Layout::of_id(tensor.ty.id()) {
        Some((format, layout)) => (format.as_str(), layout),
        None => (tensor.ty.name(), Layout::Rows),
    }
}

/// `enum llama_ftype` of llama.cpp's llama.h, with the names that llama-bench prints.
const FILE_TYPES: [(u32, &str); 35] = [
    (0, "all F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K - Medium"),
    (11, "Q3_K - Small"),
    (12, "Q3_K - Medium"),
    (13, "Q3_K - Large"),
    (14, "Q4_K - Small"),
    (15, "Q4_K - Medium"),
    (16, "Q5_K - Small"),
    (17, "Q5_K - Medium"),
    (18, "Q6_K"),
    (19, "IQ2_XXS - 2.0625 bpw"),
    (20, "IQ2_XS - 2.3125 bpw"),
    (21, "Q2_K - Small"),
    (22, "IQ3_XS - 3.3 bpw"),
    (23, "IQ3_XXS - 3.0625 bpw"),
    (24, "IQ1_S - 1.5625 bpw"),
    (25, "IQ4_NL - 4.5 bpw"),
    (26, "IQ3_S - 3.4375 bpw"),
    (27, "IQ3_S mix - 3.66 bpw"),
    (28, "IQ2_S - 2.5 bpw"),
    (29, "IQ2_M - 2.7 bpw"),
    (30, "IQ4_XS - 4.25 bpw"),
    (31, "IQ1_M - 1.75 bpw"),
    (32, "BF16"),
    (36, "TQ1_0 - 1.69 bpw ternary"),
    (37, "TQ2_0 - 2.06 bpw ternary"),
    (38, "MXFP4 MoE"),
    (39, "NVFP4"),
    (40, "Q1_0"),
];
