"""Whether the source of an application is there, as far as the control machine can tell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from . import pack

ARCHIVE_URL = re.compile(r"https?://")
# One that this machine can ask without a login, and whose text may stand in a process list.
PUBLIC = re.compile(r"https?://[^@?\s]+")
COMMIT = re.compile(r"[0-9a-f]{7,64}")
PATIENCE = 3.0  # seconds that a repository gets to answer, beside the check of the values
NO_SUCH_REF = 2  # the exit code of git ls-remote --exit-code


def local(source: Mapping[str, Any], base: object) -> Path | None:
    """Return the directory or archive of this machine that a source names; None for another one.

    Args:
        source: the value of app_source.
        base: the directory of the inventory, where a relative path begins. Without one, for hosts
            that are named on the command line, it begins in the working directory.
    """
    archive = str(source.get("archive") or "")
    path = str(source.get("directory") or ("" if ARCHIVE_URL.match(archive) else archive))
    return Path(str(base or "."), os.path.expanduser(path)) if path else None


def complaints(
    source: Mapping[str, Any], base: object, directory: str, is_django: bool = True
) -> list[str]:
    """Return what is wrong with a source of this machine: one line or none.

    Args:
        source: the value of app_source.
        base: the directory of the inventory.
        directory: the value of app_directory.
        is_django: the value of app_django.
    """
    path = local(source, base)
    if path is None:
        return []
    if source.get("archive"):
        there = path.is_file() and path.stat().st_size > 0
        return [] if there else [f"app_source: there is no archive {path} on the control machine"]
    if not path.is_dir():
        return [f"app_source: there is no directory {path} on the control machine"]
    if not is_django:
        there = (path / directory).is_dir()
        return [] if there else [f"app_directory: there is no directory {path / directory}"]
    if (path / directory / "manage.py").is_file():
        return []
    found = sorted({str(name.parent) for name in pack.listed(path) if name.name == "manage.py"})
    if not found:
        return [
            f"app_source: there is no manage.py in {path} or below it. Add it, or write "
            "app_django: false for a project without Django"
        ]
    write = " or ".join("''" if name == "." else name for name in found[:3])
    return [f"app_directory: there is no manage.py in {path / directory}; write {write}"]


class Repository:
    """Asks a repository for the ref of a source, while the values are checked.

    Only the answer that there is no such ref is a complaint: the host may reach repositories that
    this machine does not reach.
    """

    def __init__(self, source: object, key: object) -> None:
        """Start to ask, where no login is needed.

        Args:
            source: the value of app_source, of any type.
            key: the value of app_deploy_key.
        """
        given = source if isinstance(source, Mapping) else {}
        self.url, self.ref = str(given.get("git") or ""), str(given.get("ref") or "HEAD")
        self.git: subprocess.Popen[str] | None = None
        self.errors: IO[str] = tempfile.TemporaryFile("w+")
        git = shutil.which("git")
        if git and PUBLIC.fullmatch(self.url) and not key and not given.get("agent"):
            ref = "HEAD" if COMMIT.fullmatch(self.ref) else self.ref
            self.git = subprocess.Popen(
                [git, "ls-remote", "--exit-code", "--", self.url, ref],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.errors,
                text=True,
                env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"},
            )

    def __enter__(self) -> Repository:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what still asks."""
        if self.git and self.git.poll() is None:
            self.git.kill()
            self.git.wait()
        self.errors.close()

    def answer(self) -> tuple[list[str], list[str]]:
        """Return complaints and warnings."""
        if not self.git:
            return [], []
        try:
            code = self.git.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return [], []
        if code == NO_SUCH_REF:
            return [f"app_source: {self.url} has no branch or tag {self.ref}"], []
        if code:
            self.errors.seek(0)
            reason = " ".join(self.errors.read().split())[-200:]
            told = f"app_source: this machine cannot read {self.url}; the host has to. {reason}"
            return [], [told]
        return [], []
