"""Writes ../tokenizers/: one GGUF file per vocabulary (no tensors), and goldens.json with the ids of every text.

Ids of the byte-level BPEs are the `tokenizers` library's, those of the SentencePiece BPE are
sentencepiece's. llama.cpp reads every text too; where it disagrees, the text is listed, never dropped silently.
"""

import json
from pathlib import Path

import gguf

import llamacpp
import vocabularies
from texts import SPECIAL_TEXTS, TEXTS

OUT = Path(__file__).parent.parent / "tokenizers"


def main():
    OUT.mkdir(exist_ok=True)
    kinds = {
        "gpt2": vocabularies.byte_bpe("gpt-2"),
        "smollm": vocabularies.byte_bpe("smollm"),
        "llama_bpe": vocabularies.byte_bpe("llama-bpe"),
        "qwen2": vocabularies.byte_bpe("qwen2"),
        "spm": vocabularies.sentencepiece_bpe(),
    }
    result = {"texts": TEXTS, "tokenizers": {}}
    for name, vocabulary in kinds.items():
        path = OUT / f"{name}.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_name(f"golden {name}")
        vocabulary.write(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

        peer = llamacpp.File(path, vocab_only=True)
        ids = [vocabulary.encode(text) for text in TEXTS]
        bos, eos = (vocabulary.tokens[i].decode() for i in (vocabulary.bos, vocabulary.eos))
        special = [text.replace("{bos}", bos).replace("{eos}", eos) for text in SPECIAL_TEXTS]
        if vocabulary.model == "llama":
            special_ids = [peer.encode(text, special=True) for text in special]
        else:
            special_ids = [vocabulary.encode(text, special=True) for text in special]
        differs = [i for i, text in enumerate(TEXTS) if peer.encode(text) != ids[i]]
        result["tokenizers"][name] = {
            "vocab": len(vocabulary.tokens),
            "ids": ids,
            "special_texts": special,
            "special_ids": special_ids,
            "llamacpp_mismatch_indices": differs,
        }
        print(name, "llama.cpp differs on", [(TEXTS[i], ids[i], peer.encode(TEXTS[i])) for i in differs])
        print(name, "special:", [i for i, t in enumerate(special) if peer.encode(t, True) != special_ids[i]])
    with open(OUT / "goldens.json", "w", encoding="utf-8") as file:
        json.dump(result, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
