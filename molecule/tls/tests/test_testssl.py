"""testssl.sh on the whole of it: protocols, ciphers, certificate, headers, known weaknesses."""

import json

from certificates import root
from droplets import NAME

testinfra_hosts = ["ansible://*-13"]
REPORT = "/tmp/testssl.json"
# What it finds that is as it should be, and why.
CHOSEN: dict[str, str] = {}


def test_nothing_is_worse_than_chosen(host):
    host.check_output("printf %%s %s >/run/root.pem", root(host))
    host.check_output("rm -f %s", REPORT)
    options = "--quiet --color 0 --warnings off --severity MEDIUM --add-ca /run/root.pem"
    host.run(f"testssl {options} --jsonfile {REPORT} {NAME}:443")
    found = json.loads(host.file(REPORT).content_string)
    worse = {each["id"]: each["finding"] for each in found if each["id"] not in CHOSEN}
    assert worse == {}
