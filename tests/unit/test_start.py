"""What the modules make on a hardened host is readable for the services."""

import os
import re
import stat
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible_collections.clink.django_stack.plugins.module_utils import start

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
SHELLS = sorted(
    path
    for path in (ROOT / "roles").glob("*/tasks/**/*.yml")
    if re.search(r"pip install|-m venv", path.read_text())
)


@pytest.fixture
def strict():
    """The umask of a hardened host, for the time of a test."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_a_module_makes_files_that_the_services_read(strict, monkeypatch, tmp_path):
    monkeypatch.setattr(basic.AnsibleModule, "__init__", lambda module, **settings: None)
    start.new_module(argument_spec={})
    (tmp_path / "first" / "second").mkdir(parents=True)
    (tmp_path / "file").touch()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"first": 0o755, "file": 0o644}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_module_starts_in_this_way(path):
    assert "AnsibleModule(" not in path.read_text()


@pytest.mark.parametrize("path", SHELLS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_what_a_shell_installs_does_not_get_the_umask_of_the_login(path):
    assert "umask 022" in path.read_text()
