"""Writes ../architectures/: a tiny model of every architecture, and what transformers (float32, eager) answers.

    python architectures_golden.py LLAMA_CPP [NAME...]

LLAMA_CPP is a folder with llama.cpp's source (`make.sh` fetches it to target/golden/llama.cpp), whose `conversion`
makes GGUF of what transformers saves: so names, orders and keys are those of files in the wild. `NAME.gguf` and
`NAME.json` are made for all of MODELS, or for those named.

To add an architecture, add a line to MODELS: the class of transformers, and what its configuration needs beside SMALL.

Weights lie on a grid of 16 steps, so that matrices keep every bit in Q4_0 and a file stays small: with activations
in f32 the file is the very model that transformers ran.
"""

import json
import logging
import math
import sys
import tempfile
import types
from dataclasses import dataclass, field
from pathlib import Path

LLAMA_CPP = Path(sys.argv[1] if len(sys.argv) > 1 else "")
if not (LLAMA_CPP / "conversion").is_dir():
    sys.exit(__doc__)
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from conversion import ModelBase, ModelType, get_model_architecture, get_model_class  # noqa: E402

OUT = Path(__file__).parent.parent / "architectures"
VOCABULARY = 64
PROMPT, GREEDY = 24, 16
# A step whose best two logits are closer than this would test luck; another seed is taken.
LEAST_MARGIN = 0.02
# Of 16 greedy ids at least so many are different.
LEAST_VARIETY = 3

TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
SMALL = {
    **TOKENS,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}


@dataclass
class Tiny:
    """A model: its class without `ForCausalLM`, and its configuration beside SMALL."""

    kind: str
    config: dict = field(default_factory=dict)
    # Positions that the session has room for, where that matters; and a prompt that goes beyond.
    context: int = 0
    long: int = 0
    # How the converter shall fuse matrices.
    fuse: dict = field(default_factory=dict)
    # What another converter would have written: changes keys and tensors.
    rewrite: object = None
    # What the converter reads in a configuration beside what transformers saves.
    said: dict = field(default_factory=dict)
    # Renames weights that the converter expects under other names.
    renamed: object = None
    # Whether a layer's matrices hold only two numbers, s and -s, as the converter would make them.
    signs: bool = False
    # Whether the converter shall not look for layers that predict further tokens.
    no_mtp: bool = False
    # Whether the configuration has other names for what SMALL says.
    own_names: bool = False
    model_class: str = "ForCausalLM"


def tiny(kind, **config):
    return Tiny(kind, config)


def yarn(**more):
    return {
        "rope_type": "yarn",
        "type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        **more,
    }


LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + 0.1 * i for i in range(4)],
    "long_factor": [2.0 + 0.5 * i for i in range(4)],
    "original_max_position_embeddings": 48,
}

GRANITE = {
    "embedding_multiplier": 1.5,
    "residual_multiplier": 0.7,
    "logits_scaling": 2.0,
    "attention_multiplier": 0.2,
}

DEEPSEEK = {
    "num_key_value_heads": 4,
    "head_dim": 8,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 8,
    "v_head_dim": 32,
    "q_lora_rank": 32,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
}
GROUPS = {"n_routed_experts": 6, "n_group": 3, "topk_group": 2, "routed_scaling_factor": 2.5}

GEMMA4 = {
    "head_dim": 16,
    "num_key_value_heads": 1,
    "hidden_size_per_layer_input": 0,
    "num_kv_shared_layers": 0,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "per_layer_config": {"1": {"head_dim": 32}},
    "rope_parameters": {
        "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0, "rope_type": "proportional"},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
    },
    "final_logit_softcapping": 30.0,
}

# A session of these has room for keys and values in one layer alone.
ONE_LAYER_ATTENDS = {"num_attention_heads": 2, "num_key_value_heads": 1}
LFM2 = {**ONE_LAYER_ATTENDS, "conv_L_cache": 3, "layer_types": ["conv", "full_attention"]}
# Mamba 2, under the names of models that also attend.
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2}
# Rows of the states are shorter than 16, on purpose.
DELTA_RULE = {
    **ONE_LAYER_ATTENDS,
    "head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
        "mrope_section": [1, 1, 0],
    },
}
DELTA_RULE_MOE = {
    **DELTA_RULE,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}


def one_matrix_for_keys_and_values(keys, tensors):
    """DeepSeek-V2 as it was converted until 2025: `attn_kv_b`, and keys that know nothing of absorbed matrices."""
    for name in ("key_length", "value_length"):
        keys[f"deepseek2.attention.{name}"] = keys.pop(f"deepseek2.attention.{name}_mla")
    keys["deepseek2.attention.head_count_kv"] = keys["deepseek2.attention.head_count"]
    for name in [name for name in tensors if name.endswith("attn_k_b.weight")]:
        k, v = tensors.pop(name), tensors.pop(name.replace("k_b", "v_b"))
        both = np.concatenate([k.transpose(0, 2, 1), v], axis=1)
        tensors[name.replace("k_b", "kv_b")] = both.reshape(-1, both.shape[-1])


def with_a_window(keys, tensors):
    """Mistral's window, which the converter leaves out."""
    keys["llama.attention.sliding_window"] = 8


def joined_norms(weights):
    """StableLM's norms of each head, which models in the wild keep in one tensor."""
    for name in [name for name in weights if name.endswith("layernorm.norms.0.weight")]:
        stem, heads = name.removesuffix("norms.0.weight"), []
        while f"{stem}norms.{len(heads)}.weight" in weights:
            heads.append(weights.pop(f"{stem}norms.{len(heads)}.weight"))
        weights[f"{stem}weight"] = torch.stack(heads)


def names_of_bitnet(weights):
    """Norms as the models that the converter was written for call them."""
    for name in list(weights):
        new = name.replace("mlp.ffn_sub_norm", "mlp.ffn_layernorm")
        weights[new.replace("self_attn.attn_sub_norm", "self_attn.inner_attn_ln")] = weights.pop(name)


MODELS = {
    "apertus": tiny("Apertus"),
    "arcee": tiny("Arcee", head_dim=8),
    "bitnet": Tiny("BitNet", {"hidden_act": "silu", "tie_word_embeddings": True}, signs=True, renamed=names_of_bitnet),
    "cohere": tiny("Cohere", logit_scale=0.5),
    "cohere2": tiny("Cohere2", sliding_window=8, num_hidden_layers=4, head_dim=8, logit_scale=0.5, rotary_pct=1.0),
    "deepseek_v2": tiny("DeepseekV2", **DEEPSEEK),
    "deepseek_v2_groups": tiny(
        "DeepseekV2",
        **{**DEEPSEEK, **GROUPS},
        topk_method="group_limited_greedy",
        rope_parameters=yarn(mscale=0.707, mscale_all_dim=0.707),
    ),
    "deepseek_v2_lite": Tiny(
        "DeepseekV2",
        {**DEEPSEEK, "q_lora_rank": None, "topk_method": "greedy", "n_group": 1, "topk_group": 1},
        rewrite=one_matrix_for_keys_and_values,
    ),
    "deepseek_v3": Tiny(
        "DeepseekV3",
        {
            **DEEPSEEK,
            **GROUPS,
            "norm_topk_prob": True,
            "rope_parameters": yarn(mscale=1.0, mscale_all_dim=1.0),
        },
        said={"scoring_func": "sigmoid"},
    ),
    "ernie4_5": tiny("Ernie4_5", head_dim=8),
    "ernie4_5_moe": tiny(
        "Ernie4_5_Moe",
        intermediate_size=128,
        moe_num_experts=4,
        moe_k=2,
        moe_intermediate_size=32,
        moe_num_shared_experts=2,
        moe_layer_start_index=1,
        moe_layer_interval=1,
    ),
    "exaone4": tiny("Exaone4", head_dim=8, sliding_window=8, sliding_window_pattern=4, num_hidden_layers=4),
    "exaone4_full": tiny("Exaone4", head_dim=8, sliding_window=None, layer_types=["full_attention"] * 2),
    "falcon": tiny(
        "Falcon",
        multi_query=True,
        parallel_attn=True,
        new_decoder_architecture=False,
        bias=False,
        num_kv_heads=1,
    ),
    "falcon_40b": tiny(
        "Falcon",
        multi_query=True,
        parallel_attn=True,
        new_decoder_architecture=True,
        num_kv_heads=2,
        num_ln_in_parallel_attn=2,
        bias=False,
        ffn_hidden_size=128,
    ),
    "falcon_h1": tiny(
        "FalconH1",
        **ONE_LAYER_ATTENDS,
        **MAMBA2,
        num_hidden_layers=1,
        head_dim=16,
        mamba_d_ssm=32,
        mamba_d_head=8,
        mamba_n_groups=2,
        # Powers of two: the converter multiplies matrices with them.
        embedding_multiplier=2.0,
        lm_head_multiplier=0.5,
        key_multiplier=0.5,
        attention_in_multiplier=2.0,
        attention_out_multiplier=0.5,
        ssm_in_multiplier=2.0,
        ssm_out_multiplier=0.5,
        ssm_multipliers=[0.5, 1.0, 0.25, 2.0, 0.5],
        mlp_multipliers=[2.0, 0.5],
    ),
    "gemma": tiny("Gemma", head_dim=16, num_key_value_heads=1),
    "gemma2": tiny(
        "Gemma2",
        head_dim=16,
        sliding_window=8,
        query_pre_attn_scalar=16,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=10.0,
    ),
    "gemma3": tiny(
        "Gemma3",
        head_dim=16,
        num_key_value_heads=1,
        sliding_window=8,
        query_pre_attn_scalar=16,
        num_hidden_layers=6,
    ),
    "gemma4": tiny(
        "Gemma4",
        **{
            **GEMMA4,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "per_layer_config": {"1": {"head_dim": 32}, "3": {"head_dim": 32}},
            "hidden_size_per_layer_input": 32,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": VOCABULARY,
        },
    ),
    "gemma4_moe": tiny(
        "Gemma4",
        **GEMMA4,
        attention_k_eq_v=True,
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=32,
    ),
    "glm4": tiny("Glm4", head_dim=8, partial_rotary_factor=0.5),
    "glm4_moe": tiny(
        "Glm4Moe",
        head_dim=8,
        partial_rotary_factor=0.5,
        attention_bias=True,
        use_qk_norm=True,
        first_k_dense_replace=1,
        moe_intermediate_size=32,
        n_routed_experts=4,
        n_shared_experts=1,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        routed_scaling_factor=1.5,
        n_group=1,
        topk_group=1,
    ),
    "glm4_moe_lite": tiny(
        "Glm4MoeLite",
        **DEEPSEEK,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=1.8,
        num_nextn_predict_layers=0,
    ),
    "gpt2": Tiny(
        "GPT2",
        {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, "n_ctx": 64, "n_inner": 128},
        own_names=True,
        model_class="LMHeadModel",
    ),
    "gpt_oss": tiny(
        "GptOss",
        head_dim=8,
        sliding_window=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        rope_parameters={**yarn(truncate=True), "original_max_position_embeddings": 64},
    ),
    "gptneox": Tiny("GPTNeoX", {"rotary_pct": 0.25, "intermediate_size": 64}, said={"rotary_pct": 0.25}),
    "granite": tiny("Granite", **GRANITE),
    "granitehybrid": Tiny(
        "GraniteMoeHybrid",
        {
            **GRANITE,
            **ONE_LAYER_ATTENDS,
            **MAMBA2,
            "mamba_d_head": 16,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 32,
            "layer_types": ["mamba", "attention"],
        },
        said={"layer_types": ["mamba", "attention"]},
    ),
    "granitemoe": tiny("GraniteMoe", **GRANITE, num_local_experts=4, num_experts_per_tok=2),
    "hunyuan": tiny("HunYuanDenseV1", head_dim=8),
    "lfm2": tiny("Lfm2", **LFM2, block_auto_adjust_ff_dim=False),
    "lfm2_moe": tiny(
        "Lfm2Moe", **LFM2, num_dense_layers=1, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2
    ),
    "llama_bias": tiny("Llama", attention_bias=True, mlp_bias=True),
    "llama_head_dim": tiny("Llama", head_dim=24, num_key_value_heads=1),
    "llama_rope_linear": tiny(
        "Llama", rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    ),
    "llama_rope_yarn": Tiny("Llama", {"rope_parameters": yarn(), "max_position_embeddings": 512}, long=300),
    "llama_tied_rope3": tiny(
        "Llama",
        tie_word_embeddings=True,
        head_dim=32,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "mamba": Tiny(
        "Mamba",
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "conv_kernel": 4, "time_step_rank": 2},
        own_names=True,
    ),
    "mamba2": Tiny(
        "Mamba2",
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 16, "num_heads": 4, "head_dim": 16, "n_groups": 2},
        own_names=True,
    ),
    "minicpm3": tiny(
        "MiniCPM3",
        num_key_value_heads=4,
        kv_lora_rank=32,
        q_lora_rank=32,
        qk_nope_head_dim=24,
        qk_rope_head_dim=8,
        v_head_dim=8,
        scale_emb=12,
        scale_depth=1.4,
        dim_model_base=256,
    ),
    "ministral3": tiny(
        "Ministral3",
        head_dim=8,
        rope_parameters=yarn(mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1),
    ),
    "mistral": Tiny("Mistral", {"sliding_window": 8, "head_dim": 16}, rewrite=with_a_window),
    "mixtral": tiny("Mixtral", num_local_experts=4, num_experts_per_tok=2),
    "mpt": Tiny(
        "Mpt",
        {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
        own_names=True,
        said={"architectures": ["MPTForCausalLM"]},
    ),
    "nemotron": tiny("Nemotron", head_dim=8, partial_rotary_factor=0.5, intermediate_size=64),
    "olmo": tiny("Olmo", clip_qkv=1.0),
    "olmo2": tiny("Olmo2"),
    "olmo3": tiny("Olmo3", num_hidden_layers=4, sliding_window=8),
    "olmoe": tiny("Olmoe", num_experts=4, num_experts_per_tok=2, num_key_value_heads=4),
    "phi2": tiny("Phi", partial_rotary_factor=0.5, num_key_value_heads=4, intermediate_size=128),
    "phi3": Tiny("Phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 48}, context=48, long=60),
    "qwen2": tiny("Qwen2"),
    "qwen2_moe": tiny(
        "Qwen2Moe",
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=64,
    ),
    "qwen3": Tiny("Qwen3", {"head_dim": 16}, fuse={"fuse_qkv": True}),
    "qwen3_moe": tiny(
        "Qwen3Moe",
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        norm_topk_prob=True,
    ),
    "qwen3_next": Tiny("Qwen3Next", DELTA_RULE_MOE, no_mtp=True),
    "qwen35": Tiny("Qwen3_5", DELTA_RULE, no_mtp=True),
    "qwen35_moe": Tiny("Qwen3_5Moe", DELTA_RULE_MOE, no_mtp=True),
    "seed_oss": tiny("SeedOss", head_dim=8, attention_bias=True, attention_out_bias=False),
    "smollm3": tiny("SmolLM3", num_hidden_layers=4, no_rope_layer_interval=4),
    "stablelm": tiny("StableLm", partial_rotary_factor=0.25, use_qkv_bias=True),
    "stablelm_12b": Tiny(
        "StableLm",
        {"partial_rotary_factor": 0.25, "use_parallel_residual": True, "qk_layernorm": True},
        renamed=joined_norms,
    ),
    "starcoder2": tiny("Starcoder2", sliding_window=None, use_bias=True, intermediate_size=64),
}


# What the last norm is called.
LAST_NORMS = (
    "model.norm.weight",
    "ln_f.weight",
    "norm_f.weight",
    "final_layer_norm.weight",
    "final_layernorm.weight",
    "embedding_norm.weight",
)
# Families whose norms add 1 to their weights.
SHIFTED = ("Gemma", "Nemotron", "Qwen3Next", "Qwen3_5")
# Tensors that converters leave in f32.
FLOATS = ("ssm_a", "ssm_d", "ssm_conv1d.weight", "shortconv.conv.weight")


def on_the_grid(rng, shape, deviation):
    """Multiples of a power of two from -8 to 7, with a -8 in every block of 32 along each of the last two axes."""
    step = 2.0 ** round(math.log2(deviation / 4.6))
    grid = rng.integers(-8, 8, shape)
    rows, cols = shape[-2:]
    for plane in grid.reshape(-1, rows, cols):
        for i in range(0, rows, 32):
            for j in range(0, cols, 32):
                tile = plane[i : i + 32, j : j + 32]
                order = rng.permutation(max(tile.shape))
                tile[np.arange(len(order)) % tile.shape[0], order % tile.shape[1]] = -8
    return grid * step


@torch.no_grad()
def randomise(model, rng, signs):
    """Weights large enough that every part of the model moves the logits."""
    shifted = type(model).__name__.startswith(SHIFTED) and not type(model).__name__.startswith("Gemma4")
    state = dict(model.named_parameters())
    state.update((k, b) for k, b in model.named_buffers() if k in model.state_dict() and b.is_floating_point())
    for name, parameter in state.items():
        shape = tuple(parameter.shape)
        if name.endswith(("conv1d.weight", "conv.conv.weight", "A_log")):
            value = 0.5 * rng.standard_normal(shape)
        elif len(shape) > 1 and not ("norm" in name and shape[0] < 32):
            if "embed" in name or "wte" in name or "wpe" in name:
                value = on_the_grid(rng, shape, 0.35)
            elif "lm_head" in name or "embed_out" in name:
                value = on_the_grid(rng, shape, 3.0 / math.sqrt(shape[-1]))
            elif signs:
                value = 0.25 * rng.choice([-1, 1], shape)
            else:
                value = on_the_grid(rng, shape, 1.3 / math.sqrt(min(shape[-2:])))
        else:
            noise = rng.standard_normal(shape)
            if "norm" in name.lower() or "ln_" in name or "scal" in name or ".norm" in name:
                value = 0.2 * noise + (0.0 if name.endswith("bias") else 1.0)
                if name.endswith(LAST_NORMS):
                    # Of both signs: otherwise a head that is the embedding says the last token once more.
                    value *= rng.choice([-1.0, 1.0], shape)
                if shifted and not name.endswith(("bias", "linear_attn.norm.weight")):
                    value -= 1.0
            elif name.endswith(".D"):
                value = 1.0 + 0.3 * noise
            elif "correction" in name or "moe_statics" in name or "expert_bias" in name:
                value = 0.3 * noise
            else:
                value = 0.2 * noise
        parameter.copy_(torch.from_numpy(np.asarray(value, np.float32)))


def fresh(model, seed):
    """A model of this seed."""
    config = {**(TOKENS if model.own_names else SMALL), **model.config}
    kind = model.kind
    config_class = getattr(transformers, f"{kind}TextConfig", None) or getattr(transformers, f"{kind}Config")
    # A copy: some configurations change what they are given.
    config = config_class(**json.loads(json.dumps(config)))
    config._attn_implementation = "eager"
    made = getattr(transformers, kind + model.model_class)(config).float().eval()
    rng = np.random.default_rng(seed)
    randomise(made, rng, model.signs)
    prompt = lambda length: [1, *(int(id) for id in rng.integers(3, VOCABULARY, length - 1))]
    return made, prompt(PROMPT), prompt(model.long) if model.long else None


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def margin(row):
    second, first = np.sort(row)[-2:]
    return float(first - second)


def answers(model, prompt, steps):
    """What a golden holds of a prompt; nothing if a margin is too small."""
    rows = logits_of(model, prompt)
    ids, margins = list(prompt), [margin(row) for row in rows]
    while len(ids) < len(prompt) + steps and min(margins) >= LEAST_MARGIN:
        last = logits_of(model, ids)[-1]
        margins.append(margin(last))
        ids.append(int(np.argmax(last)))
    if min(margins) < LEAST_MARGIN:
        return None
    golden = {
        "prompt": prompt,
        "logits_last_hf": [round(float(logit), 6) for logit in rows[-1]],
        "argmax_per_pos_hf": [int(id) for id in rows.argmax(-1)],
    }
    if steps:
        golden |= {"greedy_hf": ids[len(prompt) :], "greedy_margin_hf": [round(m, 4) for m in margins[len(rows) :]]}
    return golden


def vocabulary(self):
    """Tokens that are only numbers."""
    writer = self.gguf_writer
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"<{id}>".encode() for id in range(VOCABULARY)])
    writer.add_token_scores([float(-id) for id in range(VOCABULARY)])
    special = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    writer.add_token_types(special + [gguf.TokenType.NORMAL] * (VOCABULARY - len(special)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def convert(folder, model, path):
    """llama.cpp's conversion, in f32."""
    hparams = {**ModelBase.load_hparams(folder, False), **model.said}
    kind = get_model_class(get_model_architecture(hparams, ModelType.TEXT), mmproj=False)
    if model.no_mtp:
        kind.no_mtp = True
    with torch.inference_mode():
        instance = kind(folder, gguf.LlamaFileType.ALL_F32, path, hparams=hparams, **model.fuse)
        # Some hand the work to another converter.
        for converter in (instance, getattr(instance, "impl", None)):
            if converter is not None:
                converter.set_vocab = types.MethodType(vocabulary, converter)
        if hasattr(instance, "impl"):
            instance.set_vocab = lambda: instance.impl.set_vocab()
        instance.write()


def stored(array):
    """The smallest of these formats that keeps every bit."""
    array = np.ascontiguousarray(array, dtype=np.float32)
    if array.ndim > 1:
        for kind in (gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.BF16):
            block, _ = gguf.GGML_QUANT_SIZES[kind]
            if array.shape[-1] % block == 0:
                data = gguf.quants.quantize(array, kind)
                if np.array_equal(gguf.quants.dequantize(data, kind).reshape(array.shape), array):
                    return data, kind
    return array, None


def pack(source, target, rewrite):
    """The same file with matrices as small as they can be."""
    reader = gguf.GGUFReader(source)
    keys = {
        name: field.contents()
        for name, field in reader.fields.items()
        if not name.startswith("GGUF.") and not name.startswith("general.") or name == "general.architecture"
    }
    kinds = {name: field.types for name, field in reader.fields.items()}
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    if rewrite:
        rewrite(keys, tensors)
    writer = gguf.GGUFWriter(target, keys.pop("general.architecture"))
    for name, value in keys.items():
        kind = kinds.get(name, [gguf.GGUFValueType.UINT32])
        if kind[0] == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(name, value, kind[0], kind[-1])
        else:
            writer.add_key_value(name, value, kind[0])
    for name, array in tensors.items():
        data, kind = (array, None) if name.endswith(FLOATS) else stored(array)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name, model):
    for seed in range(1000):
        made, prompt, long = fresh(model, 1000 * sum(name.encode()) + seed)
        golden = answers(made, prompt, GREEDY)
        if golden and long:
            golden["long"] = answers(made, long, 0)
        if golden and (not long or golden["long"]) and len(set(golden["greedy_hf"])) >= LEAST_VARIETY:
            break
    else:
        raise RuntimeError(f"{name}: no seed has clear margins")
    if model.context:
        golden = {"context": model.context, **golden}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        made.save_pretrained(folder / "saved", safe_serialization=True)
        # Gemma's converter counts the tokens here.
        tokenizer = {"model": {"vocab": dict.fromkeys(range(VOCABULARY))}, "added_tokens": []}
        (folder / "saved" / "tokenizer.json").write_text(json.dumps(tokenizer))
        if model.renamed:
            file = folder / "saved" / "model.safetensors"
            weights = load_file(file)
            model.renamed(weights)
            save_file(weights, file, metadata={"format": "pt"})
        convert(folder / "saved", model, folder / "f32.gguf")
        OUT.mkdir(exist_ok=True)
        pack(folder / "f32.gguf", OUT / f"{name}.gguf", model.rewrite)
    text = json.dumps(golden, separators=(",", ":"))
    (OUT / f"{name}.json").write_text(text.replace('],"', '],\n"') + "\n")
    size = (OUT / f"{name}.gguf").stat().st_size
    deviation = np.std(golden["logits_last_hf"])
    print(f"{name}: seed {seed}, logits of deviation {deviation:.2f}, {size} bytes", flush=True)


def main():
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    for name in sys.argv[2:] or MODELS:
        make(name, MODELS[name])


if __name__ == "__main__":
    main()
