"""Optional parts of the description: none, as converge has left the host; all; and none again."""

from urllib.parse import urlsplit

import pytest
from projects import APP, ROOT, done, refused

OPTIONAL = [
    "postgresql@17-main",
    "redis-server",
    "celery",
    "celery-beat",
    "django_stack-backup@now.timer",
]
ON = {
    "app_database": "local",
    "app_broker": "local",
    "app_celery": "shop",
    "app_shared_directories": ["shop/media", "var/lib/exports"],
    "app_certificate": "selfsigned",
    "backup_repository": "/var/backups/django_stack",
}
SETTINGS = """
import dj_database_url
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
DATABASES = {"default": dj_database_url.config()}
INSTALLED_APPS = [f"django.contrib.{name}" for name in ("contenttypes", "auth", "staticfiles")]
STATICFILES_DIRS = [BASE_DIR / "assets"]
STATIC_URL = "/static/"
MEDIA_URL = "/media/"
MEDIA_ROOT = BASE_DIR / "media"
"""
POOLER = """
[databases]
shop = host=127.0.0.1 user=shop password={}

[pgbouncer]
listen_addr = 127.0.0.1
auth_type = any
pool_mode = transaction
default_pool_size = 1
pidfile = /run/postgresql/pgbouncer.pid
"""
POOLED = "postgresql://shop@127.0.0.1:6432/shop"
FILES = {
    "requirements.txt": "Django==5.2.19\ncelery[redis]\npsycopg[binary]\ndj-database-url\n",
    "shop/__init__.py": "from celery import Celery\n\napp = Celery('shop')\n",
    "shop/assets/shop.css": "a {}\n",
    "shop/media/logo.txt": "a logo\n",
}


@pytest.fixture(autouse=True)
def base(project):
    """Begin each test with the files of the smallest project."""
    files = ("requirements.txt", "shop/__init__.py", "shop/settings.py", "shop/urls.py")
    kept = {path: project.text(path) for path in files}
    yield
    project.write(kept)


def states(host):
    return host.run(f"systemctl is-active {' '.join(OPTIONAL)}").stdout.split()


def test_the_site_answers_and_the_hook_of_the_switch_has_run(host, door):
    assert door.ask("/").text == "a shop"
    assert "switched" in host.check_output(f"journalctl --quiet --output=cat --identifier={APP}")


def test_without_optional_parts_no_service_of_theirs_is_there(host):
    assert "active" not in states(host)


def test_all_is_turned_on(host, project, door):
    project.append("shop/settings.py", SETTINGS)
    project.write(FILES)
    done(project.site(**ON))
    assert set(states(host)) == {"active"}
    # The door of this scenario speaks HTTP, which nginx leads to HTTPS.
    assert door.ask("/").status_code == 301
    door.url = door.url.replace("http:", "https:")
    assert door.ask("/media/logo.txt").text == "a logo\n"
    assert door.ask("/static/shop.css").text == "a {}\n"


def test_a_deploy_leaves_nothing_in_the_session_of_a_pooler(host, project):
    """The pool has one connection to the server, which the application uses next."""
    project.append("shop/settings.py", SETTINGS)
    project.write(FILES)
    host.check_output("apt-get install --yes --no-install-recommends pgbouncer")
    login = host.check_output("sed -n 's/^DATABASE_URL=//p' /etc/shop/environment").strip('"')
    text = POOLER.format(urlsplit(login).password)
    host.check_output("printf %s %s >/etc/pgbouncer/pgbouncer.ini", "%s", text)
    host.check_output("systemctl restart pgbouncer")
    project.write({"shop/new.py": ""})
    done(project.deploy(**{**ON, "app_database": POOLED}))
    ask = "psql --no-psqlrc --tuples-only --no-align --dbname=%s --command=%s"
    assert host.check_output(ask, POOLED, "SHOW lock_timeout") == "0"
    assert host.check_output(ask, POOLED, "SHOW statement_timeout") == "0"
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert host.check_output(ask, POOLED, locks) == "0"
    host.check_output("apt-get purge --yes pgbouncer")


def test_all_is_turned_off_again(host, project, door):
    """What is turned off stops, now and at boot, and the site goes on."""
    told = done(project.site())
    assert "celery.service" in told, "the run does not say what it has stopped"
    assert "active" not in states(host)
    enabled = host.run(f"systemctl is-enabled {' '.join(OPTIONAL)} postgresql").stdout.split()
    assert "enabled" not in enabled
    assert host.check_output("systemctl --failed --no-legend") == ""
    door.url = door.url.replace("https:", "http:")
    assert door.ask("/").text == "a shop"


def test_uploads_in_the_release_refuse_it(host, project, door):
    """The message says what to write; the site goes on."""
    project.append(
        "shop/settings.py", "MEDIA_ROOT = __file__.replace('shop/settings.py', 'uploads')\n"
    )
    told = refused(project.deploy())
    assert "app_shared_directories: [uploads]" in " ".join(told.split())
    assert door.ask("/").text == "a shop"


def test_after_a_rollback_a_whole_run_sets_up_the_rest(host, project, door):
    """What the description has beside the code is applied, and the live release stays."""
    project.append("shop/urls.py", "urlpatterns[0].callback.text = 'a bad shop'\n")
    done(project.deploy(app_retry=True))
    done(project.play("rollback"))
    live = host.check_output(f"readlink {ROOT}/current")
    told = done(project.site("--tags=app,nginx", nginx_headers={"X-After": "rollback"}))
    assert "stays live" in " ".join(told.split())
    assert host.check_output(f"readlink {ROOT}/current") == live
    assert door.ask("/").headers["X-After"] == "rollback"


def test_a_change_that_a_deploy_does_not_apply_is_named(project, tmp_path):
    """And a hook that has failed runs again, once it is corrected."""
    hook = tmp_path / "hook.yml"
    hook.write_text("- name: Fail\n  ansible.builtin.fail:\n")
    hooks = {"app_after_switch": [{"tasks": str(hook)}]}
    told = " ".join(refused(project.deploy(gunicorn_timeout=31, **hooks)).split())
    assert "does not apply these changes of the description: gunicorn_timeout" in told
    hook.write_text("- name: Succeed\n  ansible.builtin.debug: {msg: the hook has run}\n")
    assert "the hook has run" in done(project.deploy(**hooks))
    assert "the hook has run" not in done(project.deploy(**hooks))
