#!/usr/bin/env python3
"""Serving many clients: Stonechat against llama.cpp's server, with the same file, threads, slots, context and questions.

    python3 benches/serving.py MODEL.gguf [--stonechat PROGRAM] [--peer LLAMA-SERVER] [--clients 32] [--rounds 5] [--seconds 60]

Both servers run all the time; in each round one of them is asked, then the other, while the first sits idle. Figures are the
medians of the rounds, and their ratios. `benches/peers/build_llama_cpp.sh` builds llama-server. Questions are tests/storm's:
answers of at most 64 tokens, some questions begin alike.
"""

import argparse
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "storm"))
import storm  # noqa: E402  (found by the line above)


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
            sys.exit(f"{command[0]} ended with status {process.returncode}: {' '.join(command)}")
        try:
            if storm.get(address, "/health").get("status") == "ok":
                return process, address
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    process.kill()
    sys.exit(f"{command[0]} does not serve after a minute")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--stonechat", default=str(ROOT / "target/release/stonechat"))
    parser.add_argument("--peer", default=str(ROOT / "target/peers/llama.cpp-native/bin/llama-server"))
    parser.add_argument("--packed", help="the same model by `stonechat pack`, for Stonechat")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--context", type=int, default=1024, help="tokens of each slot")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    threads, slots = str(options.threads), str(options.slots)
    ports = [free_port(), free_port()]
    commands = {
        "stonechat": [options.stonechat, "serve", "-m", options.packed or options.model, "-t", threads, "--parallel", slots,
                      "-c", str(options.context), "--queue", str(options.clients), "--port", str(ports[0])],
        "llama-server": [options.peer, "-m", options.model, "-t", threads, "-np", slots,
                         "-c", str(options.context * options.slots), "--port", str(ports[1])],
    }
    servers = {}
    try:
        for (name, command), port in zip(commands.items(), ports):
            print(" ".join(command))
            servers[name] = start(command, port)
        rates, firsts = {name: [] for name in servers}, {name: [] for name in servers}
        for number in range(options.rounds):
            for name, (process, address) in servers.items():
                # Questions that no round had before: what a server remembers of old ones helps nobody.
                report = storm.storm(address, options.clients, options.seconds, pid=process.pid,
                                     first_question=(number + 1) * 100_000)
                rates[name].append(report.tokens_per_second())
                firsts[name].append(report.first(0.95))
                print(f"round {number + 1} {name}: {'; '.join(report.lines())}; {storm.memory(process.pid)} KiB", flush=True)
                for error in report.errors[:3]:
                    print(f"  {error}")
    finally:
        for process, _ in servers.values():
            process.send_signal(signal.SIGTERM)
    rate = {name: statistics.median(values) for name, values in rates.items()}
    first = {name: statistics.median(values) for name, values in firsts.items()}
    for name in servers:
        print(f"{name}: {rate[name]:.1f} tokens/s, first token of 95 of 100 within {first[name]:.2f} s (medians of {options.rounds})")
    print(f"stonechat / llama-server: {rate['stonechat'] / rate['llama-server']:.2f}x tokens/s, "
          f"{first['stonechat'] / first['llama-server']:.2f}x the time to the first token")


main()
