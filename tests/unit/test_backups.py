"""Where backups lie, what there is, and which of them a restore uses."""

import json

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import backup_host, backups
from ansible_collections.clink.django_stack.plugins.module_utils.backups import (
    Backup,
    BackupError,
    Contents,
    Snapshot,
)

DAY = 86400.0
NOON = 1795780800.0  # 2026-11-27 12:00:00 UTC


def backup(label, ended, kind="full", timeline=1, size=1000):
    return Backup(label, kind, ended - 10, ended, size, size // 10, timeline)


FULL = backup("20261126-023000F", NOON - 1.4 * DAY)
NEW = backup("20261126-023000F_20261127-023000I", NOON - 0.4 * DAY, "incr")
CONTENTS = Contents((FULL, NEW), 7)
SNAPSHOTS = [Snapshot("aaaa1111", NOON - DAY), Snapshot("bbbb2222", NOON - 60)]


# --- Where they lie -----------------------------------------------------------------------------


def test_a_directory():
    place = backups.place_of("/srv/backups/", "clinic")
    assert place.directory == "/srv/backups/clinic"
    assert place.restic == "/srv/backups/clinic/files"
    assert place.pgbackrest == {
        "repo1-type": "posix", "repo1-path": "/srv/backups/clinic/database",
    }  # fmt: skip


def test_a_bucket():
    place = backups.place_of("s3:https://s3.example.com:9000/bucket/a/b", "clinic")
    assert place.restic == "s3:https://s3.example.com:9000/bucket/a/b/clinic/files"
    assert place.pgbackrest["repo1-path"] == "/a/b/clinic/database"
    assert place.pgbackrest["repo1-s3-bucket"] == "bucket"
    assert place.pgbackrest["repo1-s3-endpoint"] == "s3.example.com"
    assert place.pgbackrest["repo1-storage-port"] == "9000"
    assert not place.directory and not place.ssh


def test_another_host():
    place = backups.place_of("sftp://ada@backup.example.com:23/srv/x", "clinic")
    assert place.restic == "sftp:ada@backup.example.com:/srv/x/clinic/files"
    assert place.ssh == ("-p", "23", "ada@backup.example.com")
    assert place.pgbackrest["repo1-sftp-host-port"] == "23"
    assert place.pgbackrest["repo1-path"] == "/srv/x/clinic/database"


# --- What there is ------------------------------------------------------------------------------

LISTED = {
    "name": "clinic",
    "status": {"code": 0, "message": "ok"},
    "db": [{"id": 1, "system-id": 7432101234567890123, "version": "17"}],
    "backup": [
        {
            "label": "20261127-023000F", "type": "full",
            "timestamp": {"start": 1795746600, "stop": 1795746621},
            "info": {"size": 133000000, "repository": {"size": 31000000, "delta": 31000000}},
            "archive": {"start": "0000000A0000000000000004", "stop": "0000000A0000000000000004"},
        }
    ],
}  # fmt: skip


def test_pgbackrest_lists_backups():
    told = backups.parse_info("WARN: something\n" + json.dumps([LISTED]), "clinic")
    assert told.system == 7432101234567890123
    assert told.backups == (
        Backup(
            "20261127-023000F", "full", 1795746600.0, 1795746621.0, 133000000, 31000000, 10
        ),
    )  # fmt: skip


def test_an_address_of_ipv6_is_a_host():
    place = backups.place_of("sftp://ada@[2001:db8::1]:23/srv", "clinic")
    assert place.restic == "sftp://ada@[2001:db8::1]:23//srv/clinic/files"
    assert place.pgbackrest["repo1-sftp-host"] == "2001:db8::1"
    assert place.ssh[-1] == "ada@2001:db8::1"


@pytest.mark.parametrize("text", ["[]", json.dumps([{"name": "other"}])])
def test_an_empty_repository_has_no_backups(text):
    assert backups.parse_info(text, "clinic") == Contents((), 0)


@pytest.mark.parametrize(
    "text",
    ["", "ERROR: x", "[{", json.dumps([LISTED | {"backup": [{"archive": {"stop": "x"}}]}]),
     json.dumps([LISTED | {"status": {"code": 99, "message": "other"}}])],
)  # fmt: skip
def test_what_is_no_list_is_an_error(text):
    pytest.raises(BackupError, backups.parse_info, text, "clinic")


@pytest.mark.parametrize("text", ["", "Fatal: x", "{}", '[{"time": "noon"}]'])
def test_what_is_no_list_of_snapshots_is_an_error(text):
    pytest.raises(BackupError, backups.parse_snapshots, text)


def test_restic_lists_snapshots_in_any_zone():
    listed = [
        {"short_id": "bbbb2222", "time": "2026-11-27T13:00:00.123456789+01:00"},
        {"short_id": "aaaa1111", "time": "2026-11-27T11:59:59Z"},
    ]
    told = backups.parse_snapshots(json.dumps(listed))
    assert [each.name for each in told] == ["aaaa1111", "bbbb2222"]
    assert told[0].begun == NOON - 1
    assert told[1].begun == pytest.approx(NOON + 0.123456789)
    assert backups.parse_snapshots("null\n[]") == ()


def test_a_full_backup_is_due_each_week():
    assert backups.due_kind(Contents((), 0), NOON) == "full"
    assert backups.due_kind(CONTENTS, NOON) == "incr"
    assert backups.due_kind(CONTENTS, FULL.ended + 6.9 * DAY) == "full"
    assert backups.due_kind(Contents((NEW,), 0), NOON) == "full"


# --- What a restore uses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-27 12:00:00+00", "2026-11-27T12:00:00Z", "2026-11-27 12:00 UTC",
        "2026-11-27 13:00:00+0100", "2026-11-27 06:30:00-05:30", " 2026-11-27 12:00:00.0 +00:00 ",
    ],
)  # fmt: skip
def test_a_moment_has_a_zone(text):
    assert backups.parse_moment(text) == NOON


def test_a_moment_keeps_its_microseconds():
    moment = backups.parse_moment("2026-11-27 12:00:00.123456+00")
    assert backups.precise(moment) == "2026-11-27 12:00:00.123456+00"


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-11-27 12:00:00", "2026-11-27", "2026-13-27 12:00:00+00",
     "2026-11-27 25:00:00+00", "2026-11-27 12:00:00+00; x", "27.11.2026 12:00:00+00"],
)  # fmt: skip
def test_what_is_no_moment_is_refused(text):
    pytest.raises(BackupError, backups.parse_moment, text)


def plan(to, contents=CONTENTS, snapshots=SNAPSHOTS, restores=(), now=NOON):
    return backups.plan(to, contents, snapshots, list(restores), now)


def test_the_newest_backup_before_the_moment_and_the_newest_files_not_later():
    told = plan("2026-11-27 11:58:30+00")
    assert (told.backup, told.snapshot) == (NEW.label, "aaaa1111")
    assert told.options() == [
        f"--set={NEW.label}", "--type=time", "--target-action=promote",
        "--target=2026-11-27 11:58:30.000000+00", "--target-timeline=latest",
    ]  # fmt: skip
    assert "24 h before the moment of the database" in told.report()
    told = plan("2026-11-26 12:00:00+00")
    assert (told.backup, told.snapshot) == (FULL.label, "aaaa1111")


def test_the_newest_state():
    told = plan("latest")
    assert (told.backup, told.snapshot) == (NEW.label, "bbbb2222")
    assert told.options() == [f"--set={NEW.label}", "--type=default"]
    assert "60 s before" in told.report()


def test_the_end_of_a_backup():
    told = plan(FULL.label)
    assert told.options() == [
        f"--set={FULL.label}", "--type=immediate", "--target-action=promote",
    ]  # fmt: skip
    assert told.snapshot == ""
    assert "they stay as they are" in told.report()


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("2026-11-27 12:00:01+00", "in the future"),
        ("2026-11-25 12:00:00+00", "too early"),
        ("20200101-000000F", "There is no backup"),
        ("users", "time zone"),
    ],
)
def test_what_no_backup_leads_to_is_refused(to, words):
    with pytest.raises(BackupError, match=words):
        plan(to)


def test_without_backups_nothing_is_restored():
    with pytest.raises(BackupError, match="no backup"):
        plan("latest", Contents((), 7))


def test_a_moment_before_a_restore_lies_on_the_old_timeline():
    restored = [{"at": NOON - 3600, "timeline": 2}]
    assert plan("2026-11-27 10:00:00+00", restores=restored).timeline == "1"
    assert plan("2026-11-27 11:30:00+00", restores=restored).timeline == "2"
    again = [*restored, {"at": NOON - 600, "timeline": 3}]
    assert plan("2026-11-27 11:30:00+00", restores=again).timeline == "2"
    assert plan("2026-11-27 11:55:00+00", restores=again).timeline == "3"


def test_a_new_host_follows_the_timeline_that_the_backups_tell():
    later = backup("20261127-110000F", NOON - 3600, timeline=2)
    contents = Contents((FULL, NEW, later), 7)
    assert plan("2026-11-27 10:00:00+00", contents).timeline == "1"
    assert plan("2026-11-27 11:30:00+00", contents).timeline == "latest"


def test_a_disk_without_room_is_refused():
    backups.refuse_without_room(10**9, 2 * 10**9, "/srv")
    with pytest.raises(BackupError, match="/srv has 1 GB free, and this needs 1 GB.*forget"):
        backups.refuse_without_room(10**9, 10**9, "/srv")


# --- Words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("Fatal: wrong password or no key found", "does not open"),
        ("ERROR: [031]: cipher header invalid", "does not open"),
        ("ERROR: [047]: new backup label '20261127-120000F' is not later than latest backup label "
         "'20271127-120000F'", "remove that backup"),
        ("[DbConnectError] unable to connect to 'port=5432': connection to server on socket "
         '"/var/run/postgresql/.s.PGSQL.5432" failed: No such file', "of this host"),
        ("CryptoError: unable to find hostname '10.0.0.1' in certificate common", "another name"),
        ("ERROR: [055]: archive.info exists but backup.info is missing on repo1", "interrupted"),
        ("x509: certificate signed by unknown authority", "unknown authority"),
        ("x509: certificate has expired or is not yet valid", "clock"),
        ("ERROR: [029]: unable to load info file '/a/archive.info'", "does not open"),
        ('"code":99,"message":"[FormatError] unable to load info file \'/a/backup.info\'\\n'
         'HINT: has a stanza-create been performed?"', "does not open"),
        ("Is there a repository at the following location?", "no repository"),
        ("ERROR: [028]: backup and archive info files exist but do not match the database",
         "of another cluster"),
        ("FATAL:  recovery ended before configured recovery target was reached", "latest"),
        ("dial tcp: lookup s3.example.com: no such host", "does not answer"),
        ("<Error><Code>NoSuchBucket</Code><Message>", "bucket of backup_repository does not exist"),
        ("[082]: WAL segment 000000010000000000000001 was not archived before the 60000ms timeout",
         "PostgreSQL does not archive"),
        ("ERROR: [039]: HTTP request failed with 403 (Forbidden)", "refuses the login"),
        ("write /srv/x: no space left on device", "is full"),
        ("ERROR: [026]: actual checksum '4038403' does not match expected checksum '403'",
         "is damaged"),
        ("ERROR: [029]: zst error: [-20] Data corruption detected", "is damaged"),
        ("ada@example.com: Permission denied (publickey).", "refuses the login"),
    ],
)  # fmt: skip
def test_what_a_tool_says_is_explained(output, words):
    assert words in backups.explain(output)
    assert output in backups.explain(output)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("HostConnectError: unable to connect to 'localhost:9445': [111] Connection refused\n"
         "HINT: has a stanza-create been performed?", "does not answer"),
        ("Fatal: unable to open config file: Get \"https://s3\": dial tcp: i/o timeout\n"
         "Is there a repository at the following location?", "does not answer"),
        ("HTTP request failed with 403 (Forbidden)\nHINT: has a stanza-create been performed?",
         "refuses the login"),
    ],
)  # fmt: skip
def test_a_hint_of_a_tool_does_not_hide_the_cause(output, words):
    assert words in backups.explain(output)


def test_unknown_words_of_a_tool_are_passed_on():
    assert backups.explain("one\n\n  two \n") == "one two"


def test_the_table_shows_what_was_verified():
    status = {
        "last_drill": NOON - 3600, "drill_ok": True, "drill_message": "fine",
        "drill_backup": NEW.label, "survives_disk": False,
    }  # fmt: skip
    many = [Snapshot(f"{n:08x}", NOON - 100 + n) for n in range(backups.SHOWN + 3)]
    text = backups.table(CONTENTS, many, status, ["/x.before"], "/srv")
    rows = text.splitlines()
    assert rows[1].split()[-1] == "-"
    assert rows[2].endswith("2026-11-27 11:00:00 UTC")
    assert "(3 older backups of files are not shown)" in text
    assert "since 2026-11-26 02:24:00 UTC" in text
    assert "Kept from before a restore: /x.before" in text
    assert "do not survive the disk" in text
    failed = backups.table(CONTENTS, [], status | {"drill_ok": False}, [], "/srv")
    assert "FAILED" in failed.splitlines()[2]


def test_the_status_keeps_what_is_known():
    text = backups.updated_status("", last_backup=5.0, last_backup_bytes=7)
    text = backups.updated_status(text, drill_ok=True)
    told = json.loads(text)
    assert (told["last_backup"], told["last_backup_bytes"], told["drill_ok"]) == (5.0, 7, True)
    assert json.loads(backups.updated_status("{cut", drill_ok=True))["last_backup"] == 0


def test_the_status_keeps_the_problems_of_each_command():
    text = backups.updated_status("", problems={"now": "full", "files": "key"})
    told = json.loads(backups.updated_status(text, problems={"files": ""}))
    assert told["problems"] == {"now": "full"}
    assert "The last try has failed: full" in backups.table(CONTENTS, [], told, [], "/srv")


# --- The host -----------------------------------------------------------------------------------

CONFIG = {
    "name": "clinic", "repository": "/srv/backups", "cluster": "/var/lib/postgresql/17/main",
    "version": "17", "service": "postgresql@17-main.service", "port": 5432,
    "directories": [], "files": [], "keep_days": 14,
}  # fmt: skip


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host whose state is in a directory of the test, and whose steps only write a list."""
    monkeypatch.setattr(backup_host, "STATE", tmp_path)
    monkeypatch.setattr(backup_host, "ETC", tmp_path)
    (tmp_path / "restic.env").touch()
    shared = tmp_path / "shared"
    (shared / "media").mkdir(parents=True)
    made = backup_host.Host(CONFIG | {"directories": [str(shared / "media")]})
    made.cluster = tmp_path / "17" / "main"
    made.cluster.mkdir(parents=True)
    return made


def journal_of(host, to="latest"):
    told = plan(to)
    return {"plan": vars(told), "swapping": False, "at": NOON, "kept": "20261127T120000Z"}


def test_files_are_exchanged_and_an_interrupted_exchange_continues(host, tmp_path):
    media = host.directories[0]
    (media / "old").write_text("old")
    new = tmp_path / f"{host.staging(media.parent)}{media}"
    new.mkdir(parents=True)
    (new / "new").write_text("new")
    journal = journal_of(host)
    kept = host.keeping(media.parent, journal["kept"])
    kept.mkdir()
    media.rename(kept / "media")  # here the first run was interrupted
    host.exchange_files(journal)
    assert [path.name for path in media.iterdir()] == ["new"]
    assert (kept / "media" / "old").read_text() == "old"
    host.exchange_files(journal)
    assert [path.name for path in media.iterdir()] == ["new"]


def test_a_cluster_that_cannot_be_moved_keeps_what_was_restored(host, monkeypatch):
    """Only after the old data are in place again is the restored cluster removed."""
    journal, removed = journal_of(host), []
    host.restoring.mkdir()
    monkeypatch.setattr(host, "settle", lambda: None)
    monkeypatch.setattr(host, "_stop", lambda _: None)
    monkeypatch.setattr(host, "_discard", lambda: removed.append(True))

    def move(old, new):
        if old == host.restoring:
            raise BackupError("the disk")
        old.rename(new)

    monkeypatch.setattr(host, "_move_cluster", move)
    pytest.raises(BackupError, host.exchange, journal)
    assert host.restoring.exists() and host.journal()["swapping"] and not removed
    monkeypatch.setattr(host, "_move_cluster", lambda old, new: old.rename(new))

    def start(_):
        raise BackupError("it does not start")

    monkeypatch.setattr(host, "_start", start)
    monkeypatch.setattr(backup_host.units, "systemctl", lambda *_, **__: None)
    pytest.raises(BackupError, host.exchange, host.journal())
    assert removed and host.cluster.exists() and not host.journal()


def test_another_restore_waits_for_one_that_was_cut_off(host):
    host.write("restore.json", json.dumps(journal_of(host) | {"swapping": True}))
    with pytest.raises(BackupError, match="A restore to latest was cut off"):
        host.fetch("2026-11-27 10:00:00+00")
    assert host.fetch("latest")["swapping"]


def test_a_lock_keeps_others_out(host):
    with host.locked("files"):
        with pytest.raises(backup_host.Busy):
            with host.locked("files", 0):
                pass
        with host.locked("database", 0):
            pass
    with host.locked("files", 0):
        pass


def test_no_secret_is_in_a_command_line(host, monkeypatch):
    seen = []
    done = backup_host.units.Result(0, "", 0.0)
    monkeypatch.setattr(backup_host.units, "run", lambda command, *_: seen.append(command) or done)
    host.restic("snapshots")
    host.pgbackrest("info")
    assert all(any("EnvironmentFile" in word for word in seen[0]) for _ in seen)
    assert "--property=User=django_stack-backup" in seen[0]
    assert "--property=User=postgres" in seen[1]
    assert "--property=CapabilityBoundingSet=" in seen[1]


@pytest.mark.parametrize(
    ("lines", "places"),
    [
        ([], []),
        (["/dev/zram0 partition 1 0 100"], []),
        (["/var/lib/swapfile file 1 0 -2", "/dev/zram0 partition 1 0 100"], ["/var/lib/swapfile"]),
        (["/dev/vda2\tpartition\t1\t0\t-2"], ["/dev/vda2"]),
    ],
)
def test_swap_on_a_disk_is_found(lines, places):
    assert backups.swaps("\n".join(["Filename Type Size Used Priority", *lines])) == places


def test_without_the_key_no_tool_starts(host, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(host, "step", lambda *given, **more: started.append(given))
    (tmp_path / "restic.env").unlink()
    (tmp_path / "restic.env").symlink_to(tmp_path / "memory")
    for call in (
        lambda: host.pgbackrest("info"), lambda: host.restic("snapshots"),
        lambda: host.take_files(0, always=False),
    ):  # fmt: skip
        with pytest.raises(backups.BackupError, match="site.yml --tags backup"):
            call()
    assert not started
    (tmp_path / "memory").touch()
    host.pgbackrest("info")
    host.restic("snapshots")
    assert len(started) == 2
