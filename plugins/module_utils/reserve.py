"""A file that reserves space on the disk, for the services when the disk is full.

PostgreSQL cannot start without space for its log, and Redis refuses writes. The monitor removes the
file when the disk is full. Then they go on, and somebody has time to make room.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PLACE = Path("/var/lib/django_stack/monitor/reserve")
MB = 1 << 20
FULL = 64  # MB that are free on a disk that is full: PostgreSQL needs a file of 16 MB at a time
ROOMY = 3  # times the size of the reserve that must be free before it is made


def missing(megabytes: int, place: Path = PLACE) -> bool:
    """Return whether the reserve is missing and there is no room to make it again.

    Args:
        megabytes: its size; 0 for no reserve.
        place: its path.
    """
    return bool(megabytes) and not place.exists() and _free(place) < ROOMY * megabytes


def keep(megabytes: int, place: Path = PLACE) -> None:
    """Make the reserve if there is room, and remove it if the disk is full.

    Args:
        megabytes: its size; 0 for no reserve.
        place: its path, in a directory that only root can write.

    Raises:
        OSError: the file cannot be made or removed.
    """
    there = place.stat().st_size if place.exists() else 0
    if there and (there != megabytes * MB or _free(place) < FULL):
        place.unlink()
    elif megabytes and not there and _free(place) >= ROOMY * megabytes:
        _make(place, megabytes * MB)


def _make(place: Path, size: int) -> None:
    """Make a file of a size in bytes, whose blocks are all taken."""
    new = place.with_name(f"{place.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
    new.rename(place)


def _free(place: Path) -> int:
    """Return the MB that services without the rights of root can still write."""
    seen = os.statvfs(place.parent)
    return int(seen.f_bavail * seen.f_frsize // MB)
