"""The roles that serve: each in a play of its own, one after the other on one droplet."""

import json
import socket
import ssl
import struct
from pathlib import Path

import pytest
import requests
from certificates import serves
from droplets import changed, eventually
from websockets import TEXT, WebSocket

testinfra_hosts = ["ansible://*-13"]
# The plays of gunicorn and of celery_beat have all that those of app and celery_worker have.
PLAYS = {
    "django": [
        "ca_certificates", "postgresql", "redis", "rabbitmq", "gunicorn", "celery_beat",
        "processes", "certificate", "nginx", "sites", "exporters",
    ],
}  # fmt: skip
SOCKET = "/var/www/shop/gunicorn.sock"


@pytest.fixture(scope="module", autouse=True)
def node(host):
    """Have a program of Node.js that listens on the port of the examples, and what asks it."""
    host.check_output("apt-get -qq install -y --no-install-recommends curl nodejs >/dev/null")
    host.check_output("mkdir -p /srv/shop/assets; echo asset >/srv/shop/assets/a.txt")
    program = Path(__file__).with_name("chat.js").read_text()
    host.check_output("printf %%s %s >/srv/shop/chat.js", program)
    host.check_output("systemd-run --unit=chat node /srv/shop/chat.js")


def test_a_second_run_changes_nothing(again):
    assert changed(again) == ["0"] * sum(map(len, PLAYS.values())), again


def test_the_authority_of_the_company_is_trusted(host):
    certificate = "/usr/local/share/ca-certificates/company-ca.crt"
    told = host.run(f"openssl verify -CApath /etc/ssl/certs {certificate}")
    assert told.stdout.strip().endswith(": OK"), told.stdout + told.stderr


def test_each_database_has_its_roles(host):
    def ask(role, password, database, query):
        url = f"postgresql://{role}@127.0.0.1/{database}"
        return host.run(f"PGPASSWORD='{password}' psql -XtA {url} -c %s", query)

    wiki = "password-of-the-wiki"
    assert ask("wiki", wiki, "wiki", "SELECT similarity('a', 'a')").stdout.strip() == "1"
    assert "permission denied" in ask("wiki", wiki, "shop", "SELECT 1").stderr
    made = ask("shop", "password-of-the-shop", "shop", "CREATE TABLE t (i int)")
    assert "permission denied" in made.stderr


def greeted(address, user, database, secure):
    """Return the first answer of PostgreSQL to a client on another machine."""
    body = f"user\0{user}\0database\0{database}\0\0".encode()
    with socket.create_connection((address, 5432), timeout=10) as plain:
        connection = plain
        if secure:
            plain.sendall(struct.pack("!ii", 8, 80877103))  # SSLRequest
            assert plain.recv(1) == b"S"
            connection = ssl._create_unverified_context().wrap_socket(plain)
        connection.sendall(struct.pack("!ii", 8 + len(body), 3 << 16) + body)
        return connection.recv(1000).decode(errors="replace")


def test_another_host_reaches_its_database_with_tls_and_no_other(door):
    assert "SCRAM-SHA-256" in greeted(door.address, "shop", "shop", secure=True)
    assert "no pg_hba.conf entry" in greeted(door.address, "shop", "shop", secure=False)
    assert "no pg_hba.conf entry" in greeted(door.address, "wiki", "wiki", secure=True)


def test_redis_and_rabbitmq_ask_for_their_passwords(host):
    assert "NOAUTH" in host.run("redis-cli ping").stdout
    assert host.check_output("REDISCLI_AUTH=password-of-redis redis-cli ping") == "PONG"
    login = "rabbitmqctl --quiet authenticate_user shop '%s'"
    assert host.run(login, "password-of-rabbitmq").rc == 0
    assert host.run(login, "another").rc != 0


def test_beat_a_worker_and_gunicorn_do_their_work(host):
    def counted():
        ask = f"curl -sS --unix-socket {SOCKET} -H 'Host: shop.example.com' http://shop/"
        return json.loads(host.check_output(ask))["counted"]

    before = counted()
    eventually(lambda: counted() > before + 2)


def test_further_processes_run(host):
    assert host.service("shop-listen").is_running
    host.check_output("systemctl start shop-clearsessions.service")
    assert "shop-clearsessions.timer" in host.check_output("systemctl list-timers")


def test_nginx_serves_files_and_passes_on_the_rest(door):
    assert door.ask("/", name="shop.example.com").text == "node shop.example.com"
    assert door.ask("/assets/a.txt", name="shop.example.com").text == "asset\n"
    moved = door.ask("/a?b=c", name="www.shop.example.com")
    assert moved.headers["Location"] == "http://shop.example.com/a?b=c"


def test_a_websocket_passes(door):
    chat = WebSocket(door.address, "chat.example.org")
    chat.send("hello")
    assert chat.receive() == (TEXT, b"hello")
    moved = door.ask("/", name="www.chat.example.org")
    assert moved.headers["Location"] == "http://chat.example.org/"


def test_a_site_with_tls_and_one_without_are_neighbours(host, door):
    own = host.file("/etc/ssl/sites/secure/fullchain.pem").content_string
    assert serves(door.address, "secure.example.org", own)
    assert not serves(door.address, "chat.example.org", own)
    told = host.check_output(
        "curl -sk --resolve secure.example.org:443:127.0.0.1 -w ' %{http_version}' "
        "https://secure.example.org/"
    )
    assert told == "node secure.example.org 2"
    moved = door.ask("/", name="secure.example.org")
    assert moved.headers["Location"] == "https://secure.example.org/"
    with pytest.raises(requests.ConnectionError):
        door.ask("/", name="unknown.example.org")


def test_the_exporters_tell_figures(host):
    for port, figure in {9100: "node_load1", 9113: "nginx_connections_accepted"}.items():
        assert figure in host.check_output(f"curl -sS http://127.0.0.1:{port}/metrics")
