"""From a record to tables: medians, and the ratio of medians to a baseline.

In: rows. Out: Markdown. README holds such tables between two markers, of which the first says how it was made.
"""

import re
import statistics
from pathlib import Path

import record
from config import ROOT
from errors import Failure, Usage

BASELINE = "stonechat"
BEGIN = re.compile(r"<!-- table of (?P<record>\S+)(?: baseline (?P<baseline>\S+))?(?P<together> by model)? -->\n")
SERVED = re.compile(r"serve-(\d+)-clients-(\d+)-slots")
END = "<!-- end of table -->\n"


class Table:
    """Medians of the kept turns of a record."""

    def __init__(self, rows):
        self.rows = [row for row in rows if row.kept]
        if not self.rows:
            raise Failure("the record has no turn that counts")
        self._one_of("cpu", "machines", ())
        self._one_of("threads", "thread counts", ())
        self._one_of("model_sha256", "files", ("model",))
        self._one_of("program_sha256", "builds", ("engine",))

    def _one_of(self, column, what, within):
        """Refuses to mix what cannot be compared."""
        seen = {}
        for row in self.rows:
            seen.setdefault(tuple(getattr(row, key) for key in within), {})[getattr(row, column)] = None
        for key, values in seen.items():
            if len(values) > 1:
                of = f" of {' '.join(key)}" if key else ""
                raise Failure(
                    f"the record mixes {what}{of} ({', '.join(str(v)[:16] for v in values)}): "
                    "they cannot be compared; measure into separate records"
                )

    def _names(self, column, **where):
        return list(dict.fromkeys(getattr(r, column) for r in self._select(**where)))

    def _select(self, **where):
        return [r for r in self.rows if all(getattr(r, key) == value for key, value in where.items())]

    def median(self, column="value", **where):
        """The median of a column over the turns, or None where there is none."""
        values = [getattr(row, column) for row in self._select(**where)]
        return statistics.median(values) if values else None

    def spread(self):
        """The largest distance between the quartiles of a group of turns, as a part of its median."""
        groups = {}
        for row in self.rows:
            groups.setdefault((row.model, row.benchmark, row.engine), []).append(row.value)
        several = [values for values in groups.values() if len(values) > 2]
        quarters = [(statistics.quantiles(v, method="inclusive"), statistics.median(v)) for v in several]
        return max(((q[2] - q[0]) / median for q, median in quarters), default=0.0)

    def foreign(self):
        """The share of one processor that others took while turns ran that count."""
        return sum(row.foreign_cpu_s for row in self.rows) / sum(row.wall_s for row in self.rows)

    def ratio(self, baseline, model, benchmark, engine):
        """How many times better than the engine the baseline is, by medians; None where one of them is missing."""
        ours = self.median(model=model, benchmark=benchmark, engine=baseline)
        theirs = self.median(model=model, benchmark=benchmark, engine=engine)
        if ours is None or theirs is None:
            return None
        unit = self._select(model=model, benchmark=benchmark)[0].unit
        return ours / theirs if unit == "t/s" else theirs / ours

    def markdown(self, path, baseline=BASELINE):
        """The tables, one for each model, and how they were made."""
        lines = []
        for model in self._names("model"):
            benchmarks = self._names("benchmark", model=model)
            units = [self._select(model=model, benchmark=b)[0].unit for b in benchmarks]
            size = self._select(model=model)[0].model_bytes
            lines += [f"{model} ({size / 1e6:.0f} MB):", ""]
            heads = [f"{b}, {u}" for b, u in zip(benchmarks, units)]
            lines += ["| engine | " + " | ".join(heads) + f" | peak RSS in {benchmarks[0]}, MB |"]
            lines += ["|---" * (len(heads) + 2) + "|"]
            for engine in self._names("engine", model=model):
                cells = [self._cell(baseline, model, b, engine) for b in benchmarks]
                rss = self.median("peak_rss_bytes", model=model, benchmark=benchmarks[0], engine=engine)
                cells += [f"{rss / 1e6:.0f}" if rss else ""]
                lines += [f"| {engine} | " + " | ".join(cells) + " |"]
            lines += [""]
        return "\n".join(lines + self._how(path, baseline)) + "\n"

    def by_model(self, path, baseline=BASELINE):
        """One table for all models, a row for each, and how it was made."""
        columns = [(b, e) for b in self._names("benchmark") for e in self._names("engine", benchmark=b)]
        units = {b: self._select(benchmark=b)[0].unit for b, _ in columns}
        lines = ["| model | " + " | ".join(f"{b} {e}, {units[b]}" for b, e in columns) + " |"]
        lines += ["|---" * (len(columns) + 1) + "|"]
        for model in self._names("model"):
            cells = [self._cell(baseline, model, b, e) for b, e in columns]
            lines += [f"| {model} | " + " | ".join(cells) + " |"]
        return "\n".join([*lines, "", *self._how(path, baseline)]) + "\n"

    def _cell(self, baseline, model, benchmark, engine):
        value = self.median(model=model, benchmark=benchmark, engine=engine)
        if value is None:
            return ""
        text = f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
        ratio = self.ratio(baseline, model, benchmark, engine)
        return text if engine == baseline or ratio is None else f"{text} ({ratio:.2f}x)"

    def _how(self, path, baseline):
        one = self.rows[0]
        days = sorted({row.time[:10] for row in self.rows})
        rounds = [len(self._select(model=r.model, benchmark=r.benchmark, engine=r.engine)) for r in self.rows]
        count = f"{min(rounds)}" if min(rounds) == max(rounds) else f"{min(rounds)} to {max(rounds)}"
        how = (
            f"{one.cpu}, {one.processors} processors, {one.threads} threads, {' to '.join(dict.fromkeys(days))}; medians"
            f" of {count} interleaved rounds"
        )
        spread = f", quartiles at most {100 * self.spread():.0f} % of the median apart" if self.spread() else ""
        known = f" In parentheses: how many times better {baseline} is." if baseline in self._names("engine") else ""
        models = " ".join(self._names("model"))
        command = f"python3 benches/peers run -t {one.threads} -e {','.join(self._names('engine'))}"
        command += f" -b {','.join(self._names('benchmark'))} {models}"
        # Servers, which another program asks (its rows are of the same kind).
        if asked := SERVED.match(one.benchmark):
            clients, slots = asked.groups()
            command = f"python3 benches/serving.py --threads {one.threads} --clients {clients} --slots {slots} {models}"
        foreign = f", others took {100 * self.foreign():.0f} % of one processor meanwhile"
        return [f"{how}{spread}{foreign}.{known} Record: [{path}]({path}), made by", "", "```sh", command, "```"]


def update(document: Path, check):
    """Makes every marked table of a document again; with `check`, only says whether one is out of step."""
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise Usage(f"{document} cannot be read: {error.strerror}") from None
    parts, at = [], 0
    for begin in BEGIN.finditer(text):
        end = text.find(END, begin.end())
        if end < 0:
            raise Failure(f"{document}: the table of {begin['record']} has no end: {END.strip()} is missing")
        table = Table(record.read(ROOT / begin["record"]))
        make = table.by_model if begin["together"] else table.markdown
        made = make(begin["record"], begin["baseline"] or BASELINE)
        parts += [text[at : begin.end()], "\n", made, "\n"]
        at = end
    new = "".join(parts) + text[at:]
    if new == text:
        return
    if check:
        raise Failure(f"a table in {document} is out of step with its record: python3 benches/peers readme")
    document.write_text(new, encoding="utf-8")
