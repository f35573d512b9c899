"""What the tests of deploy/ share: the program, a server that ends with its test, and where things lie.

scripts/deploy.sh names the program in STONECHAT_PROGRAM.
"""

import os
import pathlib
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

PROGRAM = os.environ["STONECHAT_PROGRAM"]
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def get(url, headers=None, timeout=10):
    """The status and the text; status 0 where nobody answers."""
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def until(condition, what, seconds=60):
    """Waits for something, and fails where it does not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


class Server:
    """`stonechat serve`, which has said its address."""

    def __init__(self, arguments, **more):
        command = [PROGRAM, "serve", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
        self.log = []
        # Read on, or it would stand still once the pipe is full.
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            self.process.wait()
            raise AssertionError(f"{' '.join(command)}: {''.join(self.log)}")

    def metric(self, name, headers=None):
        """The value of a metric, all its labels together."""
        _, text = get(f"{self.url}/metrics", headers)
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return sum(float(value) for series, value in lines if series.split("{")[0] == name)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
