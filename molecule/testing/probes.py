"""Questions to a droplet that a browser would not ask, and to the text of its configuration."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
from contextlib import closing
from pathlib import Path

from droplets import NAME, Door, eventually
from testinfra.host import Host  # type: ignore[import-untyped]


def connect(door: Door) -> socket.socket:
    """Return a connection to the site that anything can be sent through."""
    secure = door.url.startswith("https")
    connection = socket.create_connection((door.address, 443 if secure else 80), timeout=30)
    if not secure:
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=NAME)


def raw(path: str, method: str = "GET", **headers: object) -> bytes:
    """Return a request as it goes over the wire; `requests` would tidy the path up."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {NAME}", *lines, "\r\n"]).encode()


def exchange(door: Door, sent: bytes) -> str:
    """Return the whole answer to some bytes, which must ask for the connection to be closed."""
    with closing(connect(door)) as connection:
        connection.sendall(sent)
        return connection.makefile("rb").read().decode(errors="replace")


def logged(host: Host, stamp: str) -> str:
    """Return the line of the log about a path with a stamp in it, which nobody else asks for."""
    find = f"grep {stamp} /var/log/nginx/access.log"
    (line,) = eventually(lambda: host.run(find).stdout.splitlines())
    return str(line)


def weaknesses(host: Host, path: Path, change: tuple[str, str] = ("", "")) -> dict[str, list[str]]:
    """Return the names of what gixy finds in the configuration in use, by severity.

    Args:
        host: a droplet with nginx.
        path: a file to write the configuration to.
        change: a regular expression and its replacement, to spoil it first.
    """
    text = host.check_output("nginx -T 2>/dev/null")
    path.write_text(re.sub(*change, text) if change[0] else text)
    told = subprocess.run(["gixy", "--format=json", path], capture_output=True, text=True)
    found: dict[str, list[str]] = {"HIGH": [], "MEDIUM": [], "LOW": []}
    for issue in json.loads(told.stdout):
        found[issue["severity"]].append(issue["plugin"])
    return found
