"""Writes ../real/smollm2-135m.json: what llama.cpp answers with the default model.

    real_golden.py SmolLM2-135M-Instruct.Q4_1.gguf

The file is not committed; the program pulls it, and its sha256 is in `models/`. llama.cpp runs it twice: as it is
(`q8`: activations quantized in ggml's own way), and with every matrix decoded to f32 (`f32`: the exact answer for
f32 activations).
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

import llamacpp

HERE = Path(__file__).parent
OUT = HERE.parent / "real" / "smollm2-135m.json"
PROMPTS = ["The capital of France is", "The lamp on the windowsill", "def area(radius):\n    return"]
STEPS = 32
TOP = 20
CONTEXT = 256


def decoded(source, target):
    """The same model with every tensor in f32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.ascontiguousarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def floats(values):
    return [float(f"{value:.9g}") for value in values]


def perplexity(model, ids):
    """After each chunk. As llama-perplexity: disjoint chunks, the second half scored. The model asks for no BOS."""
    surprises, answer = [], []
    for start in range(0, len(ids) - CONTEXT + 1, CONTEXT):
        chunk = ids[start : start + CONTEXT]
        rows = model.logits(chunk)[CONTEXT // 2 : -1].astype(np.float64)
        rows -= rows.max(1, keepdims=True)
        right = rows[np.arange(len(rows)), chunk[CONTEXT // 2 + 1 :]]
        surprises.append(np.log(np.exp(rows).sum(1)) - right)
        answer.append(float(np.exp(np.concatenate(surprises).mean())))
    return floats(answer)


def continued(exact, quantized, prompt):
    """Greedy tokens of the exact model, and both models' best tokens after the same ids."""
    ids = exact.encode(prompt)
    count = len(ids)
    for _ in range(STEPS):
        ids.append(int(exact.logits(ids)[-1].argmax()))
    answer = {"prompt": prompt, "ids": ids[:count], "greedy": ids[count:]}
    for name, model in [("f32", exact), ("q8", quantized)]:
        rows = model.logits(ids[:-1])[count - 1 :]
        ordered = np.sort(rows, 1)
        top = np.argsort(-rows[0], kind="stable")[:TOP]
        answer[name] = {
            "best": rows.argmax(1).tolist(),
            "margin": floats(ordered[:, -1] - ordered[:, -2]),
            "top_ids": top.tolist(),
            "top_logits": floats(rows[0][top]),
        }
    return answer


def main():
    source = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "f32.gguf"
        decoded(source, target)
        exact, quantized = llamacpp.File(target), llamacpp.File(source)
    text = (HERE / "corpus.txt").read_text()
    ids = quantized.encode(text)
    golden = {
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "llamacpp": llamacpp.VERSION,
        "prompts": [continued(exact, quantized, prompt) for prompt in PROMPTS],
        "perplexity": {
            "file": "make/corpus.txt",
            "context": CONTEXT,
            "f32": perplexity(exact, ids),
            "q8": perplexity(quantized, ids),
        },
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(golden, indent=1) + "\n")


main()
