"""How the migrations of a deploy keep others out, on a connection of their own and of a pooler."""

import ast
import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from conftest import ROOT

SOURCE = ast.parse((ROOT / "roles/app/files/prepare.py").read_text())
STANDARD = {"contextlib", "collections.abc", "typing", "urllib.parse"}


class Database:
    """What PostgreSQL has: the migrations that ran, and whether somebody holds the lock."""

    def __init__(self):
        self.ran, self.taken, self.process = set(), False, 7


class Connection:
    """A connection of Django that keeps what it was asked."""

    vendor = "postgresql"

    def __init__(self, database, process):
        self.database, self.asked, self.closed = database, [], False
        self.connection = SimpleNamespace(info=SimpleNamespace(backend_pid=process))
        self.autocommit = True

    def set_autocommit(self, autocommit, *_):
        self.autocommit = autocommit

    @contextmanager
    def cursor(self):
        yield self

    def execute(self, text, values=()):
        self.asked.append((text, self.autocommit))

    def fetchone(self):
        last, _ = self.asked[-1]
        if "pid" in last:
            return (self.database.process,)
        return ("", not self.database.taken, "public")

    def close(self):
        self.closed = True


@pytest.fixture
def prepare(monkeypatch):
    """The functions of prepare.py, which imports Django, with a recorder of migrations."""
    monkeypatch.setitem(os.environ, "APP_MIGRATE_LOCK_TIMEOUT", "5")
    database = Database()

    class Recorder:
        def record_applied(self, app, name):
            database.ran.add(f"{app}.{name}")

    @contextmanager
    def atomic():
        names["connection"].set_autocommit(False)
        yield
        names["connection"].set_autocommit(True)

    names = {
        "os": os,
        "LOCK": 1,
        "MigrationRecorder": Recorder,
        "transaction": SimpleNamespace(atomic=atomic),
        "database": database,
    }
    kept = [
        node
        for node in SOURCE.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        or (isinstance(node, ast.ImportFrom) and node.module in STANDARD)
    ]
    exec(compile(ast.Module(kept, []), "prepare.py", "exec"), names)
    names["applied"] = lambda: set(database.ran)
    return SimpleNamespace(names=names, **names)


def connect(prepare, process):
    connection = prepare.names["connection"] = Connection(prepare.database, process)
    return connection


def test_a_pooler_is_known_by_the_number_of_the_process(prepare):
    assert not prepare.is_pooled(connect(prepare, prepare.database.process))
    assert prepare.is_pooled(connect(prepare, 1234567))
    other_driver = connect(prepare, 7)
    other_driver.connection = object()
    assert prepare.is_pooled(other_driver), "nothing stays in its session then"


def test_a_session_of_its_own_has_the_lock_until_it_ends(prepare):
    connection = connect(prepare, prepare.database.process)
    with prepare.alone(connection):
        assert "pg_advisory_lock" in connection.asked[-1][0]
        assert not connection.closed
    assert connection.closed


def test_behind_a_pooler_nothing_outlives_a_transaction(prepare):
    connection = connect(prepare, 1234567)
    with prepare.alone(connection):
        for name in ("0001", "0002"):
            with prepare.transaction.atomic():
                prepare.MigrationRecorder().record_applied("shop", name)
    assert len(connection.asked) == 4
    assert "set_autocommit" not in vars(connection)
    prepare.MigrationRecorder().record_applied("shop", "0003")
    for text, autocommit in connection.asked[1:]:
        assert "set_config('lock_timeout', %s, true), pg_try_advisory_xact_lock(" in text
        assert autocommit is False, "it is not in the transaction"


def test_behind_a_pooler_a_transaction_does_not_wait_for_its_turn(prepare):
    connection = connect(prepare, 1234567)
    prepare.database.taken = True
    with pytest.raises(prepare.Busy) as told, prepare.alone(connection):
        pytest.fail("it migrates beside another one")
    assert prepare.is_busy(told.value)
    assert "set_autocommit" not in vars(connection)


def test_behind_a_pooler_what_another_process_has_migrated_makes_a_new_plan(prepare):
    connection = connect(prepare, 1234567)
    with (
        pytest.raises(prepare.Busy, match="another process has migrated"),
        prepare.alone(connection),
    ):
        prepare.database.ran.add("shop.0001")
        with prepare.transaction.atomic():
            pytest.fail("it runs a migration a second time")


def test_another_database_needs_no_lock(prepare):
    connection = connect(prepare, 7)
    connection.vendor = "sqlite"
    with prepare.alone(connection):
        pass
    assert not connection.asked


@pytest.mark.parametrize(("state", "again"), [("55P03", True), ("42P07", False), (None, False)])
def test_a_lock_that_takes_too_long_is_tried_again(prepare, state, again):
    for attribute in ("sqlstate", "pgcode"):
        error = RuntimeError("a lock")
        error.__cause__ = cause = RuntimeError()
        setattr(cause, attribute, state)
        prepare.names["NO_LOCK"] = "55P03"
        assert prepare.is_busy(error) is again


@pytest.mark.parametrize(
    ("url", "domain", "is_nginxs"),
    [
        ("/media/", "", True),
        ("media/", "", True),
        ("/media/", "uploads.example.com", True),
        ("https://uploads.example.com/media/", "uploads.example.com", True),
        ("http://uploads.example.com/media/", "uploads.example.com", True),
        ("//uploads.example.com/media/", "uploads.example.com", True),
        ("https://bucket.example.net/media/", "uploads.example.com", False),
        ("https://bucket.example.net/media/", "", False),
        ("https://uploads.example.com/files/", "uploads.example.com", False),
        ("/files/", "", False),
    ],
)
def test_only_uploads_that_nginx_serves_are_compared_with_its_directory(
    prepare, tmp_path, url, domain, is_nginxs
):
    class Storage:
        location = str(tmp_path / "uploads")

    prepare.names.update(
        told={}, connections={}, FileSystemStorage=Storage, default_storage=Storage(),
        settings=SimpleNamespace(MEDIA_ROOT=Storage.location, MEDIA_URL=url),
        lasts=lambda *_: None,
    )  # fmt: skip
    prepare.check_places(domain, "/media/", Storage.location)
    assert prepare.names["told"] == {}
    prepare.check_places(domain, "/media/", str(tmp_path / "other"))
    assert bool(prepare.names["told"]) == is_nginxs
