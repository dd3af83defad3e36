"""A host that was hardened before: it is provisioned, and nothing on it is looser than it was."""

import re

from droplets import APP, changed, playbook

NAME = "django-stack-hardened"
testinfra_hosts = [f"docker://{NAME}"]  # as root, who cannot come by SSH
FILES = "/etc /usr /opt /var/lib -xdev '(' -type f -o -type d ')'"
# Names of sshd that the role sets, and what it says of them; the host had looser values.
TIGHTENED = {
    "clientalivecountmax": "2",
    "compression": "no",
    "kbdinteractiveauthentication": "no",
    "loglevel": "VERBOSE",
    "tcpkeepalive": "no",
    "x11forwarding": "no",
    "allowagentforwarding": "no",
}


def pairs(text):
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def test_the_site_and_its_static_files_answer(door):
    assert door.ask("/health/").status_code == 200
    assert door.ask("/static/admin/css/base.css").status_code == 200
    assert door.ask("/api/status/").json()["checks"]


def test_a_second_run_changes_nothing(host):
    host.check_output("chmod -R go-rwx /opt/uv")  # as an earlier version has left it
    run = playbook("--limit", NAME)
    assert run.returncode == 0, run.stdout + run.stderr
    assert changed(run.stdout) == ["0"], run.stdout
    host.check_output(f"runuser -u {APP}-build -- sh -ec '/opt/uv/*/bin/uv --version'")


def test_the_login_is_as_it_was(host):
    assert host.file("/etc/pam.d/common-session").contains("umask=077")
    assert "cargo" in host.check_output("readlink -f /usr/local/bin/sudo")
    assert "allowusers keeper" in host.check_output("sshd -T").splitlines()


def test_sshd_is_nowhere_looser(host):
    before = pairs(host.file("/root/before/sshd").content_string)
    after = pairs(host.check_output("sshd -T | sort"))
    assert before["permitrootlogin"] == "no" and before["maxauthtries"] == "2"
    other = {name: value for name, value in after.items() if before.get(name) != value}
    assert other.items() <= TIGHTENED.items()
    assert set(before) <= set(after)


def test_the_firewall_is_nowhere_looser(host):
    before = host.file("/root/before/ufw").content_string
    after = host.check_output("ufw status verbose")
    assert set(before.splitlines()) <= set(after.splitlines())
    assert "Logging: on (medium)" in after
    assert not re.search(r"^22\b.*Anywhere *(#|$)", after, re.M)


def test_the_kernel_and_fail2ban_are_nowhere_looser(host):
    settings = host.file("/etc/sysctl.d/99-django_stack.conf").content_string
    assert "kernel.yama.ptrace_scope = 2\n" in settings
    told = host.check_output(
        "for name in maxretry bantime; do fail2ban-client get sshd $name; done"
    )
    assert told.split() == ["2", "86400"]


def modes(text):
    return {path: int(mode, 8) for mode, path in (line.split(" ", 1) for line in text.splitlines())}


def test_no_mode_is_looser_and_no_file_is_writable_for_all(host):
    before = modes(host.file("/root/before/modes").content_string)
    after = modes(host.check_output(f"find {FILES} -printf '%m %p\\n'"))
    looser = [path for path in set(before) & set(after) if after[path] & ~before[path] & 0o077]
    # The package ssl-cert, which PostgreSQL needs, lets its group go through this directory.
    assert set(looser) <= {"/etc/ssl/private"}
    assert [path for path, mode in after.items() if mode & 0o1002 == 0o002] == []


def test_a_plugin_that_does_not_know_sudo_rs_is_refused_at_once():
    run = playbook("--limit", NAME, "--extra-vars", "ansible_become_method=sudo")
    assert run.returncode
    assert "ansible_become_method: clink.django_stack.sudo" in run.stdout + run.stderr
