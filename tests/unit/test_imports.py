"""What a release is asked before Django, or instead of it: imports.py."""

import json
import os
import runpy
import sys

import pytest
from conftest import ROOT

KEYS = {"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": "old,older"}
GUNICORN = """
worker_class = "gthread"


def speaks_asgi(application):
    return False
"""
SHOP = """
import os


class Shop:
    def __init__(self, **config):
        self.config = config

    def __call__(self, environ, start_response):
        return []


read = Shop(
    SECRET_KEY=os.environ["SECRET_KEY"],
    SECRET_KEY_FALLBACKS=os.environ["SECRET_KEY_FALLBACKS"].split(","),
)
fixed = Shop(SECRET_KEY="fixed")
forgetful = Shop(SECRET_KEY=os.environ["SECRET_KEY"])
unsigned = Shop(SECRET_KEY=None)


def of_another_framework(environ, start_response):
    return []


def create_app():
    return forgetful
"""


@pytest.fixture
def take(monkeypatch, tmp_path, capsys):
    """Give a function that takes steps in a release, and returns what was printed."""
    (tmp_path / "webshop.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "webshop", raising=False)
    monkeypatch.setattr(os, "environ", {**os.environ, **KEYS, "APP_GUNICORN": GUNICORN})

    def run(steps, wsgi=""):
        os.environ.update(APP_WSGI=wsgi, APP_ASGI="", APP_CELERY="")
        runpy.run_path(str(ROOT / "roles/app/files/imports.py"))["take"](steps)
        return capsys.readouterr().out.splitlines()

    return run


def test_each_step_is_named_before_it_begins_and_the_report_is_the_last_line(take):
    *steps, report = take(["imports", "keys"], "webshop:read")
    assert steps == ["step: imports", "step: keys"]
    assert json.loads(report) == {}


def test_without_a_site_and_celery_nothing_is_imported(take):
    take(["imports", "keys"])
    assert "webshop" not in sys.modules


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere:application", "app_wsgi: nowhere:application cannot be imported: ModuleNotFound"),
        ("webshop:nothing", "Failed to find attribute 'nothing' in 'webshop'"),
        ("webshop:create_shop()", "Failed to find attribute 'create_shop' in 'webshop'"),
    ],
)
def test_what_cannot_be_imported_is_named(take, name, told):
    with pytest.raises(SystemExit, match=told):
        take(["imports"], name)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("read", ""),
        ("fixed", "SECRET_KEY of the project's settings is not that of its environment"),
        ("forgetful", "SECRET_KEY_FALLBACKS lacks a key"),
        ("create_app()", "SECRET_KEY_FALLBACKS lacks a key"),
        ("unsigned", ""),
        ("of_another_framework", ""),
    ],
)
def test_a_new_key_that_would_log_out_the_users_of_flask_is_refused(take, name, wrong):
    if not wrong:
        assert take(["imports", "keys"], f"webshop:{name}")
        return
    with pytest.raises(SystemExit, match=wrong):
        take(["imports", "keys"], f"webshop:{name}")
