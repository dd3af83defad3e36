"""The files of a service from before a change, which come back if it does not start."""

import os
from types import SimpleNamespace

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import kept_files, units
from ansible_collections.clink.django_stack.plugins.modules import config_files, service_restart

UNIT = "redis-server.service"


@pytest.fixture
def host(monkeypatch, tmp_path):
    """Give a host with one unit: what systemd tells of it, which verbs fail, and what was done."""
    told = SimpleNamespace(
        done=[], failing=[], etc=tmp_path / "etc",
        unit={"ActiveState": "active", "LoadState": "loaded", "Type": "notify", "NRestarts": "0"},
    )  # fmt: skip
    told.etc.mkdir()

    def systemctl(verb, *words, **settings):
        told.done.append(verb)
        failed = verb in told.failing and told.failing.remove(verb) is None
        return units.Result(1 if failed else 0, "Job failed", 0.1)

    monkeypatch.setattr(kept_files, "PLACE", tmp_path / "kept")
    monkeypatch.setattr(units, "systemctl", systemctl)
    monkeypatch.setattr(units, "show", lambda unit, *names: told.unit)
    monkeypatch.setattr(units, "show_all", lambda names, *more: [told.unit for _ in names])
    monkeypatch.setattr(units, "journal", lambda *given, **more: "bind: cannot assign address")
    return told


def wanted(host, name, text, **given):
    path = host.etc / name
    return {
        "dest": str(path), "state": "file", "content": text, "target": None, "mode": "0644",
        "owner": host.etc.owner(), "group": host.etc.group(), "unit": None, "secret": False,
    } | given  # fmt: skip


def change(host, **texts):
    """Install files as the module does, and return what a restart says."""
    due = [wanted(host, name, text) for name, text in texts.items()]
    config_files.install([each for each in due if config_files.differs(each)], [], UNIT)
    wrong = service_restart.restart(UNIT, "restart")
    return f"{wrong}\n{kept_files.recover([UNIT])}" if wrong else ""


def texts(host):
    return {path.name: path.read_text() for path in sorted(host.etc.iterdir())}


def test_a_service_that_does_not_start_gets_its_files_from_before(host):
    (host.etc / "old").write_text("good\n")
    (host.etc / "old").chmod(0o640)
    host.failing = ["restart"]
    said = change(host, old="bad\n", new="bad, too\n")
    assert texts(host) == {"old": "good\n"}
    assert (host.etc / "old").stat().st_mode & 0o777 == 0o640
    assert "cannot assign address" in said and "runs with them" in said
    assert host.done[-2:] == ["daemon-reload", "restart"]
    assert not kept_files.read(UNIT)


def test_a_link_comes_back_as_a_link(host):
    (host.etc / "link").symlink_to("elsewhere")
    kept_files.keep(UNIT, [str(host.etc / "link")])
    (host.etc / "link").unlink()
    (host.etc / "link").write_text("new\n")
    kept_files.put_back(UNIT)
    assert os.readlink(host.etc / "link") == "elsewhere"


def test_a_service_that_did_not_run_before_is_not_started_with_the_old_files(host):
    (host.etc / "old").write_text("of the distribution\n")
    host.unit["ActiveState"] = "inactive"
    host.failing = ["restart"]
    change(host, old="bad\n")
    assert texts(host) == {"old": "of the distribution\n"}
    assert host.done[-1] == "stop"


def test_a_service_that_has_not_stopped_goes_on_with_the_files_from_before(host):
    (host.etc / "old").write_text("good\n")
    kept_files.keep(UNIT, [str(host.etc / "old")])
    host.unit["StateChangeTimestamp"] = "Fri 2020-01-01 00:00:00.000000 UTC"
    host.done.clear()
    assert "has not stopped" in kept_files.recover([UNIT])
    assert host.done == ["daemon-reload"]


def test_of_a_new_unit_nothing_is_kept(host):
    host.unit["LoadState"] = "not-found"
    host.failing = ["restart"]
    change(host, new="bad\n")
    assert texts(host) == {"new": "bad\n"}


def test_a_second_change_before_a_restart_goes_back_to_the_files_in_force(host):
    (host.etc / "old").write_text("in force\n")
    config_files.install([wanted(host, "old", "never tried\n")], [], UNIT)
    host.failing = ["restart"]
    change(host, old="bad\n")
    assert texts(host) == {"old": "in force\n"}


@pytest.mark.parametrize(
    ("state", "restarts", "kept"),
    [("active", "0", "second\n"), ("active", "7", "first\n"), ("failed", "0", "first\n")],
)
def test_a_change_that_is_in_force_is_what_the_next_one_goes_back_to(host, state, restarts, kept):
    (host.etc / "old").write_text("first\n")
    config_files.install([wanted(host, "old", "second\n")], [], UNIT)
    later = "Fri 2100-01-01 00:00:00.000000 UTC"
    host.unit |= {"ActiveState": state, "NRestarts": restarts, "StateChangeTimestamp": later}
    config_files.install([wanted(host, "old", "third\n")], [], UNIT)
    kept_files.put_back(UNIT)
    assert texts(host) == {"old": kept}


def test_files_that_cannot_be_installed_leave_nothing_behind(host):
    (host.etc / "old").write_text("good\n")
    (host.etc / "directory").mkdir()
    with pytest.raises((OSError, config_files.FilesError)):
        config_files.install([wanted(host, "old", "x"), wanted(host, "directory", "x")], [], UNIT)
    assert not kept_files.read(UNIT)
    assert (host.etc / "old").read_text() == "good\n"


def test_only_root_reads_what_is_kept(host):
    (host.etc / "old").write_text("a secret\n")
    kept_files.keep(UNIT, [str(host.etc / "old")])
    assert kept_files.PLACE.stat().st_mode & 0o077 == 0
    copies = [path for path in (kept_files.PLACE / UNIT).iterdir() if "secret" in path.read_text()]
    assert [path.stat().st_mode & 0o777 for path in copies] == [0o600]


def test_units_read_the_files_of_a_service_or_their_own():
    unit = {"dest": "/etc/systemd/system/a.service", "unit": "service"}
    other = {"dest": "/etc/a.conf", "unit": None}
    drop_in = {"dest": "/etc/systemd/system/b.service.d/x.conf", "unit": "service"}
    assert config_files.readers([unit, other], "b.service") == {
        "b.service": [unit["dest"], other["dest"]]
    }
    template = {"dest": "/etc/systemd/system/c@.service", "unit": "service"}
    own = config_files.readers([unit, other, drop_in, template], None)
    assert own == {"a.service": [unit["dest"]]}
    assert config_files.readers([], "b.service") == {}
    sysctl = other | {"reader": "systemd-sysctl.service"}
    assert config_files.readers([sysctl], "b.service") == {
        "systemd-sysctl.service": [other["dest"]]
    }
