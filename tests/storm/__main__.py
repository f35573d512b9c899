"""Storms that a server has to stand: `python3 tests/storm ADDRESS PID`, as scripts/storm.sh calls it.

1. Equal seeds give equal texts: each of N questions alone, then all of them from many clients at once.
2. Many clients for a while: nobody hears of an error, and memory stays what it is.
3. Clients that go away at any moment: all slots come back.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

import storm

# Kibibytes that the server's memory may move once it has served for a while.
MOST_GROWTH = 4 << 10
MINUTE = 60


def same(address, questions, clients):
    """Whether questions have the same answers in a storm as alone; those that differ are shown."""
    alone = [storm.ask(address, number, 24).text for number in range(questions)]
    with ThreadPoolExecutor(clients) as pool:
        # Another order than before, so that other questions are neighbours.
        order = sorted(range(questions), key=lambda number: number * 7919 % questions)
        together = dict(zip(order, pool.map(lambda number: patient(address, number).text, order)))
    different = [number for number in range(questions) if alone[number] != together[number]]
    for number in different:
        print(f"question {number}: alone {alone[number]!r}, in a storm {together[number]!r}", file=sys.stderr)
    print(f"same: {questions} questions alone and from {clients} clients, {len(set(alone))} texts, {len(different)} differ")
    return not different


def patient(address, number):
    """Asks until there is room."""
    while True:
        try:
            return storm.ask(address, number, 24)
        except storm.Refused:
            pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("pid", type=int)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--same", type=int, default=200)
    options = parser.parse_args()
    well = same(options.address, options.same, options.clients)

    for name, leaving in [("load", False), ("leaving", True)]:
        report = storm.storm(options.address, options.clients, options.seconds, pid=options.pid, leaving=leaving)
        for line in report.lines():
            print(f"{name}: {line}")
        # Contexts fill for the first time in the beginning, and memory that was planned for them is touched. So a storm of less
        # than two minutes says nothing of whether memory stays.
        least, most = report.memory_span(MINUTE)
        if options.seconds >= 2 * MINUTE:
            print(f"{name}: memory {least} to {most} KiB after the first minute")
        for error in report.errors[:10]:
            print(f"{name}: {error}", file=sys.stderr)
        if report.errors:
            well = False
        if not report.answers and not leaving:
            print(f"{name}: nobody was answered", file=sys.stderr)
            well = False
        if options.seconds >= 2 * MINUTE and most - least > MOST_GROWTH:
            print(f"{name}: memory grew by {most - least} KiB, more than {MOST_GROWTH}", file=sys.stderr)
            well = False
        if not storm.idle(options.address):
            print(f"{name}: a slot is still at work after all clients have gone", file=sys.stderr)
            well = False
    return 0 if well else 1


sys.exit(main())
