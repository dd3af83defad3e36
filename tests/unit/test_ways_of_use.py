"""The playbooks in each of the ways that people run them, without the repository's ansible.cfg."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

ANSIBLE = Path(sys.executable)
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
# A value that the first task of site.yml and the like refuses, on a host that needs no connection.
VALUES = {
    "ansible_become": False,
    "ansible_python_interpreter": sys.executable,
    "app_name": "clinic",
    "app_health_path": "health",  # which should begin with a slash
    "app_source": {"directory": "/nowhere"},
    "app_domains": ["example.com"],
}
REFUSED = ["-i", "localhost,", "-c", "local", "-e", json.dumps(VALUES)]


def run(directory, *arguments, **environment):
    """Run ansible-playbook in a directory, with no setting of whoever runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if "ANSIBLE" not in name}
    inherited |= {"HOME": str(directory)} | environment  # no collection that was installed there
    command = [str(ANSIBLE.with_name("ansible-playbook")), *arguments]
    return subprocess.run(
        command,
        cwd=directory,
        env=inherited,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def all_are_found(done):
    """Check that a run with --syntax-check has found all roles, files and plugins."""
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("playbook: ") == len(PLAYBOOKS)


def the_value_is_refused(done):
    """Check that a run has come to its first task, and that this has done its work."""
    end = done.stdout[-3000:]
    assert done.returncode == 2, end
    assert re.search("app_health_path.* should be", done.stdout), end
    assert "changed=0 " in done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository in which anybody may write: Ansible passes over its ansible.cfg."""
    place = tmp_path_factory.mktemp("clone") / "django_stack"
    left_out = shutil.ignore_patterns(".git", ".venv", ".cache", ".ansible", "__pycache__", "build")
    shutil.copytree(ROOT, place, symlinks=True, ignore=left_out)
    place.chmod(0o777)
    return place


@pytest.fixture(scope="module")
def installed(clone, tmp_path_factory):
    """The collection as Galaxy installs it: the directory, and where Ansible looks for it."""
    place = tmp_path_factory.mktemp("installed")
    galaxy = ANSIBLE.with_name("ansible-galaxy")
    for command in (
        ["build", "--output-path", place],
        ["install", "--no-deps", "--collections-path", place, "clink-django_stack-0.1.0.tar.gz"],
    ):
        where = clone if command[0] == "build" else place
        subprocess.run([galaxy, "collection", *command], cwd=where, check=True, capture_output=True)
    return place


def test_from_another_directory(tmp_path):
    paths = [str(ROOT / "playbooks" / f"{name}.yml") for name in PLAYBOOKS]
    all_are_found(run(tmp_path, "-i", "x,", "--syntax-check", *paths))
    the_value_is_refused(run(tmp_path, *REFUSED, str(ROOT / "site.yml")))


def test_in_a_clone_that_anybody_may_write(clone):
    paths = [str(clone / "playbooks" / f"{name}.yml") for name in PLAYBOOKS]
    done = run(clone, "-i", "x,", "--syntax-check", *paths)
    assert "world writable" in done.stdout  # its ansible.cfg does not count
    all_are_found(done)


@pytest.mark.parametrize("name", ["site.yml", "playbooks/deploy.yml"])
def test_in_a_clone_that_anybody_may_write_variables_beside_site_yml_are_refused(clone, name):
    left = clone / "group_vars" / "all.yml"
    left.parent.mkdir(exist_ok=True)
    left.write_text("app_name: clinic\n")
    try:
        done = run(clone, *REFUSED, name)
    finally:
        shutil.rmtree(left.parent)
    assert "world writable" in done.stdout  # its ansible.cfg does not count
    assert "group_vars: only some of the playbooks would read it" in done.stdout
    the_value_is_refused(done)


def test_as_an_installed_collection_by_full_name(installed, tmp_path):
    names = [f"clink.django_stack.{name}" for name in PLAYBOOKS]
    place = {"ANSIBLE_COLLECTIONS_PATH": str(installed)}
    all_are_found(run(tmp_path, "-i", "x,", "--syntax-check", *names, **place))
    the_value_is_refused(run(tmp_path, *REFUSED, "clink.django_stack.rollback", **place))


def test_as_an_installed_collection_from_a_playbook_of_ones_own(installed, tmp_path):
    (tmp_path / "mine.yml").write_text(
        "- ansible.builtin.import_playbook: clink.django_stack.site\n"
        "- ansible.builtin.import_playbook: clink.django_stack.status\n"
    )
    place = {"ANSIBLE_COLLECTIONS_PATH": str(installed)}
    shown = {"ANSIBLE_STDOUT_CALLBACK": "clink.django_stack.phases"}
    done = run(tmp_path, *REFUSED, "mine.yml", **place, **shown)
    the_value_is_refused(done)
    assert "\nFAILED: [localhost] " in done.stdout  # as our callback says it
