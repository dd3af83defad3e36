"""Flask and Celery without Django: tables, a page that asks the database, a scheduled task.

This file is the last one, because deploys of a Django project do not change what site.yml installs.
"""

from droplets import eventually
from projects import APP, done

PAGES = """
import os

import psycopg
from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def rows():
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        told = connection.execute("SELECT current_user, count(*) FROM ticks GROUP BY 1").fetchone()
    return jsonify(told or [])
"""
TABLES = """
import os

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS ticks (id serial)")
"""
JOBS = """
from celery import Celery

queue = Celery()
queue.conf.update(
    task_acks_late=True,
    beat_schedule={"tick": {"task": "tick", "schedule": 1.0}},
    silenced_system_checks=["django_stack.W002"],
)


@queue.task(name="tick")
def tick():
    from web import psycopg, os  # a module that nobody else has imported

    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO ticks DEFAULT VALUES")
"""
FILES = {
    "manage.py": None,
    "requirements.txt": "flask\ncelery[redis]\npsycopg[binary]\n",
    "web.py": PAGES,
    "tables.py": TABLES,
    "jobs.py": JOBS,
    "static/shop.css": "a {}\n",
}
DESCRIPTION = {
    "app_django": False,
    "app_wsgi": "web:app",
    "app_celery": "jobs:queue",
    "app_migrate": ["python tables.py"],
    "app_database": "local",
    "app_broker": "local",
}
ROLES = "--tags=postgresql,redis,app,celery_worker,celery_beat,gunicorn,nginx"


def test_a_project_without_django_works(project, host, door):
    project.write(FILES)
    told = done(project.site(ROLES, **DESCRIPTION))
    assert "django_stack.W" not in told, "it warns of what the project silences"
    user, ticks = eventually(lambda: door.ask("/").json())
    assert user == APP, "the services log in as the owner of the tables"
    assert ticks > 0
    assert door.ask("/static/shop.css").text == "a {}\n"
    assert not host.file(f"/usr/local/bin/{APP}-manage").exists
