"""What ufw still has to change, and that it never lets in more than before."""

import pytest
from ansible_collections.clink.django_stack.plugins.filter.ufw_due import ufw_due

SSH = {"port": "22", "comment": "SSH", "proto": "tcp"}
WEB = {"port": "80,443", "comment": "open to everybody", "proto": "tcp"}
HTTP3 = {"port": "443", "comment": "open to everybody", "proto": "udp"}
OURS = """\
22/tcp                     ALLOW IN    Anywhere                   # SSH
80,443/tcp                 ALLOW IN    Anywhere                   # open to everybody
22/tcp (v6)                ALLOW IN    Anywhere (v6)              # SSH
80,443/tcp (v6)            ALLOW IN    Anywhere (v6)              # open to everybody
"""


def told(rows="", policy="deny", logging="on (low)"):
    """What grep and ufw print on a host with a firewall."""
    return (
        f"LOGLEVEL=low\nStatus: active\nLogging: {logging}\n"
        f"Default: {policy} (incoming), allow (outgoing), disabled (routed)\nNew profiles: skip\n\n"
        f"To                         Action      From\n{rows}"
    )


def due(printed, ports=(22,), tcp=(80, 443), udp=(), logging="low"):
    return ufw_due(printed, list(ports), list(tcp), list(udp), logging)


def test_a_blank_host_gets_all():
    for printed in ("", "LOGLEVEL=low\nStatus: inactive\n"):
        wanted = {"rules": [SSH, WEB], "default": "deny", "logging": "low", "closed": False}
        assert due(printed) == wanted
    assert due("Status: inactive\n", [222, "22"])["rules"][0]["port"] == "22,222"
    assert due("", udp=[443])["rules"] == [SSH, WEB, HTTP3]
    assert due("", tcp=[])["rules"] == [SSH]


def test_nothing_is_due_twice():
    assert due(told(OURS)) == {"rules": [], "default": "deny", "logging": "low", "closed": True}
    off = told(OURS, logging="off")
    assert due(off, logging="off")["closed"]
    assert not due(off)["closed"]


@pytest.mark.parametrize(
    "row",
    [
        "22/tcp                     ALLOW IN    10.0.0.0/8",
        "22                         ALLOW IN    203.0.113.7                # the office",
        "22/tcp                     LIMIT IN    Anywhere",
        "22/tcp (OpenSSH)           ALLOW IN    10.0.0.0/8",
        "OpenSSH                    ALLOW IN    10.0.0.0/8",
        "22,80/tcp                  ALLOW IN    10.0.0.0/8",
        "20:30/tcp                  ALLOW IN    10.0.0.0/8",
        "22/tcp on eth1             ALLOW IN    Anywhere",
        "203.0.113.9 22/tcp         ALLOW IN    10.0.0.0/8",
        "203.0.113.9                ALLOW IN    10.0.0.0/8",
        "Anywhere on wg0            ALLOW IN    Anywhere",
        "22/tcp (v6)                ALLOW IN    2001:db8::/32",
    ],
)
def test_ssh_stays_open_to_those_who_may_come_in(row):
    assert due(told(row + "\n"))["rules"] == [WEB]


@pytest.mark.parametrize(
    "row",
    [
        "22/tcp                     DENY IN     10.0.0.0/8",
        "22/udp                     ALLOW IN    Anywhere",
        "222/tcp                    ALLOW IN    Anywhere",
        "Anywhere on lo             ALLOW IN    Anywhere",
        "22/tcp                     ALLOW OUT   Anywhere",
        "2000:2300/tcp              ALLOW IN    10.0.0.0/8",
    ],
)
def test_ssh_is_opened_where_no_rule_lets_it_in(row):
    assert SSH in due(told(row + "\n"))["rules"]


def test_a_new_port_of_sshd_is_opened_alone():
    rules = due(told(OURS), [22, 2222])["rules"]
    assert [rule["port"] for rule in rules] == ["2222"]


@pytest.mark.parametrize(
    ("there", "wanted", "level"),
    [
        ("on (full)", "low", "full"),
        ("on (medium)", "high", "high"),
        ("off", "low", "low"),
        ("on (full)", "off", "off"),
    ],
)
def test_the_log_tells_no_less_than_before(there, wanted, level):
    found = due(told(OURS, logging=there), logging=wanted)
    assert found["logging"] == level
    assert found["closed"] == (there in (f"on ({level})", level))


def test_the_level_of_a_firewall_that_is_off_counts():
    assert due("LOGLEVEL=high\nStatus: inactive\n")["logging"] == "high"


@pytest.mark.parametrize(
    ("there", "policy"), [("allow", "deny"), ("deny", "deny"), ("reject", "reject")]
)
def test_an_open_policy_is_closed(there, policy):
    found = due(told(OURS, policy=there))
    assert (found["default"], found["closed"]) == (policy, there == policy)
