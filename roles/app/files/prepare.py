"""The steps of a Django project: `manage.py shell -c` runs them after the text of imports.py."""

import gzip
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.checks import run_checks
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import override_settings

TEXT = {".css", ".js", ".mjs", ".svg", ".json", ".map", ".txt", ".xml"}
LOCK = 0x646A616E676F  # "django": the advisory lock of PostgreSQL that two migrations contend for
NO_LOCK = "55P03"  # PostgreSQL: lock_not_available
LOOK = "10s"  # that a question to the database takes at most

release = Path(os.environ["APP_RELEASE"])
served = release / ".staticfiles"
uses_static = apps.is_installed("django.contrib.staticfiles")
told: dict[str, object]  # imports.py makes both
compare_keys: Callable[[object, object], None]
told["debug"] = bool(settings.DEBUG)


def manage(name: str, **options: object) -> None:
    """Run a command of manage.py.

    Raises:
        SystemExit: it has an error for the user, which needs no traceback.
    """
    try:
        call_command(name, **options)
    except CommandError as error:
        raise SystemExit(str(error)) from None


def compare_scheme(scheme: str) -> None:
    """Compare the settings with the scheme that the visitors speak.

    Raises:
        SystemExit: each page would lead them to where nothing answers.
    """
    if scheme == "https":
        return
    if settings.SECURE_SSL_REDIRECT:
        raise SystemExit(
            "app_certificate is none, and SECURE_SSL_REDIRECT in the project's settings leads each "
            "page to HTTPS, where nothing answers. Set app_certificate to letsencrypt, selfsigned "
            "or files; or switch SECURE_SSL_REDIRECT off; or list the proxy that ends TLS in "
            "nginx_real_ip_from"
        )
    cookies = ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")
    told["secure_cookies"] = [name for name in cookies if getattr(settings, name)]


def lasts(path: str | os.PathLike[str], what: str, variable: str) -> None:
    """Look whether the services will be able to write to a directory, and whether it stays.

    Args:
        path: the directory, which may not be there yet.
        what: it is for, and which setting names it.
        variable: of the environment that names a directory that stays; empty if there is none.

    Raises:
        SystemExit: they will not; the message says what to write in the description.
    """
    real = near = Path(os.path.realpath(path))
    while not near.exists():
        near = near.parent
    inside = [part for part in (real, *real.parents) if part.parent == release.parent]
    if inside:  # this release, or by `current` the live one
        place = os.path.relpath(real, inside[0] / os.path.relpath(Path.cwd(), release))
        instead = f"Add it: app_shared_directories: [{place}]"
        if place == "." or place.startswith(".."):
            instead = "Move it to a directory of app_shared_directories"
        raise SystemExit(
            f"app_shared_directories should have the place of {what}, {path}. The services cannot "
            f"write there, and it ends with the release. {instead}"
        )
    if not os.access(near, os.W_OK):
        instead = f", or read os.environ['{variable}'] in the settings" if variable else ""
        raise SystemExit(
            f"{what} is {path}, which the application cannot write to. Choose a directory of "
            f"app_shared_directories{instead}; or allow it with app_sandbox: "
            f"{{ReadWritePaths: [{near}]}} and give it to the application's user"
        )


def check_places(name: str, url: str, served_from: str) -> None:
    """Look where the project keeps its SQLite files and its uploads.

    Args:
        name: at which nginx serves uploads; empty for the site's names.
        url: the path at which it serves them.
        served_from: the directory that it serves there.
    """
    for alias in connections:
        database = connections[alias].settings_dict
        name = str(database["NAME"] or "")
        if database["ENGINE"].endswith(".sqlite3") and name and ":memory:" not in name:
            path = Path(name.removeprefix("file:").partition("?")[0]).absolute()
            lasts(path.parent, f"the directory of the SQLite file {path.name} (DATABASES)", "")
    if isinstance(default_storage, FileSystemStorage) and settings.MEDIA_ROOT:
        media = default_storage.location
        lasts(media, "MEDIA_ROOT", "MEDIA_ROOT")
        parts = urlsplit(settings.MEDIA_URL)
        is_nginxs = (parts.hostname or name, f"/{parts.path.lstrip('/')}") == (name, url)
        if is_nginxs and os.path.realpath(media) != os.path.realpath(served_from):
            told["media_root"] = [media]


def check() -> None:
    """Ask Django's own checks, and compare the settings with the description."""
    manage("check", deploy=True, fail_level=os.environ["APP_CHECK_FAIL_LEVEL"])
    found = run_checks(include_deployment_checks=True)
    told["warnings"] = sorted({message.id for message in found if not message.is_silenced()})
    told["silenced"] = list(settings.SILENCED_SYSTEM_CHECKS)
    compare_scheme(os.environ["APP_SCHEME"])
    check_places(*(os.environ[f"APP_MEDIA_{part}"] for part in ("DOMAIN", "URL", "ROOT")))
    url = settings.STATIC_URL or ""
    wanted = os.environ["APP_STATIC_URL"]
    if uses_static and "://" not in url and f"/{url.lstrip('/')}" != wanted:
        raise SystemExit(f"STATIC_URL is {url} in the project's settings, app_static_url {wanted}")


def keys() -> None:
    """Compare the keys of the settings with those of the environment."""
    compare_keys(settings.SECRET_KEY, getattr(settings, "SECRET_KEY_FALLBACKS", []))


def has_database() -> bool:
    """Return whether there is a database; app_database: none and no DATABASES mean that not."""
    dummy = connections[DEFAULT_DB_ALIAS].settings_dict["ENGINE"] == "django.db.backends.dummy"
    return not dummy or bool(os.environ.get("DATABASE_URL"))


def applied() -> set[str]:
    """Return the names of the migrations that the database has."""
    recorder = MigrationRecorder(connections[DEFAULT_DB_ALIAS])
    return {".".join(migration) for migration in recorder.applied_migrations()}


def plan() -> None:
    """Ask the database which migrations are due."""
    if has_database():
        manage("migrate", plan=True)


def limit_of_a_wait() -> int:
    """Return the seconds for which a migration waits for a lock."""
    return int(os.environ["APP_MIGRATE_LOCK_TIMEOUT"])


class Busy(Exception):
    """Another migration is at work; the text says what was noticed."""


def is_pooled(connection: Any) -> bool:  # noqa: ANN401 - Django has no types
    """Return whether a pooler such as PgBouncer is between Django and PostgreSQL.

    A pooler gives a client another number of the process than PostgreSQL has.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (process,) = cursor.fetchone()
    info = getattr(connection.connection, "info", None)
    return getattr(info, "backend_pid", None) != process


@contextmanager
def alone_in_session(connection: Any, limit: str) -> Iterator[None]:  # noqa: ANN401
    """Keep other migrations out as long as the session lasts, and limit the waits for a lock."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [limit])
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        yield
    finally:
        connection.close()


@contextmanager
def alone_in_transactions(connection: Any, limit: str) -> Iterator[None]:  # noqa: ANN401
    """Keep other migrations out of each transaction, and limit its waits for a lock.

    Behind a pooler, a session belongs to this process only during a transaction: a lock or a
    setting of the session would stay and hit the application. No transaction waits for its turn,
    since a waiting one keeps a connection of the pool. What another process has migrated since the
    last transaction was not in the plan of this process, which begins again with a new plan.
    """
    seen: dict[str, set[str]] = {}  # by the schema: django-tenants has one for each tenant
    schema = ""
    begin, record = connection.set_autocommit, MigrationRecorder.record_applied

    def set_autocommit(autocommit: bool, *arguments: object, **more: object) -> None:
        nonlocal schema
        begin(autocommit, *arguments, **more)
        if autocommit:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, true), pg_try_advisory_xact_lock(%s),"
                " coalesce(current_schema(), '')",
                [limit, LOCK],
            )
            _limit, mine, schema = cursor.fetchone()
        if not mine:
            raise Busy("the lock of the migrations is taken")
        there = applied()
        if there != seen.setdefault(schema, there):
            raise Busy("another process has migrated meanwhile")

    def record_applied(recorder: MigrationRecorder, app: str, name: str) -> None:
        record(recorder, app, name)
        seen.setdefault(schema, applied()).add(f"{app}.{name}")

    connection.set_autocommit = set_autocommit
    MigrationRecorder.record_applied = record_applied
    try:
        with transaction.atomic():
            pass
        yield
    finally:
        MigrationRecorder.record_applied = record
        del connection.set_autocommit


def alone(connection: Any) -> AbstractContextManager[None]:  # noqa: ANN401
    """Keep other migrations out, and limit how long a statement waits for a lock."""
    if connection.vendor != "postgresql":
        return nullcontext()
    means = alone_in_transactions if is_pooled(connection) else alone_in_session
    return means(connection, f"{limit_of_a_wait()}s")


def is_busy(error: Exception) -> bool:
    """Return whether an error of a migration means that it should be tried again."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", getattr(cause, "pgcode", None))
    return isinstance(error, Busy) or state == NO_LOCK


def migrate() -> None:
    """Migrate, alone, and without holding up the requests that wait behind a lock of its own."""
    if not has_database():
        return
    connection = connections[DEFAULT_DB_ALIAS]
    before = applied()
    try:
        for tries_left in reversed(range(int(os.environ["APP_MIGRATE_TRIES"]))):
            try:
                with alone(connection):
                    manage("migrate", interactive=False)
            except (OperationalError, Busy) as error:
                if not is_busy(error):
                    raise
                connection.close()
                if not tries_left:
                    raise SystemExit(f"A table or another migration is busy: {error}") from error
                print(f"A table or another migration is busy; tries left: {tries_left}")
                waited = 0 if isinstance(error, OperationalError) else limit_of_a_wait()
                time.sleep(waited + 2)
            else:
                return
    finally:
        told["migrated"] = sorted(applied() - before)
        if told["migrated"] and sys.exc_info()[0]:
            print("These ran before, and stay:", *told["migrated"])


def static() -> None:
    """Collect the static files to <release>/.staticfiles, whatever STATIC_ROOT says.

    Manifest storages read STATIC_ROOT when the service runs: one inside the release leads there.
    Text is compressed here, once, so that nginx never has to (gzip_static: 42k against 8.7k
    requests a second).
    """
    if not uses_static:
        return
    os.umask(0o022)  # these are for the web server, and so for everybody
    root = Path(settings.STATIC_ROOT or served)
    if root not in (served, Path(os.environ["APP_STATIC_ROOT"])) and release not in root.parents:
        raise SystemExit(
            f"STATIC_ROOT is {root} in the project's settings, outside of the release. Set "
            f"app_static_root: {root}, or read os.environ['STATIC_ROOT'] in the settings"
        )
    if release in root.parents and root != served and not root.is_symlink():
        if root.is_dir() and not served.exists():
            root.rename(served)  # what the source has there
        if not root.exists():
            root.parent.mkdir(parents=True, exist_ok=True)
            root.symlink_to(os.path.relpath(served, root.parent))
    served.mkdir(exist_ok=True)
    with override_settings(STATIC_ROOT=str(served)):  # tells storages that are made already, too
        manage("collectstatic", interactive=False)
    for path in sorted(served.rglob("*")):
        packed = path.with_name(path.name + ".gz")
        if path.suffix in TEXT and path.is_file() and not packed.exists():
            content = path.read_bytes()
            if len(content) > 1000:  # below one packet there is nothing to gain
                packed.write_bytes(gzip.compress(content))
    if os.access(release, os.W_OK):  # the release is new
        own = [str(path.relative_to(served)) for path in served.rglob("*") if path.is_file()]
        (release / ".static-own").write_text("\n".join(own))


def carry() -> None:
    """Copy the files of releases that were live a moment ago: their pages are still open.

    Only what each collected itself, so that nothing is handed on for ever. A copy, because the
    files of a release that is complete are root's, and the kernel lets nobody else link them.
    The other release may be hostile: only regular files below its directory are copied.
    """
    for name in os.environ["APP_CARRY"].split():
        other = Path(os.path.realpath(release.parent / name))
        own, directory = other / ".static-own", other / ".staticfiles"
        if name == release.name or not served.exists() or own.is_symlink() or not own.is_file():
            continue
        for path in own.read_text(errors="replace").replace("\0", "").splitlines():
            source = Path(os.path.realpath(directory / path))  # of a link, where it leads
            if source != directory / path or directory not in source.parents:
                continue
            if source.is_file() and not (served / path).exists():
                (served / path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                shutil.copy2(source, served / path)


def behind() -> None:
    """Name the migrations that the database has and this release does not know.

    The live release may hold locks, and a rollback waits for none of them for long.
    """
    if not has_database():
        return
    loader = MigrationLoader(None)
    known = {".".join(migration) for migration in loader.disk_migrations}
    labels = {config.label for config in apps.get_app_configs()}
    with transaction.atomic():
        connection = connections[DEFAULT_DB_ALIAS]
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:  # for this transaction only: a pool keeps sessions
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [LOOK])
        there = applied()
    ran = {name for name in there if name.partition(".")[0] in labels}
    ran |= set(os.environ["APP_MIGRATED"].split()) & there
    told["behind"] = sorted(ran - known)
