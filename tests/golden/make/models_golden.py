"""Writes ../models/: seeded tiny llama models as GGUF, and what transformers (float32, eager) answers.

For each model `<name>/<name>-f32.gguf` and `<name>/<name>.json`; for `llama` (F16, BF16) and `llama_k` (block
formats) also copies encoded by ggml and `quants.json`. llama.cpp runs every file too, and must agree.
"""

import base64
import json
import math
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

import contract
import llamacpp
import vocabularies

OUT = Path(__file__).parent.parent / "models"
VECTORS = OUT / "quant_vectors"
CONTEXT = 512
GREEDY = 16
ROPE_BASE = 10000.0
# A greedy step whose best two logits are closer than this would test luck; another seed is taken.
LEAST_MARGIN = 0.02


@dataclass
class Shape:
    """One tiny llama: what differs from the plainest one, and why it is here."""

    about: str
    hidden: int = 32
    ffn: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 8
    tied: bool = True
    epsilon: float = 1e-5
    long: bool = False  # also a prompt of 300 ids: attention over more than one chunk of positions
    quants: tuple = ()
    keep_f32: bool = True


MODELS = {
    "llama": Shape(
        "grouped-query attention, untied head", layers=3, tied=False, long=True, quants=("F16", "BF16")
    ),
    "llama_k": Shape(
        "rows of 256, so that the K types fit",
        hidden=256,
        ffn=256,
        layers=1,
        kv_heads=1,
        head_dim=64,
        quants=("Q8_0", "Q4_0", "Q4_K"),
        keep_f32=False,
    ),
}


def bf16(array):
    """Rounds to the nearest bfloat16, so that f32 and BF16 files hold the same weights."""
    return torch.from_numpy(array.astype(np.float32)).bfloat16().float().numpy()


def config(shape):
    # 5.x keeps rope_theta and the scaling in one dictionary.
    return transformers.LlamaConfig(
        vocab_size=vocabularies.SIZE,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=shape.epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        tie_word_embeddings=shape.tied,
        attn_implementation="eager",
    )


def random_model(shape, seed):
    """Weights large enough that every part of the model moves the logits."""
    rng = np.random.default_rng(seed)
    model = transformers.LlamaForCausalLM(config(shape)).float().eval()
    for name, parameter in model.named_parameters():
        noise = rng.standard_normal(tuple(parameter.shape))
        if name.endswith("norm.weight"):
            value = 1.0 + 0.2 * noise
        elif "embed_tokens" in name:
            # A tied head multiplies by these too: smaller, and the first norm scales them up again.
            value = noise * (2.0 / math.sqrt(shape.hidden) if shape.tied else 1.0)
        elif "lm_head" in name:
            value = noise * 3.0 / math.sqrt(shape.hidden)
        else:
            gain = 1.4 if "q_proj" in name or "k_proj" in name else 1.0
            value = noise * gain / math.sqrt(parameter.shape[1])
        with torch.no_grad():
            # Norms keep all their bits: with few, quantized embeddings would give activations that lie
            # exactly between two steps of their block, and the last bit would decide.
            value = bf16(value) if parameter.ndim == 2 else value.astype(np.float32)
            parameter.copy_(torch.from_numpy(value))
    return model


@torch.no_grad()
def answer(model, ids):
    """f32 logits of every position."""
    return model(torch.tensor([ids])).logits[0].float().numpy()


def greedy(logits_of, prompt):
    """16 greedy ids after the prompt, and by how much each won."""
    ids, margins = list(prompt), []
    for _ in range(GREEDY):
        logits = logits_of(ids)[-1]
        second, first = np.sort(logits)[-2:]
        margins.append(float(first - second))
        ids.append(int(np.argmax(logits)))
    return ids[len(prompt) :], margins


def interleave(rows, heads):
    """Reorders the rows of q or k for ggml's rotary layout.

    transformers rotates element i of a head with element i + head_dim/2; ggml's llama rotates neighbours
    2i and 2i + 1. So row i goes to 2i and row i + head_dim/2 to 2i + 1.
    """
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(np.swapaxes(halves, 1, 2)).reshape(rows.shape)


NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def tensors(model, shape):
    """The model's tensors under GGUF's names and in ggml's layout."""
    for name, parameter in model.named_parameters():
        rows = parameter.detach().numpy()
        match name.removeprefix("model.").split("."):
            case ["embed_tokens", kind]:
                yield f"token_embd.{kind}", rows
            case ["norm", kind]:
                yield f"output_norm.{kind}", rows
            case ["lm_head", kind]:
                yield f"output.{kind}", rows
            case ["layers", layer, *part, kind]:
                part = NAMES[".".join(part)]
                if part in ("attn_q", "attn_k"):
                    rows = interleave(rows, shape.heads if part == "attn_q" else shape.kv_heads)
                yield f"blk.{layer}.{part}.{kind}", rows
            case _:
                raise ValueError(name)


def write(path, name, shape, model, vocabulary, encoding=None):
    """Writes a GGUF; `encoding` names the block format of every matrix (vectors stay f32)."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"golden {name}")
    writer.add_block_count(shape.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(vocabularies.SIZE)
    vocabulary.write(writer)
    for tensor, rows in tensors(model, shape):
        if encoding and rows.ndim == 2:
            kind = gguf.GGMLQuantizationType[encoding]
            writer.add_tensor(tensor, llamacpp.quantize(encoding, rows), raw_dtype=kind)
        else:
            writer.add_tensor(tensor, rows.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def dequantized(model, encoding):
    """A copy of the model whose matrices went through the block format and back."""
    copy = transformers.LlamaForCausalLM(model.config).float().eval()
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        for parameter in copy.parameters():
            if parameter.ndim == 2:
                decoded = llamacpp.dequantize(encoding, llamacpp.quantize(encoding, parameter.numpy()))
                parameter.copy_(torch.from_numpy(decoded.reshape(parameter.shape)))
    return copy


def floats(array):
    """Nine significant digits carry an f32 exactly."""
    return [float(f"{x:.9g}") for x in np.asarray(array, np.float64).reshape(-1)]


def save(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, separators=(",", ":"))
        file.write("\n")


def agree(what, ours, theirs, tolerance):
    worst = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
    print(f"  {what}: worst difference {worst:.2e}")
    if not worst <= tolerance:
        raise RuntimeError(f"{what}: transformers and llama.cpp differ by {worst}")
    return worst


def make(name, shape, vocabulary):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    first_plain = vocabulary.types.index(vocabularies.NORMAL)
    draw = lambda n: [vocabulary.bos, *(int(i) for i in rng.integers(first_plain, vocabularies.SIZE, n - 1))]
    prompt, long_prompt = draw(24), draw(300)

    for seed in range(1, 100):
        model = random_model(shape, seed)
        ids, margins = greedy(lambda ids: answer(model, ids), prompt)
        if min(margins) >= LEAST_MARGIN and len(set(ids)) >= 6:
            break
    else:
        raise RuntimeError(f"{name}: no seed gives clear greedy steps")
    print(f"{name}: seed {seed}, least margin {min(margins):.3f}, {len(set(ids))} different ids")

    logits = answer(model, prompt)
    path = folder / f"{name}-f32.gguf"
    write(path, name, shape, model, vocabulary)
    peer = llamacpp.File(path)
    difference = agree("all positions", logits, peer.logits(prompt), 2e-4)
    golden = {
        "name": name,
        "about": shape.about,
        "seed": seed,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "llamacpp": llamacpp.VERSION,
        "max_abs_diff_all": difference,
        "prompt": prompt,
        "logits_last_hf": floats(logits[-1]),
        "argmax_per_pos_hf": [int(i) for i in logits.argmax(1)],
        "greedy_hf": ids,
        "greedy_margin_hf": floats(margins),
    }
    if shape.long:
        long = answer(model, long_prompt)
        theirs = peer.logits(long_prompt)
        agree("300 positions", long, theirs, 5e-4)
        golden["long"] = {
            "prompt": long_prompt,
            "max_abs_diff_last": agree("the last of 300", long[-1], theirs[-1], 1e-4),
            "logits_last_hf": floats(long[-1]),
            "argmax_per_pos_hf": [int(i) for i in long.argmax(1)],
        }
    save(folder / f"{name}.json", golden)

    if shape.quants:
        types = {}
        for encoding in shape.quants:
            file = f"{name}-{encoding}.gguf"
            write(folder / file, name, shape, model, vocabulary, encoding)
            exact_model = dequantized(model, encoding)
            exact = answer(exact_model, prompt)[-1]
            exact_ids, exact_margins = greedy(lambda ids: answer(exact_model, ids), prompt)
            # The second implementation must itself be right before it judges.
            agree(f"{encoding} in float64", exact, contract.logits(exact_model, prompt), 1e-4)
            theirs = llamacpp.File(folder / file).logits(prompt)[-1]
            rms = float(np.sqrt(np.mean((exact - theirs) ** 2)))
            print(f"  {encoding}: rms difference of llama.cpp's quantized activations {rms:.3f}")
            types[encoding] = {
                "file": file,
                "logits_last_dequant_f32": floats(exact),
                "greedy_dequant_f32": exact_ids,
                "greedy_margin_dequant_f32": floats(exact_margins),
                "rms_diff_llamacpp_vs_dequant": rms,
            }
            if llamacpp.TYPES[encoding][1] > 1:
                start = contract.steady_prompt(exact_model, prompt)
                rounded = contract.contract(exact_model, start)
                effect = np.abs(rounded - contract.logits(exact_model, start)).max()
                print(f"  {encoding}: quantized activations move {len(start)} ids' logits by {effect:.3f}")
                types[encoding]["q8"] = {"prompt": start, "logits_last_contract": floats(rounded)}
        save(folder / "quants.json", {"prompt": prompt, "base": name, "types": types})
    if not shape.keep_f32:
        path.unlink()


# Where a block has its scale, if not at the beginning.
SCALE_AT = {"Q2_K": 80, "Q3_K": 108, "Q6_K": 208, "TQ1_0": 52, "TQ2_0": 64}


def vectors():
    """Blocks encoded by ggml, blocks of random bytes, and what ggml decodes both to (base64, little-endian)."""
    VECTORS.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    text = lambda array: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    types = {}
    for name, (kind, block, size, _) in llamacpp.TYPES.items():
        part = max(block, 32)
        rows = [
            rng.standard_normal(part),
            5 * rng.standard_t(2, part),
            np.where(rng.random(part) < 0.9, 0.0, 1e-3 * rng.standard_normal(part)),
            rng.uniform(0.5, 2.0, part),
            np.zeros(part),
        ]
        # Of large blocks fewer, so that the file stays small.
        rows = np.concatenate(rows if block <= 32 else rows[1::3]).astype(np.float32)
        data = llamacpp.quantize(name, rows[None])
        # Any bytes are a block: scales of both signs, subnormal and zero, every quant. Only scales that
        # are infinite or NaN are drawn again.
        raw = np.zeros((0, size), np.uint8)
        while len(raw) < (64 if block == 1 else 12 if block == 32 else 5):
            candidate = rng.integers(0, 256, (1, size), dtype=np.uint8)
            if len(raw) % 4 == 3 and block > 1:
                at = SCALE_AT.get(name, 0)
                candidate[0, at : at + 2] = np.frombuffer(np.float16(6e-8 * (len(raw) - 7)).tobytes(), np.uint8)
            if np.isfinite(llamacpp.dequantize(name, candidate)).all():
                raw = np.concatenate([raw, candidate])
        types[name] = {
            "type_id": kind,
            "block_size": block,
            "type_size": size,
            "n": len(rows),
            "input_f32": text(rows),
            "bytes": text(data),
            "dequant_f32": text(llamacpp.dequantize(name, data)),
            "raw_bytes": text(raw),
            "raw_dequant_f32": text(llamacpp.dequantize(name, raw)),
        }
    save(VECTORS / "quant_vectors.json", {"ggml": llamacpp.VERSION, "types": types})


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    vocabulary = vocabularies.sentencepiece_bpe()
    vectors()
    for name, shape in MODELS.items():
        make(name, shape, vocabulary)


if __name__ == "__main__":
    main()
