"""Kill each service of the stack on this host with signal 9, and time its return.

    kill.py NAME    NAME is the site's, for the Host header

A service is back when systemd runs another main process for it and /api/status/, which asks
every component, is all green again through nginx; beat, once it has sent a task again.
Ends with an error if one takes longer than LIMIT.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

LIMIT = 10.0  # seconds
BEAT = "celery-beat.service"
PATIENCE = 60.0  # seconds until it counts as gone for good


def output(*command: str) -> str:
    """Return what a command prints, without the line's end; nothing if it fails."""
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def main_process(unit: str) -> int:
    """Return the main process of a unit, 0 if there is none."""
    return int(output("systemctl", "show", "--property=MainPID", "--value", unit) or 0)


def green(name: str) -> bool:
    """Tell whether every component answers, asked through nginx."""
    request = urllib.request.Request("http://127.0.0.1/api/status/", headers={"Host": name})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return all(check["ok"] for check in json.load(answer)["checks"].values())
    except (OSError, ValueError):
        return False


def has_sent(unit: str, process: int) -> bool:
    """Tell whether a process of beat has sent a task, by what it has said."""
    said = output("journalctl", "--quiet", f"--unit={unit}", f"_PID={process}", "--output=cat")
    return "Sending due task" in said


def away(unit: str, name: str) -> float:
    """Kill a unit's main process; return the seconds until it has come back.

    Raises:
        SystemExit: if it never does.
    """
    process = main_process(unit)
    if not process:
        raise SystemExit(f"{unit} has no main process to kill")
    begun = time.monotonic()
    os.kill(process, signal.SIGKILL)
    while True:
        new = main_process(unit)
        back = new not in (0, process) and green(name)
        seconds = time.monotonic() - begun
        if back and (unit != BEAT or has_sent(unit, new)):
            return seconds
        if seconds > PATIENCE:
            state = output("systemctl", "status", "--no-pager", "--lines=20", unit)
            raise SystemExit(f"{unit} is not back after {seconds:.0f} s:\n{state}")
        time.sleep(0.1)


def main(name: str) -> None:
    """Kill one after another, and say how long each was away."""
    deadline = time.monotonic() + PATIENCE
    while not green(name):
        if time.monotonic() > deadline:
            raise SystemExit("the site is not all green before anything is killed")
        time.sleep(0.5)
    clusters = output("systemctl", "list-units", "--plain", "--no-legend", "postgresql@*.service")
    units = ["nginx.service", "gunicorn.service", "celery.service", BEAT]
    slow = []
    for unit in [*units, clusters.split()[0], "redis-server.service"]:
        seconds = away(unit, name)
        print(f"{unit:<30} back after {seconds:4.1f} s", flush=True)
        if seconds > LIMIT:
            slow.append(unit)
    if slow:
        raise SystemExit(f"longer than {LIMIT:.0f} s: {', '.join(slow)}")


if __name__ == "__main__":
    main(sys.argv[1])
