"""Interleaved rounds: A B A B, each turn checked, disturbed turns repeated, everything recorded.

In: engines, benchmarks, models. Out: rows in the record. What the record already holds is not measured again, so a
run that was cut short, or that stops after so many seconds on purpose, goes on where it stopped.
"""

import fnmatch
import os
import shlex
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import protocol
import record
import turn
from config import ROOT, TARGET, Answer, Benchmark
from errors import Failure

# How often a turn is tried before the machine counts as too busy.
MOST_ATTEMPTS = 5
# What engines are asked where answers.toml knows nothing about the file: then they must agree with each other.
PROMPT, TOKENS = "The capital of France is", 4


@dataclass
class Run:
    """What was asked for, and what is known so far."""

    engines: list
    benchmarks: list
    models: list
    threads: int
    path: Path
    answers: list
    rounds: int | None = None
    seconds: float | None = None
    # The share of one processor that others may take while a turn runs.
    foreign: float = 0.05
    say: object = lambda text: print(text, file=sys.stderr, flush=True)
    # File name of the model -> what was agreed on; (model, engine) -> the continuation it was seen to write.
    agreed: dict = field(default_factory=dict)
    checked: dict = field(default_factory=dict)
    # The same pairs, where the answer was wrong -> the sentence that says so.
    refused: dict = field(default_factory=dict)

    def measure(self):
        """Runs whatever the record lacks. Whether nothing is left to do."""
        started = time.monotonic()
        machine = record.machine()
        described = {path: record.model(path) for path in self.models}
        programs = {engine.name: _program(engine) for engine in self.engines}
        prepared = {
            (engine.name, path): self._prepare(engine, path, described[path])
            for engine in self.engines
            for path in self.models
        }
        for file in {str(file) for file in prepared.values()}:
            _cache_anew(file)
        done = self._done()
        left = list(self._left(described, programs, done))
        for number, (round_, path, benchmark, engine) in enumerate(left):
            if self.seconds is not None and time.monotonic() - started > self.seconds:
                self.say(f"{len(left) - number} turns are left; the same command goes on with them")
                return False
            file = prepared[engine.name, path]
            if not self._may_count(engine, path, file):
                continue
            columns = {
                **machine,
                **described[path],
                "benchmark": benchmark.name,
                "engine": engine.name,
                "program_sha256": programs[engine.name],
                "threads": self.threads,
                "round": round_,
                "unit": benchmark.unit,
                "answer": self.checked[path, engine.name],
            }
            self._turn(engine, benchmark, path, file, columns)
        if self.refused:
            raise Failure("; ".join(self.refused.values()))
        return True

    def _left(self, described, programs, done):
        most = max(self._rounds(benchmark) for benchmark in self.benchmarks)
        for round_ in range(1, most + 1):
            for path in self.models:
                for benchmark in self.benchmarks:
                    for engine in self.engines:
                        key = (described[path]["model_sha256"], benchmark.name, engine.name, programs[engine.name])
                        lacks = engine.lacks(benchmark)
                        if lacks and round_ == 1:
                            self.say(f"engine {engine.name} has no flag for {lacks}: left out of {benchmark.name}")
                        if not lacks and done.get(key, 0) < round_ <= self._rounds(benchmark):
                            yield round_, path, benchmark, engine

    def _rounds(self, benchmark):
        return self.rounds or benchmark.rounds

    def _done(self):
        done = {}
        for row in record.read(self.path) if self.path.exists() else ():
            if row.kept and row.threads == self.threads and row.cpu == record.cpu():
                key = (row.model_sha256, row.benchmark, row.engine, row.program_sha256)
                done[key] = done.get(key, 0) + 1
        return done

    def _prepare(self, engine, path, described):
        """The file that the engine runs: the model, or what the engine makes of it, once."""
        if not engine.prepare:
            return path
        made = TARGET / "peers" / "prepared" / f"{described['model_sha256'][:16]}-{_program(engine)[:16]}" / path.name
        if not made.exists():
            made.parent.mkdir(parents=True, exist_ok=True)
            part = made.with_suffix(".part")
            turn.take(engine.command(engine.prepare, model=path, prepared=part, threads=self.threads))
            part.rename(made)
        return made

    def _may_count(self, engine, path, file):
        """Whether the engine writes the known continuation: asked once, before any time counts."""
        pair = path, engine.name
        if pair not in self.checked and pair not in self.refused:
            answer = self._known(path)
            text = turn.take(self._answer_command(engine, file, answer), engine.variables(self.threads)).stdout
            if not answer.text:
                answer = replace(answer, text=text, whose=f"engine {engine.name}")
            try:
                self.checked[pair] = protocol.continuation(text, engine.name, path.name, answer)
                self.agreed[path] = answer
            except Failure as failure:
                self.refused[pair] = str(failure)
                self.say(f"left out: {failure}")
        return pair in self.checked

    def _known(self, path):
        """What is known about the file, or what the first engine wrote, or only the question."""
        if path in self.agreed:
            return self.agreed[path]
        for answer in self.answers:
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in answer.models):
                return answer
        return Answer(PROMPT, TOKENS, "")

    def _answer_command(self, engine, file, answer):
        return engine.command(
            engine.answer, model=file, threads=self.threads, prompt=answer.prompt, tokens=answer.tokens
        )

    def _turn(self, engine, benchmark: Benchmark, path, file, columns):
        if benchmark.kind == "first-token":
            command = self._answer_command(engine, file, replace(self._known(path), tokens=1))
        else:
            command = self._bench_command(engine, benchmark, file)
        for _ in range(MOST_ATTEMPTS):
            taken = turn.take(command, engine.variables(self.threads))
            if benchmark.kind == "first-token":
                # Its text was checked before; one token alone need not be any text.
                value, version = taken.seconds, ""
            else:
                said = protocol.speed(taken.stdout, engine.name, benchmark, file, self.threads)
                value, version = said.tokens_per_second, said.version
            status = record.DISTURBED if taken.disturbed(self.foreign) else record.KEPT
            row = record.Row(
                **columns,
                time=record.now(),
                engine_version=version,
                status=status,
                value=round(value, 4),
                peak_rss_bytes=taken.peak_rss_bytes,
                wall_s=round(taken.seconds, 3),
                cpu_s=round(taken.cpu_seconds, 3),
                foreign_cpu_s=round(taken.foreign_seconds, 3),
                command=_written(command, engine),
            )
            record.append(self.path, row)
            self.say(
                f"round {row.round}  {row.model}  {row.benchmark}  {row.engine}: {row.value:.4g} {row.unit}"
                + ("" if row.kept else f"  discarded: others used {row.foreign_cpu_s:.2f} s of CPU")
            )
            if row.kept:
                return
        raise Failure(
            f"{MOST_ATTEMPTS} turns of {engine.name} in {benchmark.name} were disturbed: "
            "stop what else runs on this machine and run the same command again"
        )

    def _bench_command(self, engine, benchmark, file):
        template = engine.bench
        template += engine.bench_depth if benchmark.depth else ()
        template += engine.bench_kv if benchmark.kv else ()
        return engine.command(
            template,
            model=file,
            threads=self.threads,
            n_prompt=benchmark.n_prompt,
            n_gen=benchmark.n_gen,
            depth=benchmark.depth,
            kv=benchmark.kv,
            repetitions=benchmark.repetitions,
        )


def _cache_anew(path):
    """Reads a file into the page cache as if for the first time.

    Where pages lie depends on when and by whom the file was read, and scattered ones cost up to a fifth of a decode: of
    engines that map the file, not of those that copy it.
    """
    with open(path, "rb", buffering=0) as file:
        # Pages that are not yet on the disk stay.
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        piece = bytearray(1 << 20)
        while file.readinto(piece):
            pass


def _program(engine):
    """Which build of the engine this is."""
    return record.sha256(engine.command(engine.bench[:1])[0])


def _written(command, engine):
    """A command line for others to type: paths from the root of the repository, or from the folder that a variable names."""
    folder = f"{engine.bin()}/"
    named = bool(os.environ.get(engine.folder_variable))

    def written(part):
        if named and part.startswith(folder):
            return f'"${engine.folder_variable}"/{shlex.quote(part[len(folder) :])}'
        return shlex.quote(part.removeprefix(f"{ROOT}/"))

    return " ".join(map(written, command))
