"""Name the run of ansible-playbook that this is part of; or tell whether another still goes on.

Without arguments it prints {"by": "user@machine", "machine": ..., "pid": ..., "started": ...}.
With PID and STARTED it exits 0 if that run of this machine goes on, and 1 if it has ended.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
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
    """Return the run: its workers are forks of it, so the last of the nearest ones is meant."""
    pid, found = os.getppid(), (0, "")
    while pid > 1:
        parent, started, command = process(pid)
        if any(Path(word).name in PROGRAMS for word in command.split()[:2]):
            found = (pid, started)
        elif found[0]:
            break
        pid = parent
    machine = socket.gethostname()
    return {
        "by": f"{getpass.getuser()}@{machine}",
        "machine": machine,
        "pid": found[0],
        "started": found[1],
    }


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(process(int(sys.argv[1]))[1] != sys.argv[2])
    print(json.dumps(this(), sort_keys=True))
