"""The numerics contract once more, in numpy and float64: what quantized activations must come to.

transformers knows no quantized activations and llama.cpp quantizes them in its own way, so neither can judge
the default mode. This forward pass takes a llama with plain rope and no biases, rounds the activations before
every block-quantized matrix, and keys and values to f16, as the contract says, and computes all else in float64.
Where a value lies close to the middle of two steps, an f32 implementation may round it the other way, and all that
follows is then off by as much as quantization itself. So `steady_prompt` looks for ids where that does not happen.
"""

import numpy as np


def rounded_activations(x):
    """Blocks of 32: dx = amax / 127 in f32, q = round-half-even(x / dx), decoded again."""
    blocks = x.astype(np.float32).reshape(-1, 32)
    dx = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
    dx[dx < np.finfo(np.float32).tiny] = 0
    quants = np.clip(np.rint(np.divide(blocks, dx, out=np.zeros_like(blocks), where=dx > 0)), -127, 127)
    return (quants.astype(np.float64) * dx).reshape(x.shape)


def exact(x):
    return x


def logits(model, ids, activations=exact, cache=exact):
    """Logits at the last position; `activations` and `cache` say how those are rounded."""
    config = model.config
    weights = {name: p.detach().numpy().astype(np.float64) for name, p in model.named_parameters()}
    heads, kv_heads, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    count = len(ids)
    half = np.arange(0, width, 2) / width
    angle = np.outer(np.arange(count), config.rope_parameters["rope_theta"] ** -half)[:, None, :]

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.rms_norm_eps) * weights[name]

    def matrix(x, name):
        return activations(x) @ weights[name].T

    def rope(x):
        low, high = x[..., : width // 2], x[..., width // 2 :]
        return np.concatenate(
            [low * np.cos(angle) - high * np.sin(angle), high * np.cos(angle) + low * np.sin(angle)], -1
        )

    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(config.num_hidden_layers):
        at = f"model.layers.{layer}."
        h = norm(x, at + "input_layernorm.weight")
        q = rope(matrix(h, at + "self_attn.q_proj.weight").reshape(count, heads, width))
        k = cache(rope(matrix(h, at + "self_attn.k_proj.weight").reshape(count, kv_heads, width)))
        v = cache(matrix(h, at + "self_attn.v_proj.weight").reshape(count, kv_heads, width))
        k, v = (np.repeat(each, heads // kv_heads, axis=1) for each in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(width)
        scores = np.where(np.tril(np.ones((count, count), bool)), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v)
        x = x + matrix(mixed.reshape(count, heads * width), at + "self_attn.o_proj.weight")
        h = norm(x, at + "post_attention_layernorm.weight")
        gate = matrix(h, at + "mlp.gate_proj.weight")
        up = matrix(h, at + "mlp.up_proj.weight")
        x = x + matrix(gate / (1 + np.exp(-gate)) * up, at + "mlp.down_proj.weight")
    head = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
    return matrix(norm(x[-1:], "model.norm.weight"), head)[0]


def f16(x):
    return x.astype(np.float16).astype(np.float64)


def contract(model, ids):
    """Logits at the last position as the contract's default mode gives them: q8 activations, f16 KV cache."""
    return logits(model, ids, rounded_activations, f16)


def steady_prompt(model, ids, longest=8, trials=40):
    """The longest start of `ids` at which f32's own error, put in at random, makes no rounding fall otherwise."""
    for length in range(longest, 1, -1):
        start, rng = ids[:length], np.random.default_rng(length)

        def disturbed(x):
            return rounded_activations(x * (1 + 5e-7 * rng.standard_normal(x.shape)))

        expected = contract(model, start)
        worst = max(np.abs(logits(model, start, disturbed, f16) - expected).max() for _ in range(trials))
        if worst < 1e-3:
            return start
    raise RuntimeError("no start of the prompt is steady")
