"""Run on the host: ask the site behind nginx for a page; exits 0 if its status is from 200 to 399.

    ask.py NAME PATH SCHEME SOCKET

No certificate is verified: this host's own nginx answers, and its certificate may be self-signed.
Where nginx asks for a password, which has no place on a command line, Gunicorn's SOCKET is asked.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import sys

TIMEOUT = 30.0  # seconds


def ask(connected: socket.socket, name: str, path: str) -> http.client.HTTPResponse:
    """Return the answer to a request, as nginx would send it."""
    connection = http.client.HTTPConnection("localhost")  # a name that is an address may not parse
    connection.sock = connected
    connection.request("GET", path, headers={"Host": name, "X-Forwarded-Proto": "https"})
    return connection.getresponse()


def nginx(name: str, scheme: str) -> socket.socket:
    """Return a connection to this host's nginx."""
    plain = socket.create_connection(("127.0.0.1", 443 if scheme == "https" else 80), TIMEOUT)
    if scheme != "https":
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # An address is asked for without a name.
    return context.wrap_socket(plain, server_hostname=None if ":" in name else name)


def gunicorn(path: str) -> socket.socket:
    """Return a connection to what answers behind nginx."""
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(TIMEOUT)
    connected.connect(path)
    return connected


def main(name: str, path: str, scheme: str, behind: str) -> int:
    """Ask; return the exit code, and say what the answer was if it is not a good one."""
    try:
        answer = ask(nginx(name, scheme), name, path)
        if answer.status == 401:
            answer = ask(gunicorn(behind), name, path)
    except OSError as error:
        print(f"GET {scheme}://{name}{path}: {error}")
        return 1
    if 200 <= answer.status < 400:
        return 0
    text = answer.read(2000).decode(errors="replace")
    print(f"GET {scheme}://{name}{path}: {answer.status} {answer.reason}\n{text}")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
