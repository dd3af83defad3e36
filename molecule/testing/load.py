"""What goes on inside a droplet while a test does something to it, such as requests without end."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from droplets import NAME

from tools.bench import wrk

# From 127.0.0.1, which is exempt from nginx's limits. wrk gives up on a request after the timeout.
WRK = ["wrk", "--threads=1", "--connections=4", "--duration=600s", "--timeout=30s", "--latency"]
# Each client pauses for 80 ms after an answer. The tests look for requests that fail or wait;
# without a pause, the clients would use most of the processor and slow everything down.
SCRIPT = "/run/load.lua"
LUA = """
function delay() return 80 end
function done(summary, latency)
    -- Of 4 clients: the fourth longest of all latencies.
    print("fourth:", latency:percentile(100 - 350 / summary.requests))
end
"""
PAGE = "http://127.0.0.1/trials/wait/"
SETTLE = 0.5  # seconds of load before and after what is measured
MILLISECONDS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


@contextmanager
def inside(droplet: str, *command: str) -> Iterator[list[str]]:
    """Run a command in a droplet during the block; afterwards the list has the lines it printed."""
    execute = ["docker", "exec", droplet]
    run = subprocess.Popen(
        [*execute, "sh", "-c", 'echo $$; exec "$@"', "sh", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.stdout
    process = run.stdout.readline().strip()
    lines: list[str] = []
    try:
        yield lines
    finally:
        # docker passes no signals on.
        subprocess.run([*execute, "kill", "-INT", process], capture_output=True)
        lines += run.communicate(timeout=60)[0].splitlines()


@dataclass
class Load:
    """What wrk has seen.

    Attributes:
        requests: those that were answered.
        failed: answers that were not 2xx or 3xx, and errors of the connections of each kind.
        p99: the 99th percentile of the latencies in ms.
        longest: the longest of them in ms.
        fourth: the fourth longest in ms. If the site stands still, all 4 clients wait; one alone
            may have waited for the processor.
    """

    requests: int = 0
    failed: int = 0
    p99: float = 0.0
    longest: float = 0.0
    fourth: float = 0.0


@contextmanager
def load(droplet: str, page: str = PAGE, *headers: str) -> Iterator[Load]:
    """Have wrk ask for a page without pause during the block; afterwards the figures are there."""
    seen = Load()
    asked = [f"--header={header}" for header in (f"Host: {NAME}", *headers)]
    write = ["docker", "exec", "--interactive", droplet, "sh", "-c", f"cat >{SCRIPT}"]
    subprocess.run(write, check=True, input=LUA, text=True)
    with inside(droplet, *WRK, f"--script={SCRIPT}", *asked, page) as lines:
        time.sleep(SETTLE)
        yield seen
        time.sleep(SETTLE)
    printed = "\n".join(lines)
    _, seen.p99, seen.failed = wrk(printed)
    answered = re.search(r"^ +(\d+) requests in ", printed, re.MULTILINE)
    slowest = re.search(r"^ +Latency +\S+ +\S+ +([\d.]+)(us|ms|s|m) ", printed, re.MULTILINE)
    fourth = re.search(r"^fourth:\s+(\d+)", printed, re.MULTILINE)
    assert answered and slowest and fourth, printed
    seen.requests = int(answered[1])
    seen.longest = float(slowest[1]) * MILLISECONDS[slowest[2]]
    seen.fourth = int(fourth[1]) / 1000
