"""A project of Flask, a Celery worker without a site, and a certificate for Apache."""

import json
import re

import pytest
from certificates import root, served
from droplets import PROJECT, changed, eventually

testinfra_hosts = ["ansible://*-12"]
PLAYS = {
    "": ["ca_certificates", "postgresql", "redis"],
    "flask": ["gunicorn.flask"],
    "reports": ["celery_worker.alone"],
    "apache": ["certbot"],
}
NAME = "shop.example.com"
CERTBOT = PROJECT / "examples" / "roles" / "certbot.yml"
SECURE = f"""
Listen 443
<VirtualHost *:443>
    ServerName {NAME}
    SSLEngine on
    SSLCertificateFile /etc/ssl/sites/{NAME}/fullchain.pem
    SSLCertificateKeyFile /etc/ssl/sites/{NAME}/privkey.pem
</VirtualHost>
"""


def configure(host, name, text):
    """Have Apache read a configuration."""
    host.check_output(f"printf %%s %s >/etc/apache2/conf-enabled/{name}.conf", text)
    host.check_output("apache2ctl configtest && systemctl reload apache2")


@pytest.fixture(scope="module", autouse=True)
def apache(host):
    """Have an Apache that its owner has configured as the example of certbot tells."""
    host.check_output("apt-get -qq install -y --no-install-recommends apache2 curl >/dev/null")
    host.check_output("a2enmod --quiet ssl && rm /etc/apache2/ports.conf && touch $_")
    told = re.findall(r"^#   (.*)", CERTBOT.read_text(), re.MULTILINE)
    configure(host, "site", "\n".join(["Listen 80", *told, ""]))


def test_a_second_run_changes_nothing(again):
    assert changed(again) == ["0"] * sum(map(len, PLAYS.values())), again


def test_flask_answers_from_the_tables_of_its_migration(host):
    ask = f"curl -sS --unix-socket /var/www/shop/gunicorn.sock -H 'Host: {NAME}' http://shop/health"
    assert json.loads(host.check_output(ask)) == {"goods": 1, "user": "shop"}


def test_the_worker_does_a_task(host):
    host.check_output("reports-run celery --app=reports.tasks call reports.tasks.count")
    counted = "REDISCLI_AUTH=password-of-redis redis-cli get reports"
    eventually(lambda: host.check_output(counted) == "1")


def test_apache_serves_the_certificate_and_its_renewal(host, door):
    configure(host, "secure", SECURE)
    first = served(door.address, NAME, root(host))
    assert first["subjectAltName"] == (("DNS", NAME),)
    host.check_output("/usr/local/sbin/certbot-issue --force-renewal")
    serial = first["serialNumber"]
    eventually(lambda: served(door.address, NAME, root(host))["serialNumber"] != serial)
