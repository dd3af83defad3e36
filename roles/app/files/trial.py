"""Run on the host: start a release beside the live one, on a socket of its own, and ask it.

    trial.py UNIT SOCKET HOST PATH ENVIRONMENT COPY

The unit reads COPY, which is made of the file ENVIRONMENT, what the release will have. Exits 0
when the answer's status is from 200 to 399, and says what the unit said if it is not.
"""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import sys
from pathlib import Path


class Connection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        """Remember the socket's path; the host is only a header."""
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path: str, host: str, url: str) -> str:
    """Return what is wrong with the answer; nothing if it is right."""
    connection = Connection(path, timeout=30)
    # As nginx would: a project that redirects http to https must answer this.
    headers = {"Host": host, "X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}
    try:
        connection.request("GET", url, headers=headers)
        answer = connection.getresponse()
        text = answer.read(2000).decode(errors="replace")
    except OSError as error:
        return f"GET {url}: {error}"
    if 200 <= answer.status < 400:
        return ""
    return f"GET {url}: {answer.status} {answer.reason}\n{text}"


def main(unit: str, path: str, host: str, url: str, environment: Path, copy: Path) -> int:
    """Try the release; return the exit code."""
    copy.touch(mode=0o600)
    shutil.copyfile(environment, copy)
    begun = subprocess.check_output(["date", "+%Y-%m-%d %H:%M:%S"], text=True).strip()
    try:
        started = subprocess.run(["systemctl", "restart", unit], capture_output=True, text=True)
        wrong = started.stderr if started.returncode else ask(path, host, url)
    finally:
        subprocess.run(["systemctl", "stop", unit], capture_output=True)
        subprocess.run(["systemctl", "reset-failed", unit], capture_output=True)
        copy.unlink()
    if wrong:
        print(wrong)
        told = ["journalctl", "--quiet", "--unit", unit, "--since", begun, "--output=cat"]
        print(subprocess.check_output([*told, "--no-pager"], text=True))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5], *map(Path, sys.argv[5:])))
