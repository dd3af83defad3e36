"""Each secret is replaced while the site is in use, and none is to be seen anywhere."""

import json
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from droplets import (
    APP,
    INVENTORY,
    NAME,
    PROJECT,
    SCHEME,
    changed,
    cut_off,
    eventually,
    playbook,
    playbook_process,
)
from load import Load, inside, load

# One droplet is enough where minutes count; the fixture takes any number of them.
testinfra_hosts = ["ansible://*-13"]
LIMIT = "--limit=*-13"
DEPLOY, ROTATE = (PROJECT / "playbooks" / f"{name}.yml" for name in ("deploy", "rotate"))
PAGE = f"{SCHEME}://{NAME}/api/users/"  # asks the database
SECRETS = ["database_password", "broker_password", "secret_key"]
# All that Ansible can tell, one line for each task as it begins.
LOUD = {"ANSIBLE_STDOUT_CALLBACK": "default", "ANSIBLE_VERBOSITY": "3", "ANSIBLE_DIFF_ALWAYS": "1"}
# The roles of the database have new passwords then, the control machine the old one.
AMID = "keep | Replace the secret on the control machine"
COMMANDS, NEEDLES = "/run/commands", "/run/needles"
# Writes down each command line that it sees.
SAMPLER = f"""
import glob, os, time
os.umask(0o077)
with open("{COMMANDS}", "w", buffering=1) as file:
    seen = set()
    while True:
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                line = open(path, errors="replace").read()
            except OSError:
                continue
            if line not in seen:
                seen.add(line)
                print(line.replace("\\0", " "), file=file)
        time.sleep(0.02)
"""
SESSION = """
from django.contrib.auth.models import User
from django.test import Client
user, _ = User.objects.get_or_create(username="rotated", is_staff=True, is_superuser=True)
client = Client()
client.force_login(user)
print(client.cookies["sessionid"].value)
"""


def run_in(droplet, *command, **given):
    """Return what a command in a droplet prints."""
    execute = ["docker", "exec", "--interactive", droplet, *command]
    return subprocess.run(execute, capture_output=True, text=True, check=True, **given).stdout


def secrets_of(droplet):
    """Return what the application's environment has."""
    text = run_in(droplet, "cat", f"/etc/{APP}/environment")
    owner = run_in(droplet, "cat", f"/etc/{APP}/environment_owner")
    password = r'="[a-z+]+://[^:"]*:([^@"]+)@'
    return {
        "database_owner_password": re.search(f"^DATABASE_URL{password}", owner, re.M)[1],
        "database_password": re.search(f"^DATABASE_URL{password}", text, re.M)[1],
        "broker_password": re.search(f"^REDIS_URL{password}", text, re.M)[1],
        "secret_key": re.search('^SECRET_KEY="(.+)"$', text, re.M)[1],
    }


@dataclass
class Rotated:
    """What was seen of a droplet while its secrets were replaced."""

    before: dict[str, str]
    session: str
    after: dict[str, str] = field(default_factory=dict)
    loads: dict[str, Load] = field(default_factory=dict)  # by the secrets


def run_until(task, *arguments):
    """Kill a run when it begins a task; return what it had printed."""
    printed = []
    with playbook_process(LIMIT, "-vvv", *arguments, book=ROTATE, **LOUD) as run:
        for told in run.stdout:
            printed.append(told)
            if told.startswith("TASK [") and task in told:
                break
        else:
            pytest.fail("".join(printed)[-4000:])
        cut_off(run)
    return "".join(printed)


@pytest.fixture(scope="session")
def rotation(figures):
    """Replace each secret of the droplets under load; the first run of all is cut off."""
    told = subprocess.run(
        ["ansible-inventory", f"--inventory={INVENTORY}", "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    droplets = {
        name: Rotated(
            secrets_of(name), run_in(name, f"{APP}-manage", "shell", "-v0", "-c", SESSION).strip()
        )
        for name in json.loads(told.stdout)["_meta"]["hostvars"]
        if name.endswith("-13")
    }
    output = ""
    with ExitStack() as sampled:
        for name in droplets:
            sampled.enter_context(inside(name, "python3", "-c", SAMPLER))
        for secret in SECRETS:
            given = f"--extra-vars=app_rotate={secret}"
            with ExitStack() as loaded:
                for name, droplet in droplets.items():
                    droplet.loads[secret] = loaded.enter_context(load(name, PAGE))
                if secret == SECRETS[0]:
                    output += run_until(AMID, given)
                run = playbook(LIMIT, "-vvv", given, book=ROTATE, **LOUD)
                output += run.stdout + run.stderr
                assert run.returncode == 0, output[-4000:]
        again = playbook(LIMIT, "-vvv", **LOUD)
        bad = playbook(LIMIT, "-vvv", "--extra-vars=app_wsgi=no.such:thing", book=DEPLOY, **LOUD)
        assert bad.returncode, bad.stdout
        output += again.stdout + again.stderr + bad.stdout + bad.stderr
    for name, droplet in droplets.items():
        droplet.after = secrets_of(name)
        figures += [
            {
                "under load": f"rotation of {secret}, {name}",
                "requests": f"{seen.requests}",
                "p99, ms": f"{seen.p99:.0f}",
                "failed": f"{seen.failed}",
            }
            for secret, seen in droplet.loads.items()
        ]
    return droplets, output, again


@pytest.fixture
def rotated(rotation, door):
    return rotation[0][door.name]


@pytest.mark.parametrize("secret", SECRETS)
def test_no_request_is_lost(rotated, secret):
    assert rotated.loads[secret].requests > 50
    assert rotated.loads[secret].failed == 0


def test_no_process_has_an_old_one(host, rotated):
    """Neither the services nor the processes that app_processes describes."""
    units = host.check_output(
        f"systemctl show --property=MainPID --value {APP}-idle {APP}-reports celery gunicorn"
    ).split()
    assert len(units) == 4 and "0" not in units
    read = f"for each in $(pgrep --uid {APP}); do cat /proc/$each/environ 2>/dev/null; done"
    text = subprocess.run(
        ["docker", "exec", host.backend.get_pytest_id().rpartition("//")[2], "sh", "-c", read],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert all(rotated.after[secret] in text for secret in SECRETS)
    assert rotated.after["database_owner_password"] not in text
    assert f":{rotated.before['database_password']}@" not in text
    assert f":{rotated.before['broker_password']}@" not in text
    assert f"SECRET_KEY={rotated.before['secret_key']}\0" not in text


@pytest.mark.parametrize("secret", SECRETS)
def test_the_application_has_a_new_one(rotated, secret):
    assert rotated.after[secret] != rotated.before[secret]


@pytest.mark.parametrize(
    "role, secret", [(APP, "database_password"), (f"{APP}_owner", "database_owner_password")]
)
def test_postgresql_takes_the_new_password_only(host, rotated, role, secret):
    url = f"postgresql://{role}:%s@127.0.0.1:5432/{APP}"
    ask = "psql %s -tAc 'SELECT 1'"
    assert host.check_output(ask, url % rotated.after[secret]) == "1"
    assert "authentication failed" in host.run(ask, url % rotated.before[secret]).stderr


def test_no_role_is_left_and_nothing_is_its_own(sql):
    assert sql("SELECT rolname FROM pg_roles WHERE rolname LIKE '%rotating%'") == ""
    assert (
        sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        == f"{APP}_owner"
    )


def test_redis_takes_the_new_password_only(host, rotated):
    ping = "printf 'AUTH %%s\\nPING\\n' %s | redis-cli"
    assert "PONG" in host.check_output(ping, rotated.after["broker_password"])
    assert "WRONGPASS" in host.check_output(ping, rotated.before["broker_password"])


def test_redis_knows_the_new_password_after_a_restart(host, rotated, door):
    host.check_output("systemctl restart redis-server")
    ping = "printf 'AUTH %%s\\nPING\\n' %s | redis-cli"
    eventually(lambda: "PONG" in host.run(ping, rotated.after["broker_password"]).stdout)
    eventually(lambda: door.ask("/api/status/").status_code == 200)


def test_who_was_logged_in_still_is(door, rotated):
    answer = door.ask("/admin/", headers={"Cookie": f"sessionid={rotated.session}"})
    assert answer.status_code == 200
    assert door.ask("/admin/", headers={"Cookie": "sessionid=nobody"}).status_code == 302


@pytest.mark.usefixtures("messages")  # where the e-mail goes
def test_tasks_are_done(door, stamp):
    sent = door.post(
        "/api/notifications/", channel="email", recipient=f"{stamp}@example.com", body=stamp
    )
    path = f"/api/notifications/{sent['id']}/"
    eventually(lambda: door.ask(path).json()["status"] == "sent", patience=30)


def test_the_next_run_changes_nothing(rotation):
    again = rotation[2]
    assert again.returncode == 0, again.stdout[-4000:] + again.stderr
    assert set(changed(again.stdout)) == {"0"}, again.stdout[-4000:]


@pytest.mark.parametrize("given", [{"app_rotate": "everything"}, {"app_rotate": ""}])
def test_what_is_no_secret_is_refused(given):
    run = playbook(LIMIT, "--extra-vars", json.dumps(given), book=ROTATE)
    assert run.returncode
    assert "secret_key" in run.stdout + run.stderr


# --- Where a secret could be seen -----------------------------------------------------------------


@pytest.fixture
def needles(host, rotated, rotation):
    """All values that nobody may see, in a file of the droplet."""
    values = [*rotated.before.values(), *rotated.after.values()]
    key = host.file(f"/etc/{APP}/deploy_key")
    if key.exists:
        values += key.content_string.splitlines()[1:-1]
    assert all(len(value) >= 16 for value in values)
    run_in(host.backend.get_pytest_id().rpartition("//")[2], "sh", "-c",
           f"umask 077; cat >{NEEDLES}", input="\n".join(values) + "\n")  # fmt: skip
    return values


def test_no_secret_is_printed(rotation, needles):
    assert "EXEC" in rotation[1]  # it was told to print all it has
    assert not [value for value in needles if value in rotation[1]]


@pytest.mark.parametrize(
    "command",
    [
        f"cat {COMMANDS}",
        "journalctl --no-pager",
        "find /var/log -type f -exec zcat -f {} +",
        "cat /etc/systemd/system/*.service /etc/systemd/system/*/*.conf /etc/*.conf.py",
        "systemctl show '*'",
        "cat /etc/ansible/facts.d/*",
        "runuser -u nobody -- ps auxeww",
        "find / /run /tmp /dev/shm -xdev -type f -perm /o=r -not -path '/usr/*' -exec cat {} +",
        "find /root /tmp /var/tmp -path '*ansible*' -type f -exec cat {} +; echo .",
    ],
)
@pytest.mark.usefixtures("needles")
def test_no_secret_is_to_be_seen(host, command):
    # With this umask the search does not find its own output, which it would read without an end.
    keep = f"tee /run/told | grep -c -F -f {NEEDLES}"
    told = host.run(f"umask 077; ({command}) 2>/dev/null | {keep}")
    assert host.file("/run/told").size > 0
    host.run("rm /run/told")
    assert told.stdout.strip() == "0"


@pytest.mark.usefixtures("needles")
def test_a_secret_would_have_been_found(host):
    assert int(host.run(f"grep -c -F -f {NEEDLES} /etc/{APP}/environment").stdout) >= 3
