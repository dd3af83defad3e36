"""Name the state of a source directory, or of an archive, and pack it for a release.

    pack.py SOURCE            prints the revision, 40 hexadecimal digits
    pack.py SOURCE ARCHIVE    also writes the files to ARCHIVE, a tar file

The revision depends on names, contents and executable bits alone, so that an
unchanged directory is the same release on every control machine. In a git work
tree the files are the tracked ones and those that git does not ignore.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = {".git", ".hg", ".venv", "__pycache__", "node_modules", ".mypy_cache", ".ruff_cache"}


def listed(directory: Path) -> Iterator[Path]:
    """Yield the source's files and links, as paths below the directory.

    Raises:
        SystemExit: the directory does not exist.
    """
    if not directory.is_dir():
        raise SystemExit(f"{directory} is not there on the control machine")
    command = ["git", "-C", str(directory), "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # no git, or no work tree
        found = (path.relative_to(directory) for path in directory.rglob("*"))
        yield from (path for path in found if LEFT_OUT.isdisjoint(path.parts))
    else:
        yield from (Path(name) for name in names.split("\0") if name)


def main(directory: Path, archive: Path | None = None) -> None:
    """Print the revision of a source and, where an archive is named, write it."""
    digest = hashlib.sha1(usedforsecurity=False)
    if archive:
        archive.parent.mkdir(parents=True, exist_ok=True)
    if directory.is_file():  # an archive already
        digest.update(directory.read_bytes())
        if archive:
            shutil.copyfile(directory, archive)
        print(digest.hexdigest())
        return
    files = []
    for name in sorted(set(listed(directory))):
        path = directory / name
        if path.is_symlink():
            digest.update(f"link {name} {path.readlink()}\0".encode())
        elif path.is_file():
            content = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
            digest.update(f"file {name} {path.stat().st_mode & 0o100} {content}\0".encode())
        else:  # a directory, or tracked and deleted
            continue
        files.append(name)
    if not files:
        raise SystemExit(f"{directory} holds no files")
    if archive:
        with tarfile.open(archive, "w") as tar:
            for name in files:
                tar.add(directory / name, arcname=str(name), recursive=False)
    print(digest.hexdigest())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
