"""Computes the revision of a source directory or archive, and packs it for a release.

The revision depends on names, contents and executable bits alone, so that an
unchanged directory is the same release on every control machine. In a git work
tree the files are the tracked ones and those that git does not ignore.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = {".git", ".hg", ".venv", "__pycache__", "node_modules", ".mypy_cache", ".ruff_cache"}


class SourceError(Exception):
    """The source is missing or empty; the text has its path."""


def listed(directory: Path) -> Iterator[Path]:
    """Yield the source's files and links, as paths below the directory.

    Raises:
        SourceError: the directory does not exist.
    """
    if not directory.is_dir():
        raise SourceError(f"{directory} does not exist on the control machine")
    command = ["git", "-C", str(directory), "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # no git, or no work tree
        found = (path.relative_to(directory) for path in directory.rglob("*"))
        yield from (path for path in found if LEFT_OUT.isdisjoint(path.parts))
    else:
        yield from (Path(name) for name in names.split("\0") if name)


def pack(source: Path, archive: Path | None = None) -> str:
    """Return the revision of a source, 40 hexadecimal digits; write its files to an archive.

    Args:
        source: a directory, or a file that is an archive already.
        archive: the tar file to write, or None; it should be private, as it holds the code.

    Raises:
        SourceError: there is no such directory, or it holds no files.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    if source.is_file():
        digest.update(source.read_bytes())
        if archive:
            shutil.copyfile(source, archive)
        return digest.hexdigest()
    files = []
    for name in sorted(set(listed(source))):
        path = source / name
        if path.is_symlink():
            digest.update(f"link {name} {path.readlink()}\0".encode())
        elif path.is_file():
            content = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
            digest.update(f"file {name} {path.stat().st_mode & 0o100} {content}\0".encode())
        else:  # a directory, or a tracked file that was deleted
            continue
        files.append(name)
    if not files:
        raise SourceError(f"{source} holds no files, or none that git does not ignore")
    if archive:
        with tarfile.open(archive, "w") as tar:
            for name in files:
                tar.add(source / name, arcname=str(name), recursive=False)
    return digest.hexdigest()
