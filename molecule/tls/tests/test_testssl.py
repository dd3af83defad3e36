"""testssl.sh on the whole of it: protocols, ciphers, certificate, headers, known weaknesses."""

import json

from certificates import root
from droplets import NAME

testinfra_hosts = ["ansible://*-13"]
REPORT = "/tmp/testssl.json"
# What it finds that is as it should be, and why.
CHOSEN = {
    # The guideline says nothing of compression, and Django masks its CSRF tokens anew each time.
    "BREACH": "gzip, which pages are sent with",
    # Not nginx's doing, but that of the authority of these tests.
    "cert_expirationStatus": "Pebble issues for 160 hours, as Let's Encrypt's shortlived profile",
    "cert_notAfter": "as above",
    "cert_revocation": "Pebble names neither CRL nor OCSP; Let's Encrypt names a CRL",
}
# All that it checks by default, except the simulation of clients, whose results have no severity.
CHECKS = (
    "--protocols --categories --server-preference --forward-secrecy --server-defaults --headers "
    "--vulnerable"
)
WORSE = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}


def test_nothing_is_worse_than_chosen(host):
    host.check_output("printf %%s %s >/run/root.pem", root(host))
    host.check_output("rm -f %s", REPORT)
    options = "--quiet --color 0 --warnings off --severity MEDIUM --add-ca /run/root.pem"
    host.run(f"testssl {options} {CHECKS} --jsonfile {REPORT} {NAME}:443")
    found = json.loads(host.file(REPORT).content_string)
    worse = {each["id"]: each["finding"] for each in found if each["severity"] in WORSE}
    assert "cert_revocation" in worse  # it has looked
    assert {name: told for name, told in worse.items() if name not in CHOSEN} == {}
