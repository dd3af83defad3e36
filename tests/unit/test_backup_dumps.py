"""The backups of a database on another server: how it is reached, dumped, chosen and loaded."""

import json
import stat

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import (
    backup_command,
    backup_dumps,
    backup_host,
    backup_load,
    backups,
)
from ansible_collections.clink.django_stack.plugins.module_utils.backups import (
    Backup,
    BackupError,
    Contents,
    Snapshot,
)
from ansible_collections.clink.django_stack.plugins.module_utils.units import Result

NOON = 1795780800.0  # 2026-11-27 12:00:00 UTC
OLD = Backup("0000aaaa", "dump", NOON - 7200, NOON - 7200, 500, 500, 0)
NEW = Backup("0000bbbb", "dump", NOON - 3600, NOON - 3600, 600, 600, 0)
FILES = [Snapshot("11111111", NOON - 7000), Snapshot("22222222", NOON - 3590),
         Snapshot("33333333", NOON - 60)]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "kind"),
    [("local", "cluster"), ("none", "none"), ("postgresql://x/y", "dump"), ("psql://x/y", "dump"),
     ("postgresql+psycopg://x/y", "dump"), ("mysql://x/y", "foreign"), ("sqlite:///x", "foreign")],
)  # fmt: skip
def test_the_kind_of_a_database(url, kind):
    assert backups.database_kind(url) == kind


def test_the_environment_of_its_programs():
    url = "postgres://a%40b:p%2Fw%20%22@[2001:db8::1]:25060/clinic?sslmode=require&conn_max_age=60"
    assert backups.libpq_environment(url) == {
        "PGHOST": "2001:db8::1", "PGPORT": "25060", "PGUSER": "a@b", "PGPASSWORD": 'p/w "',
        "PGDATABASE": "clinic", "PGSSLMODE": "require", "PGCONNECT_TIMEOUT": "20",
    }  # fmt: skip
    assert "PGHOST" not in backups.libpq_environment("postgresql:///clinic")


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://h1:5432,h2:5433/x", "h1,h2", "5432,5433"),
        ("postgresql://u:p@h1,h2:5433/x", "h1,h2", ",5433"),
        ("postgresql://h1,h2/x", "h1,h2", None),
        ("postgresql://[2001:db8::1]:5432,[::1]:5433/x", "2001:db8::1,::1", "5432,5433"),
        ("postgresql:///x?host=/run/postgresql&port=5433", "/run/postgresql", "5433"),
        ("postgresql://u@%2Frun%2Fpostgresql/x", "/run/postgresql", None),
    ],
)
def test_servers_of_a_url_as_libpq_reads_them(url, host, port):
    told = backups.libpq_environment(url)
    assert (told["PGHOST"], told.get("PGPORT")) == (host, port)
    assert told["PGDATABASE"] == "x"


def test_what_only_a_superuser_restores_is_left_out():
    kept = "; Archive\n5; 3079 2 EXTENSION - citext \n7; 0 0 COMMENT public TABLE users clinic\n"
    told = kept + (
        "6; 0 0 COMMENT - EXTENSION citext \n8; 2615 2200 SCHEMA - public clinic\n"
        "9; 0 0 COMMENT - SCHEMA public clinic\n"
    )
    assert backups.restorable(told) == kept


def listed(*entries):
    return json.dumps([
        {"short_id": name, "time": "2026-11-27T11:00:00Z", "tags": tags} for name, tags in entries
    ])  # fmt: skip


def test_dumps_are_listed_with_their_size():
    told = backups.parse_dumps(listed(("0000bbbb", ["database", "bytes=600"]), ("x", ["files"])))
    assert told == Contents((NEW,), 0)
    pytest.raises(BackupError, backups.parse_dumps, "Fatal: wrong password or no key found")


DUMPS = Contents((OLD, NEW), 0)


def plan(to, contents=DUMPS, snapshots=FILES):
    return backups.plan(to, contents, snapshots, [], NOON)


def test_the_files_come_from_the_first_backup_after_the_dump():
    for to in ("latest", "2026-11-27 11:30:00+00", "0000bbbb"):
        told = plan(to)
        assert (told.kind, told.backup, told.moment) == ("dump", "0000bbbb", NEW.ended)
        assert told.snapshot == "22222222"
        assert "10 s after the moment of the database" in told.report()
    assert plan("2026-11-27 10:59:59+00").snapshot == "11111111"
    assert plan("latest", snapshots=FILES[:1]).snapshot == "11111111"


def test_without_the_database_only_the_files_are_restored():
    assert plan("latest", None).snapshot == "33333333"
    assert plan("11111111", None).snapshot == "11111111"
    told = plan("2026-11-27 11:00:20+00", None)
    assert (told.kind, told.backup, told.snapshot) == ("none", "", "22222222")
    assert "The database stays as it is" in told.report()
    with pytest.raises(BackupError, match="No backup of the files"):
        plan("2026-11-27 10:00:00+00", None)


def test_the_table_of_dumps():
    text = backups.table(Contents((NEW,), 0), FILES, {}, [], "/srv")
    assert "database, dump" in text and "each of these dumps" in text
    assert "database" not in backups.table(None, FILES, {}, [], "/srv")


# --- The host -----------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host whose steps are written down; `answers` has the output by the name of the step."""
    for module in (backup_dumps, backup_host):
        monkeypatch.setattr(module, "STATE", tmp_path)
    monkeypatch.setattr(backup_host, "ETC", tmp_path)
    (tmp_path / "restic.env").touch()
    space = tmp_path / "dump"
    space.mkdir()
    monkeypatch.setattr(backup_dumps, "SPACE", space)
    made = backup_dumps.Elsewhere({
        "name": "clinic", "repository": "/srv/backups", "cluster": "/var/lib/postgresql/17/main",
        "version": "17", "database": "dump", "directories": [], "files": [], "keep_days": 14,
    })  # fmt: skip
    made.steps, made.answers = [], {}

    def step(name, user, command, **given):
        made.steps.append((name, user, [*command], given))
        code, output = made.answers.get(name, (0, ""))
        return Result(code, output, 0.0)

    made.step = step
    made.answers |= {
        "database-psql": (0, "1000\n"), "dump-size": (0, "600\n"),
        "files-snapshots": (0, listed(("0000bbbb", ["database", "bytes=600"]))),
    }  # fmt: skip
    return made


def names(host):
    return [step[0] for step in host.steps]


def test_a_dump_goes_into_the_repository_and_is_removed(host):
    host.take_database()
    assert host.status()["last_backup_bytes"] == 600
    (saved,) = [step[2] for step in host.steps if step[0] == "files-backup"]
    assert "database,bytes=600" in saved
    assert names(host)[-2:] == ["dump-clear", "files-snapshots"]
    login = [step[3]["properties"]["EnvironmentFile"] for step in host.steps
             if step[0].startswith("database-")]  # fmt: skip
    assert set(login) == {"/etc/django_stack/backup/database.env"}
    assert {step[1] for step in host.steps} == {"django_stack-backup"}


def test_a_dump_that_fails_is_never_stored(host):
    said = 'pg_dump: error: connection to server at "x", port 1 failed: Connection refused'
    host.answers["database-pg_dump"] = (1, said)
    with pytest.raises(BackupError, match="server of the database does not answer"):
        host.take_database()
    assert "files-backup" not in names(host) and names(host)[-1] == "dump-clear"


def test_a_new_host_makes_no_backup_before_the_restore_of_its_predecessor(host):
    with pytest.raises(BackupError, match="backups of another host"):
        host.prepare_database()
    host.write("restores.json", '[{"at": 1}]')
    host.prepare_database()
    host.write("restores.json", "[]")
    host.write("ready", "digest")
    host.prepare_database()


def journal():
    return {"plan": vars(plan("latest")), "swapping": False, "at": NOON, "kept": "x"}


def test_the_state_before_is_dumped_once_and_the_dump_is_loaded_once(host):
    told = journal()
    host.answers["database-load"] = (1, "ERROR:  permission denied")
    with pytest.raises(BackupError, match="which has its old content"):
        host.exchange(told)
    assert not (backup_dumps.STATE / "restore.json").exists()
    host.answers["database-load"] = (0, "")
    host.exchange(told | {"before": "0000cccc"})
    assert names(host).count("database-pg_dump") == 1
    known = host.journal()
    assert known["loaded"] and known["before"] == "0000cccc"
    count = len(host.steps)
    host.exchange(known)
    assert "database-load" not in names(host)[count:]


def test_a_host_without_a_database_backs_up_its_files(host):
    host.config["database"] = "none"
    host.take_database()
    assert host.status()["last_backup"] > NOON - 1e9
    assert host.listable() is None and names(host) == []
    assert host._drill_database() == ("No database is backed up.", "")


def test_the_test_of_a_dump_without_a_server_reads_it_to_its_end(host):
    told, label = host._drill_database()
    assert label == "0000bbbb" and "was not loaded into a database" in told
    assert "database-pg_restore" in names(host) and names(host)[-1] == "dump-clear"


def test_the_timers_know_the_kind_of_the_host(tmp_path, monkeypatch, host):
    monkeypatch.setattr(backup_command, "ETC", tmp_path)
    pytest.raises(BackupError, backup_command.this_host)
    for kind, wanted in (("cluster", "Host"), ("dump", "Elsewhere"), ("foreign", "Elsewhere")):
        (tmp_path / "config.json").write_text(json.dumps(host.config | {"database": kind}))
        assert type(backup_command.this_host()).__name__ == wanted


@pytest.mark.parametrize("command", ["now", "files"])
def test_a_failed_try_is_known_until_one_succeeds(host, monkeypatch, command, capsys):
    monkeypatch.setattr(backup_command, "this_host", lambda: host)
    assert backup_command.main([command]) == 1  # not ready
    host.write("ready", "digest")
    host.files = [backup_dumps.STATE]
    host.answers["files-backup"] = (1, "Fatal: wrong password or no key found")
    assert backup_command.main([command]) == 1
    assert "the key does not open" in host.status()["problems"][command]
    assert "the key does not open" in capsys.readouterr().err
    del host.answers["files-backup"]
    assert backup_command.main([command]) == 0
    assert host.status()["problems"] == {}


def test_another_backup_of_files_is_no_problem(host, monkeypatch):
    with host.locked("files"):
        backup_command.run(host, "files")
        monkeypatch.setattr(host, "take", lambda: host.take_files(0))
        pytest.raises(backup_host.Busy, backup_command.run, host, "now")
    assert host.status()["problems"] == {}


def test_the_test_of_a_backup_remembers_its_own_result(host):
    host.answers["files-restore"] = (1, "ciphertext verification failed")
    pytest.raises(BackupError, backup_command.run, host, "drill")
    told = host.status()
    assert not told["drill_ok"] and "is damaged" in told["drill_message"]
    assert told["problems"] == {}


def test_a_repository_that_does_not_answer_is_a_problem_of_the_setup(host, monkeypatch):
    monkeypatch.setattr(host, "start_timers", lambda: None)
    monkeypatch.setattr(host, "digest", lambda: "digest")
    host.answers |= {"files-cat": (1, ""), "files-init": (1, "dial tcp: i/o timeout")}
    pytest.raises(BackupError, host.initialise)
    assert "does not answer" in host.status()["problems"]["site.yml"]
    assert not host.status()["since"] and not host.read("ready")
    host.answers |= {"files-cat": (0, ""), "files-snapshots": (0, "[]")}
    assert host.initialise() is False
    assert host.status()["problems"] == {} and host.status()["since"] > NOON - 1e9


# --- The load -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "committed"), [(0, True), (1, False)])
def test_only_a_whole_dump_is_committed(tmp_path, code, committed):
    programs = {
        "psql": f'case "$*" in *-At*) echo "drop table x;";; *) cat >{tmp_path}/seen;; esac',
        "pg_restore": f'case "$*" in *--list*) echo "1; x";; *) echo load; exit {code};; esac',
    }
    for name, text in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(stat.S_IRWXU)
    assert backup_load.load(tmp_path, tmp_path / "database.dump") == code
    lines = (tmp_path / "seen").read_text().splitlines()
    assert lines[1:3] == ["drop table x;", "load"]
    # The settings of the dump do not stay in the session, which may be that of a pooler.
    assert lines[3:] == (["reset all;", "commit;"] if committed else [])


def test_a_database_that_refuses_leaves_the_load(tmp_path):
    for name in ("psql", "pg_restore"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 2\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    with pytest.raises(backup_load.subprocess.CalledProcessError):
        backup_load.load(tmp_path, tmp_path / "database.dump")
