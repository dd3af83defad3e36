"""A certificate of one's own in place of the authority's, and back."""

import json
import subprocess

import pytest
from certificates import TAGS, root, served
from droplets import INVENTORY, NAME, playbook

testinfra_hosts = ["ansible://*-12"]
MAKE = """
openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=own -keyout ca.key -out ca.pem \\
    -addext keyUsage=critical,keyCertSign
openssl req -newkey rsa:2048 -nodes -subj /CN=own -keyout key.pem -out request.pem
printf 'subjectAltName=DNS:{name}\\nauthorityKeyIdentifier=keyid\\n' >extensions
openssl x509 -req -days 9 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions \\
    -in request.pem -out certificate.pem
"""


@pytest.fixture(scope="module")
def own():
    """Make an authority and a certificate on the control machine."""
    place = INVENTORY.parent / "own"
    place.mkdir(exist_ok=True)
    make = MAKE.format(name=NAME)
    subprocess.run(["sh", "-ec", make], cwd=place, check=True, capture_output=True)
    return place


def run(door, place, key):
    values = {
        "app_certificate": "files",
        "certificate_file": str(place / "certificate.pem"),
        "certificate_key_file": str(place / key),
    }
    return playbook("--limit", door.name, TAGS, "--extra-vars", json.dumps(values))


def test_a_key_that_does_not_fit_is_refused(host, door, own):
    refused = run(door, own, "ca.key")
    assert refused.returncode != 0
    assert "certificate_key_file is not the key of certificate_file" in (
        refused.stdout + refused.stderr
    )
    assert served(door.address, NAME, root(host))


def test_it_is_served_and_nothing_is_renewed(host, door, own):
    done = run(door, own, "key.pem")
    assert done.returncode == 0, done.stdout + done.stderr
    assert served(door.address, NAME, (own / "ca.pem").read_text())
    assert "Strict-Transport-Security" in door.ask("/health/").headers
    assert not host.service("certbot.timer").is_running
    key = host.file("/etc/ssl/psychology_clinic/psychology_clinic/privkey.pem")
    assert (key.user, key.mode) == ("root", 0o600)


def test_the_authoritys_comes_back(host, door):
    done = playbook("--limit", door.name, TAGS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert served(door.address, NAME, root(host))
    assert host.service("certbot.timer").is_running
