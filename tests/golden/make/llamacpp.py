"""llama.cpp as a second opinion, through llama-cpp-python: token ids, logits, and ggml's own block formats."""

import ctypes
from pathlib import Path

import llama_cpp
import numpy as np

VERSION = f"llama-cpp-python {llama_cpp.__version__}"

_silent = llama_cpp.llama_log_callback(lambda *_: None)
llama_cpp.llama_log_set(_silent, ctypes.c_void_p())


class File:
    """A GGUF file opened by llama.cpp: one thread, f32 KV cache, flash attention off, no repacking."""

    def __init__(self, path, vocab_only=False):
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = vocab_only
        params.use_extra_bufts = False
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot open {path}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def encode(self, text, special=False):
        """Ids of a text, with no token added."""
        data = text.encode()
        ids = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, len(ids), False, special)
        return list(ids[:count])

    def logits(self, ids):
        """f32 logits of every position."""
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = 512, 512, 512
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = 0  # GGML_TYPE_F32
        params.flash_attn_type = 0  # LLAMA_FLASH_ATTN_TYPE_DISABLED
        context = llama_cpp.llama_init_from_model(self.model, params)
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, True
            batch.seq_id[i][0] = 0
        if llama_cpp.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        width = llama_cpp.llama_vocab_n_tokens(self.vocab)
        rows = [
            np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), (width,)).copy()
            for i in range(len(ids))
        ]
        llama_cpp.llama_batch_free(batch)
        llama_cpp.llama_free(context)
        return np.stack(rows)


_base = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
_base.ggml_quantize_chunk.restype = ctypes.c_size_t

# name: (ggml's type id, weights in a block, bytes of a block, C function that decodes a row)
TYPES = {
    "F16": (1, 1, 2, "ggml_fp16_to_fp32_row"),
    "BF16": (30, 1, 2, "ggml_bf16_to_fp32_row"),
    "Q4_0": (2, 32, 18, "dequantize_row_q4_0"),
    "Q4_1": (3, 32, 20, "dequantize_row_q4_1"),
    "Q8_0": (8, 32, 34, "dequantize_row_q8_0"),
    "Q4_K": (12, 256, 144, "dequantize_row_q4_K"),
    "Q6_K": (14, 256, 210, "dequantize_row_q6_K"),
    "Q5_0": (6, 32, 22, "dequantize_row_q5_0"),
    "Q5_1": (7, 32, 24, "dequantize_row_q5_1"),
    "Q2_K": (10, 256, 84, "dequantize_row_q2_K"),
    "Q3_K": (11, 256, 110, "dequantize_row_q3_K"),
    "Q5_K": (13, 256, 176, "dequantize_row_q5_K"),
    "IQ4_NL": (20, 32, 18, "dequantize_row_iq4_nl"),
    "IQ4_XS": (23, 256, 136, "dequantize_row_iq4_xs"),
    "MXFP4": (39, 32, 17, "dequantize_row_mxfp4"),
    "NVFP4": (40, 64, 36, "dequantize_row_nvfp4"),
    "Q1_0": (41, 128, 18, "dequantize_row_q1_0"),
    "Q2_0": (42, 64, 18, "dequantize_row_q2_0"),
    "TQ1_0": (34, 256, 54, "dequantize_row_tq1_0"),
    "TQ2_0": (35, 256, 66, "dequantize_row_tq2_0"),
    "IQ1_S": (19, 256, 50, "dequantize_row_iq1_s"),
    "IQ1_M": (29, 256, 56, "dequantize_row_iq1_m"),
    "IQ2_XXS": (16, 256, 66, "dequantize_row_iq2_xxs"),
    "IQ2_XS": (17, 256, 74, "dequantize_row_iq2_xs"),
    "IQ2_S": (22, 256, 82, "dequantize_row_iq2_s"),
    "IQ3_XXS": (18, 256, 98, "dequantize_row_iq3_xxs"),
    "IQ3_S": (21, 256, 110, "dequantize_row_iq3_s"),
}


def quantize(name, rows):
    """Encodes a 2-d f32 array row by row; bytes as a u8 array [rows, bytes of a row]."""
    kind, block, size, _ = TYPES[name]
    rows = np.ascontiguousarray(rows, np.float32)
    count, width = rows.shape
    if width % block:
        raise ValueError(f"{name} has blocks of {block}, the row has {width}")
    out = np.zeros((count, width // block * size), np.uint8)
    # How much each column matters: some types refuse to be made without.
    importance = np.ones(width, np.float32) if name.startswith("IQ") else None
    written = _base.ggml_quantize_chunk(
        kind,
        rows.ctypes.data_as(ctypes.c_void_p),
        out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(0),
        ctypes.c_int64(count),
        ctypes.c_int64(width),
        importance if importance is None else importance.ctypes.data_as(ctypes.c_void_p),
    )
    if written != out.size:
        raise RuntimeError(f"ggml wrote {written} bytes of {out.size}")
    return out


def dequantize(name, data):
    """Decodes bytes of whole blocks into f32."""
    _, block, size, function = TYPES[name]
    data = np.ascontiguousarray(data, np.uint8).reshape(-1)
    out = np.zeros(data.size // size * block, np.float32)
    getattr(_base, function)(
        data.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(out.size)
    )
    return out
