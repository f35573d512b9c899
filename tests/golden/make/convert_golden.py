"""Writes ../convert/: tiny seeded models in Hugging Face's layout, and what a converted file of each must say.

For each folder `<name>.json`: metadata and tensors as llama.cpp's convert_hf_to_gguf.py writes them (types, shapes and
SHA-256 of the bytes), and what transformers answers (float32, eager). Needs a checkout of llama.cpp, whose path is the
argument, and takes the converter and the `gguf` package from there.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA_CPP = Path(sys.argv[1])
sys.path.insert(0, str(LLAMA_CPP / "gguf-py"))
import gguf  # noqa: E402

OUT = Path(__file__).parent.parent / "convert"
CORPUS = Path(__file__).with_name("corpus.txt")
PROMPT = [1, 40, 7, 120, 33, 250, 90, 15, 201, 60, 77, 5]
VOCABULARY = 288
# Guessed by the converter from the folder's name, and of no use to a program.
# The converter knows pre-tokenizers by what they make of a text, and only those of published vocabularies.
PRE = dict(llama="llama-bpe", qwen2="qwen2", qwen3="qwen2", bert="jina-v2-en", gemma3=None)
CONVERTER = """
import runpy, sys
pre, script = sys.argv.pop(1), sys.argv[1]
sys.argv.pop(0)
sys.path.insert(0, script.rpartition("/")[0])
import conversion.base
conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
runpy.run_path(script, run_name="__main__")
"""
GUESSED = ("general.name", "general.basename", "general.finetune", "general.version", "general.organization")

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"


def byte_level(number, specials, whole):
    """A BPE of bytes; `number` is the part of the expression that takes digits."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole))
    split = pre_tokenizers.Split(Regex(WORDS + number + REST), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(CORPUS)], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer


def characters(folder):
    """SentencePiece's BPE: its own file, and the same as tokenizer.json has it."""
    model = io.BytesIO()
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for line in lines if line.isascii()),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCABULARY + 256,
        byte_fallback=True,
        pad_id=0,
        eos_piece="<eos>",
        bos_piece="<bos>",
        eos_id=1,
        bos_id=2,
        unk_id=3,
        user_defined_symbols=["<start_of_turn>"],
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    vocab = {pieces.id_to_piece(i): i for i in range(pieces.get_piece_size())}
    # A merge for each way to a piece, in the order of the pieces' scores.
    merges = [
        (text[:cut], text[cut:])
        for text, i in sorted(vocab.items(), key=lambda item: item[1])
        if i >= 4 and not (pieces.is_byte(i) or text == "<start_of_turn>")
        for cut in range(1, len(text))
        if text[:cut] in vocab and text[cut:] in vocab
    ]
    base = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    base.normalizer = normalizers.Replace(" ", "▁")
    base.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    base.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>"]
    base.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return base, {str(vocab[token]): dict(content=token, special=True) for token in specials}


def word_pieces():
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=specials, show_progress=False, limit_alphabet=60
    )
    tokenizer.train([str(CORPUS)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=512,
    attn_implementation="eager",
)
DECODER = dict(SHAPE, num_key_value_heads=2, bos_token_id=VOCABULARY - 2, eos_token_id=VOCABULARY - 1)
QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def llama():
    specials = ["<|begin_of_text|>", "<|eot_id|>"]
    tokenizer = byte_level(r"\p{N}{1,3}", specials, True)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A",
                pair="<|begin_of_text|> $A <|begin_of_text|> $B",
                special_tokens=[("<|begin_of_text|>", VOCABULARY - 2)],
            ),
        ]
    )
    rope = dict(
        rope_type="llama3",
        rope_theta=500000.0,
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=64,
    )
    config = transformers.LlamaConfig(**DECODER, head_dim=16, rope_parameters=rope, tie_word_embeddings=False)
    settings = dict(bos_token=specials[0], eos_token=specials[1], chat_template=TEMPLATE)
    return transformers.LlamaForCausalLM(config), tokenizer, settings, {"max_shard_size": "40KB"}


def qwen2():
    config = transformers.Qwen2Config(**dict(DECODER, num_hidden_layers=1), tie_word_embeddings=True)
    settings = dict(eos_token="<|im_end|>", pad_token="<|endoftext|>", add_bos_token=False, chat_template=TEMPLATE)
    return transformers.Qwen2ForCausalLM(config), byte_level(r"\p{N}", QWEN, False), settings, {}


def qwen3():
    config = transformers.Qwen3Config(**dict(DECODER, num_hidden_layers=1), head_dim=16, tie_word_embeddings=True)
    settings = dict(eos_token="<|im_end|>", pad_token="<|endoftext|>", add_bos_token=False, chat_template=TEMPLATE)
    return transformers.Qwen3ForCausalLM(config), byte_level(r"\p{N}", QWEN, False), settings, {}


def gemma3():
    tokenizer, added = characters(OUT / "gemma3")
    config = transformers.Gemma3TextConfig(
        **dict(
            DECODER,
            vocab_size=VOCABULARY + 256,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=6,
            bos_token_id=2,
            eos_token_id=1,
        ),
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=8,
    )
    settings = dict(bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>", add_bos_token=True)
    settings.update(added_tokens_decoder=added)
    return transformers.Gemma3ForCausalLM(config), tokenizer, settings, {}


def bert():
    config = transformers.BertConfig(**dict(SHAPE, max_position_embeddings=64), type_vocab_size=2, pad_token_id=0)
    names = dict(cls="[CLS]", sep="[SEP]", unk="[UNK]", pad="[PAD]", mask="[MASK]")
    settings = {f"{task}_token": text for task, text in names.items()}
    return transformers.BertModel(config), word_pieces(), dict(settings, tokenizer_class="BertTokenizer"), {}


def randomize(model, seed):
    """Weights large enough that every part of the model moves the answer, exact in bf16."""
    rng = np.random.default_rng(seed)
    for name, parameter in model.named_parameters():
        noise = rng.standard_normal(tuple(parameter.shape))
        if parameter.ndim == 1:
            base = 0.0 if name.endswith(".bias") or "Gemma" in type(model).__name__ else 1.0
            value = base + 0.2 * noise
        elif "embed" in name:
            value = noise * 0.35
        else:
            value = noise * 1.2 / np.sqrt(parameter.shape[1])
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(value).bfloat16().float())
    return model.eval()


def plain(value):
    if isinstance(value, (np.floating, float)):
        return float(np.float32(value))
    if isinstance(value, np.generic):
        return value.item()
    return [plain(element) for element in value] if isinstance(value, list) else value


def converted(folder, kind):
    """What llama.cpp's converter makes of a folder: metadata, and tensors with the SHA-256 of their bytes."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "model.gguf"
        script = str(LLAMA_CPP / "convert_hf_to_gguf.py")
        command = [sys.executable, "-c", CONVERTER, str(PRE[folder.name]), script, str(folder)]
        env = dict(os.environ, PYTHONPATH=str(LLAMA_CPP / "gguf-py"), PYTHONDONTWRITEBYTECODE="1")
        subprocess.run(command + ["--outtype", kind, "--outfile", str(file)], check=True, env=env, capture_output=True)
        reader = gguf.GGUFReader(file)
        metadata = {
            key: {"type": [ty.name for ty in field.types], "value": plain(field.contents())}
            for key, field in reader.fields.items()
            if not key.startswith("GGUF.") and key not in GUESSED
        }
        tensors = {
            tensor.name: {
                "type": tensor.tensor_type.name,
                "dims": [int(dim) for dim in tensor.shape],
                "sha256": hashlib.sha256(tensor.data.tobytes()).hexdigest(),
            }
            for tensor in reader.tensors
        }
        return {"metadata": metadata, "tensors": tensors}


@torch.no_grad()
def main():
    OUT.mkdir(exist_ok=True)
    for seed, make in enumerate([llama, qwen2, qwen3, gemma3, bert]):
        name = make.__name__
        folder = OUT / name
        torch.manual_seed(seed)
        model, tokenizer, settings, saving = make()
        randomize(model, seed)
        ids = torch.tensor([PROMPT])
        out = model(ids)
        answer = out.last_hidden_state[0] if name == "bert" else out.logits[0, -1]
        model.bfloat16().save_pretrained(folder, **saving)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        settings.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
        if name == "bert":
            modules = [{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
            (folder / "modules.json").write_text(json.dumps(modules) + "\n")
            (folder / "1_Pooling").mkdir(exist_ok=True)
            (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}\n')
        for path in folder.glob("*.safetensors"):
            path.chmod(0o644)
        rounded = np.round(answer.float().numpy().astype(np.float64), 6).tolist()
        golden = {
            "about": f"{name}, made by make/convert_golden.py with transformers {transformers.__version__}",
            "prompt": PROMPT,
            "embeddings_hf" if name == "bert" else "logits_last_hf": rounded,
            "f16": converted(folder, "f16"),
        }
        (OUT / f"{name}.json").write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
        print(name, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


main()
