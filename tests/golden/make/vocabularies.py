"""Small vocabularies of 512 tokens, trained here on corpus.txt, in the shapes that GGUF files carry.

`byte_bpe()` is one byte-level BPE used under four pre-tokenizers, `sentencepiece_bpe()` a SentencePiece BPE
with byte fallback. Both return a `Vocabulary`, which knows how to write itself into a GGUF writer.
Training is deterministic: the same versions of the libraries give the same vocabulary.
"""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

SIZE = 512
CORPUS = Path(__file__).with_name("corpus.txt")

# GGUF's token types.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"

# In the vocabulary, but no merge leads to them: only a tokenizer that looks whole words up first
# (llama-bpe) may give them.
WITHOUT_MERGES = ["lanternfish", "Ġlanternfish"]

# Merges across what a pre-tokenizer must keep apart (digits, newlines, contractions, punctuation).
# A training run under a pre-tokenizer would never learn them, and a missing split would go unseen.
ACROSS = [
    "1 2", "3 4", "12 34", "5 6", "0 0", "00 0", "Ġ 1", "Ċ Ċ", "ĊĊ Ċ", "č Ċ", ". Ċ", "Ġ Ċ", "ĉ Ċ",
    "Ġ Ġ", "ĠĠ ĠĠ", "ĠĠĠĠ ĠĠĠĠ", "! !", ". .", ".. ..", "' s", "' S", "' t", "' r", "'r e", "x '", "Ġ '",
    "a 1", "1 b", "! Ċ", "o ,", "= =", "Ġ !", "s Ġ",
]  # fmt: skip

# The patterns as the models' own tokenizer.json files state them.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def pre_tokenizer(name):
    """The pre-tokenizer that GGUF's `tokenizer.ggml.pre` names, out of the `tokenizers` library's parts."""
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    match name:
        case "gpt-2":
            return gpt2
        case "smollm":
            return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])
        case "llama-bpe":
            pattern = _WORDS + r"\p{N}{1,3}" + _REST
        case "qwen2":
            pattern = _WORDS + r"\p{N}" + _REST
        case _:
            raise ValueError(f"no pre-tokenizer {name!r}")
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), bytes_only])


@dataclass
class Vocabulary:
    """What a GGUF file says of its vocabulary, and the library's own tokenizer as the judge."""

    model: str  # tokenizer.ggml.model
    pre: str  # tokenizer.ggml.pre
    tokens: list[bytes]
    types: list[int]
    bos: int
    eos: int
    judge: object
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def write(self, writer):
        """Adds the vocabulary's metadata to a `gguf.GGUFWriter`."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        if self.scores:
            writer.add_token_scores(self.scores)
        writer.add_token_types(self.types)
        if self.merges:
            writer.add_token_merges(self.merges)
        writer.add_bos_token_id(self.bos)
        writer.add_eos_token_id(self.eos)
        if UNKNOWN in self.types:
            writer.add_unk_token_id(self.types.index(UNKNOWN))
        writer.add_add_bos_token(self.model == "llama" or self.pre == "llama-bpe")
        writer.add_add_eos_token(False)

    def encode(self, text, special=False):
        """Ids of a text, with no token added; `special` lets control tokens in the text count as such."""
        if self.model == "llama":
            if special:
                raise ValueError("SentencePiece itself never reads control tokens out of text")
            return self.judge.encode(text, add_bos=False, add_eos=False)
        self.judge.encode_special_tokens = not special
        return self.judge.encode(text, add_special_tokens=False).ids


def _train_merges(pre, count):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + count, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS.read_text(encoding="utf-8").splitlines(keepends=True), trainer)
    return [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def byte_bpe(pre):
    """A byte-level BPE: two control tokens, 256 bytes, 252 merges less the two words that have none."""
    tokens = [BOS, EOS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *WITHOUT_MERGES]
    known, merges = set(tokens), []
    learnt = _train_merges(pre_tokenizer("gpt-2"), 2 * SIZE)
    room = SIZE - len(tokens)
    # A merge of ACROSS comes early enough to win over the learnt ones, but after the tokens it is made of.
    for merge in [*learnt[: room // 4], *ACROSS, *learnt[room // 4 :]]:
        left, right = merge.split(" ")
        if len(merges) < room and left in known and right in known and left + right not in known:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(merge)
    if len(tokens) != SIZE:
        raise RuntimeError(f"the corpus gives {len(tokens)} tokens, not {SIZE}")

    judge = Tokenizer(
        models.BPE(
            vocab={token: id for id, token in enumerate(tokens)},
            merges=[tuple(merge.split(" ")) for merge in merges],
            ignore_merges=pre == "llama-bpe",
        )
    )
    judge.pre_tokenizer = pre_tokenizer(pre)
    judge.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (BOS, EOS)])
    return Vocabulary(
        model="gpt2",
        pre=pre,
        tokens=[token.encode() for token in tokens],
        types=[CONTROL, CONTROL] + [NORMAL] * (SIZE - 2),
        merges=merges,
        bos=0,
        eos=1,
        judge=judge,
    )


def sentencepiece_bpe():
    """A SentencePiece BPE with the settings of Llama 2's, trained on the corpus's European lines.

    All else (Hebrew, Chinese, emoji, ...) is left to the byte fallback.
    """
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    european = [line for line in lines if all(ord(c) < 0x530 or 0x2000 <= ord(c) < 0x2070 for c in line)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(european),
        model_writer=model,
        model_type="bpe",
        vocab_size=SIZE,
        character_coverage=0.99,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    judge = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(judge.get_piece_size())
    kind = lambda i: (
        UNKNOWN if judge.is_unknown(i) else CONTROL if judge.is_control(i) else BYTE if judge.is_byte(i) else NORMAL
    )
    return Vocabulary(
        model="llama",
        pre="default",
        tokens=[judge.id_to_piece(i).encode() for i in ids],
        scores=[judge.get_score(i) for i in ids],
        types=[kind(i) for i in ids],
        bos=judge.bos_id(),
        eos=judge.eos_id(),
        judge=judge,
    )
