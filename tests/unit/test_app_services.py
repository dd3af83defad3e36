"""The order in which services restart, and what is said where one does not work."""

import os
from types import SimpleNamespace

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import health, kept_files, units
from ansible_collections.clink.django_stack.plugins.modules import app_services
from ansible_collections.clink.django_stack.plugins.modules.app_services import ServiceError

GUNICORN = {
    "unit": "gunicorn.service", "handover": "gunicorn-handover.service", "reserve": 64,
    "files": [], "schedule": False,
}  # fmt: skip
OTHER = {"handover": "", "reserve": 0, "files": [], "schedule": False}
CELERY = OTHER | {"unit": "celery.service"}
BOT = OTHER | {"unit": "clinic-bot.service"}
PURGE = OTHER | {"unit": "clinic-purge.service", "schedule": True}
SITE = {"name": "example.com", "path": "/", "scheme": "https", "socket": ""}
APPLICATION = {
    "name": "clinic", "user": "clinic", "root": "/srv/clinic", "current": "/srv/clinic/current",
    "directory": "", "environment_file": "/etc/clinic", "sandbox": {},
    "step_variables": {"APP_CELERY": "clinic"},
}  # fmt: skip


@pytest.fixture
def host(monkeypatch):
    """Give stand-ins for systemd and the site.

    `failing` names units that do not restart, `pages` is what is wrong with each answer of the
    site, `silent` says whether the worker does not answer, `looks` has what systemd tells of units
    at each look (the last one stays), and `done` has what was done.
    """
    told = SimpleNamespace(
        done=[], failing=set(), pages=[], silent=False, state="active", free=500, clock=0.0,
        log="the log", remark="", missing="", looks=[],
    )  # fmt: skip

    def systemctl(*words, **settings):
        told.done.append(" ".join(words))
        if words[-1] == told.missing:
            return units.Result(5, f"Failed to restart it: Unit {words[-1]} not found.", 0.1)
        failed = words[0] == "restart" and words[-1] in told.failing
        return units.Result(1 if failed else 0, "", 0.1)

    def run(command, limit):
        if "rss=" in command:
            return units.Result(0, "100000\n50000\n", 0.1)
        told.done.append("ping")
        told.clock += 10
        return units.Result(1 if told.silent else 0, "no answer", 0.1)

    def show_all(names, *_):
        now = told.looks.pop(0) if len(told.looks) > 1 else told.looks[0]
        return [{"Id": name, **(now[name] if name in now else now)} for name in names]

    def sleep(seconds):
        told.clock += seconds

    monkeypatch.setattr(units, "systemctl", systemctl)
    monkeypatch.setattr(units, "run", run)
    monkeypatch.setattr(units, "journal", lambda unit, since, lines=20: told.log)
    monkeypatch.setattr(units, "show", lambda *names: {"MainPID": "5", "ActiveState": told.state})
    monkeypatch.setattr(units, "show_all", show_all)
    monkeypatch.setattr(app_services.memory, "available", lambda text: told.free)
    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: told.clock, time=lambda: told.clock)
    monkeypatch.setattr(app_services, "time", clock)
    monkeypatch.setattr(
        health,
        "judge",
        lambda site: health.Verdict(told.pages.pop(0) if told.pages else "", told.remark),
    )
    return told


def work(*due, **given):
    settings = {
        "outdated": False, "workers": [], "steady": [], "site": None, "force": False,
        "patience": 0, "services": list(due),
    } | given  # fmt: skip
    return app_services.work({"application": APPLICATION, **settings}, list(due))


def test_another_unit_serves_while_gunicorn_restarts(host):
    assert work(GUNICORN) == []
    assert host.done == [
        "restart gunicorn-handover.service",
        "restart gunicorn.service",
        "stop --no-block gunicorn-handover.service",
    ]


def test_gunicorn_restarts_with_a_pause_if_the_memory_is_too_small_for_two(host):
    host.free = 209  # MB, one less than both units and the reserve need
    (message,) = work(GUNICORN)
    assert "gunicorn has 146 MB and 209 MB are free: it restarts with a pause" == message
    assert host.done == ["restart gunicorn.service"]


def test_the_other_unit_ends_also_if_gunicorn_does_not_start(host):
    host.failing = {"gunicorn.service"}
    with pytest.raises(ServiceError, match="gunicorn.service does not start.*\nthe log"):
        work(GUNICORN)
    assert host.done[-1] == "stop --no-block gunicorn-handover.service"


def test_the_old_processes_stay_if_the_new_ones_do_not_start(host):
    host.failing = {"gunicorn-handover.service"}
    with pytest.raises(ServiceError, match="gunicorn-handover.service does not start"):
        work(GUNICORN)
    assert host.done == ["restart gunicorn-handover.service"]


def test_the_restart_of_a_worker_is_not_awaited_and_it_is_pinged(host):
    assert work(CELERY, workers=["celery"]) == []
    assert host.done == ["restart --no-block celery.service", "ping"]


def test_a_worker_that_ends_its_tasks_is_not_pinged(host):
    host.state = "deactivating"
    (message,) = work(CELERY, workers=["celery"])
    assert "celery.service ends its running tasks first" in message
    assert "ping" not in host.done


def test_a_worker_that_does_not_answer_is_an_error_after_some_time(host):
    host.silent = True
    with pytest.raises(ServiceError, match="does not answer; journalctl -u celery says why"):
        work(CELERY, workers=["celery"])
    assert app_services.PING < host.clock < 2 * app_services.PING


def test_the_log_of_a_service_that_does_not_work_tells_what_to_do(host):
    host.log = "OSError: [Errno 28] No space left on device"
    host.failing = {"gunicorn.service"}
    with pytest.raises(ServiceError, match=r"(?s)^The disk is full.*\ngunicorn.service does not "):
        work(GUNICORN)
    host.silent = True
    with pytest.raises(ServiceError, match=r"(?s)^The disk is full.*\nThe worker .* does not "):
        work(CELERY, workers=["celery"])
    host.failing, host.pages = set(), ["GET /: 502"] * app_services.TRIES
    with pytest.raises(ServiceError, match=r"(?s)^The disk is full.*\nGET /: 502"):
        work(GUNICORN, site=SITE)


def test_a_service_that_the_host_does_not_have_is_named(host):
    host.missing = "celery.service"
    with pytest.raises(ServiceError, match=r"^The host has no celery.service: run site.yml"):
        work(CELERY, GUNICORN, workers=["celery"])
    assert "ping" not in host.done


def test_a_site_that_answers_in_the_end_works(host):
    host.pages = ["502"] * (app_services.TRIES - 1)
    assert work(site=SITE) == []
    host.pages = ["502"] * app_services.TRIES
    with pytest.raises(ServiceError, match="502"):
        work(site=SITE)


def test_a_remark_on_the_site_is_passed_on(host):
    host.remark = "GET / leads to another site"
    assert work(site=SITE) == ["GET / leads to another site"]


def test_nothing_is_tested_where_no_service_is_outdated(host):
    host.pages = ["502"] * app_services.TRIES
    assert work(outdated=True, workers=["celery"], site=SITE) == []
    assert host.done == []


def test_a_rollback_kills_what_does_not_work_and_starts_it_again(host):
    host.pages = ["502"] * app_services.TRIES
    (message,) = work(GUNICORN, CELERY, site=SITE, force=True)
    assert message == "All processes of the services were killed, and started again: 502"
    killed = host.done.index(
        "kill --signal=SIGKILL gunicorn.service celery.service gunicorn-handover.service"
    )
    assert host.done[killed + 1 :] == [
        "stop gunicorn.service celery.service gunicorn-handover.service",
        "restart gunicorn.service",
        "restart celery.service",
    ]


def test_a_rollback_succeeds_with_a_worker_that_is_silent(host):
    host.silent = True
    told = work(CELERY, workers=["celery"], force=True)
    assert "were killed" in told[0] and "does not answer" in told[1]


# --- Several workers, processes that run for ever, schedules ------------------------------------


def test_the_worker_that_is_silent_is_named(host, monkeypatch):
    def silent(command, limit):
        host.clock += 10
        return units.Result(1, f"no answer: {command[-1]}", 0.1)

    monkeypatch.setattr(units, "run", silent)
    with pytest.raises(ServiceError, match="clinic-reports@.* -u clinic-reports says why") as told:
        work(CELERY, workers=["celery", "clinic-reports"])
    assert "celery@" not in str(told.value)


def running(since, run="1", **more):
    return {
        "ActiveState": "active", "InvocationID": run, "Job": "0",
        "ActiveEnterTimestampMonotonic": str(int(since * 1e6)),
    } | more  # fmt: skip


def test_a_process_that_goes_on_works_after_some_seconds(host):
    host.looks = [running(0.0, Job="7"), running(1.0)]
    assert work(BOT, steady=["clinic-bot.service"]) == []
    assert host.done == ["restart --no-block clinic-bot.service"]
    assert app_services.STEADY + 1 < host.clock < app_services.STEADY + 2


@pytest.mark.parametrize(("until", "seconds"), [(9.0, 9.0), (1e6, app_services.IMPORTING)])
def test_a_process_that_is_busy_at_its_start_gets_more_time(host, monkeypatch, until, seconds):
    monkeypatch.setattr(app_services, "is_asleep", lambda process: host.clock > until)
    host.looks = [running(0.0)]
    assert work(BOT, steady=["clinic-bot.service"]) == []
    assert seconds < host.clock < seconds + 2


def test_a_process_is_asleep_or_busy():
    assert app_services.is_asleep("0")
    assert not app_services.is_asleep(str(os.getpid()))


@pytest.mark.parametrize(
    "later",
    [
        {"ActiveState": "activating", "InvocationID": "1", "ExecMainStatus": "1"},
        {"ActiveState": "failed", "InvocationID": "1", "ExecMainStatus": "1"},
        running(3.0, run="2", ExecMainStatus="1"),
    ],
)
def test_a_process_that_ends_is_an_error_with_its_log(host, later):
    host.looks = [running(0.0), running(0.0), later]
    with pytest.raises(ServiceError, match="clinic-bot.service does not go on.*\nthe log") as told:
        work(BOT, steady=["clinic-bot.service"])
    assert "app_schedules" not in str(told.value)


def test_a_command_that_ends_well_belongs_into_the_schedules(host):
    host.looks = [{"ActiveState": "activating", "InvocationID": "1", "ExecMainStatus": "0"}]
    with pytest.raises(ServiceError, match="into app_schedules"):
        work(BOT, steady=["clinic-bot.service"])


def test_the_run_does_not_wait_for_a_process_that_ends_its_work(host):
    host.looks = [{"ActiveState": "deactivating", "Job": "7"}]
    (message,) = work(BOT, steady=["clinic-bot.service"])
    assert "clinic-bot.service ends its work first" in message
    assert app_services.ENDING < host.clock < 2 * app_services.ENDING


def test_a_schedule_is_not_restarted_and_a_rollback_kills_it(host):
    work(BOT, PURGE)
    assert host.done == ["restart --no-block clinic-bot.service"]
    host.pages = ["502"] * app_services.TRIES
    work(BOT, PURGE, site=SITE, force=True)
    assert host.done[-2:] == [
        "stop clinic-bot.service clinic-purge.service", "restart clinic-bot.service",
    ]  # fmt: skip
    assert "kill --signal=SIGKILL clinic-bot.service clinic-purge.service" in host.done


def test_a_rotation_waits_for_each_process_with_the_old_secret(host, tmp_path):
    environment = tmp_path / "environment"
    environment.write_text("")
    purge, celery = (each | {"files": [str(environment)]} for each in (PURGE, CELERY))
    old, new = "Fri 2001-01-05 00:00:00.0 UTC", "Fri 2101-01-07 00:00:00.0 UTC"
    runs = {"ActiveState": "activating", "Job": "0"}
    active = {"ActiveState": "active", "Job": "0"}
    host.looks = [
        {"celery.service": active, "clinic-purge.service": runs | {"InactiveExitTimestamp": old}},
        {"celery.service": {"Job": "7"}, "clinic-purge.service": {"ActiveState": "inactive"}},
        {"celery.service": active, "clinic-purge.service": runs | {"InactiveExitTimestamp": new}},
    ]  # fmt: skip
    assert work(services=[celery, purge], patience=10) == []
    assert host.clock == 2
    host.looks = [{"ActiveState": "deactivating"}]
    with pytest.raises(ServiceError, match="celery.service still works with the old files"):
        work(services=[celery], patience=10)


def test_gunicorn_may_have_a_name_like_a_process(monkeypatch, tmp_path):
    """Its unit has no mark of a process, and restarts all the same."""
    (tmp_path / "clinic-gunicorn.service").write_text("[Unit]\n")
    monkeypatch.setattr(app_services.processes, "SYSTEM", tmp_path)
    service = GUNICORN | {"unit": "clinic-gunicorn.service"}
    given = {"application": APPLICATION, "services": [service], "steady": [], "workers": []}
    assert app_services.compare(given) == []
    assert given["services"] == [service]


def test_a_service_whose_role_comes_later_in_the_play_is_left_out(monkeypatch, tmp_path):
    """A role that is used alone runs the handlers of all services of the application."""
    (tmp_path / "celery.service").write_text("[Unit]\n")
    monkeypatch.setattr(app_services.processes, "SYSTEM", tmp_path)
    given = {
        "services": [CELERY, GUNICORN], "workers": ["celery", "clinic-reports"],
        "steady": ["clinic-bot.service"],
    }  # fmt: skip
    app_services.leave_out_absent(given)
    assert given == {"services": [CELERY], "workers": ["celery"], "steady": []}


def test_processes_that_are_described_or_installed_only_are_told(host, monkeypatch):
    installed = ["clinic-left.service", "clinic-old.service", "clinic-old.timer"]
    monkeypatch.setattr(app_services.processes, "installed", lambda name: installed)
    given = {
        "application": APPLICATION, "services": [CELERY, BOT], "steady": ["clinic-bot.service"],
        "workers": ["celery"],
    }  # fmt: skip
    left, old, bot = app_services.compare(given)
    assert "clinic-left.service" in left and "site.yml removes it" in left
    assert "clinic-old.service" in old
    assert "clinic-bot.service is described and not installed" in bot
    names = {each["unit"]: each["schedule"] for each in given["services"]}
    assert names == {
        "celery.service": False, "clinic-left.service": False, "clinic-old.service": True,
    }  # fmt: skip
    assert given["steady"] == []


@pytest.mark.parametrize("broken", ["start", "ping", "watch"])
def test_a_service_that_does_not_work_gets_its_files_from_before(
    arguments, host, tmp_path, monkeypatch, broken
):
    monkeypatch.setattr(kept_files, "PLACE", tmp_path / "kept")
    unit = {"start": "gunicorn.service", "ping": "celery.service", "watch": "celery-beat.service"}
    file = tmp_path / "options"
    file.write_text("good")
    told = {"MainPID": "5", "ActiveState": "active", "LoadState": "loaded"}
    monkeypatch.setattr(units, "show", lambda *names: told)
    kept_files.keep(unit[broken], [str(file)])
    file.write_text("bad")
    host.looks, host.silent = [{"ActiveState": "failed"}], broken == "ping"
    if broken == "start":
        host.failing = {"gunicorn.service"}
    given = {
        "start": {"services": [GUNICORN]}, "ping": {"workers": ["celery"]},
        "watch": {"services": [], "steady": ["celery-beat.service"]},
    }[broken]  # fmt: skip
    arguments({"application": APPLICATION, **given})
    with pytest.raises(SystemExit):
        app_services.main()
    assert file.read_text() == "good"


def test_files_from_before_stay_as_long_as_nothing_shows_that_the_new_ones_work(
    host, tmp_path, monkeypatch
):
    monkeypatch.setattr(kept_files, "PLACE", tmp_path)
    (tmp_path / "celery.service").mkdir()
    (tmp_path / "celery.service" / kept_files.LIST).write_text('{"files": {}, "ran": true}')
    work(CELERY)  # a restart that nobody waits for
    assert kept_files.read("celery.service")
    work(workers=["celery"])
    assert not kept_files.read("celery.service")
