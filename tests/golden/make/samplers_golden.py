#!/usr/bin/env python3
"""Writes ../samplers/samplers.json.gz: what llama.cpp's samplers leave of some logits, and with what probabilities.

Needs the package `llama-cpp-python`. Logits, histories and parameters are random with a seed; each case is a chain in the
letters of llama.cpp's `--sampler-seq`, its parameters, and what is left of the logits after it and a softmax.
"""

import ctypes
import gzip
import json
from pathlib import Path

import llama_cpp
import numpy as np

import llamacpp

HERE = Path(__file__).parent
OUT = HERE.parent / "samplers" / "samplers.json.gz"
VOCABULARY = HERE.parent / "tokenizers" / "llama_bpe.gguf"

# llama.cpp's own defaults, but nothing switched on.
OFF = {
    "temp": 1.0,
    "dynatemp_range": 0.0,
    "dynatemp_exp": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical": 1.0,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
    "repeat_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repeat_last_n": 64,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_penalty_last_n": 64,
    "dry_breakers": [],
    "logit_bias": [],
    "mirostat": None,
}


def step(letter, p, file, count):
    """A llama.cpp sampler."""
    if letter == "e":
        return llama_cpp.llama_sampler_init_penalties(
            count, p["repeat_last_n"], p["repeat_penalty"], p["frequency_penalty"], p["presence_penalty"]
        )
    if letter == "d":
        breakers = [text.encode() for text in p["dry_breakers"]]
        return llama_cpp.llama_sampler_init_dry(
            file.vocab, *DRY_TRAIN, p["dry_multiplier"], p["dry_base"], p["dry_allowed_length"],
            p["dry_penalty_last_n"], (ctypes.c_char_p * len(breakers))(*breakers), len(breakers),
        )  # fmt: skip
    if letter == "s":
        return llama_cpp.llama_sampler_init_top_n_sigma(p["top_n_sigma"])
    if letter == "k":
        return llama_cpp.llama_sampler_init_top_k(p["top_k"])
    if letter == "y":
        return llama_cpp.llama_sampler_init_typical(p["typical"], 0)
    if letter == "p":
        return llama_cpp.llama_sampler_init_top_p(p["top_p"], 0)
    if letter == "m":
        return llama_cpp.llama_sampler_init_min_p(p["min_p"], 0)
    if letter == "x":
        return llama_cpp.llama_sampler_init_xtc(p["xtc_probability"], p["xtc_threshold"], 0, 1)
    if letter == "t":
        return llama_cpp.llama_sampler_init_temp_ext(p["temp"], p["dynatemp_range"], p["dynatemp_exp"])
    raise ValueError(letter)


# What is forbidden may stay among the candidates, with no probability.
POSSIBLE = 1e-30

# Some versions want the length of the training context too.
DRY_TRAIN = (0,) if len(llama_cpp.llama_sampler_init_dry.argtypes) == 8 else ()


def softmax(kept):
    """Probabilities of (id, logit) pairs, by id, the impossible with 0."""
    logits = np.array([logit for _, logit in kept], np.float64)
    powers = np.exp(logits - logits.max())
    return sorted((token, p) for (token, _), p in zip(kept, powers / powers.sum()))


def run(logits, history, chain, p, file):
    count = len(logits)
    data = (llama_cpp.llama_token_data * count)()
    for token, logit in enumerate(logits):
        data[token].id, data[token].logit = token, float(logit)
    array = llama_cpp.llama_token_data_array(data=data, size=count, selected=-1, sorted=False)
    samplers = []
    if p["logit_bias"]:
        biases = (llama_cpp.llama_logit_bias * len(p["logit_bias"]))()
        for bias, (token, value) in zip(biases, p["logit_bias"]):
            bias.token, bias.bias = token, float(value)
        samplers.append(llama_cpp.llama_sampler_init_logit_bias(count, len(biases), biases))
    samplers += [step(letter, p, file, count) for letter in chain]
    if p["mirostat"]:
        samplers.append(llama_cpp.llama_sampler_init_mirostat_v2(1, *p["mirostat"]))
    for sampler in samplers:
        for token in history:
            llama_cpp.llama_sampler_accept(sampler, token)
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
        llama_cpp.llama_sampler_free(sampler)
    return softmax([(array.data[i].id, array.data[i].logit) for i in range(array.size)])


def repetitive(rng, count, length):
    """Tokens in which longer and shorter stretches come again."""
    tokens = list(rng.integers(0, count, 6))
    while len(tokens) < length:
        if rng.random() < 0.6:
            begin = int(rng.integers(0, len(tokens)))
            tokens += tokens[begin : begin + int(rng.integers(2, 9))]
        else:
            tokens += list(rng.integers(0, count, int(rng.integers(1, 4))))
    # It ends within something that was there before.
    begin = int(rng.integers(0, length // 2))
    tokens[length - 5 : length] = tokens[begin : begin + 5]
    return [int(token) for token in tokens[:length]]


def main():
    file = llamacpp.File(VOCABULARY, vocab_only=True)
    count = llama_cpp.llama_vocab_n_tokens(file.vocab)
    rng = np.random.default_rng(20261125)
    # Flat, as a model's, and nearly sure.
    scales = (0.5, 2.0, 6.0)
    logits = [np.round(rng.normal(0, scale, count), 4).astype(np.float32) for scale in scales]
    histories = [repetitive(rng, count, length) for length in (20, 60, 200)]
    texts = ["the end.\nthe end.\nThe end of the", "a: b a: b a", "one two three one two three one two"]
    histories += [file.encode(text) for text in texts]
    cases = []

    def add(chain, logits_index=None, history=None, **changes):
        p = OFF | changes
        for which in range(len(logits)) if logits_index is None else [logits_index]:
            past = [] if history is None else histories[history]
            kept = run(logits[which], past, chain, p, file)
            # What is possible, and how likely the best and what occurred before are.
            bits = sum(1 << token for token, p in kept if p > POSSIBLE)
            best = sorted(kept, key=lambda pair: -pair[1])[:16]
            shown = {token for token, _ in best} | set(past)
            cases.append({
                "chain": chain,
                "logits": which,
                "history": history,
                "parameters": changes,
                "kept": f"{bits:x}",
                "probabilities": [[token, float(f"{p:.6g}")] for token, p in kept if token in shown],
            })  # fmt: skip

    for temp in (0.0, 0.3, 1.7):
        add("t", temp=temp)
    for spread, power in ((0.5, 1.0), (1.5, 2.0), (0.3, 0.5)):
        add("kt", top_k=50, temp=1.0, dynatemp_range=spread, dynatemp_exp=power)
        add("st", top_n_sigma=1.0, temp=0.8, dynatemp_range=spread, dynatemp_exp=power)
    for k in (1, 7, 40):
        add("k", top_k=k)
    for p in (0.1, 0.5, 0.95):
        add("p", top_p=p)
        add("y", typical=p)
    for p in (0.02, 0.3):
        add("m", min_p=p)
    for n in (0.7, 1.5, 2.5):
        add("s", top_n_sigma=n)
    for threshold in (0.001, 0.01, 0.1):
        add("x", xtc_probability=1.0, xtc_threshold=threshold)
    for history in range(len(histories)):
        add("e", 1, history, repeat_penalty=1.3, repeat_last_n=30)
        add("e", 1, history, frequency_penalty=0.4, presence_penalty=-0.3)
        add("ke", 2, history, top_k=100, repeat_penalty=1.2, frequency_penalty=0.2, presence_penalty=0.5)
        for breakers in ([], ["\n", ":", '"', "*"], ["e", "he end"], [" two", "the"]):
            add("d", 0, history, dry_multiplier=0.8, dry_breakers=breakers)
            add("d", 1, history, dry_multiplier=0.5, dry_base=1.2, dry_allowed_length=1,
                dry_penalty_last_n=200, dry_breakers=breakers)  # fmt: skip
        add("kd", 1, history, top_k=60, dry_multiplier=2.0, dry_breakers=["\n"])
    for tau in (0.5, 2.0, 3.5):
        add("", mirostat=[tau, 0.1])
    biases = [[3, 2.5], [9, -100.0], [17, "-inf"], [40, 0.125]]
    add("", logit_bias=biases)
    add("k", logit_bias=biases, top_k=30)
    defaults = dict(top_k=40, top_p=0.95, min_p=0.05, temp=0.8)
    add("edskypmxt", None, 2, **defaults)
    everything = defaults | dict(
        repeat_penalty=1.1, frequency_penalty=0.1, dry_multiplier=0.8, dry_breakers=["\n"], top_n_sigma=2.0,
        typical=0.9, xtc_probability=1.0, xtc_threshold=0.05, dynatemp_range=0.3,
    )  # fmt: skip
    for chain in ("edskypmxt", "txmpykse", "pmtkd", "xkpmt", "mtpkx"):
        for history in (1, 2):
            add(chain, None, history, **everything)

    OUT.parent.mkdir(exist_ok=True)
    whole = {
        "made_with": llamacpp.VERSION,
        "vocabulary": VOCABULARY.name,
        "logits": [[float(f"{x:.6g}") for x in row] for row in logits],
        "histories": histories,
        "cases": cases,
    }
    lines = json.dumps(whole, separators=(",", ":")).replace('{"chain"', '\n{"chain"')
    OUT.write_bytes(gzip.compress((lines + "\n").encode(), 9, mtime=0))
    print(f"{OUT.name}: {len(cases)} cases, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
