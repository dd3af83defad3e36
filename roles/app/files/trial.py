"""Run as the application in a release that is not live: start it and ask it a real request.

APP_GUNICORN is Gunicorn's configuration, or the argument is its file. The trial has one worker. It
ends with 0 when the answer to APP_HEALTH_PATH has a status from 200 to 399, and prints what was
wrong, and what Gunicorn has said, if it has not.
"""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT = 60.0  # seconds in which the first answer comes; an import takes one or two
# Follows the configuration for a Django project.
DJANGO = """

serve = post_worker_init


def post_worker_init(worker):
    # Without LOGGING in the settings Django tells nobody but ADMINS why a page fails.
    import logging
    for name in ("django.request", "django.security.DisallowedHost"):
        logging.getLogger(name).addHandler(logging.StreamHandler())
    read_database()
    serve(worker)


def read_database():
    # The migrations have logged in as the owner of the database; the services are another role.
    from django.db import connection
    from django.db.migrations.recorder import MigrationRecorder
    if connection.vendor == "postgresql":
        MigrationRecorder(connection).applied_migrations()
        connection.close()
"""


class Connection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: Path) -> None:
        """Remember the socket's path; the host is only a header."""
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(path: Path) -> str:
    """Return what is wrong with the answer; nothing if it is right."""
    host, url = os.environ["APP_HOST"], os.environ["APP_HEALTH_PATH"]
    connection = Connection(path)
    # As nginx would, by the scheme of the visitors.
    scheme = os.environ["APP_SCHEME"]
    headers = {"Host": host, "X-Forwarded-Proto": scheme, "X-Real-IP": "127.0.0.1"}
    try:
        connection.request("GET", url, headers=headers)
        answer = connection.getresponse()
        text = answer.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"GET {url}: {error!r}"
    location = answer.getheader("Location") or ""
    if scheme == "http" and 300 <= answer.status < 400 and location.startswith("https:"):
        return (
            f"app_certificate is none, and GET {url} leads to {location[:200]}, where nothing "
            "answers. Set app_certificate to letsencrypt, selfsigned or files; or switch the "
            "redirect off; or list the proxy that ends TLS in nginx_real_ip_from"
        )
    if 200 <= answer.status < 400:
        return ""
    return f"GET {url}: {answer.status} {answer.reason}\n{text}"


def configuration() -> str:
    """Return Gunicorn's configuration for the trial."""
    given = os.environ.pop("APP_GUNICORN", None)
    given = Path(sys.argv[1]).read_text() if given is None else given
    return given + (DJANGO if os.environ["APP_DJANGO"] else "")


def main() -> int:
    """Try the release; return the exit code."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listening:
        path, settings, log = (Path(directory, name) for name in ("socket", "settings.py", "log"))
        settings.write_text(configuration())
        listening.bind(str(path))  # as systemd does: Gunicorn itself would change its owner
        listening.listen()
        gunicorn = [str(Path(sys.executable).with_name("gunicorn")), f"--config={settings}"]
        gunicorn += [
            "--workers=1",
            f"--bind=fd://{listening.fileno()}",
            os.environ["APP_ASGI"] or os.environ["APP_WSGI"],
        ]
        with log.open("wb") as said:
            server = subprocess.Popen(
                gunicorn, stdout=said, stderr=subprocess.STDOUT, pass_fds=[listening.fileno()]
            )
        listening.close()
        wrong = ask(path)
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
        if wrong:
            print(wrong, log.read_text(errors="replace"), sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
