"""Starts a restored cluster apart from the one in use, checks it, and prints what it found as JSON.

With a dump it makes an empty cluster first, and loads the dump into it. It runs as the user that
the cluster belongs to, in a transient unit, which ends all that it has started:

    python3 -m ...backup_scratch 17 /var/lib/postgresql/django_stack-drill/cluster
    python3 -m ...backup_scratch 17 /var/lib/django_stack/backup/dump/cluster /.../database.dump
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.clink.django_stack.plugins.module_utils import units

REPLAY = 6 * 3600.0  # seconds for the replay of the archive
PORT = "54329"  # a name of the socket: the cluster listens on no address
# Small, and without durability: nothing of it stays. They are given as options, which precede the
# settings of the cluster that was backed up.
SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "hot_standby": "off",  # so that the limits of the server that made the backup do not count
    "archive_mode": "off",
    "shared_buffers": "16MB",
    "maintenance_work_mem": "16MB",
    "max_connections": "10",
    "max_worker_processes": "4",
    "max_wal_size": "64MB",
    "fsync": "off",
    "autovacuum": "off",
    "jit": "off",
    "shared_preload_libraries": "",
}
# For each database its tables and rows; psql runs what the first query makes.
ROWS = r"""
select format('select %L, count(*) from %I.%I', 'rows', n.nspname, c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm') and n.nspname not like 'pg\_%' and n.nspname <> 'information_schema'
\gexec
"""


class ScratchError(Exception):
    """The restored cluster is not good; the text says why."""


class Scratch:
    """A restored cluster that runs beside the one in use."""

    def __init__(self, version: str, cluster: Path) -> None:
        """Write the files without which the server does not start."""
        self.programs = Path("/usr/lib/postgresql", version, "bin")
        self.cluster, self.own = cluster, cluster.parent
        self.log = self.own / "log"
        for name, text in (("hba", "local all all peer\n"), ("ident", ""), ("config", "")):
            (self.own / name).write_text(text)

    def command(self) -> list[str]:
        """Return the command line of the server, with settings that lead to nothing outside."""
        settings = {
            "config_file": f"{self.own}/config",
            "hba_file": f"{self.own}/hba",
            "ident_file": f"{self.own}/ident",
            "unix_socket_directories": str(self.own),
            **SETTINGS,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.cluster), *options]

    def psql(self, database: str, text: str) -> list[str]:
        """Return the lines that psql prints for a script.

        Raises:
            ScratchError: a query fails.
        """
        done = subprocess.run(
            [str(self.programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.own),
             "-p", PORT, "-d", database],
            input=text, capture_output=True, text=True, check=False,
            env={**os.environ, "PGOPTIONS": f"--search_path={units.SAFE_PATH}"},
        )  # fmt: skip
        if done.returncode:
            raise ScratchError(f"{database}: {done.stderr.strip()[-500:]}")
        return done.stdout.splitlines()

    def initialise(self) -> None:
        """Make an empty cluster, for a dump.

        Raises:
            ScratchError: this is impossible.
        """
        self.run("initdb", "--auth=peer", "--encoding=UTF8", "--no-locale", "--no-sync",
                 f"--pgdata={self.cluster}")  # fmt: skip

    def load(self, dump: Path) -> None:
        """Load a dump.

        Raises:
            ScratchError: a part of it cannot be loaded.
        """
        self.psql("postgres", "create database dump template template0")
        self.run("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--dbname=dump",
                 f"--host={self.own}", f"--port={PORT}", str(dump))  # fmt: skip

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL.

        Raises:
            ScratchError: it fails.
        """
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ScratchError(f"{program}: {done.stderr.strip()[-800:]}")

    def wait(self, server: subprocess.Popen[bytes]) -> None:
        """Wait until the server has replayed the archive.

        Raises:
            ScratchError: it ends, or takes too long.
        """
        deadline = time.monotonic() + REPLAY
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise ScratchError(self.log.read_text(errors="replace")[-1500:])
            try:
                if self.psql("postgres", "select pg_is_in_recovery()") == ["f"]:
                    return
            except ScratchError:
                time.sleep(0.2)
        raise ScratchError("the archive was not replayed in time")

    def check(self) -> dict[str, float]:
        """Return the number of tables and rows and the time of the newest change.

        Raises:
            ScratchError: a table or an index is damaged.
        """
        names = self.psql(
            "postgres", "select datname from pg_database where datallowconn and not datistemplate"
        )
        counts = [
            int(line.rpartition("|")[2])
            for name in names
            for line in self.psql(name, ROWS)
            if line.startswith("rows|")
        ]
        newest = self.psql(
            "postgres",
            "select coalesce(extract(epoch from pg_last_xact_replay_timestamp()), 0)",
        )[0]
        done = subprocess.run(
            [str(self.programs / "pg_amcheck"), "--install-missing", "--all",
             "--host", str(self.own), "--port", PORT],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise ScratchError(f"pg_amcheck finds damage: {said[:800]}")
        return {"tables": len(counts), "rows": sum(counts), "newest": float(newest)}


def main(arguments: Sequence[str]) -> int:
    """Check a cluster; print the result as the last line."""
    scratch = Scratch(arguments[0], Path(arguments[1]))
    dumps = [Path(path) for path in arguments[2:]]
    try:
        if dumps:
            scratch.initialise()
    except ScratchError as error:
        print(error, file=sys.stderr)
        return 1
    with scratch.log.open("wb") as log:
        server = subprocess.Popen(
            scratch.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        scratch.wait(server)
        for dump in dumps:
            scratch.load(dump)
        print(json.dumps(scratch.check()))
    except ScratchError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
