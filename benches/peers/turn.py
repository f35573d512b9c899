"""One turn: one process of one engine, and who else used the machine meanwhile.

In: a command line. Out: its output, time, CPU time, peak memory, and the CPU time that others took. Linux only:
`/proc/stat` counts what all processors did, `wait4` what the child did; the difference was not the child.
"""

import os
import resource
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

from errors import Failure

# The clock of /proc/stat is coarse: it counts whole ticks, on each processor.
TICKS_OF_GRACE = 3
TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Turn:
    """What one process did."""

    stdout: str
    seconds: float
    cpu_seconds: float
    foreign_seconds: float
    peak_rss_bytes: int

    def disturbed(self, most):
        """Whether others took more than this share of one processor, so that its time tells of them, too."""
        grace = TICKS_OF_GRACE * TICK * os.cpu_count()
        return self.foreign_seconds > grace + most * self.seconds


def take(command, environment=None, timeout=1800):
    """Runs a command to its end. A failed one ends in one sentence with the last line it wrote."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        busy, own = busy_seconds(), _own_seconds()
        start = time.perf_counter()
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **(environment or {})}
            )
        except OSError as error:
            raise Failure(f"{command[0]} does not start: {error.strerror}") from None
        usage, status = _wait(child, timeout)
        seconds = time.perf_counter() - start
        own, busy = _own_seconds() - own, busy_seconds() - busy
        text, complaint = _text(out), _text(err)
    if status is None:
        raise Failure(f"{command[0]} was stopped after {timeout} s")
    if status != 0:
        how = f"exit code {status}" if status > 0 else f"signal {-status}"
        raise Failure(f"{' '.join(command)} ended with {how}: {_telling(complaint.strip() or text.strip())}")
    cpu = usage.ru_utime + usage.ru_stime
    return Turn(text, seconds, cpu, max(0.0, busy - cpu - own), usage.ru_maxrss * 1024)


def busy_seconds():
    """CPU time that all processors have spent on anything but idling; what the hypervisor stole counts."""
    with open("/proc/stat", encoding="ascii") as file:
        return parse_busy(file.readline())


def parse_busy(line):
    """The same, of the first line of /proc/stat."""
    name, *ticks = line.split()
    if name != "cpu" or len(ticks) < 8:
        raise Failure("/proc/stat does not begin with the sum over all processors")
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(t) for t in ticks[:8])
    return (user + nice + system + irq + softirq + steal) * TICK


def _own_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _wait(child, timeout):
    """What the child used, and its exit status: negative for a signal, None where it ran out of time."""
    late = threading.Event()

    def stop():
        late.set()
        child.kill()

    timer = threading.Timer(timeout, stop)
    timer.start()
    # Not Popen.wait: wait4 alone tells what this one child used.
    _, status, usage = os.wait4(child.pid, 0)
    timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    return usage, None if late.is_set() else child.returncode


def _telling(complaint):
    """The line that says what went wrong: the first that speaks of an error, or the last."""
    lines = complaint.splitlines() or ["no output"]
    return next((line for line in lines if "error" in line.lower()), lines[-1])


def _text(file):
    file.seek(0)
    return file.read().decode("utf-8", "replace")
