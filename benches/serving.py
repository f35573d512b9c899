#!/usr/bin/env python3
"""Serving many clients: Stonechat against llama.cpp's server, with the same file, threads, slots, context and questions.

    python3 benches/serving.py MODEL.gguf [--record benches/record/<date>-<cpu>-serving.csv]

Both servers run all the time; in each round one of them is asked, then the other, while the first sits idle. Figures are the
medians of the rounds, and their ratios. `benches/peers/build_llama_cpp.sh` builds llama-server. Questions are tests/storm's:
answers of at most 64 tokens, some questions begin alike. `--record` takes rows as the harness of benches/peers has them, which
prints tables of them (`python3 benches/peers table FILE`): two for each turn, tokens per second and the time within which 95 of
100 first tokens came. `foreign_cpu_s` is what neither server nor the clients took of the processors.
"""

import argparse
import os
import pathlib
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "storm"), str(ROOT / "benches" / "peers")]
import record  # noqa: E402  (found by the line above)
import storm  # noqa: E402
from errors import Failure  # noqa: E402
from rounds import Run  # noqa: E402
from turn import TICK, Turn, busy_seconds  # noqa: E402


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(command, port):
    """The process of a server, once it says that it is well."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"{command[0]} ended with status {process.returncode}: {shlex.join(command)}")
        try:
            if storm.get(address, "/health").get("status") == "ok":
                return process, address
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    process.kill()
    sys.exit(f"{command[0]} does not serve after a minute")


def version(program):
    """What a server says of itself: Stonechat's version, llama.cpp's build."""
    ran = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return (ran.stdout + ran.stderr).strip().splitlines()[0].removeprefix("version: ")


def cpu_seconds(pid):
    """CPU time that a process has had."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def peak_memory(pid):
    """The most bytes that were resident."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--stonechat", default=str(ROOT / "target/release/stonechat"))
    parser.add_argument("--peer", default=str(ROOT / "target/peers/llama.cpp-native/bin/llama-server"))
    parser.add_argument("--packed", help="the same model by `stonechat pack`, for Stonechat")
    parser.add_argument("--threads", type=positive, default=os.cpu_count())
    parser.add_argument("--slots", type=positive, default=4)
    parser.add_argument("--context", type=positive, default=1024, help="tokens of each slot")
    parser.add_argument("--clients", type=positive, default=32)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=positive, default=60)
    parser.add_argument("--record", type=pathlib.Path, help="the CSV that takes each turn")
    options = parser.parse_args()
    threads, slots = str(options.threads), str(options.slots)
    ports = [free_port(), free_port()]
    commands = {
        "stonechat": [options.stonechat, "serve", "-m", options.packed or str(options.model), "-t", threads, "--parallel", slots,
                      "-c", str(options.context), "--queue", str(options.clients), "--port", str(ports[0])],
        "llama-server": [options.peer, "-m", str(options.model), "-t", threads, "-np", slots,
                         "-c", str(options.context * options.slots), "--port", str(ports[1])],
    }
    machine = {**record.machine(), **record.model(options.model), "threads": options.threads, "answer": ""}
    # How it was done, as it can be done again: the port was whatever was free.
    told = {
        name: {"engine": name, "engine_version": version(command[0]), "program_sha256": record.sha256(command[0]),
               "command": shlex.join(command[:-2]).replace(f"{ROOT}/", "")}
        for name, command in commands.items()
    }
    benchmark = f"serve-{options.clients}-clients-{options.slots}-slots"
    servers = {}
    try:
        for (name, command), port in zip(commands.items(), ports):
            print(shlex.join(command))
            servers[name] = start(command, port)
        rates, firsts = {name: [] for name in servers}, {name: [] for name in servers}
        for number in range(options.rounds):
            for name, (process, address) in servers.items():
                busy, used, own = busy_seconds(), cpu_seconds(process.pid), time.process_time()
                # Questions that no round had before: what a server remembers of old ones helps nobody.
                report = storm.storm(address, options.clients, options.seconds, pid=process.pid,
                                     first_question=(number + 1) * 100_000)
                used = cpu_seconds(process.pid) - used
                foreign = max(0.0, busy_seconds() - busy - used - (time.process_time() - own))
                turn = Turn("", report.seconds, used, foreign, peak_memory(process.pid))
                disturbed = turn.disturbed(Run.foreign)
                rates[name].append(report.tokens_per_second())
                firsts[name].append(report.first(0.95))
                print(f"round {number + 1} {name}: {'; '.join(report.lines())}; {storm.memory(process.pid)} KiB"
                      f"{'; others used the machine' if disturbed else ''}", flush=True)
                for error in report.errors[:3]:
                    print(f"  {error}")
                if options.record:
                    common = {
                        "time": record.now(), **machine, **told[name], "round": number + 1,
                        "status": record.DISTURBED if disturbed else record.KEPT, "peak_rss_bytes": turn.peak_rss_bytes,
                        "wall_s": round(report.seconds, 3), "cpu_s": round(used, 3), "foreign_cpu_s": round(foreign, 3),
                    }
                    record.append(options.record, record.Row(
                        **common, benchmark=benchmark, value=round(rates[name][-1], 3), unit="t/s"))
                    record.append(options.record, record.Row(
                        **common, benchmark=f"{benchmark}-first-95", value=round(firsts[name][-1], 4), unit="s"))
    finally:
        for process, _ in servers.values():
            process.send_signal(signal.SIGTERM)
    rate = {name: statistics.median(values) for name, values in rates.items()}
    first = {name: statistics.median(values) for name, values in firsts.items()}
    for name in servers:
        print(f"{name}: {rate[name]:.1f} tokens/s, first token of 95 of 100 within {first[name]:.2f} s (medians of {options.rounds})")
    print(f"stonechat / llama-server: {rate['stonechat'] / rate['llama-server']:.2f}x tokens/s, "
          f"{first['stonechat'] / first['llama-server']:.2f}x the time to the first token")


try:
    main()
except Failure as failure:
    sys.exit(f"error: {failure}")
except OSError as error:
    sys.exit(f"error: {error.filename}: {error.strerror}")
