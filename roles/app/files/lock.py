"""Run on the host: the lock of an application's deployment, and what is there of its releases.

    lock.py look|take|force|free FILE ROOT RECORD RUN [KEEP]

RUN is what run.py prints. `take` leaves the lock of another run alone, `force` takes it all the
same, once the commands that its holder left behind have ended: they hold FILE by flock(1). `free`
gives it back and, with KEEP, removes all but the live release and the KEEP others that the file
RECORD says were deployed last. Prints one line of JSON:

    run      RUN
    holder   the other run that has the lock, with `since` and `age` in seconds, or null
    busy     whether a command of a run goes on
    current  the live release, or empty
    built    the releases that are complete
    record   what RECORD says
"""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
import time
from pathlib import Path
from typing import IO, Any

PATIENCE = 60.0  # seconds for the commands that a dead run left behind


def held(file: IO[str]) -> dict[str, Any] | None:
    """Return who is written in the lock, or nothing."""
    file.seek(0)
    holder: dict[str, Any] | None = json.loads(file.read() or "null")
    return holder


def quiet(file: IO[str], patience: float) -> bool:
    """Return whether no command of a run goes on, and then keep others from starting one."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        else:
            return True


def built(root: Path) -> list[str]:
    """Return the releases that are complete; the live one is, whatever made it."""
    complete = {mark.parent.name for mark in (root / "releases").glob("*/.complete")}
    return sorted(complete | {current(root)} - {""})


def current(root: Path) -> str:
    """Return the live release; empty if there is none."""
    link = root / "current"
    return link.readlink().name if link.is_symlink() else ""


def written(record: Path) -> dict[str, Any]:
    """Return what was deployed so far."""
    told: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    return told


def prune(root: Path, keep: int, record: Path) -> None:
    """Remove what runs that were cut off left half-made, and the oldest releases."""
    known = written(record).get("releases", {})
    old = [name for name in built(root) if name != current(root)]
    old.sort(key=lambda name: known.get(name, {}).get("at", ""), reverse=True)
    for directory in (root / "releases").iterdir():
        if directory.name not in [current(root), *old[:keep]]:
            shutil.rmtree(directory)


def main(action: str, path: Path, root: Path, record: Path, run: dict[str, Any], keep: int) -> None:
    """Do what is asked, and tell what is there."""
    told = {"run": run, "holder": None, "busy": False, "record": written(record)}
    if action != "look" or path.exists():
        with path.open("a+") as file:  # never replaced: whoever waits has this very file open
            told["busy"] = not quiet(file, PATIENCE if action == "force" else 0)
            holder = held(file)
            mine = holder is None or all(holder[key] == run[key] for key in run)
            if (action == "take" and mine) or (action == "force" and not told["busy"]):
                file.truncate(0)
                since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
                file.write(json.dumps({**run, "since": since}))
            elif action == "free" and mine:
                if keep:
                    prune(root, keep, record)
                file.truncate(0)
            elif holder:
                told["holder"] = {**holder, "age": round(time.time() - path.stat().st_mtime)}
    print(json.dumps({**told, "current": current(root), "built": built(root)}))


if __name__ == "__main__":
    action, path, root, record, run, *keep = sys.argv[1:]
    main(action, Path(path), Path(root), Path(record), json.loads(run), int(keep[0]) if keep else 0)
