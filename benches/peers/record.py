"""The record: one line of CSV for each turn, kept or not, so that every figure can be made again.

README.md describes the columns. Rows are only ever added.
"""

import csv
import datetime
import hashlib
import os
import platform
import re
from dataclasses import asdict, dataclass, fields

from config import ROOT
from errors import Usage

KEPT, DISTURBED = "kept", "disturbed"


@dataclass(frozen=True)
class Row:
    """One turn of one engine."""

    time: str
    cpu: str
    processors: int
    kernel: str
    governor: str
    model: str
    model_bytes: int
    model_sha256: str
    benchmark: str
    engine: str
    engine_version: str
    program_sha256: str
    threads: int
    round: int
    status: str
    value: float
    unit: str
    peak_rss_bytes: int
    wall_s: float
    cpu_s: float
    foreign_cpu_s: float
    answer: str
    command: str

    @property
    def kept(self):
        """Whether the turn counts."""
        return self.status == KEPT


def read(path):
    """All rows of a record."""
    names = [f.name for f in fields(Row)]
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, None)
            if header != names:
                raise Usage(f"{path} is no record: its first line is not {','.join(names)}")
            rows = []
            for line in lines:
                if len(line) != len(names):
                    raise Usage(f"{path}, line {lines.line_num}: {len(line)} fields in place of {len(names)}")
                try:
                    rows.append(Row(*(f.type(text) for f, text in zip(fields(Row), line))))
                except ValueError as error:
                    raise Usage(f"{path}, line {lines.line_num}: {error}") from None
            return rows
    except OSError as error:
        raise Usage(f"the record {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Usage(f"{path} is no record: it is not text") from None


def append(path, row):
    """Adds one row, and the header before the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            lines.writerow(f.name for f in fields(Row))
        lines.writerow(asdict(row).values())


def default_path():
    """Where the record of today on this machine goes."""
    slug = re.sub(r"[^a-z0-9]+", "-", cpu().lower()).strip("-")
    return ROOT / "benches" / "record" / f"{datetime.date.today()}-{slug}.csv"


def now():
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine():
    """The columns that describe this machine."""
    return {"cpu": cpu(), "processors": os.cpu_count(), "kernel": platform.release(), "governor": _governor()}


def cpu():
    """The name of the processor, as the system gives it."""
    names = {}
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition(":")
            names.setdefault(key.strip(), value.strip())
    # x86 has a model name; ARM boards have the board's name, or at least the architecture.
    return names.get("model name") or names.get("Model") or platform.machine()


def model(path):
    """The columns that describe a model file."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"GGUF":
                raise Usage(f"{path} is not a GGUF file")
        return {"model": path.name, "model_bytes": path.stat().st_size, "model_sha256": sha256(path)}
    except OSError as error:
        raise Usage(f"the model {path} cannot be read: {error.strerror}") from None


def sha256(path):
    """The checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _governor():
    try:
        with open("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "unknown"
