"""The Celery application and its one task."""

import os

from celery import Celery
from redis import Redis

app = Celery("reports", broker=os.environ["CELERY_BROKER_URL"])


@app.task
def count() -> None:
    """Count the reports in Redis."""
    Redis.from_url(os.environ["CELERY_BROKER_URL"]).incr("reports")
