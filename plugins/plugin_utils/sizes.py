"""The sizes of the services of a host, derived from its RAM and its CPUs.

Measured: a process of an average Django project has 110 MB, PostgreSQL, Redis, nginx, fail2ban and
the system itself have 120 MB when idle, and a deploy needs 130 to 210 MB more for some seconds.
A worker of Uvicorn is as large as one of threads, and needs 0.1 MB more for each WebSocket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROCESS = 110  # MB that a process of an average Django project uses
FACTS = ("memtotal_mb", "processor_nproc")
SMALL = 1100  # MB; a server that is sold with 1 GB reports 950 to 1000


def within(low: int, value: float, high: int) -> int:
    """Return a whole number, not below and not above the limits."""
    return int(min(max(value, low), high))


def sizes(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of all services of a host by their names.

    A server with 1 GB or less has one Gunicorn process, with threads instead of a second process,
    and a swap file.

    Args:
        facts: memtotal_mb, the RAM in MB, and processor_nproc, the number of CPUs.

    Raises:
        ValueError: if the play has not gathered these facts.
    """
    if missing := [name for name in FACTS if name not in facts]:
        raise ValueError(
            f"the play has not gathered {' and '.join(missing)}: gather_facts: true, or "
            "ansible.builtin.setup with gather_subset: [hardware]"
        )
    ram, cpus = (int(facts[name]) for name in FACTS)
    small = ram <= SMALL
    return {
        # Gunicorn: "How many workers?", within 30 % of the RAM.
        "gunicorn_workers": 1 if small else within(1, ram * 0.3 / PROCESS, cpus + 1),
        "gunicorn_threads": 8 if small else 4,
        # Celery: a process for each CPU, within 20 % of the RAM.
        "celery_processes": within(1, ram * 0.2 / PROCESS, cpus),
        "redis_mb": max(ram // 10, 64),
        # PostgreSQL: "Resource Consumption", for a database that shares the host.
        "shared_buffers_mb": within(64, ram // 8, 8192),
        "cache_mb": ram // 2,
        "maintenance_mb": within(32, ram // 16, 1024),
        "work_mb": within(4, ram // 256, 64),
        "rabbitmq_mb": max(ram * 15 // 100, 160),
        "swap_mb": 1024 if small else 0,
    }
