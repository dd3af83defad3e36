"""Runs `celery worker`, which first returns the tasks of a dead worker to their queues.

celery.service starts it with the virtual environment and the user of the application. Redis has no
acknowledgements, so kombu keeps each task that a worker has taken in a hash. The tasks of a worker
that was killed stay there for visibility_timeout, an hour by default. When this unit starts,
systemd has ended all processes of its last worker. If no other worker is connected to the broker,
and the broker is on this host, each task in the hash therefore belongs to a dead worker.

A task is returned in this way only once. A task that kills its worker each time would otherwise do
so without a pause; after the second time it waits for visibility_timeout.

Source: kombu's transport/redis.py (QoS, restore_by_tag).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

LOCAL = ("127.0.0.1", "localhost", "::1")
SECONDS = 5  # for an answer of Redis
logger = logging.getLogger("celery.worker.django_stack")


def is_alone(client: Any, database: int) -> bool:  # noqa: ANN401 - a client of the project's redis-py
    """Return whether no worker is connected to a database of Redis.

    A worker waits for tasks with BRPOP, and subscribes to a pattern of channels for remote control.
    """
    here = [each for each in client.client_list() if each["db"] == str(database)]
    return not any(each["cmd"] == "brpop" or each["psub"] != "0" for each in here)


def is_first(text: bytes | str) -> bool:
    """Return whether a task in the hash has never been returned to its queue."""
    message, *_ = json.loads(text)
    return not (message.get("headers") or {}).get("redelivered")


def recover(application: Any) -> int:  # noqa: ANN401 - the project's Celery
    """Return the tasks of dead workers to their queues; return their number.

    Args:
        application: the Celery application.

    Raises:
        Exception: the broker does not answer, or kombu works in another way. Celery logs it, and
            the worker starts.
    """
    limits = {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS}
    with application.connection_for_read(transport_options=limits) as connection:
        if connection.transport.driver_type != "redis" or connection.hostname not in LOCAL:
            return 0
        channel = connection.default_channel
        held = channel.client.hgetall(channel.unacked_key)
        if not held:
            return 0
        if not is_alone(channel.client, channel.client.connection_pool.connection_kwargs["db"]):
            logger.info("Another worker is connected, so no task is returned to its queue")
            return 0
        tags = [tag for tag, text in held.items() if is_first(text)]
        application.amqp.TaskConsumer(channel)  # declares the queues, and takes no task
        for tag in tags:
            channel.qos.restore_by_tag(tag)
        message = "A worker has died with %d tasks. Back in their queues: %d"
        logger.warning(message, len(held), len(tags))
        return len(tags)


def main() -> None:
    """Run the worker."""
    sys.argv[0] = "celery"
    sys.path[0] = os.path.dirname(sys.executable)  # as the command `celery` has it
    import celery

    celery.maybe_patch_concurrency()  # first of all, because --pool=gevent replaces modules
    from celery.bin.celery import main as run
    from celery.signals import celeryd_after_setup

    def begin(instance: Any, **_: object) -> None:  # noqa: ANN401 - the project's Celery
        recover(instance.app)

    celeryd_after_setup.connect(begin, weak=False)
    sys.exit(run())


if __name__ == "__main__":
    main()
