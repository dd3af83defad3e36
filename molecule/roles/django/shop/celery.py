"""The Celery application. Beat starts the task each second."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop", broker=os.environ["CELERY_BROKER_URL"])
app.conf.beat_schedule = {"count": {"task": "shop.celery.count", "schedule": 1.0}}


@app.task
def count() -> None:
    """Write a session, which the page counts."""
    from django.contrib.sessions.backends.db import SessionStore

    SessionStore().create()
