"""Runs commands in transient units of systemd, and reads properties of units.

A command runs with the sandbox of the application's services, as a user who is not root, and ends
with all processes that it has started. Source: systemd-run(1), systemd.exec(5), systemd.kill(5).
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, cast

SYSTEMCTL = "/usr/bin/systemctl"
SYSTEMD_RUN = "/usr/bin/systemd-run"
# An application can make functions and operators in the schema `public`. With this path a superuser
# calls none of them. Source: PostgreSQL, "Schemas", "Usage Patterns"; CVE-2018-1058.
SAFE_PATH = "pg_catalog"
CLIENTS = Path("/usr/lib/postgresql")  # below it bin/psql of each version
REST = 1.0  # seconds for reading the rest of the output after the end of a command
KEPT = 128 * 1024  # the last bytes of an output: a hostile command may print without an end
CUT = b"\n[...]\n"  # what stands for the middle of an output
RETIRING = 86400.0  # seconds; systemd itself ends a service that does not stop in its time
STARTING = 200.0  # seconds for a restart: 90 for the start, the rest for the stop
STOPPING = 5  # seconds after which systemd kills processes that do not end
# From this exit code on the journal alone says why: systemd could not set up the sandbox or start
# the program, or a signal has ended it (255). Source: systemd.exec(5), "Process Exit Codes".
SYSTEMD = 200
# A file for each unit that somebody used before a role took it over: nothing stops these.
TAKEN_OVER = Path("/var/lib/django_stack/taken_over")
# The options of a service that may be retired: its unit, a file that only our role installs, and a
# line of that file if other applications could have such a file.
RETIRED = {
    "unit": {"type": "str", "required": True},
    "own": {"type": "str", "required": True},
    "text": {"type": "str", "default": ""},
}
# Root starts programs by their full paths. This PATH is for the programs that those start.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class UnitError(Exception):
    """systemctl fails; the text has what it printed."""


def psql(
    port: int, *options: str, database: str = "postgres", search_path: str = SAFE_PATH
) -> list[str]:
    """Return the command by which root asks PostgreSQL on this host as its superuser.

    The newest client is called itself: /usr/bin/psql is a program in Perl that looks for it.

    Args:
        port: of the cluster.
        options: of psql, such as "--command=select 1".
        database: the one to connect to.
        search_path: the schemas whose objects need no prefix; an extension is made in the first.

    Raises:
        UnitError: the host has no client.
    """
    programs = sorted(CLIENTS.glob("*/bin/psql"))
    if not programs:
        raise UnitError("psql is not installed")
    return [
        "/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--",
        "/usr/bin/env", f"PGOPTIONS=--search_path={search_path}", str(programs[-1]),
        "--no-psqlrc", "--tuples-only", "--no-align", "--quiet",
        "--set=ON_ERROR_STOP=1", f"--port={port}", f"--dbname={database}", *options,
    ]  # fmt: skip


@dataclass(frozen=True)
class Result:
    """The exit code of a command, the end of its output, and its duration in seconds."""

    code: int
    output: str
    seconds: float


def assignments(properties: Mapping[str, Any]) -> list[str]:
    """Return properties of a unit as "Name=value", a text for each value of a list."""
    told = []
    for name, values in properties.items():
        for value in values if isinstance(values, (list, tuple)) else [values]:
            text = ("true" if value else "false") if isinstance(value, bool) else str(value)
            told.append(f"{name}={text}")
    return told


def transient(
    unit: str,
    user: str,
    directory: str,
    command: Iterable[str],
    *,
    properties: Mapping[str, Any],
    variables: Mapping[str, str],
    limit: int,
) -> list[str]:
    """Return the command line that runs a command in a transient unit and waits for its end.

    Args:
        unit: the unit's name; a second one of the same name is refused by systemd.
        user: who runs it, with his primary group.
        directory: where it runs.
        command: the program, by its full path, and its arguments.
        properties: more properties of the unit, such as the sandbox, by their names.
        variables: its environment; no secret, since a process list shows it.
        limit: seconds after which systemd ends it.
    """
    own = {
        "User": user,
        "Group": user,
        "WorkingDirectory": directory,
        "UMask": "0027",
        "KillMode": "mixed",  # what the command has left is killed at once, deaf to signals or not
        "TimeoutStopSec": f"{STOPPING}s",
        "RuntimeMaxSec": f"{limit}s",
    }
    told = assignments({**properties, **own})
    return [
        SYSTEMD_RUN, "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec",
        f"--unit={unit}",
        f"--description={unit}",  # or the journal has the whole command, which may be a program
        *(f"--property={each}" for each in told),
        *(f"--setenv={name}={value}" for name, value in variables.items()),
        "--", *command,
    ]  # fmt: skip


def run(command: list[str], limit: float, kept: int = KEPT, first: int = 0) -> Result:
    """Run a command to its end and return what it printed, standard error among it.

    Args:
        command: the program, by its full path, and its arguments.
        limit: seconds after which the command is killed.
        kept: the last bytes of the output that are returned.
        first: the first bytes that are returned besides.
    """
    begun = time.monotonic()
    deadline = begun + limit
    last = float("inf")
    output = b""
    cut = False
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,  # a buffer could lose the end of the output
        cwd="/",
        env=ENVIRONMENT,
    ) as process, selectors.DefaultSelector() as selector:  # fmt: skip
        stream = cast(IO[bytes], process.stdout)
        os.set_blocking(stream.fileno(), False)
        selector.register(stream, selectors.EVENT_READ)
        while True:
            # A child process may keep the pipe open after the command has ended.
            ended = process.poll() is not None
            if ended:
                last = min(last, time.monotonic() + REST)
            if selector.select(timeout=0.05 if ended else 0.5):
                read = stream.read(65536)
                if read == b"":
                    break
                output += read or b""
                if len(output) > first + kept:
                    output, cut = output[:first] + output[-kept:], True
            elif ended:
                break
            if time.monotonic() > last:
                break
            if time.monotonic() > deadline:
                process.kill()
                deadline = float("inf")
        code = process.wait()
    if cut and first:
        output = output[:first] + CUT + output[first:]
    return Result(code, output.decode(errors="replace"), time.monotonic() - begun)


def systemctl(*arguments: str, limit: float = 90.0) -> Result:
    """Run systemctl; 90 s is what systemd itself waits for a unit by default."""
    return run([SYSTEMCTL, *arguments], limit)


def show_all(names: list[str], *properties: str) -> list[dict[str, str]]:
    """Return properties of units; those of a unit that is not there have their defaults.

    Raises:
        UnitError: systemctl fails, or does not tell of each unit.
    """
    if not names:
        return []
    told = systemctl("show", "--property=" + ",".join(properties), "--timestamp=us+utc", *names)
    blocks = told.output.strip().split("\n\n")
    if told.code or len(blocks) != len(names):
        said = told.output.strip()[-500:] or "nothing"
        raise UnitError(
            f"systemctl show {' '.join(names)} ended with {told.code}, and said: {said}"
        )
    return [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks
    ]


def show(unit: str, *properties: str) -> dict[str, str]:
    """Return properties of a unit; those of a unit that is not there have their defaults.

    Raises:
        UnitError: systemctl fails.
    """
    return show_all([unit], *properties)[0]


def moment(stamp: str) -> float:
    """Return a timestamp of systemd in seconds since 1970; 0 for one that is not set."""
    if " " not in stamp:
        return 0.0
    told = datetime.strptime(stamp.split(" ", 1)[1], "%Y-%m-%d %H:%M:%S.%f UTC")
    return told.replace(tzinfo=timezone.utc).timestamp()


def retire(unit: str, file: str) -> None:
    """Stop a unit now and at boot, and remove the file that lets it run.

    The file comes last, so that the next run completes an interrupted one.

    Raises:
        UnitError: systemctl fails.
    """
    done = systemctl("disable", "--now", unit, limit=RETIRING)
    if done.code:
        raise UnitError(f"{unit} does not stop: {done.output.strip()}")
    systemctl("reset-failed", unit)  # a worker may end with an error
    os.unlink(file)
    systemctl("daemon-reload")


def installed(service: Mapping[str, str]) -> bool:
    """Return whether a role has installed a service and has not removed it since.

    Args:
        service: the name of its `unit`, the path of a file that only the role has written (`own`),
            and what the file contains (`text`). A service that somebody used before a role took it
            over is not the role's.
    """
    path = Path(service["own"])
    if path.is_symlink() or not path.is_file() or (TAKEN_OVER / service["unit"]).exists():
        return False
    return service["text"] in path.read_text(encoding="utf-8", errors="replace")


def outdated(services: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the services that are loaded and older than one of their files or their definition.

    systemd reads the definitions anew where one has changed.

    Args:
        services: each with the name of its unit, and with its files: the paths that its processes
            read when they start or reload.

    Raises:
        UnitError: systemctl fails.
    """
    wanted = list(services)
    names = [service["unit"] for service in wanted]
    told = show_all(names, "StateChangeTimestamp", "NeedDaemonReload", "LoadState")
    if any(each.get("NeedDaemonReload") == "yes" for each in told):
        systemctl("daemon-reload")
    return [
        service for service, each in zip(wanted, told, strict=True) if older(each, service["files"])
    ]


def older(told: Mapping[str, str], files: Iterable[str]) -> bool:
    """Return whether a unit, of which systemd has told, is older than a file or its definition."""
    if told.get("LoadState") != "loaded":
        return False
    if told.get("NeedDaemonReload") == "yes":
        return True
    since = moment(told.get("StateChangeTimestamp", ""))
    if not since:
        return False
    return any(os.path.lexists(file) and os.lstat(file).st_mtime > since for file in files)


def journal(unit: str, since: float, lines: int = 20, printed: bool = False) -> str:
    """Return the last lines of a unit's log since a time, in seconds since 1970.

    Args:
        unit: its name.
        since: the time.
        lines: how many lines.
        printed: leave out what systemd says of the unit.
    """
    command = ["/usr/bin/journalctl", "--quiet", "--no-pager", "--output=cat", f"--unit={unit}"]
    matches = ["_TRANSPORT=stdout"] if printed else []
    return run([*command, f"--since=@{int(since)}", f"--lines={lines}", *matches], 20).output


def explained(done: Result, unit: str, begun: float) -> str:
    """Return what a command in a transient unit has printed, and why systemd has not started it.

    Args:
        done: its result.
        unit: the unit's name.
        begun: when it began, in seconds since 1970.
    """
    if done.code < SYSTEMD:
        return done.output
    said = [line for line in journal(unit, begun).splitlines() if line.startswith(unit)]
    return "\n".join([done.output, *said])
