"""Which versions of ansible-core are tested."""

from importlib.metadata import version

import pytest
import yaml
from conftest import ROOT

from tools import cores

RUNTIME = (ROOT / "meta" / "runtime.yml").read_text()


def test_the_floor_is_that_of_the_collection():
    wanted = yaml.safe_load(RUNTIME)["requires_ansible"]
    assert wanted == f">={cores.floor(RUNTIME)}.0"


def test_the_tests_are_there():
    assert all((ROOT / name).is_file() for name in cores.TESTS)


def test_no_floor_is_refused():
    with pytest.raises(ValueError, match="requires_ansible"):
        cores.floor("---\n")


def runs(monkeypatch, oldest, arguments):
    """Return what is tested, where the collection allows a version and those after it."""
    tested = []

    def note(name, python, wanted):
        tested.append((name, wanted))
        return True

    monkeypatch.setattr(cores, "floor", lambda _: oldest)
    monkeypatch.setattr(cores, "tested", note)
    assert cores.main(arguments) == 0
    return tested


def test_the_version_of_the_tools_is_not_tested_again(monkeypatch, capsys):
    own = version("ansible-core")
    assert runs(monkeypatch, cores.line_of(own), []) == []
    told = capsys.readouterr().out
    assert own in told and "NEWEST_PYTHON" in told
    assert runs(monkeypatch, cores.line_of(own), ["python"]) == [
        ("newest", f"ansible-core>{own}"),
    ]


def test_an_older_floor_is_tested(monkeypatch):
    assert runs(monkeypatch, "2.17", []) == [("floor", "ansible-core==2.17.*")]


def test_a_failure_is_one(monkeypatch):
    monkeypatch.setattr(cores, "floor", lambda _: "2.17")
    monkeypatch.setattr(cores, "tested", lambda name, *_: name == "newest")
    assert cores.main(["python"])
