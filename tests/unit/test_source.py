"""A source that is not there is noticed on the control machine, before anything is touched."""

import re
import shutil
import subprocess

import pytest
from ansible_collections.clink.django_stack.plugins.plugin_utils import source


@pytest.fixture
def project(tmp_path):
    """A directory with manage.py in backend/, beside an inventory."""
    (tmp_path / "clinic" / "backend").mkdir(parents=True)
    (tmp_path / "clinic" / "backend" / "manage.py").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "clinic.tar").write_bytes(b"x")
    (tmp_path / "empty.tar").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "directory", "told"),
    [
        ({"directory": "clinic"}, "backend", ""),
        ({"directory": "clinic"}, "", "app_directory: there is no manage.py in .*; write backend"),
        ({"directory": "clinic"}, "src", "app_directory: .*clinic/src; write backend"),
        ({"directory": "clinic/backend"}, "src", "app_directory: .*; write ''"),
        ({"directory": "empty"}, "", "app_source: there is no manage.py in .*empty or below it"),
        ({"directory": "nowhere"}, "", "app_source: there is no directory .*nowhere on"),
        ({"directory": "clinic.tar"}, "", "app_source: there is no directory"),
        ({"directory": "~/nowhere"}, "", "app_source: there is no directory /.*[^~]/nowhere"),
        ({"archive": "clinic.tar"}, "", ""),
        ({"archive": "empty.tar"}, "", "app_source: there is no archive"),
        ({"archive": "/nowhere.tar"}, "", "app_source: there is no archive /nowhere.tar"),
        ({"archive": "https://example.com/clinic.tar"}, "", ""),
        ({"git": "https://example.com/clinic.git"}, "", ""),
    ],
)
def test_a_source_of_the_control_machine(project, monkeypatch, given, directory, told):
    monkeypatch.chdir("/")  # a relative path begins beside the inventory, wherever the run starts
    lines = source.complaints(given, str(project), directory)
    assert len(lines) == bool(told) and re.match(told, "".join(lines))


def test_a_source_without_django_needs_no_manage_py(project):
    def told(*given):
        return "".join(source.complaints({"directory": "empty"}, str(project), *given))

    assert "app_django: false" in told("")
    assert told("", False) == ""
    assert told("src", False).startswith("app_directory: there is no directory")


def test_without_an_inventory_file_a_relative_path_begins_in_the_working_directory(
    project, monkeypatch
):
    monkeypatch.chdir(project)
    assert source.complaints({"directory": "clinic"}, None, "backend") == []


def ask(given, key=""):
    with source.Repository(given, key) as repository:
        return repository.answer()


def test_a_ref_that_a_repository_does_not_have(project, monkeypatch):
    repository = project / "clinic"
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@y.z"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", "v1"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(source, "PUBLIC", re.compile(".*"))
    monkeypatch.setattr(source, "PATIENCE", 60.0)
    url = str(repository)
    for ref in ({}, {"ref": "v1"}, {"ref": "0123abc"}):
        assert ask({"git": url, **ref}) == ([], [])
    told = f"app_source: {url} has no branch or tag v2"
    assert ask({"git": url, "ref": "v2"}) == ([told], [])
    # The host may reach what this machine does not reach.
    (complaints, (warning,)) = ask({"git": str(project / "nowhere")})
    assert complaints == [] and "this machine cannot read" in warning and "nowhere" in warning


def test_a_repository_with_a_login_is_left_to_the_host(project, monkeypatch):
    def never(*_, **__):
        raise AssertionError

    assert shutil.which("git")
    monkeypatch.setattr(subprocess, "Popen", never)
    with pytest.raises(AssertionError):
        ask({"git": "https://example.com/x.git"})
    for url in ("https://t0ken@example.com/x.git", "git@example.com:x.git", "/srv/x", "ssh://a/b"):
        assert ask({"git": url}) == ([], [])
    assert ask({"git": "https://example.com/x.git"}, "a key") == ([], [])
    assert ask({"git": "https://example.com/x.git", "agent": True}) == ([], [])
    assert ask({"directory": "clinic"}) == ([], [])


def test_a_repository_that_does_not_answer_does_not_stop_the_run(project, monkeypatch):
    fake = project / "git"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(project), prepend=":")
    monkeypatch.setattr(source, "PATIENCE", 0.1)
    assert ask({"git": "https://example.com/x.git"}) == ([], [])
