"""deploy/ray/answer.py on a local Ray cluster, whose servers and workers are killed while they work."""

import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

# As answer.py sets it. And nobody else on this machine is to use the cluster.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)

import ray
import requests

from common import DEPLOY, PROGRAM, Server, until

ANSWER = DEPLOY / "ray" / "answer.py"
ROWS = [{"prompt": f"Once upon a time there were {n} cats", "id": f"cat-{n}"} for n in range(96)]
# Long enough that there is a half-way.
HOW = ["--max-tokens", "100", "--temperature", "0.9", "--seed", "5"]


def seed_of(row):
    """As answer.py has it, said once more: a row's seed is of its place alone."""
    return int.from_bytes(hashlib.sha256(f"5:{row}".encode()).digest()[:6], "big")


class Ray(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        # A name by which this test's own servers are known among all processes.
        cls.program = cls.folder / "stonechat-of-the-test"
        cls.program.symlink_to(pathlib.Path(PROGRAM).resolve())
        cls.input = cls.folder / "prompts.jsonl"
        cls.input.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        context = ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        cls.addClassCleanup(ray.shutdown)
        cls.cluster = context.address_info["gcs_address"]
        # What one server, that nobody disturbs, says to the same questions.
        server = Server(["-m", "tiny", "--port", "0", "--parallel", "4", "-t", "2"])
        cls.addClassCleanup(server.end)
        cls.server = server

        def ask(row):
            body = {"messages": [{"role": "user", "content": ROWS[row]["prompt"]}], "max_tokens": 100, "temperature": 0.9}
            reply = requests.post(f"{server.url}/v1/chat/completions", json={**body, "seed": seed_of(row)}, timeout=60)
            return {**ROWS[row], "answer": reply.json()["choices"][0]["message"]["content"], "seed": seed_of(row)}

        with ThreadPoolExecutor(4) as pool:
            cls.expected = list(pool.map(ask, range(len(ROWS))))

    def start(self, input, output, *arguments):
        command = [sys.executable, ANSWER, input, self.folder / output, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run_to_end(self, *arguments):
        """The exit code, and what it said last."""
        process = self.start(*arguments)
        _, said = process.communicate(timeout=120)
        lines = [line for line in said.splitlines() if line.startswith("answer.py:")]
        return process.returncode, lines[-1] if lines else ""

    def nobody(self):
        """An address at which nobody listens, and nobody can: the port is taken."""
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"

    def in_cluster(self, *arguments):
        return ["--address", self.cluster, *arguments]

    def own_servers(self, *arguments):
        return self.in_cluster("--program", str(self.program), "-m", "tiny", "--workers", "2", "--at-once", "2", *HOW, *arguments)

    def journal(self, output):
        """Rows that stand there whole."""
        path = self.folder / f"{output}.part"
        lines = path.read_text().splitlines(keepends=True)[1:] if path.exists() else []
        return [json.loads(line)["row"] for line in lines if line.endswith("\n")]

    def servers(self):
        """The servers that workers started, each with the worker's process."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            # Processes end while they are looked at.
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and command(entry.name)[:1] == [str(self.program)]:
                    # Between the two is the process that keeps the server from outliving its worker.
                    found[int(entry.name)] = parent(parent(entry.name))
        return found

    def check_answers(self, output):
        lines = (self.folder / output).read_text().splitlines()
        said = [json.loads(line) for line in lines]
        self.assertEqual([row["id"] for row in said], [row["id"] for row in ROWS], "all rows, each once, in order")
        for row, expected in zip(said, self.expected):
            self.assertEqual({name: row[name] for name in expected}, expected)
        self.assertFalse((self.folder / f"{output}.part").exists())

    def check_no_server_is_left(self):
        until(lambda: not self.servers(), "servers of killed workers end", 30)

    def test_a_killed_server_and_a_killed_worker_lose_no_row_and_answer_none_twice(self):
        run = self.start(self.input, "killed.jsonl", *self.own_servers())
        # On a busy machine the first could have answered all before there is a second.
        first = next(iter(until(self.servers, "a worker's server")))
        os.kill(first, signal.SIGSTOP)
        until(lambda: len(self.servers()) == 2, "that of another")
        os.kill(first, signal.SIGCONT)
        until(lambda: len(self.journal("killed.jsonl")) >= 8, "first answers")
        (server, _), (other, worker) = self.servers().items()
        os.kill(server, signal.SIGKILL)
        seen = len(self.journal("killed.jsonl"))
        self.assertLess(seen, len(ROWS) // 2, "it was killed half-way")
        until(lambda: len(self.journal("killed.jsonl")) >= seen + 8, "answers after a server was killed")
        self.assertIn(b"ray::", pathlib.Path(f"/proc/{worker}/cmdline").read_bytes())
        os.kill(worker, signal.SIGKILL)
        at_kill = len(self.journal("killed.jsonl"))
        self.assertLess(at_kill, len(ROWS) - 8, "it was killed half-way")
        until(lambda: other not in self.servers(), "the server of the killed worker ends with it", 30)
        _, said = run.communicate(timeout=120)
        self.assertEqual(run.returncode, 0, said)
        self.check_answers("killed.jsonl")
        self.check_no_server_is_left()

    def test_a_run_that_is_killed_goes_on_where_it_was(self):
        run = self.start(self.input, "resumed.jsonl", *self.own_servers())
        until(lambda: len(self.journal("resumed.jsonl")) >= 24, "a quarter of the answers")
        run.kill()
        run.communicate()
        self.check_no_server_is_left()
        known = self.journal("resumed.jsonl")
        self.assertLess(len(known), len(ROWS))
        # As where the disk was full, or the machine went.
        with open(self.folder / "resumed.jsonl.part", "a") as part:
            part.write('{"row": 95, "line": "{\\"prompt\\": \\"cut o')
        # Other settings would be other answers.
        status, said = self.run_to_end(self.input, "resumed.jsonl", *self.own_servers("--seed", "6"))
        self.assertEqual((status, "was begun with other prompts or settings" in said), (2, True), said)
        # Whoever computes the rest, it is the same run; and it is the rest alone.
        before = self.server.metric("stonechat_answers_total")
        rest = self.in_cluster("--server", self.server.url, "-m", "tiny", "--workers", "2", *HOW)
        status, said = self.run_to_end(self.input, "resumed.jsonl", *rest)
        self.assertEqual(status, 0, said)
        self.assertEqual(self.server.metric("stonechat_answers_total") - before, len(ROWS) - len(known))
        self.check_answers("resumed.jsonl")
        # An output that is there is not written over.
        status, said = self.run_to_end(self.input, "resumed.jsonl", *self.own_servers())
        self.assertEqual((status, said), (2, f"answer.py: {self.folder}/resumed.jsonl exists; name another file, or remove it"))
        self.check_answers("resumed.jsonl")

    def test_servers_that_run_already_are_asked_with_patience(self):
        # One that does not exist, and one that has room for a single question; what is too long for it is told in the row.
        key = self.folder / "key"
        key.write_text("a-key-of-the-test\n")
        full = Server(["-m", "tiny", "--port", "0", "--parallel", "1", "--queue", "0", "--api-key-file", str(key)])
        self.addCleanup(full.end)
        rows = [*ROWS[:12], {"prompt": "cat " * 600, "id": "long"}]
        few = self.folder / "few.jsonl"
        few.write_text("".join(json.dumps(row) + "\n" for row in rows))
        nobody = self.nobody()
        # Four at once, two of them at each.
        asked = self.in_cluster("--server", nobody, "--server", f"{full.url}/v1", "--at-once", "4", *HOW)
        status, said = self.run_to_end(few, "few.out", *asked)
        self.assertEqual((status, "a key is needed" in said), (1, True), said)
        headers = {"Authorization": "Bearer a-key-of-the-test", "Content-Type": "application/json"}

        def occupy():
            """Keeps the one place until somebody was turned away."""
            story = json.dumps({"prompt": "Once upon a time", "max_tokens": 400}).encode()
            while not full.metric("stonechat_refused_total", headers):
                with contextlib.suppress(urllib.error.HTTPError):
                    urllib.request.urlopen(urllib.request.Request(f"{full.url}/v1/completions", story, headers)).read()

        occupant = threading.Thread(target=occupy, daemon=True)
        occupant.start()
        status, said = self.run_to_end(few, "few.out", *asked, "--api-key-file", str(key))
        self.assertEqual((status, said), (3, 'answer.py: 1 of 13 rows were refused; their lines have an "error"'))
        said = [json.loads(line) for line in (self.folder / "few.out").read_text().splitlines()]
        self.assertEqual([row["answer"] for row in said[:12]], [row["answer"] for row in self.expected[:12]])
        self.assertEqual((said[12]["id"], said[12]["answer"], "context" in said[12]["error"]), ("long", None, True), said[12])
        self.assertGreater(full.metric("stonechat_refused_total", headers), 0, "it was full at times")
        occupant.join(60)

    def test_a_real_model_answers(self):
        rows = self.folder / "real.jsonl"
        rows.write_text('{"prompt": "Name the capital of France.", "n": 7}\n')
        program = self.in_cluster("--program", str(self.program), "-m", "smollm2-135m", "--max-tokens", "16")
        status, said = self.run_to_end(rows, "real.out", *program, "--system", "You answer in a sentence.", "--", "-c", "512")
        self.assertEqual(status, 0, said)
        row = json.loads((self.folder / "real.out").read_text())
        self.assertIn("Paris", row["answer"])
        self.assertEqual((row["n"], row["finish_reason"]), (7, "stop"))

    def test_what_is_wrong_is_said_in_a_sentence_and_nothing_is_asked(self):
        right = '{"prompt": "a"}\n'
        for text, sentence in [
            (right + "{prompt: 1}\n", "line 2: this is not JSON"),
            (right + right + '{"text": "a"}\n', 'line 3: there is no text as "prompt"'),
            ('{"prompt": 1}\n', 'line 1: there is no text as "prompt"'),
            ('["prompt"]\n', 'line 1: there is no text as "prompt"'),
            (right + "\n" + right, "line 2: the line is empty"),
            ('{"prompt": "a", "seed": 3}\n', 'line 1: "seed" is a name that the output has for itself'),
            ("", "has no line"),
        ]:
            with self.subTest(text=text):
                wrong = self.folder / "wrong.jsonl"
                wrong.write_text(text)
                status, said = self.run_to_end(wrong, "wrong.out", *self.in_cluster())
                self.assertEqual((status, sentence in said), (2, True), said)
                self.assertFalse(list(self.folder.glob("wrong.out*")))
        status, said = self.run_to_end(self.folder / "no.jsonl", "wrong.out")
        self.assertEqual((status, said), (2, f"answer.py: cannot read {self.folder}/no.jsonl: No such file or directory"))

    def test_a_server_that_nobody_reaches_and_one_that_does_not_start(self):
        url = self.nobody()
        status, said = self.run_to_end(self.input, "gone.out", *self.in_cluster("--server", url, "--patience", "1"))
        self.assertEqual(status, 1)
        self.assertEqual(said, f"answer.py: {url} has not answered for 1 s: Connection refused (0 of 96 rows are kept for the next run)")
        status, said = self.run_to_end(self.input, "gone.out", *self.in_cluster("--program", str(self.program), "-m", "no/model.gguf"))
        self.assertEqual((status, "there is no file no/model.gguf" in said), (1, True), said)
        self.assertFalse(list(self.folder.glob("gone.out*")))


def command(process):
    words = pathlib.Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    return [word.decode(errors="replace") for word in words]


def parent(process):
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


if __name__ == "__main__":
    unittest.main()
