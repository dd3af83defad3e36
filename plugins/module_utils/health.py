"""Requests a page of the site on this host from nginx or from Gunicorn."""

from __future__ import annotations

import http.client
import socket
import ssl

TIMEOUT = 30.0  # seconds


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


def wrong_with(name: str, path: str, scheme: str, behind: str) -> str:
    """Return what is wrong with the site's answer; nothing if its status is from 200 to 399.

    Args:
        name: the site's name, which nginx chooses the site by.
        path: the page.
        scheme: "http" or "https".
        behind: Gunicorn's socket, for a site whose nginx asks for a password.
    """
    try:
        answer = ask(nginx(name, scheme), name, path)
        if answer.status == 401:
            answer = ask(gunicorn(behind), name, path)
        text = answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"GET {scheme}://{name}{path}: {error}"
    if 200 <= answer.status < 400:
        return ""
    return f"GET {scheme}://{name}{path}: {answer.status} {answer.reason}\n{text}"
