"""Reads the length of Celery's queues in Redis, and finds how long the tasks of a queue wait.

Celery writes no time into a message, so the waiting time is measured. In Redis one task is
followed: the newest of a queue is remembered, and as long as it is in the queue, it waits. Once a
worker has taken it, its waiting time is known, and the next one is followed. Source: kombu's
transport/redis.py (lists, LPUSH and BRPOP, a list for each priority), LPOS of Redis 6.0.6.

RabbitMQ shows no task without taking it from the queue, so `outwait` knows the lengths only.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from typing import IO, Any
from urllib.parse import unquote, urlsplit

TIMEOUT = 5.0  # seconds for each answer
LONGEST = 65536  # bytes of a task that is followed; of a longer one nothing is read
PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")  # kombu's lists of a queue
SCHEMES = ("redis://", "rediss://")
LOOKS = 64  # looks that are remembered, at most


class QueueError(Exception):
    """Redis refuses a command; the text is its answer."""


class Client:
    """A connection to Redis, which is closed with `close`."""

    def __init__(self, url: str) -> None:
        """Connect and log in.

        Args:
            url: redis://user:password@host:port/database, or rediss:// for TLS.

        Raises:
            OSError: Redis does not answer.
            QueueError: Redis refuses the login.
        """
        parts = urlsplit(url)
        place = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self.socket: socket.socket = socket.create_connection(place, TIMEOUT)
        if parts.scheme == "rediss":
            context = ssl.create_default_context()
            self.socket = context.wrap_socket(self.socket, server_hostname=place[0])
        self.file: IO[bytes] = self.socket.makefile("rb")
        if parts.password:
            names = [unquote(parts.username)] if parts.username else []
            self.ask("AUTH", *names, unquote(parts.password))
        if parts.path.strip("/"):
            self.ask("SELECT", parts.path.strip("/"))

    def close(self) -> None:
        """End the connection."""
        self.file.close()
        self.socket.close()

    def ask(self, *words: str | bytes) -> Any:  # noqa: ANN401 - an answer of Redis has one of several types
        """Return the answer to a command.

        Raises:
            OSError: the connection ends, or the answer is too long.
            QueueError: Redis refuses the command.
        """
        coded = [word.encode() if isinstance(word, str) else word for word in words]
        text = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in coded)
        self.socket.sendall(b"*%d\r\n%b" % (len(coded), text))
        line = self.file.readline(LONGEST)
        kind, rest = line[:1], line[1:].strip()
        if kind == b"-":
            raise QueueError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind != b"$":
            return rest
        length = int(rest)
        if length < 0:
            return None
        if length > LONGEST:
            raise OSError(f"an answer of {length} bytes")
        return self.file.read(length + 2)[:length]


def follow(client: Any, key: str, known: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ANN401 - tests give a client of their own
    """Return what is known of a list after another look at it.

    Args:
        client: the connection.
        key: of the list.
        known: what the last look has returned; empty at the first.
        now: the time, in seconds since 1970.

    Returns:
        `length`, `waited` (the longest known waiting time of the moment, in seconds), and where a
        task is followed `task` (the message, as text of Latin-1) and `since`.
    """
    length = client.ask("LLEN", key)
    if not length:
        return {"length": 0, "waited": 0.0}
    waited = float(known.get("waited", 0.0))
    if "task" in known:
        since = min(float(known["since"]), now)
        if client.ask("LPOS", key, known["task"].encode("latin-1")) is not None:
            seen = {"task": known["task"], "since": since}
            return {"length": length, "waited": max(waited, now - since), **seen}
        waited = now - since  # no less than it has waited, and no more than one look more
    told: dict[str, Any] = {"length": length, "waited": waited}
    try:
        newest = client.ask("LINDEX", key, "0")
    except OSError:  # it is too long to be followed; what is left of the answer is not read
        return told
    if newest is None:
        return told
    return {**told, "task": newest.decode("latin-1"), "since": now}


def look(
    url: str, names: list[str], known: dict[str, Any], now: float
) -> tuple[dict[str, Any], int, float]:
    """Return what is known of all queues, the number of their tasks, and the longest waiting time.

    Args:
        url: of Redis.
        names: of the queues.
        known: what the last look has returned.
        now: the time, in seconds since 1970.

    Raises:
        OSError, QueueError: Redis does not answer as expected.
    """
    told: dict[str, Any] = {}
    for key in (f"{name}{priority}" for name in names for priority in PRIORITIES):
        with closing(Client(url)) as client:
            told[key] = follow(client, key, known.get(key, {}), now)
    length = sum(each["length"] for each in told.values())
    return told, length, max(each["waited"] for each in told.values())


def outwait(length: int, known: dict[str, Any], now: float) -> dict[str, Any]:
    """Return what is known of a queue of which only the length can be read.

    Tasks leave a queue in the order in which they came. A look at which the queue has grown is
    remembered until as many tasks have left as were in the queue then. Tasks that come and leave
    between two looks are not seen, so a task has waited for `waited` at most.

    Args:
        length: the number of its tasks.
        known: what the last look has returned; empty at the first.
        now: the time, in seconds since 1970.

    Returns:
        `length`, `waited` (in seconds), and `looks`: the time of each, and how many tasks have to
        leave.
    """
    gone = max(int(known.get("length", 0)) - length, 0)
    looks = [[min(at, now), left - gone] for at, left in known.get("looks", []) if left > gone]
    if len(looks) == LOOKS:  # two become one: the time of the older, the tasks of the newer
        looks = [[old[0], new[1]] for old, new in zip(looks[::2], looks[1::2], strict=True)]
    if length > (looks[-1][1] if looks else 0):
        looks.append([now, length])
    return {"length": length, "waited": now - looks[0][0] if looks else 0.0, "looks": looks}
