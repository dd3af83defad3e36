"""What nginx keeps from the application, floods and slow clients, and what it tells a stranger."""

import re
import socket
import time
from contextlib import ExitStack, closing, suppress
from html.parser import HTMLParser

import pytest
from droplets import NAME
from observatory import scan
from probes import connect, exchange, logged, raw, weaknesses

SLOW = 300  # clients that never finish their first line
PATIENCE = 15  # s, nginx's client_header_timeout
HALF_SENT = 4400  # requests of one client, each on a connection of its own
OPEN = 500  # nginx_tcp_connection_limit
OTHERS = f"""
import ssl
from http.client import HTTPSConnection

answered = 0
for _ in range(50):
    asked = HTTPSConnection({NAME!r}, timeout=5, context=ssl._create_unverified_context())
    asked.request("GET", "/health/")
    answered += asked.getresponse().status == 200
print(answered, "answered")
"""


def figure(figures, what, door, seen):
    figures.append({"what": what, "droplet": door.name, "seen": seen})


@pytest.fixture(scope="module")
def slow(door):
    """Clients that begin a request and never end it, and when they began."""
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(door))) for _ in range(SLOW)]
        for client in clients:
            client.sendall(b"GET / HT")
        yield clients, time.monotonic()


def test_the_site_answers_beside_slow_clients(door, slow, figures):
    begun = time.monotonic()
    assert [door.ask(path).status_code for path in ("/", "/api/users/", "/health/")] == [200] * 3
    seconds = time.monotonic() - begun
    assert seconds < 5
    figure(figures, f"3 pages beside {SLOW} slow clients", door, f"{seconds * 1000:.0f} ms")


def test_a_flood_of_logins_is_slowed_and_nobody_else(door, figures):
    answers = [door.ask("/admin/login/") for _ in range(45)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert len(refused) >= 20
    assert {answer.headers["Retry-After"] for answer in refused} == {"5"}
    assert "Retry-After" not in answers[0].headers
    for path in ("/", "/api/users/", "/health/", "/admin/", "/static/admin/css/base.css"):
        assert door.ask(path).status_code in (200, 302), path
    figure(figures, "45 logins at once", door, f"{len(refused)} refused")


# After that flood one login is let through every 5 s, so of a few at once most are refused.


@pytest.mark.parametrize("path", ["/admin/%6cogin/", "/admin/x/../login/", "/./admin/login/"])
def test_a_login_by_another_spelling_is_one(door, path):
    answers = [exchange(door, raw(path, Connection="close")) for _ in range(4)]
    assert any(answer.startswith("HTTP/1.1 429") for answer in answers)


def test_a_strangers_word_about_its_address_counts_for_nothing(door, host, stamp):
    forged = [f"198.51.100.{number}" for number in range(4)]
    assert 429 in [
        door.ask("/admin/login/", headers={"X-Forwarded-For": it, "X-Real-IP": it}).status_code
        for it in forged
    ]
    forged = {
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Protocol": "ssl",
        "X-Forwarded-Ssl": "off",
    }
    told = door.ask("/api/status/", headers=forged).json()["request"]
    assert told["scheme"] == door.url.partition(":")[0]
    door.ask(f"/none-{stamp}/", headers={"X-Forwarded-For": "198.51.100.7"})
    assert not logged(host, stamp).startswith("198.51.100.7 ")


def test_another_name_in_the_host_header_reaches_nobody(door):
    """A name in the request line is what nginx goes by, so the application must get that one."""
    line = f"GET {door.url.partition(':')[0]}://{NAME}/api/status/ HTTP/1.1\r\n"
    sent = f"{line}Host: unknown.example:8000\r\nConnection: close\r\n\r\n".encode()
    assert f'"host": "{NAME}:8000"' in exchange(door, sent)


@pytest.mark.parametrize(
    "sent",
    [
        raw("/", Connection="close"),
        raw("/static/none.css", Connection="close"),
        raw("/%zz", Connection="close"),
        raw("/admin/login/", Connection="close"),
    ],
    ids=["page", "missing", "malformed", "refused"],
)
def test_no_answer_names_a_version(door, sent):
    head, _, body = exchange(door, sent).partition("\r\n\r\n")
    assert re.findall(r"(?im)^(server|x-powered-by|via): *(.*?)\r?$", head) == [("Server", "nginx")]
    assert not re.search(r"(?i)(nginx|gunicorn|django|python)/[0-9]", body)


class Inline(HTMLParser):
    """Collects what a policy without 'unsafe-inline' and other hosts forbids."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given):
            # JSON in a script element is data.
            if given.get("type") != "application/json":
                self.found.append(tag)
        self.found += [name for name in given if name == "style" or name.startswith("on")]
        links = [given.get("src"), given.get("href") if tag == "link" else None]
        self.found += [link for link in links if link and not re.match("/[^/]", link)]


PAGES = ["/", "/admin/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/password_change/"]
PAGES += ["/admin/clinic/appointment/", "/admin/clinic/appointment/add/"]


@pytest.fixture(scope="module")
def staff(host):
    """A cookie of somebody who may see the admin."""
    code = (
        "from django.contrib.auth.models import User; from django.test import Client; "
        "user, _ = User.objects.get_or_create(username='staff', is_staff=1, is_superuser=1); "
        "client = Client(); client.force_login(user); print(client.cookies['sessionid'].value)"
    )
    return host.check_output("psychology_clinic-manage shell -c %s", code).split()[-1]


@pytest.mark.parametrize("path", PAGES)
def test_pages_need_nothing_that_the_policy_forbids(door, staff, path):
    page = door.ask(path, headers={"Cookie": f"sessionid={staff}"})
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    reader = Inline()
    reader.feed(page.text)
    assert reader.found == []


def test_gixy_finds_nothing(door, host, tmp_path, figures):
    found = weaknesses(host, tmp_path / "nginx.conf")
    figure(figures, "gixy", door, ", ".join(f"{len(v)} {k}" for k, v in found.items()))
    assert found["HIGH"] == found["MEDIUM"] == []
    spoil = (r"Host \$host\S*;", "Host $http_host;")
    assert weaknesses(host, tmp_path / "spoiled.conf", spoil)["MEDIUM"] == ["host_spoofing"]


def test_the_observatory_gives_an_a_plus(door, figures, observatory):
    told = scan(observatory.result(), door.address)
    lost = {name: test["result"] for name, test in told["tests"].items() if not test["pass"]}
    seen = told["scan"]
    figure(figures, "HTTP Observatory", door, f"{seen['grade']} {seen['score']}")
    assert (seen["statusCode"], lost) == (200, {})
    assert seen["grade"] == "A+"
    assert seen["score"] >= 115


def test_half_sent_requests_of_one_client_leave_room_for_others(host, door, figures):
    """The others ask from the droplet itself, by an address that is not counted."""
    with ExitStack() as stack:
        held = 0
        for _ in range(HALF_SENT):
            with suppress(OSError):
                client = socket.create_connection((door.address, 80), timeout=5)
                stack.enter_context(closing(client)).sendall(b"GET / HT")
                held += 1
        assert 0 < held <= OPEN
        with pytest.raises(ConnectionError):
            socket.create_connection((door.address, 443), timeout=5)
        told = host.check_output("python3 -c %s", OTHERS)
    assert told == "50 answered"
    figure(figures, f"{HALF_SENT} half-sent requests", door, f"{held} held; others: {told}")


def test_slow_clients_are_cut(slow):
    clients, begun = slow
    for client in clients:
        client.settimeout(max(0.01, begun + PATIENCE + 5 - time.monotonic()))
        with suppress(ConnectionResetError):
            assert client.recv(1000) == b""
