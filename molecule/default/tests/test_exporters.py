"""What a Prometheus on the host reads, on the droplet that has exporters."""

import re

import pytest
from droplets import eventually

testinfra_hosts = ["ansible://*-12"]
SHOWN = {9100: "node_load1 ", 9113: "nginx_up 1", 9187: "pg_up 1", 9121: "redis_up 1"}
# What asks for the metrics without a package.
ASK = """python3 -c "
import sys, urllib.request as u
print(u.urlopen('http://127.0.0.1:' + sys.argv[1] + '/metrics').read().decode())" %s"""


@pytest.mark.parametrize("port", SHOWN)
def test_an_exporter_reaches_its_service_and_is_reached_from_the_host_only(host, port):
    eventually(lambda: f"\n{SHOWN[port]}" in host.check_output(ASK, str(port)))
    listening = host.check_output(f"ss --no-header -ltn sport = :{port}").splitlines()
    assert [line.split()[3] for line in listening] == [f"127.0.0.1:{port}"]


def test_no_password_of_an_exporter_is_in_a_process_list(host):
    file = "/etc/django_stack/exporters/prometheus-redis-exporter"
    password = re.search('REDIS_PASSWORD="?([^"\n]+)', host.check_output("cat %s", file))[1]
    assert password not in host.check_output("ps auxww")
