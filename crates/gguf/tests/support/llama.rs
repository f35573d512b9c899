//! A small file in the shape of a real one: the keys of a `llama` model, a vocabulary with merges, quantized tensors.

use stonechat_gguf::TensorType;
use stonechat_gguf::writer::{ArrayBuffer, Writer};

/// A model of one layer. `version` is 2 or 3.
pub fn llama(version: u32, alignment: u32) -> Vec<u8> {
    const WIDTH: u64 = 32;
    let tokens: Vec<String> =
        (0..64).map(|i| if i < 3 { format!("<|{i}|>") } else { format!("tok{i}") }).collect();
    let vocabulary = tokens.len() as u64;
    let merges = ["t o", "to k", "tok 3"];

    let mut writer = Writer::with_version(version).unwrap();
    let mut set = |key: &str, value: u32| writer.metadata(key, value).unwrap();
    set("general.alignment", alignment);
    set("general.file_type", 3);
    set("llama.block_count", 1);
    set("llama.context_length", 256);
    set("llama.embedding_length", 32);
    set("llama.attention.head_count", 4);
    set("tokenizer.ggml.bos_token_id", 1);
    writer.metadata("general.architecture", "llama").unwrap();
    writer.metadata("llama.rope.freq_base", 10_000.0_f32).unwrap();
    writer.metadata("llama.attention.layer_norm_rms_epsilon", 1e-5_f64).unwrap();
    writer.metadata("tokenizer.ggml.model", "gpt2").unwrap();
    writer.metadata("tokenizer.ggml.add_bos_token", false).unwrap();
    writer.metadata("split.count", 1_u16).unwrap();
    let byte_token: &[u8] = b"\xff\xfe";
    let bytes = tokens.iter().map(String::as_bytes).chain([byte_token]);
    writer.metadata("tokenizer.ggml.tokens", &ArrayBuffer::new(bytes)).unwrap();
    writer.metadata("tokenizer.ggml.scores", &ArrayBuffer::new(tokens.iter().map(|_| 0.5_f32))).unwrap();
    writer.metadata("tokenizer.ggml.token_type", &ArrayBuffer::new(tokens.iter().map(|_| 1_i32))).unwrap();
    writer.metadata("tokenizer.ggml.merges", &ArrayBuffer::new(merges)).unwrap();
    writer.metadata("test.mask", &ArrayBuffer::new([true, false, true])).unwrap();
    let rows = [ArrayBuffer::new([1_i64, -2]), ArrayBuffer::new([3_i64])];
    writer.metadata("test.nested", &ArrayBuffer::new(&rows)).unwrap();

    let shapes = [
        ("token_embd.weight", vec![WIDTH, vocabulary], TensorType::Q8_0),
        ("blk.0.attn_norm.weight", vec![WIDTH], TensorType::F32),
        ("blk.0.attn_q.weight", vec![WIDTH, WIDTH], TensorType::Q4_1),
        ("blk.0.attn_k.weight", vec![WIDTH, WIDTH], TensorType::Q4_0),
        ("blk.0.ffn_gate_exps.weight", vec![WIDTH, 2, 3], TensorType::F16),
        ("output_norm.weight", vec![WIDTH], TensorType::F32),
    ];
    let data: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(_, dims, ty)| {
            let elements: u64 = dims.iter().product();
            let bytes = elements as usize / ty.block_len() * ty.block_bytes();
            (0..bytes).map(|i| i as u8).collect()
        })
        .collect();
    for ((name, dims, ty), data) in shapes.iter().zip(&data) {
        writer.tensor(name, dims, *ty, data).unwrap();
    }
    writer.finish().unwrap()
}
