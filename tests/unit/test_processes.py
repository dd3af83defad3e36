"""How processes and schedules become units of systemd, and how the host looks after them."""

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import processes as on_host
from ansible_collections.clink.django_stack.plugins.module_utils import units
from ansible_collections.clink.django_stack.plugins.modules import process_units
from ansible_collections.clink.django_stack.plugins.plugin_utils import processes

APPLICATION = {
    "name": "clinic", "environment_file": "/etc/clinic/environment", "current": "/srv/current",
}  # fmt: skip
FIRST = [
    "/srv/current/.venv/bin/python", "/usr/local/lib/celery_worker.py", "--app=clinic", "worker",
    "--hostname=celery@%%h", "--concurrency=4", "--loglevel=INFO", "--queues=celery,mail",
    "--without-mingle",
]  # fmt: skip


def unit(processes_given=None, schedules=None):
    (told,) = processes.units(processes_given or {}, schedules or {}, APPLICATION, FIRST, 300)
    return told


def test_each_worker_is_pinged_by_its_own_node():
    pings = processes.worker_pings(["celery", "clinic-mail"], "/usr/local/bin/clinic-run", "clinic")
    assert pings == {
        f"{node}.service": "APP_RUN_LIMIT=20 /usr/local/bin/clinic-run celery --app=clinic inspect"
        f" --timeout=5 --destination={node}@$(hostname) ping"
        for node in ("celery", "clinic-mail")
    }


# --- Commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("manage.py sendalerts", ["python", "manage.py", "sendalerts"]),
        ("./manage.py sendalerts --loop", ["python", "./manage.py", "sendalerts", "--loop"]),
        ("python -m bot.main", ["python", "-m", "bot.main"]),
        ("daphne -p 8001 clinic.asgi:application", None),
        ("DEBUG=1 PORT=2 manage.py x", ["DEBUG=1", "PORT=2", "python", "manage.py", "x"]),
        ('manage.py report --format="%Y $"', ["python", "manage.py", "report", "--format=%Y $"]),
        ("sh -c 'date | mail $USER && true'", ["sh", "-c", "date | mail $USER && true"]),
        (r"echo a\;b '' \$x", ["echo", "a;b", "", "$x"]),
    ],
)
def test_a_command_is_split_as_by_a_shell(command, words):
    assert processes.words(command) == (words or command.split())


@pytest.mark.parametrize(
    "command",
    [
        "", "  ", "A=1", "-i manage.py", "echo 'x", "manage.py x && y", "a | b", "a; b", "a > b",
        "manage.py x --url=$URL", "echo `date`", "echo $(date)", "a &", "one\ntwo", "x\0", "a < b",
    ],
)  # fmt: skip
def test_what_needs_a_shell_is_refused(command):
    assert not processes.has_command(command)
    assert not processes.has_command({"command": command})


@pytest.mark.parametrize("command", [5, None, True, ["manage.py"], {"command": 5}])
def test_a_command_is_a_text(command):
    assert not processes.has_command(command)


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("--days=7", "--days=7"),
        ("--format=%Y", "--format=%%Y"),
        ("$HOME", "$$HOME"),
        ("two words", '"two words"'),
        ('say "x" \\', '"say \\"x\\" \\\\"'),
        (";", '";"'),
        ("", '""'),
        ("it's", '"it\'s"'),
        ("#", '"#"'),
    ],
)
def test_systemd_expands_nothing_in_a_word(word, quoted):
    assert processes.quoted(word) == quoted


# --- Units --------------------------------------------------------------------------------------


def test_a_text_is_a_command_that_runs_for_ever():
    told = unit({"sendalerts": "manage.py sendalerts"})
    assert told["kind"] == "command"
    assert told["command"] == "python manage.py sendalerts"
    assert (told["stop_timeout"], told["memory"], told["sandbox"]) == (30, 0, {})
    assert told["service"] == {
        "unit": "clinic-sendalerts.service",
        "files": [
            "/etc/systemd/system/clinic-sendalerts.service",
            "/etc/clinic/environment",
            "/srv/current",
        ],
        "schedule": False,
    }
    assert told["watched"]["unit"] == "clinic-sendalerts.service"
    assert [file["src"] for file in told["definitions"]] == ["process.service.j2"]


def test_a_worker_runs_as_the_first_one_with_its_own_name_and_queues():
    options = ["--pool=threads", "--queues=other"]
    told = unit({"reports": {"queues": ["reports", "pdf"], "options": options}})
    assert told["kind"] == "worker"
    assert told["node"] == "clinic-reports"
    words = told["command"].split()
    assert words[:4] == FIRST[:4]
    assert "--hostname=clinic-reports@%%h" in words
    assert "--queues=reports,pdf" in words
    assert "--concurrency=4" in words
    assert "--queues=celery,mail" not in words
    assert words[-2:] == options
    assert told["stop_timeout"] == 300
    assert "/usr/local/lib/celery_worker.py" in told["service"]["files"]
    words = unit({"reports": {"queues": ["reports"], "concurrency": 2}})["command"].split()
    assert [word for word in words if word.startswith("--concurrency")] == ["--concurrency=2"]


@pytest.mark.parametrize("key", ["on", True])  # YAML reads `on` as true
def test_a_schedule_is_a_timer_and_its_service(key):
    told = unit(schedules={"purge": {"command": "manage.py purge", key: "daily", "memory": 200}})
    assert (told["kind"], told["on"], told["memory"]) == ("schedule", "daily", 200)
    assert told["service"]["schedule"]
    assert told["watched"] == {
        "unit": "clinic-purge.timer", "files": ["/etc/systemd/system/clinic-purge.timer"],
    }  # fmt: skip
    assert [file["unit"] for file in told["definitions"]] == ["service", "timer"]


def test_workers_come_first_and_schedules_last():
    told = processes.units(
        {"bot": "python -m bot", "reports": {"queues": ["reports"]}},
        {"purge": {"command": "manage.py purge", "on": "daily"}},
        APPLICATION,
    )
    assert [each["name"] for each in told] == ["reports", "bot", "purge"]


# --- The host -----------------------------------------------------------------------------------


@pytest.fixture
def host(monkeypatch, tmp_path):
    """Give a directory of units; `states` has the states of units, `done` what systemctl did."""

    class Host:
        directory = tmp_path
        states: dict[str, dict[str, str]] = {}
        done: list[str] = []

        def add(self, name, application="clinic"):
            text = f"[Unit]\n{on_host.MARK}{application}\n" if application else "[Unit]\n"
            (tmp_path / name).write_text(text)

    told = Host()
    told.states, told.done = {}, []

    def systemctl(*words, **_):
        told.done.append(" ".join(words))
        return units.Result(0, "", 0.1)

    def show_all(names, *_):
        here = {"ActiveState": "active", "UnitFileState": "enabled", "LoadState": "not-found"}
        return [here | told.states.get(name, {}) for name in names]

    monkeypatch.setattr(on_host, "SYSTEM", tmp_path)
    monkeypatch.setattr(units, "systemctl", systemctl)
    monkeypatch.setattr(units, "show_all", show_all)
    return told


def test_only_units_with_the_mark_of_the_application_are_its_own(host):
    host.add("clinic-bot.service")
    host.add("clinic-purge.timer")
    host.add("clinic-hand-made.service", application="")
    host.add("clinic-two-bot.service", application="clinic-two")
    (host.directory / "clinic-latin.service").write_bytes(b"Description=caf\xe9\n")
    (host.directory / "clinic-link.service").symlink_to("clinic-bot.service")
    assert on_host.installed("clinic") == ["clinic-bot.service", "clinic-purge.timer"]


def test_a_unit_of_another_author_is_refused_and_a_bad_time_too(host, monkeypatch):
    host.add("clinic-bot.service")
    place = {"FragmentPath": "/etc/systemd/system/clinic-old.service", "LoadState": "loaded"}
    host.states["clinic-old.service"] = place
    answers = {"daily": units.Result(0, "", 0.1), "dayly": units.Result(1, "Failed to parse", 0.1)}
    monkeypatch.setattr(units, "run", lambda command, limit: answers[command[-1]])
    given = {
        "application": "clinic",
        "units": ["clinic-bot.service", "clinic-old.service", "clinic-new.service"],
        "calendars": {"purge": "dayly", "other": "daily"},
    }
    time, name = process_units.problems(given)
    assert time.startswith("app_schedules: purge: ") and "Failed to parse" in time
    assert name.startswith("app_processes, app_schedules: old: ") and place["FragmentPath"] in name


@pytest.mark.parametrize(
    ("cron", "moment"),
    [
        ("0 3 * * *", "*-*-* 03:00"),
        ("*/5 * * * *", "*-*-* *:00/5"),
        ("30 6 * * 1-5", "Mon..Fri *-*-* 06:30"),
        ("0,30 9-17/2 * * 0,sat", "Sun,sat *-*-* 09..17/2:00,30"),
        ("15 0 1 */3 *", "*-01/3-01 00:15"),
        ("@daily", "daily"),
        ("@midnight", "daily"),
    ],
)
def test_a_time_of_cron_is_answered_with_that_of_systemd(host, monkeypatch, cron, moment):
    known = units.Result(0, "", 0.1), units.Result(1, "Failed to parse", 0.1)
    monkeypatch.setattr(units, "run", lambda command, _: known[command[-1] != moment])
    given = {"application": "clinic", "units": [], "calendars": {"purge": cron}}
    (told,) = process_units.problems(given)
    assert f'on: it should be "{moment}", as systemd' in told


@pytest.mark.parametrize(
    "cron", ["@reboot", "0 0 1 * 1", "5m", "every 5 minutes", "@", "a b c d e"]
)
def test_a_time_that_systemd_cannot_say_is_answered_with_examples(host, monkeypatch, cron):
    monkeypatch.setattr(units, "run", lambda *_: units.Result(1, "Failed to parse", 0.1))
    given = {"application": "clinic", "units": [], "calendars": {"purge": cron}}
    (told,) = process_units.problems(given)
    assert "such as daily or Mon *-*-* 03:00. systemd says: Failed to parse" in told


def test_a_unit_that_is_described_no_more_is_removed_with_its_drop_in(host):
    host.add("clinic-purge.timer")
    drop_ins = host.directory / "clinic-purge.timer.d"
    drop_ins.mkdir()
    (drop_ins / "50-django_stack-on-failure.conf").write_text("")
    on_host.remove("clinic-purge.timer")
    assert host.done[0] == "stop clinic-purge.timer"
    assert "clean --what=state clinic-purge.timer" in host.done
    assert "disable --now clinic-purge.timer" in host.done
    assert host.done[-1] == "daemon-reload"
    assert list(host.directory.iterdir()) == []


def test_a_drop_in_of_the_operator_stays(host):
    host.add("clinic-bot.service")
    drop_ins = host.directory / "clinic-bot.service.d"
    drop_ins.mkdir()
    (drop_ins / "own.conf").write_text("")
    on_host.remove("clinic-bot.service")
    assert [path.name for path in drop_ins.iterdir()] == ["own.conf"]


def test_only_what_does_not_run_is_started(host):
    host.states = {
        "a.service": {"ActiveState": "inactive", "UnitFileState": "disabled"},
        "b.timer": {"ActiveState": "failed"},
        "c.service": {"ActiveState": "activating"},
    }
    assert process_units.starts(["a.service", "b.timer", "c.service", "d.service"]) == [
        ("a.service", ["enable", "start"]),
        ("b.timer", ["start"]),
    ]


@pytest.mark.parametrize(
    ("state", "done"),
    [
        ("stopped", "stop clinic-bot.service clinic-purge.service clinic-purge.timer"),
        ("started", "start clinic-bot.service clinic-purge.timer"),
    ],
)
def test_a_restore_stops_all_and_does_not_run_schedules_at_its_end(host, state, done):
    for name in ("clinic-bot.service", "clinic-purge.service", "clinic-purge.timer"):
        host.add(name)
        host.states[name] = {"ActiveState": "active" if state == "stopped" else "inactive"}
    process_units.switch("clinic", state, check_mode=False)
    assert host.done == [done]
