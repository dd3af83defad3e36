"""What a database of PostgreSQL needs: rights of its roles, extensions and a collation.

It decides and runs nothing; the module `postgresql_databases` asks PostgreSQL and the host.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NAME = r"[a-z][a-z0-9_-]{0,62}"
# The extensions that the package of the server contains. Source: PostgreSQL, "Additional Supplied
# Modules and Extensions", of the versions 13 to 18.
CONTRIB = frozenset(
    "adminpack amcheck autoinc bloom btree_gin btree_gist citext cube dblink dict_int dict_xsyn"
    " earthdistance file_fdw fuzzystrmatch hstore insert_username intagg intarray isn lo ltree"
    " moddatetime old_snapshot pageinspect pg_buffercache pg_freespacemap pg_logicalinspect"
    " pg_prewarm pg_stat_statements pg_surgery pg_trgm pg_visibility pg_walinspect pgcrypto"
    " pgrowlocks pgstattuple plpgsql postgres_fdw refint seg sslinfo tablefunc tcn tsm_system_rows"
    " tsm_system_time unaccent uuid-ossp xml2".split()
)
# Extensions that are in the package of another one, by the beginning of their names.
INSIDE = {
    "postgis": "postgis", "address_standardizer": "postgis", "h3_": "h3", "pointcloud_":
    "pointcloud", "pgq": "pgq3", "pldbgapi": "pldebugger",
}  # fmt: skip
LANGUAGES = {"plpython3": "plpython3", "plperl": "plperl", "pltcl": "pltcl"}
# Libraries that an extension needs in each process of the server, in their order.
PRELOADED = {
    **{
        name: [name]
        for name in (
            "credcheck", "pg_cron", "pg_hint_plan", "pg_show_plans", "pg_squeeze",
            "pg_stat_statements", "pg_wait_sampling", "pgaudit", "pglogical", "set_user",
            "timescaledb",
        )
    },
    "pg_qualstats": ["pg_stat_statements", "pg_qualstats"],
    "pg_stat_kcache": ["pg_stat_statements", "pg_stat_kcache"],
    "powa": ["pg_stat_statements", "powa"],
}  # fmt: skip
# What people call an extension, and its name.
CALLED = {"pgvector": "vector", "postgis-3": "postgis", "uuid_ossp": "uuid-ossp"}
# Libraries of PostgreSQL that are no extensions.
LIBRARIES = frozenset("auth_delay auto_explain basic_archive passwordcheck wal2json".split())


class DatabaseError(Exception):
    """A database cannot be as it is described; the text says what to do."""


@dataclass(frozen=True)
class Collation:
    """How a database sorts texts.

    Attributes:
        provider: `icu`, or `libc` for a locale of the host.
        locale: its name for this provider, such as de-DE or de_DE.UTF-8.
    """

    provider: str
    locale: str

    @property
    def clause(self) -> str:
        """The options of CREATE DATABASE."""
        if self.provider == "icu":
            return f" LOCALE_PROVIDER icu ICU_LOCALE {literal(self.locale)}"
        return f" LC_COLLATE {literal(self.locale)} LC_CTYPE {literal(self.locale)}"

    @property
    def plain(self) -> tuple[str, str]:
        """The same for two spellings of one collation."""
        language, _sep, coding = self.locale.partition(".")
        return self.provider, f"{language}.{coding.replace('-', '')}".lower().rstrip(".")

    def __str__(self) -> str:
        """Return it as the description has it."""
        return f"{self.locale}-x-icu" if self.provider == "icu" else self.locale


COLLATION = (
    r"C|POSIX|C\.(UTF-8|utf8)|[a-z]{2,3}_[A-Z]{2}\.(UTF-8|utf8)(@[a-z]+)?"
    r"|[a-z]{2,8}(-[A-Za-z0-9]{2,8})*-x-icu"
)


def collation_of(text: str) -> Collation:
    """Return the collation that a description names."""
    if text.endswith("-x-icu"):
        return Collation("icu", text.removesuffix("-x-icu"))
    return Collation("libc", text)


def collation_in(row: Mapping[str, Any]) -> Collation:
    """Return the collation of a database by its row of pg_database."""
    if row.get("datlocprovider", "c") == "i":
        return Collation("icu", row.get("datlocale") or row.get("daticulocale") or "")
    return Collation("libc", row.get("datlocale") or row["datcollate"])


def identifier(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def create(name: str, owner: str, collation: str) -> str:
    """Return the statement that creates a database."""
    return (
        f"CREATE DATABASE {identifier(name)} OWNER {identifier(owner)} ENCODING 'UTF8'"
        f" TEMPLATE template0{collation_of(collation).clause if collation else ''}"
    )


def belongs(name: str, owner: str) -> str:
    """Return the statement that gives a database an owner."""
    return f"ALTER DATABASE {identifier(name)} OWNER TO {identifier(owner)}"


def private(name: str, users: Iterable[str] = ()) -> list[str]:
    """Return the statements by which only certain roles can connect to a database.

    The owner and superusers always can.

    Args:
        name: of the database.
        users: roles that go on to connect to it.
    """
    place = identifier(name)
    allowed = [f"GRANT CONNECT ON DATABASE {place} TO {identifier(user)}" for user in users]
    return [*allowed, f"REVOKE CONNECT ON DATABASE {place} FROM PUBLIC"]


# What the role that serves may do with the rows of a table, and with the next number of a sequence.
# MAINTAIN, of PostgreSQL 17, is for REFRESH MATERIALIZED VIEW and the like.
ROW_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
MAINTAIN = 170000
NUMBER_RIGHTS = ("USAGE", "SELECT", "UPDATE")
# Prints the statements that are missing. The default rights are for what the owner will create.
MISSING = """
select 'REVOKE CREATE ON SCHEMA public FROM PUBLIC' from pg_namespace
 where nspname = 'public' and exists (select from aclexplode(nspacl) right_of
         where right_of.grantee = 0 and right_of.privilege_type = 'CREATE')
union all
select format('GRANT USAGE, CREATE ON SCHEMA public TO %I', {owner}) from pg_namespace
 where nspname = 'public' and not has_schema_privilege({owner}, oid, 'CREATE')
union all
select format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', datname, {user}) from pg_database
 where datname = current_database()
   and not (has_database_privilege({user}, oid, 'CONNECT')
            and has_database_privilege({user}, oid, 'TEMPORARY'))
union all
select format('GRANT USAGE ON SCHEMA %I TO %I', nspname, {user}) from pg_namespace
 where (nspname = 'public' or nspowner = {owner}::regrole)
   and not has_schema_privilege({user}, oid, 'USAGE')
union all
select format('GRANT {rows} ON TABLE %s TO %I', oid::regclass, {user}) from pg_class
 where relkind in ('r', 'p', 'v', 'm', 'f') and relowner = {owner}::regrole
   and not ({has_rows})
union all
select format('GRANT {numbers} ON SEQUENCE %s TO %I', oid::regclass, {user}) from pg_class
 where relkind = 'S' and relowner = {owner}::regrole and not ({has_numbers})
union all
select format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT %s ON %s TO %I',
              {owner}, rights, kinds, {user})
  from (values ('r', 'TABLES', '{rows}'), ('S', 'SEQUENCES', '{numbers}'),
               ('n', 'SCHEMAS', 'USAGE')) as wanted (kind, kinds, rights)
 where not string_to_array(rights, ', ') <@ coalesce(
         (select array_agg(each.privilege_type::text)
            from pg_default_acl, aclexplode(defaclacl) as each
           where defaclrole = {owner}::regrole and defaclnamespace = 0
             and defaclobjtype = kind::"char" and each.grantee = {user}::regrole), array[]::text[])
"""
# Prints which of some roles own something in the database. REASSIGN OWNED leaves default rights and
# user mappings alone, and the role that serves may have temporary tables and large objects.
OWNERS = """
select distinct rolname from pg_roles
  join pg_shdepend on refobjid = pg_roles.oid and deptype = 'o'
   and classid not in ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass,
                       'pg_largeobject'::regclass)
  join pg_database on datname = current_database()
   and pg_database.oid in (dbid, case when classid = 'pg_database'::regclass then objid end)
 where refclassid = 'pg_authid'::regclass and rolname in ({roles})
   and not exists (select from pg_class
                    where pg_shdepend.classid = 'pg_class'::regclass and pg_class.oid = objid
                      and relpersistence = 't')
 order by 1
"""
# No statement of the application waits longer than this for the tables, so that PostgreSQL finds no
# deadlock (deadlock_timeout, 1s) and ends none of its transactions.
HANDOVER_MS = 900


def missing_rights(owner: str, user: str, version: int) -> str:
    """Return the query that prints the statements which a role needs to serve without DDL.

    Args:
        owner: the role that owns the tables and changes them.
        user: the role that reads and writes their rows.
        version: of the server, as server_version_num has it.
    """
    rows = [*ROW_RIGHTS, *(["MAINTAIN"] if version >= MAINTAIN else [])]

    def has(kind: str, rights: Iterable[str]) -> str:
        asked = (f"has_{kind}_privilege({literal(user)}, oid, '{right}')" for right in rights)
        return " and ".join(asked)

    return MISSING.format(
        owner=literal(owner),
        user=literal(user),
        rows=", ".join(rows),
        numbers=", ".join(NUMBER_RIGHTS),
        has_rows=has("table", rows),
        has_numbers=has("sequence", NUMBER_RIGHTS),
    )


def owners_among(roles: Iterable[str]) -> str:
    """Return the query that prints which of some roles own something in the database."""
    return OWNERS.format(roles=", ".join(map(literal, roles)))


def handover(former: str, owner: str, others: Iterable[str]) -> list[str]:
    """Return the statements that give what a role owns in a database to another role.

    All tables are locked first. An application that serves meanwhile waits for less than a second,
    and goes on. It keeps the large objects that it has made.

    Args:
        former: the role that owns the objects.
        owner: the role that will own them.
        others: other databases of the former role, which REASSIGN OWNED would give away, too.
    """
    lock = (
        "for each in select oid::regclass::text from pg_class where relkind in ('r', 'p', 'v')"
        f" and relowner = {literal(former)}::regrole order by relkind = 'v', oid"
        " loop execute 'LOCK TABLE ' || each; end loop;"
    )
    keep = (
        "for each in select oid::text from pg_largeobject_metadata"
        f" where lomowner = {literal(owner)}::regrole loop"
        f" execute 'ALTER LARGE OBJECT ' || each || ' OWNER TO ' || {literal(identifier(former))};"
        " end loop;"
    )
    return [
        f"SET LOCAL statement_timeout = {HANDOVER_MS}",
        f"DO $$ declare each text; begin {lock} end $$",
        "SET LOCAL statement_timeout = 0",
        f"REASSIGN OWNED BY {identifier(former)} TO {identifier(owner)}",
        f"DO $$ declare each text; begin {keep} end $$",
        *(belongs(each, former) for each in others),
    ]


def refuse_another_collation(name: str, collation: str, row: Mapping[str, Any]) -> None:
    """Compare the collation of a description with that of a database that is there.

    Raises:
        DatabaseError: it is another one, which cannot be changed.
    """
    there = collation_in(row)
    if collation and collation_of(collation).plain != there.plain:
        raise DatabaseError(
            f"The database {name} has the collation {there}, and the description {collation}. The "
            f"collation of a database cannot be changed. Set it to {there}; or move the data: dump "
            f"the database (pg_dump), rename it (ALTER DATABASE {name} RENAME TO ...), run "
            "site.yml, and load the dump"
        )


def _letters(name: str) -> str:
    return re.sub(r"[_-]", "", name)


def package_of(name: str, version: str, offered: Iterable[str]) -> str | None:
    """Return the package of an extension.

    Args:
        name: of the extension.
        version: of PostgreSQL.
        offered: the packages that the sources of the host offer.

    Returns:
        the package; an empty text if the package of the server contains the extension; None if
        there is none.
    """
    if name in CONTRIB:
        return ""
    for language, package in LANGUAGES.items():
        if language in name:
            whole = f"postgresql-{package}-{version}"
            return whole if whole in set(offered) else None
    for beginning, package in INSIDE.items():
        if name.startswith(beginning):
            name = package
    bare = re.sub(r"^pg", "", _letters(name))
    wanted = {_letters(name), bare, f"pg{bare}"}
    prefix = f"postgresql-{version}-"
    found = [
        package
        for package in offered
        if package.startswith(prefix)
        and _letters(re.sub(r"-[0-9.]+$", "", package.removeprefix(prefix))) in wanted
    ]
    return max(found, default=None)


def unknown_extension(name: str, version: str, offered: Iterable[str]) -> str:
    """Return what to write instead of an extension that has no package."""
    if name in LIBRARIES:
        return (
            f"{name} is a library and no extension: write postgresql_settings: "
            f"{{shared_preload_libraries: {name}}}"
        )
    prefix = f"postgresql-{version}-"
    others = sorted(
        each.removeprefix(prefix)
        for each in offered
        if each.startswith(prefix) and not each.endswith(("-doc", "-scripts"))
    )
    known = [*CONTRIB, *PRELOADED, *others]
    near = CALLED.get(name) or next(iter(difflib.get_close_matches(name, known, n=1)), name)
    told = f"PostgreSQL {version} of this host has no extension {name}"
    if near != name:
        told += f"; did you mean {near}?"
    else:
        told += "."
    return (
        f"{told} With the server come {', '.join(sorted(CONTRIB))}. The package sources offer "
        f"{prefix}* of {', '.join(others)}; that of the PostgreSQL project (PGDG) has more. If "
        "a package with another name has the extension, add it to app_apt_packages"
    )


def packages_for(
    extensions: Iterable[str], version: str, offered: Collection[str], there: Collection[str]
) -> list[str]:
    """Return the packages of extensions.

    Args:
        extensions: their names.
        version: of PostgreSQL.
        offered: the packages that the sources of the host offer.
        there: extensions that are installed on the host, or will be.

    Raises:
        DatabaseError: an extension does not exist; the text says which there are.
    """
    found = []
    for name in extensions:
        package = None if name in CALLED else package_of(name, version, offered)
        if package is None and name not in there:
            raise DatabaseError(unknown_extension(name, version, offered))
        if package:
            found.append(package)
    return sorted(set(found))


def preloaded(
    settings: Mapping[str, Any], databases: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return settings of PostgreSQL with what the extensions of its databases need.

    The libraries of shared_preload_libraries are added to those of the settings. pg_cron works in
    one database. pg_stat_statements keeps the values of utility statements, such as the DECLARE of
    a server-side cursor, so it leaves them out.
    """
    given = settings.get("shared_preload_libraries") or ""
    words = given if isinstance(given, (list, tuple)) else str(given).split(",")
    libraries = [word.strip() for word in map(str, words) if word.strip()]
    more: dict[str, Any] = {}
    for name, database in databases.items():
        for extension in database.get("extensions") or []:
            libraries += PRELOADED.get(extension, [])
            if extension == "pg_cron":
                more.setdefault("cron.database_name", name)
    if "pg_stat_statements" in libraries:
        more["pg_stat_statements.track_utility"] = "off"
    if libraries:
        settings = {**settings, "shared_preload_libraries": ",".join(dict.fromkeys(libraries))}
    return {**more, **settings}


def roles_of(databases: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the roles of databases by their names, each with its password.

    Args:
        databases: of the description. A `user` serves, an `owner` changes tables; `attributes` are
            those of the owner.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in databases.values():
        if each.get("user"):
            found[each["user"]] = {"password": each["user_password"]}
    for each in databases.values():
        more = {"attributes": each["attributes"]} if each.get("attributes") else {}
        found[each["owner"]] = {"password": each["password"], **more}
    return found


def wishes(
    databases: Mapping[str, Mapping[str, Any]], special: bool = False
) -> dict[str, dict[str, Any]]:
    """Return what databases should have, without the secrets of their owners.

    Args:
        databases: of the description.
        special: whether databases without extensions and collation are left out.
    """
    return {
        name: {
            "owner": each["owner"],
            "user": each.get("user") or "",
            "extensions": list(each.get("extensions") or []),
            "collation": each.get("collation") or "",
        }
        for name, each in databases.items()
        if not special or each.get("extensions") or each.get("collation")
    }
