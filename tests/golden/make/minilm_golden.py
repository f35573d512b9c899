"""Writes ../real/all-minilm-l6-v2.json: the vectors that transformers gives texts with all-MiniLM-L6-v2.

    minilm_golden.py FOLDER

FOLDER is the model in Hugging Face's layout; it is not committed, and `tests/common` says which package has it. float32, eager
attention; the mean over all tokens with CLS and SEP, of length 1, as the model's own `1_Pooling` and `modules.json` say.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
import transformers

OUT = Path(__file__).parent.parent / "real" / "all-minilm-l6-v2.json"
TEXTS = [
    "The lamp on the windowsill burned until the morning.",
    "Until dawn there was light in the window.",
    "Interest rates rose by a quarter of a point.",
    "ÜBERMÄßIG viele Çédilles, naïvely coöperating: 東京 & 京都!",
    "fn main() { println!(\"{}\", 6 * 7); }",
    "A text that goes on, so that attention has something to choose from: first the harbour, where the boats came in "
    "before it was light; then the market, where what they had brought was sold by the crate; and at last the road inland, "
    "along which it was carried, packed in ice, to towns that had never seen the sea. " * 4,
]


def floats(values):
    return [float(f"{value:.6g}") for value in values]


@torch.no_grad()
def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    sentences = []
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        vector = model(torch.tensor([ids])).last_hidden_state[0].double().mean(0)
        vector /= vector.norm()
        sentences.append({"text": text, "ids": ids, "embedding_hf": floats(vector.tolist())})
        print(len(ids), text[:60])
    golden = {
        "model": "all-MiniLM-L6-v2",
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "sentences": sentences,
    }
    with open(OUT, "w", encoding="utf-8") as file:
        json.dump(golden, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
