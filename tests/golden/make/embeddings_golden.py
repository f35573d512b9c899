"""Writes ../models/ for models that embed: seeded tiny ones as GGUF, and what transformers (float32, eager) answers.

    embeddings_golden.py [NAME...]

All, or those named: for each `<name>/<name>-BF16.gguf` and `<name>/<name>.json`. All have one WordPiece vocabulary of this
script's making, whose ids come from the library `tokenizers`. Two that transformers does not have are others with parts
put in: Jina's second BERT is its BERT with a gate and with ALiBi on both sides given as the mask, Nomic's with experts is
Nomic's without a gate, its second layer with experts. EmbeddingGemma's dense layers are two products here.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

OUT = Path(__file__).parent.parent / "models"
CONTEXT, HIDDEN, FFN, HEADS, EPSILON = 320, 32, 64, 4, 1e-6
EXPERTS, EXPERTS_USED = 4, 2
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = "the a of and to in is it that was for on are as with his they at be this from have or by one had not but what all"
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS), *".,!?'-", *WORDS.split(), "##ing", "##ed", "##er", "##s"]
VOCABULARY = list(dict.fromkeys(VOCABULARY))
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "a",
    "What was it that they had, and was it one of his?",
    "This is a longer text, whose tokens are many more than a window of eight: it goes on and on, for all it is worth!",
]
MEAN, CLS = gguf.PoolingType.MEAN, gguf.PoolingType.CLS


@dataclass
class Golden:
    """A model, and how its tensors are called in a GGUF."""

    name: str
    arch: str
    about: str
    config: object
    model: type
    names: dict  # parts of layers
    globals: dict  # what belongs to no layer
    pooling: gguf.PoolingType = MEAN
    layers: str = "layers"
    has_pooler: bool = True  # in transformers, as a choice
    dense: bool = False
    alibi: bool = False
    experts: bool = False
    # A decoder of transformers, whose tokens are let see those behind them; pairs that rotate lie side by side in its file.
    looks_ahead: bool = False


common = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": HIDDEN,
    "intermediate_size": FFN,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "attn_implementation": "eager",
}
ATTENTION = {f"self_attn.{c}_proj": f"attn_{n}" for c, n in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "output"))}
GATED = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
BERT = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
BERT_GLOBALS = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
MODELS = [
    Golden(
        "bert",
        "bert",
        "norms behind sums, learned positions, token types, erf GELU, biases everywhere",
        transformers.BertConfig(num_hidden_layers=2, layer_norm_eps=EPSILON, **common),
        transformers.BertModel,
        BERT,
        BERT_GLOBALS,
        layers="encoder.layer",
    ),
    Golden(
        "nomic_bert",
        "nomic-bert",
        "BERT's norms with rotation and a gate, no biases",
        transformers.NomicBertConfig(num_hidden_layers=2, layer_norm_eps=EPSILON, **common),
        transformers.NomicBertModel,
        ATTENTION
        | GATED
        | {"post_attention_layernorm": "attn_output_norm", "post_mlp_layernorm": "layer_output_norm"},
        BERT_GLOBALS,
    ),
    Golden(
        "nomic_bert_moe",
        "nomic-bert-moe",
        "every second layer with experts without gates",
        transformers.NomicBertConfig(num_hidden_layers=2, layer_norm_eps=EPSILON, **common),
        transformers.NomicBertModel,
        ATTENTION
        | {
            "mlp.up": "ffn_up",
            "mlp.down": "ffn_down",
            "mlp.router": "ffn_gate_inp",
            "mlp.ups": "ffn_up_exps",
            "mlp.downs": "ffn_down_exps",
            "post_attention_layernorm": "attn_output_norm",
            "post_mlp_layernorm": "layer_output_norm",
        },
        BERT_GLOBALS,
        experts=True,
    ),
    Golden(
        "jina_bert_v2",
        "jina-bert-v2",
        "BERT with ALiBi on both sides and a GELU gate",
        transformers.BertConfig(num_hidden_layers=2, layer_norm_eps=EPSILON, **common),
        transformers.BertModel,
        BERT | {"intermediate.gate": "ffn_gate"},
        {name: tensor for name, tensor in BERT_GLOBALS.items() if tensor != "position_embd"},
        layers="encoder.layer",
        alibi=True,
    ),
    Golden(
        "modern_bert",
        "modern-bert",
        "windows that look ahead, two ropes, GEGLU in one matrix, no first norm; the first token's vector",
        transformers.ModernBertConfig(
            num_hidden_layers=3,
            global_attn_every_n_layers=2,
            norm_eps=EPSILON,
            local_attention=8,
            bos_token_id=2,
            eos_token_id=3,
            cls_token_id=2,
            sep_token_id=3,
            **common,
        ),
        transformers.ModernBertModel,
        {
            "attn.Wqkv": "attn_qkv",
            "attn.Wo": "attn_output",
            "mlp.Wi": "ffn_up",
            "mlp.Wo": "ffn_down",
            "attn_norm": "attn_norm",
            "mlp_norm": "ffn_norm",
        },
        {"embeddings.tok_embeddings": "token_embd", "embeddings.norm": "token_embd_norm", "final_norm": "output_norm"},
        pooling=CLS,
        has_pooler=False,
    ),
    Golden(
        "embedding_gemma",
        "gemma-embedding",
        "Gemma 3 that looks ahead, within windows or not, and two dense layers behind the mean",
        transformers.Gemma3TextConfig(
            num_hidden_layers=3,
            rms_norm_eps=EPSILON,
            num_key_value_heads=1,
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=8,
            use_bidirectional_attention=True,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            **common,
        ),
        transformers.Gemma3TextModel,
        ATTENTION
        | GATED
        | {
            "self_attn.q_norm": "attn_q_norm",
            "self_attn.k_norm": "attn_k_norm",
            "input_layernorm": "attn_norm",
            "post_attention_layernorm": "post_attention_norm",
            "pre_feedforward_layernorm": "ffn_norm",
            "post_feedforward_layernorm": "post_ffw_norm",
        },
        {"embed_tokens": "token_embd", "norm": "output_norm"},
        has_pooler=False,
        dense=True,
    ),
    Golden(
        "jina_bert_v3",
        "jina-bert-v3",
        "BERT with rotation",
        transformers.JinaEmbeddingsV3Config(num_hidden_layers=2, layer_norm_eps=EPSILON, **common),
        transformers.JinaEmbeddingsV3Model,
        ATTENTION
        | {
            "mlp.fc1": "ffn_up",
            "mlp.fc2": "ffn_down",
            "post_attention_layernorm": "attn_output_norm",
            "post_mlp_layernorm": "layer_output_norm",
        },
        BERT_GLOBALS,
    ),
    Golden(
        "eurobert",
        "eurobert",
        "Llama that looks ahead",
        transformers.EuroBertConfig(num_hidden_layers=2, rms_norm_eps=EPSILON, num_key_value_heads=2, **common),
        transformers.EuroBertModel,
        ATTENTION | GATED | {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
        {"embed_tokens": "token_embd", "norm": "output_norm"},
        has_pooler=False,
    ),
    Golden(
        "llama_embed",
        "llama-embed",
        "Llama itself that looks ahead: rows of q and k reordered",
        transformers.LlamaConfig(num_hidden_layers=2, rms_norm_eps=EPSILON, num_key_value_heads=2, **common),
        transformers.LlamaModel,
        ATTENTION | GATED | {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
        {"embed_tokens": "token_embd", "norm": "output_norm"},
        has_pooler=False,
        looks_ahead=True,
    ),
]


class Gated(torch.nn.Module):
    """BERT's feed-forward part, up to its last matrix, with a gate."""

    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Linear(HIDDEN, FFN, bias=False)
        self.dense = torch.nn.Linear(HIDDEN, FFN, bias=False)

    def forward(self, x):
        return torch.nn.functional.gelu(self.gate(x)) * self.dense(x)


class Plain(torch.nn.Module):
    """A feed-forward part without gate."""

    def __init__(self):
        super().__init__()
        self.up = torch.nn.Linear(HIDDEN, FFN)
        self.down = torch.nn.Linear(FFN, HIDDEN)

    def forward(self, x):
        return self.down(torch.nn.functional.gelu(self.up(x)))


class Stack(torch.nn.Module):
    """The matrices of all experts."""

    def __init__(self, *shape):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(EXPERTS, *shape))


class Experts(torch.nn.Module):
    """The best two of some feed-forward parts, weighted by a softmax over all."""

    def __init__(self):
        super().__init__()
        self.router = torch.nn.Linear(HIDDEN, EXPERTS, bias=False)
        self.ups, self.downs = Stack(FFN, HIDDEN), Stack(HIDDEN, FFN)

    def forward(self, x):
        weights, ids = self.router(x).softmax(-1).topk(EXPERTS_USED)
        hidden = torch.nn.functional.gelu(torch.einsum("bte,xfe->btxf", x, self.ups.weight))
        outputs = torch.einsum("btxf,xef->btxe", hidden, self.downs.weight)
        chosen = outputs.gather(2, ids[..., None].expand(*ids.shape, HIDDEN))
        return (chosen * weights[..., None]).sum(2)


def random_model(golden, seed):
    """Weights large enough that every part of the model moves the vectors; matrices are exact in bf16."""
    rng = np.random.default_rng(seed)
    model = golden.model(golden.config, **({"add_pooling_layer": False} if golden.has_pooler else {}))
    if golden.alibi:
        for layer in model.encoder.layer:
            layer.intermediate = Gated()
    if golden.experts:
        model.layers[0].mlp, model.layers[1].mlp = Plain(), Experts()
    model = model.float().eval()
    for name, parameter in model.named_parameters():
        noise = rng.standard_normal(tuple(parameter.shape))
        if parameter.ndim > 1:
            gain = 1.0 if "embed" in name.lower() else 1.4 / np.sqrt(parameter.shape[-1])
            value = torch.from_numpy((noise * gain).astype(np.float32)).bfloat16().float()
        elif name.endswith("bias"):
            value = torch.from_numpy((0.3 * noise).astype(np.float32))
        else:
            # What Gemma keeps is what is added to 1.
            around = 0.0 if golden.dense else 1.0
            value = torch.from_numpy((around + 0.2 * noise).astype(np.float32))
        with torch.no_grad():
            parameter.copy_(value)
    if golden.alibi:
        with torch.no_grad():
            model.embeddings.position_embeddings.weight.zero_()
    dense = [rng.standard_normal((48, HIDDEN)) / 6, rng.standard_normal((24, 48)) / 7] if golden.dense else []
    dense = [torch.from_numpy(matrix.astype(np.float32)).bfloat16().float().numpy() for matrix in dense]
    return model, dense


@torch.no_grad()
def vectors(golden, model, ids):
    """A row for each token."""
    more = {}
    if golden.alibi:
        distance = np.abs(np.subtract.outer(np.arange(len(ids)), np.arange(len(ids))))
        slopes = 2.0 ** (-8 * np.arange(1, HEADS + 1) / HEADS)
        mask = torch.from_numpy((-slopes[:, None, None] * distance).astype(np.float32))
        more["attention_mask"] = mask[None]
    if golden.looks_ahead:
        more["attention_mask"] = torch.zeros(1, 1, len(ids), len(ids))
    return model(torch.tensor([ids]), **more).last_hidden_state[0].float().numpy()


def pool(rows, pooling, dense):
    """The text's vector, not normalised."""
    x = {"mean": rows.mean(0, dtype=np.float64), "cls": rows[0], "last": rows[-1]}[pooling]
    for matrix in dense:
        x = matrix @ x
    return x


def tokenizer():
    result = Tokenizer(models.WordPiece(vocab={t: i for i, t in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    result.normalizer = normalizers.BertNormalizer(lowercase=True)
    result.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    result.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return result


def tensors(golden, model, dense):
    """The tensors under GGUF's names."""
    for name, parameter in model.named_parameters():
        rows = parameter.detach().numpy()
        name, kind = name.rsplit(".", 1)
        if name in golden.globals:
            tensor = golden.globals[name]
        elif name.startswith(golden.layers + "."):
            number, part = name.removeprefix(golden.layers + ".").split(".", 1)
            tensor = f"blk.{number}.{golden.names[part]}"
        elif golden.alibi and name == "embeddings.position_embeddings":
            continue
        else:
            raise ValueError(name)
        if golden.dense and "norm" in tensor:
            rows = rows + np.float32(1)
        if golden.looks_ahead and tensor.endswith(("attn_q", "attn_k")):
            halves = rows.reshape(-1, 2, HIDDEN // HEADS // 2, HIDDEN)
            rows = halves.swapaxes(1, 2).reshape(rows.shape)
        yield f"{tensor}.{kind}", rows
    for number, matrix in enumerate(dense, 2):
        yield f"dense_{number}.weight", matrix


def write(path, golden, model, dense):
    config = golden.config
    writer = gguf.GGUFWriter(path, golden.arch)
    writer.add_name(f"golden {golden.name}")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_pooling_type(golden.pooling)
    writer.add_causal_attention(False)
    writer.add_head_count_kv(getattr(config, "num_key_value_heads", None) or HEADS)
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(EPSILON)
    else:
        writer.add_layer_norm_eps(EPSILON)
    if golden.dense:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        # In transformers a window has an end on each side that is not in it.
        writer.add_sliding_window(2 * (config.sliding_window - 1))
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])
    if golden.experts:
        writer.add_expert_count(EXPERTS)
        writer.add_expert_used_count(EXPERTS_USED)
        writer.add_moe_every_n_layers(2)
    if golden.arch == "modern-bert":
        writer.add_sliding_window(config.local_attention)
        writer.add_sliding_window_pattern(2)
    rope = getattr(config, "rope_parameters", None) or {}
    if "full_attention" in rope:
        writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
        writer.add_float32(f"{golden.arch}.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])
    elif rope:
        writer.add_rope_freq_base(rope["rope_theta"])
    phantom = lambda token: token[2:] if token.startswith("##") else "\u2581" + token
    kinds = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in VOCABULARY]
    normal = gguf.TokenType.NORMAL
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list([phantom(t) if kind == normal else t for t, kind in zip(VOCABULARY, kinds)])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(1)
    writer.add_uint32("tokenizer.ggml.cls_token_id", 2)
    writer.add_sep_token_id(3)
    writer.add_pad_token_id(0)
    for name, rows in tensors(golden, model, dense):
        rows = np.ascontiguousarray(rows)
        if rows.ndim > 1:
            bf16 = gguf.GGMLQuantizationType.BF16
            writer.add_tensor(name, gguf.quants.quantize(rows, bf16), raw_dtype=bf16)
        else:
            writer.add_tensor(name, rows)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def floats(array):
    return [float(f"{x:.8g}") for x in np.asarray(array).ravel()]


def make(seed, golden):
    folder = OUT / golden.name
    folder.mkdir(parents=True, exist_ok=True)
    model, dense = random_model(golden, seed)
    write(folder / f"{golden.name}-BF16.gguf", golden, model, dense)
    rng = np.random.default_rng(seed)
    prompt, long = ([2, *rng.integers(5, len(VOCABULARY), count - 2).tolist(), 3] for count in (24, 300))
    rows, rows_long = vectors(golden, model, prompt), vectors(golden, model, long)
    judge, texts = tokenizer(), []
    stated = "cls" if golden.pooling == CLS else "mean"
    for text in TEXTS:
        ids = judge.encode(text).ids
        pooled = pool(vectors(golden, model, ids), stated, dense)
        texts.append({"text": text, "ids": ids, "embedding_hf": floats(pooled / np.linalg.norm(pooled))})
    result = {
        "name": golden.name,
        "about": golden.about,
        "seed": seed,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "prompt": prompt,
        "tok_embd_hf": [floats(row) for row in rows],
        "pooled_hf": {kind: floats(pool(rows, kind, dense)) for kind in ("mean", "cls", "last")},
        "long": {"prompt": long, "mean_hf": floats(pool(rows_long, "mean", dense))},
        "texts": texts,
    }
    with open(folder / f"{golden.name}.json", "w", encoding="utf-8") as file:
        json.dump(result, file, separators=(",", ":"))
        file.write("\n")
    print(golden.name, "std", rows.std(), "long mean", np.abs(rows_long.mean(0)).max())


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    for seed, golden in enumerate(MODELS, 1):
        if len(sys.argv) == 1 or golden.name in sys.argv[1:]:
            make(seed, golden)


if __name__ == "__main__":
    main()
