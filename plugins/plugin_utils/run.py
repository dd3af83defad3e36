"""Identifies the current run of ansible-playbook, and checks whether another run is alive."""

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
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    parent, *rest = told.stdout.split() or ["0"]
    return int(parent), " ".join(rest[:5]), " ".join(rest[5:])


def this() -> dict[str, object]:
    """Return this run: its user, machine, process id and the start of the process.

    The workers of ansible-playbook are its forks: the run is the highest process of the chain of
    ancestors with that name.
    """
    pid = os.getppid()
    # Without a process of that name the parent identifies the run.
    found, named = (pid, process(pid)[1]), False
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
    """Return whether a run of this machine is alive, by its process and the start of that."""
    return bool(started) and process(pid)[1] == started
