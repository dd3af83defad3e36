"""Backups, restores and the nightly test of the backup.

One story in the order of this file.
"""

import json
import re
import time

import docker
import pytest
import yaml
from droplets import (
    APP,
    NAME,
    PROJECT,
    ROOT,
    SCENARIO,
    Door,
    cut_off,
    eventually,
    playbook,
    playbook_process,
)

testinfra_hosts = ["ansible://*-13"]
BACKUP, RESTORE = (PROJECT / "playbooks" / f"{name}.yml" for name in ("backup", "restore"))
PLATFORMS = yaml.safe_load((SCENARIO / "molecule.yml").read_text())["platforms"]
# One droplet is enough where minutes count; all the code here takes any number of them.
NAMES = [each["name"] for each in PLATFORMS if each["release"] == "13"]
LIMIT = f"--limit={','.join(NAMES)}"
MEDIA = f"{ROOT}/shared/media"
REPOSITORY = f"/var/backups/django_stack/{APP}"
PSQL = f"runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d {APP}"
PGBACKREST = f"pgbackrest --config=/etc/django_stack/backup/pgbackrest.conf --stanza={APP}"
PLACES = "systemd-tmpfiles --create /etc/tmpfiles.d/django_stack-backup.conf"
DRILL = "systemctl start django_stack-backup@drill.service"


def on(name, command):
    """Return what a command of the shell prints on a droplet."""
    code, output = docker.from_env().containers.get(name).exec_run(["sh", "-ec", command])
    assert code == 0, f"{command}\n{output.decode()}"
    return output.decode().strip()


def everywhere(command):
    return {name: on(name, command) for name in NAMES}


def sql(query):
    return everywhere(f'{PSQL} -c "{query}"')


def upload(name):
    everywhere(f"runuser -u {APP} -- sh -c 'umask 027; echo {name} >{MEDIA}/{name}'")


def answers():
    """Return what each site answers."""
    addresses = everywhere("hostname -I").values()
    return [Door(NAME, told.split()[0]).ask("/health/") for told in addresses]


def serve():
    return {each.status_code for each in answers()} == {200}


def status():
    text = everywhere("cat /var/lib/django_stack/backup/status.json")
    return [json.loads(each) for each in text.values()]


def moment():
    """Return the time of the droplets, which share the clock of this machine."""
    return str(time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime()))


def restore(to, *arguments):
    return playbook(LIMIT, "--extra-vars", json.dumps({"restore_to": to}), *arguments, book=RESTORE)


def done(run):
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def rows():
    return set(sql("select string_agg(name, ' ' order by name) from backup_test").values())


@pytest.fixture(scope="module", autouse=True)
def table():
    sql(f"create table backup_test (name text); alter table backup_test owner to {APP}_owner")
    yield
    sql("drop table if exists backup_test")
    everywhere("systemctl reset-failed 'django_stack-backup@*'")


@pytest.fixture(scope="module")
def before():
    """Back up, add a row and a file, remember the moment, and delete all rows."""
    sql("insert into backup_test values ('in the backup')")
    upload("in-the-backup")
    told = done(playbook(LIMIT, book=BACKUP))
    sql("insert into backup_test values ('in the archive')")
    upload("in-a-later-backup")
    uploaded = time.time()
    begun = "cat /var/lib/django_stack/backup/files"  # the last backup of files
    eventually(lambda: all(float(each) > uploaded for each in everywhere(begun).values()), 90)
    time.sleep(1)
    told_moment = moment()
    time.sleep(2)
    sql("delete from backup_test; insert into backup_test values ('after the mistake')")
    upload("after-the-mistake")
    time.sleep(2)
    later = moment()
    time.sleep(2)
    sql("insert into backup_test values ('later')")
    return told, told_moment, later


def test_a_backup_is_made_and_listed(before):
    table = before[0]
    assert len(re.findall(r"\d{8}-\d{6}F ", table)) >= len(NAMES)
    assert "do not survive the disk" in table
    for told in status():
        assert time.time() - told["last_backup"] < 300
        assert told["last_backup_bytes"] > 0
        assert told["survives_disk"] is False


def test_check_mode_says_what_a_restore_would_do(before):
    told = done(restore(before[1], "--check"))
    assert told.count("Nothing was done") == len(NAMES)
    assert rows() == {"after the mistake later"}


def test_an_interrupted_restore_leaves_a_503_and_is_completed_by_the_next(before):
    given = [LIMIT, "--extra-vars", json.dumps({"restore_to": before[1]})]
    with playbook_process(*given, book=RESTORE, ANSIBLE_STDOUT_CALLBACK="default") as run:
        assert any("Put the restored data in place" in line for line in run.stdout)
        time.sleep(2)
        cut_off(run)
    for answer in answers():
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    told = done(restore(before[1]))
    assert "The state before is kept in" in told
    assert serve()
    assert rows() == {"in the archive in the backup"}
    files = everywhere(f"ls {MEDIA}")
    for listed in files.values():
        assert {"in-the-backup", "in-a-later-backup"} <= set(listed.split())
        assert "after-the-mistake" not in listed.split()
    assert set(everywhere(f"stat -c %U:%G:%a {MEDIA}").values()) == {f"{APP}:www-data:2750"}
    kept = everywhere(f"ls {ROOT}/shared/.django_stack-before-*/media")
    assert all("after-the-mistake" in listed for listed in kept.values())


def test_a_second_restore_undoes_the_first(before):
    done(restore(before[2]))
    assert rows() == {"after the mistake"}
    done(
        playbook(LIMIT, "--extra-vars", '{"restore_forget": true, "restore_to": ""}', book=RESTORE)
    )
    assert set(everywhere("ls /var/lib/postgresql/1?").values()) == {"main"}


def test_the_nightly_test_succeeds_and_finds_a_damaged_file():
    everywhere(DRILL)
    for told in status():
        assert told["drill_ok"], told
        assert "no damage" in told["drill_message"]
    assert set(everywhere("ls -A /var/lib/postgresql/django_stack-drill").values()) == {""}
    find = f"find {REPOSITORY}/database/backup -path '*F/bundle/*' -size +100k"
    everywhere(
        f"file=$({find} | head -n 1); cp -p $file /root/whole; echo $file >/root/name; "
        "printf damage | dd of=$file bs=1 seek=5000 conv=notrunc status=none"
    )
    everywhere(f"! {DRILL}")
    found = status()
    everywhere(f"cp -p /root/whole $(cat /root/name); {DRILL}")
    for told in found:
        assert not told["drill_ok"]
        assert "damaged" in told["drill_message"]
    assert all(told["drill_ok"] for told in status())


def test_a_wrong_key_and_a_missing_repository_stop_no_site():
    run = playbook(
        LIMIT, "--tags", "backup", "--extra-vars", '{"app_backup_key": "another-key-of-the-tests"}'
    )
    assert "the key does not open the repository" in re.sub(r"\s+", " ", done(run) + run.stderr)
    assert serve()
    everywhere(f"mv {REPOSITORY} /var/backups/away")
    run = playbook(LIMIT, book=BACKUP)
    everywhere(f"rm -rf {REPOSITORY}; mv /var/backups/away {REPOSITORY}")
    assert run.returncode
    assert serve()
    assert all("no repository" in told["problems"]["now"] for told in status())


def test_a_key_in_the_memory_is_gone_after_a_reboot():
    run = playbook(LIMIT, "--tags", "backup", "--extra-vars", '{"backup_key_storage": "memory"}')
    done(run)
    key = "/etc/django_stack/backup/restic.env"
    assert set(everywhere(f"stat -f -c %T $(realpath {key})").values()) == {"tmpfs"}
    everywhere(f"runuser -u postgres -- {PGBACKREST} check")
    everywhere(f"rm -r /run/django_stack/backup; {PLACES}")  # as at a boot
    everywhere("! systemctl start django_stack-backup@now")
    assert all("key of the backups is missing" in told["problems"]["now"] for told in status())
    everywhere(f"! runuser -u postgres -- {PGBACKREST} check --archive-timeout=1")
    assert serve()
    done(playbook(LIMIT, "--tags", "backup"))
    done(playbook(LIMIT, book=BACKUP))
    assert not any(told["problems"] for told in status())
