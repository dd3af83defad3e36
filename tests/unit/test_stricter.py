"""A host that is stricter than a role stays as it is; what the description sets is in force."""

import os
import subprocess

import pytest
from ansible_collections.clink.django_stack.plugins.module_utils import stricter

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "chosen"),
    [
        ("PermitRootLogin", "prohibit-password", "no", "no"),
        ("PermitRootLogin", "prohibit-password", "forced-commands-only", "forced-commands-only"),
        ("PermitRootLogin", "prohibit-password", "without-password", "prohibit-password"),
        ("PermitRootLogin", "prohibit-password", "yes", "prohibit-password"),
        ("PasswordAuthentication", "no", "yes", "no"),
        ("PasswordAuthentication", "yes", "no", "no"),
        ("LoginGraceTime", "30", "20", "20"),
        ("LoginGraceTime", "30", "120", "30"),
        ("LoginGraceTime", "30", "0", "30"),
        ("MaxAuthTries", "3", "2", "2"),
        ("MaxAuthTries", "3", "6", "3"),
        ("MaxSessions", "4", "0", "0"),
        ("MaxStartups", "10:30:60", "3:50:10", "3:50:10"),
        ("MaxStartups", "10:30:60", "20:60:30", "10:60:30"),
        ("ClientAliveInterval", "120", "0", "120"),
        ("ClientAliveInterval", "120", "60", "60"),
        ("ClientAliveCountMax", "2", "0", "2"),
        ("AllowTcpForwarding", "local", "no", "no"),
        ("AllowTcpForwarding", "local", "yes", "local"),
        ("AllowTcpForwarding", "local", "remote", "no"),
        ("AllowAgentForwarding", "yes", "no", "no"),
        ("X11Forwarding", "no", "yes", "no"),
        # What sshd may print one day is no reason to change what the role says.
        ("PermitRootLogin", "prohibit-password", "sometimes", "prohibit-password"),
        ("MaxStartups", "10:30:60", "10", "10:30:60"),
        ("LogLevel", "VERBOSE", "INFO", "VERBOSE"),
    ],
)
def test_the_stricter_value_of_sshd_is_in_force(name, ours, theirs, chosen):
    text = f"# a comment\n{name} {ours}\nCiphers aes256-gcm@openssh.com\n"
    there = {name.lower(): theirs, "ciphers": "3des-cbc"}
    assert stricter.sshd(text, there, []) == text.replace(f"{name} {ours}", f"{name} {chosen}")
    assert stricter.sshd(text, there, [name]) == text
    assert stricter.sshd(text, {}, []) == text


@as_root
def test_the_file_itself_does_not_count(tmp_path, monkeypatch):
    """sshd is asked for what the host has without the file, which stays where it is."""
    file = tmp_path / "own.conf"
    file.write_text("PermitRootLogin yes\n")
    sshd = tmp_path / "sshd"
    sshd.write_text(f'#!/bin/sh\necho port 22\ncat {file}\necho "permitrootlogin no"\n')
    sshd.chmod(0o755)
    run = subprocess.run

    def here(command, **given):
        given["env"] = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return run(command, **given)

    monkeypatch.setattr(stricter.subprocess, "run", here)
    there = {"port": "22", "permitrootlogin": "no"}
    assert stricter.sshd_there(str(file)) == there
    assert file.read_text() == "PermitRootLogin yes\n"
    file.unlink()
    assert {"port": "22"}.items() <= stricter.sshd_there(str(file)).items()


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A directory of sysctl.d, which is the only one."""
    monkeypatch.setattr(stricter, "SYSCTL_DIRECTORIES", [str(tmp_path)])
    monkeypatch.setattr(stricter, "SYSCTL_LAST", str(tmp_path / "missing"))
    monkeypatch.setattr(stricter, "HIGHER", {"kernel.yama.scope"})
    return tmp_path


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("kernel.yama.scope = 3", "3"),
        ("kernel/yama/scope=2", "2"),
        ("-kernel.yama.scope = 2", "2"),
        ("kernel.yama.scope = 0", "1"),
        ("# kernel.yama.scope = 3", "1"),
        ("kernel.yama.scope = three", "1"),
    ],
)
def test_the_stricter_value_of_the_kernel_is_in_force(kernel, line, value):
    own = kernel / "99-own.conf"
    own.write_text("kernel.yama.scope = 9\n")  # an earlier version of the role's file
    (kernel / "60-host.conf").write_text(f"{line}\nkernel.sysrq = 1\n")
    text = "# a comment\nkernel.yama.scope = 1\nkernel.sysrq = 0\n"
    found = stricter.kept("sysctl", str(own), text, [])
    assert found == text.replace("scope = 1", f"scope = {value}")
    assert stricter.kept("sysctl", str(own), text, ["kernel.yama.scope"]) == text


def test_what_the_kernel_has_counts_as_well(kernel, monkeypatch):
    monkeypatch.setattr(stricter, "HIGHER", {"kernel.pid_max"})
    assert "pid_max = 1\n" not in stricter.kept("sysctl", "", "kernel.pid_max = 1\n", [])


@pytest.mark.parametrize(
    ("theirs", "chosen"),
    [
        (["bantime.maxtime = 52w"], "52w"),
        (["bantime.maxtime=1d"], "1w"),
        (["bantime.maxtime = -1"], "-1"),
        (["[x]\nbantime.maxtime = 8d 12h", "bantime.maxtime = 1mo"], "1mo"),
        (["bantime.maxtime = forever", "bantime = 1y"], "1w"),
        ([], "1w"),
    ],
)
def test_a_longer_ban_stays(tmp_path, monkeypatch, theirs, chosen):
    monkeypatch.setattr(stricter, "FAIL2BAN", str(tmp_path / "*.conf"))
    for number, text in enumerate(theirs):
        (tmp_path / f"{number}.conf").write_text(f"[DEFAULT]\n{text}\n")
    text = "[DEFAULT]\nbantime.increment = true\nbantime.maxtime = 1w\n\n[sshd]\nmode = normal\n"
    wanted = text.replace("= 1w", f"= {chosen}")
    assert stricter.kept("fail2ban", "", text, []) == wanted
    assert stricter.kept("fail2ban", "", text, ["bantime.maxtime"]) == text
