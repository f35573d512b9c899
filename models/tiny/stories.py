"""Writes the text that the tiny model is trained on: short stories, one a line as JSON.

The writer is stories260K (https://huggingface.co/karpathy/tinyllamas, MIT), as a GGUF file in F32. Many stories grow
side by side; each begins with nothing but BOS. The same seed gives the same stories with the same torch.

    python stories.py stories260K-f32.gguf stories.jsonl
"""

import json
import sys

import torch

from llama import Cache, from_gguf

SEED = 20261128
BATCHES, BATCH = 8, 512
TEMPERATURE, TOP_P = 0.8, 0.9
BOS, EOS = 1, 2


def pick(logits):
    """One token for each row, out of the likeliest that make up TOP_P together."""
    probabilities, ids = torch.softmax(logits / TEMPERATURE, dim=-1).sort(descending=True)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities[before > TOP_P] = 0.0
    return ids.gather(1, torch.multinomial(probabilities, 1))


@torch.inference_mode()
def write(model):
    ids = torch.full((BATCH, 1), BOS)
    caches = [Cache(model.shape, BATCH) for _ in range(model.shape.layers)]
    texts, ended = [ids], torch.zeros(BATCH, dtype=torch.bool)
    while len(texts) < model.shape.context and not ended.all():
        ids = pick(model(ids, caches)[:, -1])
        ended |= (ids[:, 0] == BOS) | (ids[:, 0] == EOS)
        texts.append(ids)
    return torch.cat(texts, dim=1)[:, 1:].tolist()


def main(writer, out):
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model, pieces = from_gguf(writer)
    seen = set()
    with open(out, "w", encoding="utf-8") as file:
        for batch in range(BATCHES):
            for ids in write(model):
                end = next((place for place, token in enumerate(ids) if token in (BOS, EOS)), None)
                # What the writer's context cut off is no story; nor is what it has told before.
                if end is None:
                    continue
                text = b"".join(pieces[token] for token in ids[:end]).decode("utf-8", "ignore").strip()
                if len(text) > 100 and text not in seen:
                    seen.add(text)
                    print(json.dumps(text, ensure_ascii=False), file=file)
            file.flush()
            print(f"batch {batch + 1} of {BATCHES}: {len(seen)} stories, {sum(map(len, seen))} characters", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
