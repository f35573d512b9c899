"""Writes ../models/ of mixers that carry a state: seeded tiny models as GGUF, and what transformers answers.

One each of a short convolution, Mamba, Mamba 2 beside attention, and the gated delta rule, with the keys and tensors that
llama.cpp's converter writes. Prompts, answers and the check by llama.cpp are those of `models_golden.py`.
"""

import math

import gguf
import numpy as np
import torch
import transformers

import llamacpp
import vocabularies
from models_golden import CONTEXT, LEAST_MARGIN, OUT, agree, answer, bf16, floats, greedy, save

COMMON = dict(
    vocab_size=vocabularies.SIZE,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=CONTEXT,
    rms_norm_eps=1e-5,
    norm_eps=1e-5,
    layer_norm_epsilon=1e-5,
    tie_word_embeddings=True,
    attn_implementation="eager",
)
# What differs. Rows of the states of Mamba and of the delta rule are shorter than 16 on purpose.
MODELS = {
    "lfm2": ("Lfm2", dict(block_auto_adjust_ff_dim=False, conv_L_cache=3, layer_types=["conv", "full_attention"])),
    "mamba": ("Mamba", dict(intermediate_size=64, state_size=8, conv_kernel=4, time_step_rank=2)),
    "falcon_h1": (
        "FalconH1",
        dict(
            num_hidden_layers=1,
            head_dim=16,
            mamba_d_ssm=32,
            mamba_n_heads=4,
            mamba_d_head=8,
            mamba_n_groups=2,
            mamba_d_state=16,
            mamba_d_conv=4,
            mamba_rms_norm=False,
            **{f"{part}_multiplier": 1.0 for part in ("embedding", "lm_head", "key", "attention_in", "attention_out")},
            ssm_in_multiplier=1.0,
            ssm_out_multiplier=1.0,
            ssm_multipliers=[1.0] * 5,
            mlp_multipliers=[1.0, 1.0],
        ),
    ),
    "qwen35": (
        "Qwen3_5",
        dict(
            head_dim=16,
            linear_conv_kernel_dim=4,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            layer_types=["linear_attention", "full_attention"],
        ),
    ),
}
CONFIGS = {"Qwen3_5": "Qwen3_5TextConfig"}


def random_model(family, more, seed):
    config = getattr(transformers, CONFIGS.get(family, family + "Config"))(**{**COMMON, **more})
    model = getattr(transformers, family + "ForCausalLM")(config).float().eval()
    rng = np.random.default_rng(seed)
    for name, parameter in model.named_parameters():
        noise = rng.standard_normal(tuple(parameter.shape))
        # Qwen3.5 adds 1 to the weights of its norms, but for the gated one.
        is_norm = "norm" in name and name.endswith("weight")
        offset = family == "Qwen3_5" and "linear_attn.norm" not in name
        if is_norm:
            value = (0.0 if offset else 1.0) + 0.2 * noise
        elif name.endswith("A_log"):
            value = 0.5 * noise
        elif name.endswith(".D"):
            value = 1.0 + 0.3 * noise
        elif name.endswith("bias"):
            value = 0.3 * noise
        elif "conv" in name and parameter.ndim == 3:
            value = 0.5 * noise
        elif "embed" in name:
            value = noise * 2.0 / math.sqrt(parameter.shape[1])
        else:
            value = noise * 1.4 / math.sqrt(parameter.shape[1])
        with torch.no_grad():
            value = bf16(value) if parameter.ndim == 2 and not name.endswith("A_log") else value.astype(np.float32)
            parameter.copy_(torch.from_numpy(value))
    return model


NAMES = {
    "embed_tokens": "token_embd",
    "embeddings": "token_embd",
    "norm_f": "output_norm",
    "norm": "output_norm",
    "final_layernorm": "output_norm",
    "embedding_norm": "token_embd_norm",
    "lm_head": "output",
}
LAYER_NAMES = {
    "operator_norm": "attn_norm",
    "input_layernorm": "attn_norm",
    "norm": "attn_norm",
    "ffn_norm": "ffn_norm",
    "pre_ff_layernorm": "ffn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "conv.conv": "shortconv.conv",
    "conv.in_proj": "shortconv.in_proj",
    "conv.out_proj": "shortconv.out_proj",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.out_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm",
    "in_proj": "ssm_in",
    "x_proj": "ssm_x",
    "dt_proj": "ssm_dt",
    "out_proj": "ssm_out",
    "conv1d": "ssm_conv1d",
    "linear_attn.in_proj_qkv": "attn_qkv",
    "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.in_proj_b": "ssm_beta",
    "linear_attn.in_proj_a": "ssm_alpha",
    "linear_attn.conv1d": "ssm_conv1d",
    "linear_attn.out_proj": "ssm_out",
    "linear_attn.norm": "ssm_norm",
    **{f"{mlp}.{part}_proj": f"ffn_{part}" for mlp in ("mlp", "feed_forward") for part in ("gate", "up", "down")},
}


def in_turn(rows, config, width, first=0):
    """Value heads in the order that ggml's repeat gives: the first of each key head, then the second, ..."""
    keys, each = config.linear_num_key_heads, config.linear_num_value_heads // config.linear_num_key_heads
    values = rows[first:].reshape(keys, each, width, *rows.shape[1:])
    return np.concatenate([rows[:first], np.swapaxes(values, 0, 1).reshape(rows[first:].shape)])


def tensors(model, family):
    """The model's tensors under GGUF's names and in the layouts of llama.cpp's converter."""
    config = model.config
    for name, parameter in model.named_parameters():
        rows = parameter.detach().numpy()
        part = name.removeprefix("model.").removeprefix("backbone.")
        part = part.replace(".mixer.", ".").replace(".mamba.", ".")
        if "conv1d.weight" in part or "conv.conv.weight" in part:
            rows = rows[:, 0]
        if family == "Qwen3_5":
            if part.endswith("norm.weight") and "linear_attn.norm" not in part:
                rows = rows + np.float32(1.0)
            width = config.linear_value_head_dim
            shared = 2 * config.linear_num_key_heads * config.linear_key_head_dim
            if "in_proj_qkv" in part or "conv1d" in part:
                rows = in_turn(rows, config, width, shared)
            elif "in_proj_z" in part:
                rows = in_turn(rows, config, width)
            elif "linear_attn.out_proj" in part:
                rows = in_turn(rows.T, config, width).T
            elif any(end in part for end in ("in_proj_a", "in_proj_b", "A_log", "dt_bias")):
                rows = in_turn(rows, config, 1)
        match part.split("."):
            case ["layers", layer, *_, "A_log"]:
                rates = -torch.exp(torch.from_numpy(rows.copy())).numpy()
                yield f"blk.{layer}.ssm_a", rates if rates.ndim == 2 or family == "Qwen3_5" else rates[:, None]
            case ["layers", layer, *_, "D"]:
                yield f"blk.{layer}.ssm_d", rows if family == "Mamba" else rows[:, None]
            case ["layers", layer, *_, "dt_bias"]:
                yield f"blk.{layer}.ssm_dt.bias", rows
            case ["layers", layer, "pre_ff_layernorm", _]:
                yield f"blk.{layer}.ffn_norm", rows
            case ["layers", layer, *part, kind]:
                yield f"blk.{layer}.{LAYER_NAMES['.'.join(part)]}.{kind}", rows
            case [part, kind]:
                yield f"{NAMES[part]}.{kind}", rows
            case _:
                raise ValueError(name)


def write(path, name, family, model, vocabulary):
    config = model.config
    architecture = {"FalconH1": "falcon-h1", "Qwen3_5": "qwen35"}.get(family, family.lower())
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"golden {name}")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_layer_norm_rms_eps(1e-5 if family != "Qwen3_5" else config.rms_norm_eps)
    writer.add_vocab_size(vocabularies.SIZE)
    if family == "Mamba":
        writer.add_feed_forward_length(0)
        writer.add_head_count(0)
        writer.add_ssm_inner_size(2 * config.hidden_size)
        writer.add_ssm_conv_kernel(config.conv_kernel)
        writer.add_ssm_state_size(config.state_size)
        writer.add_ssm_time_step_rank(config.time_step_rank)
        writer.add_ssm_dt_b_c_rms(False)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if family == "Lfm2":
        kinds = config.layer_types
        writer.add_head_count_kv([0 if kind == "conv" else config.num_key_value_heads for kind in kinds])
        writer.add_shortconv_l_cache(config.conv_L_cache)
    if family in ("FalconH1", "Qwen3_5"):
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if family == "FalconH1":
        writer.add_ssm_inner_size(config.mamba_d_ssm)
        writer.add_ssm_conv_kernel(config.mamba_d_conv)
        writer.add_ssm_state_size(config.mamba_d_state)
        writer.add_ssm_time_step_rank(config.mamba_n_heads)
        writer.add_ssm_group_count(config.mamba_n_groups)
    if family == "Qwen3_5":
        writer.add_ssm_inner_size(config.linear_num_value_heads * config.linear_value_head_dim)
        writer.add_ssm_conv_kernel(config.linear_conv_kernel_dim)
        writer.add_ssm_state_size(config.linear_key_head_dim)
        writer.add_ssm_time_step_rank(config.linear_num_value_heads)
        writer.add_ssm_group_count(config.linear_num_key_heads)
        writer.add_uint32("qwen35.full_attention_interval", 2)
        factor = config.rope_parameters.get("partial_rotary_factor", 0.25)
        writer.add_rope_dimension_count(int(config.head_dim * factor))
        writer.add_rope_dimension_sections([1, 1, 0, 0])
    vocabulary.write(writer)
    for tensor, rows in tensors(model, family):
        writer.add_tensor(tensor, np.ascontiguousarray(rows, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name, family, more, vocabulary):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    first_plain = vocabulary.types.index(vocabularies.NORMAL)
    prompt = [vocabulary.bos, *(int(i) for i in rng.integers(first_plain, vocabularies.SIZE, 23))]
    for seed in range(1, 100):
        model = random_model(family, more, seed)
        ids, margins = greedy(lambda ids: answer(model, ids), prompt)
        if min(margins) >= LEAST_MARGIN and len(set(ids)) >= 6:
            break
    else:
        raise RuntimeError(f"{name}: no seed gives clear greedy steps")
    print(f"{name}: seed {seed}, least margin {min(margins):.3f}, {len(set(ids))} different ids")
    logits = answer(model, prompt)
    path = folder / f"{name}-f32.gguf"
    write(path, name, family, model, vocabulary)
    golden = {
        "name": name,
        "about": f"{family}ForCausalLM",
        "seed": seed,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "llamacpp": llamacpp.VERSION,
        "max_abs_diff_all": agree("all positions", logits, llamacpp.File(path).logits(prompt), 2e-4),
        "prompt": prompt,
        "logits_last_hf": floats(logits[-1]),
        "argmax_per_pos_hf": [int(i) for i in logits.argmax(1)],
        "greedy_hf": ids,
        "greedy_margin_hf": floats(margins),
    }
    save(folder / f"{name}.json", golden)


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    vocabulary = vocabularies.sentencepiece_bpe()
    for name, (family, more) in MODELS.items():
        make(name, family, more, vocabulary)


if __name__ == "__main__":
    main()
