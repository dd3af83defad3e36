"""The checks of a host: `judge_...` judge what was read and read nothing, the rest reads.

playbooks/status.yml runs them through the module `host_status`. The role `monitor` installs the
same files on the host, where a timer runs them. What is watched is described in DESCRIPTION, which
only root can write. What the application's user can write is shown without control characters.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import (
    certificates,
    diagnosis,
    health,
    queues,
    reserve,
    units,
)

SERVICE = "django_stack-monitor"
DESCRIPTION = Path("/etc/django_stack/monitor.json")
BACKUP = Path("/var/lib/django_stack/backup/status.json")  # the role backup writes it
REBOOT = Path("/run/reboot-required")
BROKER = "CELERY_BROKER_URL"  # Celery itself reads this variable
RESTARTS = 3  # restarts of a unit within LATELY that are too many
HOUR, LATELY, DAY = 3600, 900, 86400  # seconds
OVERDUE = 900  # seconds that beat may be late with a task
SENDING = "Sending due task"  # what beat logs before it sends a task; celery/beat.py
UNSENT = "Message Error:|beat: Connection error:"  # and if it could not
BACKUP_AGE, DRILL_AGE = 25, 49  # hours
UNARCHIVED = 120  # seconds that changes may wait for the archive, which gets them each minute
WAITING = 16  # WAL files of 16 MB that wait for the archive, which are too many
SILENT = 600  # seconds without a look of the timer after which nobody watches
CONNECTIONS = 90  # percent of PostgreSQL's connections
SCARCE = 5  # percent of the RAM that must be left, free swap included
SLICE = "django_stack.slice"  # of all services of the application
WEB = "gunicorn.service"
LOG = 200  # lines of the log of a unit that does not work, in which the cause is looked for
PATIENCE = 25  # seconds for a probe
WELL = 2  # looks of the timer that believe in a probe which has succeeded
SHOWN = ("ActiveState", "SubState", "LoadState", "Result", "MainPID", "MemoryCurrent", "Id",
         "ActiveEnterTimestamp")  # fmt: skip
# The message of systemd about a restart: SD_MESSAGE_UNIT_RESTART_SCHEDULED of sd-messages.h.
RESTARTED = "5eb03494b6584870a536b337290809b3"
DISKS = {"btrfs", "overlay", "zfs"}  # file systems on disks that the kernel calls "nodev"
SMALL = ("/dev", "/proc", "/run/", "/sys")  # of the memory, and not for data
QUERY = """SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
    WHERE backend_type OPERATOR(pg_catalog.=) 'client backend'),
    pg_catalog.current_setting('max_connections'),
    (SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database)"""
ARCHIVE = """SELECT pg_catalog.current_setting('archive_mode'),
    COALESCE(pg_catalog.date_part('epoch', last_archived_time), 0),
    COALESCE(pg_catalog.date_part('epoch', last_failed_time), 0),
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_ls_archive_statusdir()
     WHERE name OPERATOR(pg_catalog.~~) '%.ready')
    FROM pg_catalog.pg_stat_archiver"""

Description = Mapping[str, Any]
Memory = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """The result of a check.

    Attributes:
        name: what was checked.
        told: what was seen.
        wrong: what is wrong; empty where nothing is.
        advice: what to do about it.
        certain: whether one look is enough to tell of the problem.
    """

    name: str
    told: str
    wrong: str = ""
    advice: str = ""
    certain: bool = False


# --- Words --------------------------------------------------------------------------------------


def clean(text: object, longest: int = 300) -> str:
    """Return a text as one line without control characters, which a terminal would obey."""
    line = "".join(each if each.isprintable() else " " for each in str(text)[: longest * 4])
    return " ".join(line.split())[:longest]


def span(seconds: float) -> str:
    """Return a duration in words."""
    for size, word in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{max(seconds, 0):.0f} s"


def size(count: float) -> str:
    """Return a number of bytes in words."""
    for power, word in ((4, "TB"), (3, "GB"), (2, "MB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {word}"
    return f"{count / 1000:.0f} kB"


def at(moment: float) -> str:
    """Return a time in words."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


# --- The judgement ------------------------------------------------------------------------------


def judge_site(url: str, status: int, reason: str, seconds: float, wrong: str = "") -> Row:
    """Judge the answer of the site; `wrong` is what is wrong with a redirect."""
    told = f"{status} {clean(reason, 60)} in {seconds * 1000:.0f} ms"
    if 200 <= status < 400:
        advice = "the message says what to change, then site.yml" if wrong else ""
        return Row("site", told, clean(wrong), advice)
    return Row("site", told, f"GET {url} answers {status} {clean(reason, 60)}",
               "journalctl -u gunicorn -u nginx")  # fmt: skip


def judge_unit(
    shown: Mapping[str, str],
    restarts: Iterable[float],
    stopped: bool,
    now: float,
) -> Row:
    """Judge a unit that ought to run.

    Args:
        shown: its properties SHOWN.
        restarts: when systemd has restarted it, in seconds since 1970.
        stopped: whether a signal has stopped its main process.
        now: the time, in seconds since 1970.
    """
    name = shown.get("Id", "?")
    state = f"{shown.get('ActiveState', '?')} ({shown.get('SubState', '?')})"
    if shown.get("LoadState") == "not-found":
        return Row(name, "not installed")
    within = [each for each in restarts if now - each < HOUR]
    lately = [each for each in within if now - each < LATELY]
    since = units.moment(shown.get("ActiveEnterTimestamp", ""))
    parts = [f"since {at(since)}" if shown.get("ActiveState") == "active" and since else state]
    memory = shown.get("MemoryCurrent", "")
    if memory.isdecimal() and int(memory) < 2**63:
        parts.append(size(int(memory)))
    if within:
        parts.append(f"{len(within)} restarts in the last hour")
    told, log = ", ".join(parts), f"journalctl -u {name}"
    if len(lately) >= RESTARTS:
        wrong = f"restarts without end: {len(lately)} times in {LATELY // 60} minutes"
        return Row(name, told, wrong, f"{log} says why it ends")
    if stopped:
        wrong = "a signal has stopped its process, which does nothing"
        return Row(name, told, wrong, f"systemctl kill --signal=SIGCONT {name}")
    if shown.get("ActiveState") == "failed":
        return Row(name, told, f"has failed ({shown.get('Result', '?')})",
                   f"{log}, then systemctl restart {name}", certain=True)  # fmt: skip
    if shown.get("ActiveState") not in ("active", "reloading", "deactivating"):
        return Row(name, told, f"does not run: {state}", f"{log}, then systemctl start {name}")
    return Row(name, told)


def judge_failed(names: Iterable[str], watched: Iterable[str]) -> list[Row]:
    """Judge the failed units that are not watched themselves."""
    return [
        Row(
            name,
            "failed",
            "has failed",
            f"journalctl -u {name}, then systemctl restart {name}",
            certain=True,
        )
        for name in names
        if name not in set(watched)
    ]


def judge_probe(row: Row, code: int) -> Row:
    """Judge a unit that runs by the exit code of its probe."""
    if not code:
        return Row(row.name, f"{row.told}, answers")
    return Row(row.name, row.told, "runs and does not answer",
               f"journalctl -u {row.name}, then systemctl restart {row.name}")  # fmt: skip


def judge_queue(length: int, waited: float, minutes: int, measured: bool = True) -> Row:
    """Judge the tasks that wait in the queues.

    Args:
        length: the number of tasks.
        waited: for how many seconds the oldest one waits.
        minutes: the limit.
        measured: whether it waits for exactly this time, and not for a shorter one perhaps.
    """
    duration = span(waited) if measured else f"up to {span(waited)}"
    told = f"{length} tasks, the oldest waits for {duration}" if length else "empty"
    if waited < minutes * 60:
        return Row("queue", told)
    return Row("queue", told, f"a task has waited for {duration} (limit: {minutes} min)",
               "journalctl -u celery; more celery_worker_concurrency, or fewer tasks")  # fmt: skip


def judge_database(printed: str) -> Row:
    """Judge what PostgreSQL has answered to QUERY."""
    used, most, total = (int(word) for word in printed.strip().split("|"))
    told = f"{used} of {most} connections, {size(total)}"
    if used * 100 < most * CONNECTIONS:
        return Row("database", told)
    return Row("database", told, f"{used} of {most} connections are in use",
               "SELECT * FROM pg_stat_activity; raise postgresql_max_connections")  # fmt: skip


def judge_archive(printed: str, now: float) -> list[Row]:
    """Judge what PostgreSQL has answered to ARCHIVE: whether its changes (WAL) are archived."""
    mode, *numbers = printed.strip().split("|")
    archived, failed, waiting = (float(number) for number in numbers)
    if mode == "off":
        return []
    told = f"{span(now - archived)} ago" if archived else "nothing yet"
    told += f", {waiting:.0f} WAL files wait" if waiting else ""
    wrong = ""
    if failed > archived:
        wrong = f"PostgreSQL cannot archive its changes, {waiting:.0f} WAL files wait"
    elif waiting >= WAITING:
        wrong = f"the archive is behind: {waiting:.0f} WAL files wait"
    elif waiting and archived and now - archived > UNARCHIVED:  # the repository hangs
        wrong = f"nothing was archived for {span(now - archived)}, {waiting:.0f} WAL files wait"
    advice = "/var/log/postgresql says why; the changes fill the disk of PostgreSQL meanwhile"
    return [Row("archive", told, wrong, advice if wrong else "")]


def judge_disk(path: str, seen: os.statvfs_result, limit: int) -> Row:
    """Judge a file system; its percentage is that of df."""
    used = seen.f_blocks - seen.f_bfree
    share = -(-used * 100 // max(used + seen.f_bavail, 1))
    inodes = (seen.f_files - seen.f_ffree) * 100 // seen.f_files if seen.f_files else 0
    told = f"{share} % used, {size(seen.f_bavail * seen.f_frsize)} free, {inodes} % of the inodes"
    name = f"disk {clean(path, 100)}"
    if max(share, inodes) < limit:
        return Row(name, told)
    what = f"{share} % are used" if share >= limit else f"{inodes} % of the inodes are used"
    return Row(name, told, f"{what} (limit: {limit} %)",
               f"du -xh --max-depth=2 {clean(path, 100)} | sort -h | tail")  # fmt: skip


def judge_reserve(missing: bool, megabytes: int) -> list[Row]:
    """Judge the space that is reserved for a full disk: whether it is used up."""
    if not missing:
        return []
    wrong = f"the disk was full, and the reserve of {megabytes} MB was given to the services"
    advice = (
        f"du -xh --max-depth=2 / | sort -h | tail; with {reserve.ROOMY * megabytes} MB free it "
    )
    return [Row("reserve", "none", wrong, f"{advice}is made again", certain=True)]


def judge_memory(text: str) -> Row:
    """Judge the content of /proc/meminfo."""
    kb = {name: int(value.split()[0]) for name, value in re.findall(r"(\w+):\s+(\d+.*)", text)}
    total, free, swap = kb["MemTotal"], kb["MemAvailable"], kb.get("SwapTotal", 0)
    told = f"{size(free * 1024)} of {size(total * 1024)} available"
    rest = kb.get("SwapFree", 0)
    told += f", swap {size((swap - rest) * 1024)} of {size(swap * 1024)}" if swap else ", no swap"
    if (free + rest) * 100 >= total * SCARCE:
        return Row("memory", told)
    return Row("memory", told, f"less than {SCARCE} % of the RAM is left",
               "ps -e -o rss,args --sort=-rss | head; fewer workers, or more RAM")  # fmt: skip


def judge_backup(report: Mapping[str, Any], now: float) -> list[Row]:
    """Judge the report of the role backup."""
    last, drill = float(report.get("last_backup") or 0), float(report.get("last_drill") or 0)
    since = float(report.get("since") or 0)  # a new host has made neither
    problems = [clean(text) for text in dict(report.get("problems") or {}).values()]
    told = (
        f"{span(now - last)} ago, {size(report.get('last_backup_bytes') or 0)}" if last else "none"
    )
    told += "" if report.get("survives_disk") else "; it does not survive this disk"
    wrong = ""
    if problems:
        wrong = f"the last try has failed: {'; '.join(problems)}"
    elif last > now + HOUR:
        wrong = f"the last backup is of {at(last)}, in the future: a clock is or was wrong"
    elif now - max(last, since) > BACKUP_AGE * HOUR:
        wrong = f"the last backup is older than {BACKUP_AGE} h" if last else "there is no backup"
    advice = "correct this, then run playbooks/backup.yml" if wrong else ""
    rows = [Row("backup", told, wrong, advice)]
    if now - max(drill, since) > DRILL_AGE * HOUR:
        told = f"{span(now - drill)} ago" if drill else "none"
        wrong = f"no backup has been tested for {DRILL_AGE} h"
        advice = "journalctl -u django_stack-backup@drill, and systemctl list-timers"
        return [*rows, Row("drill", told, wrong, advice)]
    if not drill:
        return rows
    said = clean(report.get("drill_message", ""))
    if report.get("drill_ok"):
        return [*rows, Row("drill", f"{span(now - drill)} ago: {said}")]
    wrong = f"the last drill has failed: {said}"
    return [
        *rows,
        Row(
            "drill",
            f"{span(now - drill)} ago",
            wrong,
            "playbooks/backups.yml shows when it worked last",
        ),
    ]


def judge_release(text: str) -> Row:
    """Judge the record of the releases."""
    record = json.loads(text)
    told = f"{record.get('release') or 'none'}, live since {record.get('since') or '-'}"
    return Row("release", clean(told))


def judge_upgrades(printed: str) -> Row:
    """Judge what apt would install."""
    names = re.findall(r"(?m)^Inst (\S+) (.*)$", printed)
    secure = [name for name, more in names if re.search("security", more, re.IGNORECASE)]
    told = f"{len(names)} pending, {len(secure)} of them for security" if names else "none"
    return Row("upgrades", told)


def replaced_libraries(maps: str) -> set[str]:
    """Return the libraries of a process whose files an upgrade has replaced since it started.

    Args:
        maps: the text of its /proc/PID/maps. Source: proc_pid_maps(5).
    """
    return set(re.findall(r"(?m) (/usr/\S+\.so[.\w]*) \(deleted\)$", maps))


def unit_of(cgroup: str) -> str:
    """Return the service that a process belongs to, from the text of its /proc/PID/cgroup.

    A user's own services are below user@UID.service, which is the one that root can restart.
    """
    found = re.search(r"(?m)/([^/\n]+\.service)(?:/|$)", cgroup)
    return found[1] if found else ""


def judge_libraries(outdated: Iterable[str]) -> list[Row]:
    """Say which services use libraries from before an upgrade; there is no row if none does."""
    names = sorted(outdated)
    told = f"{', '.join(names)}: from before an upgrade; systemctl restart {' '.join(names)}"
    return [Row("libraries", told)] if names else []


def judge_watch(description: Description, memory: Memory, booted: float, now: float) -> Row:
    """Judge whether the timer looks, and whom it tells.

    Args:
        description: with the channels.
        memory: of the timer's last look.
        booted: when the host has started, in seconds since 1970.
        now: the time, in seconds since 1970.
    """
    keys = {"e-mail": "email_to", "webhook": "webhook_url", "heartbeat": "heartbeat_url"}
    channels = [channel for channel, key in keys.items() if description.get(key)]
    told = f"by {', '.join(channels)}" if channels else "NOBODY IS TOLD of a problem"
    if not channels:
        told += ": set monitor_email_to, monitor_webhook_url or monitor_heartbeat_url"
    waiting = sum(map(len, memory.get("waiting", {}).values()))
    told += f", {waiting} messages not delivered yet" if waiting else ""
    last = float(memory.get("at", 0))
    looked = f"the last look was {span(now - last)} ago" if last else "nobody has looked yet"
    if now - max(last, booted) < SILENT:
        return Row("alarms", f"{told}; {looked}")
    return Row("alarms", told, f"the timer does not look: {looked}",
               f"journalctl -u {SERVICE}, then systemctl restart {SERVICE}.timer")  # fmt: skip


# --- What is read -------------------------------------------------------------------------------


def own(path: Path) -> str:
    """Return the content of a file that only root can have written; empty where there is none.

    Raises:
        OSError: it is no file of root's.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        told = os.fstat(descriptor)
        if not stat.S_ISREG(told.st_mode) or told.st_uid or told.st_mode & 0o022:
            raise OSError(f"{path} should be a file that only root can write")
        return file.read(1 << 20).decode(errors="replace")


def variable(text: str, name: str) -> str:
    """Return the value of a variable in a file that systemd reads as EnvironmentFile=."""
    found = re.search(rf'(?m)^{name}="?(.*?)"?$', text)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""


def file_systems(mounts: str, kinds: str) -> list[str]:
    """Return a mount point of each writable file system that can fill up.

    Those in the memory are /run, /tmp, and what an administrator has mounted.

    Args:
        mounts: the content of /proc/self/mountinfo.
        kinds: the content of /proc/filesystems.
    """
    known = {line.strip() for line in kinds.splitlines() if not line.startswith("nodev")} | DISKS
    found: dict[str, str] = {}
    for line in mounts.splitlines():
        left, _sep, right = line.partition(" - ")
        words, (kind, _sep, options) = left.split(), right.split(" ", 2)
        place = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), words[4])
        in_memory = kind == "tmpfs" and not place.startswith(SMALL)
        if not (kind in known or in_memory) or "rw" not in options.split(","):
            continue
        if not os.path.isdir(place):
            continue
        if kind != "overlay" or place == "/":  # the others are containers
            found[words[2]] = min(found.get(words[2], place), place, key=len)
    return sorted(found.values())


def look_disks(limit: int) -> list[Row]:
    """Check each file system."""
    mounts, kinds = Path("/proc/self/mountinfo").read_text(), Path("/proc/filesystems").read_text()
    return [judge_disk(path, os.statvfs(path), limit) for path in file_systems(mounts, kinds)]


def look_site(site: Mapping[str, Any]) -> list[Row]:
    """Ask the site for a page, and for a file of each directory that nginx serves."""
    url = f"{site['scheme']}://{site['name']}{site['path']}"
    begun = time.monotonic()
    try:
        answer, page = health.visit(site)
        took = time.monotonic() - begun
        found = health.see_files(site)
    except (OSError, http.client.HTTPException) as error:
        wrong = f"GET {url}: {clean(error)}"
        return [Row("site", "no answer", wrong, "journalctl -u nginx -u gunicorn")]
    row = judge_site(url, answer.status, answer.reason, took, page.wrong)
    advice = "mend what the message names, then site.yml"
    files = [Row("files", "not served", clean(each.wrong), advice) for each in found if each.wrong]
    return [row, *files]


def look_certificates(names: Iterable[str], issued: bool, now: float) -> list[Row]:
    """Check the certificate that nginx serves for each name."""
    rows = []
    for name in names:
        try:
            told, wrong = certificates.judge(certificates.served(name), issued, now)
        except (OSError, subprocess.SubprocessError) as error:
            told, wrong = "no certificate", f"no answer: {clean(error)}"
        rows.append(Row(name, clean(told), wrong, "journalctl -u certbot" if wrong else ""))
    return rows


def restarts_of(now: float) -> dict[str, list[float]]:
    """Return when systemd has restarted units in the last hour, by their names.

    systemd's counter NRestarts begins anew at each start by hand, so its messages are counted. Only
    process 1 can have written them.
    """
    told = units.run(
        ["/usr/bin/journalctl", "--quiet", "--no-pager", f"--since=@{int(now) - HOUR}",
         "--lines=2000", "--output=json", "--output-fields=UNIT", "_PID=1",
         f"MESSAGE_ID={RESTARTED}"], 20,
    )  # fmt: skip
    found: dict[str, list[float]] = {}
    for line in told.output.splitlines():
        try:
            entry = json.loads(line)
            moment = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            found.setdefault(str(entry["UNIT"]), []).append(moment)
        except (ValueError, KeyError, TypeError):  # cut off at its beginning
            continue
    return found


def is_stopped(process: str) -> bool:
    """Return whether a signal has stopped a process."""
    try:
        told = Path("/proc", process, "stat").read_text(errors="replace")
    except OSError:
        return False
    return told.rpartition(")")[2].split()[:1] == ["T"]


def explained(row: Row, unit: str, now: float) -> Row:
    """Return a row with what the log of a unit says to do, if something is wrong and that is known.

    Only for units of the application: the advice names its variables.
    """
    if not row.wrong:
        return row
    try:
        if units.show(unit, "Slice").get("Slice") != SLICE:
            return row
        log = diagnosis.readable(units.journal(unit, now - LATELY, LOG))
    except (OSError, units.UnitError):  # the row is worth more than its advice
        return row
    found = diagnosis.cause_of(log)
    if not found:
        return row
    return replace(row, advice=f"{clean(found.told, 600)} ({row.advice})")


def look_units(
    names: list[str], probes: Mapping[str, str], known: Mapping[str, int], now: float
) -> tuple[list[Row], dict[str, int]]:
    """Check the units that ought to run, and those that have failed.

    Args:
        names: of the units.
        probes: a command for some of them, which succeeds if the unit works.
        known: for how many looks each probe need not run again.
        now: the time, in seconds since 1970.

    Returns:
        the rows, and `known` for the next look.
    """
    shown = units.show_all(names, *SHOWN)
    restarts, left, rows = restarts_of(now), {}, []
    for each in shown:
        name = each.get("Id", "")
        row = judge_unit(each, restarts.get(name, []), is_stopped(each.get("MainPID", "0")), now)
        if name in probes and not row.wrong and each.get("ActiveState") == "active":
            if known.get(name, 0):
                left[name] = known[name] - 1
            else:
                done = units.run(["/bin/sh", "-c", probes[name]], PATIENCE)
                row = judge_probe(row, done.code)
                left[name] = WELL if not done.code else 0
        rows.append(row)
    failed = units.systemctl("list-units", "--failed", "--plain", "--no-legend")
    if failed.code:
        raise OSError(clean(failed.output))
    words = [line.split()[0] for line in failed.output.splitlines() if line.split()]
    rows += judge_failed(words, names)
    return [explained(row, row.name, now) for row in rows], left


def look_database(port: int, now: float) -> list[Row]:
    """Ask PostgreSQL on this host."""
    done = units.run(units.psql(port, f"--command={QUERY}", f"--command={ARCHIVE}"), 10)
    if done.code:
        wrong = f"PostgreSQL does not answer: {clean(done.output)}"
        return [Row("database", "no answer", wrong, "journalctl -u 'postgresql@*'")]
    database, archive = done.output.strip().splitlines()
    return [judge_database(database), *judge_archive(archive, now)]


def look_queue(
    url: str, names: list[str], minutes: int, known: dict[str, Any], now: float
) -> tuple[list[Row], dict[str, Any]]:
    """Check Celery's queues; return the row, and what the next look has to know."""
    if not url.startswith(queues.SCHEMES):
        return [Row("queue", f"not checked: {BROKER} names no Redis")], {}
    try:
        told, length, waited = queues.look(url, names, known, now)
    except (OSError, queues.QueueError, ValueError) as error:
        wrong = f"Redis does not answer: {clean(error)}"
        return [Row("queue", "no answer", wrong, "journalctl -u redis-server")], known
    return [judge_queue(length, waited, minutes)], told


def count_queue(
    command: str, names: list[str], minutes: int, known: Memory, now: float
) -> tuple[list[Row], Memory]:
    """Check queues whose lengths a command prints.

    Args:
        command: prints a number for each queue, on one line.
        names: of the queues.
        minutes: for how long a task may wait.
        known: what the last look has returned: `left` (for how many looks the command need not run
            again), and what is known of each queue.
        now: the time, in seconds since 1970.

    Returns:
        the row, and what the next look has to know.
    """
    before = known.get("counted", {})
    left = known.get("left", 0) - 1 if before.keys() == set(names) else -1
    if left >= 0:
        lengths = [int(before[name]["length"]) for name in names]
    else:
        left, done = WELL, units.run(["/bin/sh", "-c", command], PATIENCE)
        last = done.output.strip().rpartition("\n")[2]
        # The application prints it, so that it is bounded.
        if done.code or not re.fullmatch(rf"\d{{1,9}}( \d{{1,9}}){{{len(names) - 1}}}", last):
            wrong = f"the broker does not answer: {clean(last)}"
            return [Row("queue", "no answer", wrong, "journalctl -u rabbitmq-server")], known
        lengths = [int(word) for word in last.split()]
    counted = {
        name: queues.outwait(length, before.get(name, {}), now)
        for name, length in zip(names, lengths, strict=True)
    }
    waited = max(each["waited"] for each in counted.values())
    row = judge_queue(sum(lengths), waited, minutes, measured=False)
    return [row], {"counted": counted, "left": left}


def beat_log(unit: str) -> tuple[float, str]:
    """Return the time, in seconds since 1970, and the text of beat's last line on a task."""
    told = units.run(
        ["/usr/bin/journalctl", "--quiet", "--no-pager", f"--unit={unit}", "--since=-30d",
         "--lines=1", "--output=json", "--output-fields=MESSAGE", f"--grep={SENDING}|{UNSENT}"], 10,
    )  # fmt: skip
    try:
        entry = json.loads(told.output.strip().rpartition("\n")[2])
        return int(entry["__REALTIME_TIMESTAMP"]) / 1e6, clean(entry["MESSAGE"])
    except (ValueError, KeyError, TypeError):
        return 0.0, ""


def look_beat(unit: str, command: str, known: Memory, now: float) -> tuple[list[Row], Memory]:
    """Check whether beat sends its tasks.

    Beat's log tells of the last task. If that was long ago, a command tells when the next one was
    due, so that the limit fits each schedule.

    Args:
        unit: of beat.
        command: prints when the next task is due after a time, which is its argument; both are in
            seconds since 1970. If it is empty, the last task is only shown.
        known: what the last look has returned: `since`, when beat has sent its last task or has
            started, and `due`.
        now: the time, in seconds since 1970.

    Returns:
        the row, and what the next look has to know.
    """
    at_last, line = beat_log(unit)
    age, log = now - at_last, f"journalctl -u {unit}"
    if command and re.search(UNSENT, line) and age < OVERDUE:
        wrong = f"could not send a task {span(age)} ago: {re.sub('.*ERROR[^]]*] ', '', line)}"
        return [Row("beat", "sends no task", wrong, log)], known
    task = re.sub(f".*{SENDING}", "", line)
    told = f"sent a task {span(age)} ago:{task}" if SENDING in line else "has sent no task yet"
    started = units.moment(units.show(unit, "ActiveEnterTimestamp").get("ActiveEnterTimestamp", ""))
    since = max(at_last if SENDING in line else 0.0, started)
    if not command or not started or now - since < OVERDUE:
        return [Row("beat", told)], {}
    if known.get("since") != since or now - known["due"] > OVERDUE:
        done = units.run(["/bin/sh", "-c", f"{command} {since}"], PATIENCE)
        last = done.output.strip().rpartition("\n")[2]
        if done.code or not re.fullmatch(r"([\d.e+-]+|inf)?", last):
            return [Row("beat", f"{told}; its schedule could not be read: {clean(last, 100)}")], {}
        # The application prints it, so that it is bounded; without a task nothing is due today.
        due = min(max(float(last or "inf"), since), now + DAY)
        known = {"since": since, "due": due}
    late = now - known["due"]
    if late < OVERDUE:
        return [Row("beat", told)], known
    wrong = f"has sent no task since {at(since)}, and one was due {span(late)} ago"
    return [Row("beat", told, wrong, f"{log}, then systemctl restart {unit}")], known


def look_upgrades() -> list[Row]:
    """Ask apt for pending upgrades, and whether the host waits for a reboot."""
    command = ["/usr/bin/apt-get", "--simulate", "-o", "Debug::NoLocking=1", "upgrade"]
    rows = [judge_upgrades(units.run(command, 60).output)]
    return [*rows, Row("reboot", "pending")] if REBOOT.exists() else rows


def look_libraries() -> list[Row]:
    """Find services that go on with libraries which an upgrade has replaced."""
    outdated = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if replaced_libraries((process / "maps").read_text(errors="replace")):
                outdated.add(unit_of((process / "cgroup").read_text()))
    return judge_libraries(outdated - {""})


def look_backup(now: float) -> list[Row]:
    """Read the report of the role backup, if there is one."""
    text = own(BACKUP)
    return judge_backup(json.loads(text), now) if text else []


def safely(name: str, check: Callable[[], list[Row]]) -> list[Row]:
    """Return the rows of a check; its failure is a row as well, and ends no other check."""
    try:
        return check()
    except Exception as error:  # whatever it is, the other checks go on
        wrong = f"the check itself has failed: {type(error).__name__}: {clean(error)}"
        return [Row(name, "unknown", wrong, f"journalctl -u {SERVICE}")]


def look(
    description: Description, memory: Memory, now: float, thorough: bool
) -> tuple[list[Row], Memory]:
    """Check a host.

    Args:
        description: what is watched.
        memory: what the last look of the timer has returned.
        now: the time, in seconds since 1970.
        thorough: whether to check also what an alarm does not need, and each probe.

    Returns:
        the rows, and what the next look has to know: `queues`, `beat` and `probes`.
    """
    known: Memory = {
        "queues": memory.get("queues", {}), "beat": memory.get("beat", {}), "probes": {}
    }  # fmt: skip

    def all_units() -> list[Row]:
        before = {} if thorough else memory.get("probes", {})
        rows, known["probes"] = look_units(description["units"], description["probes"], before, now)
        return rows

    def all_queues() -> list[Row]:
        limits = (description["queues"], description["queue_minutes"])
        before = known["queues"] | {"left": 0} if thorough else known["queues"]
        if queue_command:
            rows, known["queues"] = count_queue(queue_command, *limits, before, now)
        else:
            url = variable(own(Path(description["environment_file"])), BROKER)
            rows, known["queues"] = look_queue(url, *limits, known["queues"], now)
        return rows

    def beat() -> list[Row]:
        given = (description["beat"], beat_command)
        rows, known["beat"] = look_beat(*given, known["beat"], now)
        return rows

    # status.yml may be newer than what site.yml has installed.
    beat_command = description.get("beat_command", "")
    queue_command = description.get("queue_command", "")
    reserved = description.get("reserve_mb", 0)
    names, issued = description["certificate_names"], description["certificate_issued"]
    checks: dict[str, Callable[[], list[Row]]] = {}
    if thorough and description["release"]:
        checks["release"] = lambda: [judge_release(own(Path(description["release"])) or "{}")]
    if description["site"]:
        checks["site"] = lambda: [
            explained(row, WEB, now) for row in look_site(description["site"])
        ]
    checks["units"] = all_units
    if description["beat"] and (thorough or beat_command):
        checks["beat"] = beat
    if description["queues"] and (queue_command or description["environment_file"]):
        checks["queue"] = all_queues
    if description["postgresql_port"]:
        checks["database"] = lambda: look_database(description["postgresql_port"], now)
    checks["disks"] = lambda: look_disks(description["disk_percent"])
    if reserved:
        checks["reserve"] = lambda: judge_reserve(reserve.missing(reserved), reserved)
    checks["memory"] = lambda: [judge_memory(Path("/proc/meminfo").read_text())]
    if names:
        checks["certificates"] = lambda: look_certificates(names, issued, now)
    checks["backup"] = lambda: look_backup(now)
    if thorough:
        checks["upgrades"] = look_upgrades
        checks["libraries"] = look_libraries
        booted = now - float(Path("/proc/uptime").read_text().split()[0])
        checks["alarms"] = lambda: [judge_watch(description, memory, booted, now)]
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        found = pool.map(lambda name: safely(name, checks[name]), checks)
        return [row for rows in found for row in rows], known


# --- What is shown ------------------------------------------------------------------------------


def table(host: str, rows: Iterable[Row], now: float) -> str:
    """Return the rows as a table."""
    rows = list(rows)
    width = max(len(row.name) for row in rows)
    lines = [f"{host} at {at(now)}"]
    for row in rows:
        sign, told = ("PROBLEM", f"{row.told}: {row.wrong}") if row.wrong else ("ok", row.told)
        lines.append(f"  {sign:<7}  {row.name:<{width}}  {told}")
    return "\n".join(lines)


def problems(rows: Iterable[Row]) -> list[str]:
    """Return a line for each problem: what is wrong, and what to do."""
    return [f"{row.name}: {row.wrong}. To do: {row.advice}" for row in rows if row.wrong]


def as_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the rows as dictionaries."""
    told = [asdict(row) for row in rows]
    return [{key: each[key] for key in ("name", "told", "wrong", "advice")} for each in told]
