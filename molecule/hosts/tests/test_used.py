"""A host with sites, databases and data of others, after site.yml was told to share them."""

import json

import pytest
from droplets import APP, PROJECT, ROOT, changed, playbook

testinfra_hosts = ["ansible://used"]
SITE = PROJECT / "site.yml"
BEFORE = ".before-django-stack"


@pytest.fixture
def redis(host):
    """Ask Redis with the password that all programs need now."""

    def ask(command):
        password = f"sed -n 's|^.*redis://:\\([^@]*\\)@.*|\\1|p' /etc/{APP}/environment | head -n 1"
        return host.check_output(f"REDISCLI_AUTH=$({password}) redis-cli {command}")

    return ask


def test_the_data_in_redis_stays_over_two_restarts(host, redis):
    def data():
        asked = ("get wiki:session", "lrange wiki:jobs 0 -1", "-n 3 get wiki:third")
        return tuple(redis(command) for command in asked)

    assert data() == ("alive", "c\nb\na", "yes")
    host.check_output("systemctl restart redis-server")
    assert data() == ("alive", "c\nb\na", "yes")
    assert "NOAUTH" in host.run("redis-cli get wiki:session").stdout


def test_the_databases_of_others_stay(host):
    login = "postgresql://wiki:wikiwikiwiki@127.0.0.1/wiki"
    assert host.check_output(f"psql -tA {login} -c 'SELECT text FROM pages'") == "hello"


def test_the_sites_of_others_stay_beside_ours(door):
    assert door.ask("/", name="wiki.example.org").text == "wiki\n"
    assert door.ask("/", name="unknown.example.org").text == "wiki\n"  # the default server
    assert door.ask("/").status_code == 200


def test_what_was_replaced_is_kept(host):
    assert host.file(f"/etc/redis/redis.conf{BEFORE}").contains("^appendonly no")
    assert host.file(f"/etc/redis/redis.conf{BEFORE}").mode == 0o640
    assert host.file(f"/etc/nginx/nginx.conf{BEFORE}").contains("zone=wiki")
    assert host.file("/etc/nginx/before-django-stack.conf").contains("zone=wiki")


def test_a_second_run_needs_no_word_and_changes_nothing(host):
    words = {f"{role}_take_over": False for role in ("nginx", "postgresql", "redis")}
    run = playbook("--limit=used", f"--extra-vars={json.dumps(words)}", book=SITE)
    assert run.returncode == 0, run.stdout
    assert changed(run.stdout) == ["0"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"app_name": "second"}, f"the application {APP} of this collection"),
        ({"app_root": "/srv/clinic"}, f"{APP} is in {ROOT} on this host"),
    ],
)
def test_the_host_of_an_application_is_no_other_ones(door, given, said):
    run = playbook("--limit=used", f"--extra-vars={json.dumps(given)}", book=SITE)
    told = run.stdout + run.stderr
    assert run.returncode and "Nothing was touched" in told and said in told
    assert door.ask("/").status_code == 200


def test_a_service_of_others_is_not_stopped_when_the_description_has_no_need_of_it(host, redis):
    own = {"DATABASE_URL": f"sqlite:///{ROOT}/shared/media/db.sqlite3"}
    given = {"app_broker": "none", "app_database": "none", "app_environment": own}
    run = playbook("--limit=used", f"--extra-vars={json.dumps(given)}", book=SITE)
    assert run.returncode == 0, run.stdout
    assert host.service("redis-server").is_running and host.service("postgresql").is_running
