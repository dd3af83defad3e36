"""Runs `celery worker`, which first returns the tasks of its dead predecessor to their queues.

The units of Celery workers start it with the virtual environment and the user of the application.
Redis has no acknowledgements, so kombu keeps each task that a worker has taken in a hash. The tasks
of a worker that was killed stay there for visibility_timeout, an hour by default. This program
writes the name of its worker into each task that it takes. When it starts, systemd has ended all
processes of its unit. A task in the hash that has its name therefore belongs to a dead worker,
whatever other workers do. This holds for a broker on this host; on another host a worker may have
the same name.

A task is returned in this way only once. A task that kills its worker each time would otherwise do
so without a pause; after the second time it waits for visibility_timeout.

Source: kombu's transport/redis.py (QoS.append, restore_by_tag).
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

HOLDER = "django_stack_worker"  # the key of a message in the hash
LOCAL = ("127.0.0.1", "localhost", "::1")
SECONDS = 5  # for an answer of Redis
logger = logging.getLogger("celery.worker.django_stack")


def sign(qos: Any, worker: str) -> None:  # noqa: ANN401 - kombu's class QoS
    """Write the name of a worker into each task that this process takes from Redis."""
    append = qos.append

    def signed(self: Any, message: Any, tag: str) -> None:  # noqa: ANN401 - of kombu
        message._raw[HOLDER] = worker
        append(self, message, tag)

    qos.append = signed


def is_left(text: bytes | str, worker: str) -> bool:
    """Return whether a task in the hash is of a worker, and has never been returned."""
    message, *_rest = json.loads(text)
    returned = (message.get("headers") or {}).get("redelivered")
    return message.get(HOLDER) == worker and not returned


def recover(application: Any, worker: str) -> int:  # noqa: ANN401 - the project's Celery
    """Return the tasks of the dead predecessor to their queues; return their number.

    Args:
        application: the Celery application.
        worker: the name of this worker, such as celery@host.

    Raises:
        Exception: the broker does not answer, or kombu works in another way. Celery logs it, and
            the worker starts.
    """
    limits = {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS}
    with application.connection_for_read(transport_options=limits) as connection:
        if connection.transport.driver_type != "redis" or connection.hostname not in LOCAL:
            return 0
        sign(connection.transport.Channel.QoS, worker)
        channel = connection.default_channel
        held = channel.client.hgetall(channel.unacked_key)
        tags = [tag for tag, text in held.items() if is_left(text, worker)]
        if not tags:
            return 0
        application.amqp.TaskConsumer(channel)  # declares the queues, and takes no task
        for tag in tags:
            channel.qos.restore_by_tag(tag)
        logger.warning("This worker died with tasks. Back in their queues: %d", len(tags))
        return len(tags)


def main() -> None:
    """Run the worker."""
    sys.argv[0] = "celery"
    sys.path[0] = os.path.dirname(sys.executable)  # as the command `celery` has it
    # For tasks that import modules of the project while they run; for Django, Celery adds it.
    sys.path.append(os.getcwd())
    import celery

    celery.maybe_patch_concurrency()  # first of all, because --pool=gevent replaces modules
    from celery.bin.celery import main as run
    from celery.signals import celeryd_after_setup

    def begin(instance: Any, **_: object) -> None:  # noqa: ANN401 - the project's Celery
        recover(instance.app, instance.hostname)

    celeryd_after_setup.connect(begin, weak=False)
    sys.exit(run())


if __name__ == "__main__":
    main()
