"""Services that systemd starts again and again."""

from types import SimpleNamespace
from unittest.mock import ANY

import pytest
import yaml
from ansible_collections.clink.django_stack.plugins.module_utils import (
    kept_files,
    processes,
    staying,
    units,
)
from conftest import ROOT

UNIT = "redis-server.service"
BOOT = 1000.0  # the monotonic clock when a test begins


class Host:
    """A clock, and a unit that lives for some seconds, and waits before its next start.

    Attributes:
        life: seconds from a start to the end of the process.
        pause: RestartSec.
        born: when the unit was started for the first time.
        last: how many lives it has before it stays up.
    """

    def __init__(self, life, pause=1.0, age=600.0, last=10**6):
        self.life, self.pause, self.born, self.last = life, pause, BOOT - age, last
        self.now, self.begun, self.forgotten = BOOT, 0.0, False
        self.state, self.over = "", 0.0

    def lives(self):
        """Return how many lives are over, and when the present one began."""
        period = self.life + self.pause
        over = min(int((self.now - self.born) // period), self.last)
        return over, self.born + over * period

    def show_all(self, names, *_):
        over, born = self.lives()
        alive = self.now - born < self.life or over == self.last
        restarts = 0 if self.forgotten else over
        told = {
            "ActiveState": self.state or ("active" if alive else "activating"),
            "SubState": "running" if alive else "auto-restart", "LoadState": "loaded",
            "NRestarts": str(restarts), "InvocationID": f"life {over}",
            "ActiveEnterTimestampMonotonic": str(int(born * 1e6)),
            "InactiveEnterTimestampMonotonic": str(int(self.over * 1e6)),
        }  # fmt: skip
        return [told for _ in names]

    def systemctl(self, verb, *names, **more):
        over, born = self.lives()
        if verb == "start" and self.now - born >= self.life:
            self.now, self.forgotten = born + self.life + self.pause, True
        return units.Result(0, "", 0.1)

    def run(self, command, limit):
        over, _ = self.lives()
        period = self.life + self.pause
        starts = [self.born + number * period for number in range(1, over + 1)][-10:]
        recent = [each for each in starts if each > self.now - staying.RECENT]
        return units.Result(0, "".join(f"{each:.6f} host systemd[1]: x\n" for each in recent), 0.1)


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Give a function that puts a unit on the host."""

    def put(*given, **more):
        host = Host(*given, **more)
        for name in ("show_all", "systemctl", "run"):
            monkeypatch.setattr(units, name, getattr(host, name))
        monkeypatch.setattr(units, "show", lambda name, *_: host.show_all([name])[0])
        monkeypatch.setattr(units, "journal", lambda *_: "Can't open the append-only file")
        clock = SimpleNamespace(
            monotonic=lambda: host.now, time=lambda: host.now,
            sleep=lambda seconds: setattr(host, "now", host.now + seconds),
        )  # fmt: skip
        monkeypatch.setattr(staying, "time", clock)
        return host

    monkeypatch.setattr(kept_files, "PLACE", tmp_path)
    return put


@pytest.mark.parametrize("age", [600.0, 601.0, 603.5, 606.9])
@pytest.mark.parametrize(
    ("life", "pause"), [(0.1, 1.0), (5.0, 1.0), (20.0, 2.0), (0.0, 30.0), (40.0, 5.0)]
)
def test_a_service_that_ends_again_and_again_is_found_at_any_moment(on, life, pause, age):
    on(life, pause, age)
    assert staying.broken([UNIT], 0.0) == {UNIT: ANY}


def test_a_service_that_has_run_for_long_costs_no_time(on):
    host = on(10**6)
    assert staying.broken([UNIT], staying.STEADY) == {}
    assert host.now == BOOT


def test_a_service_that_has_failed_once_and_works_since_is_up(on):
    host = on(2.0, 1.0, age=120.0, last=1)
    assert staying.broken([UNIT], 0.0) == {}
    assert host.now == BOOT


def test_a_service_that_has_just_been_repaired_is_up(on):
    host = on(5.0, 1.0, age=61.0, last=10)  # its eleventh life goes on
    assert staying.broken([UNIT], 0.0) == {}
    assert host.now - BOOT < 10


def test_a_young_service_is_watched_where_that_is_asked_for(on):
    host = on(5.0, 1.0, age=0.5)
    assert staying.broken([UNIT], 0.0) == {}
    assert host.now == BOOT
    assert staying.broken([UNIT], staying.STEADY) == {UNIT: ANY}


@pytest.mark.parametrize(("state", "wrong"), [("inactive", {}), ("failed", {UNIT: ANY})])
def test_a_service_that_nobody_has_started_is_no_failure(on, state, wrong):
    on(10**6).state = state
    assert staying.broken([UNIT], 0.0) == wrong


@pytest.mark.parametrize(
    ("age", "lived", "wrong"),
    [
        (5.0, 2.0, {UNIT: ANY}),
        (5.0, 0.0, {}),  # it has never run, or runs for the first time since
        (300.0, 200.0, {}),  # somebody has stopped it
        (7000.0, 2.0, {}),
    ],
)
def test_a_service_that_has_ended_without_an_error_after_its_start_is_found(on, age, lived, wrong):
    host = on(10**6, age=age)
    host.state, host.over = "inactive", host.born + lived if lived else 0.0
    assert staying.broken([UNIT], 0.0) == wrong


def test_a_service_that_ends_without_an_error_while_it_is_watched_is_found(on, monkeypatch):
    host = on(10**6, age=1.0)

    def sleep(seconds):
        host.now += seconds
        if host.now > BOOT + 1:
            host.state, host.over = "inactive", BOOT + 1

    monkeypatch.setattr(staying.time, "sleep", sleep)
    assert staying.broken([UNIT], staying.STEADY) == {UNIT: ANY}


def test_the_message_says_how_often_and_why_and_the_old_files_come_back(on, tmp_path):
    on(0.1, 1.0, 457.0)
    file = tmp_path / "redis.conf"
    file.write_text("good\n")
    (tmp_path / UNIT).mkdir()
    kept_files.keep(UNIT, [str(file)])
    file.write_text("bad\n")
    with pytest.raises(staying.StayingError) as told:
        staying.confirm([UNIT])
    assert "415 times" in str(told.value) and "append-only" in str(told.value)
    assert file.read_text() == "good\n"


def test_a_process_that_ends_by_itself_is_told_where_it_belongs(on, tmp_path, monkeypatch):
    on(0.1, 1.0, 457.0)
    monkeypatch.setattr(processes, "SYSTEM", tmp_path)
    (tmp_path / "clinic-report.service").write_text(f"[Unit]\n{processes.MARK}clinic\n")
    monkeypatch.setattr(staying, "exit_code", lambda unit: "0")
    assert "app_schedules" in staying.reason("clinic-report.service", 3)
    assert "app_schedules" not in staying.reason(UNIT, 3)  # it was told to stop


def test_the_files_from_before_are_forgotten_once_a_service_stays_up(on, tmp_path):
    on(10**6)
    (tmp_path / UNIT).mkdir()
    (tmp_path / UNIT / kept_files.LIST).write_text('{"files": {}, "ran": true}')
    staying.confirm([UNIT])
    assert not (tmp_path / UNIT).exists()


ROLES = sorted(
    path.parts[-3]
    for path in ROOT.glob("roles/*/vars/main.yml")
    if f"__{path.parts[-3]}_in_force" in path.read_text()
)
# certbot issues the certificates by its timer; certificate sets up no service.
WITHOUT_SERVICE = {"certbot", "certificate"}
# A new connection guards sshd; certificates are checked before; timers have constant times.
GUARDED = {"sshd", "certificate", "ca_certificates", "certbot", "backup"}
# The settings of one are numbers in a range; nginx has checked the file of its counters.
HARMLESS = {"systemd-journald.service", "nginx.service"}
HANDLERS = {
    path.parent.parent.name: yaml.safe_load(path.read_text())
    for path in sorted(ROOT.glob("roles/*/handlers/main.yml"))
}


@pytest.mark.parametrize("role", [role for role in ROLES if role not in WITHOUT_SERVICE])
def test_a_role_that_is_used_alone_ends_with_a_look_at_its_services(role):
    *_, handlers, look = yaml.safe_load((ROOT / f"roles/{role}/tasks/main.yml").read_text())
    assert handlers["ansible.builtin.meta"] == "flush_handlers"
    services = look["clink.django_stack.running_services"]["services"]
    assert f"__{role}_in_force" in services


@pytest.mark.parametrize("role", sorted(HANDLERS.keys() - GUARDED))
def test_no_handler_restarts_a_service_without_a_way_back(role):
    plain = [each.get("ansible.builtin.systemd_service", {}) for each in HANDLERS[role]]
    assert {each["name"] for each in plain if "state" in each} <= HARMLESS
