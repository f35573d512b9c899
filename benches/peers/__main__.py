"""Measures Stonechat and its peers as outside processes, and makes tables of what was measured. See README.md."""

import argparse
import os
import sys
from pathlib import Path

import config
import record
import table
from errors import Failure, Usage
from rounds import Run


def main():
    arguments = parse()
    try:
        return arguments.do(arguments)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print("stopped; what was measured is in the record", file=sys.stderr)
        return 130


# What has tables of records.
DOCUMENTS = [config.ROOT / path for path in ("README.md", "docs/server.md", "benches/peers/README.md")]


def parse():
    parser = argparse.ArgumentParser(prog="python3 benches/peers", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    run = verbs.add_parser("run", help="measure, in interleaved rounds", description="Measures, in interleaved rounds.")
    run.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="GGUF files")
    run.add_argument("-e", "--engines", metavar="NAMES", help="comma separated; every one that is there, if not given")
    run.add_argument("-b", "--benchmarks", metavar="NAMES", default="pp512,tg128", help="comma separated (%(default)s)")
    run.add_argument("-t", "--threads", type=positive, default=os.cpu_count(), help="of every engine (%(default)s)")
    run.add_argument("-r", "--rounds", type=positive, help="in place of each benchmark's own")
    run.add_argument("--record", type=Path, help="the CSV to add to (benches/record/<date>-<cpu>.csv)")
    run.add_argument("--seconds", type=positive, help="begin no turn later than this; exit with 3 if some are left")
    run.add_argument(
        "--foreign", type=share, default=Run.foreign, help="share of one processor that others may take (%(default)s)"
    )
    run.set_defaults(do=measure)

    list_ = verbs.add_parser("list", help="engines and benchmarks", description="Lists engines and benchmarks.")
    list_.set_defaults(do=show)

    show_table = verbs.add_parser("table", help="Markdown of a record", description="Prints a record as Markdown.")
    show_table.add_argument("record", type=Path)
    show_table.add_argument("--baseline", default=table.BASELINE, help="the engine that others are held against")
    show_table.set_defaults(do=print_table)

    readme = verbs.add_parser("readme", help="remake a document's tables", description="Remakes a document's tables.")
    readme.add_argument("documents", nargs="*", type=Path, default=DOCUMENTS, metavar="DOCUMENT")
    readme.add_argument("--check", action="store_true", help="change nothing; fail if a table is out of step")
    readme.set_defaults(do=remake)
    return parser.parse_args()


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def share(text):
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def measure(arguments):
    known = config.engines()
    if arguments.engines:
        engines = config.choose("engine", known, arguments.engines.split(","))
        for engine in engines:
            if missing := engine.missing():
                raise Usage(missing)
    else:
        engines = [engine for engine in known.values() if not engine.missing()]
        for engine in known.values():
            if missing := engine.missing():
                print(f"left out: {missing}", file=sys.stderr)
    if not engines:
        raise Usage("no engine is there to be measured; benches/peers/README.md says how to get them")
    run = Run(
        engines=engines,
        benchmarks=config.choose("benchmark", config.benchmarks(), arguments.benchmarks.split(",")),
        models=[path.resolve() for path in arguments.models],
        threads=arguments.threads,
        path=arguments.record or record.default_path(),
        answers=config.answers(),
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        foreign=arguments.foreign,
    )
    if not run.measure():
        return 3
    print(f"recorded in {run.path}", file=sys.stderr)
    return 0


def show(_):
    for title, entries in (("engines", config.engines()), ("benchmarks", config.benchmarks())):
        print(f"{title}:")
        for entry in entries.values():
            missing = getattr(entry, "missing", lambda: None)()
            print(f"  {entry.name:24} {entry.title}" + (f" (not here: {missing})" if missing else ""))
    return 0


def print_table(arguments):
    print(table.Table(record.read(arguments.record)).markdown(arguments.record, arguments.baseline), end="")
    return 0


def remake(arguments):
    for document in arguments.documents:
        table.update(document, arguments.check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
