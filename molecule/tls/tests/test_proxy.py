"""Behind a proxy that is listed, and with a password before a part of the site."""

import base64
import json
import re
from contextlib import ExitStack, closing, suppress

import pytest
import requests
from droplets import NAME, eventually, playbook
from probes import connect, exchange, logged, raw, weaknesses

GATE = {"ada": 'it\'s "$y" a: password'}
CONNECTIONS = 20
GIVEN = {
    "nginx_real_ip_from": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],  # this machine
    "nginx_connection_limit": CONNECTIONS,
    "nginx_basic_auth_users": GATE,
    "nginx_basic_auth_paths": ["/admin/", "/health/"],
}


@pytest.fixture(scope="module", autouse=True)
def told():
    """Have all droplets so for the tests of this file; what the run printed."""
    run = playbook("--tags=nginx", "--diff", f"--extra-vars={json.dumps(GIVEN)}")
    assert run.returncode == 0, run.stdout + run.stderr
    yield run.stdout + run.stderr
    run = playbook("--tags=nginx")
    assert run.returncode == 0, run.stdout + run.stderr


def statuses(door, path, visitor, times=1):
    """Return what a visitor is answered; a number in the address makes it a new one each time."""
    return [
        door.ask(path, headers={"X-Forwarded-For": visitor.format(number)}).status_code
        for number in range(times)
    ]


def test_a_listed_proxy_is_believed(door, host, stamp):
    chain = {"X-Forwarded-For": "198.51.100.7, 203.0.113.99"}  # the first is what a visitor claimed
    door.ask(f"/none-{stamp}/", headers=chain)
    assert logged(host, stamp).startswith("203.0.113.99 ")
    for scheme in ("https", "http"):
        told = door.ask("/api/status/", headers=chain | {"X-Forwarded-Proto": scheme}).json()
        assert told["request"]["scheme"] == scheme
        assert told["request"]["visitor"] == "203.0.113.99"


def test_port_80_serves_a_proxy_that_has_ended_tls(door):
    def plain(scheme, path="/api/status/"):
        return requests.get(
            f"http://{door.address}{path}",
            headers={"Host": NAME, "X-Forwarded-Proto": scheme, "X-Forwarded-For": "203.0.113.98"},
            timeout=10,
            allow_redirects=False,
        )

    answer = plain("https")
    assert (answer.status_code, answer.json()["request"]["scheme"]) == (200, "https")
    assert "Strict-Transport-Security" not in answer.headers
    for scheme in ("http", ""):
        answer = plain(scheme, "/x/?y=1")
        assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{NAME}/x/?y=1")
    assert plain("http", "/.well-known/acme-challenge/none").status_code == 404


def test_visitors_behind_a_proxy_are_counted_apart(door):
    one, other = "203.0.113.50", "203.0.113.51"
    assert 429 in statuses(door, "/login/", one, times=40)
    assert statuses(door, "/login/", other) == [404]


@pytest.mark.parametrize(
    ("visitors", "another"),
    [
        ("2001:db8:1:2::{}", "2001:db8:1:3::1"),
        ("2001:db8::{}", "2001:db8:0:1::1"),
        ("2001:db8:1::5:{}:1", "2001:db8:1:5::1"),
        ("::ffff:203.0.113.80", "::ffff:203.0.113.81"),
    ],
)
def test_a_customers_ipv6_addresses_are_counted_together(door, visitors, another):
    assert 429 in statuses(door, "/login/", visitors, times=40)
    assert statuses(door, "/login/", another) == [404]


def test_one_address_cannot_take_all_connections(door):
    body = {"Content_Length": 10, "Content_Type": "application/json"}  # which never comes
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(door))) for _ in range(CONNECTIONS + 10)]
        for client in clients:
            client.sendall(raw("/api/users/", "POST", X_Forwarded_For="203.0.113.60", **body))
        answers = {}

        def refused():
            for client in clients:
                if client not in answers:
                    client.settimeout(0.02)
                    with suppress(TimeoutError):
                        answers[client] = client.recv(12)
            return len(answers) >= 10

        eventually(refused)
        assert set(answers.values()) == {b"HTTP/1.1 429"}
        assert statuses(door, "/api/users/", "203.0.113.61") == [200]


def test_the_gate_asks_for_the_password(door):
    visitor = {"X-Forwarded-For": "203.0.113.70"}
    stranger = door.ask("/admin/login/", headers=visitor)
    assert stranger.status_code == 401
    assert stranger.headers["WWW-Authenticate"] == 'Basic realm="psychology_clinic"'
    for password, status in (("wrong", 401), (GATE["ada"], 200)):
        word = base64.b64encode(f"ada:{password}".encode()).decode()
        for path in ("/admin/login/", "/health/"):
            answer = door.ask(path, headers=visitor | {"Authorization": f"Basic {word}"})
            assert answer.status_code == status, path
    assert door.ask("/").status_code == 200
    assert door.ask("/.well-known/acme-challenge/none").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/%61dmin/", "//admin/", "/./admin/", "/x/../admin/", "/admin/%2e%2e/x/", "/%61dmin/.%2E/x/"],
)
def test_no_spelling_leads_around_the_gate(door, path):
    assert exchange(door, raw(path, Connection="close")).startswith("HTTP/1.1 401")


def test_the_password_is_nobody_elses(host, told):
    ((name, password),) = GATE.items()
    assert password not in told
    passwords = host.file("/etc/nginx/psychology_clinic.htpasswd")
    assert (passwords.user, passwords.group, passwords.mode) == ("root", "www-data", 0o640)
    assert password not in passwords.content_string
    assert re.search(rf"^{name}:\$6\$", passwords.content_string, re.M)
    assert "$6$" not in told


def test_gixy_finds_nothing_there_either(host, tmp_path):
    found = weaknesses(host, tmp_path / "nginx.conf")
    assert found["HIGH"] == found["MEDIUM"] == []
