"""The run of ansible-playbook that a task is part of, and whether another one still goes on."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from pathlib import Path

PROGRAMS = {"ansible-playbook", "ansible-pull", "ansible"}


def process(pid: int) -> tuple[int, str, str]:
    """Return a process's parent, start and command line; zero and empty if there is none."""
    command = ["ps", "-o", "ppid=", "-o", "lstart=", "-o", "command=", "-p", str(pid)]
    environment = {**os.environ, "LC_ALL": "C"}
    told = subprocess.run(command, capture_output=True, text=True, env=environment)
    parent, *rest = told.stdout.split() or ["0"]
    return int(parent), " ".join(rest[:5]), " ".join(rest[5:])


def this() -> dict[str, object]:
    """Return this run: who started it, on which machine, its process and that one's start.

    Its workers are forks of it, so the last of the nearest processes with its name is meant.
    """
    pid = os.getppid()
    found, named = (pid, process(pid)[1]), False  # one that has another name is known by its worker
    while pid > 1:
        parent, started, command = process(pid)
        if any(Path(word).name in PROGRAMS for word in command.split()[:2]):
            found, named = (pid, started), True
        elif named:
            break
        pid = parent
    machine = socket.gethostname()
    return {
        "by": f"{getpass.getuser()}@{machine}",
        "machine": machine,
        "pid": found[0],
        "started": found[1],
    }


def goes_on(pid: int, started: str) -> bool:
    """Return whether a run of this machine goes on, by its process and its start."""
    return bool(started) and process(pid)[1] == started
