"""Runs of site.yml on a converged droplet: what they change, refuse and repair."""

import json
import re

import pytest
from droplets import PROJECT, changed, playbook, playbook_process

testinfra_hosts = ["ansible://*-12"]  # nothing here depends on the distribution
LIMIT = "--limit=*-12"


@pytest.fixture(scope="module")
def answers(host, door):
    """Tell whether the site answers, and with what nginx has been running since."""

    def told():
        process = host.check_output("systemctl show --property=MainPID --value nginx")
        return door.ask("/health/").status_code, process

    return told


CHANGE = {"gunicorn_threads": 7}


@pytest.fixture(scope="session")
def checked():
    return playbook(LIMIT, "--check", "--diff")


@pytest.fixture(scope="session")
def refused():
    return playbook(LIMIT, "--extra-vars", json.dumps({"redis_port": 70000}))


@pytest.fixture(scope="session")
def cut_off():
    """Kill a run, which nothing can tidy up after, while it has a change to make."""
    with playbook_process(LIMIT, "--extra-vars", json.dumps(CHANGE)) as run:
        for line in run.stdout:
            if line.startswith("  gunicorn"):  # installed, and not in force before the end
                run.kill()
                break
    assert run.returncode, "the run came to its end before it was cut off"


@pytest.fixture(scope="session")
def broken():
    settings = {"nginx_server_settings": {"client_max_body_sise": "1m"}}  # misspelled
    return playbook(LIMIT, "--tags", "nginx", "--extra-vars", json.dumps(settings))


@pytest.fixture(scope="session")
def repaired(broken, cut_off):
    assert broken.returncode
    return playbook(LIMIT, "--extra-vars", json.dumps(CHANGE))


def test_check_mode_finds_nothing_to_change(checked):
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert set(changed(checked.stdout)) == {"0"}, checked.stdout


def test_check_mode_shows_no_secret(host, checked):
    environment = host.check_output("cat /etc/psychology_clinic/environment")
    for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL"):
        assert re.search(rf'^{name}="(.+)"$', environment, re.M)[1] not in checked.stdout


def test_a_bad_value_stops_the_run_before_anything_is_touched(refused, answers):
    assert refused.returncode != 0
    assert "redis_port" in refused.stdout + refused.stderr
    assert set(changed(refused.stdout)) == {"0"}
    assert answers()[0] == 200


@pytest.mark.parametrize("book", [PROJECT / "site.yml", PROJECT / "playbooks" / "deploy.yml"])
def test_a_checkout_without_secrets_replaces_none(host, door, tmp_path, book):
    def state():
        environment = host.file("/etc/psychology_clinic/environment").sha256sum
        return environment, door.ask("/health/").status_code

    before = state()
    values = {"app_secrets": str(tmp_path / "secrets")}
    run = playbook(LIMIT, "--extra-vars", json.dumps(values), book=book)
    assert run.returncode != 0
    assert "playbooks/secrets.yml" in run.stdout + run.stderr
    assert set(changed(run.stdout)) == {"0"}
    assert list(tmp_path.iterdir()) == []
    assert state() == before


def test_a_broken_nginx_configuration_leaves_the_old_site(host, request, answers):
    before = answers()
    broken = request.getfixturevalue("broken")
    assert broken.returncode != 0
    assert "client_max_body_sise" in broken.stdout + broken.stderr
    host.check_output("nginx -q -t")
    assert answers() == before
    assert before[0] == 200


def test_the_next_run_repairs_it(host, request, answers):
    repaired = request.getfixturevalue("repaired")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert "Restart gunicorn" in repaired.stdout  # what the run that was cut off had left undone
    assert "settings of PostgreSQL" not in repaired.stdout
    assert answers()[0] == 200
