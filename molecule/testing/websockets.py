"""A WebSocket as a browser opens it: RFC 6455, for short texts."""

from __future__ import annotations

import socket

HANDSHAKE = (
    "GET /room/ HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TEXT, CLOSE, RESTART = 1, 8, 1012


class WebSocket:
    """A WebSocket to the droplet, from another machine."""

    def __init__(self, address: str, name: str) -> None:
        """Open one at port 80 of an address, for the site of a name."""
        self.socket = socket.create_connection((address, 80), timeout=30)
        self.socket.sendall(HANDSHAKE.format(name).encode())
        self.file = self.socket.makefile("rb")
        assert b" 101 " in self.file.readline()
        while self.file.readline().strip():
            pass

    def send(self, text: str) -> None:
        """Send a short text."""
        self.socket.sendall(bytes([0x80 | TEXT, 0x80 | len(text)]) + bytes(4) + text.encode())

    def receive(self) -> tuple[int, bytes]:
        """Return the kind of the next frame that is no ping, and its content."""
        while True:
            first, length = self.file.read(2)
            content = self.file.read(length)
            if first & 15 in (TEXT, CLOSE):
                return first & 15, content
