"""What beat does by itself, with no worker's help."""

from typing import Any

from celery.signals import after_task_publish
from django.db import close_old_connections

from .models import Heartbeat


@after_task_publish.connect(sender="clinic.tasks.tick")
def record_beat(**_: Any) -> None:  # noqa: ANN401
    """Note that beat has just put a tick into Redis.

    This runs in beat's process, so a stopped worker never makes beat look stopped. Beat has
    no request that ends: without close_old_connections() a PostgreSQL restart would leave it
    with a dead connection for ever.
    """
    close_old_connections()
    Heartbeat.touch(Heartbeat.BEAT)
