"""Why a step or a service failed: the cause that is found, the lines that are shown, no secret."""

import json
import re
import time
from pathlib import Path
from string import Template

import pytest
from ansible_collections.clink.django_stack.plugins.filter.explain_failure import explain_failure
from ansible_collections.clink.django_stack.plugins.module_utils import (
    causes,
    diagnosis,
    release_hints,
)

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "/var/www/shop/releases/dedc9bd49661-a279ff"
PLAN = release_hints.HINTS["plan"][1]


def outputs():
    """Return the real outputs of outputs.txt: (name, step, told, shown, output)."""
    text = (Path(__file__).parent / "outputs.txt").read_text()
    for name, section in re.findall(r"(?ms)^=== (.*?)\n(.*?)(?=^=== |\Z)", text):
        head, _, output = section.partition("\n\n")
        lines = [line.split(": ", 1) for line in head.splitlines()]
        (step,) = [value for key, value in lines if key == "step"]
        told = [value for key, value in lines if key == "told"]
        shown = [value for key, value in lines if key == "shown"]
        yield pytest.param(step, told, shown, output, id=name)


def advice(output, directory=""):
    found = diagnosis.cause_of(diagnosis.readable(output), directory)
    return found.told if found else ""


# --- Real outputs --------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "told", "shown", "output"), list(outputs()))
def test_a_message_says_what_to_do_and_shows_why(step, told, shown, output):
    noise = "".join(f"a line before {number}\n" for number in range(500))
    for text in (output, noise + output):
        what, _, lines = release_hints.explain(step, text).partition("It printed:\n")
        assert not [word for word in told if word not in what], what
        assert not [word for word in shown if word not in lines], lines
        assert len(lines.splitlines()) < 2 * diagnosis.LINES


def test_the_causes_of_real_outputs_are_sure_unless_they_say_perhaps():
    """A known cause replaces the hint of the step; a possible one comes before it."""
    for each in outputs():
        step, told, _, output = each.values
        assert (release_hints.HINTS[step][1] in release_hints.explain(step, output)) == (
            "Perhaps" in told
        )


# --- The table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", causes.CAUSES, ids=lambda cause: cause.advice[:40])
def test_a_row_of_the_table_can_be_read(cause):
    pattern = re.compile(cause.pattern, re.MULTILINE)
    groups = {name.rstrip("0123456789") for name in pattern.groupindex}
    known = {"directory", "package", "project", "headers", "built", "path", "host", "name",
             "handler"}  # fmt: skip
    assert set(Template(cause.advice).get_identifiers()) <= groups | known
    assert not pattern.search(""), "it finds nothing in nothing"


def variables():
    text = (ROOT / "roles/app_description/defaults/main.yml").read_text()
    for role in ("gunicorn", "celery_worker", "postgresql", "ca_certificates"):
        text += (ROOT / f"roles/{role}/defaults/main.yml").read_text()
    return set(re.findall(r"^(\w+):", text, re.M))


def test_the_advice_names_variables_that_there_are():
    told = " ".join(cause.advice for cause in causes.CAUSES)
    words = r"\b(?:app|gunicorn|celery_worker|postgresql|ca_certificates)_[a-z_]+"
    assert set(re.findall(words, told)) <= variables()


# --- Where the cause is looked for ---------------------------------------------------------------

TRACEBACK = "Traceback (most recent call last):\n"
MODULE = (
    TRACEBACK + "  File \"x.py\", line 1, in <module>\nModuleNotFoundError: No module named 'foo'\n"
)


def test_an_error_that_nobody_minds_is_not_the_cause():
    """A cache that falls back logs a refused connection; the process ends of something else."""
    refused = "WARNING cache: Error 111 connecting to 127.0.0.1:6379. Connection refused.\n"
    assert "no module foo" in advice(refused + MODULE)
    assert "no module foo" in advice(MODULE + "[10] [INFO] Worker exiting\n" + refused)
    assert "Redis does not answer" in advice(refused + MODULE.replace("No module named", "broken"))


def test_a_warning_of_djangos_checks_is_not_the_cause():
    """A failed migration prints them before its own exception."""
    warned = "?: (security.W012) SESSION_COOKIE_SECURE is not set to True. It is better.\n"
    broken = TRACEBACK + '  File "y.py", line 1\ndjango.db.utils.IntegrityError: null value\n'
    assert advice(warned + broken) == ""
    assert advice(warned.replace("?: ", "shop.Item.name: ")) == ""
    assert "API_TOKEN" in advice(warned + "?: (shop.E001) API_TOKEN is not set.\n" + broken)


def test_the_last_chain_of_exceptions_is_the_one_that_counts():
    other = TRACEBACK + '  File "y.py", line 1\nOSError: [Errno 28] No space left on device\n'
    assert "disk is full" in advice(MODULE + "\nretrying\n" + other)
    assert "no module foo" in advice(other + "\nretrying\n" + MODULE)


def test_a_chain_of_many_lines_keeps_its_first_exception():
    frames = "".join(f'  File "/x/{number}.py", line 1, in f\n    f()\n' for number in range(40))
    direct = "\nThe above exception was the direct cause of the following exception:\n\n"
    during = "\nDuring handling of the above exception, another exception occurred:\n\n"
    text = (
        f"{TRACEBACK}{frames}KeyError: 'one'\n{direct}{TRACEBACK}{frames}ValueError: two\n"
        f"{during}{TRACEBACK}{frames}django.core.exceptions.ImproperlyConfigured: three\n"
    )
    lines = diagnosis.readable(text)
    assert [each.linked for each in diagnosis.exceptions(lines)] == [False, True, True]
    shown = diagnosis.shown(lines, None)
    assert len(lines) > 60 and len(shown) < 2 * diagnosis.LINES
    for line in ("KeyError: 'one'", '  File "/x/39.py", line 1, in f', "    f()",
                 "ValueError: two",
                 "django.core.exceptions.ImproperlyConfigured: three"):  # fmt: skip
        assert line in shown
    assert shown.index("KeyError: 'one'") < shown.index("ValueError: two")
    assert diagnosis.GAP in shown


@pytest.mark.parametrize(
    ("before", "inside"),
    [("", ""), ("      ", "      "), ("  | ", "  | "), ("[ERROR/MainProcess] failed\n", "")],
)
def test_a_traceback_is_found_where_a_program_has_indented_it(before, inside):
    text = MODULE.rstrip("\n").replace("\n", "\n" + inside)
    lines = diagnosis.readable(f"{before}{text}")
    (raised,) = diagnosis.exceptions(lines)
    assert lines[raised.line].endswith("No module named 'foo'")


def test_a_traceback_without_an_end_is_none():
    assert diagnosis.exceptions(diagnosis.readable(TRACEBACK + '  File "x.py", line 1\n')) == []
    assert diagnosis.exceptions([]) == []


def test_a_log_of_json_lines_is_read():
    record = {"level": "error", "event": "boot failed", "exception": MODULE}
    text = json.dumps(record)
    assert "no module foo" in advice(text)
    assert "ModuleNotFoundError: No module named 'foo'" in release_hints.explain("trial", text)
    raised = {"exc_type": "ModuleNotFoundError", "exc_value": "No module named 'foo'", "frames": []}
    assert "no module foo" in advice(json.dumps({"event": "boot failed", "exception": [raised, 5]}))
    for other in ("{}", '{"a": 1}', "{broken}", "[1]", '{"message": 5}', "{" * 50_000 + "}" * 9):
        assert diagnosis.readable(other)[0].startswith(other[:10])


# --- What the advice depends on -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "directory", "told"),
    [
        ("logs/app.log", "", "Add logs to app_shared_directories"),
        ("backend/logs/app.log", "backend", "Add logs to app_shared_directories"),
        ("var/cache/x/y", "", "Add var/cache/x to app_shared_directories"),
        ("app.log", "", "Write to a directory of its own"),
        (".venv/lib/python3.13/site-packages/tldextract/.cache/x", "", "A package writes beside"),
    ],
)
@pytest.mark.parametrize(
    "said",
    ["OSError: [Errno 30] Read-only file system: '{}'", "PermissionError: [Errno 13] Permission "
     "denied: '{}'", "Error: EROFS: read-only file system, open '{}'", "EACCES: permission denied,"
     " mkdir '{}'"],
)  # fmt: skip
def test_a_path_below_a_release_names_the_shared_directories(path, directory, told, said):
    for root in (RELEASE, "/srv/my-shop/current"):
        assert told in advice(said.format(f"{root}/{path}"), directory)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # Descriptions of files
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("ENOSPC: no space left on device, write", "The disk is full"),
        ("psycopg.errors.DiskFull: could not extend file", "The disk is full"),
        ("[Errno 13] Permission denied: '/var/www/shop/shared/media/a'", "ls -ld /var/www/shop"),
        ("[Errno 13] Permission denied: '/srv/data/a'", "may not use /srv/data/a"),
        ("[Errno 30] Read-only file system: '/srv/exports/a.csv'",
         "{ReadWritePaths: /srv/exports}"),
        ("[Errno 30] Read-only file system: '/var/log/shop/a/b'",
         "{ReadWritePaths: /var/log/shop/a}"),
        ("[Errno 30] Read-only file system: '/var/www/shop/.cache/x'", "XDG_CACHE_HOME"),
        ("mkdir: cannot create directory 'node_modules': Read-only file system", "node_modules"),
        ("/bin/sh: 1: cannot create logs/x: Read-only file system", "logs/x"),
        ("sqlite3.OperationalError: attempt to write a readonly database", "DATABASE_URL"),
        ("/bin/sh: 1: ./build.sh: Permission denied", "--chmod=+x ./build.sh"),
        ("OSError: [Errno 8] Exec format error: './x'", "another CPU"),
        # Processes
        ("shop.service: A process of this unit has been killed by the OOM killer.", "memory is"),
        ("[ERROR] Worker (pid:5) was sent SIGKILL! Perhaps out of memory?", "memory"),
        ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
         "memory is used up"),
        ("[ERROR] Worker (pid:5) was sent SIGSEGV!", "Perhaps: A library in C has crashed"),
        ("Main process exited, code=dumped, status=5/TRAP", "MemoryDenyWriteExecute: false"),
        ("Main process exited, code=dumped, status=31/SYS", "SystemCallFilter"),
        ("npm error signal SIGTRAP", "MemoryDenyWriteExecute: false"),
        ("status=226/NAMESPACE", "systemd cannot set up the sandbox"),
        ("x.service: Failed to set up mount namespacing: /srv/x: No such file", "/srv/x"),
        # Services
        ('psycopg2.OperationalError: connection to server on socket "/run/.s.PGSQL.5432" failed: '
         'FATAL:  Peer authentication failed for user "shop"', "refuses the user"),
        ('File "/x/cv2/__init__.py", line 8\n    from .cv2 import *\nImportError: libxcb.so.1: '
         "cannot open shared object file", "opencv-python-headless"),
        ('psycopg2.OperationalError: connection to server at "127.0.0.1", port 5432 failed: '
         "Connection refused", "PostgreSQL does not answer on this host"),
        ('psycopg2.OperationalError: could not translate host name "db" to address: Name or '
         "service not known", "host name db"),
        ('connection to server at "10.0.0.5", port 5432 failed: Connection timed out',
         "PostgreSQL does not answer at 10.0.0.5"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.2", user "u", database "d", no encryption',
         "lets nobody in from 10.0.0.2"),
        ("FATAL:  sorry, too many clients already", "postgresql_max_connections"),
        ("django.db.utils.ProgrammingError: permission denied for schema public", "REASSIGN"),
        ("kombu.exceptions.OperationalError: Error 111 connecting to localhost:6379. Connection "
         "refused.", "Redis does not answer on this host"),
        ("redis.exceptions.ConnectionError: Error 111 connecting to 10.0.0.9:6379. Connection "
         "refused.", "Redis does not answer at 10.0.0.9"),
        ("NOAUTH Authentication required.", "Redis refuses"),
        ("redis.exceptions.NoPermissionError: this user has no permissions to run the 'config|get' "
         "command", "redis_commands: ['config|get']"),
        ("app_broker: amqp://guest:**@localhost:5672// does not answer: OperationalError('[Errno "
         "111] Connection refused')", "Celery uses its default broker"),
        ("amqp.exceptions.AccessRefused: (0, 0): (403) ACCESS_REFUSED - Login was refused",
         "RabbitMQ refuses"),
        ("ConnectionRefusedError: [Errno 111] Connection refused", "Perhaps: A service"),
        # Settings
        ("decouple.UndefinedValueError: API_TOKEN not found. Declare it as envvar or define a "
         "default value.", "app_environment: {API_TOKEN: VALUE}"),
        ('environs.EnvError: Environment variable "API_TOKEN" not set',
         "app_environment: {API_TOKEN: VALUE}"),
        ("ImproperlyConfigured: The API_TOKEN environment variable must be set.",
         "app_environment: {API_TOKEN: VALUE}"),
        ('  File "/usr/lib/python3.11/os.py", line 679, in __getitem__\n    raise KeyError(key)\n'
         "KeyError: 'API_TOKEN'", "app_environment: {API_TOKEN: VALUE}"),
        ("ValueError: BUCKET_NAME must be set", "Perhaps: The settings want a value for BUCKET"),
        ("1 validation error for Settings\napi_token\n  Field required [type=missing, input",
         "Perhaps: The settings want a value for api_token"),
        ("django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not be empty.",
         'os.environ["SECRET_KEY"]'),
        ("Invalid HTTP_HOST header: 'shop.example'. You may need to add it", "ALLOWED_HOSTS"),
        ("GET /health/: 404 Not Found\n<h1>Not Found</h1>", "app_health_path"),
        ("GET /: 400 Bad Request\n<h1>Bad Request (400)</h1>", "Perhaps: Django answers 400"),
        ('django.db.utils.ProgrammingError: relation "shop_item" already exists', "--fake"),
        ('psycopg.errors.UndefinedTable: relation "shop_item" does not exist', "(yet)"),
        ("CommandError: Conflicting migrations detected; multiple leaf nodes", "--merge"),
        ("locale.Error: unsupported locale setting", "locales-all"),
        # Packages
        ("Error: pg_config executable not found.", "libpq-dev"),
        ("  src/x.c:10:10: fatal error: Python.h: No such file or directory", "python3-dev"),
        ("      fatal error: ldap.h: No such file or directory", "libldap-dev, libsasl2-dev"),
        ("fatal error: odd/thing.h: No such file or directory",
         "the Debian package that has odd/thing.h"),
        ("error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory", "[gcc, "),
        ("ERROR: Failed building wheel for pillow\nRequiredDependencyException: jpeg",
         "libjpeg-dev"),
        ("ImportError: failed to find libmagic.  Check your installation", "libmagic-dev"),
        ("OSError: no library called \"cairo-2\" was found", "libcairo2"),
        ("OSError: cannot load library 'libpango-1.0-0': libpango-1.0-0: cannot open shared object"
         " file", "libpangoft2-1.0-0"),
        ("app_celery: nope cannot be imported: ModuleNotFoundError(\"No module named 'nope'\")",
         "no such module: app_celery should"),
        ("app_asgi: nope:x cannot be imported: ModuleNotFoundError(\"No module named 'nope'\")",
         "no such module: app_asgi should"),
        ("app_wsgi: shop.wsgi:application cannot be imported: ModuleNotFoundError(\"No module "
         "named 'redis'\")", "no module redis"),
        ('ImportError: Module "shop.wsgi" does not define a "app" attribute/class',
         "app_wsgi or app_asgi should name"),
        ("app_broker: the packages of Celery for redis cannot be imported: ModuleNotFoundError("
         "\"No module named 'packaging'\")", 'app_packages: ["celery[redis]"]'),
        ("ImportError: Missing redis library (pip install redis)", "app_packages: [redis]"),
        ("ModuleNotFoundError: No module named 'shop.settings_live'", "app_settings_module"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'ffmpeg'", "add ffmpeg to"),
        ("/bin/sh: 1: npm: not found", "add npm to app_apt_packages"),
        ("CommandError: Can't find msgfmt. Make sure you have GNU gettext tools", "add gettext"),
        ("/usr/bin/env: ‘flower’: No such file or directory", "package of Python has it"),
        ("env: 'npm': No such file or directory", "else add npm to app_apt_packages"),
        ("Unknown command: 'gone'. Did you mean once?", "app_processes, app_schedules"),
        ("Main process exited, code=exited, status=200/CHDIR", "If app_directory has changed"),
        (
            "shop.service: Changing to the requested working directory failed: Permission denied\n"
            "Main process exited, code=exited, status=200/CHDIR",
            "Compare app_sandbox",
        ),
        # Any language
        ("Fehler: [Errno 28] Auf dem Gerät ist kein Speicherplatz mehr verfügbar", "disk is full"),
        ("ошибка: [Errno 30] Файловая система: '" + RELEASE + "/логи/x'", "Add логи to"),
    ],
)  # fmt: skip
def test_a_cause_is_known(text, told):
    assert told in advice(text)
    assert told in advice(f'{TRACEBACK}  File "x.py", line 1, in <module>\n{text}\n')


@pytest.mark.parametrize("path", ["/etc/x", "/x", "/var/x", "/usr/lib/x/y", "/var/log/shop.log"])
def test_no_advice_opens_a_directory_of_others(path):
    told = advice(f"OSError: [Errno 30] Read-only file system: '{path}'")
    assert path in told and "ReadWritePaths" not in told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Operations to perform:\nRunning migrations:\n  No migrations to apply.",
        "shop.models.Broken: something of the project's own",
        "System check identified no issues (0 silenced).",
        "AssertionError: 13 != 30",
        "KeyError: 'quantity'",
        "Copying '/srv/x/errno.js'",
        "ValueError: redis is a nice word, and so is SIGNAL",
        "The step has read 127.0.0.1:5432 and was served in 30 ms",
        "[2026-11-27 10:00:00] [1] [INFO] Booting worker with pid: 5",
        "ERROR: check the MEMORY of mankind",
        ".> transport:   redis://:**@127.0.0.1:6379/0\n.> results:     disabled://",
        "No DATABASE_URL environment variable set, and so no databases setup",
        "git@git.example: Permission denied (publickey).\nfatal: Could not read from remote",
        "fatal: Permission denied to ada for https://git.example/ada/shop.git",
    ],
)
def test_an_unknown_cause_leaves_the_hint_of_the_step(text):
    assert advice(text) == ""
    assert release_hints.explain("plan", text).startswith(PLAN)


# --- What is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "secret", "left"),
    [
        ("could not connect to postgresql://shop:s3cr3t-pw@10.0.0.5/shop", "s3cr3t-pw",
         "postgresql://shop:***@10.0.0.5/shop"),
        ("redis://:s3cr3t-pw@127.0.0.1:6379/0 is away", "s3cr3t-pw", "redis://:***@127.0.0.1"),
        ("fetching https://token:s3cr3t-pw@pypi.example/simple", "s3cr3t-pw", "pypi.example"),
        ("cannot access 'https://s3cr3t-pw@git.example/x.git/'", "s3cr3t-pw", "git.example/x.git"),
        ("git+https://s3cr3t-pw:@git.example/x.git", "s3cr3t-pw", "git+https://***@git.example"),
        ("environ({'SECRET_KEY': 's3cr3t-pw', 'A': '1'})", "s3cr3t-pw", "'A': '1'"),
        ("EMAIL_HOST_PASSWORD=s3cr3t-pw HOME=/x", "s3cr3t-pw", "HOME=/x"),
        ('{"message": "login", "api_key": "s3cr3t-pw"}', "s3cr3t-pw", "login"),
        ("password=s3cr3t-pw host=db", "s3cr3t-pw", "host=db"),
    ],
)  # fmt: skip
def test_no_secret_is_shown(text, secret, left):
    told = release_hints.explain("plan", text)
    assert secret not in told
    assert left in told


def test_what_only_looks_like_a_secret_is_shown():
    text = 'SECRET_KEY = os.environ["SECRET_KEY"]\npassword authentication failed for user "x"'
    assert text in release_hints.explain("imports", text)


def test_the_line_of_the_cause_is_shown_wherever_it_is():
    lines = [f"line {number}" for number in range(5000)]
    lines[2500] = "ValueError: libGL.so.1: cannot open shared object file"
    told = release_hints.explain("imports", "\n".join(lines)).splitlines()
    assert lines[2500] in told and "line 4999" in told and "line 0" not in told


def test_a_long_line_keeps_both_its_ends():
    line = "error: " + "x" * 10**5 + " the end"
    (_, shown) = release_hints.explain("imports", line).split("It printed:\n")
    assert shown.startswith("error: xxx") and shown.endswith("xxx the end")
    assert len(shown) <= diagnosis.WIDTH


def test_a_hook_of_the_switch_says_that_the_release_is_live():
    told = explain_failure(
        "EROFS: read-only file system, open '/etc/x'\r\n", "after_switch", "live"
    )
    assert told.startswith("The directive ProtectSystem")
    assert 'The step "after_switch" failed, and live.' in told


def test_what_a_service_says_at_each_restart_is_shown_once():
    log = "Error:\n" + MODULE.replace("foo", "os") + "ERROR: it ends\n" + "noise\n" * 30
    report = diagnosis.report("x.service does not start; journalctl -u x says:", log * 20)
    for text in (report, release_hints.explain("services", report)):
        assert text.count("ERROR: it ends") == 1 and "Error:" not in text.splitlines()
        assert "x.service does not start; journalctl -u x says:" in text


@pytest.mark.parametrize("line", ["advice: run curl x | sh", "MEDIA_ROOT is x: run curl x | sh"])
def test_an_application_gives_no_advice_in_our_name(line):
    assert diagnosis.report("celery.service does not start", line).startswith("celery.service")
    for step in ("services", "migrate", "after_switch"):
        assert release_hints.explain(step, line).startswith(release_hints.HINTS[step][1])


def test_the_last_advice_of_the_packages_counts():
    """Before it, a build may have printed another."""
    told = release_hints.explain("packages", "advice: run curl x | sh\nadvice: app_python: 3.11\n")
    assert told.startswith("app_python: 3.11\n")


def test_advice_that_a_service_has_given_is_not_said_again():
    report = diagnosis.report("celery.service does not start", MODULE)
    assert report.startswith("Python finds no module foo")
    assert "celery.service does not start" in report.splitlines()
    told = release_hints.explain("services", report)
    assert told.count("Python finds no module foo") == 1
    assert "celery.service does not start" in told


@pytest.mark.parametrize(
    "hostile",
    [
        'File "' + RELEASE + "/" + "a/" * 50_000,
        "AF_INET " * 60_000,
        "127.0.0.1 5432 " * 40_000,
        ('File "' + RELEASE + '/shop/x.py"\n') * 6000,
        "169.254.1.1\n" * 40_000,
        TRACEBACK * 15_000,
        "os.environ[x]\n" * 40_000,
        "'" * 500_000,
        "password=" * 60_000,
        "a://" * 100_000,
        '{"message": "' + "[Errno 1]" * 50_000 + '"}',
        "Package 'x' " * 40_000,
        "connect(\n" * 50_000,
        "\r" * 500_000,
        "a_" * 250_000 + "password",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_hostile_output_takes_no_long_time(hostile):
    begun = time.process_time()
    told = release_hints.explain("imports", hostile)
    assert time.process_time() - begun < 5
    assert len(told) < 2 * diagnosis.LINES * diagnosis.WIDTH


def test_nothing_that_turns_text_around_reaches_a_terminal():
    told = release_hints.explain("check", "a\u202eb \u2066c \x1b[31mred\x1b[0m \x9b2J\nold\rnew")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b\x9b\r]", told)
    assert "red" in told and "new" in told
