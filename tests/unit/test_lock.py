"""The lock of a deployment: one run at a time, and a dead one does not keep it."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

FILES = ROOT / "roles" / "app" / "files"
MINE = {"by": "me@here", "machine": "here", "pid": 1, "started": "now"}
OTHERS = {"by": "you@there", "machine": "there", "pid": 2, "started": "then"}


@pytest.fixture
def lock(tmp_path):
    """Give a function that runs lock.py over an application's directory."""
    (tmp_path / "releases").mkdir()

    def run(action, who=MINE, *more):
        places = [tmp_path / name for name in ("lock", ".", "record")]
        command = [sys.executable, FILES / "lock.py", action, *places, json.dumps(who), *more]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    return run


@pytest.fixture
def release(tmp_path):
    """Give a function that lays out a release."""

    def make(name, complete=True):
        directory = tmp_path / "releases" / name
        directory.mkdir()
        if complete:
            (directory / ".complete").touch()

    return make


def test_a_free_lock_is_taken_and_given_back(lock):
    assert lock("take")["holder"] is None
    assert lock("take")["holder"] is None, "the same run may ask again"
    assert lock("look", OTHERS)["holder"]["by"] == "me@here"
    lock("free")
    assert lock("take", OTHERS)["holder"] is None


def test_another_run_is_told_who_has_it_and_since_when(lock):
    lock("take")
    told = lock("take", OTHERS)
    assert told["holder"]["by"] == "me@here"
    assert told["holder"]["since"].endswith(" UTC")
    assert 0 <= told["holder"]["age"] < 60
    lock("free", OTHERS)
    assert lock("look", OTHERS)["holder"], "another run must not give it back"


def test_a_dead_run_loses_it_once_its_commands_have_ended(lock, tmp_path):
    lock("take", OTHERS)
    holding = subprocess.Popen(["flock", "--shared", "--close", tmp_path / "lock", "sleep", "2"])
    while not lock("look")["busy"]:
        assert holding.poll() is None
    assert lock("force")["holder"] is None
    assert holding.poll() == 0, "it did not wait"
    assert lock("take", OTHERS)["holder"]["by"] == "me@here"


def test_a_look_leaves_nothing(lock, tmp_path):
    assert lock("look") == {
        "run": MINE, "holder": None, "busy": False, "record": {}, "current": "", "built": [],
    }  # fmt: skip
    assert not (tmp_path / "lock").exists()


def test_the_live_release_counts_as_built(lock, release, tmp_path):
    release("whole")
    release("half", complete=False)
    release("old", complete=False)  # made before releases were marked
    (tmp_path / "current").symlink_to("releases/old")
    told = lock("look")
    assert (told["current"], told["built"]) == ("old", ["old", "whole"])


def test_the_oldest_and_the_half_made_are_removed(lock, release, tmp_path):
    for number in range(5):
        release(f"r{number}")
    release("half", complete=False)
    (tmp_path / "current").symlink_to("releases/r0")
    record = {"releases": {f"r{number}": {"at": f"2026-01-0{number + 1}"} for number in range(5)}}
    (tmp_path / "record").write_text(json.dumps(record))
    lock("free", OTHERS, "2")  # nobody has it
    assert sorted(path.name for path in (tmp_path / "releases").iterdir()) == ["r0", "r3", "r4"]


def test_nothing_is_removed_while_another_run_has_it(lock, release, tmp_path):
    release("r0")
    release("half", complete=False)
    lock("take", OTHERS)
    lock("free", MINE, "1")
    assert (tmp_path / "releases" / "half").exists()


def test_a_run_knows_whether_another_goes_on():
    def goes_on(pid, started):
        return subprocess.run([sys.executable, FILES / "run.py", str(pid), started]).returncode == 0

    command = ["ps", "-o", "lstart=", "-p", str(os.getpid())]
    environment = os.environ | {"LC_ALL": "C"}
    told = subprocess.check_output(command, text=True, env=environment)
    started = " ".join(told.split())
    assert goes_on(os.getpid(), started)
    assert not goes_on(os.getpid(), "Thu Jan 1 00:00:00 1970"), "another process has its number"
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert not goes_on(ended.pid, started)
