"""What a host is like, and what is told of it: the judgement, without a host."""

import json
import os
import random
import socket
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import (
    certificates,
    checks,
    queues,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.releases import environment_text

NOW = 1795662000.0
UNIT = {
    "Id": "celery.service", "LoadState": "loaded", "ActiveState": "active", "SubState": "running",
    "Result": "success", "MainPID": "5", "MemoryCurrent": "120000000",
    "ActiveEnterTimestamp": "Thu 2026-11-26 03:00:00.500000 UTC",
}  # fmt: skip


# --- Units --------------------------------------------------------------------------------------


def unit(restarts=(), stopped=False, **changes):
    return checks.judge_unit(UNIT | changes, [NOW - ago for ago in restarts], stopped, NOW)


def test_a_unit_that_runs_is_well():
    row = unit()
    assert (row.wrong, row.advice) == ("", "")
    assert row.told == "since 2026-11-26 03:00 UTC, 120.0 MB"


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"ActiveState": "inactive", "SubState": "dead"}, "does not run"),
        ({"ActiveState": "failed", "Result": "oom-kill"}, "has failed (oom-kill)"),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "does not run"),
        ({"stopped": True}, "a signal has stopped"),
        ({"restarts": [10, 20, 800]}, "restarts without end: 3 times in 15 minutes"),
    ],
)
def test_a_unit_is_wrong(changes, wrong):
    row = unit(**changes)
    assert wrong in row.wrong
    assert "celery.service" in row.advice


@pytest.mark.parametrize(
    "changes",
    [
        {"restarts": [10, 20]},
        {"restarts": [1000, 1100, 1200, 1300]},
        {"ActiveState": "deactivating", "SubState": "stop-sigterm"},
        {"ActiveState": "reloading"},
        {"LoadState": "not-found", "ActiveState": "inactive"},
        {"MemoryCurrent": "[not set]"},
        {"MemoryCurrent": "18446744073709551615"},
    ],
)
def test_a_unit_is_not_wrong(changes):
    assert unit(**changes).wrong == ""


def test_restarts_of_an_hour_are_told():
    assert "4 restarts in the last hour" in unit(restarts=[1000, 1100, 1200, 1300, 4000]).told
    assert "MB" not in unit(MemoryCurrent="[not set]").told


def test_a_failed_unit_that_is_not_watched_is_wrong_once():
    rows = checks.judge_failed(["certbot.service", "celery.service"], ["celery.service"])
    assert [(row.name, row.wrong) for row in rows] == [("certbot.service", "has failed")]


def test_restarts_are_read_from_the_messages_of_systemd(monkeypatch):
    def entry(name, moment):
        return json.dumps({"UNIT": name, "__REALTIME_TIMESTAMP": str(int(moment * 1e6))})

    lines = ['UE": "cut off"}', entry("a.service", NOW), entry("a.service", NOW - 5), "[]", "{}"]
    asked = []

    def run(command, limit):
        asked.extend(command)
        return units.Result(0, "\n".join(lines), 0.1)

    monkeypatch.setattr(units, "run", run)
    assert checks.restarts_of(NOW) == {"a.service": [NOW, NOW - 5]}
    assert "_PID=1" in asked  # nobody else can say so


def test_a_stopped_process_is_seen():
    assert not checks.is_stopped(str(os.getpid()))
    assert not checks.is_stopped("0")


@pytest.fixture
def host(monkeypatch):
    """Give units that run, and remember the commands of probes, which end with `code`."""
    told = SimpleNamespace(ran=[], code=0, output="")

    def run(command, limit):
        told.ran.append(command)
        return units.Result(told.code, told.output, 0.1)

    monkeypatch.setattr(units, "show_all", lambda names, *properties: [dict(UNIT)])
    monkeypatch.setattr(units, "systemctl", lambda *words: units.Result(0, "", 0.1))
    monkeypatch.setattr(units, "run", run)
    monkeypatch.setattr(checks, "restarts_of", lambda now: {})
    monkeypatch.setattr(checks, "is_stopped", lambda process: False)
    return told


def test_a_probe_that_succeeds_is_believed_for_some_looks(host):
    known = {}
    for _ in range(2 * (checks.WELL + 1)):
        (row,), known = checks.look_units(["celery.service"], {"celery.service": "x"}, known, NOW)
        assert row.wrong == ""
    assert host.ran == [["/bin/sh", "-c", "x"]] * 2


def test_a_probe_that_fails_is_asked_at_each_look(host):
    known, host.code = {}, 69
    for _ in range(3):
        (row,), known = checks.look_units(["celery.service"], {"celery.service": "x"}, known, NOW)
        assert row.wrong == "runs and does not answer"
    assert len(host.ran) == 3


@pytest.mark.parametrize(
    ("owner", "log", "advice"),
    [
        (checks.SLICE, "MemoryError: Cannot allocate write+execute memory",
         "app_sandbox: {MemoryDenyWriteExecute: false} (journalctl -u celery.service says why it "),
        (checks.SLICE, "something else", "journalctl -u celery.service says why it ends"),
        ("system.slice", "MemoryError: Cannot allocate write+execute memory",
         "journalctl -u celery.service says why it ends"),
    ],
)  # fmt: skip
def test_a_service_of_the_application_that_ends_says_why(host, monkeypatch, owner, log, advice):
    monkeypatch.setattr(checks, "restarts_of", lambda now: {"celery.service": [NOW - 5] * 3})
    monkeypatch.setattr(units, "show", lambda name, *words: {"Slice": owner})
    monkeypatch.setattr(units, "journal", lambda *words: log)
    ((row,), _) = checks.look_units(["celery.service"], {}, {}, NOW)
    assert "restarts without end" in row.wrong
    assert advice in row.advice
    assert ("MemoryDenyWriteExecute" in row.advice) == ("MemoryDenyWriteExecute" in advice)


def test_a_problem_is_told_also_if_its_log_cannot_be_read(host, monkeypatch):
    def fail(*words):
        raise units.UnitError("systemctl fails")

    monkeypatch.setattr(units, "show", fail)
    row = checks.Row("celery.service", "failed", "has failed", "journalctl")
    assert checks.explained(row, "celery.service", NOW) == row


# --- Beat ---------------------------------------------------------------------------------------


@pytest.fixture
def beat(monkeypatch):
    """Look at beat, whose log and schedule are given; `asked` has the commands for the schedule."""
    told = SimpleNamespace(
        age=10.0, line="x] Scheduler: Sending due task tick (clinic.tick)", started=NOW - 9e5,
        due=NOW, code=0, printed=None, asked=[], known={},
    )  # fmt: skip

    def run(command, limit):
        if command[0] == "/usr/bin/journalctl":
            moment = int((NOW - told.age) * 1e6)
            entry = {"MESSAGE": told.line, "__REALTIME_TIMESTAMP": str(moment)}
            return units.Result(0, json.dumps(entry) if told.line else "", 0.1)
        told.asked.append(command[-1])
        printed = f"noise\n{told.due}\n" if told.printed is None else told.printed
        return units.Result(told.code, printed, 0.1)

    def look(now=NOW, command="due"):
        (row,), told.known = checks.look_beat("celery-beat.service", command, told.known, now)
        return row

    monkeypatch.setattr(units, "run", run)
    monkeypatch.setattr(units, "moment", lambda stamp: told.started)
    monkeypatch.setattr(units, "show", lambda *words: {})
    told.look = look
    return told


def test_beat_that_sends_tasks_is_not_asked_for_its_schedule(beat):
    row = beat.look()
    assert (row.wrong, row.told) == ("", "sent a task 10 s ago: tick (clinic.tick)")
    assert beat.asked == []


@pytest.mark.parametrize(
    ("late", "wrong"), [(-80000, ""), (899, ""), (901, "one was due 15 min ago"), (9e5, "due")]
)
def test_beat_is_judged_by_its_own_schedule(beat, late, wrong):
    beat.age, beat.due = 1e5, NOW - late
    row = beat.look()
    assert wrong in row.wrong and bool(row.wrong) == bool(wrong)
    assert beat.asked == [f"due {NOW - 1e5}"]


def test_beat_that_has_started_just_now_has_time(beat):
    beat.age, beat.due, beat.started = 1e5, NOW - 9e4, NOW - 60
    assert beat.look().wrong == ""
    beat.started = NOW - 2000
    assert beat.look().wrong != ""
    assert beat.asked == [f"due {NOW - 2000}"]


def test_the_schedule_is_read_once_until_a_task_is_late(beat):
    beat.age, beat.due = 2000, NOW + 3600
    for second in range(0, 3600 + 900, 60):
        assert beat.look(NOW + second).wrong == ""
    assert len(beat.asked) == 1
    assert beat.look(NOW + 3600 + 960).wrong != ""
    assert len(beat.asked) == 2  # the schedule may have changed meanwhile


@pytest.mark.parametrize("error", ["Message Error: x", "beat: Connection error: x. Trying again"])
def test_beat_that_cannot_send_is_wrong_as_long_as_the_error_is_new(beat, error):
    beat.line = f"[2026-11-26 03:00:00,000: ERROR/MainProcess] {error}"
    assert beat.look().wrong == f"could not send a task 10 s ago: {error}"
    beat.age = 1000
    assert "could not send" not in beat.look().wrong


@pytest.mark.parametrize("code", [0, 1])
def test_a_schedule_that_cannot_be_read_is_shown_only(beat, code):
    beat.age, beat.code, beat.printed = 1e5, code, "no module\x1b[2J named x"
    row = beat.look()
    assert row.wrong == ""
    assert "its schedule could not be read: no module [2J named x" in row.told


@pytest.mark.parametrize("printed", ["", "inf\n", "1e300\n", "-5\n"])
def test_what_the_application_prints_of_its_schedule_is_bounded(beat, printed):
    beat.age, beat.printed = 2000, printed
    beat.look()
    assert NOW - 2000 <= beat.known["due"] <= NOW + 86400


def test_beat_without_a_command_is_only_shown(beat):
    beat.age = 1e6
    assert beat.look(command="") == checks.Row(
        "beat", "sent a task 12 days ago: tick (clinic.tick)"
    )
    beat.line = ""
    assert beat.look(command="").told == "has sent no task yet"
    assert beat.asked == []


# --- The rest -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "well"), [(200, True), (302, True), (404, False), (502, False)])
def test_the_site(status, well):
    row = checks.judge_site("https://x/", status, "R\x1b[2J", 0.0314)
    assert (row.wrong == "") is well
    assert row.told == f"{status} R [2J in 31 ms"


@pytest.mark.parametrize(("waited", "well"), [(0, True), (899, True), (900, False)])
def test_the_queue(waited, well):
    assert (checks.judge_queue(3, waited, 15).wrong == "") is well


@pytest.mark.parametrize(("used", "well"), [(3, True), (89, True), (90, False)])
def test_the_database(used, well):
    row = checks.judge_database(f"{used}|100|34000000\n")
    assert (row.wrong == "") is well
    assert row.told == f"{used} of 100 connections, 34.0 MB"


def disk(free=50, available=50, files=100, inodes=50):
    return SimpleNamespace(
        f_blocks=100, f_bfree=free, f_bavail=available, f_frsize=4096, f_files=files, f_ffree=inodes
    )


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (disk(), ""),
        (disk(free=16, available=16), ""),
        (disk(free=15, available=15), "85 % are used (limit: 85 %)"),
        (disk(free=20, available=10), "89 % are used"),  # a part is reserved for root
        (disk(inodes=14), "86 % of the inodes are used"),
        (disk(files=0, inodes=0), ""),  # btrfs has no inodes to count
        (disk(free=0, available=0), "100 % are used"),
    ],
)
def test_a_disk(seen, wrong):
    told = checks.judge_disk("/", seen, 85).wrong
    assert told.startswith(wrong) and bool(told) == bool(wrong)


MOUNTS = r"""
36 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
37 36 8:1 /var /var rw,relatime shared:1 - ext4 /dev/sda1 rw
38 36 8:2 / /mnt\040two rw shared:1 - xfs /dev/sdb rw
39 36 0:5 / /proc rw - proc proc rw
40 36 0:6 / /run rw - tmpfs tmpfs rw
41 36 7:1 / /snap/x ro - squashfs /dev/loop1 ro
42 36 0:44 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
43 36 8:3 / /etc/hosts rw - ext4 /dev/sdc rw
44 36 0:50 / /tmp rw - tmpfs tmpfs rw,size=1k
45 36 0:51 / /dev/shm rw - tmpfs tmpfs rw
46 40 0:52 / /run/user/0 rw - tmpfs tmpfs rw
47 36 0:53 / /var/lib/redis rw - tmpfs tmpfs rw
48 36 0:54 / /sys/firmware ro - tmpfs tmpfs ro
""".strip()


def test_only_writable_file_systems_that_can_fill_up_count(monkeypatch):
    monkeypatch.setattr(os.path, "isdir", lambda path: path != "/etc/hosts")
    kinds = "nodev\tproc\nnodev\ttmpfs\nnodev\toverlay\n\text4\n\txfs\n\tsquashfs\n"
    assert checks.file_systems(MOUNTS, kinds) == ["/", "/mnt two", "/run", "/tmp", "/var/lib/redis"]
    root = "1 0 0:44 / / rw - overlay overlay rw,lowerdir=/x"
    assert checks.file_systems(root, kinds) == ["/"]


@pytest.mark.parametrize(
    ("free", "swap", "well"), [(500, 0, True), (40, 0, False), (40, 512, True), (10, 20, False)]
)
def test_the_memory(free, swap, well):
    text = f"MemTotal: 1000 kB\nMemAvailable: {free} kB\nSwapTotal: 512 kB\nSwapFree: {swap} kB\n"
    assert (checks.judge_memory(text).wrong == "") is well


BACKUP = {
    "last_backup": NOW - 3600, "last_backup_bytes": 5e6, "last_drill": NOW - 7200, "drill_ok": True,
    "drill_message": "130 MB in 7 s", "survives_disk": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"last_backup": NOW - 24.9 * 3600}, []),
        ({"last_backup": NOW - 25.1 * 3600}, ["the last backup is older than 25 h"]),
        ({"last_backup": 0}, ["there is no backup"]),
        ({"last_backup": 0, "since": NOW - 3600}, []),
        ({"last_backup": 0, "since": NOW - 26 * 3600}, ["there is no backup"]),
        ({"problems": {"now": "the key\n"}}, ["the last try has failed: the key"]),
        ({"problems": {}}, []),
        ({"last_backup": NOW + 60}, []),
        (
            {"last_backup": NOW + 86400},
            [
                f"the last backup is of {checks.at(NOW + 86400)}, in the future: a clock is or was "
                "wrong"
            ],
        ),
        ({"last_drill": 0, "drill_ok": False}, ["no backup has been tested for 49 h"]),
        ({"last_drill": 0, "drill_ok": False, "since": NOW - 48 * 3600}, []),
        ({"last_drill": NOW - 50 * 3600}, ["no backup has been tested for 49 h"]),
        ({"drill_ok": False, "drill_message": "x\ny"}, ["the last drill has failed: x y"]),
    ],
)
def test_the_backup(changes, wrong):
    rows = checks.judge_backup(BACKUP | changes, NOW)
    assert [row.wrong for row in rows if row.wrong] == wrong


@pytest.mark.parametrize(
    ("printed", "wrong"),
    [
        (f"on|{NOW - 30}|0|0\n", ""),
        (f"on|{NOW - 30}|{NOW - 90}|1", ""),
        ("on|0|0|1", ""),
        (f"on|{NOW - 90}|{NOW - 30}|3", "cannot archive its changes, 3 WAL files wait"),
        (f"on|0|{NOW - 30}|1", "cannot archive"),
        (f"on|{NOW - 90}|0|16", "is behind"),
        (f"on|{NOW - 90}|0|1", ""),
        (f"on|{NOW - 9000}|0|0", ""),
        (f"on|{NOW - 130}|0|1", "nothing was archived for 2 min, 1 WAL files wait"),
    ],
)
def test_the_archive(printed, wrong):
    (row,) = checks.judge_archive(printed, NOW)
    assert wrong in row.wrong and bool(row.wrong) == bool(row.advice) == bool(wrong)


def test_a_database_without_an_archive_has_no_row():
    assert checks.judge_archive("off|0|0|0", NOW) == []


def test_a_backup_on_the_same_disk_is_told():
    assert "does not survive" in checks.judge_backup(BACKUP | {"survives_disk": False}, NOW)[0].told


CERTIFICATE = {
    "subject": "CN = example.com", "issuer": "C = US, O = Let's Encrypt, CN = R11", "serial": "0A",
    "notBefore": "Nov  1 00:00:00 2026 GMT", "notAfter": "Jan 30 00:00:00 2027 GMT",
}  # fmt: skip
BEGUN = 1793491200.0  # of CERTIFICATE's life of 90 days


@pytest.mark.parametrize(
    ("day", "wrong"), [(1, ""), (60, ""), (60.9, ""), (61.1, "less than a third"), (68, "less")]
)
def test_a_certificate_grows_old(day, wrong):
    told, said = certificates.judge(CERTIFICATE, True, BEGUN + day * 86400)
    assert said.startswith(wrong) and bool(said) == bool(wrong)
    assert told.startswith("by R11, serial 0A")


@pytest.mark.parametrize("issued", [True, False])
def test_a_self_signed_certificate_is_wrong_where_an_authority_is_wanted(issued):
    own = CERTIFICATE | {"issuer": CERTIFICATE["subject"]}
    assert bool(certificates.judge(own, issued, BEGUN)[1]) is issued


def test_upgrades_are_counted():
    printed = (
        "Inst nginx [1.22] (1.26 Debian:13/stable [amd64])\n"
        "Inst openssl [3.5.0] (3.5.1 Debian-Security:13/stable-security [amd64])\nConf nginx\n"
    )
    assert checks.judge_upgrades(printed).told == "2 pending, 1 of them for security"
    assert checks.judge_upgrades("").told == "none"


MAPS = """\
55d0c8a00000-55d0c8a2e000 r--p 00000000 08:01 1837 /usr/sbin/nginx
7f2c5e200000-7f2c5e2d1000 r-xp 000d1000 08:01 2041 /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)
7f2c5e400000-7f2c5e4d1000 r-xp 000d1000 08:01 2042 /usr/lib/x86_64-linux-gnu/libc.so.6
7f2c5e600000-7f2c5e6d1000 rw-s 00000000 00:01 2043 /dev/zero (deleted)
7f2c5e700000-7f2c5e7d1000 r-xp 00000000 00:01 2044 /var/www/x/releases/1/.venv/a.so (deleted)
7f2c5e800000-7f2c5e8d1000 r-xp 00000000 00:01 2045 /tmp/x /usr/lib/a.so (deleted)x
"""


def test_a_library_that_an_upgrade_has_replaced():
    assert checks.replaced_libraries(MAPS) == {"/usr/lib/x86_64-linux-gnu/libssl.so.3"}


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("0::/django_stack.slice/gunicorn.service/workers\n", "gunicorn.service"),
        ("4:memory:/\n1:name=systemd:/system.slice/ssh.service\n", "ssh.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n",
            "user@1000.service",
        ),
    ],
)
def test_the_service_of_a_process(cgroup, unit):
    assert checks.unit_of(cgroup) == unit


def test_services_with_replaced_libraries_are_named():
    assert checks.judge_libraries([]) == []
    (row,) = checks.judge_libraries({"nginx.service", "gunicorn.service"})
    assert row.told.endswith("systemctl restart gunicorn.service nginx.service")


@pytest.mark.parametrize(
    ("ago", "up", "well"), [(60, 9999, True), (601, 9999, False), (601, 60, True)]
)
def test_the_watch_is_watched(ago, up, well):
    row = checks.judge_watch({"email_to": ["a@b"]}, {"at": NOW - ago}, NOW - up, NOW)
    assert (row.wrong == "") is well
    assert "e-mail" in row.told


def test_a_host_that_tells_nobody_says_so():
    assert "NOBODY" in checks.judge_watch({}, {"at": NOW}, 0, NOW).told
    assert "nobody has looked yet" in checks.judge_watch({}, {}, 0, NOW).wrong


def test_a_check_that_breaks_is_a_row():
    def broken():
        raise RuntimeError("\x1b]0;x\x07")

    (row,) = checks.safely("disk", broken)
    assert (row.name, row.told) == ("disk", "unknown")
    assert "RuntimeError: ]0;x" in row.wrong


def test_only_what_root_alone_can_write_is_believed(tmp_path):
    file = tmp_path / "status.json"
    assert checks.own(file) == ""
    file.write_text("{}")
    file.chmod(0o600)
    (tmp_path / "link").symlink_to(file)
    for wrong in (tmp_path / "link", tmp_path):
        with pytest.raises(OSError):
            checks.own(wrong)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="should be a file"):
        checks.own(tmp_path / "pipe")  # and does not wait for a writer
    if os.getuid() == 0:
        assert checks.own(file) == "{}"
        for mode in (0o620, 0o602):
            file.chmod(mode)
            with pytest.raises(OSError, match="should be a file"):
                checks.own(file)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-5, "0 s"), (90, "90 s"), (120, "2 min"), (7100, "118 min"), (7200, "2 h"), (2e5, "2 days")],
)
def test_spans(seconds, told):
    assert checks.span(seconds) == told


def test_the_table_and_the_list_say_what_is_wrong():
    rows = [checks.Row("site", "200 in 3 ms"), checks.Row("disk /", "90 %", "too full", "df")]
    assert checks.table("clinic", rows, NOW).splitlines() == [
        "clinic at 2026-11-26 03:00 UTC",
        "  ok       site    200 in 3 ms",
        "  PROBLEM  disk /  90 %: too full",
    ]
    assert checks.problems(rows) == ["disk /: too full. To do: df"]
    assert checks.as_json(rows)[0] == {
        "name": "site", "told": "200 in 3 ms", "wrong": "", "advice": ""
    }  # fmt: skip


@pytest.mark.parametrize("value", ['redis://:it\'s%20"$x"`\\@h/0', "", "plain"])
def test_a_variable_is_read_as_systemd_reads_it(value):
    text = environment_text({"AN_URL": "x", "URL": value, "URLS": "y"}, "# header")
    assert checks.variable(text, "URL") == value
    assert checks.variable(text, "NONE") == ""


def test_a_broker_that_is_no_redis_is_not_asked():
    (row,), _ = checks.look_queue("amqp://x", ["celery"], 15, {}, NOW)
    assert (row.wrong, row.told) == ("", "not checked: CELERY_BROKER_URL names no Redis")


# --- Queues -------------------------------------------------------------------------------------


class Lists(dict):
    """Redis with lists only; the newest task is the first."""

    def ask(self, word, key, *words):
        tasks = self.get(key, [])
        if word == "LLEN":
            return len(tasks)
        if word == "LINDEX":
            if tasks and len(tasks[0]) > queues.LONGEST:
                raise OSError("too long")
            return tasks[0] if tasks else None
        assert word == "LPOS"
        return tasks.index(words[0]) if words[0] in tasks else None


def test_an_idle_queue_keeps_nobody_waiting():
    assert queues.follow(Lists(), "celery", {}, NOW) == {"length": 0, "waited": 0.0}


def test_a_task_that_nobody_takes_waits():
    redis, known = Lists(celery=[b"\xff1"]), {}
    for minute in range(4):
        known = json.loads(json.dumps(queues.follow(redis, "celery", known, NOW + 60 * minute)))
        assert (known["length"], known["waited"]) == (minute + 1, 60 * minute)
        redis["celery"].insert(0, b"new%d" % minute)


def test_a_queue_that_moves_slowly_shows_how_long_a_task_waits():
    redis, known = Lists(celery=[b"0"]), {}
    waited = []
    for minute in range(40):  # each task waits for ten minutes
        redis["celery"] = [b"%d" % number for number in range(minute, max(minute - 10, -1), -1)]
        known = queues.follow(redis, "celery", known, NOW + 60 * minute)
        waited.append(known["waited"])
    assert all(540 <= each <= 600 for each in waited[15:])
    redis["celery"] = []
    assert queues.follow(redis, "celery", known, NOW + 2500)["waited"] == 0


def test_a_queue_that_moves_fast_keeps_nobody_waiting():
    redis, known = Lists(), {}
    for minute in range(5):
        redis["celery"] = [b"%d" % minute]
        known = queues.follow(redis, "celery", known, NOW + 60 * minute)
        assert known["waited"] <= 60


def test_a_task_that_is_too_long_is_counted_and_not_kept():
    told = queues.follow(Lists(celery=[b"x" * 70000]), "celery", {}, NOW)
    assert told == {"length": 1, "waited": 0.0}


def test_a_clock_that_goes_back_does_no_harm():
    known = {"length": 1, "waited": 0.0, "task": "1", "since": NOW + 5000}
    assert queues.follow(Lists(celery=[b"1"]), "celery", known, NOW)["waited"] == 0


def outwaited(*lengths):
    """Return the waiting time after a look each minute at a queue of these lengths."""
    known = {}
    for minute, length in enumerate(lengths):
        known = json.loads(json.dumps(queues.outwait(length, known, NOW + 60 * minute)))
    return known["waited"] / 60


@pytest.mark.parametrize(
    ("lengths", "minutes"),
    [
        ([0], 0),
        ([5], 0),
        ([0, 0, 1, 1, 1], 2),
        ([3, 4, 5, 6, 7, 8], 5),  # nothing leaves
        ([1] * 200, 199),
        (range(1, 201), 199),
        ([5, 0, 5], 0),
        ([100, 60, 70, 30], 3),  # 80 have left, and 100 were there at first
        ([100, 50, 60, 10], 1),  # 100 have left: of those of the first look none is there
        ([10, 2, 10, 2, 10, 2], 1),
    ],
)
def test_the_length_alone_shows_how_long_a_task_may_wait(lengths, minutes):
    assert outwaited(*lengths) == minutes


def test_no_task_waits_longer_than_the_lengths_say():
    chance = random.Random(7)
    for _ in range(50):
        tasks, known = [], {}
        for minute in range(300):
            now = NOW + 60 * minute
            del tasks[: chance.randrange(12)]
            tasks += [now] * chance.randrange(12)
            known = queues.outwait(len(tasks), known, now)
            assert len(known["looks"]) <= queues.LOOKS
            assert known["waited"] >= (now - tasks[0] if tasks else 0)


@pytest.fixture
def counter(tmp_path):
    """Give a command that prints a file and notes each of its runs, and both files."""
    lengths, runs = tmp_path / "lengths", tmp_path / "runs"
    runs.touch()
    return SimpleNamespace(
        command=f"echo >> {runs}; cat {lengths}",
        says=lengths.write_text,
        runs=lambda: len(runs.read_text()),
    )


def test_the_lengths_are_asked_for_at_each_third_look(counter):
    known = {}
    for minute, length in enumerate([4, 4, 4, 5, 5, 5, 6, 6, 6]):
        counter.says(f"a warning\n{length} 0\n")
        given = (counter.command, ["celery", "mail"], 8, known, NOW + 60 * minute)
        (row,), known = checks.count_queue(*given)
        assert row.told == f"{length} tasks, the oldest waits for up to {checks.span(60 * minute)}"
        known = json.loads(json.dumps(known))
    assert counter.runs() == 3
    assert row.wrong == "a task has waited for up to 8 min (limit: 8 min)"
    counter.says("0 0\n")
    given = (counter.command, ["celery", "mail"], 8, known | {"left": 0}, NOW + 540)
    assert checks.count_queue(*given)[0] == [checks.Row("queue", "empty")]


@pytest.mark.parametrize("printed", ["", "1", "1 2 3", "1 -2", "1 x", "9999999999 1", "\x1b[31m"])
def test_a_command_that_prints_no_lengths_is_told(counter, printed):
    counter.says(printed)
    (row,), known = checks.count_queue(counter.command, ["a", "b"], 15, {"left": 0}, NOW)
    assert row.wrong.startswith("the broker does not answer: ") and "\x1b" not in row.wrong
    assert known == {"left": 0}


def test_other_queues_are_asked_for_at_once(counter):
    counter.says("7\n")
    _, known = checks.count_queue(counter.command, ["a"], 15, {}, NOW)
    (row,), _ = checks.count_queue(counter.command, ["b"], 15, known, NOW + 60)
    assert counter.runs() == 2
    assert row.told == "7 tasks, the oldest waits for up to 0 s"


@pytest.fixture
def redis():
    """Give a server that answers each command with the next of some answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = SimpleNamespace(port=server.getsockname()[1], answers=[], asked=[])

        def serve():
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as file:
                while line := file.readline():
                    words = []
                    for _ in range(int(line[1:])):
                        words.append(file.read(int(file.readline()[1:]) + 2)[:-2])
                    told.asked.append(words)
                    connection.sendall(told.answers.pop(0))

        threading.Thread(target=serve, daemon=True).start()
        yield told


def test_the_client_speaks_with_redis(redis):
    redis.answers = [
        b"+OK\r\n",
        b"+OK\r\n",
        b":7\r\n",
        b"$3\r\na\r\n\r\n",
        b"$-1\r\n",
        b"-NO it\r\n",
    ]
    with closing(queues.Client(f"redis://me:p%40ss@127.0.0.1:{redis.port}/2")) as client:
        assert client.ask("LLEN", "x") == 7
        assert client.ask("LINDEX", "x", "0") == b"a\r\n"
        assert client.ask("LPOS", "x", b"\xff\r\n") is None
        with pytest.raises(queues.QueueError, match="NO it"):
            client.ask("LLEN", "x")
    assert redis.asked[:2] == [[b"AUTH", b"me", b"p@ss"], [b"SELECT", b"2"]]
    assert redis.asked[4] == [b"LPOS", b"x", b"\xff\r\n"]


def test_the_client_reads_no_answer_that_is_too_long(redis):
    redis.answers = [b"$70000\r\n"]
    with closing(queues.Client(f"redis://127.0.0.1:{redis.port}")) as client:
        with pytest.raises(OSError, match="70000"):
            client.ask("LINDEX", "x", "0")


# --- All of it ----------------------------------------------------------------------------------


def test_a_look_goes_on_where_a_check_fails(monkeypatch, host):
    description = {
        "units": ["celery.service"], "probes": {}, "site": {}, "certificate_names": [],
        "certificate_issued": False, "postgresql_port": 5432, "environment_file": "/x",
        "queues": ["celery"], "queue_minutes": 15, "beat": "", "beat_command": "", "release": "",
        "disk_percent": 99,
    }  # fmt: skip
    monkeypatch.setattr(Path, "glob", lambda path, pattern: [])
    monkeypatch.setattr(checks, "variable", lambda text, name: "redis://127.0.0.1:1")
    memory = {"queues": {"celery": {"length": 1}}}
    rows, known = checks.look(description, memory, NOW, thorough=False)
    told = {row.name: row.wrong for row in rows}
    assert told["celery.service"] == ""
    assert "Redis does not answer" in told["queue"]
    assert "the check itself has failed" in told["database"]
    assert known == {"queues": memory["queues"], "beat": {}, "probes": {}}
    description["queue_command"], description["environment_file"], host.output = "x", "", "3\n"
    rows, known = checks.look(description, memory, NOW, thorough=False)
    (row,) = (row for row in rows if row.name == "queue")
    assert row.told == "3 tasks, the oldest waits for up to 0 s"
    assert known["queues"]["counted"]["celery"]["length"] == 3
