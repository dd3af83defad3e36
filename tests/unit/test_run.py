"""The run of ansible-playbook that a task is part of, and whether another one goes on."""

import os
import socket
import subprocess

import pytest
from ansible_collections.clink.django_stack.plugins.plugin_utils import run


def test_a_run_knows_whether_another_goes_on():
    command = ["ps", "-o", "lstart=", "-p", str(os.getpid())]
    environment = os.environ | {"LC_ALL": "C"}
    told = subprocess.check_output(command, text=True, env=environment)
    started = " ".join(told.split())
    assert run.goes_on(os.getpid(), started)
    assert not run.goes_on(os.getpid(), "Thu Jan 1 00:00:00 1970"), "another process has its number"
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert not run.goes_on(ended.pid, started)
    assert not run.goes_on(0, ""), "nobody knows of that run"


TREE = {  # processes by their numbers: parent, start, command line
    40: (30, "d", "/usr/bin/python3 /srv/.venv/bin/ansible-playbook site.yml"),  # a worker
    30: (20, "c", "/usr/bin/python3 /srv/.venv/bin/ansible-playbook site.yml"),
    20: (10, "b", "/bin/bash"),
    10: (1, "a", "/usr/bin/ansible-playbook another.yml"),
    41: (31, "d", "/usr/bin/python3 -m ansible playbook site.yml"),
    31: (20, "c", "/usr/bin/python3 -m ansible playbook site.yml"),
}


@pytest.mark.parametrize(
    ("parent", "pid", "started"),
    [
        (40, 30, "c"),  # the nearest with that name, and not the one that has started the shell
        (30, 30, "c"),
        (41, 10, "a"),  # known by what has started it
        (99, 99, ""),
    ],
)
def test_a_run_is_known_by_its_process(monkeypatch, parent, pid, started):
    monkeypatch.setattr(run, "process", lambda number: TREE.get(number, (0, "", "")))
    monkeypatch.setattr(run.os, "getppid", lambda: parent)
    told = run.this()
    assert (told["pid"], told["started"]) == (pid, started)
    assert told["by"].endswith(f"@{socket.gethostname()}")
    assert told["machine"] == socket.gethostname()


def test_a_run_with_another_name_is_known_by_its_worker(monkeypatch):
    tree = {41: (31, "d", "python -m ansible playbook x.yml"), 31: (1, "c", "python -m ansible")}
    monkeypatch.setattr(run, "process", lambda number: tree.get(number, (0, "", "")))
    monkeypatch.setattr(run.os, "getppid", lambda: 41)
    assert (run.this()["pid"], run.this()["started"]) == (41, "d")


def test_this_process_is_there():
    told = run.this()
    assert told["pid"] > 0
    assert run.goes_on(told["pid"], told["started"])
