"""Writes ../tokenizers/families.json.gz and the vocabularies that it speaks of: every pre-tokenizer of GGUF files, and
the tokenizers that are no byte-level BPE.

Ids are those of the `tokenizers` library and of sentencepiece; nothing here needs llama.cpp. The patterns are as the
models' own tokenizer.json files state them.
"""

import collections
import gzip
import io
import json
from pathlib import Path

import gguf
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from texts import TEXTS
from vocabularies import BYTE, CONTROL, CORPUS, NORMAL, UNKNOWN

OUT = Path(__file__).parent.parent / "tokenizers"

# What only some pre-tokenizers tell apart.
MORE = [
    "1234567 12 1234a 1234. 1,234,567 ½1234 ٣٤٥٦٧ 1234_ 12345é",
    "HelloWorld helloWORLD HTTPServer iPhone ÉcoleÀ ǅungla ʰa",
    "Don't DON'T we'LL John's'S '\u017f 'ſ",
    "中文a中B文 々〇々 漢字かなカナ 한국어ㄱㄴ ㄅㄆ ，。！…“”—",
    "ភាសាខ្មែរ ไทยไทย မြန်မာ हिन्दी বাংলা",
    "a/b//c /\n/ x/\r\n ;/\n\n",
    "  \n \t\n\n   x \r\n\r\n  \r y\u3000\n",
    " " * 5 + "x" + " " * 9 + "y" + " " * 17,
    "$x #y @z -w .q (foo) [bar] {baz} <qux> \\n `code` ~tilde |pipe",
    "€5 £6 +7 =8 ^9 §10 ©11 ™12",
    "snake_case __init__ a‿b",
    "<sentinel:12> IMGIMGABCZ IMGIMGABCDEZ    four  two\tand\nline",
    "e\u0301te\u0301 a\u20dd \u0903x n\u0303\u0303",
    "\u200b\u200d\ufeff\ue000 \u0378",
    "one two three four five six",
    "Türkiye'nin İstanbul'da ılık",
    "ＦＵＬＬｗｉｄｔｈ ﬁ ﬂ ² ㎏",
]
ALL = TEXTS + MORE

CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"


def qwen(number, word=WORD, signs=SIGNS, spaces=SPACES, contraction=CONTRACTION + "|"):
    return f"{contraction}{word}|{number}{signs}{spaces}"


def cased(number, contraction="", signs=r"| ?[^\s\p{L}\p{N}]+[\r\n/]*"):
    sign = r"[^\r\n\p{L}\p{N}]?"
    return (
        f"{sign}[{UPPER}]*[{LOWER}]+{contraction}|{sign}[{UPPER}]+[{LOWER}]*{contraction}"
        f"|{number}{signs}{SPACES}"
    )


NUMBER, THREE = r"\p{N}", r"\p{N}{1,3}"
HAN_HANGUL = "[一-龥ࠀ-一가-\ud7ff]+"
CJK = "[一-龥\u3040-ゟ゠-ヿ]+"
IDENTIFIER = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
DEEPSEEK3 = IDENTIFIER + r"| ?[\p{P}\p{S}]+[\r\n]*" + SPACES
BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"
POWERS = "".join(rf"|\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4, "1,2")) + r"|\s{1}"
NOT_HAN = r"&&[^\p{Han}]"
KIMI = r"[\p{Han}]+|" + cased(THREE, CONTRACTION + "?", SIGNS).replace(f"[{UPPER}]", f"[{UPPER}{NOT_HAN}]").replace(
    f"[{LOWER}]", f"[{LOWER}{NOT_HAN}]"
)

# The expressions, one after another, of each `tokenizer.ggml.pre`; of those that share them, one name.
PATTERNS = {
    "gpt-2": [GPT2],
    "smollm": [NUMBER, GPT2],
    "llama-bpe": [qwen(THREE)],
    "glm4": [qwen(THREE)],
    "dbrx": [qwen(THREE)],
    "qwen2": [qwen(NUMBER)],
    "qwen35": [qwen(NUMBER, r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*")],
    "jais-2": [qwen(THREE, spaces=r"|\s*[\r\n]+" + POWERS)],
    "minicpm5": [THREE, qwen(r"\p{N}+")],
    "ufakzeka": [qwen(NUMBER, contraction="")],
    "seed-coder": [qwen(NUMBER, signs=r"| ?[^\s\p{L}\p{N}\r\n]+")],
    "bailingmoe": [
        qwen(
            NUMBER,
            r"[^\r\n\p{L}\p{N}]?+\p{L}+",
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*",
            r"|\s*[\r\n]|\s+(?!\S)|\s+",
            "'(?i:[sdmt]|ll|ve|re)|",
        )
    ],
    "exaone-moe": [
        qwen(
            NUMBER,
            r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]?",
            r"|\s*[\r\n]|\s+(?!\S)|\s+",
        )
    ],
    "laguna": [r"[^\n]+|[\n]+", qwen(NUMBER)],
    "tekken": [cased(NUMBER)],
    "gpt-4o": [cased(THREE, CONTRACTION + "?")],
    "granite-embed-multi-97m": [cased(THREE, CONTRACTION + "?")],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", cased(THREE, CONTRACTION + "?")],
    "youtu": [
        "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + CJK,
        cased(NUMBER, CONTRACTION + "?"),
    ],
    "kimi-k2": [KIMI],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_HANGUL, NUMBER],
    "deepseek-v3": [THREE, CJK, DEEPSEEK3],
    "spark2_5": [THREE, CJK, IDENTIFIER + r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+", NUMBER],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "bloom": [BLOOM],
    "viking": [BLOOM, NUMBER],
    "chameleon": [
        "<sentinel:[0-9]+>",
        "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
        r"([\t\n]|    |  )",
        NUMBER,
        r"[\p{P}!-/:-@\[-`{-~]",
        GPT2,
    ],
}

# Those that take a piece which is a token as a whole, whatever the merges say.
WHOLE = {"llama-bpe", "glm4", "minicpm5", "tekken", "granite-embed-multi-97m", "youtu"}

BOS, EOS = "<|begin|>", "<|end|>"


def write(name, model, tokens, types, **extra):
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", "llama")
    writer.add_name(f"golden {name}")
    writer.add_tokenizer_model(model)
    if "pre" in extra:
        writer.add_tokenizer_pre(extra["pre"])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if "scores" in extra:
        writer.add_token_scores(extra["scores"])
    if "merges" in extra:
        writer.add_token_merges(extra["merges"])
    for key, value in extra.get("flags", {}).items():
        writer.add_bool(f"tokenizer.ggml.{key}", value)
    for key, value in extra.get("ids", {}).items():
        writer.add_uint32(f"tokenizer.ggml.{key}", value)
    if "charsmap" in extra:
        writer.add_precompiled_charsmap(extra["charsmap"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def protobuf_field(message, wanted):
    """The bytes of a field of a protobuf message, of which sentencepiece's library gives no other way to see."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 2:
            size = varint()
            if key >> 3 == wanted:
                return message[at : at + size]
            at += size
        elif key & 7 == 0:
            varint()
        else:
            at += 8 if key & 7 == 1 else 4
    raise KeyError(wanted)


def merges_of(tokenizer):
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def byte_level():
    """One byte-level BPE whose merges know no bounds, so that each bound of a pre-tokenizer shows."""
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = bytes_only
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1280, initial_alphabet=alphabet, show_progress=False, max_token_length=8)
    trained.train_from_iterator([text for text in ALL for _ in range(3)], trainer)
    # Words that are tokens, but that no merges lead to.
    whole = ["lighthouse", "Ġlamp", "ĠчRed", "HelloWorld", "ĠHTTPServer", "12345678"]
    merges = merges_of(trained)
    tokens = [BOS, EOS, *sorted(alphabet)]
    tokens += [left + right for left, right in merges]
    tokens += [word for word in whole if word not in tokens]
    vocab = {token: id for id, token in enumerate(dict.fromkeys(tokens))}
    write(
        "pre_tokenizers",
        "gpt2",
        [token.encode() for token in vocab],
        [CONTROL, CONTROL] + [NORMAL] * (len(vocab) - 2),
        pre="gpt-2",
        merges=[" ".join(pair) for pair in merges],
        ids={"bos_token_id": 0, "eos_token_id": 1},
    )
    result = {}
    for name, patterns in PATTERNS.items():
        judge = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=name in WHOLE))
        splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
        judge.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytes_only])
        result[name] = [judge.encode(text).ids for text in ALL]
    return result


def wordpiece():
    """BERT's tokenizer, with small letters and without."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # Not trained, because the library's trainer gives another vocabulary each time: the characters and the most
    # frequent parts of words.
    cutter = pre_tokenizers.BertPreTokenizer()
    folded = normalizers.BertNormalizer(lowercase=True)
    lines = CORPUS.read_text(encoding="utf-8").splitlines() + ALL
    parts = collections.Counter()
    for line in lines + [folded.normalize_str(line) for line in lines]:
        for word, _ in cutter.pre_tokenize_str(line):
            for start in range(len(word)):
                for end in range(start + 1, min(len(word), start + 8) + 1):
                    parts["##" * (start > 0) + word[start:end]] += 1
    single = lambda part: len(part.removeprefix("##")) == 1
    letters = sorted(part for part in parts if single(part) and ord(part[-1]) < 0x3400)
    longer = sorted((part for part in parts if not single(part)), key=lambda part: (-parts[part], part))
    vocab = list({token: id for id, token in enumerate([*special, *letters, *longer[:600]])}.items())
    trained = Tokenizer(models.WordPiece(vocab=dict(vocab), unk_token="[UNK]"))
    trained.add_special_tokens(special)
    trained.pre_tokenizer = cutter
    trained.encode_special_tokens = True
    # As GGUF files have it: the beginning of a word is marked, not what goes on.
    phantom = lambda token: token[2:] if token.startswith("##") else "\u2581" + token
    kinds = [UNKNOWN if token == "[UNK]" else CONTROL if token in special else NORMAL for token, _ in vocab]
    tokens = [token if kind != NORMAL else phantom(token) for (token, _), kind in zip(vocab, kinds)]
    write(
        "wordpiece",
        "bert",
        [token.encode() for token in tokens],
        kinds,
        ids={"cls_token_id": 2, "seperator_token_id": 3, "unknown_token_id": 1, "padding_token_id": 0},
    )
    result = {}
    for name, options in {
        "wordpiece": {"lowercase": True},
        "wordpiece cased": {"lowercase": False},
        "wordpiece accents": {"lowercase": True, "strip_accents": False},
    }.items():
        trained.normalizer = normalizers.BertNormalizer(**options)
        texts = [*ALL, "long" * 25, "long" * 25 + "x", "한글 각 İI ǅ ΑΣ"]
        result[name] = [trained.encode(text, add_special_tokens=False).ids for text in texts]
    # The same tokenizer as the library keeps it.
    trained.normalizer = normalizers.BertNormalizer(lowercase=True)
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    (OUT / "wordpiece").mkdir(exist_ok=True)
    trained.save(str(OUT / "wordpiece" / "tokenizer.json"), pretty=False)
    return result, texts


def unigram(merge_spaces):
    """SentencePiece's unigram model with a normalization of its own."""
    rules = {"\u00a0": " ", "\u3000": " ", "\t": " ", "\n": " ", "\r": " ", "\u200b": "", "e\u0301": "é", "ﬁ": "fi"}
    rules |= {"\uff21": "A", "\u2026": "...", "½": "1\u20442", "ﬂ": "fl", "\u0001": "", "\u3392": "MHz", "x\u0302": "X"}
    table = OUT / "rules.tsv"
    code = lambda text: " ".join(f"{ord(c):X}" for c in text)
    table.write_text("".join(f"{code(old)}\t{code(new)}\n" for old, new in rules.items()))
    model = io.BytesIO()
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="unigram",
        vocab_size=512,
        character_coverage=0.99,
        normalization_rule_tsv=str(table),
        remove_extra_whitespaces=merge_spaces,
        add_dummy_prefix=True,
        num_threads=1,
        minloglevel=2,
    )
    table.unlink()
    judge = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(judge.get_piece_size())
    kind = lambda i: UNKNOWN if judge.is_unknown(i) else CONTROL if judge.is_control(i) else NORMAL
    name = "unigram" if merge_spaces else "unigram spaces"
    write(
        name.replace(" ", "_"),
        "t5",
        [judge.id_to_piece(i).encode() for i in ids],
        [kind(i) for i in ids],
        scores=[judge.get_score(i) for i in ids],
        flags={"add_space_prefix": True, "remove_extra_whitespaces": merge_spaces},
        ids={"unknown_token_id": judge.unk_id(), "bos_token_id": judge.bos_id(), "eos_token_id": judge.eos_id()},
        # ModelProto.normalizer_spec.precompiled_charsmap
        charsmap=protobuf_field(protobuf_field(model.getvalue(), 3), 2),
    )
    # The library ends a text at a zero byte.
    texts = [text for text in ALL if "\0" not in text]
    return {name: [judge.encode(text, add_bos=False, add_eos=False) for text in texts]}, texts


def characters():
    """BPE of characters with byte tokens for the rest, as Gemma 4 has it."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "\u2581")
    # Lines apart, as GGUF's readers have them.
    lines = pre_tokenizers.Split(Regex(r"[^\n]+|[\n]+"), "isolated")
    trained.pre_tokenizer = lines
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False, max_token_length=8)
    # All else is left to the byte tokens.
    latin = [line for line in CORPUS.read_text(encoding="utf-8").splitlines() if all(ord(c) < 0x250 for c in line)]
    trained.train_from_iterator(latin, trainer)
    merges = merges_of(trained)
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = sorted({c for pair in merges for c in "".join(pair)} | {"\u2581", "\n"})
    runs = ["\n\n", "\n\n\n"]
    tokens = list(dict.fromkeys([*special, *bytes_, *letters, *runs, *(a + b for a, b in merges)]))
    merges += [("\n", "\n"), ("\n\n", "\n")]
    kinds = [UNKNOWN if t == "<unk>" else CONTROL if t in special else BYTE if t in bytes_ else NORMAL for t in tokens]
    judge = Tokenizer(
        models.BPE(
            vocab={token: id for id, token in enumerate(tokens)},
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    judge.normalizer = trained.normalizer
    judge.pre_tokenizer = lines
    judge.decoder = decoders.ByteFallback()
    judge.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    judge.encode_special_tokens = True
    write(
        "characters",
        "gemma4",
        [token.encode() for token in tokens],
        kinds,
        scores=[-1000.0] * len(tokens),
        merges=[" ".join(pair) for pair in merges],
        ids={"bos_token_id": 2, "eos_token_id": 1, "unknown_token_id": 3, "padding_token_id": 0},
    )
    return {"characters": [judge.encode(text).ids for text in ALL]}, ALL


def main():
    result = {"texts": ALL, "pre_tokenizers": byte_level(), "tokenizers": {}}
    for families, texts in (wordpiece(), unigram(True), unigram(False), characters()):
        for name, ids in families.items():
            result["tokenizers"][name] = {"texts": texts, "ids": ids}
    text = json.dumps(result, ensure_ascii=True, separators=(",", ":")) + "\n"
    (Path(OUT) / "families.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
