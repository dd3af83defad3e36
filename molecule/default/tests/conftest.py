"""The droplets as a visitor meets them, over HTTP, and as their owner does, over SSH."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from testinfra.host import Host

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory"
NAME = "clinic.example.com"
MESSAGES = "/run/sinks.jsonl"


def eventually(ask: Callable[[], Any], patience: float = 20.0) -> Any:
    """Return the first answer that is true; fail after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {patience:.0f} s; the last answer: {answer!r}")
        time.sleep(0.3)
    return answer


COMMAND = ["ansible-playbook", f"--inventory={INVENTORY}", "converge.yml"]
# Molecule, or the caller's terminal, may have asked for colours; the tests read plain lines.
ENVIRONMENT = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "PYTHONUNBUFFERED": "1"}


def playbook(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run site.yml as Molecule's converge does, on all droplets."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=SCENARIO, env=ENVIRONMENT, capture_output=True, text=True
    )


def playbook_process(*arguments: str) -> subprocess.Popen[str]:
    """Start such a run, and leave it to the caller."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*COMMAND, *arguments], cwd=SCENARIO, env=ENVIRONMENT, stdout=pipe, text=True
    )


class Door:
    """The front door of a droplet: port 80 of its address, from another machine."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.url = f"http://{address}"
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy

    def ask(
        self, path: str, method: str = "GET", name: str = NAME, **more: Any
    ) -> requests.Response:
        """Return the answer to a request for a path of the site."""
        headers = {"Host": name} | more.pop("headers", {})
        url = self.url + path
        return self.session.request(
            method, url, headers=headers, timeout=10, allow_redirects=False, **more
        )

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Return what was made of a JSON body."""
        answer = self.ask(path, "POST", json=body)
        assert answer.status_code in (201, 202), answer.text
        return answer.json()


@pytest.fixture(scope="module")
def door(host: Host) -> Door:
    """The front door of the droplet that the test is about."""
    name = host.backend.get_pytest_id().rpartition("//")[2]
    container = docker.from_env().containers.get(name)
    networks = container.attrs["NetworkSettings"]["Networks"]
    return Door(name, next(network["IPAddress"] for network in networks.values()))


@pytest.fixture(scope="module")
def sql(host: Host) -> Callable[[str], str]:
    """Ask the application's database as its superuser."""

    def ask(query: str) -> str:
        command = "runuser -u postgres -- psql -tA -d psychology_clinic -c %s"
        return host.check_output(command, query)

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
