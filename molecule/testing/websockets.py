"""A WebSocket as a browser opens it: RFC 6455, for short texts."""

from __future__ import annotations

import queue
import socket
import threading
from contextlib import suppress

HANDSHAKE = (
    "GET /room/ HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
RESTART = 1012
PATIENCE = 30  # seconds


class WebSocket:
    """A WebSocket to the droplet, from another machine. It answers the pings of the server."""

    def __init__(self, address: str, name: str) -> None:
        """Open one at port 80 of an address, for the site of a name."""
        self.socket = socket.create_connection((address, 80), timeout=PATIENCE)
        self.socket.sendall(HANDSHAKE.format(name).encode())
        self.file = self.socket.makefile("rb")
        assert b" 101 " in self.file.readline()
        while self.file.readline().strip():
            pass
        self.socket.settimeout(None)
        self.frames: queue.Queue[tuple[int, bytes]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):
            while head := self.file.read(2):
                kind, content = head[0] & 15, self.file.read(head[1])
                if kind == PING:
                    self._send(PONG, content)
                elif kind in (TEXT, CLOSE):
                    self.frames.put((kind, content))

    def _send(self, kind: int, content: bytes) -> None:
        self.socket.sendall(bytes([0x80 | kind, 0x80 | len(content)]) + bytes(4) + content)

    def send(self, text: str) -> None:
        """Send a short text."""
        self._send(TEXT, text.encode())

    def receive(self) -> tuple[int, bytes]:
        """Return the kind of the next frame that is no ping, and its content."""
        return self.frames.get(timeout=PATIENCE)
