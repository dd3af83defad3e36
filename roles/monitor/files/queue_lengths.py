"""Prints how many tasks are in each of RabbitMQ's queues that are named, as numbers on one line.

The monitor runs it in the live release as the application's user:
    queue_lengths.py NAME...
CELERY_BROKER_URL names the broker. A passive declaration changes nothing. Tasks that a worker has
fetched are not counted. Source: AMQP 0-9-1, queue.declare.
"""

import os
import sys
from typing import Any

from kombu import Connection

TIMEOUT = 5  # seconds


def length(connection: Any, name: str) -> int:  # noqa: ANN401 - kombu has no types
    """Return the number of tasks in a queue; 0 if nobody has declared it yet."""
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue=name, passive=True).message_count)
        except connection.channel_errors:
            return 0


if __name__ == "__main__":
    with Connection(os.environ["CELERY_BROKER_URL"], connect_timeout=TIMEOUT) as broker:
        print(*(length(broker, name) for name in sys.argv[1:]))
