"""What nginx keeps from the application: floods, slow clients, forged addresses, strangers."""

import base64
import json
import re
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, closing
from html.parser import HTMLParser

import pytest
from droplets import NAME, eventually, playbook
from observatory import scan

SLOW = 300  # clients that never finish their first line
PATIENCE = 15  # s, nginx's client_header_timeout
GATE = {"ada": 'it\'s "$y" a: password'}
CONNECTIONS = 20
ACME = "/.well-known/acme-challenge/"


def connect(door):
    """Return a connection that a test may send anything through."""
    secure = door.url.startswith("https")
    connection = socket.create_connection((door.address, 443 if secure else 80), timeout=30)
    if secure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection, server_hostname=NAME)
    return connection


def raw(path, method="GET", **headers):
    """Return a request as it goes over the wire; requests would tidy the path up."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {NAME}", *lines, "\r\n"]).encode()


def exchange(door, sent):
    """Return the whole answer to some bytes."""
    with closing(connect(door)) as connection:
        connection.sendall(sent)
        return connection.makefile("rb").read().decode(errors="replace")


def statuses(door, path, times, **headers):
    return [
        door.ask(path, headers={k: v.format(n) for k, v in headers.items()}).status_code
        for n in range(times)
    ]


def logged(host, stamp):
    """Return the line of the log about a path that nobody else asks for."""
    return eventually(
        lambda: host.run(f"grep none-{stamp} /var/log/nginx/access.log").stdout.splitlines()
    )


def figure(figures, what, door, seen):
    figures.append({"what": what, "droplet": door.name, "seen": seen})


def weaknesses(configuration, path):
    """Return what gixy says of the text that `nginx -T` prints, by severity."""
    path.write_text(configuration)
    told = subprocess.run(["gixy", "--format=json", path], capture_output=True, text=True)
    found = {"HIGH": [], "MEDIUM": [], "LOW": []}
    for issue in json.loads(told.stdout):
        found.setdefault(issue["severity"], []).append(issue["plugin"])
    return found


# --- As it is installed -------------------------------------------------------------------------


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
    assert seconds < 2
    figure(figures, f"3 pages beside {SLOW} slow clients", door, f"{seconds * 1000:.0f} ms")


def test_a_flood_of_logins_is_slowed_and_nobody_else(door, figures):
    answers = [door.ask("/admin/login/") for _ in range(60)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert len(refused) >= 30
    assert {answer.headers["Retry-After"] for answer in refused} == {"5"}
    assert "Retry-After" not in answers[0].headers
    for path in ("/", "/api/users/", "/health/", "/admin/", "/static/admin/css/base.css"):
        assert door.ask(path).status_code in (200, 302), path
    figure(figures, "60 logins at once", door, f"{len(refused)} refused")


def test_a_login_by_another_spelling_is_one(door):
    for path in ("/admin/%6cogin/", "/admin/x/../login/", "/./admin/login/"):
        assert exchange(door, raw(path, Connection="close")).startswith("HTTP/1.1 429"), path


def test_a_strangers_word_about_its_address_counts_for_nothing(door, host, stamp):
    forged = {"X-Forwarded-For": "198.51.100.{}", "X-Real-IP": "198.51.100.{}"}
    assert set(statuses(door, "/admin/login/", 5, **forged)) == {429}
    told = door.ask("/api/status/", headers={"X-Forwarded-Proto": "gopher"}).json()["request"]
    assert told["scheme"] == door.url.partition(":")[0]
    door.ask(f"/none-{stamp}/", headers={"X-Forwarded-For": "198.51.100.7"})
    (line,) = logged(host, stamp)
    assert not line.startswith("198.51.100.7 ")


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
        raw("/", Content_Length="99999999", Connection="close"),
    ],
    ids=["page", "missing", "malformed", "refused", "too large"],
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
        self.found += [link for link in links if link and not link.startswith("/static/")]


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
    configuration = host.check_output("nginx -T 2>/dev/null")
    found = weaknesses(configuration, tmp_path / "nginx.conf")
    figure(figures, "gixy", door, ", ".join(f"{len(v)} {k}" for k, v in found.items()))
    assert found["HIGH"] == found["MEDIUM"] == []
    spoiled = configuration.replace("Host $host$", "Host $http_host$")
    assert weaknesses(spoiled, tmp_path / "spoiled.conf")["MEDIUM"] == ["host_spoofing"]


def test_the_observatory_gives_an_a_plus(door, figures):
    told = scan(door.address)
    lost = {name: test["result"] for name, test in told["tests"].items() if not test["pass"]}
    seen = told["scan"]
    figure(figures, "HTTP Observatory", door, f"{seen['grade']} {seen['score']}")
    assert lost == {}
    assert seen["grade"] == "A+"
    assert seen["score"] >= 115


def test_slow_clients_are_cut(door, slow, figures):
    clients, begun = slow
    for client in clients:
        client.settimeout(max(0.01, begun + PATIENCE + 5 - time.monotonic()))
        assert client.recv(1000) == b""
    seconds = time.monotonic() - begun
    figure(figures, f"{SLOW} slow clients cut", door, f"after {seconds:.0f} s")


# --- Behind a proxy, with a password before the admin --------------------------------------------


@pytest.fixture(scope="module")
def proxied(door):
    """This machine is a proxy of the droplet's, and the admin asks for a password; for a while."""
    nginx = ["--tags=nginx", f"--limit={door.name}", "--diff"]
    with closing(connect(door)) as connection:
        given = {
            "nginx_real_ip_from": [connection.getsockname()[0]],
            "nginx_basic_auth_users": GATE,
            "nginx_basic_auth_paths": ["/admin/", "/health/"],
            "nginx_connection_limit": CONNECTIONS,
        }
    run = playbook(*nginx, f"--extra-vars={json.dumps(given)}")
    assert run.returncode == 0, run.stdout + run.stderr
    yield run.stdout + run.stderr
    run = playbook(*nginx)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_listed_proxy_is_believed(door, host, proxied, stamp):
    chain = {"X-Forwarded-For": "198.51.100.7, 203.0.113.99"}  # the first is what a visitor claimed
    door.ask(f"/none-{stamp}/", headers=chain)
    (line,) = logged(host, stamp)
    assert line.startswith("203.0.113.99 ")
    for scheme in ("https", "http"):
        told = door.ask("/api/status/", headers={"X-Forwarded-Proto": scheme}).json()
        assert told["request"]["scheme"] == scheme


def test_visitors_behind_a_proxy_are_counted_apart(door, proxied):
    one, other = "203.0.113.50", "203.0.113.51"
    assert 429 in statuses(door, "/login/", 40, **{"X-Forwarded-For": one})
    assert statuses(door, "/login/", 1, **{"X-Forwarded-For": other}) == [404]


def test_a_customers_ipv6_addresses_are_counted_together(door, proxied):
    answers = statuses(door, "/login/", 40, **{"X-Forwarded-For": "2001:db8:1:2::{}"})
    assert 429 in answers
    assert statuses(door, "/login/", 1, **{"X-Forwarded-For": "2001:db8:1:3::1"}) == [404]


def test_one_address_cannot_take_all_connections(door, proxied):
    body = {"Content_Length": 10, "Content_Type": "application/json"}  # which never comes
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(door))) for _ in range(CONNECTIONS + 10)]
        for client in clients:
            client.sendall(raw("/api/users/", "POST", X_Forwarded_For="203.0.113.60", **body))
        refused = 0
        for client in clients:
            client.settimeout(0.1 if refused < 10 else 0.01)
            try:
                refused += client.recv(1000).startswith(b"HTTP/1.1 429")
            except TimeoutError:
                pass
        assert refused == 10
        assert statuses(door, "/health/", 1, **{"X-Forwarded-For": "203.0.113.61"}) == [401]
        assert statuses(door, "/api/users/", 1, **{"X-Forwarded-For": "203.0.113.61"}) == [200]


def test_the_gate_asks_for_the_password(door, proxied):
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
    assert door.ask(f"{ACME}none").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/%61dmin/", "//admin/", "/./admin/", "/x/../admin/", "/admin/%2e%2e/x/", "/%61dmin/.%2E/x/"],
)
def test_no_spelling_leads_around_the_gate(door, proxied, path):
    assert exchange(door, raw(path, Connection="close")).startswith("HTTP/1.1 401")


def test_the_password_is_nobody_elses(door, host, proxied):
    ((name, password),) = GATE.items()
    assert password not in proxied
    passwords = host.file("/etc/nginx/psychology_clinic.htpasswd")
    assert (passwords.user, passwords.group, passwords.mode) == ("root", "www-data", 0o640)
    assert password not in passwords.content_string
    assert re.search(rf"^{name}:\$6\$", passwords.content_string, re.M)
    assert "$6$" not in proxied


def test_gixy_finds_nothing_there_either(door, host, proxied, tmp_path):
    found = weaknesses(host.check_output("nginx -T 2>/dev/null"), tmp_path / "nginx.conf")
    assert found["HIGH"] == found["MEDIUM"] == []
