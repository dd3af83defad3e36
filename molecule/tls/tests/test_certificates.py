"""HTTPS as clients see it, and a renewal that they do not see."""

import re
import socket
import ssl

import pytest
import requests
from certificates import root, served
from droplets import NAME, eventually
from load import load

CHALLENGES = "/.well-known/acme-challenge"
# Prints the certbot that the script calls.
PROGRAM = r"sed -n 's|^ *\(/.*/bin/certbot\) certonly .*|\1|p' /usr/local/sbin/certbot-issue"
FORMAT = "%{http_version} %{http_code}"


@pytest.fixture(scope="module")
def believed(host):
    return root(host)


@pytest.fixture(scope="module")
def curl(host):
    """Ask for a path from inside, as curl does with some options; return version and status."""

    def ask(*options):
        command = f"curl -sk -o /dev/null -w '{FORMAT}' {' '.join(options)} https://{NAME}/health/"
        return host.check_output(command)

    return ask


@pytest.fixture(scope="module")
def speaks_http3(host):
    return "--with-http_v3_module" in host.run("nginx -V").stderr


def plain(door, path, method="GET", name=NAME):
    return requests.request(
        method,
        f"http://{door.address}{path}",
        headers={"Host": name},
        timeout=10,
        allow_redirects=False,
    )


def test_the_authority_has_issued_it(door, believed):
    certificate = served(door.address, NAME, believed)
    assert certificate["subjectAltName"] == (("DNS", NAME),)


def test_http_leads_to_https(door):
    answer = plain(door, "/api/users/?page=2", "POST")
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"https://{NAME}/api/users/?page=2"
    assert "Strict-Transport-Security" not in answer.headers


def test_the_authority_is_not_led_away(host, door, stamp):
    place = f"/var/www/acme{CHALLENGES}"
    host.check_output("mkdir -p %s && echo %s >%s/%s", place, stamp, place, stamp)
    answer = plain(door, f"{CHALLENGES}/{stamp}")
    assert (answer.status_code, answer.text) == (200, f"{stamp}\n")
    assert plain(door, f"{CHALLENGES}/nothing").status_code == 404
    assert plain(door, "/.well-known/security.txt").status_code == 301


def test_a_name_that_no_site_has_gets_nothing(door, believed):
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        served(door.address, "unknown.example.com", believed)
    with pytest.raises(requests.ConnectionError):
        door.ask("/", headers={"Host": "unknown.example.com"})
    with pytest.raises(requests.ConnectionError):
        plain(door, "/", name="unknown.example.com")


def test_http_2(curl):
    assert curl("--http2") == "2 200"
    assert curl("--http1.1") == "1.1 200"


def test_http_3_where_nginx_has_it(host, door, curl, speaks_http3):
    assert speaks_http3 is (host.system_info.release != "12")
    assert ("Alt-Svc" in door.ask("/health/").headers) is speaks_http3
    listening = host.check_output("ss --no-header --udp --listening --numeric 'sport = :443'")
    assert bool(listening) is speaks_http3
    if speaks_http3:
        assert curl("--http3-only") == "3 200"


def test_old_protocols_are_refused(door):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with (
        pytest.raises((ssl.SSLError, ConnectionResetError)),
        socket.create_connection((door.address, 443), timeout=10) as connection,
    ):
        context.wrap_socket(connection, server_hostname=NAME)


def test_clients_are_told_to_insist_on_it(door):
    for path in ("/health/", "/static/admin/css/base.css", "/nothing"):
        told = door.ask(path).headers["Strict-Transport-Security"]
        assert told == "max-age=63072000", path


def test_the_application_knows(door):
    cookie = door.ask("/admin/login/").headers["Set-Cookie"]
    assert re.search(r"\bcsrftoken=.*; Secure", cookie)


def test_nothing_else_renews(host):
    timers = host.check_output("systemctl list-timers --all --plain --no-legend")
    assert [line for line in timers.splitlines() if "certbot" in line]
    assert len(re.findall(r"certbot\.timer", timers)) == 1
    told = host.check_output("systemctl cat certbot.timer certbot.service")
    assert re.findall(r"^# (/\S+)$", told, re.M) == [
        "/etc/systemd/system/certbot.timer",
        "/etc/systemd/system/certbot.service",
        "/etc/systemd/system/certbot.service.d/50-django_stack-on-failure.conf",
    ]


def test_a_renewal_loses_no_request(host, door, believed, figures):
    before = served(door.address, NAME, believed)["serialNumber"]
    # A reload ends connections that are kept alive, after which clients ask again and wrk does not.
    with load(door.name, f"https://{NAME}/health/", "Connection: close") as seen:
        host.check_output("/usr/local/sbin/certbot-issue --force-renewal")
        after = served(door.address, NAME, believed)["serialNumber"]
    assert after != before
    figures.append(
        {
            "droplet": door.name,
            "requests while it is renewed": f"{seen.requests}",
            "failed": f"{seen.failed}",
            "longest": f"{seen.longest:.0f} ms",
        }
    )
    assert seen.requests > 50
    assert seen.failed == 0


def test_each_renewal_is_served(host, door, believed):
    """The deploy hook belongs to the certificate, whoever has certbot renew it."""
    before = served(door.address, NAME, believed)["serialNumber"]
    program = host.check_output(PROGRAM)
    options = f"--force-renewal --no-random-sleep-on-renew --cert-name {NAME}"
    host.check_output(f"REQUESTS_CA_BUNDLE=/etc/pebble/ca.pem {program} renew {options}")
    eventually(lambda: served(door.address, NAME, believed)["serialNumber"] != before)
