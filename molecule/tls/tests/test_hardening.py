"""What strangers meet, and that nobody who belongs here is shut out."""

import json
import re
import resource
import select
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest
import testinfra
from droplets import INVENTORY, PROJECT, eventually, playbook

from tools.droplet import ssh_command

OPEN = {22, 80, 443}
PATIENCE = 8  # seconds that a droplet waits for a new connection before it takes a change back
AT_ONCE = 12000  # ports that are tried together
LYNIS = 80  # the least hardening index
# The kernel and its USB are those of the machine that runs the containers, not the roles' to set.
NOT_OURS = ["KRNL-6000", "USB-3000"]
NOT_IN_EVERY_KERNEL = {"kernel.sysrq", "kernel.yama.ptrace_scope", "net.core.bpf_jit_harden"}
# What would let nobody in: the tag, and the values.
SHUT_OUT = {
    "sshd": {"sshd_settings": {"AllowUsers": "nobody"}},
    "ufw": {"ufw_rules": [{"rule": "deny", "port": "22"}]},
}


@pytest.fixture(scope="module")
def container(door):
    return docker.from_env().containers.get(door.name)


@pytest.fixture(scope="module")
def ssh(container):
    """Try to come in over SSH from this machine, each time by a new connection."""

    def come_in(*options, command="true"):
        line = [*ssh_command(container).split(), "-o", "BatchMode=yes", *options, command]
        return subprocess.run(line, cwd=PROJECT, capture_output=True, text=True)

    return come_in


@pytest.fixture(scope="session")
def strangers():
    """The other machines. All stay until the end, so that each has an address of its own."""
    machines = []
    yield machines
    for machine in machines:
        machine.remove(force=True)


@pytest.fixture
def stranger(container, strangers):
    """Another machine, which has never been here: run Python on it."""
    machine = docker.from_env().containers.run(container.image, ["sleep", "1h"], detach=True)
    strangers.append(machine)
    machine.reload()

    def run(code, *arguments):
        done = machine.exec_run(["python3", "-c", code, *arguments])
        assert done.exit_code == 0, done.output.decode()
        return done.output.decode().split()

    (network,) = machine.attrs["NetworkSettings"]["Networks"].values()
    run.address = network["IPAddress"]
    return run


ASK = """
import sys, http.client, ssl
SITE = "clinic.example.com"
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

class Site(http.client.HTTPSConnection):
    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = context.wrap_socket(self.sock, server_hostname=SITE)

host, path, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(times):
    try:
        site = Site(host, timeout=5)
        site.request("GET", path, headers={"Host": SITE})
        print(site.getresponse().status)
    except OSError as error:
        print(type(error).__name__)
        if isinstance(error, ConnectionRefusedError):
            break  # banned; each further request would take about a second
"""
KNOCK = """
import subprocess, sys
ssh = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=5"]
for _ in range(int(sys.argv[2])):
    try:
        command = [*ssh, "admin@" + sys.argv[1], "true"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=6)
        print(told.stderr.split()[-1])
    except subprocess.TimeoutExpired:  # banned while it came in
        print("nothing")
"""


def banned(host, jail):
    told = host.check_output("fail2ban-client status %s", jail)
    return re.search(r"Banned IP list:(.*)", told)[1].split()


# --- Ports ----------------------------------------------------------------------------------------


def open_ports(address):
    """All TCP ports of an address that take a connection: some thousand at once, a second each."""
    found = set()
    for first in range(1, 65536, AT_ONCE):
        poll, knocking = select.epoll(), {}
        for port in range(first, min(first + AT_ONCE, 65536)):
            knock = socket.socket()
            knock.setblocking(False)
            knock.connect_ex((address, port))
            poll.register(knock, select.EPOLLOUT)
            knocking[knock.fileno()] = knock, port
        deadline = time.monotonic() + 1
        while (left := deadline - time.monotonic()) > 0:
            for number, _ in poll.poll(left):
                knock, port = knocking[number]
                poll.unregister(knock)
                if not knock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    found.add(port)
        poll.close()
        for knock, _ in knocking.values():
            knock.close()
    return found


def test_every_other_port_is_closed_from_another_machine(host, door):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, AT_ONCE + 1000), hard))
    host.check_output("systemd-run --quiet --collect --unit=open python3 -m http.server 18080")
    listening = "ss --no-header --tcp --listening --numeric"
    eventually(lambda: ":18080" in host.check_output(listening))  # a port that nobody opened
    wanted = {port for port in OPEN if f":{port} " in host.check_output(listening)}
    try:
        assert open_ports(door.address) == wanted
    finally:
        host.check_output("systemctl stop open")
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {22, 80} <= wanted
    assert {":5432 ", ":6379 "} <= set(re.findall(r":\d+ ", host.check_output(listening)))


# --- SSH ------------------------------------------------------------------------------------------


def test_only_keys_are_taken(ssh):
    told = ssh("-o", "PubkeyAuthentication=no")
    assert told.returncode == 255
    assert told.stderr.strip().endswith("Permission denied (publickey).")


@pytest.fixture(scope="session")
def shut_out():
    """Runs that would let nobody in: what each one told."""
    told = {}

    def run(tag):
        if tag not in told:
            values = json.dumps(SHUT_OUT[tag] | {"guarded_change_seconds": PATIENCE})
            told[tag] = playbook("--tags", tag, "--extra-vars", values)
        return told[tag]

    return run


@pytest.mark.parametrize("tag", SHUT_OUT)
def test_what_lets_nobody_in_is_taken_back(host, door, ssh, shut_out, tag):
    told = shut_out(tag)
    assert told.returncode != 0
    assert re.search(rf"FAILED: \[{door.name}\]", told.stdout + told.stderr)
    assert "It was taken back" in told.stdout + told.stderr
    assert next(iter(SHUT_OUT[tag])) in told.stdout + told.stderr
    assert ssh().returncode == 0
    assert door.ask("/health/").status_code == 200
    assert "allowusers" not in host.check_output("sshd -T")
    rules = host.check_output("ufw status")
    assert "Status: active" in rules
    assert re.search(r"^22/tcp +ALLOW", rules, re.M)
    assert not re.search(r"^22/tcp +DENY", rules, re.M)
    assert host.run("systemctl list-timers --all '*-way-back*' --no-legend").stdout == ""


def test_whoever_came_by_a_password_is_told_first(host, door):
    """A user with a password and no key, who is let in by it although it is refused to others."""
    lines = "Match User walker\\n PasswordAuthentication yes\\n"
    host.check_output(
        "useradd --create-home walker && echo walker:on-foot | chpasswd && "
        "echo 'walker ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/walker && "
        f"printf '{lines}' >/etc/ssh/sshd_config.d/90-walker.conf && systemctl reload ssh"
    )
    before = host.file("/etc/ssh/sshd_config.d/00-django_stack.conf").sha256sum
    try:
        values = {
            "ansible_user": "walker",
            "ansible_password": "on-foot",
            "sshd_settings": {"LoginGraceTime": 40},
        }
        run = ["--limit", door.name, "--tags", "sshd", "--extra-vars", json.dumps(values)]
        told = playbook(*run)
    finally:
        host.check_output(
            "rm /etc/ssh/sshd_config.d/90-walker.conf /etc/sudoers.d/walker && "
            "systemctl reload ssh && userdel --remove --force walker"
        )
    assert told.returncode != 0
    assert "ssh-copy-id" in told.stdout + told.stderr, told.stdout + told.stderr
    assert host.file("/etc/ssh/sshd_config.d/00-django_stack.conf").sha256sum == before


# --- fail2ban -------------------------------------------------------------------------------------


def test_who_holds_a_key_may_fail(host, ssh):
    for _ in range(8):
        assert ssh("-o", "PubkeyAuthentication=no").returncode == 255
    told = "journalctl --unit=fail2ban --unit=ssh --no-pager"
    assert "Permission denied" not in host.check_output(told)
    eventually(lambda: "ignore" in host.file("/var/log/fail2ban.log").content_string.lower())
    assert banned(host, "sshd") == []
    assert ssh().returncode == 0


def test_who_knocks_at_ssh_is_banned_and_nobody_else(host, door, stranger):
    assert set(stranger(ASK, door.address, "/health/", "3")) == {"200"}
    stranger(KNOCK, door.address, "8")
    eventually(lambda: stranger.address in banned(host, "sshd"))
    assert stranger(KNOCK, door.address, "1") == ["refused"]
    assert stranger(ASK, door.address, "/health/", "1") == ["ConnectionRefusedError"]
    assert door.ask("/health/").status_code == 200

    def is_let_in():  # the end of its last connection counts, and may ban it again
        host.check_output("fail2ban-client unban %s", stranger.address)
        return stranger(ASK, door.address, "/health/", "1") == ["200"]

    eventually(is_let_in)


def test_who_floods_the_login_is_banned_from_the_site(host, door, stranger):
    answers = stranger(ASK, door.address, "/admin/login/", "120")
    assert {"200", "429"} <= set(answers)
    eventually(lambda: stranger.address in banned(host, "nginx-limit-req"))
    assert stranger(ASK, door.address, "/health/", "1") == ["ConnectionRefusedError"]
    assert stranger(KNOCK, door.address, "1") == ["(publickey)."]
    assert door.ask("/health/").status_code == 200
    host.check_output("fail2ban-client unban %s", stranger.address)


# --- Upgrades, time, the kernel -------------------------------------------------------------------


def test_only_security_upgrades_install_themselves(host):
    told = host.check_output("unattended-upgrade --dry-run --debug 2>&1")
    allowed = re.search(r"Allowed origins are: (.*)", told)[1].split(", ")
    others = [origin for origin in allowed if "-security" not in origin]
    # Ubuntu's release itself does not change; its security upgrades may need packages of it.
    assert len(allowed) > len(others)
    assert all(origin.startswith("origin=Ubuntu,archive=") for origin in others)
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert host.service(timer).is_enabled
    assert 'Unattended-Upgrade::Automatic-Reboot "true"' not in host.check_output("apt-config dump")


def test_the_clock_is_set_at_boot(host):
    assert host.service("systemd-timesyncd").is_enabled


def test_the_kernel_knows_every_setting(host):
    lines = host.file("/etc/sysctl.d/99-django_stack.conf").content_string.splitlines()
    names = [line.split(" = ")[0] for line in lines if " = " in line]
    assert len(names) > 20
    missing = "for name in %s; do test -e /proc/sys/$(echo $name | tr . /) || echo $name; done"
    assert set(host.check_output(missing % " ".join(names)).split()) <= NOT_IN_EVERY_KERNEL


# --- lynis ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def indexes():
    """Have lynis look at all droplets at once; return the hardening index of each."""

    def audit(host):
        host.check_output("apt-get -qq install -y --no-install-recommends lynis")
        left_out = "".join(f"skip-test={test}\\n" for test in NOT_OURS)
        host.check_output(f"printf '{left_out}' >/etc/lynis/custom.prf")
        host.run("lynis audit system --quick --no-colors --quiet")
        report = host.file("/var/log/lynis-report.dat").content_string
        return int(re.search(r"^hardening_index=(\d+)", report, re.M)[1])

    hosts = testinfra.get_hosts(["ansible://all"], ansible_inventory=str(INVENTORY))
    names = [host.backend.get_pytest_id().rpartition("//")[2] for host in hosts]
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(audit, hosts), strict=True))


def test_lynis_finds_it_hardened(door, figures, indexes):
    index = indexes[door.name]
    figures.append({"host": door.name, "what": "lynis, hardening index", "figure": str(index)})
    assert index >= LYNIS
