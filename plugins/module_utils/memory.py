"""The memory of a host: what is free, and whether the kernel has ended processes to free some."""

from __future__ import annotations

import re
from pathlib import Path

MEMORY = Path("/proc/meminfo")
COUNTERS = Path("/proc/vmstat")
# MB that a deploy needs while the old release serves. Measured with the sample: uv and the test of
# the new release used 130 MB on a host with 512 MB, and 210 MB with two Gunicorn processes.
DEPLOY = 150


def available(text: str) -> int:
    """Return the MB that processes can still get, free swap included.

    Args:
        text: the content of /proc/meminfo, whose numbers are kB.
    """
    kb = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+)", text, re.MULTILINE)}
    return (kb["MemAvailable"] + kb.get("SwapFree", 0)) // 1024


def too_little(text: str, needed: int = DEPLOY) -> str:
    """Return a warning if a deploy may not fit into the memory; nothing if it fits.

    Args:
        text: the content of /proc/meminfo.
        needed: MB that the deploy needs.
    """
    free = available(text)
    if free >= needed:
        return ""
    return (
        f"{free} MB of memory and swap are free, and a deploy needs about {needed} MB. If the "
        "kernel ends a step of the deploy, the site stays as it is. Set swap_file_mb, set "
        "gunicorn_workers or celery_worker_concurrency to a smaller number, or use more RAM."
    )


def kills(text: str) -> int:
    """Return how many processes the kernel has killed since the boot because memory ran out.

    Args:
        text: the content of /proc/vmstat.
    """
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0
