"""Makes, lists, tests and restores the backups of a host, with pgBackRest and restic.

`backup_command` is the program that the timers of the role C(backup) start; the module C(backup)
imports this file. It runs as root and does nothing with data itself: each tool runs in a transient
unit of systemd with a sandbox, pgBackRest as the user of PostgreSQL, restic as a user that may read
all files and write to its repository only. `backups` decides.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import backups, files, units
from ansible_collections.clink.django_stack.plugins.module_utils.backups import BackupError

ETC = Path("/etc/django_stack/backup")
STATE = Path("/var/lib/django_stack/backup")
LIBRARY = Path("/usr/local/lib/django_stack")
STEP = "django_stack-backup-step-"  # the beginning of the name of each transient unit
DRILL = Path("/var/lib/postgresql/django_stack-drill")  # on the disk of the cluster, as a restore
FILES, DUMP = "files", "database"  # tags of restic
PGBACKREST = "/usr/bin/pgbackrest"
POSTGRES = "postgres"
READER = "django_stack-backup"  # runs restic
MODULE = "ansible_collections.clink.django_stack.plugins.module_utils"
TIMERS = [f"django_stack-backup@{command}.timer" for command in ("now", "files", "drill")]
NOW = "django_stack-backup@now.service"
LIMIT = 6 * 3600  # seconds for a step that moves all data
SHORT = 300  # seconds for a step that moves little
LISTING = 16 * 1024**2  # bytes of a list of backups
PATIENCE = 900.0  # seconds to wait for another backup
REPLAY = 6 * 3600.0  # seconds for the replay of the archive
SANDBOX: dict[str, Any] = {
    "CapabilityBoundingSet": "",
    "InaccessiblePaths": ["-/run/dbus"],
    "IOSchedulingClass": "idle",
    "LockPersonality": True,
    "LogLevelMax": "notice",
    "MemoryDenyWriteExecute": True,
    "Nice": 10,
    "NoNewPrivileges": True,
    "OOMScoreAdjust": 600,  # if memory runs out, the kernel ends a backup and no service
    "PrivateDevices": True,
    "PrivateMounts": True,
    "PrivateTmp": True,
    "ProtectClock": True,
    "ProtectControlGroups": True,
    "ProtectHome": True,
    "ProtectHostname": True,
    "ProtectKernelLogs": True,
    "ProtectKernelModules": True,
    "ProtectKernelTunables": True,
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces": True,
    "RestrictRealtime": True,
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    # pgBackRest gives its files to the user that it runs as.
    "SystemCallFilter": ["@system-service", "~@privileged @resources", "@chown"],
}
READS_ALL = {
    "AmbientCapabilities": "CAP_DAC_READ_SEARCH",
    "CapabilityBoundingSet": "CAP_DAC_READ_SEARCH",
    "EnvironmentFile": str(ETC / "restic.env"),  # systemd reads the key, no process list shows it
}


class Busy(BackupError):
    """Another process works on the same backups."""


class Host:
    """The backups of a host with a cluster of its own; subclasses have their database elsewhere."""

    reads: dict[str, Any] = {"SupplementaryGroups": POSTGRES}  # to read the SSH key

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Read the description, the content of config.json."""
        self.config = dict(config)
        self.name = str(self.config["name"])
        self.cluster = Path(self.config["cluster"])
        self.place = backups.place_of(str(self.config["repository"]), self.name)
        self.directories = [Path(each) for each in self.config["directories"]]
        self.files = [Path(each) for each in self.config["files"]]

    @property
    def data(self) -> Path:
        """The directory whose disk the repository should not share."""
        return self.cluster.parent

    # --- Steps -----------------------------------------------------------------------------------

    def step(
        self,
        name: str,
        user: str,
        command: Sequence[str],
        *,
        writes: Sequence[Path] = (),
        limit: int = SHORT,
        kept: int = units.KEPT,
        properties: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> units.Result:
        """Run a command in a sandbox as a user, to its end."""
        repository = [f"-{self.place.directory}"] if self.place.directory else []
        paths = [str(path) for path in [*writes, "-/run/pgbackrest", *repository]]
        command = units.transient(
            f"{STEP}{name}-{os.getpid()}.service", user, "/", command,
            properties={**SANDBOX, **(properties or {}), "ReadWritePaths": paths},
            variables=variables or {}, limit=limit,
        )  # fmt: skip
        return units.run(command, limit + 30, kept)

    def settle(self) -> None:
        """Stop the steps of a run that was cut off; both locks are held."""
        units.systemctl("stop", f"{STEP}*.service")

    def must(self, done: units.Result, what: str) -> str:
        """Return the output of a step.

        Raises:
            BackupError: it failed.
        """
        if done.code:
            raise BackupError(f"{what} failed: {backups.explain(done.output)}")
        return done.output

    def pgbackrest(self, command: str, *options: str, writes: Sequence[Path] = (),
                   limit: int = LIMIT, kept: int = units.KEPT) -> units.Result:  # fmt: skip
        """Run pgBackRest as the user of PostgreSQL."""
        self.require_key()
        return self.step(
            f"database-{command}", POSTGRES,
            [PGBACKREST, f"--config={ETC}/pgbackrest.conf", f"--stanza={self.name}",
             *options, command],
            writes=[*writes, Path("-/var/lib/pgbackrest")], limit=limit, kept=kept,
        )  # fmt: skip

    def restic(self, command: str, *options: str, writes: Sequence[Path] = (),
               limit: int = LIMIT, kept: int = units.KEPT) -> units.Result:  # fmt: skip
        """Run restic as the user that reads all files."""
        self.require_key()
        cache = STATE / "cache"
        return self.step(
            f"files-{command}", READER, [*self.restic_line(), command, *options],
            writes=[cache, *writes], limit=limit, kept=kept, properties={**READS_ALL, **self.reads},
            variables={
                "RESTIC_CACHE_DIR": str(cache), "GOGC": "20", "GOMAXPROCS": "1",
                "TZ": "UTC",  # of the option --time
            },
        )  # fmt: skip

    def require_key(self) -> None:
        """Refuse to work without the key, which is lost in a reboot if only the memory has it.

        Raises:
            BackupError: the key is missing.
        """
        if not (ETC / "restic.env").exists():
            raise BackupError(
                "The key of the backups is missing since this host has started, because "
                "backup_key_storage is memory. Run site.yml --tags backup"
            )

    def restic_line(self) -> list[str]:
        """Return restic with the options that all its commands have."""
        line = ["/usr/bin/restic", "--quiet"]
        if self.place.ssh:
            ssh = [
                "ssh", "-i", f"{ETC}/ssh_key", "-o", f"UserKnownHostsFile={ETC}/known_hosts",
                "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes",
                "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", *self.place.ssh, "-s", "sftp",
            ]  # fmt: skip
            line += ["-o", f"sftp.command={' '.join(ssh)}"]
        return line

    def sql(self, query: str, limit: int = SHORT) -> units.Result:
        """Ask the cluster as its superuser."""
        program = f"/usr/lib/postgresql/{self.config['version']}/bin/psql"
        psql = [program, "-XAtq", "-v", "ON_ERROR_STOP=1", "-p", str(self.config["port"]),
                "-d", "postgres", "-c", query]  # fmt: skip
        return self.step("sql", POSTGRES, psql, limit=limit)

    @contextmanager
    def locked(self, what: str, patience: float = PATIENCE) -> Iterator[None]:
        """Hold the lock of the backups of the `database` or of the `files`.

        Raises:
            Busy: another process holds it for longer than `patience` seconds.
        """
        descriptor = os.open(STATE / f"{what}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        deadline = time.monotonic() + patience
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        raise Busy(f"Another backup or restore of the {what} runs") from error
                    time.sleep(0.5)
            yield
        finally:
            os.close(descriptor)

    # --- The status ------------------------------------------------------------------------------

    def read(self, name: str) -> str:
        """Return the text of a file of the state; empty if it is missing."""
        with suppress(FileNotFoundError):
            return (STATE / name).read_text(encoding="utf-8")
        return ""

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Replace a file of the state as a whole."""
        files.replace(STATE / name, text, mode)

    def record(self, **values: Any) -> None:  # noqa: ANN401 - the fields of backups.Status
        """Write values into status.json."""
        values["survives_disk"] = self.survives_disk()
        with self.locked("status", 60):
            known = self.read("status.json")
            text = backups.updated_status(known, **values)
            if text != known:
                self.write("status.json", text)

    def survives_disk(self) -> bool:
        """Return whether the repository is on another disk than the cluster."""
        if not self.place.directory:
            return True
        with suppress(OSError):
            return os.stat(self.place.directory).st_dev != os.stat(self.data).st_dev
        return False

    def swaps(self) -> list[str]:
        """Return where the kernel may write a key to the disk that only the memory should have."""
        if not (ETC / "restic.env").is_symlink():
            return []
        return backups.swaps(Path("/proc/swaps").read_text(encoding="utf-8"))

    def status(self) -> dict[str, Any]:
        """Return the content of status.json."""
        told = json.loads(backups.updated_status(self.read("status.json")))
        return {**told, "survives_disk": self.survives_disk()}

    def contents(self) -> backups.Contents:
        """Return the backups of the database."""
        done = self.pgbackrest("info", "--output=json", "--log-level-console=off",
                               limit=SHORT, kept=LISTING)  # fmt: skip
        return backups.parse_info(self.must(done, "The list of backups"), self.name)

    def snapshots(self) -> tuple[backups.Snapshot, ...]:
        """Return the backups of the files."""
        return backups.parse_snapshots(self.tagged(FILES))

    def tagged(self, tag: str) -> str:
        """Return what restic lists of a tag."""
        done = self.restic("snapshots", "--json", "--no-lock", "--host", self.name, "--tag", tag,
                           limit=SHORT, kept=LISTING)  # fmt: skip
        return self.must(done, "The list of file backups")

    def restores(self) -> list[dict[str, Any]]:
        """Return the restores of this host, the oldest first."""
        return list(json.loads(self.read("restores.json") or "[]"))

    def system(self) -> int:
        """Return the number of this host's cluster; 0 if it does not run."""
        done = self.sql("select system_identifier from pg_control_system()")
        return int(done.output) if not done.code and done.output.strip().isdigit() else 0

    # --- Make ------------------------------------------------------------------------------------

    def digest(self) -> str:
        """Return the digest of the description, after whose change the host is prepared again."""
        names = ("config.json", "database.env", "pgbackrest.conf", "restic.env")
        described = [path for path in (ETC / name for name in names) if path.exists()]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in described]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def stopped_timers(self) -> list[str]:
        """Return the timers that do not run."""
        shown = units.show_all(TIMERS, "Id", "ActiveState")
        return [each["Id"] for each in shown if each["ActiveState"] != "active"]

    def start_timers(self) -> None:
        """Start the timers now and at boot."""
        self.must(units.systemctl("enable", "--now", *TIMERS), "The start of the timers")

    def initialise(self) -> bool:
        """Make the repositories, if there are none, and start the timers.

        The timers of a blank host start only after the restore of its predecessor's data. Else its
        own empty directories would be the newest backup.

        Returns:
            Whether the repository holds a backup of the database.

        Raises:
            BackupError: the repositories cannot be made or opened.
        """
        try:
            self.prepare_database()
            if self.restic("cat", "config", limit=SHORT).code:
                done = self.restic("init", limit=SHORT)
                self.must(done, "The preparation of the repository of the files")
            there = self.has_backups()
        except BackupError as error:
            self.record(problems={"site.yml": str(error)})
            raise
        self.begin()
        self.write("ready", self.digest())
        return there

    def begin(self) -> None:
        """Start the timers, and the time after which a missing backup is a problem."""
        self.start_timers()
        since = self.status()["since"] or time.time()
        self.record(since=since, problems={"site.yml": ""})

    def prepare_database(self) -> None:
        """Make the repository of the database, if there is none."""
        self.must(
            self.pgbackrest("stanza-create", "--log-level-console=warn", limit=SHORT),
            "The preparation of the repository of the database",
        )

    def has_backups(self) -> bool:
        """Return whether there is a backup already, so that the first one is not due."""
        return bool(self.contents().backups)

    def take_database(self) -> None:
        """Back up the database, and remove what is older than the retention."""
        with self.locked("database"):
            before = self.contents()
            kind = backups.due_kind(before, time.time())
            done = self.pgbackrest("backup", f"--type={kind}", "--log-level-console=warn")
            self.must(done, "The backup of the database")
            newest = self.contents().backups[-1]
            self.record(last_backup=newest.ended, last_backup_bytes=newest.stored)

    def take_files(self, patience: float = PATIENCE, always: bool = True) -> bool:
        """Back up the files, if one has changed since the last time; return whether one has."""
        self.require_key()
        with self.locked("files", patience):
            begun = time.time()
            paths = [str(path) for path in [*self.directories, *self.files] if path.exists()]
            if not paths:
                return False
            last = float(self.read("files") or 0)
            changed = always or not last
            if not changed:
                # A new name and a removed one change the directory, new content the file.
                find = ["/usr/bin/find", *paths, "-newerct", f"@{last:.6f}", "-print", "-quit"]
                done = self.step("files-find", READER, find, properties={**READS_ALL, **self.reads})
                changed = bool(done.output.strip())
            if changed:
                options = ["--host", self.name, "--tag", FILES, "--", *paths]
                self.must(self.restic("backup", *options), "The backup of the files")
                self.write("files", f"{begun:.6f}")
            return changed

    def parents(self) -> list[Path]:
        """Return the directories that hold the directories, each once."""
        return list(dict.fromkeys(path.parent for path in self.directories))

    def tidy_files(self) -> None:
        """Remove the backups of files that are older than the retention."""
        days = int(self.config["keep_days"])
        with self.locked("files"):
            self.restic("unlock", limit=SHORT)  # removes locks of processes that have died
            for tag in (FILES, DUMP):  # their labels are apart, so each keeps its newest one
                done = self.restic(
                    "forget", "--host", self.name, "--tag", tag, "--group-by", "host",
                    "--keep-within", "2d", "--keep-within-hourly", f"{days}d", "--keep-last", "1",
                )  # fmt: skip
                self.must(done, "The removal of old backups of files")
            self.must(self.restic("prune"), "The removal of old backups of files")

    def take(self) -> None:
        """Make all backups now, so that the database and the files fit each other."""
        self.take_files()
        self.take_database()
        self.tidy_files()

    # --- Test ------------------------------------------------------------------------------------

    def drill(self) -> str:
        """Restore the newest backup into a scratch cluster, check it and remove it.

        Returns:
            What was found, in a sentence.

        Raises:
            BackupError: the backup cannot be restored, or is damaged.
        """
        begun = time.time()
        try:
            with self.locked("database"):
                told, newest = self._drill_database()
            told += self._check_files()
            told = f"{told} All this took {time.time() - begun:.0f} s."
            self.record(
                last_drill=time.time(), drill_ok=True, drill_message=told, drill_backup=newest
            )
        except BackupError as error:
            self.record(last_drill=time.time(), drill_ok=False, drill_message=str(error))
            raise
        return told

    def _drill_database(self) -> tuple[str, str]:
        contents = self.contents()
        if not contents.backups:
            raise BackupError("There is no backup to test")
        newest = contents.backups[-1]
        backups.refuse_without_room(newest.size, shutil.disk_usage(DRILL).free, str(DRILL))
        self._clear_drill()
        try:
            begun = time.monotonic()
            self._make_directory(DRILL / "cluster")
            self.must(
                self.pgbackrest(
                    "restore", f"--pg1-path={DRILL}/cluster", "--archive-mode=off", "--job-retry=1",
                    f"--set={newest.label}", "--type=default", "--log-level-console=warn",
                    writes=[DRILL],
                ),
                f"The restore of {newest.label}",
            )  # fmt: skip
            command = [
                "/usr/bin/python3", "-s", "-m", f"{MODULE}.backup_scratch",
                str(self.config["version"]), str(DRILL / "cluster"),
            ]  # fmt: skip
            done = self.step("drill", POSTGRES, command, writes=[DRILL], limit=LIMIT,
                             variables={"PYTHONPATH": str(LIBRARY)})  # fmt: skip
            lines = self.must(done, f"The test of {newest.label}").strip().splitlines()
            found = json.loads(lines[-1])
            seconds = time.monotonic() - begun
        finally:
            self._clear_drill()
        self._verify()
        age = time.time() - max(float(found["newest"] or 0), newest.ended)
        return (
            f"{newest.label} was restored and checked in {seconds:.0f} s: {found['tables']} tables "
            f"with {found['rows']} rows, the newest change {backups.duration(age)} old, no damage.",
            newest.label,
        )

    def _make_directory(self, path: Path) -> None:
        """Make the directory of a cluster."""
        done = self.step("mkdir", POSTGRES, ["/usr/bin/mkdir", "--mode=0700", str(path)],
                         writes=[path.parent])  # fmt: skip
        self.must(done, f"The directory {path}")

    def _clear_drill(self) -> None:
        self.step("drill-clear", POSTGRES,
                  ["/usr/bin/find", str(DRILL), "-mindepth", "1", "-delete"],
                  writes=[DRILL])  # fmt: skip

    def _verify(self) -> None:
        """Compare the checksums of all files of the repository of the database."""
        done = self.pgbackrest("verify", "--output=text", "--log-level-console=off")
        if "status: error" in self.must(done, "The verification of the repository"):
            raise BackupError(f"The repository of the database is damaged: {done.output.strip()}")

    def _check_files(self) -> str:
        """Check the structure of the repository of files, and a seventh of its data each day."""
        part = time.gmtime().tm_wday + 1
        with self.locked("files"):
            done = self.restic("check", f"--read-data-subset={part}/7")
            self.must(done, "The check of the repository of the files")
        return " The repository of the files is whole."

    # --- List ------------------------------------------------------------------------------------

    def listed(self) -> str:
        """Return the table of all backups."""
        kept = [path for each in self.restores() for path in each.get("kept", [])]
        return backups.table(
            self.listable(), self.snapshots(), self.status(), kept, str(self.config["repository"])
        )

    def listable(self) -> backups.Contents | None:
        """Return the backups of the database; None if it is not backed up."""
        return self.contents()

    # --- Restore ---------------------------------------------------------------------------------

    def planned(self, to: str, database: bool) -> backups.Plan:
        """Choose the backups for a moment or a name, with those of the database or without."""
        contents = self.listable() if database else None
        return backups.plan(to, contents, self.snapshots(), self.restores(), time.time())

    def journal(self) -> dict[str, Any]:
        """Return the restore that was begun and has not ended; empty if there is none."""
        return dict(json.loads(self.read("restore.json") or "{}"))

    @property
    def restoring(self) -> Path:
        """The directory of the restored cluster, until it takes its place."""
        return self.cluster.with_name(f"{self.cluster.name}.restoring")

    def fetch(self, to: str, database: bool = True) -> dict[str, Any]:
        """Restore the files, and the database, beside those in use; return the journal.

        Raises:
            BackupError: it is impossible, or another restore has to be completed first.
        """
        self.settle()
        begun = self.journal()
        if begun.get("swapping"):
            if begun["plan"]["to"] != to:
                raise BackupError(
                    f"A restore to {begun['plan']['to']} was cut off while it exchanged the data. "
                    "Complete it first: run playbooks/restore.yml with this restore_to"
                )
            return begun
        plan = self.planned(to, database)
        if plan.backup:
            self._prepare_fetch(plan)
        journal = {
            "plan": vars(plan), "swapping": False, "at": time.time(),
            "kept": backups.stamp(time.time()),
        }  # fmt: skip
        self.write("restore.json", json.dumps(journal), 0o600)
        self._discard()
        if plan.backup:
            self._fetch_database(plan)
        if plan.snapshot:
            self._fetch_files(plan)
        return journal

    def _prepare_fetch(self, plan: backups.Plan) -> None:
        if self.system() == self.contents().system:
            # The last changes go to the archive, so that the moment before is not lost.
            self.pgbackrest("check", "--archive-timeout=60", "--log-level-console=off", limit=SHORT)
        backups.refuse_without_room(
            plan.size, shutil.disk_usage(self.cluster.parent).free, str(self.cluster.parent)
        )

    def _fetch_database(self, plan: backups.Plan) -> None:
        self._make_directory(self.restoring)
        # The command that pgBackRest writes would name the directory before the exchange.
        read = (
            f'{PGBACKREST} --config={ETC}/pgbackrest.conf --stanza={self.name} archive-get %f "%p"'
        )
        self.must(
            self.pgbackrest(
                "restore", f"--pg1-path={self.restoring}", *plan.options(),
                f"--recovery-option=restore_command={read}",
                "--log-level-console=warn", writes=[self.cluster.parent],
            ),
            "The restore of the database",
        )  # fmt: skip

    def _fetch_files(self, plan: backups.Plan) -> None:
        account = pwd.getpwnam(READER)
        for parent in self.parents():
            if os.stat(parent).st_uid != 0:
                raise BackupError(f"{parent} should belong to root, and does not")
            place = self.staging(parent)
            os.mkdir(place, 0o700)
            os.chown(place, account.pw_uid, account.pw_gid)
            below = [str(path) for path in self.directories if path.parent == parent]
            told = self.must(
                self.restic("stats", "--json", "--no-lock", plan.snapshot, limit=SHORT),
                "The size of the files",
            )
            needed = int(json.loads(told[told.index("{") :])["total_size"])
            backups.refuse_without_room(needed, shutil.disk_usage(parent).free, str(parent))
            included = [word for path in below for word in ("--include", path)]
            self.must(
                self.restic("restore", plan.snapshot, "--target", str(place), *included,
                            writes=[place]),
                "The restore of the files",
            )  # fmt: skip

    @staticmethod
    def staging(parent: Path) -> Path:
        """Return the directory of restored files, until they take their place."""
        return parent / ".django_stack-restoring"

    @staticmethod
    def keeping(parent: Path, stamp: str) -> Path:
        """Return the directory of the files from before a restore."""
        return parent / f".django_stack-before-{stamp}"

    def remove(self, path: Path) -> None:
        """Remove a directory of root's; rm(1) follows no link and no mount."""
        done = units.run(["/usr/bin/rm", "-rf", "--one-file-system", "--", str(path)], LIMIT)
        self.must(done, f"The removal of {path}")

    def _remove_cluster(self, path: Path) -> None:
        command = ["/usr/bin/rm", "-rf", "--one-file-system", "--", str(path)]
        done = self.step("cluster-rm", POSTGRES, command, writes=[self.cluster.parent])
        self.must(done, f"The removal of {path}")

    def _move_cluster(self, old: Path, new: Path) -> None:
        done = self.step("cluster-mv", POSTGRES, ["/usr/bin/mv", "-T", str(old), str(new)],
                         writes=[self.cluster.parent])  # fmt: skip
        self.must(done, f"The move of {old}")

    def _discard(self) -> None:
        """Remove what an interrupted restore has fetched."""
        self._remove_cluster(self.restoring)
        self._discard_files()

    def _discard_files(self) -> None:
        for parent in self.parents():
            self.remove(self.staging(parent))

    def before(self, stamp: str) -> Path:
        """Return the directory of the cluster from before a restore."""
        return self.cluster.with_name(f"{self.cluster.name}.before-{stamp}")

    def exchange(self, journal: dict[str, Any]) -> None:
        """Put the restored data in place of those in use.

        Raises:
            BackupError: the restored database does not work; the old one is in place again.
        """
        self.settle()
        journal["swapping"] = True
        self.write("restore.json", json.dumps(journal), 0o600)
        if journal["plan"]["backup"]:
            self.exchange_database(journal)
        self.exchange_files(journal)

    def abandon(self) -> None:
        """End a restore whose old data are in place again."""
        self._discard()
        (STATE / "restore.json").unlink()

    def exchange_database(self, journal: dict[str, Any]) -> None:
        """Put the restored cluster in place of the one in use, and wait until it has recovered.

        Raises:
            BackupError: it does not recover; the old one is in place again.
        """
        service, before = str(self.config["service"]), self.before(journal["kept"])
        if self.restoring.exists():
            self._stop(service)
            if self.cluster.exists():
                self._move_cluster(self.cluster, before)
            self._move_cluster(self.restoring, self.cluster)
        try:
            self._start(service)
        except BackupError:
            if before.exists():
                self._stop(service)
                self._move_cluster(self.cluster, self.restoring)
                self._move_cluster(before, self.cluster)
                units.systemctl("start", service, limit=REPLAY)
            self.abandon()
            raise

    def _stop(self, service: str) -> None:
        done = units.systemctl("stop", service, limit=600)
        self.must(done, f"The stop of {service}")

    def _start(self, service: str) -> None:
        """Start PostgreSQL and wait until it has replayed the archive."""
        begun = time.time()
        done = units.systemctl("start", service, limit=REPLAY)
        deadline = time.monotonic() + REPLAY
        while time.monotonic() < deadline:
            told = self.sql("select pg_is_in_recovery()")
            if not told.code and told.output.strip() == "f":
                return
            state = units.show(service, "ActiveState", "NRestarts")
            if state.get("ActiveState") in ("failed", "inactive") or state.get("NRestarts") != "0":
                break
            time.sleep(0.5)
        version = self.config["version"]
        log = f"/var/log/postgresql/postgresql-{version}-{self.cluster.name}.log"
        said = self.step("log", POSTGRES, ["/usr/bin/tail", "-n", "30", log]).output
        said = said or units.journal(service, begun) or done.output
        raise BackupError(
            "The restored database does not start, and the old one is in place again: "
            + backups.explain(said)
        )

    def exchangeable_files(self, journal: Mapping[str, Any]) -> list[tuple[Path, Path, Path]]:
        """Return for each restored directory its path now, its place and that of the old one."""
        found = []
        for path in self.directories:
            new = Path(f"{self.staging(path.parent)}{path}")
            if new.is_dir() and not new.is_symlink():
                kept = self.keeping(path.parent, journal["kept"])
                found.append((new, path, kept / path.name))
        return found

    def exchange_files(self, journal: Mapping[str, Any]) -> None:
        """Put the restored directories in place of those in use."""
        for new, path, kept in self.exchangeable_files(journal):
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            if path.exists() and not kept.exists():
                os.rename(path, kept)
            os.rename(new, path)

    def complete(self, journal: Mapping[str, Any]) -> str:
        """Write down the restore, and return what it has done."""
        kept = [self.before(journal["kept"]), *(
            self.keeping(parent, journal["kept"]) for parent in self.parents()
        )]  # fmt: skip
        there = [str(path) for path in kept if path.exists()]
        entry = {
            "at": time.time(), "to": journal["plan"]["to"], "timeline": self.timeline(),
            "kept": there,
        }  # fmt: skip
        self.write("restores.json", json.dumps([*self.restores(), entry], indent=4) + "\n")
        self._discard_files()
        (STATE / "restore.json").unlink()
        there += [f"the backup {label}" for label in [journal.get("before")] if label]
        report = (
            f"{backups.Plan(**journal['plan']).report()} The state before is kept in "
            f"{', '.join(there) or 'no place'}."
        )
        try:
            self.initialise()
        except BackupError as error:
            return f"{report} No backup is made on this host. {error}"
        # A backup of the new timeline, which later restores begin with.
        units.systemctl("start", "--no-block", NOW)
        return report

    def timeline(self) -> int:
        """Return the timeline on which the database is now; a restore has begun it."""
        told = self.must(
            self.sql("select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"), "The timeline"
        )
        return int(told.strip(), 16)

    def forget(self) -> list[str]:
        """Remove what earlier restores have kept or left; return the paths of what was kept."""
        entries = self.restores()
        removed = []
        if not self.journal().get("swapping"):
            self._discard()
        for entry in entries:
            for path in map(Path, entry.get("kept", [])):
                if path.parent == self.cluster.parent:
                    self._remove_cluster(path)
                else:
                    self.remove(path)
                removed.append(str(path))
            entry["kept"] = []
        if removed:
            self.write("restores.json", json.dumps(entries, indent=4) + "\n")
        return removed
