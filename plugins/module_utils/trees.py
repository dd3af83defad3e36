"""Change the owner of a directory that another user has written, as root.

Such a directory may hold anything: links, other names (hard links) of files that lie elsewhere,
pipes, access control lists, thousands of nested directories. Each entry is opened once, without
following a link, and all that happens to it goes through that descriptor, so that nobody can
exchange it meanwhile. Source: open(2) on O_PATH, proc(5) on /proc/self/fd, link(2).
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ansible_collections.clink.django_stack.plugins.module_utils.releases import ReleaseError

DEPTH = 200  # levels of directories; each takes a descriptor while it is walked
LISTS = ("system.posix_acl_access", "system.posix_acl_default")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
Inode = tuple[int, int]
# What is done with an entry: its path for messages, that of its descriptor, and its status.
Change = Callable[[str, str, os.stat_result], None]


@contextmanager
def _opened(name: str | Path, flags: int, directory: int | None = None) -> Iterator[int]:
    """Open an entry of a directory; close it afterwards."""
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _walk(
    directory: int, path: str, change: Change, skip: Collection[str] = (), depth: int = 0
) -> None:
    """Change all that is below an open directory; a directory before what it holds.

    Raises:
        ReleaseError: the directories are nested more than DEPTH levels deep.
    """
    if depth > DEPTH:
        raise ReleaseError(f"{path[:200]!r} has more than {DEPTH} levels of directories")
    device = os.fstat(directory).st_dev
    for name in sorted(set(os.listdir(directory)) - set(skip)):
        with _opened(name, os.O_PATH | os.O_NOFOLLOW, directory) as entry:
            told = os.fstat(entry)
            if told.st_dev != device:
                continue  # another file system is mounted there
            change(f"{path}/{name}", f"/proc/self/fd/{entry}", told)
            if stat.S_ISDIR(told.st_mode):
                with _opened(".", DIRECTORY, entry) as inside:
                    _walk(inside, f"{path}/{name}", change, (), depth + 1)


def names_in(directory: Path) -> Counter[Inode]:
    """Return how many names each file with several names has in a directory and below it."""
    found: Counter[Inode] = Counter()

    def count(path: str, entry: str, told: os.stat_result) -> None:
        if told.st_nlink > 1 and not stat.S_ISDIR(told.st_mode):
            found[told.st_dev, told.st_ino] += 1

    with _opened(directory, DIRECTORY) as descriptor:
        _walk(descriptor, str(directory), count)
    return found


def give(directory: Path, uid: int, gid: int, skip: Collection[str] = ()) -> None:
    """Give a directory to a user.

    A file that has another name elsewhere stays whose it is: it may be part of another release.

    Args:
        directory: the directory, which lies in one of root's.
        uid: the number of the user.
        gid: the number of the group.
        skip: names in the directory that stay as they are.
    """
    with _opened(directory, DIRECTORY) as descriptor:
        found: Counter[Inode] = Counter()

        def count(path: str, entry: str, told: os.stat_result) -> None:
            found[told.st_dev, told.st_ino] += 1

        def change(path: str, entry: str, told: os.stat_result) -> None:
            alone = stat.S_ISDIR(told.st_mode) or told.st_nlink == 1
            if alone or found[told.st_dev, told.st_ino] == told.st_nlink:
                os.chown(entry, uid, gid)

        _walk(descriptor, str(directory), count, skip)
        _walk(descriptor, str(directory), change, skip)
        os.fchown(descriptor, uid, gid)


def seal(directory: Path, known: Counter[Inode] | None = None) -> None:
    """Give a directory to root for good: everybody who comes to it reads, nobody else writes.

    Args:
        directory: the directory, which lies in one of root's.
        known: the names of files in a larger directory, which may be sealed with this one.

    Raises:
        ReleaseError: a file of another user has a name elsewhere, so that root would take it from
            there, too.
    """
    found = names_in(directory) if known is None else known

    def change(path: str, entry: str, told: os.stat_result) -> None:
        if stat.S_ISLNK(told.st_mode):
            os.chown(entry, 0, 0)
            return
        executable = stat.S_ISDIR(told.st_mode) or told.st_mode & 0o111
        mode = 0o755 if executable else 0o644
        elsewhere = not stat.S_ISDIR(told.st_mode) and told.st_nlink > max(
            1, found[told.st_dev, told.st_ino]
        )
        if elsewhere:
            if told.st_uid == 0 and not told.st_mode & 0o7022:
                return  # sealed already, with the release that it is linked from
            raise ReleaseError(
                f"{path!r} is a hard link to a file outside of {directory}; it should be a copy"
            )
        with suppress(OSError):  # a file system without access control lists
            for name in set(os.listxattr(entry)).intersection(LISTS):
                os.removexattr(entry, name)
        if (told.st_uid, told.st_gid) != (0, 0):
            os.chown(entry, 0, 0)
        if stat.S_IMODE(told.st_mode) != mode:
            os.chmod(entry, mode)

    with _opened(directory, DIRECTORY) as descriptor:
        change(str(directory), f"/proc/self/fd/{descriptor}", os.fstat(descriptor))
        _walk(descriptor, str(directory), change)
