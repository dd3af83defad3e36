"""What the host looks like from inside, and what of it can be reached from outside."""

import base64
import json
import re
import socket
import time
from pathlib import Path

import pytest
import yaml
from droplets import APP, PROJECT, ROOT, eventually

OWNER = f"{APP}_owner"  # of the database
SERVICES = ["nginx", "gunicorn", "celery", "celery-beat", "redis-server"]


@pytest.fixture(scope="module")
def environment(host):
    """The process environment of a running service, as the kernel has it."""

    def read(unit):
        process = host.check_output("systemctl show --property=MainPID --value %s", unit)
        text = host.check_output("base64 -w0 /proc/%s/environ", process)
        return dict(
            line.split("=", 1) for line in base64.b64decode(text).decode().split("\0") if line
        )

    return read


@pytest.fixture(scope="module")
def secrets(environment):
    """The values that nobody but the application may see."""
    values = environment("gunicorn")
    passwords = re.findall(
        r"://[^:/]*:([^@]+)@", values["DATABASE_URL"] + " " + values["REDIS_URL"]
    )
    shown = values["WHATSAPP_API_TOKEN"], "index-password-of-the-tests"
    return [values["SECRET_KEY"], *passwords, *shown]


def reachable(address, port):
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


# --- Services -----------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", SERVICES)
def test_services_run_and_start_at_boot(host, unit):
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_no_unit_has_failed(host):
    eventually(
        lambda: host.run("systemctl is-system-running").stdout.strip() in ("running", "degraded")
    )
    assert host.check_output("systemctl --failed --plain --no-legend") == ""


def test_systemd_has_nothing_to_say_of_the_units(host):
    told = host.run(
        "systemd-analyze verify gunicorn.service gunicorn.socket celery.service celery-beat.service"
    )
    ours = [line for line in told.stderr.splitlines() if re.search("gunicorn|celery", line)]
    assert told.rc == 0
    assert ours == []


def test_there_is_one_beat(host):
    beats = [p for p in host.process.filter(user=APP) if " beat " in p.args]
    assert len(beats) == 1


def test_the_kernel_ends_the_application_before_the_databases(host):
    units = ["gunicorn", "celery", "celery-beat", "redis-server", "nginx"]
    script = "cat /proc/$(systemctl show --property=MainPID --value {0})/oom_score_adj"
    scores = [int(host.check_output(script.format(unit))) for unit in units]
    assert scores[:3] == [300, 300, 300]
    assert max(scores[3:]) <= 0  # a container cannot set a negative one
    show = "systemctl show --property=OOMScoreAdjust --value %s"
    assert host.check_output(show, "postgresql@*.service") == "-900"
    limits = host.check_output("systemctl show --property=MemoryMax --value django_stack.slice")
    total = int(host.check_output("awk '/MemTotal/ {print $2}' /proc/meminfo")) * 1024
    assert 0.84 < int(limits) / total < 0.86
    slices = host.check_output(
        "systemctl show --property=Slice --value gunicorn celery celery-beat"
    )
    assert set(slices.split()) == {"django_stack.slice"}


@pytest.mark.parametrize("unit", ["gunicorn", "celery", "celery-beat"])
def test_the_application_runs_as_its_user(host, unit):
    assert host.check_output("systemctl show --property=User --value %s", unit) == APP
    process = host.check_output("systemctl show --property=MainPID --value %s", unit)
    assert host.check_output("ps -o user:32= -p %s", process).strip() == APP


@pytest.mark.parametrize("unit", ["gunicorn", "celery", "celery-beat"])
def test_every_value_reaches_the_process_as_it_is(environment, unit):
    want = yaml.safe_load((PROJECT / "tests" / "environment.yml").read_text())
    got = environment(unit)
    assert {name: got.get(name) for name in want} == want


def test_the_journal_has_what_the_services_say(host):
    assert "Booting worker" in host.check_output("journalctl --no-pager -u gunicorn")
    assert "ready" in host.check_output("journalctl --no-pager -u celery")


def test_the_audit_has_logins_and_runs_and_nothing_of_the_application(host):
    forge = f"runuser -u {APP} -- logger -p authpriv.notice -t"
    host.check_output(f"{forge} sshd forged by {APP} && {forge} django_stack forged by {APP}")
    host.check_output("systemctl start django_stack-audit.service")
    log = host.file("/var/log/django_stack/audit.log")
    assert (log.user, log.mode) == ("root", 0o640)
    text = log.content_string
    assert "Accepted publickey for root" in text
    assert re.search(
        rf" {APP}: Provision the stack, by \S+@\S+: ends, live is \w+-\w+$", text, re.M
    )
    assert "forged" not in text
    assert host.run(f"runuser -u {APP} -- sh -c 'echo x >>{log.path}'").failed
    sent = host.check_output("journalctl --no-pager --output=cat -t audit-of-the-tests")
    assert "Provision the stack" in sent


# --- Users, files, secrets ----------------------------------------------------------------------


def test_the_user_has_no_shell(host):
    assert host.user(APP).shell == "/usr/sbin/nologin"
    assert host.run(f"su - {APP} -c id").failed
    assert host.check_output("getent shadow %s", APP).split(":")[1][0] in "!*"


@pytest.mark.parametrize("name", ["environment", "dotenv"])
def test_only_root_and_the_application_read_the_environment(host, name):
    file = host.file(f"/etc/{APP}/{name}")
    assert (file.user, file.group, file.mode) == ("root", APP, 0o640)
    assert host.run(f"runuser -u {APP} -- cat {file.path}").succeeded
    assert host.run(f"runuser -u www-data -- cat {file.path}").failed


def test_no_environment_is_left_that_nothing_uses(host):
    assert not host.check_output(f"find /etc/{APP} -name '*.next' -o -name '*.previous'")


def test_the_code_is_not_the_services_to_write(host):
    process = host.check_output("systemctl show --property=MainPID --value gunicorn")
    inside = f"nsenter --target={process} --mount runuser -u {APP} --"
    assert host.run(f"{inside} touch {ROOT}/current/x").failed
    assert host.run(f"{inside} touch {ROOT}/shared/media/x").succeeded
    host.check_output(f"rm {ROOT}/shared/media/x")


def test_only_nginx_and_the_application_connect_to_the_socket(host):
    file = host.file(f"{ROOT}/gunicorn.sock")
    assert file.is_socket
    assert (file.user, file.group, file.mode) == (APP, "www-data", 0o660)
    code = f"import socket; socket.socket(socket.AF_UNIX).connect('{file.path}')"
    for user, may in {"www-data": True, APP: True, "nobody": False, "postgres": False}.items():
        assert host.run("runuser -u %s -- python3 -c %s", user, code).succeeded is may, user


def test_no_secret_can_be_seen(host, secrets):
    assert all(len(secret) > 20 for secret in secrets)
    places = {
        "the process list": "runuser -u nobody -- ps auxeww",
        "the units": "cat /etc/systemd/system/*.service /etc/gunicorn.conf.py",
        "what systemd shows": "systemctl show gunicorn celery celery-beat redis-server",
        "the journal": "journalctl --no-pager",
        "the logs": "cat /var/log/nginx/*.log /var/log/dpkg.log",
        "the record of the release": "cat /etc/ansible/facts.d/*",
        "files for everybody": "runuser -u nobody -- grep -rsh -e SECRET -e pass /etc",
    }
    for place, command in places.items():
        text = host.run(command).stdout
        assert text, place
        assert not [secret for secret in secrets if secret in text], place


def test_the_manage_command_works_and_only_for_root(host):
    assert "no issues" in host.check_output(f"{APP}-manage check")
    who = host.check_output(
        f"{APP}-manage shell --verbosity=0 -c %s", "import os; print(os.getuid())"
    )
    assert who.splitlines()[-1] == str(host.user(APP).uid)
    assert host.run(f"runuser -u nobody -- {APP}-manage check").failed


# --- The network ----------------------------------------------------------------------------------


def test_only_ssh_and_http_are_open(host, door, messages):
    assert messages() is not None  # the sinks listen on all addresses
    listening = {
        int(line.split()[3].rpartition(":")[2])
        for line in host.check_output("ss --no-header --tcp --listening --numeric").splitlines()
    }
    assert {22, 80, 5432, 6379, 1025, 1080} <= listening
    assert {port for port in listening | {443, 8000} if reachable(door.address, port)} == {22, 80}


def test_nginx_listens_on_ipv6_where_the_host_has_it(host):
    has_address = host.run("grep -qs . /proc/net/if_inet6").succeeded
    command = "ss --no-header --tcp --listening --numeric --ipv6 sport = :80"
    assert bool(host.check_output(command)) == has_address


def test_the_firewall_is_on_at_boot(host):
    told = host.check_output("ufw status verbose")
    assert "Status: active" in told
    assert "deny (incoming)" in told
    assert host.file("/etc/ufw/ufw.conf").contains("^ENABLED=yes")
    assert host.service("ufw").is_enabled


@pytest.mark.parametrize("port", [5432, 6379])
def test_databases_listen_on_loopback_only(host, port):
    command = f"ss --no-header --tcp --listening --numeric sport = :{port}"
    lines = host.check_output(command).splitlines()
    assert lines
    assert all(re.search(r"(127\.0\.0\.1|\[::1\]):", line) for line in lines)


# --- PostgreSQL and Redis -------------------------------------------------------------------------


@pytest.mark.parametrize("role", [APP, OWNER])
def test_a_role_of_the_database_is_no_more_than_it_must_be(sql, role):
    told = sql(
        "SELECT row_to_json(r) FROM (SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, "
        f"rolreplication, rolbypassrls FROM pg_roles WHERE rolname = '{role}') r"
    )
    assert json.loads(told) == {
        "rolcanlogin": True,
        "rolsuper": False,
        "rolcreatedb": False,
        "rolcreaterole": False,
        "rolreplication": False,
        "rolbypassrls": False,
    }
    assert (
        sql(f"SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = '{role}'")
        == "t"
    )
    assert (
        sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")
        == OWNER
    )


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE clinic_appointment",
        "ALTER TABLE clinic_appointment ADD stolen text",
        "CREATE TABLE stolen (name text)",
        "CREATE SCHEMA stolen",
        "CREATE FUNCTION stolen() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE INDEX ON clinic_appointment (id)",
        f"SET ROLE {OWNER}",
        f"GRANT {OWNER} TO {APP}",
        f"ALTER ROLE {OWNER} PASSWORD 'stolen'",
        f"ALTER DATABASE {APP} OWNER TO {APP}",
        f"DROP DATABASE {APP}",
    ],
)
def test_the_running_application_cannot_change_its_tables(host, environment, statement):
    told = host.run("psql %s -c %s", environment("gunicorn")["DATABASE_URL"], statement)
    assert re.search(r"permission denied|must (be owner|have admin)", told.stderr), told.stderr


def test_the_application_cannot_log_in_as_the_owner_of_the_database(host):
    """Neither by its user, nor with the login of a command that runs at the same time."""
    told = host.run(f"{APP}-run psql -h /run/postgresql -U {OWNER} -d {APP} -c 'SELECT 1'")
    assert "authentication failed" in told.stderr
    wait = "import time; time.sleep(60)"
    host.check_output(f"systemd-run --quiet --unit=operator {APP}-manage shell -c '{wait}'")
    find = f"pgrep --uid {APP} --full 'time.sleep.60'"
    eventually(lambda: host.run(find).rc == 0)
    process = host.check_output(find).split()[0]
    assert OWNER in host.file(f"/proc/{process}/environ").content_string
    read = f"cat /proc/{process}/environ"
    inside, outside = host.run(f"{APP}-run {read}"), host.run(f"runuser -u {APP} -- {read}")
    host.check_output("systemctl stop operator")
    # In the sandbox, /proc does not show a process that one may not read.
    assert "No such file" in inside.stderr, inside.stderr
    assert "Permission denied" in outside.stderr, outside.stderr


def test_postgresql_wants_the_password(host, environment):
    url = environment("gunicorn")["DATABASE_URL"]
    wrong = re.sub(r":[^:@/]+@", ":wrong-password@", url)
    assert host.run("psql %s -tAc 'SELECT 1'", url).stdout.strip() == "1"
    assert "password authentication failed" in host.run("psql %s -tAc 'SELECT 1'", wrong).stderr


def test_the_database_has_its_extensions_and_its_collation(host, environment):
    url = environment("gunicorn")["DATABASE_URL"]

    def ask(query):
        return host.check_output("psql %s -tAc %s", url, query).split()

    assert {"hypopg", "pg_stat_statements"} <= {*ask("SELECT extname FROM pg_extension")}
    assert ask("SELECT count(*) > 0 FROM pg_stat_statements") == ["t"], "its library is not loaded"
    words = "SELECT * FROM unnest(ARRAY['Zoe', 'Ärmel', 'arm', 'Arzt']) word ORDER BY word"
    assert ask(words) == ["arm", "Ärmel", "Arzt", "Zoe"]
    # The application may ask for what is there.
    ask("CREATE EXTENSION IF NOT EXISTS hypopg")


def test_the_application_connects_to_its_own_database_only(host, environment):
    url = environment("gunicorn")["DATABASE_URL"]
    for other in ("postgres", "template1"):
        told = host.run("psql %s -tAc 'SELECT 1'", re.sub(r"/[^/?]+(\?|$)", rf"/{other}\1", url))
        assert "permission denied for database" in told.stderr


def test_the_log_of_postgresql_has_connections_and_no_values(host, environment):
    url = environment("gunicorn")["DATABASE_URL"]
    marker = f"patient-{time.time_ns()}"
    for query in (
        f"SELECT '{marker}', pg_sleep(1.1)",
        f"SELECT '{marker}'::int",
        f"DO $$ BEGIN RAISE WARNING '{marker}'; END $$",
        f"CREATE TEMP TABLE t (name text UNIQUE); INSERT INTO t VALUES ('{marker}'), ('{marker}')",
    ):
        host.run("PGAPPNAME=check-of-the-log psql %s -c %s", url, query)
    find = "grep --text --fixed-strings --quiet %s /var/log/postgresql/*.log"
    assert host.run(find, "check-of-the-log").rc == 0
    assert host.run(find, marker).rc == 1


def test_redis_wants_the_password(host, environment):
    assert "NOAUTH" in host.run("redis-cli ping").stdout
    password = re.search(r":([^:@]+)@", environment("gunicorn")["REDIS_URL"])[1]
    client = f"REDISCLI_AUTH={password} redis-cli"
    assert host.run(f"{client} ping").stdout.strip() == "PONG"
    for command in (
        "flushall", "save", "config set maxmemory 1", "config get dir", "replicaof no one",
        "acl setuser x", "shutdown", "debug sleep 0", "module list", "client list",
    ):  # fmt: skip
        told = host.run(f"{client} {command}")
        assert re.search("NOPERM|DEBUG command not allowed", told.stdout + told.stderr), command


def test_root_of_the_host_administers_redis(host):
    file = "/etc/django_stack/redis-root-password"
    assert host.file(file).mode == 0o600
    told = host.run(
        f"REDISCLI_AUTH=$(cat {file}) redis-cli --user root config get maxmemory-policy"
    )
    assert told.stdout.split() == ["maxmemory-policy", "noeviction"]


def test_each_authority_of_the_control_machine_is_there(host):
    wanted = {path.name for path in Path("/usr/local/share/ca-certificates").glob("*.crt")}
    assert set(host.check_output("ls /usr/local/share/ca-certificates").splitlines()) == wanted
