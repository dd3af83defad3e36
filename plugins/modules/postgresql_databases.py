"""Creates databases of PostgreSQL with their extensions and collations."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_databases
short_description: Creates databases of PostgreSQL with their extensions and collations
description:
  - With O(state=checked) nothing changes. The module returns the packages that the extensions need,
    and fails if an extension has no package, or if a database is there with another collation.
  - With O(state=present) the databases are created, with their owners, which must exist, and their
    extensions. Existing databases keep their collation and all their extensions.
  - A database with a user has two roles. The owner owns all and changes tables; the user reads and
    writes rows, and cannot create, change or drop a table. What the user owned before becomes the
    owner's, in one transaction.
  - Only the owner, the user, superusers, and the roles that have rights in it can then connect to
    such a database. On a cluster that nobody else has used before, only superusers and the members
    of C(pg_monitor) can connect to V(postgres), and only superusers to V(template1).
options:
  databases:
    description:
      - The databases by their names, each a dictionary of owner, user, extensions and collation.
    type: dict
    required: true
  version:
    description: The major version of PostgreSQL. O(state=checked) needs it.
    type: str
  port:
    description: The port of the server, which names its socket.
    type: int
    default: 5432
  packages:
    description: Packages that the run installs. One of them may have an extension.
    type: list
    elements: str
    default: []
  state:
    description: Whether the databases are only checked.
    type: str
    choices: [checked, present]
    default: present
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Create a database with an extension
  clink.django_stack.postgresql_databases:
    databases:
      clinic: {owner: clinic, user: "", extensions: [vector], collation: de-DE-x-icu}

- name: Create a database whose application cannot change its tables
  clink.django_stack.postgresql_databases:
    databases:
      clinic: {owner: clinic_owner, user: clinic, extensions: [], collation: ""}
"""

RETURN = r"""
packages:
  description: The packages that the extensions need.
  type: list
  elements: str
  returned: if state is checked
changes:
  description: The statements that were run.
  type: list
  elements: str
  returned: if state is present
"""

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.clink.django_stack.plugins.module_utils import databases, units
from ansible_collections.clink.django_stack.plugins.module_utils.databases import DatabaseError
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

ROWS = (
    "select row_to_json(d) from (select *, pg_get_userbyid(datdba) as owner,"
    " has_database_privilege('public', oid, 'CONNECT') as public from pg_database) d"
)
# Roles that own something in a database, or that somebody has given rights there.
USERS = (
    "select distinct pg_get_userbyid(role) from ("
    "select relowner as role from pg_class union select nspowner from pg_namespace"
    " union select (aclexplode(relacl)).grantee from pg_class"
    " union select (aclexplode(nspacl)).grantee from pg_namespace"
    ") as roles where role >= 16384 order by 1"
)
# Databases of each cluster, and the roles that have to connect to them.
COMMON = {"postgres": ["pg_monitor"], "template1": []}
SERVICE = "postgresql.service"  # as the take-over of a cluster remembers it
TRIES = 15  # to lock all tables of a database, with a second between them
BUSY = "statement timeout"  # as PostgreSQL says that such a try was over


class Server:
    """The server of PostgreSQL on this host, asked as its superuser."""

    def __init__(self, module: AnsibleModule) -> None:
        """Keep where it is."""
        self.module = module
        self.version = module.params["version"]
        self.port = module.params["port"]

    def sql(
        self, statement: str, database: str = "postgres", search_path: str = units.SAFE_PATH
    ) -> list[str]:
        """Return the lines that a statement prints.

        Raises:
            DatabaseError: it fails.
        """
        asked = (f"--command={statement}",)
        code, printed, error = self.module.run_command(
            units.psql(self.port, *asked, database=database, search_path=search_path), cwd="/"
        )
        if code:
            hint = ""
            if "shared_preload_libraries" in error:
                hint = " Add the library: postgresql_settings: {shared_preload_libraries: NAME}"
            raise DatabaseError(f"{database}: {statement}: {error.strip()}{hint}")
        return str(printed).splitlines()

    def transaction(self, statements: list[str], database: str) -> str:
        """Run statements in one transaction; return the error, or an empty text."""
        code, _printed, error = self.module.run_command(
            units.psql(self.port, "--single-transaction", "--file=-", database=database),
            data="".join(f"{each}\n" for each in statements),
            cwd="/",
        )
        return str(error).strip() if code else ""

    def answers(self) -> bool:
        """Return whether the server runs on the host."""
        try:
            command = units.psql(self.port, "--command=select")
        except units.UnitError:
            return False
        return bool(self.module.run_command(command, cwd="/")[0] == 0)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the rows of pg_database by the names of the databases."""
        return {row["datname"]: row for row in map(json.loads, self.sql(ROWS))}

    def offered(self) -> list[str]:
        """Return the packages of PostgreSQL that the sources of the host offer."""
        return str(self.module.run_command(["apt-cache", "pkgnames", "postgresql-"])[1]).split()

    def controls(self) -> set[str]:
        """Return the extensions that are installed on the host."""
        directory = Path("/usr/share/postgresql", self.version, "extension")
        return {path.stem for path in directory.glob("*.control")}

    def collations(self) -> set[str]:
        """Return the collations of ICU that the server knows."""
        return set(self.sql("select collname from pg_collation where collprovider = 'i'"))


def refuse_unfit(server: Server, wanted: dict[str, Any], rows: dict[str, Any]) -> None:
    """Compare the databases with those that are there.

    Raises:
        DatabaseError: one has another collation, or a new one has an unknown collation.
    """
    for name, each in wanted.items():
        if name in rows:
            databases.refuse_another_collation(name, each["collation"], rows[name])
        elif each["collation"].endswith("-x-icu") and each["collation"] not in server.collations():
            raise DatabaseError(
                f"The collation {each['collation']} of the database {name} is unknown. A collation "
                "such as de-DE-x-icu has a language and perhaps a country; und-x-icu is for all "
                "languages"
            )


def check(module: AnsibleModule, server: Server) -> None:
    """Return the packages of the extensions."""
    wanted = module.params["databases"]
    there = databases.CONTRIB | server.controls()
    missing = {name for each in wanted.values() for name in each["extensions"]} - there
    own = any(package.startswith("postgresql") for package in module.params["packages"])
    packages = databases.packages_for(
        sorted(missing), server.version, server.offered() if missing else [], missing if own else []
    )
    if server.answers():
        refuse_unfit(server, wanted, server.rows())
    module.exit_json(changed=False, packages=packages)


def statements(server: Server, wanted: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the statements that are missing, each with the database for it.

    Raises:
        DatabaseError: a database has another collation.
    """
    rows = server.rows()
    refuse_unfit(server, wanted, rows)
    found = []
    for name, each in wanted.items():
        if name not in rows:
            found.append(("postgres", databases.create(name, each["owner"], each["collation"])))
        there = []
        if name in rows and each["extensions"]:
            there = server.sql("select extname from pg_extension", name)
        for extension in each["extensions"]:
            if extension not in there:
                # CASCADE creates what the extension depends on.
                create = "CREATE EXTENSION IF NOT EXISTS {} CASCADE"
                found.append((name, create.format(databases.identifier(extension))))
    return found + closings(server, wanted, rows)


def closings(server: Server, wanted: dict[str, Any], rows: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the statements that keep other roles out of databases, each with the database for it.

    PostgreSQL lets each role connect to each database. The databases of others stay as they are.
    """
    users: dict[str, list[str]] = {}
    if not (units.TAKEN_OVER / SERVICE).exists():
        users = {name: roles for name, roles in COMMON.items() if name in rows}
    for name, each in wanted.items():
        there = server.sql(USERS, name) if name in rows and rows[name].get("public") else []
        users[name] = [role for role in there if role != each["owner"]]
    return [
        ("postgres", statement)
        for name, roles in users.items()
        if name not in rows or rows[name].get("public")
        for statement in databases.private(name, roles)
    ]


def former_owners(
    server: Server, name: str, each: dict[str, Any], rows: dict[str, Any]
) -> list[str]:
    """Return the statements that give a database, and all in it, to its owner.

    Raises:
        DatabaseError: PostgreSQL does not answer.
    """
    owner, former = each["owner"], rows[name]["owner"]
    roles = sorted({each["user"], former} - {"", owner, "postgres"})
    owning = server.sql(databases.owners_among(roles), name) if roles else []
    given: list[str] = []
    for role in owning:
        others = [other for other, row in rows.items() if row["owner"] == role and other != name]
        given += databases.handover(role, owner, others)
    return given if former in (owner, *owning) else [*given, databases.belongs(name, owner)]


def grant(server: Server, name: str, each: dict[str, Any], rows: dict[str, Any]) -> list[str]:
    """Give a database to its owner, and its user the rights that he lacks.

    Returns:
        the statements; in check mode they are not run.

    Raises:
        DatabaseError: they fail; nothing was changed.
    """
    given, query, lacking = former_owners(server, name, each, rows), "", []
    if each["user"]:
        (version,) = server.sql("show server_version_num")
        query = databases.missing_rights(each["owner"], each["user"], int(version))
        # In check mode a role may be missing that the run would create.
        known = {each["owner"], each["user"]} <= {*server.sql("select rolname from pg_roles")}
        lacking = server.sql(query, name) if known else ["GRANT"]
    if server.module.check_mode or not given + lacking:
        return given + lacking
    # When the owner has all objects, more rights are missing.
    steps = [*(f"{statement};" for statement in given), f"{query} \\gexec" if query else ""]
    for left in reversed(range(TRIES)):
        error = server.transaction(steps, name)
        if BUSY not in error or not left:
            break
        time.sleep(1)
    if BUSY in error:
        error = (
            "its tables are in use for a long time, such as by a dump or an open transaction, "
            "which pg_stat_activity shows. Nothing was changed: run it again"
        )
    if error:
        raise DatabaseError(f"{name}: {error}")
    return given + lacking


def main() -> None:
    """Run the module."""
    module = new_module(
        argument_spec={
            "databases": {"type": "dict", "required": True},
            "version": {"type": "str"},
            "port": {"type": "int", "default": 5432},
            "packages": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["checked", "present"], "default": "present"},
        },
        required_if=[("state", "checked", ["version"])],
        supports_check_mode=True,
    )
    server = Server(module)
    done: list[str] = []
    try:
        if module.params["state"] == "checked":
            check(module, server)
        for database, statement in statements(server, module.params["databases"]):
            if not module.check_mode:
                server.sql(statement, database, "public")  # where an extension is created
            done.append(statement)
        there = server.rows()
        for name, each in module.params["databases"].items():
            if name in there:  # in check mode a new database is not
                done += grant(server, name, each, there)
    except DatabaseError as error:
        module.fail_json(msg=str(error), changed=bool(done), changes=done)
    module.exit_json(changed=bool(done), changes=done)


if __name__ == "__main__":
    main()
