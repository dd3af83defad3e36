"""Runs of site.yml on the converged droplets: what they change, refuse and repair."""

import json
import re

import pytest
from droplets import PROJECT, changed, playbook, playbook_process


@pytest.fixture(scope="module")
def answers(host, door):
    """Tell whether the site answers, and with what nginx has been running since."""

    def told():
        process = host.check_output("systemctl show --property=MainPID --value nginx")
        return door.ask("/health/").status_code, process

    return told


CHANGE = {"gunicorn_threads": 7}
# What cannot be released, and the variable that the message should name. Each stops one step later.
BAD_RELEASES = {
    "no such repository": ({"app_source": {"git": "file:///nowhere", "ref": "main"}}, "app_source"),
    "a package that is nowhere": ({"app_packages": ["no-such-package==0.0"]}, "app_packages"),
    "no such settings": (
        {"app_settings_module": "psychology_clinic.nothing"},
        "app_settings_module",
    ),
    "no such application": ({"app_wsgi": "psychology_clinic.wsgi:nothing"}, "app_wsgi"),
    "a broker that refuses": ({"app_broker_password": "x" * 20}, "app_broker"),
    "a database that refuses": ({"app_database_password": "x" * 20}, "app_database"),
}


# Settings that no rule refuses and that a service does not start with, and who reads them. What is
# tried beforehand replaces nothing; of the others the files from before come back.
BAD_SETTINGS = {
    "a worker class that is not installed": (
        "gunicorn", {"gunicorn_settings": {"worker_class": "gevent"}}, "gevent",
        "gunicorn", ["/etc/gunicorn.conf.py"],
    ),
    "a type that Gunicorn does not take": (
        "gunicorn", {"gunicorn_settings": {"keepalive": "soon"}}, "keepalive",
        "gunicorn", ["/etc/gunicorn.conf.py"],
    ),
    "an option that Celery does not have": (
        "celery_worker", {"celery_worker_options": ["--no-such-option"]}, "--no-such-option",
        "celery", ["/etc/systemd/system/celery.service"],
    ),
    "a scheduler that is nowhere": (
        "celery_beat", {"celery_beat_scheduler": "nowhere:Scheduler"}, "nowhere",
        "celery-beat", ["/etc/systemd/system/celery-beat.service"],
    ),
    "a sandbox in which Redis has no data": (
        "redis", {"redis_sandbox": {"InaccessiblePaths": "/var/lib/redis"}}, "redis_sandbox",
        "redis-server", ["/etc/systemd/system/redis-server.service.d/django_stack.conf"],
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def checked():
    return playbook("--check", "--diff")


@pytest.fixture(scope="session")
def refused():
    return playbook("--extra-vars", json.dumps({"redis_port": 70000}))


@pytest.fixture(scope="session")
def cut_off():
    """Kill a run, which nothing can tidy up after, while it has a change to make."""
    with playbook_process("--extra-vars", json.dumps(CHANGE)) as run:
        for line in run.stdout:
            if line.startswith("  gunicorn"):  # installed, and not in force before the end
                run.kill()
                break
    assert run.returncode, "the run came to its end before it was cut off"


@pytest.fixture(scope="session")
def broken():
    settings = {"nginx_server_settings": {"client_max_body_sise": "1m"}}  # misspelled
    return playbook("--tags", "nginx", "--extra-vars", json.dumps(settings))


@pytest.fixture(scope="session")
def repaired(broken, cut_off):
    assert broken.returncode
    return playbook("--extra-vars", json.dumps(CHANGE))


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
    run = playbook("--limit", door.name, "--extra-vars", json.dumps(values), book=book)
    assert run.returncode != 0
    assert "playbooks/secrets.yml" in run.stdout + run.stderr
    assert set(changed(run.stdout)) == {"0"}
    assert list(tmp_path.iterdir()) == []
    assert state() == before


@pytest.mark.parametrize(("values", "variable"), BAD_RELEASES.values(), ids=BAD_RELEASES)
def test_a_bad_release_leaves_the_site_as_it_was(host, door, values, variable):
    def state():
        current = host.check_output("readlink /var/www/clink-backend/current")
        environment = host.file("/etc/psychology_clinic/environment").sha256sum
        process = host.check_output("systemctl show --property=MainPID --value gunicorn")
        return door.ask("/api/users/").status_code, current, environment, process

    before = state()
    run = playbook("--limit", door.name, "--tags", "app", "--extra-vars", json.dumps(values))
    assert run.returncode != 0
    assert variable in run.stdout + run.stderr
    assert "the site is as it was" in run.stdout + run.stderr
    assert state() == before
    assert before[0] == 200


@pytest.mark.parametrize(
    ("tag", "values", "told", "service", "files"), BAD_SETTINGS.values(), ids=BAD_SETTINGS
)
def test_a_bad_setting_stays_nowhere(host, door, tag, values, told, service, files):
    def state():
        return [host.file(file).sha256sum for file in files], door.ask("/health/").status_code

    before = state()
    run = playbook("--limit", door.name, "--tags", tag, "--extra-vars", json.dumps(values))
    assert run.returncode != 0
    assert told.replace("redis_sandbox", "files from before") in run.stdout + run.stderr
    assert state() == before
    assert before[1] == 200
    host.check_output(f"systemctl restart {service}")  # as a boot would


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
    assert "Restart PostgreSQL" not in repaired.stdout
    assert answers()[0] == 200
