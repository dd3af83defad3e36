"""Six troubles at once: the status names them, and the monitor tells of them once."""

import base64
import json
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from droplets import PROJECT, eventually, playbook

# It takes half a minute. The other droplet has the timer, too; test_host.py finds units that fail.
testinfra_hosts = ["ansible://*-13"]
STATUS = PROJECT / "playbooks" / "status.yml"
DESCRIPTION = "/etc/django_stack/monitor.json"
BACKUP = "/var/lib/django_stack/backup/status.json"
MONITOR = "django_stack-monitor"
FAILURE = "django_stack-failure.service"
RESTING = f"/run/systemd/system/{FAILURE}.d/test.conf"
DRILL = "django_stack-backup@drill.service"
FAILING = f"/run/systemd/system/{DRILL}.d/test.conf"
STATE = "/var/lib/django_stack/monitor/state.json"
TOKEN = "webhook-token-of-the-tests"
# What shows logs, settings of units, and processes.
SHOWN = ["journalctl --no-pager", f"systemctl show {MONITOR}.service", "ps auxeww"]
# A service, a job and a transient job with a library whose file is then replaced, as by an upgrade.
OLD = "/usr/lib/older.so"
OLDER = f"""
cp /usr/lib/*-linux-gnu/libz.so.1 {OLD}
for type in exec oneshot; do
  cat >/run/systemd/system/older-$type.service <<END
[Service]
Type=$type
Environment=LD_PRELOAD={OLD}
ExecStart=sleep 300
SuccessExitStatus=SIGTERM
END
done
systemctl daemon-reload
systemctl start older-exec
systemctl start --no-block older-oneshot
systemd-run --quiet --unit=older-step --service-type=exec --setenv=LD_PRELOAD={OLD} sleep 300
sleep 1
cp {OLD} {OLD}.new
mv {OLD}.new {OLD}
"""
OLDER_UNITS = ["older-exec", "older-oneshot", "older-step"]
NEWER = f"""
systemctl stop {" ".join(OLDER_UNITS)} || true
rm /run/systemd/system/older-*.service {OLD}
"""
# What apt calls after it has installed packages, as unattended-upgrades and Ansible do.
MARK = "mkdir -p /run/needrestart; touch /run/needrestart/unpacked"
UPGRADED = f"{MARK}; export DEBIAN_FRONTEND=noninteractive"
HOOK = "/usr/lib/needrestart/apt-pinvoke </dev/null 2>&1"
# What is wrong, and a part of what is said of it.
TROUBLES = {
    "celery-beat.service": "does not run",
    "celery.service": "a signal has stopped its process",
    "nginx.service": "restarts without end",
    "disk /": "are used (limit: 1 %)",
    "old.example.com": "less than a third of its life is left",
    "backup": "older than 25 h",
}


def write(host, path, text):
    code = base64.b64encode(text.encode()).decode()
    host.check_output("mkdir -p $(dirname %s) && echo %s | base64 -d >%s", path, code, path)


def main(host, unit):
    return host.check_output("systemctl show --property=MainPID --value %s", unit)


def grown_old():
    """Return a certificate at three quarters of its life and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=67.5))
        .not_valid_after(now + timedelta(days=22.5))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (made.public_bytes(pem) + key.private_bytes(pem, *form)).decode()


@pytest.fixture(scope="module")
def look(host, messages):
    """Have the monitor look, as its timer does; return what it sends meanwhile, by channel."""

    def run(times):
        before = len(messages())
        for _ in range(times):
            # A look counts half a minute after another one: for the monitor that time has passed.
            host.run('sed -i -E \'s/"counted": [0-9.]+/"counted": 0/\' %s', STATE)
            host.check_output(f"systemctl start {MONITOR}.service")
        told = {
            "email": [],
            TOKEN: [],
            "heartbeat": [],
            "heartbeat/fail": [],
        }
        for each in messages()[before:]:
            if each["to"] in ("", "alarm@example.com"):
                told[each["channel"]].append(each["text"])
        return told

    # Only these tests start the monitor: the timer and the unit that a failure starts rest.
    host.check_output(f"systemctl stop {MONITOR}.timer {FAILURE}")
    write(host, RESTING, "[Service]\nExecStart=\nExecStart=/usr/bin/true\n")
    host.check_output("systemctl daemon-reload")
    yield run
    host.check_output(f"rm -f {RESTING}; systemctl daemon-reload; systemctl start {MONITOR}.timer")


@pytest.fixture(scope="module")
def probe(host):
    """Run the ping to the worker that the monitor runs."""
    given = json.loads(host.file(DESCRIPTION).content_string)
    return lambda: host.run("sh -c %s", given["probes"]["celery.service"])


@pytest.fixture(scope="module")
def well(host, door, look, probe):
    """Return what is said of a host that is well."""
    look(3)  # what the scenario has done before is over
    host.check_output("sh -ec %s", OLDER)
    begun = time.monotonic()
    status = playbook("--limit", door.name, book=STATUS)
    seconds = time.monotonic() - begun
    host.check_output("sh -ec %s", NEWER)
    # Searched now, because the end of the troubles empties the journal.
    leaks = [command for command in SHOWN if TOKEN in host.check_output(command)]
    return {
        "status": status, "seconds": seconds, "probe": probe(), "told": look(1), "leaks": leaks
    }  # fmt: skip


@pytest.fixture(scope="module")
def ill(host, door, look, probe, well):
    """Make all troubles, and return what is said of them; end them."""
    given = json.loads(host.file(DESCRIPTION).content_string)
    backups = host.file(BACKUP).content_string
    report = {"last_backup": time.time() - 25.1 * 3600, "last_backup_bytes": 1, "drill_ok": True,
              "last_drill": time.time()}  # fmt: skip
    write(host, BACKUP, json.dumps(report))
    write(host, DESCRIPTION, json.dumps(
        given | {"disk_percent": 1, "certificate_names": ["old.example.com"]}
    ))  # fmt: skip
    write(host, "/run/old.pem", grown_old())
    server = "openssl s_server -accept 443 -www -cert /run/old.pem -key /run/old.pem"
    host.check_output(f"systemd-run --unit=old {server}")
    host.check_output("systemctl stop celery-beat")
    host.check_output("systemctl kill --kill-who=main --signal=SIGSTOP celery")
    for _ in range(3):
        process = main(host, "nginx")
        host.check_output("kill -KILL %s", process)
        eventually(lambda process=process: main(host, "nginx") not in ("0", process))
    told = [look(1), look(1), look(1)]
    status = playbook("--limit", door.name, book=STATUS)
    frozen = probe()
    host.check_output("systemctl kill --kill-who=main --signal=SIGCONT celery")
    host.check_output("systemctl start celery-beat && systemctl stop old")
    # Without the journal nobody knows of the restarts, which would be a problem for 15 minutes.
    host.check_output("rm /run/old.pem; journalctl --rotate --vacuum-time=1s")
    write(host, BACKUP, backups)
    write(host, DESCRIPTION, json.dumps(given))
    return {"status": status, "told": told, "probe": frozen, "after": [look(1), look(1), look(1)]}


# --- A host that is well ------------------------------------------------------------------------


def test_the_status_of_a_host_that_is_well(well):
    status = well["status"]
    assert status.returncode == 0, status.stdout + status.stderr
    for row in ("release", "site", "gunicorn.service", "beat", "queue", "database", "disk /",
                "memory", "upgrades", "alarms"):  # fmt: skip
        assert f"\n  ok       {row} " in status.stdout, row
    assert "by e-mail, webhook, heartbeat" in status.stdout
    assert re.search(r"(?m)^  ok       libraries .*\bolder-exec\.service", status.stdout)


def test_after_an_upgrade_services_are_restarted_and_jobs_go_on(host, door, well):
    host.check_output("sh -ec %s", OLDER)
    before = [main(host, unit) for unit in OLDER_UNITS]
    assert "0" not in before
    during_a_run = host.check_output("sh -ec %s", f"{UPGRADED} NEEDRESTART_SUSPEND=1; {HOOK}")
    assert [main(host, unit) for unit in OLDER_UNITS] == before, during_a_run
    unattended = host.check_output("sh -ec %s", f"{UPGRADED}; {HOOK}")
    service, *jobs = [main(host, unit) for unit in OLDER_UNITS]
    assert service not in ("0", before[0]), unattended
    assert jobs == before[1:], unattended
    host.check_output("systemctl stop %s %s", *OLDER_UNITS[1:])
    status = playbook("--limit", door.name, book=STATUS)
    host.check_output("sh -ec %s", NEWER)
    assert " upgrades " in status.stdout and " libraries " not in status.stdout, status.stdout


def test_the_status_takes_seconds(door, well, figures):
    figures.append({"droplet": door.name, "status.yml": f"{well['seconds']:.1f} s"})
    assert well["seconds"] < 10


def test_the_worker_answers_the_probe(well):
    assert well["probe"].rc == 0, well["probe"].stderr


def test_the_schedule_of_beat_tells_when_its_next_task_is_due(host, well):
    command = json.loads(host.file(DESCRIPTION).content_string)["beat_command"]
    last = time.time() - 5000
    due = host.check_output("sh -c %s", f"{command} {last}").splitlines()[-1]
    assert last < float(due) < last + 11  # the sample's task `tick` runs every ten seconds


def test_a_host_that_is_well_only_sends_its_heartbeat(well):
    told = well["told"]
    assert (len(told["heartbeat"]), len(told["heartbeat/fail"])) == (1, 0)
    assert not told["email"] and not told[TOKEN]


# --- A host that is not -------------------------------------------------------------------------


def test_the_status_is_an_error_and_names_all_troubles(ill):
    status = ill["status"]
    assert status.returncode != 0
    told = status.stdout + status.stderr
    for name, wrong in TROUBLES.items():
        lines = [line for line in told.splitlines() if "To do: " in line and name in line]
        assert lines and all(wrong in line for line in lines), (name, told)


def test_a_worker_that_is_frozen_does_not_answer_the_probe(ill):
    assert ill["probe"].rc != 0


@pytest.mark.parametrize("channel", ["email", TOKEN])
def test_all_troubles_are_told_in_one_message_once(ill, channel):
    assert [len(told[channel]) for told in ill["told"]] == [0, 1, 0]
    (text,) = ill["told"][1][channel]
    text = text.replace("=\r\n", "")  # the e-mail's soft ends of lines
    for name, wrong in TROUBLES.items():
        assert name in text
        assert wrong.split(" (")[0] in text, (name, text)


def test_the_end_of_all_troubles_is_told_once(ill):
    assert [len(told["email"]) for told in ill["after"]] == [0, 1, 0]
    assert "ends: " in ill["after"][1]["email"][0]


def test_the_heartbeat_fails_as_long_as_there_is_trouble(ill):
    beats = [(len(each["heartbeat"]), len(each["heartbeat/fail"]))
             for each in [*ill["told"], *ill["after"]]]  # fmt: skip
    assert beats == [(1, 0), (0, 1), (0, 1), (0, 1), (1, 0), (1, 0)]


def test_a_service_that_fails_is_told_at_once_and_its_end_once(host, look, messages, ill):
    shown = host.check_output("systemctl show -p OnFailure --value gunicorn nginx").split()
    assert shown == [FAILURE, FAILURE]
    write(host, FAILING, "[Service]\nExecStart=\nExecStart=/usr/bin/false\n")
    host.check_output(f"rm {RESTING}; systemctl daemon-reload")
    before = len(messages())
    assert host.run(f"systemctl start {DRILL}").rc == 1
    to = ("email", "alarm@example.com")
    told = eventually(
        lambda: [each for each in messages()[before:] if (each["channel"], each["to"]) == to]
    )
    assert DRILL in told[0]["text"]
    # While the check is active, systemd runs transient units of one name one after the other.
    again = "systemd-run --quiet --wait --collect --unit=again true"
    host.check_output(f"{again} && {again}")
    host.check_output(f"rm {FAILING}; systemctl daemon-reload; systemctl reset-failed {DRILL}")
    after = [look(1), look(1), look(1)]
    assert [len(each["email"]) for each in after] == [0, 1, 0]


def test_the_monitor_keeps_its_secrets(host, well):
    file = host.file(DESCRIPTION)
    assert (file.user, file.mode) == ("root", 0o600)
    assert TOKEN in file.content_string
    assert well["leaks"] == []
    assert host.file("/var/lib/django_stack/monitor").mode == 0o700
