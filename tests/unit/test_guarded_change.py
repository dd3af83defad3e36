"""The role guarded_change on this machine: stand-ins for the programs of systemd write a log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SYSTEMCTL = """#!/bin/sh
echo "${0##*/} $*" >>"$LOG"
"""
TASKS = """---
- name: change | Write the settings
  ansible.builtin.copy:
    content: "{{ lookup('ansible.builtin.template', 'mine.j2') }}"
    dest: "{{ mine_file }}"
    mode: "0600"
  notify: Reload mine

- name: change | Refuse a wrong value
  ansible.builtin.assert:
    that: mine_value == 'good'
    fail_msg: the value is wrong
    quiet: true
"""
SETUP = """---
- name: Change the settings
  ansible.builtin.include_role:
    name: clink.django_stack.guarded_change
  vars:
    guarded_change_name: mine
    guarded_change_tasks: change.yml
    guarded_change_files: ["{{ mine_file }}"]
    guarded_change_reload: echo reload >>"$LOG"
    guarded_change_variable: mine_value
"""
HANDLER = """---
- name: Reload mine
  ansible.builtin.shell: echo handler >>"$LOG"
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Give what a run printed, and for each host the file and the log of the programs."""
    place = tmp_path_factory.mktemp("guarded")
    programs = place / "bin"
    programs.mkdir()
    for name in ("systemctl", "systemd-run"):
        (programs / name).write_text(SYSTEMCTL)
        (programs / name).chmod(0o755)
    files = {
        "tasks/setup.yml": SETUP, "tasks/change.yml": TASKS, "handlers/main.yml": HANDLER,
        "templates/mine.j2": "{{ mine_text }} {{ mine_value }}", "vars/main.yml": "mine_text: new",
    }  # fmt: skip
    for name, text in files.items():
        path = place / "roles" / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    play = {
        "hosts": "all", "gather_facts": False,
        "tasks": [{"ansible.builtin.import_role": {"name": "mine", "tasks_from": "setup"}}],
        "environment": {"PATH": f"{programs}:{os.environ['PATH']}", "LOG": "{{ mine_log }}"},
    }  # fmt: skip
    (place / "play.yml").write_text(json.dumps([play]))
    hosts = {}
    for value in ("good", "bad"):
        (place / value).write_text("old")
        (place / f"{value}.log").touch()
        hosts[value] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "mine_value": value,
            "mine_file": str(place / value),
            "mine_log": str(place / f"{value}.log"),
            "mine_directory": str(place / f"{value}-way-back"),
        }
    (place / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    given = json.dumps({"__guarded_change_directory": "{{ mine_directory }}"})
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i", place / "hosts.json", "-e", given, place / "play.yml",
        ],
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")},
        cwd=place, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert not list(place.glob("*-way-back"))
    return done.stdout, {
        value: ((place / value).read_text(), (place / f"{value}.log").read_text().splitlines())
        for value in hosts
    }


def test_a_change_with_a_new_connection_stays(runs):
    text, lines = runs[1]["good"]
    assert text == "new good"
    assert "handler" in lines and "reload" not in lines
    timers = [line for line in lines if line.startswith("systemd-run")]
    assert ["--on-active=600" in timers[0], "--on-active=120" in timers[1]] == [True, True]
    assert all("--unit=mine-way-back " in line for line in timers)
    assert lines[-1] == "systemctl --quiet stop mine-way-back.timer"


def test_a_change_that_fails_is_taken_back(runs):
    text, lines = runs[1]["bad"]
    assert text == "old"
    assert "reload" in lines
    assert lines[-1] == "systemctl --quiet stop mine-way-back.timer"
    for part in ("It was taken back", "check mine_value", "the value is wrong"):
        assert part in runs[0]
