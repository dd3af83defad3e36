"""Files that are replaced as a whole: a reader sees the old content or the new one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO


def replace(
    path: Path,
    content: str | bytes | BinaryIO,
    mode: int = 0o600,
    uid: int | None = None,
    gid: int | None = None,
) -> None:
    """Replace a file as a whole, or make it; its directory is made where it is missing.

    Nobody else can read the file before it has its owner and its mode, and what stands beside it
    is never written through: neither a link nor a file that somebody holds open.

    Args:
        path: of the file.
        content: all of it; text becomes UTF-8, and an open file is read to its end.
        mode: of the file, whatever the umask is.
        uid: its owner; the process's by default.
        gid: its group; the process's by default.

    Raises:
        OSError: it cannot be written; the file that was there is still there.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if isinstance(content, (str, bytes)):
            file.write(content.encode() if isinstance(content, str) else content)
        else:
            shutil.copyfileobj(content, file)
        file.flush()
        if uid is not None or gid is not None:
            os.fchown(descriptor, -1 if uid is None else uid, -1 if gid is None else gid)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    new.rename(path)
