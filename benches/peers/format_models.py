"""Writes a GGUF for each of ggml's weight formats: a short model with the matrices of Llama 3.2 1B, all in that format.

    format_models.py TOKENIZER.gguf FOLDER [FORMAT...]      FOLDER/format-<FORMAT>.gguf

Blocks are seeded random bits, which every one of these formats has a number for, with scales that make weights about as large
as those that training starts from: what a kernel does takes as long, whatever the bits. No quantizer is needed, of which some
formats have none but by an importance matrix. Needs the PyPI packages gguf and numpy.
"""

import pathlib
import sys

import gguf
import numpy as np
import synthetic_model as shape
from gguf import GGMLQuantizationType as Type

# Four layers: as many bytes as no cache holds, in a file that is read in a moment.
LAYERS = 4
SEED = 4321
# The two most likely tokens that follow random weights may be so near to each other that engines, which round activations
# differently, choose not the same one. Then the harness measures nothing: these formats have another seed.
OTHER_SEEDS = {Type.BF16: 1, Type.IQ1_S: 2, Type.IQ4_XS: 1, Type.NVFP4: 1, Type.Q2_K: 2, Type.Q3_K: 1}

# Where in a block the half-precision scales are, and what they are: a weight is about the scale times its largest code.
# The numbers of https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h, as the sizes of the fields add up.
SCALES = {
    Type.Q4_0: {0: 0.005},
    Type.Q4_1: {0: 0.005, 2: -0.0375},
    Type.Q5_0: {0: 0.0025},
    Type.Q5_1: {0: 0.0025, 2: -0.03875},
    Type.Q8_0: {0: 0.0003},
    Type.Q2_K: {80: 0.002, 82: 0.003},
    Type.Q3_K: {108: 0.0005},
    Type.Q4_K: {0: 0.0001, 2: 0.0008},
    Type.Q5_K: {0: 0.00005, 2: 0.0008},
    Type.Q6_K: {208: 0.00002},
    Type.IQ1_S: {0: 0.004},
    Type.IQ2_XXS: {0: 0.0004},
    Type.IQ2_XS: {0: 0.0004},
    Type.IQ2_S: {0: 0.0004},
    Type.IQ3_XXS: {0: 0.0003},
    Type.IQ3_S: {0: 0.0001},
    Type.IQ4_NL: {0: 0.0003},
    Type.IQ4_XS: {0: 0.00002},
    Type.TQ1_0: {52: 0.02},
    Type.TQ2_0: {64: 0.02},
}
# Those whose scales are something else, or that have none.
OTHERS = [Type.IQ1_M, Type.MXFP4, Type.NVFP4, Type.F16, Type.BF16]


def blocks(kind, rows, columns, random):
    """A matrix in a format, as bytes: shape (rows, bytes of a row)."""
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    if kind in (Type.F16, Type.BF16):
        values = random.standard_normal((rows, columns), dtype=np.float32) * shape.DEVIATION
        if kind == Type.F16:
            return values.astype(np.float16).view(np.uint8)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    data = np.frombuffer(random.bytes(rows * columns // weights * size), np.uint8).reshape(-1, size).copy()
    for at, scale in SCALES.get(kind, {}).items():
        data[:, at : at + 2] = np.full(1, scale, np.float16).view(np.uint8)
    if kind == Type.IQ1_M:
        # Its scale lies in the upper four bits of four words.
        bits = int(np.float16(0.004).view(np.uint16))
        for word in range(4):
            high = data[:, 48 + 2 * word + 1]
            high[:] = (high & 0x0F) | (bits >> (4 * word) & 0x0F) << 4
    if kind == Type.MXFP4:
        data[:, 0] = 119  # 2^(119 - 127), of codes up to 6
    if kind == Type.NVFP4:
        data[:, :4] = 0x08  # four scales of 2^-6, of codes up to 6
    return data.reshape(rows, -1)


def write(kind, vocabulary, path):
    """A model of which every matrix has this format."""
    random = np.random.default_rng([SEED, kind, OTHER_SEEDS.get(kind, 0)])
    writer = gguf.GGUFWriter(path, "llama")
    shape.add_shape(writer, f"four layers of Llama 3.2 1B's shape in {kind.name}", LAYERS)
    size = shape.add_vocabulary(writer, vocabulary, padded=False)
    writer.add_vocab_size(size)
    shape.add_tensors(writer, size, LAYERS, lambda rows, columns: blocks(kind, rows, columns, random), kind)
    shape.finish(writer)


def main(tokenizer, folder, names):
    known = {kind.name: kind for kind in [*SCALES, *OTHERS]}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no format {unknown[0]}; there are {', '.join(known)}")
    vocabulary = gguf.GGUFReader(tokenizer)
    for name in names or known:
        path = folder / f"format-{name}.gguf"
        if not path.exists():
            print(path.name, flush=True)
            part = path.with_suffix(".part")
            write(known[name], vocabulary, part)
            part.rename(path)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:])
