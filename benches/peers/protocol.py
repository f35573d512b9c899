"""What engines answer, and whether it is the answer to what was asked.

A benchmark's answer is llama-bench's JSON: a list with one entry. A continuation is bare text on stdout.
"""

import json
import statistics
from dataclasses import dataclass
from pathlib import PurePath

from errors import Failure


@dataclass(frozen=True)
class Speed:
    """One entry of llama-bench's JSON."""

    tokens_per_second: float
    version: str


def speed(text, engine, benchmark, model, threads):
    """The speed that an engine reports, after checking that it did what it was asked to do."""
    start = text.find("[")
    try:
        entries = json.loads(text[start:] if start >= 0 else text)
    except ValueError:
        raise Failure(f"engine {engine} did not answer in JSON: {_first(text)}") from None
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise Failure(f"engine {engine} must answer with a list of one entry: {_first(text)}")
    entry = entries[0]
    asked = {"n_prompt": benchmark.n_prompt, "n_gen": benchmark.n_gen, "n_threads": threads}
    if benchmark.depth:
        asked["n_depth"] = benchmark.depth
    if benchmark.kv:
        asked |= {"type_k": benchmark.kv, "type_v": benchmark.kv}
    for key, value in asked.items():
        if entry.get(key) != value:
            raise Failure(f"engine {engine} ran with {key} = {entry.get(key)} where {value} was asked for")
    ran = PurePath(str(entry.get("model_filename"))).name
    if ran != model.name:
        raise Failure(f"engine {engine} ran the model {ran} where {model.name} was asked for")
    samples = entry.get("samples_ts")
    if not isinstance(samples, list) or len(samples) != benchmark.repetitions:
        raise Failure(f"engine {engine} reports samples_ts = {samples}, not {benchmark.repetitions} samples")
    if not all(isinstance(s, (int, float)) and s > 0 for s in samples):
        raise Failure(f"engine {engine} reports samples_ts = {samples}: a speed is a number above 0")
    return Speed(statistics.median(samples), str(entry.get("build_commit", "unknown")))


def continuation(text, engine, model, answer):
    """The continuation that an engine wrote, after checking that it is the known one."""
    written = text.strip()
    if not written:
        raise Failure(f"engine {engine} wrote nothing on {model} after {answer.prompt!r}: its time does not count")
    if written != answer.text.strip():
        raise Failure(
            f"engine {engine} went on {written!r} on {model} after {answer.prompt!r} where {answer.whose} has "
            f"{answer.text.strip()!r}: its time does not count"
        )
    return written


def _first(text):
    line = (text.strip() or "nothing").splitlines()[0]
    return line if len(line) <= 120 else line[:120] + "..."
