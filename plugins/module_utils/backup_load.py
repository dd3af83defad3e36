"""Replaces the content of a database with a dump, in one transaction.

It runs as the user of restic in a transient unit, with the login of the database in its
environment:

    python3 -m ...backup_load 17 /var/lib/django_stack/backup/dump/database.dump
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from ansible_collections.clink.django_stack.plugins.module_utils import backups

# psql prints the statements that remove what the owner has made. A dump does not know the tables
# that are newer than it is; the option --clean of pg_restore would leave them.
DROP = r"""
select format('drop %s if exists %s cascade;', case relkind when 'v' then 'view'
              when 'm' then 'materialized view' when 'S' then 'sequence'
              when 'f' then 'foreign table' else 'table' end, c.oid::regclass)
  from pg_class c where relkind in ('r', 'p', 'v', 'm', 'S', 'f') and {own}
union all
select format('drop routine if exists %s cascade;', c.oid::regprocedure)
  from (select oid, tableoid, pronamespace as relnamespace, proowner as relowner from pg_proc) c
 where {own}
union all
select format('drop %s if exists %s cascade;', case typtype when 'd' then 'domain' else 'type' end,
              c.oid::regtype)
  from (select oid, tableoid, typtype, typrelid, typnamespace as relnamespace, typowner as relowner
          from pg_type) c
 where (typtype in ('d', 'e', 'r') or typtype = 'c' and exists (
          select from pg_class where oid = typrelid and relkind = 'c')) and {own}
union all
select format('drop schema if exists %I cascade;', nspname) from pg_namespace
 where nspowner = current_user::regrole and nspname !~ '^pg_' and nspname <> 'public'
union all
select format('select lo_unlink(%s);', oid) from pg_largeobject_metadata
 where lomowner = current_user::regrole
"""
OWN = """relowner = current_user::regrole
   and relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
   and not exists (select from pg_depend d where d.classid = c.tableoid and d.objid = c.oid
                     and d.objsubid = 0 and d.deptype in ('e', 'i'))"""


def load(programs: Path, dump: Path) -> int:
    """Replace the content of the database; return 0 if the transaction was committed.

    The programs print their errors. A failure leaves the old content.
    """
    psql = [str(programs / "psql"), "-Xq", "-v", "ON_ERROR_STOP=1"]
    listed = dump.with_name("list")
    told = subprocess.run(
        [programs / "pg_restore", "--list", dump], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    listed.write_text(backups.restorable(told))
    drops = subprocess.run(
        [*psql, "-At", "-c", DROP.format(own=OWN)], stdout=subprocess.PIPE, check=True
    ).stdout
    with subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as client:
        script = cast(IO[bytes], client.stdin)
        code = 1
        with suppress(BrokenPipeError):  # after an error psql reads no more
            script.write(b"begin; set client_min_messages = warning;\n" + drops)
            script.flush()
            code = subprocess.run(
                [programs / "pg_restore", f"--use-list={listed}", "--no-owner", "--no-privileges",
                 "--file=-", dump], stdout=script, check=False,
            ).returncode  # fmt: skip
            if not code:  # else psql comes to the end of its input, and nothing is committed
                # The application may get this session next from a pooler.
                script.write(b"reset all;\ncommit;\n")
                script.flush()
        with suppress(BrokenPipeError):
            script.close()
        return client.wait() or code


def main(arguments: Sequence[str]) -> int:
    """Load a dump; return 0 if it was committed."""
    try:
        return load(Path("/usr/lib/postgresql", arguments[0], "bin"), Path(arguments[1]))
    except subprocess.CalledProcessError as error:
        return int(error.returncode)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
