"""The checks behind /api/status/: each really asks, briefly, in its own words.

A check answers {"ok", "ms", "detail"}. `ok` is null when nobody could ask, because what the
question travels through is down itself: so the answer names the cause and not its echo.
Details are written here, never taken from an exception, whose text may hold a password.
"""

import logging
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import TypedDict

import redis
from celery.exceptions import TimeoutError as CeleryTimeoutError
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from .models import Heartbeat
from .tasks import ping

logger = logging.getLogger(__name__)

WORKER_LIMIT = 3.0  # Seconds for a task to go to a worker and back.
BEAT_LIMIT = 60.0  # Seconds; beat ticks every 10.

# Threads are made on first use, so never before Gunicorn forks.
_pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="status")


class Check(TypedDict):
    """One component's answer."""

    ok: bool | None
    ms: float
    detail: str


class DownError(Exception):
    """The component does not work; the text is public."""


def measure(check: Callable[[], str]) -> Check:
    """Run a check; whatever it raises becomes its own answer and nobody else's."""
    start = perf_counter()
    ok = False
    try:
        detail, ok = check(), True
    except DownError as error:
        detail = str(error)
    except Exception:
        logger.exception("status check failed")
        detail = "unexpected error, see the log"
    return {"ok": ok, "ms": round((perf_counter() - start) * 1000, 1), "detail": detail}


def unknown(cause: str) -> Check:
    """Answer for a component that could not be asked."""
    return {"ok": None, "ms": 0.0, "detail": f"cannot be asked while the {cause} is down"}


def check_database() -> str:
    """Query the database and compare its schema with the code's migrations."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        logger.warning("database check: %s", type(error).__name__)
        raise DownError("no connection") from error
    if missing:
        raise DownError(f"{len(missing)} migrations not applied")
    return "answers, all migrations applied"


def check_redis() -> str:
    """PING the cache and result store on a connection of its own."""
    if not settings.REDIS_URL:
        raise DownError("REDIS_URL is not set")
    try:
        with redis.Redis.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS) as client:
            client.ping()
    except redis.RedisError as error:
        logger.warning("redis check: %s", type(error).__name__)
        raise DownError("no answer to PING") from error
    return "answers PING"


def check_worker() -> str:
    """Send a value through the queue to a worker and back."""
    token = uuid.uuid4().hex
    result = ping.apply_async([token], expires=WORKER_LIMIT, retry=False)
    try:
        answer = result.get(timeout=WORKER_LIMIT)
    except CeleryTimeoutError as error:
        raise DownError(f"no worker took a task within {WORKER_LIMIT:.0f} s") from error
    finally:
        result.forget()
    if answer != token:
        raise DownError("a task came back with the wrong answer")
    return "a task went there and back"


def check_beat() -> str:
    """Look at the age of beat's last tick."""
    try:
        last = Heartbeat.objects.filter(name=Heartbeat.BEAT).values_list("at", flat=True).first()
    except DatabaseError as error:
        raise DownError("its last tick cannot be read") from error
    if last is None:
        raise DownError("never ticked")
    age = (timezone.now() - last).total_seconds()
    if age >= BEAT_LIMIT:
        raise DownError(f"last tick {age:.0f} s ago")
    return f"last tick {max(age, 0):.0f} s ago"


def run_checks() -> dict[str, Check]:
    """Ask everything, in at most about four seconds.

    The worker's round trip waits in a thread of its own while the database is asked here, on
    the connection real requests use.
    """
    redis_check = measure(check_redis)
    pending: Future[Check] | None = None
    if redis_check["ok"]:
        deadline = perf_counter() + WORKER_LIMIT + 0.3
        pending = _pool.submit(measure, check_worker)
    database = measure(check_database)
    beat = measure(check_beat) if database["ok"] else unknown("database")
    if pending is None:
        worker = unknown("broker")
    else:
        try:
            worker = pending.result(timeout=max(deadline - perf_counter(), 0))
        except TimeoutError:
            worker = {"ok": False, "ms": WORKER_LIMIT * 1000, "detail": "the broker hangs"}
    return {"database": database, "redis": redis_check, "worker": worker, "beat": beat}
