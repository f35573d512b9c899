#!/usr/bin/env python3
"""Answers a file of prompts on many machines: Ray Data spreads them over workers, each of which asks a `stonechat serve`.

In: JSON Lines with a "prompt" each. Out: the same lines in the same order, each with its "answer", in a file that is there once
all of it is. What was answered stands in OUTPUT.part until then, and is not asked again by the next run. A row has the same seed
whoever computes it, and equal seeds give equal answers: a row that was computed twice, because a worker died, is the same row.

Each worker starts a server of its own, or, with --server, asks those that run already.
"""

import argparse
import hashlib
import http.client
import itertools
import json
import logging
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

# Ray reads them when it is loaded: nothing is told to anybody, and it says nothing where all is well.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import requests  # noqa: E402

# What a line of the output has beside what was in the input's.
OURS = ("answer", "finish_reason", "seed", "error")
# Rows of a block, for each that a worker has asked at the same time: a block is what is handed to a worker, and comes back, at once.
ROWS_FOR_EACH_PLACE = 4
# The longest wait for one that says when to come again, and the first for one that says nothing.
LONGEST_WAIT, FIRST_WAIT = 60.0, 0.2

# Runs a server, and ends it when whoever started this ends, however that may be: even one that is killed closes its end of the pipe.
# Ray kills this, too, as a child of its worker: the kernel then ends the server (Linux alone can). Where the server ends first,
# so does this.
KEEPER = """
import ctypes, os, signal, subprocess, sys, threading
def follow_its_parent():
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=follow_its_parent)
def follow():
    status = server.wait()
    os._exit(status if 0 <= status < 126 else 126)
threading.Thread(target=follow, daemon=True).start()
sys.stdin.buffer.read()
server.kill()
server.wait()
"""


class Trouble(Exception):
    """What a person has to know, in one sentence."""


def row_seed(run_seed, row):
    """The seed of a row: of its place in the file, not of when or where it is computed."""
    digest = hashlib.sha256(f"{run_seed}:{row}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


class Local:
    """A server of a worker's own. It ends with the worker."""

    def __init__(self, command, patience):
        self.command, self.patience, self.keeper = command, patience, None

    def address(self):
        """Where it is; it is started, or started again, if it is not there."""
        if self.keeper is None or self.keeper.poll() is not None:
            self.start()
        return self.url

    def start(self):
        keeper = [sys.executable, "-c", KEEPER, *self.command]
        try:
            self.keeper = subprocess.Popen(
                keeper, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise Trouble(f"cannot start a server: {error}") from None
        last = []
        log = threading.Thread(target=self.drain, args=(self.keeper.stderr, last), daemon=True)
        log.start()
        timer = threading.Timer(self.patience, self.keeper.kill)
        timer.start()
        line = self.keeper.stdout.readline().decode().strip()
        timer.cancel()
        if not line:
            self.keeper.wait()
            log.join(5)
            said = last[-1] if last else f"nothing after {self.patience:.0f} s"
            raise Trouble(f"the server '{' '.join(self.command)}' does not start: {said}")
        self.url = line

    @staticmethod
    def drain(pipe, last):
        """Reads on, so that the server can write on, and keeps the last line."""
        for line in pipe:
            last[:] = [line.decode(errors="replace").strip()]


class Remote:
    """Servers that others run: one after the other is asked, so that one that is gone holds up nobody for long."""

    def __init__(self, urls, first):
        self.turns = itertools.cycle(urls[first % len(urls):] + urls[:first % len(urls)])
        self.lock = threading.Lock()

    def address(self):
        with self.lock:
            return next(self.turns)


class Worker:
    """Answers blocks of rows: what Ray starts on the machines, and starts again where it was killed."""

    def __init__(self, settings):
        self.settings = settings
        if settings["servers"]:
            # Not all of them at the same one.
            self.server = Remote(settings["servers"], random.randrange(len(settings["servers"])))
        else:
            self.server = Local(settings["command"], settings["patience"])
        # One starts the server, and the others wait for it.
        self.lock = threading.Lock()
        self.pool = ThreadPoolExecutor(settings["at_once"])
        self.session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=settings["at_once"])
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)
        # A proxy is for other machines than those that serve.
        self.session.trust_env = False
        if settings["key"]:
            self.session.headers["Authorization"] = f"Bearer {settings['key']}"
        if settings["ca"]:
            self.session.verify = settings["ca"]

    def __call__(self, block):
        """The lines with their answers. What is in the way of one is handed back in place of it: raised, it would reach the person
        as Ray's long story, and the rest of the block would be lost."""

        def attempt(row, line):
            try:
                return self.answer(row, line), ""
            except Trouble as trouble:
                return "", str(trouble)

        lines, troubles = zip(*self.pool.map(attempt, block["row"].tolist(), block["line"].tolist()))
        return {"row": block["row"], "line": list(lines), "trouble": list(troubles)}

    def address(self):
        with self.lock:
            return self.server.address()

    def answer(self, row, line):
        """A line with its answer, as text."""
        asked = json.loads(line)
        seed = row_seed(self.settings["seed"], row)
        body = {**self.settings["body"], "seed": seed}
        body["messages"] = [*self.settings["system"], {"role": "user", "content": asked["prompt"]}]
        status, said = self.ask(body)
        if status == 200:
            choice = said["choices"][0]
            asked.update(answer=choice["message"]["content"], finish_reason=choice["finish_reason"], seed=seed)
        else:
            asked.update(answer=None, error=said, seed=seed)
        return json.dumps(asked, ensure_ascii=False)

    def ask(self, body):
        """Asks until there is an answer, or nobody answered for as long as patience is."""
        wait, since = FIRST_WAIT, time.monotonic()
        while True:
            pause, why = None, None
            address = self.address()
            try:
                # No limit for the answer: who computes it says nothing until it is whole.
                reply = self.session.post(f"{address}/v1/chat/completions", json=body, timeout=(10, None))
                if reply.status_code == 200:
                    return 200, reply.json()
                why = message(reply)
                if reply.status_code in (401, 403, 404):
                    # The next row would be told the same.
                    raise Trouble(f"{address} refuses: {why}")
                if reply.status_code in (429, 503):
                    # Whoever says when to come again is alive, however long the queue is.
                    pause = retry_after(reply)
                    if reply.status_code == 429:
                        since = time.monotonic()
                elif reply.status_code < 500:
                    return reply.status_code, why
            except (requests.RequestException, ValueError) as error:
                why = reason(error)
            if time.monotonic() - since > self.settings["patience"]:
                raise Trouble(f"{address} has not answered for {self.settings['patience']:.0f} s: {why}")
            # Not all at the same moment.
            time.sleep((pause if pause is not None else wait) * random.uniform(1.0, 1.25))
            wait = min(wait * 2, LONGEST_WAIT / 10)


def message(reply):
    try:
        return reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"status {reply.status_code}"


def reason(error):
    """The innermost cause: what the system said."""
    while error.__context__ is not None:
        error = error.__context__
    if isinstance(error, http.client.HTTPException):
        return "what answers there is no HTTP server, or ended in the middle"
    found = re.search(r"\[Errno -?\d+\] (.*)", str(error))
    return found[1] if found else str(error) or type(error).__name__


def retry_after(reply):
    """Seconds, if it says them. (A date is for caches.)"""
    try:
        return min(max(float(reply.headers["Retry-After"]), 0.0), LONGEST_WAIT)
    except (KeyError, ValueError):
        return None


def read_prompts(path):
    """The lines of a file, each looked at: nothing is asked before all of them are right."""
    lines = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                lines.append(checked(line, f"{path}, line {number}"))
    except OSError as error:
        raise Trouble(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Trouble(f"{path}, line {len(lines) + 1} or after: this is not UTF-8") from None
    if not lines:
        raise Trouble(f"{path} has no line")
    return lines


def checked(line, at):
    try:
        row = json.loads(line)
    except ValueError as error:
        what = "the line is empty" if not line.strip() else f"this is not JSON ({error})"
        raise Trouble(f"{at}: {what}; write for instance {{\"prompt\": \"Hello\"}}") from None
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise Trouble(f'{at}: there is no text as "prompt"; write for instance {{"prompt": "Hello"}}')
    taken = [name for name in OURS if name in row]
    if taken:
        raise Trouble(f'{at}: "{taken[0]}" is a name that the output has for itself; call it otherwise')
    return line.strip()


class Journal:
    """What has been answered, as it comes: OUTPUT.part. What a run leaves there, the next one goes on from."""

    def __init__(self, output, identity, rows):
        self.output, self.path = pathlib.Path(output), pathlib.Path(f"{output}.part")
        self.identity, self.rows = identity, rows
        self.answered, self.file = {}, None

    def open(self):
        """Takes up what is there."""
        if self.output.exists():
            raise Trouble(f"{self.output} exists; name another file, or remove it")
        try:
            # Two runs at once would both ask everything.
            self.file = open(self.path, "a+b")
            lock(self.file, self.path)
            self.file.seek(0)
            # A line that was cut off is no line.
            self.file.truncate(self.take_up(self.file.read()))
            self.file.seek(0, os.SEEK_END)
            if self.file.tell() == 0:
                self.write(json.dumps({"run": self.identity}))
        except OSError as error:
            raise Trouble(f"cannot write {self.path}: {error.strerror}") from None
        return self

    def take_up(self, data):
        """Reads what was answered; the bytes that hold."""
        lines = data.splitlines(keepends=True)
        whole, identity = 0, None
        for number, line in enumerate(lines):
            try:
                entry = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if entry is None:
                break
            if number == 0:
                identity = entry.get("run")
            else:
                self.answered[entry["row"]] = entry["line"]
            whole += len(line)
        if identity == self.identity:
            return whole
        if self.answered:
            raise Trouble(f"{self.path} was begun with other prompts or settings; name another output, or remove it")
        return 0

    def close(self):
        """Leaves nothing where nothing was answered."""
        if not self.answered:
            self.path.unlink(missing_ok=True)

    def add(self, row, line):
        """A row that came twice is written once."""
        if row in self.answered:
            return
        self.answered[row] = line
        self.write(json.dumps({"row": row, "line": line}, ensure_ascii=False))

    def write(self, line):
        self.file.write(line.encode() + b"\n")
        self.file.flush()

    def finish(self):
        """All of it, in order, under its name: whole or not at all."""
        if len(self.answered) != self.rows:
            raise Trouble(f"{self.rows - len(self.answered)} rows have no answer; run it again")
        new = pathlib.Path(f"{self.output}.new")
        with open(new, "wb") as file:
            for row in range(self.rows):
                file.write(self.answered[row].encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, this never takes the place of another's file.
            os.link(new, self.output)
        except FileExistsError:
            raise Trouble(f"{self.output} exists since a moment ago; name another file, and run it again") from None
        finally:
            new.unlink()
        self.path.unlink()


def lock(file, path):
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Trouble(f"another run is writing {path}; wait for it, or name another output") from None


def quiet():
    """What Ray says where all is well, it says to its files alone."""
    for name in ("ray", "ray.data"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.ERROR)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.CRITICAL)


def compute(arguments, lines, journal, settings):
    """Lets workers answer what has no answer yet."""
    missing = [row for row in range(len(lines)) if row not in journal.answered]
    if not missing:
        return
    # A cluster that is there is used; otherwise one is made of this machine.
    where = {"address": arguments.address} if arguments.address else {"include_dashboard": False, "num_cpus": arguments.cpus}
    # Here, because it takes seconds: what is wrong with the prompts is said at once.
    import ray
    import ray.data

    quiet()
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Blocks that wait at a worker are no other one's to take.
    context.max_tasks_in_flight_per_actor = 2
    # One that is killed while it starts is started again, like any other.
    context.max_consecutive_actor_init_deaths = 8
    size = arguments.at_once * ROWS_FOR_EACH_PLACE
    # At the end no worker is to wait for another one's last block.
    size = max(1, min(size, -(-len(missing) // (arguments.workers * 4))))
    rows = ray.data.from_items(
        [{"row": row, "line": lines[row]} for row in missing], override_num_blocks=-(-len(missing) // size)
    )
    answers = rows.map_batches(
        Worker,
        fn_constructor_args=(settings,),
        compute=ray.data.ActorPoolStrategy(size=arguments.workers),
        # A block as it is.
        batch_size=None,
        # Ray Data starts workers that die again, and computes again what they had not handed on.
        num_cpus=0 if arguments.server else arguments.threads,
    )
    begun, known = time.monotonic(), len(journal.answered)
    for block in answers.iter_batches(batch_size=None):
        for row, line, trouble in zip(block["row"].tolist(), block["line"], block["trouble"]):
            if not trouble:
                journal.add(row, line)
        troubles = [trouble for trouble in block["trouble"] if trouble]
        if troubles:
            raise Trouble(troubles[0])
        if sys.stderr.isatty():
            done = len(journal.answered)
            pace = (done - known) / (time.monotonic() - begun)
            print(f"\r{done} of {len(lines)} rows, {pace:.1f} a second ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)


def parse():
    parser = argparse.ArgumentParser(
        description="Answers a file of prompts (JSON Lines) on many machines.",
        epilog="Flags behind -- go to 'stonechat serve': answer.py in.jsonl out.jsonl -- -c 2048 --kv q8_0",
    )
    parser.add_argument("input", help='JSON Lines, each with a "prompt"; what else is in a line is handed on')
    parser.add_argument("output", help="the file to make; it must not exist")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="workers, each with a server of its own (1)")
    parser.add_argument("--server", action="append", default=[], metavar="URL", help="ask this server in place of own ones; repeatable")
    parser.add_argument("--api-key-file", metavar="FILE", help="the key for --server: the first line of a file")
    parser.add_argument("--ca", metavar="FILE", help="the certificate that vouches for --server's")
    parser.add_argument("--program", default="stonechat", metavar="FILE", help="the program, on every machine (stonechat)")
    parser.add_argument("-m", "--model", metavar="FILE|NAME", help="the model, by default the servers' own; with --server, the name to ask for")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads, and so CPUs, of each own server (1)")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="rows that a worker asks at the same time (4)")
    parser.add_argument("--max-tokens", type=int, default=256, metavar="N", help="tokens of an answer at most (256)")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="F", help="0 for the most likely answer (0)")
    parser.add_argument("--system", metavar="TEXT", help="what the model is told before each prompt")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="equal seeds give equal files (0)")
    parser.add_argument("--patience", type=float, default=120.0, metavar="SECONDS", help="give up on servers after this (120)")
    parser.add_argument("--address", metavar="ADDRESS", help="a Ray cluster, for instance 'auto'; by default this machine alone")
    parser.add_argument("--cpus", type=int, metavar="N", help="CPUs that Ray may take of this machine; by default all")
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:at])
    arguments.serve = words[at + 1:]
    for name in ("workers", "threads", "at_once", "max_tokens"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if arguments.server and arguments.serve:
        parser.error("--server asks servers that run already; flags behind -- are for own ones")
    return arguments


def settings_of(arguments):
    """What workers have to know."""
    command = [arguments.program, "serve", "--port", "0", "--parallel", str(arguments.at_once), "-t", str(arguments.threads)]
    command += ["-m", arguments.model] if arguments.model else []
    body = {"max_tokens": arguments.max_tokens, "temperature": arguments.temperature}
    if arguments.server and arguments.model:
        body["model"] = arguments.model
    key = None
    if arguments.api_key_file:
        try:
            key = next((line.strip() for line in open(arguments.api_key_file, encoding="utf-8") if line.strip()), None)
        except OSError as error:
            raise Trouble(f"cannot read {arguments.api_key_file}: {error.strerror}") from None
        if key is None:
            raise Trouble(f"there is no key in {arguments.api_key_file}")
    return {
        "servers": [url.rstrip("/").removesuffix("/v1") for url in arguments.server],
        "command": command + arguments.serve,
        "at_once": arguments.at_once,
        "patience": arguments.patience,
        "key": key,
        "ca": arguments.ca,
        "seed": arguments.seed,
        "body": body,
        "system": [{"role": "system", "content": arguments.system}] if arguments.system else [],
    }


def identity_of(lines, arguments):
    """What decides the answers, as far as it is known here. How many workers there are does not."""
    names = ("seed", "max_tokens", "temperature", "system", "model", "serve")
    parts = [getattr(arguments, name) for name in names]
    return hashlib.sha256(json.dumps([lines, parts]).encode()).hexdigest()


def sentence(error):
    """What a person has to know of an error, which may come from another machine with the whole way that it took."""
    found = re.findall(r"Trouble: (.+)", str(error))
    return found[-1] if found else f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error).strip() else ''}"


def main():
    arguments = parse()
    try:
        lines = read_prompts(arguments.input)
        settings = settings_of(arguments)
        journal = Journal(arguments.output, identity_of(lines, arguments), len(lines)).open()
    except Trouble as trouble:
        print(f"answer.py: {trouble}", file=sys.stderr)
        return 2
    # As for Ctrl-C: what was answered is kept.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        compute(arguments, lines, journal, settings)
        journal.finish()
    except KeyboardInterrupt:
        print(f"answer.py: stopped; {len(journal.answered)} of {len(lines)} rows are kept for the next run", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001: whatever it is, what was answered is kept, and said
        kept = f"{len(journal.answered)} of {len(lines)} rows are kept for the next run"
        print(f"answer.py: {sentence(error) if not isinstance(error, Trouble) else error} ({kept})", file=sys.stderr)
        return 1
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        journal.close()
    refused = sum("error" in json.loads(line) for line in journal.answered.values())
    if refused:
        print(f'answer.py: {refused} of {len(lines)} rows were refused; their lines have an "error"', file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
