"""The backups of a host whose database is on another server, or that has none.

pg_dump writes a dump into a directory that only the user of restic reads, and restic backs it up
beside the files. The dump is not compressed: restic does that, and stores once what two dumps have
in common. A restore replaces the content of the database in one transaction, so that it is there as
a whole or not at all.
"""

from __future__ import annotations

import json
import shutil
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import backups, units
from ansible_collections.clink.django_stack.plugins.module_utils.backup_host import (
    DUMP,
    ETC,
    LIBRARY,
    LIMIT,
    MODULE,
    READER,
    SHORT,
    STATE,
    Host,
)
from ansible_collections.clink.django_stack.plugins.module_utils.backups import BackupError

SPACE = STATE / "dump"  # belongs to the user of restic, and is empty between two commands
FILE = SPACE / "database.dump"
RESTORED = Path(f"{SPACE}{FILE}")  # restic restores a file with all directories above it


class Elsewhere(Host):
    """The backups of a host without a cluster: of files, and of a database by its dumps."""

    reads: dict[str, Any] = {}

    @property
    def dumped(self) -> bool:
        """Whether there is a database whose dumps are made."""
        return bool(self.config["database"] == "dump")

    @property
    def data(self) -> Path:
        """The directory whose disk the repository should not share."""
        return next(iter(self.parents()), STATE)

    def client(self, program: str, *arguments: str, limit: int = LIMIT) -> units.Result:
        """Run a program of PostgreSQL with the login of the database in its environment."""
        path = f"/usr/lib/postgresql/{self.config['version']}/bin/{program}"
        return self.step(
            f"database-{program}", READER, [path, *arguments], writes=[SPACE], limit=limit,
            properties={"EnvironmentFile": str(ETC / "database.env")},
        )  # fmt: skip

    def sql(self, query: str, limit: int = SHORT) -> units.Result:
        """Ask the database."""
        return self.client("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", query, limit=limit)

    def clear(self) -> None:
        """Remove what a command has left in the space for dumps."""
        self.step("dump-clear", READER, ["/usr/bin/find", str(SPACE), "-mindepth", "1", "-delete"],
                  writes=[SPACE])  # fmt: skip

    # --- Make ------------------------------------------------------------------------------------

    def prepare_database(self) -> None:
        """Refuse a new host that would make its own empty directories the newest backup.

        Raises:
            BackupError: the repository has backups, of which this host has made and restored none.
        """
        known = self.read("ready") or self.restores()
        if not known and not self.restic("cat", "config", limit=SHORT).code and self.snapshots():
            raise BackupError(
                "The repository holds the backups of another host, such as this host's "
                "predecessor. Run playbooks/restore.yml to get its data back (with "
                "-e restore_database=false only the files), or choose another backup_repository"
            )

    def has_backups(self) -> bool:
        """Return whether there is a backup already, so that the first one is not due."""
        return bool(self.contents().backups if self.dumped else self.snapshots())

    def contents(self) -> backups.Contents:
        """Return the dumps of the database."""
        return backups.parse_dumps(self.tagged(DUMP) if self.dumped else "[]")

    def listable(self) -> backups.Contents | None:
        """Return the dumps of the database; None if it is not backed up."""
        return self.contents() if self.dumped else None

    def take_database(self) -> None:
        """Dump the database into the repository."""
        if not self.dumped:
            self.record(last_backup=time.time())
            return
        with self.locked("database"):
            newest = self.dump()
            self.record(last_backup=newest.ended, last_backup_bytes=newest.size)

    def dump(self) -> backups.Backup:
        """Dump the database into the repository; return the new backup.

        Raises:
            BackupError: the database or the repository does not answer, or the disk is too small.
        """
        self.clear()
        told = self.must(self.sql("select pg_database_size(current_database())"),
                         "The dump of the database")  # fmt: skip
        backups.refuse_without_room(int(told), shutil.disk_usage(SPACE).free, str(SPACE))
        begun = datetime.now(timezone.utc)
        try:
            self.must(
                self.client("pg_dump", "--format=custom", "--compress=0", f"--file={FILE}"),
                "The dump of the database",
            )
            size = self.must(self.step("dump-size", READER, ["/usr/bin/stat", "-c%s", str(FILE)]),
                             "The size of the dump")  # fmt: skip
            self.must(
                self.restic(
                    "backup", "--host", self.name, "--tag", f"{DUMP},bytes={size.strip()}",
                    "--time", f"{begun:%Y-%m-%d %H:%M:%S}", "--", str(FILE),
                ),
                "The backup of the database",
            )  # fmt: skip
        finally:
            self.clear()
        return self.contents().backups[-1]

    def take(self) -> None:
        """Make all backups now; the files last, so that each row of the dump has its file."""
        self.take_database()
        self.take_files()
        self.tidy_files()

    # --- Test ------------------------------------------------------------------------------------

    def _drill_database(self) -> tuple[str, str]:
        if not self.dumped:
            return "No database is backed up.", ""
        contents = self.contents()
        if not contents.backups:
            raise BackupError("There is no backup to test")
        newest = contents.backups[-1]
        programs = Path("/usr/lib/postgresql", str(self.config["version"]), "bin")
        server = (programs / "postgres").exists()
        backups.refuse_without_room(
            newest.size * (3 if server else 1), shutil.disk_usage(SPACE).free, str(SPACE)
        )
        begun = time.monotonic()
        try:
            self.unpack(newest.label)
            if not server:
                done = self.client("pg_restore", "--file=/dev/null", str(RESTORED))
                self.must(done, f"The test of {newest.label}")
                return (
                    f"{newest.label} was restored and read to its end in "
                    f"{time.monotonic() - begun:.0f} s. It was not loaded into a database: this "
                    f"host has no server of PostgreSQL {self.config['version']}.",
                    newest.label,
                )
            command = [
                "/usr/bin/python3", "-s", "-m", f"{MODULE}.backup_scratch",
                str(self.config["version"]), str(SPACE / "cluster"), str(RESTORED),
            ]  # fmt: skip
            done = self.step("drill", READER, command, writes=[SPACE], limit=LIMIT,
                             variables={"PYTHONPATH": str(LIBRARY)})  # fmt: skip
            lines = self.must(done, f"The test of {newest.label}").strip().splitlines()
            found = json.loads(lines[-1])
        finally:
            self.clear()
        return (
            f"{newest.label} was restored and checked in {time.monotonic() - begun:.0f} s: "
            f"{found['tables']} tables with {found['rows']} rows, the dump "
            f"{backups.duration(time.time() - newest.ended)} old, no damage.",
            newest.label,
        )

    def unpack(self, label: str) -> None:
        """Restore a dump from the repository into the space for dumps.

        Raises:
            BackupError: it cannot be read.
        """
        self.clear()
        self.must(
            self.restic(
                "restore", label, "--target", str(SPACE), "--include", str(FILE), writes=[SPACE]
            ),
            f"The restore of {label}",
        )

    # --- Restore ---------------------------------------------------------------------------------

    def _prepare_fetch(self, plan: backups.Plan) -> None:
        """Refuse a restore whose dump does not fit on the disk."""
        backups.refuse_without_room(plan.size, shutil.disk_usage(SPACE).free, str(SPACE))

    def _fetch_database(self, plan: backups.Plan) -> None:
        """Test that the dump can be read; it is fetched again when it is loaded."""
        self.unpack(plan.backup)
        self.must(
            self.client("pg_restore", "--file=/dev/null", str(RESTORED)), "The test of the dump"
        )

    def _discard(self) -> None:
        self.clear()
        self._discard_files()

    def before(self, stamp: str) -> Path:
        """Return a path that does not exist: the state before is a dump in the repository."""
        return SPACE / stamp

    def timeline(self) -> int:
        """Return 0: dumps have no timelines."""
        return 0

    def exchange_database(self, journal: dict[str, Any]) -> None:
        """Replace the content of the database in one transaction, after a dump of what it has.

        Raises:
            BackupError: this failed; the database has its old content.
        """
        if journal.get("loaded"):
            return
        try:
            self.load(journal)
        except BackupError:
            self.abandon()
            raise
        journal["loaded"] = True
        self.write("restore.json", json.dumps(journal), 0o600)
        self.clear()

    def load(self, journal: dict[str, Any]) -> None:
        """Dump what the database has, once, and replace it with the dump of the plan.

        Raises:
            BackupError: this failed; the database has its old content.
        """
        if not journal.get("before"):
            journal["before"] = self.dump().label
            self.write("restore.json", json.dumps(journal), 0o600)
        self.unpack(journal["plan"]["backup"])
        command = [
            "/usr/bin/python3", "-s", "-m", f"{MODULE}.backup_load",
            str(self.config["version"]), str(RESTORED),
        ]  # fmt: skip
        done = self.step(
            "database-load", READER, command, writes=[SPACE], limit=LIMIT,
            properties={"EnvironmentFile": str(ETC / "database.env")},
            variables={"PYTHONPATH": str(LIBRARY)},
        )  # fmt: skip
        self.must(done, "The restore of the database, which has its old content,")
