"""Finds services that do not stay up, however often systemd starts them again.

systemd tells of such a service that it is active, or about to be: only its age, compared with how
long it has lived before, shows whether it works.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

from ansible_collections.clink.django_stack.plugins.module_utils import (
    diagnosis,
    kept_files,
    processes,
    units,
)

STEADY = 6.0  # seconds after which a service that has not failed before counts as up
LONGEST = 60.0  # seconds that a service is watched which fails again and again
RECENT = 600.0  # seconds within which failures count
ENDING = 10.0  # seconds to wait for a service that stops
LOOKS = 0.3  # seconds between two looks
LOG = 400  # lines of a service's log in which the cause is looked for
# systemd logs with this identifier that it starts a unit again: systemd.journal-fields(7).
RESTARTS = "MESSAGE_ID=5eb03494b6584870a536b337290809b3"
SHOWN = (
    "ActiveState", "SubState", "NRestarts", "InvocationID", "ActiveEnterTimestampMonotonic",
    "InactiveEnterTimestampMonotonic",
)  # fmt: skip


class StayingError(Exception):
    """A service does not stay up; the text says which and why."""


def longest_life(unit: str) -> float:
    """Return how many seconds at most a unit has lived between its last failures; 0 for one."""
    since = time.time() - RECENT
    command = ["/usr/bin/journalctl", "--quiet", "--no-pager", "--output=short-unix"]
    told = units.run(
        [*command, f"--since=@{int(since)}", "--lines=10", RESTARTS, f"UNIT={unit}"], 20
    )
    times = []
    for line in told.output.splitlines():
        first = line.partition(" ")[0]
        if first.replace(".", "", 1).isdecimal():
            times.append(float(first))
    return max((later - before for before, later in itertools.pairwise(times)), default=0.0)


def patience_for(unit: str, shown: dict[str, str], young: float) -> float:
    """Return the age in seconds from which on a unit counts as up."""
    waits = shown.get("ActiveState") == "activating"
    if not waits and (shown.get("NRestarts") or "0") == "0" or age_of(shown) > LONGEST:
        return young
    life = longest_life(unit)
    return max(young, STEADY if waits else 0.0, min(life + 1.0, LONGEST) if life else 0.0)


def age_of(shown: dict[str, str]) -> float:
    """Return for how many seconds a unit has been active; 0 for one that is not."""
    if shown.get("ActiveState") != "active":
        return 0.0
    return time.monotonic() - int(shown.get("ActiveEnterTimestampMonotonic") or 0) / 1e6


def has_ended(shown: dict[str, str]) -> bool:
    """Return whether a unit that does not run has ended soon after its last start.

    systemd starts no service again that ends without an error, and tells of it as of one that
    nobody has started.
    """
    begun, over = (
        int(shown.get(f"{state}EnterTimestampMonotonic") or 0) / 1e6
        for state in ("Active", "Inactive")
    )
    recent = time.monotonic() - over < RECENT
    return shown.get("ActiveState") == "inactive" and 0 < begun < over < begun + LONGEST and recent


def broken(names: Iterable[str], young: float) -> dict[str, int]:
    """Return the units that have failed, or that fail while they are watched.

    A unit that is not there, or that nobody has started of late, is not among them. The number is
    that of the restarts by systemd so far, which it forgets at the next start by somebody else.

    Args:
        names: of the units.
        young: the age in seconds up to which a unit is watched that has not failed before.
    """
    waiting, begun = list(dict.fromkeys(names)), time.monotonic()
    runs: dict[str, str] = {}
    needed: dict[str, float] = {}
    times: dict[str, int] = {}
    wrong = []
    while waiting:
        for unit, shown in zip(list(waiting), units.show_all(waiting, *SHOWN), strict=True):
            state = shown.get("ActiveState", "")
            if unit not in needed:
                needed[unit] = patience_for(unit, shown, young)
                times[unit] = int(shown.get("NRestarts") or 0)
            if state == "deactivating" and time.monotonic() - begun < ENDING:
                continue
            if unit not in runs and state == "activating":
                # One that waits for its next start gets it now; one that starts is waited for.
                if units.systemctl("start", unit, limit=units.STARTING).code:
                    wrong.append(unit)
                    waiting.remove(unit)
                runs[unit] = ""
                continue
            run = runs.get(unit) or shown.get("InvocationID", "")
            runs[unit] = run
            if state == "failed" or state == "activating" or run != shown.get("InvocationID", ""):
                wrong.append(unit)
                waiting.remove(unit)
            elif state != "active":
                if has_ended(shown):
                    wrong.append(unit)
                waiting.remove(unit)
            elif age_of(shown) >= needed[unit]:
                waiting.remove(unit)
        time.sleep(LOOKS if waiting else 0)
    return {unit: times[unit] for unit in wrong}


def ended(unit: str, status: str, times: int = 0) -> str:
    """Return in one line that the process of a unit ends.

    Args:
        unit: its name.
        status: the exit code of its process.
        times: how often systemd has started it again.
    """
    if status == "0":
        return (
            f"{unit}: its process ends, and a process of app_processes runs for ever. Put a "
            f"command that ends into app_schedules; journalctl -u {unit} says:"
        )
    often = f", and systemd has started it again {times} times" if times > 1 else ""
    return f"{unit} does not go on, its process ends{often}; journalctl -u {unit} says:"


def exit_code(unit: str) -> str:
    """Return the exit code with which the process of a unit has ended; empty if it runs again."""
    told = units.show(unit, "ActiveState", "ExecMainStatus")
    return told.get("ExecMainStatus", "") if told.get("ActiveState") != "active" else ""


def reason(unit: str, times: int) -> str:
    """Return that a unit does not stay up, and the lines of its log that say why."""
    what = ended(unit, exit_code(unit) if processes.is_process(unit) else "", times)
    return diagnosis.report(what, units.journal(unit, time.time() - RECENT, LOG))


def confirm(names: Iterable[str], young: float = 0.0) -> None:
    """Check that units stay up, and forget the files that they had before a change.

    Args:
        names: of the units.
        young: the age in seconds up to which a unit is watched that has not failed before.

    Raises:
        StayingError: one does not. The files from before are installed again.
    """
    names = list(names)
    if wrong := broken(names, young):
        told = [reason(unit, times) for unit, times in wrong.items()]
        raise StayingError("\n".join([*told, kept_files.recover(wrong)]).strip())
    for unit in names:
        kept_files.forget(unit)
