"""An authority that was down on the first run, and later does not issue for one name."""

import json
import ssl

import pytest
from certificates import STATUS, TAGS, root, served, serves
from droplets import NAME, eventually, playbook

testinfra_hosts = ["ansible://*-13"]  # where prepare.yml has left it down
ADDRESS = "203.0.113.7"
SECOND, NOWHERE = "second.example.com", "nowhere.example.com"


def test_the_site_comes_up_without_it(host, door):
    assert host.service("pebble").is_running is False
    answer = door.ask("/health/")
    assert answer.status_code == 200
    assert "Strict-Transport-Security" not in answer.headers
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        served(door.address, NAME, host.file("/etc/pebble/ca.pem").content_string)


def test_a_run_says_so_and_does_not_fail(door):
    run = playbook("--limit", door.name, "--tags=certbot")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Not every certificate was issued" in run.stdout
    assert "Connection refused" in run.stdout


def test_the_status_is_an_error(door):
    status = playbook("--limit", door.name, book=STATUS)
    assert status.returncode != 0
    told = status.stdout + status.stderr
    assert "certbot.service: has failed" in told
    assert f"{NAME}: self-signed, where an authority's certificate is wanted" in told


def test_the_timer_heals_it(host, door):
    timer = host.service("certbot.timer")
    assert timer.is_running
    assert timer.is_enabled
    host.check_output("systemctl start pebble.service")
    eventually(lambda: host.socket("tcp://127.0.0.1:14000").is_listening)
    host.check_output("systemctl start certbot.service")  # what the timer does
    believed = root(host)
    eventually(lambda: serves(door.address, NAME, believed))
    answer = door.ask("/health/")
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"
    status = playbook("--limit", door.name, book=STATUS)
    assert "certbot" not in status.stderr
    assert "Pebble" in status.stdout


def test_an_address_has_a_certificate(host, door):
    certificate = served(door.address, ADDRESS, root(host))
    assert certificate["subjectAltName"] == (("IP Address", ADDRESS),)
    assert door.ask("/health/", name=ADDRESS).status_code == 200


@pytest.fixture(scope="module")
def more(host, door):
    """Run site.yml with two more names, for one of which DNS knows no address."""
    nowhere = json.dumps({"host": NOWHERE})
    host.check_output("curl -sfd %s http://127.0.0.1:8055/set-servfail", nowhere)
    names = json.dumps({"molecule_more_names": [NOWHERE, SECOND]})
    return playbook("--limit", door.name, TAGS, "--extra-vars", names)


def test_a_second_name_is_added_beside_one_that_fails(host, door, more):
    assert more.returncode == 0, more.stdout + more.stderr
    assert "Not every certificate was issued" in more.stdout
    believed = root(host)
    for name in (NAME, ADDRESS, SECOND):
        assert name in str(served(door.address, name, believed)["subjectAltName"])
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
        served(door.address, NOWHERE, believed)


def test_the_name_that_fails_is_named(host, door, more):
    assert host.check_output("systemctl is-failed certbot.service") == "failed"
    told = host.check_output("journalctl --output=cat --unit=certbot.service --lines=20")
    assert f"Not issued or not in force: {NOWHERE}\n" in told
    names = json.dumps({"molecule_more_names": [NOWHERE, SECOND]})
    status = playbook("--limit", door.name, "--extra-vars", names, book=STATUS)
    assert status.returncode != 0
    assert f"{NOWHERE}: self-signed, where" in status.stdout + status.stderr
    assert f"{SECOND}: self-signed" not in status.stdout + status.stderr


def test_a_name_is_taken_away(host, door, more):
    run = playbook("--limit", door.name, TAGS)
    assert run.returncode == 0, run.stdout + run.stderr
    assert host.run("systemctl is-failed certbot.service").stdout.strip() == "inactive"
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        served(door.address, SECOND, root(host))
