"""The directories of an application's releases on its host, and the lock; all of them root's."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import stat
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any

from ansible_collections.clink.django_stack.plugins.module_utils import (
    files,
    releases,
    trees,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.releases import ReleaseError

PATIENCE = 60.0  # seconds that a step of a run that is dead gets to end


class Lock:
    """The lock of an application's releases: a file of root's that names the run that holds it.

    While a module works on the releases it also holds the file by flock(2), so that a second run
    sees whether a command of a run that was killed still goes on.
    """

    def __init__(self, path: Path, run: dict[str, Any]) -> None:
        """Open the file, which only root can."""
        self.path, self.run = path, run
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file: IO[str] = path.open("a+", encoding="utf-8")

    def read(self) -> dict[str, Any]:
        """Return what is written in the lock; empty if nobody holds it."""
        self.file.seek(0)
        try:
            held = json.loads(self.file.read() or "{}")
        except ValueError:  # cut off while it was written
            return {}
        return held if isinstance(held, dict) else {}

    def write(self, held: dict[str, Any]) -> None:
        """Write down who holds the lock and what is requested."""
        self.file.seek(0)
        self.file.truncate(0)
        self.file.write(json.dumps(held) if held else "")
        self.file.flush()

    def quiet(self, patience: float) -> bool:
        """Return whether no other module works on the releases, after waiting that many seconds."""
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.2)
            else:
                return True

    def mine(self, held: dict[str, Any]) -> bool:
        """Return whether the lock is this run's."""
        return bool(held) and all(held.get(key) == value for key, value in self.run.items())


class Host:
    """The directories of an application's releases, all of them root's."""

    def __init__(self, application: dict[str, Any]) -> None:
        """Remember where everything is."""
        self.application = application
        self.name = str(application["name"])
        self.root = Path(application["root"])
        self.releases = self.root / "releases"
        self.current = Path(application["current"])
        self.record_file = Path("/etc/ansible/facts.d", f"{self.name}.fact")
        self.environment_file = Path(application["environment_file"])
        # With the login of the owner of the database. Only root reads it, for the steps of a
        # release and the commands of an operator.
        self.owner_file = self.environment_file.with_name(f"{self.environment_file.name}_owner")
        self.dotenv_file = Path("/etc", self.name, "dotenv")
        self.state = Path("/run/django_stack", self.name)
        self.cache = Path(
            "/var/cache", application["build_user"]
        )  # source and uv are the build user's
        self.data = Path(
            "/var/lib/django_stack", self.name
        )  # the archive that was sent, interpreters

    # --- What is there -------------------------------------------------------------------------

    def live(self) -> str:
        """Return the live release; empty if there is none."""
        try:
            name = Path(os.readlink(self.current)).name
        except OSError:
            return ""
        return name if releases.NAME.match(name) else ""

    def present(self) -> list[str]:
        """Return the names below `releases`."""
        return sorted(os.listdir(self.releases)) if self.releases.is_dir() else []

    def built(self) -> list[str]:
        """Return the releases that are complete: root has sealed and marked their directories."""

        def sealed(name: str) -> bool:
            try:
                directory = os.lstat(self.releases / name)
                mark = os.lstat(self.releases / name / ".complete")
            except OSError:
                return False
            kinds = stat.S_ISDIR(directory.st_mode) and stat.S_ISREG(mark.st_mode)
            # A build can give that name to a file of root's, one of the packages that are linked.
            return kinds and directory.st_uid == mark.st_uid == 0 and mark.st_nlink == 1

        names = [name for name in self.present() if releases.NAME.match(name) and sealed(name)]
        live = self.live()  # complete, whatever has made it
        there = live and (self.releases / live).is_dir() and not (self.releases / live).is_symlink()
        return [*names, *([live] if there and live not in names else [])]

    def record(self) -> dict[str, Any]:
        """Return the record of the releases."""
        text = ""
        if self.record_file.exists():
            text = self.record_file.read_text(encoding="utf-8", errors="replace")
        return releases.parse(text, str(self.record_file))

    def remember(self, record: dict[str, Any]) -> None:
        """Write the record: the one place where that is done."""
        files.replace(self.record_file, releases.text_of(record), 0o644)

    # --- What belongs to whom ------------------------------------------------------------------

    def tool(self, *command: str) -> None:
        """Run a program of the system as root.

        Raises:
            ReleaseError: it failed.
        """
        done = units.run([*command], 600)
        if done.code:
            raise ReleaseError(f"{' '.join(command[:4])}: {done.output.strip()}")

    def give(self, path: Path, user: str) -> None:
        """Give a release to a user for a step; its virtual environment stays as it is."""
        account = pwd.getpwnam(user)
        trees.give(path, account.pw_uid, account.pw_gid, skip={".venv"})

    def seal(self, path: Path) -> None:
        """Give a release to root for good: everybody who comes to it reads, nobody writes.

        Raises:
            ReleaseError: the path is no directory, or a file in it has a name elsewhere.
        """
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise ReleaseError(f"{path} should be a directory, and is not")
        trees.seal(path)

    def mark(self, path: Path) -> None:
        """Mark a sealed release as complete, whatever the source has left there."""
        self.remove(path / ".complete")
        descriptor = os.open(
            path / ".complete", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644
        )
        os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a directory or a link below root's; rm(1) follows no link and no mount."""
        self.tool("/usr/bin/rm", "-rf", "--one-file-system", "--", str(path))

    def own(self) -> None:
        """Give root what an earlier version has left to the application's user.

        The root directory comes first: from then on nobody else can exchange what lies in it.

        Raises:
            ReleaseError: `releases` is a link.
        """
        shared = Path(self.application["shared"]).name
        os.chown(self.root, 0, os.stat(self.root).st_gid, follow_symlinks=False)
        if self.releases.is_symlink():
            raise ReleaseError(f"{self.releases} is a link; it should be a directory")
        inside = [self.releases / name for name in self.present()]
        known: Counter[trees.Inode] | None = None
        for entry in [*self.root.iterdir(), *inside]:
            told = os.lstat(entry)
            if told.st_uid == 0 or entry.name == shared or stat.S_ISSOCK(told.st_mode):
                continue
            if stat.S_ISDIR(told.st_mode):
                known = trees.names_in(self.root) if known is None else known
                trees.seal(
                    entry, known
                )  # an earlier version linked files of one release to another
            else:
                os.chown(entry, 0, 0, follow_symlinks=False)
