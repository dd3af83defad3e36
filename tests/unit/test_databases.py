"""Which packages and libraries the extensions of a database need, and which collation it has."""

import json

import pytest
from ansible.module_utils import basic
from ansible_collections.clink.django_stack.plugins.module_utils import databases
from ansible_collections.clink.django_stack.plugins.modules import postgresql_databases

# What the sources of Debian 13 offer, and a part of those of postgresql.org.
OFFERED = (
    "postgresql-17 postgresql-17-age postgresql-17-cron postgresql-17-h3 postgresql-17-http"
    " postgresql-17-hypopg postgresql-17-ogr-fdw postgresql-17-partman postgresql-17-pg-hint-plan"
    " postgresql-17-pg-stat-kcache postgresql-17-pgaudit postgresql-17-pgq3"
    " postgresql-17-pgrouting postgresql-17-pgrouting-scripts postgresql-17-pgsphere"
    " postgresql-17-pgvector postgresql-17-pldebugger postgresql-17-postgis-3"
    " postgresql-17-postgis-3-scripts postgresql-17-rational postgresql-17-rum"
    " postgresql-17-tablelog postgresql-16-pgvector postgresql-16-semver"
    " postgresql-plpython3-17 postgresql-plperl-17 postgresql-contrib postgresql"
).split()
PACKAGES = {
    "vector": "postgresql-17-pgvector",
    "postgis": "postgresql-17-postgis-3",
    "postgis_raster": "postgresql-17-postgis-3",
    "postgis_tiger_geocoder": "postgresql-17-postgis-3",
    "address_standardizer": "postgresql-17-postgis-3",
    "pg_cron": "postgresql-17-cron",
    "pgaudit": "postgresql-17-pgaudit",
    "pg_partman": "postgresql-17-partman",
    "pg_hint_plan": "postgresql-17-pg-hint-plan",
    "pg_stat_kcache": "postgresql-17-pg-stat-kcache",
    "pgrouting": "postgresql-17-pgrouting",
    "pg_sphere": "postgresql-17-pgsphere",
    "pg_rational": "postgresql-17-rational",
    "table_log": "postgresql-17-tablelog",
    "ogr_fdw": "postgresql-17-ogr-fdw",
    "h3": "postgresql-17-h3",
    "h3_postgis": "postgresql-17-h3",
    "hypopg": "postgresql-17-hypopg",
    "pgq": "postgresql-17-pgq3",
    "pldbgapi": "postgresql-17-pldebugger",
    "plpython3u": "postgresql-plpython3-17",
    "jsonb_plperl": "postgresql-plperl-17",
}


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
def test_the_package_of_an_extension_is_found_in_what_the_host_can_install(name, package):
    assert databases.packages_for([name], "17", OFFERED, []) == [package]


@pytest.mark.parametrize("name", ["uuid-ossp", "pg_trgm", "pg_stat_statements", "hstore"])
def test_an_extension_of_the_server_needs_no_package(name):
    assert databases.packages_for([name], "17", [], []) == []


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("pgvector", "did you mean vector?"),
        ("uuid_ossp", "did you mean uuid-ossp?"),
        ("hsotre", "did you mean hstore?"),
        ("auto_explain", "shared_preload_libraries: auto_explain"),
        ("semver", "postgresql-17-*"),  # it is offered for another version
        ("plv8", "app_apt_packages"),
        ("plv8", "PGDG"),
        ("pltcl", "plpgsql"),  # the package is missing
    ],
)
def test_an_extension_without_a_package_is_refused_with_what_there_is(name, advice):
    with pytest.raises(databases.DatabaseError) as told:
        databases.packages_for([name], "17", OFFERED, [])
    assert advice in str(told.value)
    assert name in str(told.value)


def test_an_extension_that_somebody_has_installed_needs_no_package():
    assert databases.packages_for(["plv8"], "17", OFFERED, ["plv8"]) == []


def test_the_libraries_of_the_extensions_join_those_of_the_settings():
    described = {
        "clinic": {"extensions": ["vector", "pg_stat_kcache", "pg_stat_statements"]},
        "wiki": {"extensions": ["pg_cron"]},
        "shop": {},
    }
    every = "pg_stat_statements,pg_stat_kcache,pg_cron"
    told = databases.preloaded({"port": 1}, described)
    assert told == {
        "port": 1, "shared_preload_libraries": every, "cron.database_name": "wiki",
        "pg_stat_statements.track_utility": "off",
    }  # fmt: skip
    for given in ("auto_explain, pg_cron", ["auto_explain", "pg_cron"]):
        told = databases.preloaded({"shared_preload_libraries": given}, described)
        assert told["shared_preload_libraries"] == (
            "auto_explain,pg_cron,pg_stat_statements,pg_stat_kcache"
        )
    kept = {"cron.database_name": "other", "pg_stat_statements.track_utility": True}
    assert databases.preloaded(kept, described).items() >= kept.items()
    assert databases.preloaded({"port": 1}, {"clinic": {"extensions": ["vector"]}}) == {"port": 1}


def test_a_database_is_created_with_its_collation():
    assert databases.create("clinic", "ada", "") == (
        'CREATE DATABASE "clinic" OWNER "ada" ENCODING \'UTF8\' TEMPLATE template0'
    )
    assert databases.create("a", "b", "und-x-icu").endswith(" LOCALE_PROVIDER icu ICU_LOCALE 'und'")
    assert databases.create("a", "b", "de_DE.UTF-8").endswith(
        " LC_COLLATE 'de_DE.UTF-8' LC_CTYPE 'de_DE.UTF-8'"
    )


LIBC = {"datlocprovider": "c", "datcollate": "de_DE.utf8"}
ICU15 = {"datlocprovider": "i", "datcollate": "C.UTF-8", "daticulocale": "de-DE"}
ICU17 = {"datlocprovider": "i", "datcollate": "C.UTF-8", "datlocale": "de-DE"}
BUILTIN = {"datlocprovider": "b", "datcollate": "C", "datlocale": "C.UTF-8"}
OLD = {"datcollate": "C.UTF-8"}  # PostgreSQL 14


@pytest.mark.parametrize(
    ("row", "same", "others"),
    [
        (LIBC, ["", "de_DE.UTF-8", "de_DE.utf8"], ["de-DE-x-icu", "C.UTF-8", "de_AT.UTF-8"]),
        (ICU15, ["", "de-DE-x-icu"], ["de-x-icu", "de_DE.UTF-8", "C.UTF-8"]),
        (ICU17, ["", "de-DE-x-icu"], ["und-x-icu"]),
        (BUILTIN, ["", "C.UTF-8", "C.utf8"], ["C", "und-x-icu"]),
        (OLD, ["", "C.UTF-8"], ["de_DE.UTF-8"]),
    ],
)
def test_another_collation_than_that_of_the_database_is_refused(row, same, others):
    for collation in same:
        databases.refuse_another_collation("clinic", collation, row)
    for collation in others:
        with pytest.raises(databases.DatabaseError, match="cannot be changed") as told:
            databases.refuse_another_collation("clinic", collation, row)
        assert str(databases.collation_in(row)) in str(told.value)


# --- The module -----------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, run_module, tmp_path):
    """Give a function that runs the module; `run.done` has the statements."""
    run = lambda **given: None  # noqa: E731
    monkeypatch.setattr(postgresql_databases.units, "CLIENTS", tmp_path)
    (tmp_path / "17" / "bin").mkdir(parents=True)
    (tmp_path / "17" / "bin" / "psql").touch()
    rows = [{"datname": "postgres", "owner": "postgres", "datcollate": "C.UTF-8"}]
    rows.append({"datname": "wiki", "owner": "wiki", "datcollate": "C.UTF-8"})
    monkeypatch.setattr(postgresql_databases.units, "TAKEN_OVER", tmp_path / "taken_over")

    def command(module, words, data="", **_):
        if words[0] == "apt-cache":
            return 0, "\n".join(OFFERED), ""
        given = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        statement, database = given.get("--command", ""), given["--dbname"]
        (path,) = (word for word in words if word.startswith("PGOPTIONS="))
        run.paths.append((path.removeprefix("PGOPTIONS=--search_path="), statement))
        if not run.answers:
            return 2, "", "no server"
        if data:
            assert "--single-transaction" in words
            run.tries.append(data)
            return (3, "", run.errors.pop(0)) if run.errors else (0, "", "")
        if "server_version_num" in statement:
            return 0, run.version, ""
        if "rolname" in statement and "pg_shdepend" not in statement:
            return 0, "\n".join(run.roles), ""
        if "pg_shdepend" in statement:
            return 0, "\n".join(role for role in run.owning if f"'{role}'" in statement), ""
        if "has_table_privilege" in statement:
            run.queries.append(statement)
            return 0, "\n".join(run.lacking), ""
        if "pg_database" in statement:
            return 0, "\n".join(map(json.dumps, rows)), ""
        if "pg_collation" in statement:
            return 0, "de-DE-x-icu\nund-x-icu", ""
        if "pg_extension" in statement:
            return 0, "plpgsql\nhstore", ""
        if "aclexplode" in statement:
            return 0, "reports\nwiki", ""
        if statement != "select":
            run.done.append(f"{database}: {statement}")
        return 0, "", ""

    def call(wanted, check=False, **more):
        given = {"databases": wanted, "version": "17", **more}
        return run_module(postgresql_databases, check, **given)

    monkeypatch.setattr(basic.AnsibleModule, "run_command", command)
    run = call
    run.done, run.answers, run.rows, run.taken_over = [], True, rows, tmp_path / "taken_over"
    run.version, run.roles, run.owning, run.lacking = "170004", ["ada", "wiki", "web"], [], []
    run.tries, run.errors, run.queries, run.paths = [], [], [], []
    monkeypatch.setattr(postgresql_databases.time, "sleep", lambda _: None)
    return run


def database(owner="wiki", extensions=(), collation="", user=""):
    wanted = {"owner": owner, "extensions": list(extensions), "collation": collation}
    return wanted | {"user": user}


def test_what_is_missing_is_created_once(run):
    told = run({"clinic": database("ada", ["uuid-ossp"]), "wiki": database(extensions=["hstore"])})
    assert told["changed"] is True
    assert run.done == [
        "postgres: " + databases.create("clinic", "ada", ""),
        'clinic: CREATE EXTENSION IF NOT EXISTS "uuid-ossp" CASCADE',
        'postgres: REVOKE CONNECT ON DATABASE "clinic" FROM PUBLIC',
    ]
    run.done.clear()
    assert run({"wiki": database(extensions=["hstore"])}) == {"changed": False, "changes": []}


CLOSED = [
    'postgres: GRANT CONNECT ON DATABASE "wiki" TO "reports"',
    'postgres: REVOKE CONNECT ON DATABASE "wiki" FROM PUBLIC',
]


def test_only_roles_with_rights_connect_to_an_existing_database(run):
    for row in run.rows:
        row["public"] = True
    assert run({"wiki": database()}, check=True)["changed"] is True
    run({"wiki": database()})
    assert run.done == [
        'postgres: GRANT CONNECT ON DATABASE "postgres" TO "pg_monitor"',
        'postgres: REVOKE CONNECT ON DATABASE "postgres" FROM PUBLIC',
        *CLOSED,
    ]


def test_the_common_databases_of_a_cluster_that_others_use_stay_open(run):
    for row in run.rows:
        row["public"] = True
    run.taken_over.mkdir()
    (run.taken_over / "postgresql.service").touch()
    run({"wiki": database()})
    assert run.done == CLOSED


def test_check_mode_creates_nothing(run):
    assert run({"clinic": database("ada")}, check=True)["changed"] is True
    assert run.done == []


@pytest.mark.parametrize("collation", ["de-DE-x-icu", "C"])
@pytest.mark.parametrize("state", ["checked", "present"])
def test_nothing_is_done_if_one_database_has_another_collation(run, state, collation):
    wanted = {"clinic": database("ada"), "wiki": database(collation=collation)}
    assert "cannot be changed" in run(wanted, state=state)["msg"]
    assert run.done == []


def test_a_language_that_nobody_knows_is_refused(run):
    assert "qq-x-icu" in run({"clinic": database(collation="qq-x-icu")}, state="checked")["msg"]


@pytest.mark.parametrize("answers", [True, False])
def test_the_packages_are_known_before_the_server_is_there(run, answers):
    run.answers = answers
    told = run({"clinic": database(extensions=["vector", "hstore"])}, state="checked")
    assert told == {"changed": False, "packages": ["postgresql-17-pgvector"]}
    assert run.done == []


def test_the_users_own_package_may_have_an_extension(run):
    wanted = {"clinic": database(extensions=["plv8"])}
    assert "plv8" in run(wanted, state="checked", packages=["npm"])["msg"]
    told = run(wanted, state="checked", packages=["postgresql-17-plv8"])
    assert told["packages"] == []


# --- The owner and the user -----------------------------------------------------------------------

WIKI = {"wiki": database("ada", user="wiki")}


def test_what_the_user_has_owned_becomes_the_owners_in_one_transaction(run):
    run.owning = ["wiki"]
    run.rows.append({"datname": "other", "owner": "wiki", "datcollate": "C.UTF-8"})
    told = run(WIKI)
    assert told["changed"] is True
    (script,) = run.tries
    lock, give, keep, grant = (
        script.index(text)
        for text in ("LOCK TABLE", 'BY "wiki" TO "ada"', '"other" OWNER TO "wiki"', "\\gexec")
    )
    assert lock < give < keep < grant, "no session sees tables without an owner or without rights"
    assert not any("CONNECT" in each for each in run.done)


def test_the_superuser_calls_no_function_that_an_application_has_made(run):
    run.owning, run.lacking = ["wiki"], ["GRANT ..."]
    run({"wiki": database("ada", ["uuid-ossp"], user="web")})
    others = {statement for path, statement in run.paths if path != "pg_catalog"}
    assert others == {'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" CASCADE'}


def test_a_database_gets_another_owner_without_a_user(run):
    run.owning = ["wiki"]
    run({"wiki": database("ada")})
    (script,) = run.tries
    assert 'REASSIGN OWNED BY "wiki" TO "ada"' in script and "gexec" not in script


def test_what_the_superuser_owns_stays_and_the_database_is_given_away(run):
    run.rows[-1]["owner"] = "postgres"
    run({"wiki": database("ada")})
    assert run.tries == ['ALTER DATABASE "wiki" OWNER TO "ada";\n\n']


def test_only_missing_rights_are_given(run):
    run.rows[-1]["owner"] = "ada"
    assert run(WIKI) == {"changed": False, "changes": []}
    run.lacking = ['GRANT SELECT ON TABLE new TO "wiki"']
    assert run(WIKI) == {"changed": True, "changes": run.lacking}
    assert len(run.tries) == 1


@pytest.mark.parametrize(("version", "has"), [("130004", False), ("170001", True)])
def test_the_rights_suit_the_version_of_postgresql(run, version, has):
    run.version, run.rows[-1]["owner"] = version, "ada"
    run(WIKI)
    assert all(("MAINTAIN" in query) is has for query in run.queries) and run.queries


def test_tables_that_are_in_use_are_tried_again(run):
    run.owning = ["wiki"]
    busy = "ERROR:  canceling statement due to statement timeout"
    run.errors = [busy, busy]
    assert run(WIKI)["changed"] is True
    assert len(run.tries) == 3
    run.errors = [busy] * 99
    assert "pg_stat_activity" in run(WIKI)["msg"]
    run.errors, run.tries[:] = ["ERROR:  something else"], []
    assert run(WIKI)["msg"] == "wiki: ERROR:  something else" and len(run.tries) == 1


def test_check_mode_knows_that_a_role_is_missing(run):
    run.roles, run.owning = ["wiki"], ["wiki"]
    assert run(WIKI, check=True)["changed"] is True
    assert run.tries == [] and run.queries == []


def test_roles_have_their_passwords():
    wanted = {"owner": "ada", "password": "one", "user": "web", "user_password": "two"}
    assert databases.roles_of({"wiki": wanted, "shop": {"owner": "shop", "password": "three"}}) == {
        "web": {"password": "two"},
        "ada": {"password": "one"},
        "shop": {"password": "three"},
    }
