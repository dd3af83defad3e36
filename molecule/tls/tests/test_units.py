"""What systemd keeps the services from, and that they serve all the same."""

import base64
import json
import re
import socket
import textwrap
from contextlib import contextmanager

import pytest
from droplets import APP, ROOT, eventually

# A unit that is there while a command of an operator runs; a step of a deploy has the same sandbox.
COMMAND = f"{APP}-run-x.service"
# The most exposed that each may be, as `systemd-analyze security` counts, and as shipped by Debian.
BARS = {
    "gunicorn.service": 1.0,
    "gunicorn-handover.service": 1.0,
    "celery.service": 1.0,
    "celery-beat.service": 1.0,
    COMMAND: 1.0,
    "nginx.service": 4.0,
    "postgresql@.service": 4.0,
    "redis-server.service": 1.1,
}
RUN = f"/usr/local/bin/{APP}-run"
APPLICATION = ["gunicorn.service", "celery.service", "celery-beat.service"]
SERVERS = ["nginx.service", "postgresql@.service", "redis-server.service"]


@pytest.fixture(scope="module")
def name(host):
    """A unit's full name: PostgreSQL's has the cluster's in it."""

    def full(unit):
        listed = host.check_output(
            "systemctl list-units --plain --no-legend %s", unit.replace("@.", "@*.")
        )
        return listed.split()[0] if "@." in unit else unit

    return full


@pytest.fixture(scope="module")
def show(host, name):
    """A property of a unit."""

    def ask(unit, what):
        return host.check_output(f"systemctl show --property={what} --value %s", name(unit))

    return ask


@pytest.fixture(scope="module")
def processes(host, show):
    """The processes of a unit, each with what the kernel says of it."""

    def read(unit):
        main = show(unit, "MainPID")
        told = host.check_output(
            f"for p in {main} $(pgrep --parent {main}); do "
            "echo user: $(readlink /proc/$p/ns/user); cat /proc/$p/status; echo; done"
        )
        blocks = told.strip().split("\n\n")
        return [dict(re.findall(r"(?m)^(\w+):\s*(.*)$", block)) for block in blocks]

    return read


@pytest.fixture(scope="module")
def gateway(host):
    """This machine, as the droplet reaches it: an address of another host."""
    route = host.check_output("ip -json route show default")
    return json.loads(route)[0]["gateway"]


def exposure(host, *arguments):
    command = "systemd-analyze security --no-pager "
    told = host.check_output(command + " ".join(["%s"] * len(arguments)), *arguments)
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", told)[1])


@contextmanager
def a_command(host):
    """Have a command of an operator run meanwhile; give the name of its unit."""
    host.check_output(f"systemd-run --quiet --unit=command-x {RUN} sleep 60")
    listed = f"systemctl list-units --plain --no-legend --state=active '{APP}-run-*'"
    try:
        yield eventually(lambda: host.check_output(listed).split()[:1])[0]
    finally:
        host.run(f"systemctl stop command-x '{APP}-run-*'")


# --- What systemd says --------------------------------------------------------------------------


@pytest.mark.parametrize("unit", BARS)
def test_a_unit_is_hardly_exposed(host, door, name, figures, unit):
    if unit == COMMAND:
        with a_command(host) as running:
            got = exposure(host, running)
    else:
        got = exposure(host, name(unit))
    before = "-"
    if unit in SERVERS:
        copy = "/run/stock.service"  # its own name would bring the drop-ins along
        host.check_output("cp /usr/lib/systemd/system/%s %s", unit, copy)
        before = f"{exposure(host, '--offline=true', copy):.1f}"
        host.check_output("rm %s", copy)
    row = {"droplet": door.name, "unit": unit, "exposure": f"{got:.1f}"}
    figures.append(row | {"may be": f"{BARS[unit]:.1f}", "Debian's own": before})
    assert got <= BARS[unit]


def test_systemd_passes_over_no_directive(host):
    told = host.check_output("journalctl --no-pager --boot _PID=1")
    assert re.findall(r".*/(?:etc|run)/systemd/system/\S+:\d+: .*", told) == []


# --- What the kernel says -----------------------------------------------------------------------


@pytest.mark.parametrize("unit", [*APPLICATION, *SERVERS])
def test_every_process_is_confined(host, processes, unit):
    seen = processes(unit)
    assert len(seen) > (unit not in ("celery-beat.service", "redis-server.service"))
    for process in seen:
        assert (process["NoNewPrivs"], process["Seccomp"]) == ("1", "2")
        if unit != "nginx.service":
            assert process["CapEff"] == process["CapBnd"] == "0000000000000000"
            assert "0" not in process["Uid"].split()
    if unit in APPLICATION:
        mine = host.check_output("readlink /proc/1/ns/user")
        assert all(process["user"] != mine for process in seen)
        # A low priority is for the start alone.
        assert {host.check_output("ps -o ni= -p %s", p["Pid"]).strip() for p in seen} == {"0"}


# What a process tries in the place of a service; "refused" is the good answer.
PROBE = """
    import ctypes, json, mmap, multiprocessing, os, socket, subprocess, sys, tempfile
    from pathlib import Path
    root, gateway, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    media = Path(root, "shared", "media")
    libc = ctypes.CDLL(None, use_errno=True)
    NEWUSER, TRACEME = 0x10000000, 0

    def call(number):
        if number == -1:
            raise OSError(ctypes.get_errno(), "refused")

    def setuid_file():
        with tempfile.NamedTemporaryFile(dir=media) as file:
            os.chmod(file.name, 0o4755)

    def upload():
        with tempfile.NamedTemporaryFile(dir=media) as file:
            assert os.stat(file.name).st_mode & 0o777 == 0o600

    def work():
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]

    tried = {
        "write to /": lambda: Path("/x").touch(),
        "write to /etc": lambda: Path("/etc/x").touch(),
        "write to /run": lambda: Path("/run/x").touch(),
        "write to /var/lib": lambda: Path("/var/lib/x").touch(),
        "change the code": lambda: Path(root, "current", "x").touch(),
        "change its environment": lambda: Path(root, "current", ".venv", "x").touch(),
        "read /home": lambda: os.listdir("/home"),
        "read /root": lambda: os.listdir("/root"),
        "see another's process": lambda: os.stat("/proc/1"),
        "trace a process": lambda: call(libc.ptrace(TRACEME, 0, 0, 0)),
        "make a namespace": lambda: call(libc.unshare(NEWUSER)),
        "mount": lambda: call(libc.mount(b"x", b"/tmp", b"tmpfs", 0, None)),
        "make memory executable": lambda: mmap.mmap(
            -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
        "make a file setuid": setuid_file,
        "read packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "ask the kernel for its network": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "name the host": lambda: socket.sethostname("x"),
        "read the kernel's log": lambda: os.open("/dev/kmsg", os.O_RDONLY),
        "change the kernel": lambda: Path("/proc/sys/kernel/core_pattern").write_text("x"),
        "become a realtime process": lambda: os.sched_setscheduler(
            0, os.SCHED_FIFO, os.sched_param(1)),
        "become root": lambda: os.setuid(0),
        "ask the cloud for its secrets": lambda: socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("169.254.169.254", 80)),
        "ask Azure for its secrets": lambda: socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("168.63.129.16", 80)),
        # and what it must be able to do
        "write an upload": upload,
        "write to /tmp": lambda: tempfile.TemporaryFile().close(),
        "share semaphores": work,
        "run a program": lambda: subprocess.run(["true"], check=True),
        "measure the memory": lambda: Path("/proc/meminfo").read_text(),
        "call another host": lambda: socket.create_connection((gateway, port), 5),
    }
    told = {}
    for what, do in tried.items():
        try:
            do()
        except OSError as error:
            told[what] = os.strerror(error.errno) if error.errno else repr(error)
        else:
            told[what] = "done"
    print(json.dumps(told))
"""
MAY = [
    "write an upload", "write to /tmp", "share semaphores", "run a program", "measure the memory",
    "call another host",
]  # fmt: skip


def write(host, path, text):
    """Write a file on the droplet."""
    host.check_output(f"echo %s | base64 -d >{path}", base64.b64encode(text.encode()).decode())


@pytest.fixture(scope="module", params=["gunicorn.service", "celery.service", COMMAND])
def told(request, host, gateway):
    """What came of each try, of a process in the sandbox of a unit, or of an operator's command."""
    if request.param == COMMAND:
        write(host, "/run/probe.py", textwrap.dedent(PROBE))
        with socket.create_server(("", 0)) as server:
            port = server.getsockname()[1]
            ran = host.run(f"{RUN} python /run/probe.py {ROOT} {gateway} {port}")
        host.check_output("rm /run/probe.py")
        assert ran.rc == 0, ran.stderr
        return json.loads(ran.stdout)
    unit = host.file(f"/etc/systemd/system/{request.param}").content_string
    unit = re.sub(r"(?m)^(Type|Restart|KillMode|Requires|RuntimeMaxSec|Exec\w+)=.*\n", "", unit)
    unit = re.sub(r"(?m)^EnvironmentFile=.*$", f"EnvironmentFile=/etc/{APP}/environment", unit)
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        command = f"{ROOT}/current/.venv/bin/python /run/probe.py {ROOT} {gateway} {port}"
        unit = unit.replace(
            "[Service]\n",
            f"[Service]\nType=oneshot\nExecStart=/usr/bin/env {command}\n"
            "StandardOutput=truncate:/run/probe.json\n",
        )
        for path, text in {
            "/run/systemd/system/probe.service": unit,
            "/run/probe.py": textwrap.dedent(PROBE),
        }.items():
            write(host, path, text)
        started = host.run("systemctl daemon-reload; systemctl start probe")
        assert started.rc == 0, host.run("journalctl --no-pager -n 30 -u probe").stdout
    host.check_output("rm /run/systemd/system/probe.service /run/probe.py")
    return json.loads(host.check_output("cat /run/probe.json; rm /run/probe.json"))


def test_what_it_need_not_do_is_refused(told):
    assert [what for what, came in told.items() if came == "done" and what not in MAY] == []


def test_what_it_must_do_is_allowed(told):
    assert {what: told[what] for what in MAY} == dict.fromkeys(MAY, "done")


# --- The servers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "writes"),
    [
        ("nginx.service", ["/run", "/var/log/nginx", "/var/lib/nginx"]),
        ("postgresql@.service", ["/run/postgresql", "/var/lib/postgresql", "/var/tmp"]),
    ],
)
def test_a_server_writes_where_it_must(host, show, unit, writes):
    inside = f"nsenter --target={show(unit, 'MainPID')} --mount"
    for directory in ["/etc", "/usr", "/boot", "/root", "/home"]:
        told = host.run(f"{inside} touch {directory}/x")
        assert re.search("Read-only file system|Permission denied", told.stderr), directory
    for directory in writes:
        host.check_output(f"{inside} touch {directory}/x && {inside} rm {directory}/x")


def test_postgresql_runs_programs_in_its_own_sandbox(sql):
    """A superuser's COPY is as good as a shell on the host: it finds neither rights nor homes."""
    assert sql("COPY (SELECT 1) TO PROGRAM 'ls /srv'") == "COPY 1"
    for refused in ["ls /home", "unshare --user true", "touch /etc/x"]:
        with pytest.raises(AssertionError, match=f'program "{refused}" failed'):
            sql(f"COPY (SELECT 1) TO PROGRAM '{refused}'")


def test_nginx_reloads_and_takes_up_a_new_log(host, door, show, stamp):
    main = show("nginx.service", "MainPID")
    host.check_output("systemctl reload nginx")
    host.check_output("mv /var/log/nginx/access.log /var/log/nginx/access.log.1")
    host.check_output("invoke-rc.d nginx rotate")

    def logged():
        door.ask(f"/{stamp}")
        return host.run("grep -q %s /var/log/nginx/access.log", stamp).succeeded

    eventually(logged)
    assert show("nginx.service", "MainPID") == main


# --- And the stack works ------------------------------------------------------------------------


def green(door):
    answer = door.ask("/api/status/")
    return answer.status_code == 200 and all(c["ok"] for c in answer.json()["checks"].values())


@pytest.mark.parametrize("channel", ["email", "whatsapp"])
def test_a_request_becomes_a_row_a_task_and_a_message(door, sql, messages, stamp, channel):
    to = f"+49{str(int(stamp, 16))[-12:]}" if channel == "whatsapp" else f"{stamp}@example.org"
    row = door.post("/api/notifications/", channel=channel, recipient=to, body=f"text {stamp}")
    query = f"SELECT status FROM clinic_notification WHERE id = {row['id']}"
    eventually(lambda: sql(query) == "sent")
    assert [message for message in messages() if message["to"] == to]


@pytest.mark.parametrize("unit", [*APPLICATION, *SERVERS])
def test_a_service_that_is_killed_comes_back(host, door, name, show, unit):
    eventually(lambda: green(door))
    main = show(unit, "MainPID")
    host.check_output("systemctl kill --kill-who=main --signal=KILL %s", name(unit))
    eventually(lambda: show(unit, "MainPID") not in ("0", main), patience=30)
    eventually(lambda: green(door), patience=30)
