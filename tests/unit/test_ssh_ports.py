"""At which ports a host is reached by SSH, whatever the inventory and sudo say."""

import os

import pytest
from ansible_collections.clink.django_stack.plugins.modules import ssh_ports

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0898 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 71 1
   1: 0100007F:177A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 72 1
   2: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   106        0 73 1
   3: 020011AC:0016 010011AC:BBCC 01 00000000:00000000 00:00000000 00000000     0        0 74 1
"""
LOOPBACK = "00000000000000000000000001000000"
TABLE6 = f"""\
  sl  local_address                         remote_address                        st
   0: {"0" * 32}:0899 {"0" * 32}:0000 0A 00000000:00000000 00:00000000 00000000     0        0 75 1
   1: {LOOPBACK}:177A {"0" * 32}:0000 0A 00000000:00000000 00:00000000 00000000     0        0 76 1
"""


@pytest.fixture
def proc(monkeypatch, tmp_path):
    """Give a function that adds a process with a parent, an environment and sockets."""
    monkeypatch.setattr(ssh_ports, "PROC", tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TABLE)
    (tmp_path / "net" / "tcp6").write_text(TABLE6)

    def add(pid, parent, *variables, name="python3", inodes=()):
        place = tmp_path / str(pid)
        (place / "fd").mkdir(parents=True)
        (place / "environ").write_bytes(b"".join(each.encode() + b"\0" for each in variables))
        (place / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {pid} 0 -1")
        for number, inode in enumerate(inodes):
            os.symlink(f"socket:[{inode}]", place / "fd" / str(number))

    return add


def test_the_port_is_that_of_the_shell_which_has_started_sudo(proc):
    proc(90, 80, "HOME=/root", "SUDO_USER=ada")
    proc(80, 70, "SSH_CONNECTION=broken", "X_SSH_CONNECTION=a 1 b 9999", name="sudo) S 1 (")
    proc(70, 60, "SSH_CLIENT=x", "SSH_CONNECTION=203.0.113.7 40000 10.0.0.2 2200")
    proc(60, 1, "SSH_CONNECTION=203.0.113.8 40000 10.0.0.2 22")
    assert ssh_ports.connection(90) == [2200]


def test_a_host_that_is_reached_by_another_way_has_no_connection(proc):
    proc(90, 80, "HOME=/root")
    proc(80, 0)
    assert ssh_ports.connection(90) == []
    assert ssh_ports.connection(91) == []


def test_sshd_listens_at_ports_that_its_command_line_has(proc):
    proc(50, 1, name="sshd", inodes=[71, 72, 74, 75, 76])
    assert ssh_ports.listening(50) == [2200, 2201]
    assert ssh_ports.listening(0) == []


def test_the_ports_of_a_socket_of_systemd():
    told = ["[::]:22 (Stream)", "0.0.0.0:2222 (Stream)", ":2023 (Stream)"]
    others = ["/run/ssh.socket (Stream)", "vsock::22 (Stream)", "[::]:23 (Datagram)"]
    assert ssh_ports.opened(told + others) == [22, 2222, 2023]


@pytest.mark.parametrize(
    ("state", "ports"), [("active", [22, 2200, 2222]), ("inactive", [22, 2200])]
)
def test_the_module_tells_each_port_once(monkeypatch, run_module, state, ports):
    result = ssh_ports.units.Result
    socket = f"Listen=[::]:2222 (Stream)\nListen=[::]:22 (Stream)\nActiveState={state}\n"
    monkeypatch.setattr(ssh_ports.units, "show", lambda *_: {"MainPID": "50"})
    monkeypatch.setattr(ssh_ports.units, "systemctl", lambda *_: result(0, socket, 0.1))
    monkeypatch.setattr(ssh_ports.units, "run", lambda *_: result(0, "port 22\nx 1\n", 0.1))
    monkeypatch.setattr(ssh_ports.shutil, "which", lambda *_, path: "/usr/sbin/sshd")
    monkeypatch.setattr(ssh_ports, "connection", lambda pid: [22])
    monkeypatch.setattr(ssh_ports, "listening", lambda pid: [2200, 2200] if pid == 50 else [])
    assert run_module(ssh_ports, check=True) == {"changed": False, "ports": ports}
