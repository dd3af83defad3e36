"""A description that does not fit the project: the first line of the message says what to write."""

import re

import pytest
from projects import done, refused

# The environment breaks the live release in one way after the other: nothing is built anew.
FILES = {
    "requirements.txt": "Django==5.2.19\ncelery\npsycopg[binary]\ndj-database-url\ncffi\n",
    "logs/.keep": "",
    "shop/__init__.py": """
import os

if os.environ.get("TRY") == "celery":
    from celery import Celery

    app = Celery("shop", broker="redis://127.0.0.1:6379/0")
""",
}
SETTINGS = """
from pathlib import Path

import dj_database_url

LOGS = Path(__file__).resolve().parent.parent / "logs"
HANDLER = {"class": "logging.FileHandler", "filename": LOGS / "shop.log"}
if os.environ.get("TRY") == "logging":
    LOGGING = {"version": 1, "handlers": {"file": HANDLER}, "root": {"handlers": ["file"]}}
DATABASES = {"default": dj_database_url.config()}
"""
CALLBACK = """
import os

import cffi

if os.environ.get("TRY") == "callback":
    CALLBACK = cffi.FFI().callback("int(int)", lambda number: number)
"""


@pytest.fixture(scope="module", autouse=True)
def _live(project):
    project.write(FILES)
    project.append("shop/settings.py", SETTINGS)
    project.append("shop/urls.py", CALLBACK)
    done(project.deploy())


@pytest.mark.parametrize(
    ("way", "more", "advice"),
    [
        ("logging", {}, "Add logs to app_shared_directories"),
        ("callback", {}, "app_sandbox: {MemoryDenyWriteExecute: false}"),
        (
            "celery",
            {"app_celery": "shop", "app_broker": "redis://127.0.0.1:6379/0"},
            'app_packages: ["celery[redis]"]',
        ),
        (
            "database",
            {"app_database": "postgresql://shop:s3cr3t-pw@127.0.0.1:5439/shop"},
            "PostgreSQL does not answer on this host",
        ),
    ],
)
def test_a_message_begins_with_what_to_write(project, way, more, advice):
    told = refused(project.deploy(app_environment={"TRY": way}, **more))
    assert advice in re.search(r"msg: (.*)", told)[1]
    assert "s3cr3t-pw" not in told
