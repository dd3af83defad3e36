"""`make demo`: a blank droplet on this machine, provisioned and checked from outside.

Use it as ``python -m tools.demo up|droplet|clean``. The ports and Debian's release come from
DEMO_SSH_PORT, DEMO_HTTP_PORT, DEMO_HTTPS_PORT and DEMO_RELEASE.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from tools import droplet, engine

ROOT = Path(__file__).resolve().parent.parent
NAME = "django-stack-demo"
CACHE = engine.CACHE / "demo"
LOG = CACHE / "provision.log"
SECRETS = ROOT / "inventories" / ".secrets" / "demo"
PLAYBOOK = ["ansible-playbook", "-i", "inventories/demo.yml", "site.yml"]
PATIENCE = 30.0  # seconds until every component is up: beat's first tick comes after about 10
TIMEOUT = 10.0  # seconds for one HTTP answer
PORTS = {"DEMO_SSH_PORT": (2222, 22), "DEMO_HTTP_PORT": (8080, 80), "DEMO_HTTPS_PORT": (8443, 443)}


class DemoError(RuntimeError):
    """A phase failed.

    Attributes:
        tell: what is known of it: the end of what the command printed, if anything.
        command: the command line that failed, if there was one.
        hint: what to try next.
    """

    def __init__(self, tell: str, command: str = "", hint: str = "") -> None:
        """Keep the parts apart, for printing."""
        super().__init__(tell)
        self.tell, self.command, self.hint = tell, command, hint


@dataclass(frozen=True)
class Settings:
    """What the environment says: this machine's ports by variable, and Debian's release."""

    ports: Mapping[str, int]
    release: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Read the DEMO_ variables.

        Raises:
            DemoError: if one is not a port, or not a release that there is.
        """
        ports = {}
        for variable, (default, _) in PORTS.items():
            text = environment.get(variable) or str(default)
            if not text.isdecimal() or not 0 < int(text) < 65536:
                raise DemoError(f"{variable}={text} is not a port")
            ports[variable] = int(text)
        release = environment.get("DEMO_RELEASE") or "13"
        if release not in droplet.RELEASES:
            raise DemoError(f"DEMO_RELEASE={release}: there is {' and '.join(droplet.RELEASES)}")
        return cls(ports, release)

    @property
    def publish(self) -> list[str]:
        """The ports as the droplet wants them: "2222:22" and so on."""
        return [f"{self.ports[variable]}:{inside}" for variable, (_, inside) in PORTS.items()]

    @property
    def url(self) -> str:
        """The demo's front door."""
        return f"http://127.0.0.1:{self.ports['DEMO_HTTP_PORT']}"


def style(text: str, code: str) -> str:
    """Return a text in a colour, where there is a terminal that wants colours."""
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


@dataclass
class Report:
    """Prints each phase as it ends, and remembers which one runs."""

    phase: str = ""
    began: float = field(default_factory=time.monotonic)

    def run(self, phase: str, work: Callable[[], str]) -> None:
        """Run a phase; print its name, what it returns and its seconds."""
        self.phase = phase
        begun = time.monotonic()
        if sys.stdout.isatty():
            print(f"  {phase} ...", end="\r", flush=True)
        told = work()
        seconds = time.monotonic() - begun
        print(f"  {style(f'{phase:<10}', '1')} {told:<50} {seconds:7.1f} s", flush=True)


# --- Checks: each asks the front door as a browser would and returns what it saw. -------------


def _session() -> requests.Session:
    """Return a session that never leaves through a proxy: the demo is on this machine."""
    session = requests.Session()
    session.trust_env = False
    return session


def _ask(url: str, method: str = "GET", want: int = 200, **more: Any) -> requests.Response:  # noqa: ANN401 - handed on to requests
    """Return the answer to a request.

    Raises:
        DemoError: if there is none, or with another status than `want`.
    """
    asked = f"{method} {url}"
    try:
        answer = _session().request(method, url, timeout=TIMEOUT, allow_redirects=False, **more)
    except requests.RequestException as error:
        raise DemoError(f"no answer: {error}", asked) from error
    if answer.status_code != want:
        raise DemoError(f"answers {answer.status_code}, not {want}: {answer.text[:400]}", asked)
    return answer


def _json(answer: requests.Response) -> Any:  # noqa: ANN401 - whatever the API says
    """Return an answer's JSON.

    Raises:
        DemoError: if it is something else.
    """
    try:
        return answer.json()
    except ValueError as error:
        kind = answer.headers.get("Content-Type", "nothing")
        raise DemoError(f"answers {kind}, not JSON: {answer.text[:400]}", answer.url) from error


def check_pages(url: str) -> str:
    """Fetch the landing page and the API's list."""
    _ask(f"{url}/")
    _json(_ask(f"{url}/api/users/"))
    return "GET / and /api/users/: 200"


def check_user(url: str) -> str:
    """Make a user, read it back from the database."""
    name = f"demo-{time.time_ns():x}"
    made = _json(_ask(f"{url}/api/users/", "POST", 201, json={"username": name}))
    found = _json(_ask(f"{url}/api/users/{made.get('id')}/"))
    if found.get("username") != name:
        raise DemoError(f"the user {name} reads back as {found}", f"GET /api/users/{made['id']}/")
    return f"POST /api/users/, then GET /api/users/{made['id']}/: {name}"


def check_status(url: str, patience: float = PATIENCE) -> str:
    """Wait until every component answers; return each one's milliseconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            checks = _json(_ask(f"{url}/api/status/")).get("checks")
            break
        except DemoError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    if not checks or not all(check.get("ok") for check in checks.values()):
        raise DemoError(f"answers 200 without every check being ok: {checks}", f"{url}/api/status/")
    told = ", ".join(f"{name} {check['ms']:.0f} ms" for name, check in checks.items())
    return f"GET /api/status/: {told}"


def check_static(url: str) -> str:
    """Fetch a stylesheet by its plain name, and the hashed one that the admin links."""
    _ask(f"{url}/static/admin/css/base.css")
    page = _ask(f"{url}/admin/login/").text
    link = re.search(r'href="(/static/[^"]+\.[0-9a-f]{8,}\.css)"', page)
    if not link:
        raise DemoError("links no stylesheet with a hash in its name", f"GET {url}/admin/login/")
    policy = _ask(url + link[1]).headers.get("Cache-Control", "")
    age = re.search(r"max-age=(\d+)", policy)
    if not age or int(age[1]) < 86400:
        raise DemoError(f"Cache-Control is {policy!r}: not for a day or more", f"GET {link[1]}")
    return f"GET {link[1]}: {policy}"


def check_unknown_host(url: str) -> str:
    """Ask under a name that is not ours: nginx must hang up, or refuse."""
    try:
        answer = _session().get(
            url, timeout=TIMEOUT, allow_redirects=False, headers={"Host": "unknown.example"}
        )
    except requests.ConnectionError:
        return "Host: unknown.example: connection closed"
    if not 400 <= answer.status_code < 500:
        raise DemoError(f"answers {answer.status_code}", f"GET {url} as unknown.example")
    return f"Host: unknown.example: {answer.status_code}"


CHECKS = [check_pages, check_user, check_status, check_static, check_unknown_host]


# --- Phases -----------------------------------------------------------------------------------


def check_ports(settings: Settings) -> None:
    """Look that nothing listens where the droplet's ports will be.

    Raises:
        DemoError: if something does; names the variable that moves the port.
    """
    for variable, port in settings.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise DemoError(
                    f"port {port} of this machine: {error.strerror}",
                    hint=f"choose another port: make demo {variable}={port + 10000}",
                ) from error


def provision(environment: Mapping[str, str]) -> str:
    """Run the playbook on the terminal, its output also into the log.

    Returns:
        How much it changed.

    Raises:
        DemoError: if it fails.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    command = " ".join(PLAYBOOK)
    with subprocess.Popen(
        PLAYBOOK, cwd=ROOT, env={**environment, "ANSIBLE_LOG_PATH": str(LOG)}
    ) as playbook:
        try:
            code = playbook.wait()
        except KeyboardInterrupt:
            playbook.wait()  # the terminal's Ctrl-C has reached it too: let it end by itself
            raise
    print()
    if code:
        raise DemoError(
            f"exit code {code}; its messages are above and in {LOG.relative_to(ROOT)}",
            command,
            f"correct what the message names and run `make demo` again; `{command} -v` tells more",
        )
    changed = sum(map(int, re.findall(r" changed=(\d+)", LOG.read_text(errors="replace"))))
    return f"changed={changed}" if changed else "changed=0: the droplet was as it should be"


def troubles(client: docker.DockerClient) -> str:
    """Return the last journal lines of the droplet's failed units, else its last errors."""
    container = droplet.find(client, NAME)
    if not container or container.status != "running":
        return ""
    told = []
    failed = droplet.execute(container, "systemctl", "--failed", "--plain", "--no-legend")
    for line in failed.splitlines():
        unit = line.split()[0]
        journal = droplet.execute(container, "journalctl", "--no-pager", "--lines=20", "-u", unit)
        told.append(f"{unit} failed:\n{journal}")
    if not told:
        errors = ["journalctl", "--no-pager", "--lines=20", "--priority=err", "--quiet"]
        told.append(f"The droplet's last errors:\n{droplet.execute(container, *errors)}")
    return "\n".join(told)


def up(report: Report, settings: Settings, only_droplet: bool = False) -> None:
    """Run the phases.

    Raises:
        DemoError, DropletError, EngineError, DockerException: when one fails.
    """
    client: docker.DockerClient | None = None
    told: list[str] = []

    def start_engine() -> str:
        nonlocal client
        client = engine.ensure()
        return f"Docker {engine.version(client)} answers"

    def make_image() -> str:
        assert client
        _, made = droplet.ensure_image(client, settings.release)
        return f"Debian {settings.release}, {'made' if made else 'is there'}"

    def make_droplet() -> str:
        assert client
        there = droplet.find(client, NAME)
        if not there or there.status != "running":
            check_ports(settings)
        _, done = droplet.up(client, NAME, settings.release, settings.publish)
        return f"{NAME} {done}, SSH on 127.0.0.1:{settings.ports['DEMO_SSH_PORT']}"

    def run_playbook() -> str:
        ports = {variable: str(port) for variable, port in settings.ports.items()}
        return provision({**os.environ, **ports})

    def ask() -> str:
        told.extend(check(settings.url) for check in CHECKS)
        return f"{len(told)} checks through {settings.url}"

    report.run("Engine", start_engine)
    report.run("Image", make_image)
    report.run("Droplet", make_droplet)
    assert client
    container = droplet.find(client, NAME)
    assert container
    login = droplet.ssh_command(container)
    if only_droplet:
        print(f"\n  {login}")
        return
    try:
        report.run("Provision", run_playbook)
        report.run("Check", ask)
    except DemoError as error:
        journal = troubles(client)
        hint = error.hint or f"look inside: {login}"
        raise DemoError(f"{error.tell}\n{journal}".strip(), error.command, hint) from error
    for line in told:
        print(f"    {line}")
    print(f"\n  {style(settings.url, '1;32')}  ready in {time.monotonic() - report.began:.1f} s\n")
    print(f"  Log in       {login}")
    print("  Administer   psychology_clinic-manage createsuperuser   (there)")
    print("  Again        make demo        Remove   make demo-clean")


def clean() -> None:
    """Remove the droplet, the images, the secrets, the cache, and an engine started here."""
    try:
        client = engine.connect()
    except engine.EngineError:
        client = None
        print("  No Docker engine answers: nothing to remove there")
    others = 0
    if client:
        droplet.down(client, NAME)
        others = len(client.containers.list(all=True, filters={"label": droplet.LABEL}))
        for image in client.images.list(name=droplet.IMAGE):
            for tag in image.tags:
                try:
                    client.images.remove(tag)
                except APIError as error:
                    if error.status_code != 409:  # in use by another droplet
                        raise
    shutil.rmtree(CACHE, ignore_errors=True)
    shutil.rmtree(SECRETS, ignore_errors=True)
    if SECRETS.parent.is_dir() and not any(SECRETS.parent.iterdir()):
        SECRETS.parent.rmdir()  # another inventory's secrets stay
    if others:
        print(f"  Kept: {others} other droplet(s), with their image and key")
        return
    shutil.rmtree(droplet.CACHE, ignore_errors=True)
    if client and engine.stop():
        print("  The Docker engine that `make demo` started is stopped")


def main(arguments: list[str]) -> int:
    """Run a verb; return the exit code."""
    if arguments not in (["up"], ["droplet"], ["clean"]):
        print("usage: python -m tools.demo up|droplet|clean", file=sys.stderr)
        return 2
    report = Report()
    try:
        if arguments == ["clean"]:
            report.phase = "Clean"
            clean()
        else:
            report.phase = "Settings"
            up(report, Settings.read(os.environ), only_droplet=arguments == ["droplet"])
    except KeyboardInterrupt:
        print(f"\n  {report.phase} interrupted. `make demo` goes on from here.")
        return 130
    except (DemoError, droplet.DropletError, engine.EngineError, DockerException) as error:
        print(style(f"\n  {report.phase} failed", "1;31"), flush=True)
        command = getattr(error, "command", "")
        if command:
            print(f"  Command  {command}")
        for line in str(error).splitlines():
            print(f"    {line}")
        hint = getattr(error, "hint", "")
        if not hint and isinstance(error, engine.EngineError):
            hint = "start Docker's engine so that `docker info` answers, then `make demo`"
        hint = hint or "`make demo-clean`, then `make demo`, begins afresh"
        print(f"  Try      {hint}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
