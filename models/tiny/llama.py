"""A Llama in PyTorch, as small as the reader wants it: what writes the stories, and what is trained on them.

In: token ids (batch, length). Out: logits (batch, length, vocabulary). Queries and keys rotate in halves, as in Hugging
Face's files, whose names the weights have.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Shape:
    vocabulary: int
    embedding: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    context: int
    eps: float = 1e-5
    theta: float = 10000.0

    @property
    def head_dim(self):
        return self.embedding // self.heads


class Norm(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.embedding))
        self.eps = shape.eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.embedding, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.embedding, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.embedding, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.embedding, bias=False)

    def forward(self, x, cos, sin, cache):
        batch, length, _ = x.shape

        def heads(y):
            return y.view(batch, length, -1, self.shape.head_dim).transpose(1, 2)

        q = rotate(heads(self.q_proj(x)), cos, sin)
        k, v = rotate(heads(self.k_proj(x)), cos, sin), heads(self.v_proj(x))
        if cache is not None:
            k, v = cache.append(k, v)
        k, v = (y.repeat_interleave(self.shape.heads // self.shape.kv_heads, dim=1) for y in (k, v))
        # One token sees all that was before it; several see no token behind themselves.
        y = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.embedding, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.embedding, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.embedding, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.input_layernorm = Norm(shape)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape)
        self.mlp = FeedForward(shape)

    def forward(self, x, cos, sin, cache):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Cache:
    """Keys and values of one layer, for texts that grow token by token."""

    def __init__(self, shape, batch):
        self.k = torch.empty(batch, shape.kv_heads, shape.context, shape.head_dim)
        self.v = torch.empty_like(self.k)
        self.length = 0

    def append(self, k, v):
        end = self.length + k.shape[2]
        self.k[:, :, self.length : end], self.v[:, :, self.length : end] = k, v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]


class Llama(nn.Module):
    """The head is the embedding."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.embedding)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)
        half = shape.head_dim // 2
        angles = torch.outer(torch.arange(shape.context), shape.theta ** (-torch.arange(half) / half))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids, caches=None):
        first = caches[0].length if caches else 0
        places = slice(first, first + ids.shape[1])
        x = self.embed_tokens(ids)
        for number, layer in enumerate(self.layers):
            x = layer(x, self.cos[places], self.sin[places], caches[number] if caches else None)
        return F.linear(self.norm(x), self.embed_tokens.weight)


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def from_gguf(path):
    """The Llama in a GGUF file in F32, and the pieces of its vocabulary as bytes."""
    from gguf import GGUFReader

    file = GGUFReader(path)
    number = lambda key: file.fields[key].contents()
    tensors = {t.name: torch.from_numpy(t.data.copy()) for t in file.tensors}
    shape = Shape(
        vocabulary=len(number("tokenizer.ggml.tokens")),
        embedding=number("llama.embedding_length"),
        layers=number("llama.block_count"),
        heads=number("llama.attention.head_count"),
        kv_heads=number("llama.attention.head_count_kv"),
        feed_forward=number("llama.feed_forward_length"),
        context=number("llama.context_length"),
        eps=number("llama.attention.layer_norm_rms_epsilon"),
    )
    names = {
        "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    state = {"embed_tokens.weight": tensors["token_embd.weight"], "norm.weight": tensors["output_norm.weight"]}
    for layer in range(shape.layers):
        for ours, theirs in names.items():
            weight = tensors[f"blk.{layer}.{theirs}.weight"]
            if theirs in ("attn_q", "attn_k"):
                # In GGUF the two numbers of a pair lie side by side.
                pairs = weight.view(-1, shape.head_dim // 2, 2, shape.embedding)
                weight = pairs.transpose(1, 2).reshape(-1, shape.embedding)
            state[f"layers.{layer}.{ours}.weight"] = weight
    model = Llama(shape)
    model.load_state_dict(state)
    pieces = []
    for token in number("tokenizer.ggml.tokens"):
        byte = token.startswith("<0x") and token.endswith(">") and len(token) == 6
        pieces.append(bytes([int(token[3:5], 16)]) if byte else token.replace("\u2581", " ").encode())
    return model, pieces
