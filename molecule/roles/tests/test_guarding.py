"""The roles that guard a host: each in a play of its own, one after the other on one droplet."""

import json

import pytest
from droplets import changed

testinfra_hosts = ["ansible://*-12"]
PLAYS = {
    "": [
        "hardening", "sshd", "mine", "ufw", "fail2ban", "backup", "monitor",
        "swap",  # which does nothing in a container
    ],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def shop(host):
    """Have a file to back up, and a service that does not run."""
    host.check_output("mkdir -p /srv/shop/uploads; echo mine >/srv/shop/uploads/file")
    unit = "/etc/systemd/system/shop.service"
    host.check_output("printf '[Service]\\nExecStart=false\\n' >%s; systemctl daemon-reload", unit)


def test_a_second_run_changes_nothing(again):
    assert changed(again) == ["0"] * sum(map(len, PLAYS.values())), again


def test_upgrades_restart_the_host(host):
    assert 'Automatic-Reboot "true"' in host.check_output("apt-config dump")


def test_ssh_takes_keys_only_with_the_settings_of_both_roles(host):
    told = host.check_output("sshd -T").splitlines()
    assert {"maxauthtries 3", "passwordauthentication no", "banner /etc/issue.net"} <= set(told)


def test_the_firewall_lets_ssh_and_the_listed_ports_in(host):
    rules = [line.split() for line in host.check_output("ufw status").splitlines()]
    opened = {line[0] for line in rules if "ALLOW" in line}
    assert opened == {"22/tcp", "80,443/tcp", "5432/tcp"}


def test_fail2ban_has_the_settings(host):
    assert host.check_output("fail2ban-client get sshd maxretry") == "3"


def test_a_backup_has_the_files(host):
    host.check_output("systemctl start django_stack-backup@now.service")
    told = json.loads(host.file("/var/lib/django_stack/backup/status.json").content_string)
    assert told["problems"] == {}


def test_the_monitor_knows_that_a_service_does_not_run(host):
    for _ in range(2):  # what it has seen once may have been a restart
        host.check_output("systemctl start django_stack-monitor.service")
    assert "shop.service" in host.file("/var/lib/django_stack/monitor/state.json").content_string
