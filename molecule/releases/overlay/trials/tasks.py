"""Tasks that leave a row for each time that they run."""

import time

from celery import shared_task

from .models import Mark


@shared_task
def mark(name: str) -> None:
    """Leave a row after a moment."""
    time.sleep(0.03)
    Mark.objects.create(name=name)


@shared_task(soft_time_limit=24)  # the sample ends tasks after 20 s, which is what the test wants
def long(seconds: int, name: str) -> None:
    """Leave a row, and another one some seconds later."""
    Mark.objects.create(name=f"{name} began")
    time.sleep(seconds)
    Mark.objects.create(name=f"{name} ended")
