"""The files of a service from before a change, until the service runs with the new ones.

`config_files` keeps what it replaces. If the service does not start with the new files, whoever has
started it puts the old ones back, so that neither a restart nor a boot meets the new ones again.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import files, units

PLACE = Path("/var/lib/django_stack/kept")  # only root reads it: files may hold secrets
LIST = "list.json"
TRIED = ".tried"  # ends the name of a file for a unit that does not run with the files of its role
RUNS = ("active", "activating", "reloading")


def read(unit: str) -> dict[str, Any]:
    """Return what is kept of a unit: its files, and whether it ran; empty if nothing is."""
    try:
        told = json.loads((PLACE / unit / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def forget(unit: str) -> None:
    """Forget the files of a unit, which runs with the new ones."""
    shutil.rmtree(PLACE / unit, ignore_errors=True)
    _mark(unit).unlink(missing_ok=True)


def _mark(unit: str) -> Path:
    """Return the path of the file that tells of a failed start of a unit."""
    return PLACE / f"{unit}{TRIED}"


def is_tried(unit: str) -> bool:
    """Return whether a role has set up a unit, and has removed its files because it does not run.

    What the unit has made meanwhile, such as databases, is not somebody else's.
    """
    return _mark(unit).exists()


def forget_old(names: Iterable[str]) -> None:
    """Forget what is kept of units that have started since, and that run."""
    for unit in names:
        if not read(unit):
            continue
        told = units.show(unit, "ActiveState", "NRestarts", "StateChangeTimestamp")
        since = units.moment(told.get("StateChangeTimestamp", ""))
        if (
            told.get("ActiveState") == "active"
            and told.get("NRestarts", "0") in ("0", "")
            and since > (PLACE / unit / LIST).stat().st_mtime
        ):
            forget(unit)


def keep(unit: str, paths: Iterable[str]) -> bool:
    """Copy the files of a unit before their change; return whether nothing was kept before.

    What is kept already stays: the service has not run with what is there now. Of a unit that is
    new nothing is kept, because there is nothing to go back to.

    Args:
        unit: the unit that reads the files.
        paths: the files and links that are about to change, there or not.
    """
    forget_old([unit])
    told = units.show(unit, "ActiveState", "LoadState")
    if told.get("LoadState") != "loaded":
        return False
    before = read(unit)
    known = before or {"ran": told.get("ActiveState") in RUNS, "files": {}}
    place = PLACE / unit
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    PLACE.chmod(0o700)
    for path in map(Path, paths):
        if str(path) not in known["files"]:
            known["files"][str(path)] = _copied(path, place / str(len(known["files"])))
    files.replace(place / LIST, json.dumps(known))
    return not before


def _copied(path: Path, copy: Path) -> dict[str, Any]:
    """Copy a file, and return what has to be known of it; of a directory nothing."""
    try:
        told = path.lstat()
    except OSError:
        return {"kind": "absent"}
    if stat.S_ISLNK(told.st_mode):
        return {"kind": "link", "target": os.readlink(path)}
    if not stat.S_ISREG(told.st_mode):
        return {"kind": "other"}
    files.replace(copy, path.read_bytes())
    mode = stat.S_IMODE(told.st_mode)
    owner = {"uid": told.st_uid, "gid": told.st_gid, "mode": mode}
    return {"kind": "file", "copy": copy.name, **owner}


def put_back(unit: str) -> list[str]:
    """Install the kept files of a unit again; return their paths."""
    kept = read(unit).get("files", {})
    for name, told in kept.items():
        path = Path(name)
        if told["kind"] == "absent":
            path.unlink(missing_ok=True)
        elif told["kind"] == "link":
            new = path.with_name(f".{path.name}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(told["target"])
            new.rename(path)
        elif told["kind"] == "file":
            copy = PLACE / unit / told["copy"]
            files.replace(path, copy.read_bytes(), told["mode"], told["uid"], told["gid"])
    if kept:
        units.systemctl("daemon-reload")
    return list(kept)


def recover(names: Iterable[str], verb: str = "restart") -> str:
    """Put back the kept files of units, and start those with them that ran before.

    A unit that has not stopped since goes on, such as Gunicorn's while another was to take over.

    Args:
        names: of the units; those of which nothing is kept stay as they are.
        verb: of systemctl.

    Returns:
        what was done, in a sentence for each unit; empty if nothing was.
    """
    said = []
    for unit in names:
        kept = read(unit)
        if not kept:
            continue
        since = (PLACE / unit / LIST).stat().st_mtime
        put_back(unit)
        begun = time.time()
        told = units.show(unit, "ActiveState", "StateChangeTimestamp")
        changed = units.moment(told.get("StateChangeTimestamp", ""))
        if told.get("ActiveState") == "active" and 0 < changed < since:
            said.append(f"The files from before are installed again; {unit} has not stopped.")
        elif not kept["ran"]:
            units.systemctl("stop", unit, limit=units.STARTING)
            said.append(f"The files from before are installed again; {unit} did not run with them.")
        elif units.systemctl(verb, unit, limit=units.STARTING).code:
            log = units.journal(unit, begun).strip()
            said.append(
                f"The files from before are installed again, and {unit} does not start with them "
                f"either:\n{log}"
            )
        else:
            said.append(f"The files from before are installed again, and {unit} runs with them.")
        forget(unit)
        files.replace(_mark(unit), "")
    return "\n".join(said)
