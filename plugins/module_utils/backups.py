"""The backups of a host as plain data: where they lie, what there is, what a restore uses.

Nothing here reads or writes a file, so that unit tests reach each decision; `backup_host` acts.
Times are seconds since 1970.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

FULL_EVERY = 6.5 * 86400  # a full backup each week; half a day less, because a timer varies
ROOM = 1.1  # the part of the size of a backup that must be free before it is restored
RESERVE = 256 * 1024**2  # bytes that stay free beside it
SHOWN = 12  # rows of files that the table shows, the newest
MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?\Z"
)
LABEL = re.compile(r"(\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?|[0-9a-f]{8})\Z")
ROW = "{:<34} {:<14} {:<24} {:>9}  {}"
# What the tools say, and what the operator should know and do.
PROBLEMS = (
    (
        r"ChecksumError|\[026\]|actual checksum|ciphertext verification|pg_amcheck finds damage"
        r"|repository contains errors|zst error",
        "a file of the repository is damaged",
    ),
    (
        r"is not later than latest backup label",
        "a backup is of a time in the future, because the clock was wrong. Correct the clock. Then "
        "remove that backup, whose label is the last one below: sudo -u postgres pgbackrest "
        "--config=/etc/django_stack/backup/pgbackrest.conf --stanza=APP_NAME --set=LABEL expire",
    ),
    (
        r"clock skew|TooSkewed|not yet valid|has expired",
        "the clock of this host is or was wrong, or that of the repository is; or the certificate "
        "of the repository has expired. timedatectl shows the clock of this host",
    ),
    (
        r"unable to find hostname .* in certificate|x509|certificate (verify|is not)"
        r"|unable to verify certificate|unable to get local issuer|self.signed certificate",
        "the certificate of the repository is of an unknown authority or of another name. "
        "ca_certificates_files adds an authority; pgBackRest looks for a name, not for an address",
    ),
    (
        r"server version mismatch",
        "the database's server is newer than the client of this host: set "
        "backup_postgresql_version to the server's version, which a package source must offer as "
        "postgresql-client",
    ),
    (
        r"DbConnectError|unable to find primary cluster|connection to server on socket",
        "PostgreSQL of this host does not answer: systemctl status 'postgresql@*' says why",
    ),
    (
        r"password authentication failed|no pg_hba.conf entry",
        "the server of the database refuses the login: check app_database",
    ),
    (
        r"connection to server (at|on) .* failed|could not translate host name",
        "the server of the database does not answer: check app_database",
    ),
    (
        r"Fatal: wrong password|no key found|CryptoError|cipher header invalid|unable to flush"
        r"|(\[029\].*|FormatError\] )unable to load info",
        "the key does not open the repository: app_backup_key is another one than when the "
        "repository was made. Import the old secrets with playbooks/secrets.yml",
    ),
    (
        r"do not match the database|not match the version and system-id|ArchiveMismatchError"
        r"|\[044\]|BackupMismatchError|\[051\]",
        "the repository holds the backups of another cluster, such as this host's predecessor. Run "
        "playbooks/restore.yml to get its data back, or choose another backup_repository",
    ),
    (
        r"recovery ended before configured recovery target",
        "the archive holds no change that is later than this moment. Ask for "
        "restore_to=latest",
    ),
    (
        r"known hosts failure|Host key verification failed",
        "the host of the repository has another key than backup_ssh_host_keys, which should list "
        "all keys that ssh-keyscan prints",
    ),
    (
        r"No space left|ENOSPC|disk quota",
        "the disk of the repository or of this host is full",
    ),
    (
        r"was not archived before",
        "PostgreSQL does not archive its changes: the end of its log in /var/log/postgresql says "
        "why",
    ),
    (
        r"HostConnectError|ServiceError|unable to (get address|connect)|timeout|no such host"
        r"|connection refused|Connection reset|network is unreachable|dial tcp|i/o timeout",
        "the repository does not answer",
    ),
    (
        r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|\b403\b"
        r"|Permission denied \(publickey",
        "the repository refuses the login: check backup_s3_key and backup_s3_secret, or "
        "backup_ssh_key",
    ),
    (
        r"exists but \S+ is missing on repo",
        "the making of the repository was interrupted. If it has no backup yet, remove its "
        "directory `database` and run site.yml again",
    ),
    # Last, because the tools add this as a hint to each of the other errors.
    (
        r"NoSuchBucket|specified bucket does not exist",
        "the bucket of backup_repository does not exist. Create it first",
    ),
    (
        r"Is there a repository at|stanza-create been performed",
        "there is no repository at this place. site.yml makes one",
    ),
)  # fmt: skip


class BackupError(Exception):
    """A backup or a restore cannot be done; the text tells the operator why and what to do."""


# --- Where the backups lie ------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A repository.

    Attributes:
        pgbackrest: options of pgBackRest, without the credentials.
        restic: the repository as restic names it.
        directory: the directory, for one on this host; empty for others.
        ssh: the arguments of ssh(1) that reach the host, for one by SFTP.
    """

    pgbackrest: dict[str, str]
    restic: str
    directory: str = ""
    ssh: tuple[str, ...] = ()


def place_of(repository: str, name: str) -> Place:
    """Return where the backups of an application lie.

    Args:
        repository: a directory, `s3:https://endpoint/bucket/path` or `sftp://user@host:port/path`.
        name: of the application; each has a directory of its own in the repository.

    Raises:
        ValueError: the text is none of them.
    """
    if repository.startswith("/"):
        path = f"{repository.rstrip('/')}/{name}"
        return Place(
            {"repo1-type": "posix", "repo1-path": f"{path}/database"}, f"{path}/files", path
        )
    kind, url = ("s3", repository[3:]) if repository.startswith("s3:") else ("sftp", repository)
    parts = urlsplit(url)
    port = parts.port
    if not parts.hostname or parts.query or parts.fragment or parts.password:
        raise ValueError(repository)
    if kind == "s3":
        bucket, _sep, below = parts.path.strip("/").partition("/")
        if parts.scheme != "https" or not bucket or parts.username:
            raise ValueError(repository)
        path = "".join(f"/{part}" for part in (below, name) if part)
        options = {
            "repo1-type": "s3", "repo1-path": f"{path}/database", "repo1-s3-bucket": bucket,
            "repo1-s3-endpoint": parts.hostname, "repo1-s3-uri-style": "path",
            "repo1-storage-ca-file": "/etc/ssl/certs/ca-certificates.crt",
        }  # fmt: skip
        if port:
            options["repo1-storage-port"] = str(port)
        return Place(options, f"s3:https://{parts.netloc}/{bucket}{path}/files")
    if parts.scheme != "sftp" or not parts.username or not parts.path.strip("/"):
        raise ValueError(repository)
    path = f"{parts.path.rstrip('/')}/{name}"
    options = {
        "repo1-type": "sftp", "repo1-path": f"{path}/database",
        "repo1-sftp-host": parts.hostname, "repo1-sftp-host-user": parts.username,
        "repo1-sftp-host-port": str(port or 22), "repo1-sftp-host-key-hash-type": "sha256",
        "repo1-sftp-host-key-check-type": "strict",
    }  # fmt: skip
    ssh = ("-p", str(port or 22), f"{parts.username}@{parts.hostname}")
    restic = f"sftp:{parts.username}@{parts.hostname}:{path}/files"
    if ":" in parts.hostname:  # restic takes the first colon for the end of the host, except here
        restic = f"sftp://{parts.username}@[{parts.hostname}]:{port or 22}/{path}/files"
    return Place(options, restic, ssh=ssh)


# --- A database on another server ----------------------------------------------------------------

SCHEMES = ("postgresql", "postgres", "postgis", "psql", "pgsql")  # as django-environ has them
LIBPQ_OPTIONS = {
    "sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding", "options", "host", "port",
    "user", "target_session_attrs", "require_auth", "sslnegotiation",
}  # fmt: skip
LIBPQ_NAMES = {"password": "PGPASSWORD", "dbname": "PGDATABASE"}
SERVER = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(:(?P<port>[0-9]*))?")
# Entries of a dump that only the superuser of a server can restore, and that each database has.
SUPERUSERS = re.compile(r" (COMMENT - (EXTENSION|SCHEMA public)|SCHEMA - public) ")


def database_kind(url: str) -> str:
    """Return how a database is backed up.

    Args:
        url: `local`, `none` or the URL of a database.

    Returns:
        `cluster` (of this host, by pgBackRest), `dump` (pg_dump), `none` (there is no database) or
        `foreign` (not PostgreSQL: its server has to back it up).
    """
    if url in ("local", "none"):
        return {"local": "cluster", "none": "none"}[url]
    scheme = re.split("[+-]", urlsplit(url).scheme)[0]  # without a driver, as in postgresql+psycopg
    return "dump" if scheme in SCHEMES else "foreign"


def libpq_environment(url: str) -> dict[str, str]:
    """Return the environment in which PostgreSQL's programs reach the database of a URL.

    Options that libpq does not know are Django's, and left out. Source: libpq, "Environment
    Variables".
    """
    parts = urlsplit(url)
    # A URL of libpq may have several servers, and a directory of sockets as the host.
    servers = [SERVER.fullmatch(each) for each in parts.netloc.rpartition("@")[2].split(",")]
    known = [found for found in servers if found]
    hosts = [unquote(found["host"].strip("[]")) for found in known]
    ports = [found["port"] or "" for found in known]
    told = {
        "PGHOST": ",".join(hosts), "PGPORT": ",".join(ports) if any(ports) else "",
        "PGUSER": unquote(parts.username or ""), "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.lstrip("/")), "PGCONNECT_TIMEOUT": "20",
    }  # fmt: skip
    for name, value in parse_qsl(parts.query):
        if name in LIBPQ_OPTIONS:
            told[f"PG{name.replace('_', '').upper()}"] = value
        elif name in LIBPQ_NAMES:
            told[LIBPQ_NAMES[name]] = value
    return {name: value for name, value in told.items() if value}


def restorable(listed: str) -> str:
    """Return the lines of `pg_restore --list` that the owner of a database can restore."""
    return "".join(line for line in listed.splitlines(True) if not SUPERUSERS.search(line))


# --- What there is --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backup:
    """A backup of the database: its label, kind, times, sizes in bytes and first timeline."""

    label: str
    kind: str
    begun: float
    ended: float
    size: int
    stored: int
    timeline: int


@dataclass(frozen=True)
class Snapshot:
    """A backup of the files: its name and the time at which it began."""

    name: str
    begun: float


@dataclass(frozen=True)
class Contents:
    """The backups of the database in a repository, the oldest first, and the cluster's number."""

    backups: tuple[Backup, ...]
    system: int


def parse_info(text: str, name: str) -> Contents:
    """Return what `pgbackrest info --output=json` lists.

    Raises:
        BackupError: it lists nothing that can be read.
    """
    try:
        stanzas = json.loads(text[text.index("[") :])
        stanza: dict[str, Any] = next((each for each in stanzas if each["name"] == name), {})
        code = stanza.get("status", {}).get("code", 0)
        if code not in (0, 1, 2, 3):  # 1: no such path, 2: no backup, 3: no data
            raise ValueError(stanza["status"]["message"])
        found = [
            Backup(
                label=each["label"], kind=each["type"],
                begun=float(each["timestamp"]["start"]), ended=float(each["timestamp"]["stop"]),
                size=int(each["info"]["size"]),
                stored=int(each["info"]["repository"]["delta"]),
                timeline=int(each["archive"]["stop"][:8], 16),
            )
            for each in stanza.get("backup", [])
            if each.get("archive", {}).get("stop")
        ]  # fmt: skip
        system = int(stanza["db"][-1]["system-id"]) if stanza.get("db") else 0
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BackupError(
            f"The list of backups cannot be read: {explain(text) or error}"
        ) from error
    return Contents(tuple(sorted(found, key=lambda each: each.ended)), system)


def parse_snapshots(text: str) -> tuple[Snapshot, ...]:
    """Return what `restic snapshots --json` lists, the oldest first.

    Raises:
        BackupError: it lists nothing that can be read.
    """
    try:
        listed = json.loads(text[text.index("[") :]) or []
        found = [Snapshot(str(each["short_id"]), _rfc3339(each["time"])) for each in listed]
    except (ValueError, LookupError, TypeError) as error:
        raise BackupError(
            f"The list of file backups cannot be read: {explain(text) or error}"
        ) from error
    return tuple(sorted(found, key=lambda each: each.begun))


def parse_dumps(text: str) -> Contents:
    """Return the dumps among what `restic snapshots --json` lists, the oldest first.

    Each has a tag `bytes=` with its size.

    Raises:
        BackupError: it lists nothing that can be read.
    """
    try:
        sizes = {
            str(each["short_id"]): int(tag.partition("=")[2])
            for each in json.loads(text[text.index("[") :]) or []
            for tag in each.get("tags") or []
            if tag.startswith("bytes=")
        }
    except (ValueError, LookupError, TypeError, AttributeError):
        sizes = {}  # parse_snapshots says what is wrong
    found = [
        Backup(each.name, "dump", each.begun, each.begun, sizes[each.name], sizes[each.name], 0)
        for each in parse_snapshots(text)
        if each.name in sizes
    ]
    return Contents(tuple(found), 0)


def _rfc3339(text: str) -> float:
    """Return a time of restic, whose nanoseconds datetime does not read."""
    found = re.fullmatch(r"(.*?)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
    if not found:
        raise ValueError(text)
    zone = "+00:00" if found[3] == "Z" else found[3]
    return datetime.fromisoformat(found[1] + zone).timestamp() + float(found[2] or 0)


def due_kind(contents: Contents, now: float) -> str:
    """Return the kind of the next backup of the database: `full` each week, else `incr`."""
    fulls = [each.ended for each in contents.backups if each.kind == "full"]
    return "incr" if fulls and now - fulls[-1] < FULL_EVERY else "full"


# --- What a restore uses --------------------------------------------------------------------------


def parse_moment(text: str) -> float:
    """Return the time that a text names.

    Raises:
        BackupError: it names none, or no time zone.
    """
    found = MOMENT.fullmatch(text.strip())
    if not found or not found[3]:
        raise BackupError(
            f"restore_to is {text!r}. It should be a moment with a time zone, such as "
            '"2026-11-27 01:02:03+00", the name of a backup, or latest'
        )
    zone = "+00:00" if found[3] in ("Z", "UTC") else found[3]
    zone = zone if len(zone) > 3 else f"{zone}:00"
    zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    day, clock = found[1], found[2]
    clock, _sep, fraction = clock.partition(".")
    clock = clock if clock.count(":") == 2 else f"{clock}:00"
    try:
        whole = datetime.fromisoformat(f"{day} {clock}{zone}").timestamp()
    except ValueError as error:
        raise BackupError(f"restore_to is {text!r}: there is no such moment") from error
    return whole + (float(f"0.{fraction}") if fraction else 0.0)


@dataclass(frozen=True)
class Plan:
    """What a restore uses.

    Attributes:
        to: what the operator asked for.
        kind: `time`, `immediate` (the end of a backup) or `default` (all that the archive holds);
            `dump`, or `none` if the database stays as it is.
        backup: the label of the backup of the database; empty if it stays as it is.
        moment: the time to which the database is restored.
        timeline: the timeline of the archive to follow.
        snapshot: the name of the backup of the files; empty if there is none.
        snapshot_time: when that began.
        size: bytes of the database.
    """

    to: str
    kind: str
    backup: str
    moment: float
    timeline: str
    snapshot: str
    snapshot_time: float
    size: int

    def options(self) -> list[str]:
        """Return the options of `pgbackrest restore`."""
        told = [f"--set={self.backup}", f"--type={self.kind}"]
        if self.kind != "default":
            told.append("--target-action=promote")
        if self.kind == "time":
            told += [f"--target={precise(self.moment)}", f"--target-timeline={self.timeline}"]
        return told

    def report(self) -> str:
        """Return sentences on what the restore does."""
        files = f"The files come from the backup {self.snapshot}, of {shown(self.snapshot_time)}"
        if self.kind == "none":
            return f"{files}. The database stays as it is."
        database = (
            f"The database comes from the dump {self.backup}, of {shown(self.moment)}"
            if self.kind == "dump" else
            f"The database comes from the backup {self.backup}, and its changes are replayed "
            + ("to the end of the archive" if self.kind == "default"
               else "to the end of the backup" if self.kind == "immediate"
               else f"up to {shown(self.moment)}")
        )  # fmt: skip
        if not self.snapshot:
            return f"{database}. No backup of the files is so old: they stay as they are."
        age = round(self.moment - self.snapshot_time)
        word = "before" if age >= 0 else "after"
        return f"{database}. {files}, {duration(abs(age))} {word} the moment of the database."


def plan(
    to: str,
    contents: Contents | None,
    snapshots: Sequence[Snapshot],
    restores: Sequence[Mapping[str, Any]],
    now: float,
) -> Plan:
    """Choose the backups that lead to a moment or a name.

    Args:
        to: a moment, the label of a backup of the database, or `latest`.
        contents: the backups of the database; None if the database stays as it is.
        snapshots: those of the files.
        restores: earlier restores of this host, each with `at` and the `timeline` that it began.
        now: the time.

    Raises:
        BackupError: nothing leads there.
    """
    if contents is None:
        return _plan_files(to, snapshots, now)
    backups = contents.backups
    if not backups:
        raise BackupError("The repository holds no backup of the database")
    if to == "latest":
        kind, moment, chosen = "default", now, backups[-1]
    elif LABEL.match(to):
        found = [each for each in backups if each.label == to]
        if not found:
            raise BackupError(f"There is no backup {to}; playbooks/backups.yml lists them")
        kind, moment, chosen = "immediate", found[0].ended, found[0]
    else:
        kind, moment = "time", parse_moment(to)
        if moment > now:
            raise BackupError(f"{shown(moment)} lies in the future: it is {shown(now)} now")
        before = [each for each in backups if each.ended <= moment]
        if not before:
            raise BackupError(
                f"{shown(moment)} is too early: the oldest backup ended at "
                f"{shown(backups[0].ended)}"
            )
        chosen = before[-1]
    if chosen.kind == "dump":
        kind, moment = "dump", chosen.ended
    older = [each for each in snapshots if each.begun <= moment]
    if kind == "dump":  # the files were backed up after it: each row of the dump finds its file
        older += [each for each in snapshots if each.begun > moment][:1]
    return Plan(
        to=to, kind=kind, backup=chosen.label, moment=moment,
        timeline=_timeline(chosen, backups, restores, moment),
        snapshot=older[-1].name if older else "",
        snapshot_time=older[-1].begun if older else 0.0, size=chosen.size,
    )  # fmt: skip


def _plan_files(to: str, snapshots: Sequence[Snapshot], now: float) -> Plan:
    """Choose the backup of the files where the database stays as it is."""
    named = [each for each in snapshots if each.name == to]
    moment = named[0].begun if named else now if to == "latest" else parse_moment(to)
    older = named or [each for each in snapshots if each.begun <= moment]
    if not older:
        raise BackupError(f"No backup of the files is from before {shown(moment)}")
    return Plan(to, "none", "", moment, "", older[-1].name, older[-1].begun, 0)


def _timeline(
    chosen: Backup, backups: Sequence[Backup], restores: Sequence[Mapping[str, Any]], moment: float
) -> str:
    """Return the timeline on which the database was at a moment.

    Each restore begins a new timeline. A moment before it lies on the old one, although the archive
    knows the new one as well.
    """
    known = [int(each["timeline"]) for each in restores if float(each["at"]) <= moment]
    if restores:
        return str(max([chosen.timeline, *known[-1:]]))
    # A new host knows no restore of its predecessor; the next backup tells its timeline.
    return "latest" if chosen == backups[-1] else str(chosen.timeline)


def refuse_without_room(needed: int, free: int, where: str) -> None:
    """Refuse what would fill a disk.

    Raises:
        BackupError: it is too large.
    """
    wanted = int(needed * ROOM) + RESERVE
    if free < wanted:
        raise BackupError(
            f"{where} has {size(free)} free, and this needs {size(wanted)}. Make room; "
            "playbooks/restore.yml -e restore_forget=true removes what earlier restores have kept"
        )


# --- Words ----------------------------------------------------------------------------------------


def explain(output: str) -> str:
    """Return what the output of a tool means; its last lines where that is unknown."""
    visible = re.sub(r"[^\n\x20-\x7e]", "?", output)  # with a wrong key, a tool prints noise
    lines = [line.strip() for line in visible.splitlines() if line.strip()]
    for pattern, meaning in PROBLEMS:
        for line in lines:
            if re.search(pattern, line, re.IGNORECASE):
                return f"{meaning}. The tool said: {line[:300]}"
    return " ".join(lines[-4:])[-600:]


def shown(moment: float) -> str:
    """Return a time as the tables show it."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def precise(moment: float) -> str:
    """Return a time as PostgreSQL reads it, with its microseconds."""
    whole = datetime.fromtimestamp(0, timezone.utc) + timedelta(microseconds=round(moment * 1e6))
    return whole.strftime("%Y-%m-%d %H:%M:%S.%f+00")


def stamp(moment: float) -> str:
    """Return a time as a part of the name of a file."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def size(count: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Return a number of seconds in words."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def table(
    contents: Contents | None,
    snapshots: Sequence[Snapshot],
    status: Mapping[str, Any],
    kept: Sequence[str],
    where: str,
) -> str:
    """Return the table of all backups, and what can be restored.

    Args:
        contents: the backups of the database; None if it is not backed up.
        snapshots: those of the files.
        status: the content of status.json.
        kept: the paths that earlier restores have kept.
        where: the repository.
    """
    listed = contents.backups if contents else ()
    verified = _verified(status)
    rows = [ROW.format("NAME", "WHAT", "TAKEN", "SIZE", "VERIFIED")]
    for backup in listed:
        tested = backup.label == status.get("drill_backup")
        rows.append(
            ROW.format(
                backup.label, f"database, {backup.kind}",
                shown(backup.ended), size(backup.stored), verified if tested else "-",
            )
        )  # fmt: skip
    hidden = max(0, len(snapshots) - SHOWN)
    if hidden:
        rows.append(f"({hidden} older backups of files are not shown)")
    for snapshot in snapshots[-SHOWN:]:
        rows.append(ROW.format(snapshot.name, "files", shown(snapshot.begun), "-", "-"))
    told = ["\n".join(row.rstrip() for row in rows)]
    told += [f"The last try has failed: {text}" for text in status.get("problems", {}).values()]
    if listed and listed[0].kind == "dump":
        told.append("You can restore the database to each of these dumps.")
    elif listed:
        told.append(f"You can restore the database to each moment since {shown(listed[0].ended)}.")
    elif contents:
        told.append("There is no backup of the database yet.")
    if status.get("last_drill"):
        told.append(f"Drill of {shown(status['last_drill'])}: {status.get('drill_message', '')}")
    told += [f"Kept from before a restore: {path}" for path in kept]
    told.append(f"Repository: {where}." + warning_of(status, where))
    return "\n".join(told)


def _verified(status: Mapping[str, Any]) -> str:
    if not status.get("last_drill"):
        return "-"
    return shown(status["last_drill"]) if status.get("drill_ok") else "FAILED"


def warning_of(status: Mapping[str, Any], where: str) -> str:
    """Return a sentence if the backups are lost with the disk of the host; else nothing."""
    if status.get("survives_disk", True):
        return ""
    return (
        f" The backups in {where} do not survive the disk of this host: they help after a mistake, "
        "and not after a loss of the server. Set backup_repository to another place."
    )


def swaps(text: str) -> list[str]:
    """Return the files and partitions that the kernel swaps to; a zram is in the memory.

    Args:
        text: the content of /proc/swaps.
    """
    places = [line.split()[0] for line in text.splitlines()[1:]]
    return [place for place in places if not place.startswith("/dev/zram")]


# --- The status -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """The content of status.json, which monitoring reads.

    Attributes:
        since: since when this host makes backups.
        problems: why the last try of a command has failed, by the name of the command.
        last_backup: the time of the last backup of the database.
        last_backup_bytes: what it needs in the repository.
        last_drill: the time of the last test of a backup.
        drill_ok: whether that found no damage.
        drill_message: what that found.
        drill_backup: the label of the tested backup.
        survives_disk: whether the repository is on another disk than the data.
    """

    since: float = 0
    problems: dict[str, str] = field(default_factory=dict)
    last_backup: float = 0
    last_backup_bytes: int = 0
    last_drill: float = 0
    drill_ok: bool = False
    drill_message: str = ""
    drill_backup: str = ""
    survives_disk: bool = False


def updated_status(text: str, **values: Any) -> str:  # noqa: ANN401 - the fields of Status
    """Return the text of status.json with new values; a damaged text counts as empty.

    The values of `problems` are added to those that are known; an empty one ends a problem.
    """
    try:
        old = json.loads(text or "{}")
    except ValueError:
        old = {}
    known = asdict(Status())
    kept = {key: old[key] for key in known if isinstance(old, dict) and key in old}
    told = {**known, **kept, **values}
    problems = {**dict(kept.get("problems") or {}), **values.get("problems", {})}
    told["problems"] = {name: text for name, text in problems.items() if text}
    return json.dumps(told, indent=4) + "\n"
