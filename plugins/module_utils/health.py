"""Requests a page of the site on this host from nginx or from Gunicorn."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import suppress

TIMEOUT = 30.0  # seconds that an answer takes at most, as a whole


def ask(connected: socket.socket, name: str, path: str) -> http.client.HTTPResponse:
    """Return the answer to a request, as nginx would send it."""
    connection = http.client.HTTPConnection("localhost")  # parsing an IPv6 address could fail
    connection.sock = connected
    connection.request("GET", path, headers={"Host": name, "X-Forwarded-Proto": "https"})
    return connection.getresponse()


def nginx(name: str, scheme: str) -> socket.socket:
    """Return a connection to this host's nginx; its certificate may be self-signed."""
    plain = socket.create_connection(("127.0.0.1", 443 if scheme == "https" else 80), TIMEOUT)
    if scheme != "https":
        return plain
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # A TLS handshake names no IP address.
    return context.wrap_socket(plain, server_hostname=None if ":" in name else name)


def gunicorn(path: str) -> socket.socket:
    """Return a connection to Gunicorn's socket."""
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(TIMEOUT)
    connected.connect(path)
    return connected


def answer_of(connected: socket.socket, name: str, path: str) -> tuple[int, str, str]:
    """Return the status, its reason and the text of the answer to a request.

    The time of a socket begins anew with each byte, and a hostile application may send one now and
    then; so the connection is shut down after TIMEOUT seconds.
    """

    def shut() -> None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(TIMEOUT, shut)
    timer.daemon = True
    timer.start()
    try:
        with connected:
            answer = ask(connected, name, path)
            return answer.status, answer.reason, answer.read(2000).decode(errors="replace")
    finally:
        timer.cancel()


def get(name: str, path: str, scheme: str, behind: str) -> tuple[int, str, str]:
    """Return the status, its reason and the text of the site's answer.

    Args:
        name: the site's name, which nginx chooses the site by.
        path: the page.
        scheme: "http" or "https".
        behind: Gunicorn's socket, for a site whose nginx asks for a password.

    Raises:
        OSError, http.client.HTTPException: there is no answer.
    """
    told = answer_of(nginx(name, scheme), name, path)
    return answer_of(gunicorn(behind), name, path) if told[0] == 401 else told


def wrong_with(name: str, path: str, scheme: str, behind: str) -> str:
    """Return what is wrong with the site's answer; nothing if its status is from 200 to 399."""
    try:
        status, reason, text = get(name, path, scheme, behind)
    except (OSError, http.client.HTTPException) as error:
        return f"GET {scheme}://{name}{path}: {error}"
    if 200 <= status < 400:
        return ""
    return f"GET {scheme}://{name}{path}: {status} {reason}\n{text}"
