"""Writes a GGUF of the shape of Llama 3.2 1B with seeded random weights: speed does not depend on what weights say.

    synthetic_model.py TOKENIZER.gguf OUT.gguf

The vocabulary is that of TOKENIZER.gguf, padded to the shape's size. Needs the PyPI packages gguf and numpy.
"""

import sys

import gguf
import numpy as np

# Llama 3.2 1B, as its config.json has it.
LAYERS, WIDTH, HIDDEN, HEADS, KV_HEADS, HEAD = 16, 2048, 8192, 32, 8, 64
VOCABULARY, CONTEXT, ROPE_BASE, EPSILON = 128256, 131072, 500000.0, 1e-5
SEED = 1234
# About the size of weights that training starts from.
DEVIATION = 0.02
# Every tensor reads the same noise, from a start of its own: drawing a billion numbers would take a minute.
NOISE = np.random.default_rng(SEED).standard_normal(VOCABULARY * WIDTH + (1 << 20), dtype=np.float32)
NOISE = (NOISE * DEVIATION).astype(np.float16)


def main(tokenizer, path):
    writer = gguf.GGUFWriter(path, "llama")
    add_shape(writer, "synthetic Llama 3.2 1B", LAYERS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_vocabulary(writer, gguf.GGUFReader(tokenizer))
    starts = np.random.default_rng(SEED + 1)

    def noise(rows, columns):
        start = starts.integers(NOISE.size - rows * columns)
        return NOISE[start : start + rows * columns].reshape(rows, columns)

    add_tensors(writer, VOCABULARY, LAYERS, noise, rope_factors=True)
    finish(writer)


def add_shape(writer, name, layers):
    """What the model is."""
    writer.add_name(name)
    writer.add_description("random weights, to measure speed")
    writer.add_block_count(layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(EPSILON)


def add_vocabulary(writer, reader, padded=True):
    """The tokenizer of a real model, whose merges work, with padding up to the shape's size that never occurs. Its size."""

    def values(key):
        return reader.fields[f"tokenizer.ggml.{key}"].contents()

    padding = range(len(values("tokens")), VOCABULARY if padded else 0)
    writer.add_tokenizer_model(values("model"))
    writer.add_tokenizer_pre(values("pre"))
    writer.add_token_list(values("tokens") + [f"<|unused_{i}|>" for i in padding])
    writer.add_token_types(values("token_type") + [gguf.TokenType.UNUSED] * len(padding))
    writer.add_token_merges(values("merges"))
    writer.add_bos_token_id(values("bos_token_id"))
    writer.add_eos_token_id(values("eos_token_id"))
    writer.add_add_bos_token(False)
    return len(values("tokens")) + len(padding)


def add_tensors(writer, vocabulary, layers, matrix, kind=None, rope_factors=False):
    """All tensors; `matrix` makes those of weights from their rows and columns, of the type `kind` if it gives bytes."""

    def add_weights(name, rows, columns):
        writer.add_tensor(f"{name}.weight", matrix(rows, columns), raw_dtype=kind)

    def add_ones(name, size):
        writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))

    add_weights("token_embd", vocabulary, WIDTH)
    add_ones("output_norm", WIDTH)
    if rope_factors:
        add_ones("rope_freqs", HEAD // 2)
    for layer in range(layers):
        block = f"blk.{layer}"
        add_ones(f"{block}.attn_norm", WIDTH)
        add_weights(f"{block}.attn_q", HEADS * HEAD, WIDTH)
        add_weights(f"{block}.attn_k", KV_HEADS * HEAD, WIDTH)
        add_weights(f"{block}.attn_v", KV_HEADS * HEAD, WIDTH)
        add_weights(f"{block}.attn_output", WIDTH, HEADS * HEAD)
        add_ones(f"{block}.ffn_norm", WIDTH)
        add_weights(f"{block}.ffn_gate", HIDDEN, WIDTH)
        add_weights(f"{block}.ffn_up", HIDDEN, WIDTH)
        add_weights(f"{block}.ffn_down", WIDTH, HIDDEN)


def finish(writer):
    """Writes what was added to the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
