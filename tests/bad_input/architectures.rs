//! Models that contradict themselves: keys and tensors that the architecture does not take, or misses.

use super::*;

/// A golden llama under another architecture's name, with that architecture's keys, and with some more.
fn llama_as(architecture: &str, more: &[(&str, u32)]) -> Vec<u8> {
    llama_with(architecture, more, None)
}

/// The same, with one more tensor of one number.
fn llama_with(architecture: &str, more: &[(&str, u32)], tensor: Option<&str>) -> Vec<u8> {
    let bytes = fs::read(golden(MODEL)).expect("a golden");
    let gguf = Gguf::parse(&bytes).expect("a GGUF file");
    let mut writer = Writer::new();
    writer.metadata("general.architecture", architecture).expect("a key");
    for (key, value) in gguf.metadata().filter(|(key, _)| *key != "general.architecture") {
        let key = key.replace("llama.", &format!("{architecture}."));
        writer.metadata(&key, value).expect("what the file had");
    }
    for (key, value) in more {
        writer.metadata(&format!("{architecture}.{key}"), *value).expect("a new key");
    }
    for tensor in gguf.tensors() {
        writer.tensor(tensor.name, &tensor.dims, tensor.ty, tensor.data).expect("what the file had");
    }
    let (f32, one) = (TensorType::from_id(0).expect("the first type"), 1f32.to_le_bytes());
    if let Some(name) = tensor {
        writer.tensor(name, &[1], f32, &one).expect("a new tensor");
    }
    writer.finish().expect("a GGUF file")
}

/// Some are like Llama and run; all others lack something, and say what.
#[test]
fn a_llama_that_claims_another_architecture() {
    let folder = Folder::new();
    for spec in stonechat_core::arch::ALL {
        let file = folder.file(&format!("{}.gguf", spec.name), &llama_as(spec.name, &[]));
        let mut command = common::stonechat();
        let output = command.args(["plan", &file]).output().expect("the program starts");
        if !output.status.success() {
            assert_refused(spec.name, &output, 1, &[&file]);
        }
    }
    let missing = |architecture, words: &[&str]| {
        let file = folder.file("missing.gguf", &llama_as(architecture, &[]));
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    missing("qwen2", &["`blk.0.attn_q.bias` is missing"]);
    missing("qwen3", &["`blk.0.attn_q_norm.weight` is missing"]);
    missing("gemma2", &["`blk.0.post_attention_norm.weight` is missing"]);
    missing("gpt2", &["no key `gpt2.attention.layer_norm_epsilon`"]);
    missing("phi3", &["`blk.0.ffn_up.weight` has 256 rows of 256", "ask for 512 rows of 256"]);
    missing("apertus", &["`blk.0.attn_q_norm.weight` is missing"]);
}

/// A factor beside a matrix, or a bias of a matrix that is not there, would change every number.
#[test]
fn a_tensor_that_must_not_be_passed_over() {
    let folder = Folder::new();
    for name in ["blk.0.attn_q.scale", "blk.0.attn_qkv.bias"] {
        let file = folder.file("stray.gguf", &llama_with("llama", &[], Some(name)));
        refused(&["plan", &file], 1, &[&file, name, "changes what the model computes"]);
    }
}

#[test]
fn experts_and_windows_that_cannot_be() {
    let folder = Folder::new();
    let check = |more: &[(&str, u32)], words: &[&str]| {
        let file = folder.file("experts.gguf", &llama_as("llama", more));
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    check(&[("expert_count", 4)], &["no key `llama.expert_used_count`"]);
    check(
        &[("expert_count", 4), ("expert_used_count", 5)],
        &["`llama.expert_used_count` must be at most expert_count"],
    );
    check(
        &[("expert_count", 4), ("expert_used_count", 0)],
        &["`llama.expert_used_count` must be at least 1"],
    );
    check(&[("expert_count", 4), ("expert_used_count", 2)], &["`blk.0.ffn_gate_inp.weight` is missing"]);
    let groups = [("expert_count", 4), ("expert_used_count", 2), ("expert_group_count", 3)];
    check(&groups, &["`llama.expert_group_count` must be a divisor of expert_count"]);
    let score = [("expert_count", 4), ("expert_used_count", 2), ("expert_gating_func", 9)];
    check(&score, &["`llama.expert_gating_func` must be 1 (softmax)"]);
    check(&[("nextn_predict_layers", 1)], &["`llama.nextn_predict_layers` must be less than block_count"]);
    check(
        &[("attention.shared_kv_layers", 1)],
        &["`llama.attention.shared_kv_layers` must be such that earlier layers"],
    );
}

#[test]
fn latent_attention_that_cannot_be() {
    let folder = Folder::new();
    let check = |more: &[(&str, u32)], words: &[&str]| {
        let file = folder.file("latent.gguf", &llama_as("deepseek2", more));
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    check(&[], &["no key `deepseek2.attention.kv_lora_rank`"]);
    check(&[("attention.kv_lora_rank", 0)], &["`deepseek2.attention.kv_lora_rank` must be at least 1"]);
    check(
        &[("attention.kv_lora_rank", 32)],
        &["`deepseek2.rope.dimension_count` must be an even number, less than attention.key_length"],
    );
    let longer = [("attention.kv_lora_rank", 32), ("attention.key_length_mla", 96)];
    check(&longer, &["`blk.0.attn_q.weight` has 256 rows of 256", "ask for 384 rows of 256"]);
    let more_heads = [("attention.kv_lora_rank", 1 << 24), ("attention.key_length_mla", 96)];
    check(&more_heads, &["`deepseek2.attention.head_count` must be such that all heads together"]);
}

#[test]
fn recurrent_states_that_cannot_be() {
    let folder = Folder::new();
    let check = |architecture, more: &[(&str, u32)], words: &[&str]| {
        let file = folder.file("state.gguf", &llama_as(architecture, more));
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    check("lfm2", &[], &["no key `lfm2.shortconv.l_cache`"]);
    check("lfm2", &[("shortconv.l_cache", 1)], &["`lfm2.shortconv.l_cache` must be from 2 to 64"]);
    check("lfm2", &[("shortconv.l_cache", u32::MAX)], &["must be of a size that a model can have"]);
    check("lfm2", &[("shortconv.l_cache", 3)], &["`token_embd_norm.weight` is missing"]);
    let state_space = |inner, state, heads, groups| {
        [
            ("ssm.conv_kernel", 4),
            ("ssm.inner_size", inner),
            ("ssm.state_size", state),
            ("ssm.time_step_rank", heads),
            ("ssm.group_count", groups),
        ]
    };
    check("mamba2", &state_space(512, 0, 8, 1), &["`mamba2.ssm.state_size` must be at least 1"]);
    check("mamba2", &state_space(0, 16, 8, 1), &["`mamba2.ssm.inner_size` must be at least 1"]);
    let most = 1 << 24;
    check("mamba2", &state_space(512, most + 1, 8, 1), &["`mamba2.ssm.state_size` must be of a size"]);
    check("mamba2", &state_space(most, most, most, most), &["`mamba2.ssm.state_size` must be of a size"]);
    check("mamba2", &state_space(500, 16, 8, 1), &["`mamba2.ssm.inner_size` must be a multiple"]);
    check("mamba2", &state_space(512, 16, 8, 3), &["`mamba2.ssm.time_step_rank` must be a multiple"]);
    check("mamba2", &state_space(512, 16, 8, 2), &["`blk.0.ssm_in.weight` is missing"]);
    check("mamba", &state_space(most, most, most, 1), &["`blk.0.ssm_in.weight` is missing"]);
    let interval = [&state_space(512, 16, 8, 2)[..], &[("full_attention_interval", 0)]].concat();
    check("qwen35", &interval, &["`qwen35.full_attention_interval` must be at least 1"]);
    check("qwen35", &interval[..5], &["`blk.0.attn_qkv.weight` is missing"]);
}

#[test]
fn a_tensor_of_a_state_that_is_missing_or_of_another_shape() {
    let folder = Folder::new();
    let check = |name: &str, broken: Broken, words: &[&str]| {
        let file = folder.file(&format!("{name}.gguf"), &broken.0);
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    let model = |name: &str| Broken::new(&format!("architectures/{name}.gguf"));
    let without = |name: &str, tensor: &str| {
        let other = tensor.replace("blk.0", "blk.9");
        check(name, model(name).rename(tensor, &other), &[&format!("`{tensor}` is missing")]);
    };
    without("lfm2", "blk.0.shortconv.conv.weight");
    without("lfm2", "blk.0.shortconv.in_proj.weight");
    without("mamba", "blk.0.ssm_a");
    without("mamba", "blk.0.ssm_dt.bias");
    without("mamba", "blk.0.ssm_x.weight");
    without("falcon_h1", "blk.0.ssm_d");
    without("falcon_h1", "blk.0.ssm_dt.bias");
    without("falcon_h1", "blk.0.attn_q.weight");
    without("qwen35", "blk.0.ssm_norm.weight");
    without("qwen35", "blk.0.ssm_beta.weight");
    let taps = model("mamba").number("mamba.ssm.conv_kernel", 3u32.to_le_bytes());
    check("mamba", taps, &["`blk.0.ssm_conv1d.weight` has 64 rows of 4", "ask for 64 rows of 3"]);
    let state = model("mamba").number("mamba.ssm.state_size", 16u32.to_le_bytes());
    check("mamba", state, &["`blk.0.ssm_x.weight` has 18 rows", "ask for 34"]);
    let groups = model("falcon_h1").number("falcon-h1.ssm.group_count", 4u32.to_le_bytes());
    check("falcon_h1", groups, &["`blk.0.ssm_in.weight` has"]);
}
