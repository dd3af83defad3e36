"""The callback, as ansible-playbook shows it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.clink.django_stack.plugins.callback import phases

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")

CONFIGURATION = """
[defaults]
stdout_callback = phases
callback_plugins = {}
interpreter_python = /usr/bin/python3
nocolor = true
"""
PLAY = """
- name: The play
  hosts: all
  gather_facts: false
  roles: [clink.web]
  tasks:
    - name: Bring the other role
      ansible.builtin.include_role:
        name: store
    - name: Check without the role's other tasks
      ansible.builtin.include_role:
        name: store
        tasks_from: check.yml
"""
WEB = """
- name: Change something
  ansible.builtin.debug:
  changed_when: true
  notify: Skipped
- name: Put it into force
  ansible.builtin.meta: flush_handlers
- name: Never runs
  ansible.builtin.debug:
  when: false
- name: Change something else
  ansible.builtin.debug:
  changed_when: true
  notify: Restart
- name: Tell
  ansible.builtin.debug:
    msg: "told by {{ inventory_hostname }}"
"""
STORE = """
- name: Look
  ansible.builtin.debug:
- name: Break
  ansible.builtin.shell: "seq 100; echo the reason >&2; exit 3"
  when: "'break' in ansible_run_tags and inventory_hostname == 'two'"
  tags: [always]
- name: Break the terminal
  ansible.builtin.shell: "printf 'a\\\\033]0;title\\\\007b\\\\033[2Jc\\\\r\\\\n' >&2; exit 4"
  when: "'terminal' in ansible_run_tags"
  tags: [always]
- name: Break in secret
  ansible.builtin.command: "echo {{ item }}"
  loop: [hunter2]
  no_log: true
  failed_when: true
  when: "'secret' in ansible_run_tags"
- name: Go on regardless
  ansible.builtin.fail:
  ignore_errors: true
"""


@pytest.fixture
def play(tmp_path):
    """Return a function that runs the playbook on two hosts and returns code and output."""
    for role, tasks in {"clink.web": WEB, "store": STORE}.items():
        (tmp_path / "roles" / role / "tasks").mkdir(parents=True)
        (tmp_path / "roles" / role / "tasks" / "main.yml").write_text(tasks)
    (tmp_path / "roles" / "store" / "tasks" / "check.yml").write_text(
        "- name: Check\n  ansible.builtin.debug:\n    msg: checked\n"
    )
    handlers = tmp_path / "roles" / "clink.web" / "handlers"
    handlers.mkdir()
    (handlers / "main.yml").write_text(
        "- name: Skipped\n  ansible.builtin.debug:\n  when: false\n"
        "- name: Restart\n  ansible.builtin.debug:\n  changed_when: true\n"
    )
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "ansible.cfg").write_text(CONFIGURATION.format(ROOT / "plugins" / "callback"))

    def run(*arguments):
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")
        }
        command = [ANSIBLE, "-i", "one,two,", "-c", "local", "play.yml", *arguments]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.returncode, done.stdout

    return run


def test_one_line_for_each_role_and_the_standard_recap(play):
    code, output = play()
    assert code == 0
    phases = re.findall(r"^  (\w+) +\d+\.\d s   (.+)$", output, re.M)
    assert phases == [
        ("web", "6 ok, 4 changed"),
        ("store", "2 ok, 2 ignored"),
        ("check", "2 ok"),
        ("handlers", "2 ok, 2 changed"),
    ]
    assert "told by one" in output
    assert re.search(r"^one +: ok=9 +changed=3 .*failed=0", output, re.M)
    assert re.search(r"^Finished in \d+\.\d s$", output, re.M)
    assert "TASK [" not in output and "FAILED" not in output
    assert "\x1b" not in output and "\r" not in output


def test_a_failure_says_where_and_why_but_no_secret(play):
    code, output = play("--tags", "all,break,secret")
    assert code == 2
    failure = output[output.index("FAILED:") : output.index("PLAY RECAP")]
    assert "FAILED: [two] store : Break" in failure
    assert "roles/store/tasks/main.yml:4" in failure
    assert "rc: 3" in failure
    assert "the reason" in failure
    assert "\n      100\n" in failure and "\n      1\n" not in failure
    assert "FAILED: [one] store : Break in secret" in failure
    assert "no_log" in failure
    assert re.search(r"^  store +\d+\.\d s   2 ok, 2 failed$", failure, re.M)
    assert "hunter2" not in output


@pytest.mark.parametrize("option", [[], ["-v"]])
def test_no_host_writes_to_the_terminal_what_it_obeys(play, option):
    code, output = play("--tags", "all,terminal", *option)
    assert code == 2
    assert "\x1b" not in output and "\x07" not in output
    assert ("a?]0;title?b?[2Jc" if not option else "title") in output


def test_warnings_and_colours_are_shown():
    shown = []
    real = SimpleNamespace(display=lambda text, **_: shown.append(text), other=5)
    screen = phases.VisibleDisplay(real)
    screen.display("\x1b[0;31mred\x1b[0m \x1b[38;5;9mx\x1b[0m\r\n\x9b31m\u202e Zürich 心")
    assert shown == ["\x1b[0;31mred\x1b[0m \x1b[38;5;9mx\x1b[0m\n?31m? Zürich 心"]
    assert screen.other == 5


@pytest.mark.parametrize("option", ["-v", "--check", "--diff"])
def test_the_default_output_where_it_is_asked_for(play, option):
    _, output = play(option, "--tags", "nothing")
    assert "PLAY [The play]" in output
    assert "Finished in" not in output
