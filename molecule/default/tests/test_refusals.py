"""Releases and settings that a run refuses: the site stays as it was."""

import json

import pytest
from droplets import playbook

testinfra_hosts = ["ansible://*-12"]  # nothing here depends on the distribution

# What cannot be released, and the variable that the message should name. The scenario releases has
# sources that cannot be fetched and packages that cannot be installed.
BAD_RELEASES = {
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
