"""What a host has that this collection has not made: files, ports, units and data of others.

A role knows its own service by a file that only the role writes, such as a drop-in of a unit. What
came unchanged with a package of the distribution belongs to nobody.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.clink.django_stack.plugins.module_utils import files, units

SUFFIX = ".before-django-stack"  # of the copy of a file that a role has replaced
LISTENING = "0A"  # the state of a socket in /proc/net/tcp
DPKG_QUERY = "/usr/bin/dpkg-query"
PACKAGES = ("nginx*", "redis*", "postgresql*", "rabbitmq*", "fail2ban*")
# The lines by which units of this collection say which application they belong to.
OURS = re.compile(
    r"^(?:Description=(?:Socket of )?Gunicorn serving|Description=Celery (?:worker|beat) of) "
    r"([a-z][a-z0-9_]*)(?: while .*)?$|^X-DjangoStackProcess=([a-z][a-z0-9_]*)$",
    re.MULTILINE,
)
END_OF_DUMP = 0xFF


@dataclass(frozen=True)
class Finding:
    """Something on the host that the run would take over.

    Attributes:
        text: what it is, and what would become of it.
        advice: what to do instead of the word to take over; empty if there is nothing.
        final: the word to take over does not help.
        mild: it is only told; the run goes on.
    """

    text: str
    advice: str = ""
    final: bool = False
    mild: bool = False


@dataclass(frozen=True)
class Listener:
    """A process that listens on a TCP port."""

    port: int
    is_public: bool
    program: str
    unit: str


def text_of(path: str | Path) -> str:
    """Return the text of a file of root's; empty if there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def of_packages() -> dict[str, str]:
    """Return the MD5 sums of configuration files as their packages brought them, by their paths.

    Of a package whose installation was interrupted dpkg says "newconffile" instead.
    """
    command = [DPKG_QUERY, "--show", "--showformat=${Conffiles}\n", *PACKAGES]
    told = units.run(command, 20, kept=1024 * 1024).output
    return dict(
        re.findall(r"^ (/\S+) ([0-9a-f]{32}|newconffile)(?: obsolete)?$", told, re.MULTILINE)
    )


def is_changed(path: str | Path, known: dict[str, str]) -> bool:
    """Return whether a file is there and is not as its package brought it."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    told = known.get(os.path.realpath(path), "")
    return told not in ("newconffile", hashlib.md5(content).hexdigest())  # noqa: S324 - dpkg's sums


def owner_of(unit_text: str) -> str | None:
    """Return the application that a unit of this collection belongs to; None for other units."""
    found = OURS.search(unit_text)
    return (found[1] or found[2]) if found else None


def unit_files(name: str) -> list[Path]:
    """Return the files that define a unit, the one in force first."""
    places = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")
    return [path for path in (Path(place, name) for place in places) if path.exists()]


def _address(text: str) -> tuple[str, int]:
    """Return the address and the port of a line of /proc/net/tcp or tcp6."""
    host, port = text.split(":")
    words = [struct.pack("=I", int(host[at : at + 8], 16)) for at in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), int(port, 16)


def sockets(tables: Iterable[str]) -> dict[str, tuple[int, bool]]:
    """Return the port of each listening socket and whether other hosts reach it, by its inode.

    Args:
        tables: the texts of /proc/net/tcp and /proc/net/tcp6.
    """
    found = {}
    for line in (line for table in tables for line in table.splitlines()[1:]):
        words = line.split()
        if words[3] != LISTENING:
            continue
        address, port = _address(words[1])
        plain = address.removeprefix("::ffff:")
        found[words[9]] = (port, not plain.startswith("127.") and plain != "::1")
    return found


def listeners() -> list[Listener]:
    """Return the processes that listen on TCP ports."""
    inodes = sockets([text_of("/proc/net/tcp"), text_of("/proc/net/tcp6")])
    found = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            held = {os.readlink(each) for each in (process / "fd").iterdir()}
        except OSError:  # it has ended
            continue
        for inode in (name[8:-1] for name in held if name.startswith("socket:[")):
            if inode in inodes:
                group = text_of(process / "cgroup").strip().rsplit("/", 1)[-1]
                found.add(Listener(*inodes[inode], text_of(process / "comm").strip(), group))
    return sorted(found, key=lambda each: (each.port, each.program))


def has_keys(dump: bytes) -> bool:
    """Return whether a dump of Redis holds data; one that cannot be read holds some.

    A dump begins with its version and with pairs of texts about the server. Source: rdb.h and
    rdb.c of Redis.
    """
    at = 9
    try:
        while dump[at] == 0xFA:
            at += 1
            for _number in range(2):
                kind, rest = dump[at] >> 6, dump[at] & 0x3F
                if kind == 3:  # a number of 1, 2 or 4 bytes
                    at += 1 + (1, 2, 4)[rest]
                elif kind == 0:
                    at += 1 + rest
                elif kind == 1:
                    at += 2 + (rest << 8 | dump[at + 1])
                else:
                    return True
        return dump[at] != END_OF_DUMP
    except IndexError:
        return bool(dump)


def copy_beside(paths: Iterable[str | Path]) -> list[str]:
    """Copy files beside themselves, each once; return the copies that were made."""
    made = []
    for path in (Path(each) for each in paths):
        beside = path.with_name(path.name + SUFFIX)
        if path.is_file() and not beside.exists():
            told = path.stat()
            mode = stat.S_IMODE(told.st_mode)
            files.replace(beside, path.read_bytes(), mode, told.st_uid, told.st_gid)
            made.append(str(beside))
    return made


def remember(unit: str) -> None:
    """Remember that somebody used a unit before a role took it over."""
    files.replace(units.TAKEN_OVER / unit, "", 0o644)
