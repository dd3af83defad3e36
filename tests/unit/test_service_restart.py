"""When PostgreSQL is reloaded, and when it is restarted."""

import os
from types import SimpleNamespace

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import units
from ansible_collections.clink.django_stack.plugins.modules import service_restart

UNIT = "postgresql@17-main.service"
STARTED = "Fri 2026-11-27 12:00:00.000000 UTC"


@pytest.fixture
def host(monkeypatch, tmp_path):
    """Give a cluster that was started after its drop-in was installed."""
    drop_in = tmp_path / "django_stack.conf"
    drop_in.write_text("[Service]\n")
    os.utime(drop_in, (1, 1))
    told = SimpleNamespace(
        done=[], code=0, asked=units.Result(0, "\n", 0.1), drop_in=drop_in,
        unit={"ActiveState": "active", "ActiveEnterTimestamp": STARTED,
              "DropInPaths": f"/etc/none.conf {drop_in}"},
    )  # fmt: skip

    def systemctl(verb, *words, **settings):
        told.done.append(verb)
        return units.Result(told.code if verb == "reload" else 0, "", 0.1)

    monkeypatch.setattr(units, "systemctl", systemctl)
    monkeypatch.setattr(units, "show", lambda unit, *names: told.unit)
    monkeypatch.setattr(units, "run", lambda command, limit: told.asked)
    return told


def test_postgresql_is_only_reloaded_if_no_setting_waits(host):
    assert service_restart.reload_suffices(UNIT, 5432)
    assert host.done == ["daemon-reload", "reload"]


@pytest.mark.parametrize(
    "asked", [units.Result(0, "shared_buffers\n", 0.1), units.Result(2, "no such port", 0.1)]
)
def test_postgresql_restarts_for_a_setting_that_waits_or_for_another_port(host, asked):
    host.asked = asked
    assert not service_restart.reload_suffices(UNIT, 5432)


def test_postgresql_restarts_after_a_change_of_its_unit(host):
    os.utime(host.drop_in, (4e9, 4e9))
    assert not service_restart.reload_suffices(UNIT, 5432)
    assert "reload" not in host.done


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_stopped_postgresql_starts(host, state):
    host.unit["ActiveState"] = state
    assert not service_restart.reload_suffices(UNIT, 5432)
    assert "reload" not in host.done


def test_a_reload_that_fails_does_not_suffice(host):
    host.code = 1
    assert not service_restart.reload_suffices(UNIT, 5432)
