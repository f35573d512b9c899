"""What can be measured: engines and benchmarks, each a TOML file that README.md describes.

In: the folders `engines/` and `benchmarks/`. Out: checked values. Nothing is run here.
"""

import os
import shlex
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from string import Formatter

from errors import Usage

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Where cargo puts what it builds; the scripts beside this file put llama.cpp and the models there too.
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")

# What a command line may refer to, as {name}.
PLACEHOLDERS = {
    "bin", "model", "threads", "n_prompt", "n_gen", "depth", "kv", "repetitions", "prompt", "tokens", "prepared",
}


@dataclass(frozen=True)
class Benchmark:
    """One thing that is measured."""

    name: str
    title: str
    # `throughput`: tokens per second as the engine reports them. `first-token`: seconds of a process that reads a
    # short prompt and writes one token.
    kind: str = "throughput"
    n_prompt: int = 0
    n_gen: int = 0
    depth: int = 0
    # The format of keys and values; the engine's own default where empty.
    kv: str = ""
    # Repetitions within a process: more than one only where the preparation (a deep context) takes long.
    repetitions: int = 1
    rounds: int = 5

    @property
    def unit(self):
        """The unit of the headline."""
        return "s" if self.kind == "first-token" else "t/s"

    @property
    def higher_is_better(self):
        """Whether more is better."""
        return self.kind == "throughput"


@dataclass(frozen=True)
class Engine:
    """One program, built in one way and started with one set of flags."""

    name: str
    title: str
    # The folder of its programs, from the root of the repository, and the variable that names another.
    folder: str = ""
    folder_variable: str = ""
    # How to get it; part of the sentence that says that it is missing.
    get: str = ""
    # Makes {prepared}, the file that the engine runs in place of the model.
    prepare: tuple = ()
    # Command lines, and what is added to `bench` where a benchmark asks for a depth or a format of the KV cache.
    bench: tuple = ()
    bench_depth: tuple = ()
    bench_kv: tuple = ()
    answer: tuple = ()
    environment: dict = field(default_factory=dict)

    def bin(self):
        """The folder of its programs, or None where nothing says where it is."""
        named = os.environ.get(self.folder_variable, "") if self.folder_variable else ""
        if named:
            return Path(named).expanduser().resolve()
        if not self.folder:
            return None
        first, *rest = Path(self.folder).parts
        return TARGET.joinpath(*rest) if first == "target" else ROOT / self.folder

    def missing(self):
        """One sentence that says why it cannot run here, or None."""
        remedy = f": {self.get}" if self.get else ""
        folder = self.bin()
        if folder is None:
            return f"engine {self.name} needs {self.folder_variable}{remedy}"
        for command in (self.bench, self.answer):
            program = Path(command[0].format(bin=folder))
            if not os.access(program, os.X_OK):
                return f"engine {self.name} has no program {program}{remedy}"
        return None

    def lacks(self, benchmark):
        """What this benchmark needs and the engine has no flag for, or None."""
        if benchmark.depth and not self.bench_depth:
            return "a depth"
        if benchmark.kv and not self.bench_kv:
            return "a choice of KV cache"
        return None

    def variables(self, threads):
        """The environment variables that it needs."""
        return {name: value.format(threads=threads) for name, value in self.environment.items()}

    def command(self, template, **values):
        """A command line with everything filled in."""
        return [part.format(bin=self.bin(), **values) for part in template]


@dataclass(frozen=True)
class Answer:
    """A prompt, and how an engine must go on greedily before its time counts."""

    prompt: str
    tokens: int
    text: str
    # File names it holds for, with * and ?.
    models: tuple = ()
    # Where it comes from.
    whose: str = "answers.toml"


def engines():
    """Every engine there is, by name."""
    return _folder(HERE / "engines", _engine)


def benchmarks():
    """Every benchmark there is, by name."""
    return _folder(HERE / "benchmarks", _benchmark)


def answers(path=HERE / "answers.toml"):
    """The known answers."""
    found = []
    for table in _read(path).get("answer", []):
        table["models"] = tuple(table.get("models", ()))
        found.append(_build(Answer, table, path))
    return found


def choose(what, known, names):
    """The entries of `known` with these names, in that order; a sentence that lists them where one is unknown."""
    for name in names:
        if name not in known:
            raise Usage(f"no {what} '{name}'; there are {', '.join(known)}")
    return [known[name] for name in names]


def _folder(folder, build):
    found = {}
    for path in sorted(folder.glob("*.toml")):
        entry = build(_read(path), path)
        if entry.name != path.stem:
            raise Usage(f"{path} calls itself '{entry.name}'; name and file name must agree")
        found[entry.name] = entry
    return found


def _engine(table, path):
    for key in ("prepare", "bench", "bench_depth", "bench_kv", "answer"):
        text = table.get(key, "")
        if not isinstance(text, str):
            raise Usage(f"{path}: {key} must be a command line in one string")
        table[key] = tuple(shlex.split(text))
        for part in table[key]:
            for _, name, _, _ in Formatter().parse(part):
                if name is not None and name not in PLACEHOLDERS:
                    raise Usage(f"{path}: {key} has {{{name}}}; there are {', '.join(sorted(PLACEHOLDERS))}")
    for key in ("bench", "answer"):
        if not table[key]:
            raise Usage(f"{path}: {key} is missing")
    return _build(Engine, table, path)


def _benchmark(table, path):
    benchmark = _build(Benchmark, table, path)
    if benchmark.kind not in ("throughput", "first-token"):
        raise Usage(f"{path}: kind is '{benchmark.kind}'; there are throughput and first-token")
    if benchmark.kind == "throughput" and (benchmark.n_prompt > 0) == (benchmark.n_gen > 0):
        raise Usage(f"{path}: exactly one of n_prompt and n_gen must be above 0")
    if benchmark.rounds < 1 or benchmark.repetitions < 1:
        raise Usage(f"{path}: rounds and repetitions start at 1")
    return benchmark


def _build(kind, table, path):
    known = {f.name: f.type for f in fields(kind)}
    for key, value in table.items():
        if key not in known:
            raise Usage(f"{path}: unknown key '{key}'; there are {', '.join(known)}")
        if not isinstance(value, known[key]):
            raise Usage(f"{path}: {key} must be of type {known[key].__name__}")
    try:
        return kind(**table)
    except TypeError as error:
        raise Usage(f"{path}: {str(error).split('() ')[-1]}") from None


def _read(path):
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise Usage(f"{path} is not TOML: {error}") from None
