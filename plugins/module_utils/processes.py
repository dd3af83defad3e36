"""The units of an application's processes and schedules on the host."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from ansible_collections.clink.django_stack.plugins.module_utils import units

SYSTEM = Path("/etc/systemd/system")
# The line of each unit of the role processes. systemd ignores names that begin with X-.
MARK = "X-DjangoStackProcess="
CRON = ("0", "0", "1", "1", "")  # the first value of each field but the day of the week
DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def installed(application: str) -> list[str]:
    """Return the units that the role processes has installed for an application.

    Args:
        application: its name. The marks hold it, because `clinic` and `clinic-two` begin alike.
    """
    line = f"{MARK}{application}"
    found = []
    for path in sorted(SYSTEM.glob(f"{application}-*.*")):
        if path.suffix not in (".service", ".timer"):
            continue
        if stat.S_ISREG(os.lstat(path).st_mode) and line in _text(path).splitlines():
            found.append(path.name)
    return found


def is_process(unit: str) -> bool:
    """Return whether the role processes has installed a unit."""
    path = SYSTEM / unit
    return path.is_file() and MARK in _text(path)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def foreign(names: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """Return the units that exist and that the role has not made, with their files.

    Args:
        names: of the described units.
        own: what `installed` returns.

    Raises:
        UnitError: systemctl fails.
    """
    asked = [name for name in names if name not in set(own)]
    shown = units.show_all(asked, "FragmentPath", "LoadState")
    return {
        name: told["FragmentPath"] or told.get("LoadState", "")
        for name, told in zip(asked, shown, strict=True)
        if told.get("FragmentPath") or told.get("LoadState") != "not-found"
    }


def bad_calendars(calendars: Mapping[str, str]) -> dict[str, str]:
    """Return the times that systemd does not understand, with what it says of them.

    Args:
        calendars: values of OnCalendar=, by the names of schedules.
    """
    told = {}
    for name, moment in calendars.items():
        done = units.run(["/usr/bin/systemd-analyze", "calendar", "--", moment], 10)
        if done.code:
            told[name] = done.output.strip().splitlines()[0] if done.output.strip() else moment
    return told


def of_cron(text: str) -> str:
    """Return the time of systemd that means what a line of cron does; "" if there is none.

    Args:
        text: five fields such as "0 3 * * 1-5", or a name such as "@daily".
    """
    if text.startswith("@"):
        moment = {"@midnight": "daily", "@annually": "yearly"}.get(text, text[1:])
        return "" if bad_calendars({"": moment}) else moment
    fields = text.split()
    # cron runs on the days of either field where both say some, and systemd on those of both.
    if len(fields) != len(CRON) or "*" not in (fields[2], fields[4]):
        return ""
    minute, hour, day, month = (
        re.sub(r"\d+", lambda number: number[0].zfill(2), field.replace("*/", f"{first}/"))
        .replace("-", "..").replace("/0", "/")
        for field, first in zip(fields, CRON[:4], strict=False)
    )  # fmt: skip
    named = re.sub(r"(?<!/)\b[0-7]\b", lambda number: DAYS[int(number[0])], fields[4])
    weekday = "" if named == "*" else named.replace("-", "..") + " "
    moment = f"{weekday}*-{month}-{day} {hour}:{minute}"
    return "" if bad_calendars({"": moment}) else moment


def remove(name: str) -> None:
    """Stop a unit now and at boot, and remove its file and the drop-ins of this collection.

    Raises:
        UnitError: systemctl fails.
    """
    drop_ins = SYSTEM / f"{name}.d"
    for path in drop_ins.glob("*django_stack*.conf"):
        path.unlink()
    if drop_ins.is_dir() and not any(drop_ins.iterdir()):
        drop_ins.rmdir()
    if name.endswith(".timer"):  # else the same schedule, described again, runs at once
        units.systemctl("stop", name)
        units.systemctl("clean", "--what=state", name)
    units.retire(name, str(SYSTEM / name))
