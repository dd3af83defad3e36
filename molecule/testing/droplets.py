"""The droplets as a visitor meets them, over HTTP, and as their owner does, over SSH.

A plugin of pytest, which `-p droplets` loads in every scenario.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import docker
import pytest
import requests
import yaml
from requests.adapters import HTTPAdapter
from testinfra.host import Host  # type: ignore[import-untyped]
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tools.bench import table

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory"
CONVERGE = PROJECT / "molecule" / "default" / "converge.yml"
NAME = "clinic.example.com"
APP = "psychology_clinic"
ROOT = "/var/www/clink-backend"
MESSAGES = "/run/sinks.jsonl"
SCHEME = "https" if SCENARIO.name == "tls" else "http"
# Molecule, or the caller's terminal, may have asked for colours; the tests read plain lines.
ENVIRONMENT = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "PYTHONUNBUFFERED": "1"}
PLATFORMS = [
    each["name"] for each in yaml.safe_load((SCENARIO / "molecule.yml").read_text())["platforms"]
]
PATIENCE = 900  # seconds that a run of a playbook gets
Answer = TypeVar("Answer")


def eventually(ask: Callable[[], Answer], patience: float = 20.0) -> Answer:
    """Return the first answer that is true; fail after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {patience:.0f} s; the last answer: {answer!r}")
        time.sleep(0.3)
    return answer


# --- Runs of playbooks --------------------------------------------------------------------------


def command_of(*arguments: str, book: Path, **environment: str) -> dict[str, Any]:
    """Return how a run of a playbook on all droplets is started."""
    return {
        "args": ["ansible-playbook", f"--inventory={INVENTORY}", str(book), *arguments],
        "cwd": PROJECT,
        "env": ENVIRONMENT | environment,
        "text": True,
    }


def playbook_process(
    *arguments: str, book: Path = CONVERGE, **environment: str
) -> subprocess.Popen[str]:
    """Start a run of a playbook on all droplets, and leave it to the caller.

    All that it prints comes by stdout: a pipe that nobody empties would stop it for good.
    """
    return subprocess.Popen(
        **command_of(*arguments, book=book, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def playbook(
    *arguments: str, book: Path = CONVERGE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a playbook on all droplets; site.yml, as Molecule's converge does, if no other.

    Raises:
        subprocess.TimeoutExpired: after PATIENCE seconds.
    """
    started = command_of(*arguments, book=book, **environment)
    return subprocess.run(**started, capture_output=True, timeout=PATIENCE)


def cut_off(run: subprocess.Popen[str]) -> None:
    """Kill a run with all that it has started: the end of its machine, for all the host knows."""
    doomed = [run.pid]
    for process in doomed:  # which grows meanwhile
        command = ["pgrep", "--parent", str(process)]
        doomed += map(int, subprocess.run(command, capture_output=True, text=True).stdout.split())
    for process in doomed:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    run.wait()


def changed(told: str) -> list[str]:
    """Return how many tasks changed something, for each droplet, from what a run printed."""
    return re.findall(r"changed=(\d+)", told)


# --- Droplets -----------------------------------------------------------------------------------


class Named(HTTPAdapter):
    """Has a session name a site in the handshake, whatever the URL says."""

    def __init__(self, name: str) -> None:
        """Remember the name, which the pool wants at once."""
        self.name = name
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401 - as requests has it
        """Hand the name on to urllib3."""
        super().init_poolmanager(*arguments, **settings, server_hostname=self.name)


class Door:
    """The front door of a droplet: its address, from another machine, by HTTPS where there is.

    Nothing is said of the certificate here.
    """

    def __init__(self, name: str, address: str) -> None:
        """Ask nobody yet."""
        self.name = name
        self.address = address
        self.url = f"{SCHEME}://{address}"
        self.sessions: dict[str, requests.Session] = {}

    def session(self, name: str) -> requests.Session:
        """Return the session of who asks for a site by its name."""
        if name not in self.sessions:
            session = self.sessions[name] = requests.Session()
            session.trust_env = False  # no proxy
            session.verify = False
            session.mount("https://", Named(name))
        return self.sessions[name]

    def ask(
        self,
        path: str,
        method: str = "GET",
        name: str = NAME,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        data: bytes | None = None,
    ) -> requests.Response:
        """Return the answer to a request for a path of the site."""
        return self.session(name).request(
            method,
            self.url + path,
            headers={"Host": name, **(headers or {})},
            json=json,
            data=data,
            timeout=10,
            allow_redirects=False,
        )

    def post(self, path: str, **body: object) -> dict[str, Any]:
        """Return what was made of a JSON body."""
        answer = self.ask(path, "POST", json=body)
        assert answer.status_code in (201, 202), answer.text
        made: dict[str, Any] = answer.json()
        return made


@pytest.fixture(scope="module")
def door(host: Host) -> Door:
    """The front door of the droplet that the test is about."""
    return door_of(host)


def door_of(host: Host) -> Door:
    """Return the front door of a droplet."""
    name = name_of(host)
    container = docker.from_env().containers.get(name)
    networks = container.attrs["NetworkSettings"]["Networks"]
    return Door(name, next(network["IPAddress"] for network in networks.values()))


@pytest.fixture(scope="module")
def sql(host: Host) -> Callable[[str], str]:
    """Ask the application's database as its superuser."""

    def ask(query: str) -> str:
        command = f"runuser -u postgres -- psql -tA -d {APP} -c %s"
        return str(host.check_output(command, query))

    return ask


@pytest.fixture(scope="module")
def messages(host: Host) -> Callable[[], list[dict[str, str]]]:
    """Start the sinks, and read what they have taken."""
    if host.run("systemctl is-active --quiet sinks").failed:
        code = base64.b64encode((Path(__file__).with_name("sinks.py")).read_bytes()).decode()
        host.check_output("echo %s | base64 -d >/run/sinks.py", code)
        host.check_output(
            f"touch {MESSAGES}; systemd-run --unit=sinks python3 /run/sinks.py {MESSAGES}"
        )
        eventually(lambda: host.socket("tcp://0.0.0.0:1080").is_listening)

    def read() -> list[dict[str, str]]:
        return [json.loads(line) for line in host.file(MESSAGES).content_string.splitlines()]

    return read


@pytest.fixture
def stamp() -> str:
    """A text that no other test uses."""
    return f"{time.time_ns():x}"


# --- The tests of all droplets at once ------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _droplet(host: Host) -> None:
    """Have each test name its droplet, so that it runs beside the tests of another one."""


class ByDroplet(LoadScopeScheduling):  # type: ignore[misc]
    """Give each droplet's tests to one process, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the droplet of a test, which is the first of its parameters."""
        found = re.search(r"\[\w+://([\w-]+)", nodeid)
        return next((name for name in PLATFORMS if found and found[1].startswith(name)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByDroplet:
    """Have pytest-xdist run the tests of the droplets at once."""
    return ByDroplet(config, log)


def name_of(host: Host) -> str:
    """Return the name of a droplet."""
    return str(host.backend.get_pytest_id().rpartition("//")[2])


# --- The report ---------------------------------------------------------------------------------

FIGURES = pytest.StashKey[list[dict[str, str]]]()
FAILURES = PROJECT / ".cache" / "molecule-failures" / SCENARIO.name
LINES, WIDTH = 8, 200  # of each failure, the last and what is kept of them


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[dict[str, str]]:
    """Rows for the tables at the end of the session, one table for those with the same keys."""
    return pytestconfig.stash.setdefault(FIGURES, [])


def end_of(report: pytest.TestReport) -> str:
    """Return the name of a failed test and the last that it said."""
    lines = [report.nodeid, *report.longreprtext.splitlines()[-LINES:]]
    return "".join(f"{line[:WIDTH]}\n" for line in lines)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Forget what failed last time."""
    if not hasattr(session.config, "workerinput"):
        FAILURES.unlink(missing_ok=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give the figures of a worker of pytest-xdist to the main process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = session.config.stash.get(FIGURES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - a class that pytest-xdist hides
    """Take the figures of a worker of pytest-xdist."""
    figures = node.config.stash.setdefault(FIGURES, [])
    figures += getattr(node, "workeroutput", {}).get("figures", [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the figures; keep the failures, which Molecule's recap would push out of sight."""
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for row in config.stash.get(FIGURES, []):
        tables.setdefault(tuple(row), []).append(list(row.values()))
    for heading, cells in tables.items():
        terminalreporter.write_line("\n" + table(list(heading), cells, markdown=True))
    failed = [
        report for kind in ("error", "failed") for report in terminalreporter.stats.get(kind, [])
    ]
    # The first, which the others may follow from, comes last, where the end of a log shows it.
    failed.sort(key=lambda report: getattr(report, "start", 0), reverse=True)
    if failed:
        FAILURES.parent.mkdir(parents=True, exist_ok=True)
        FAILURES.write_text("\n".join(map(end_of, failed)))
