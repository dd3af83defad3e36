"""Looks at this host once and tells of its problems.

django_stack-monitor.timer starts it, and systemd when a service has failed (OnFailure=).
It runs as root with `python3 -I -S`, and imports only from its own directory and Python's library.
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from ansible_collections.clink.django_stack.plugins.module_utils import (  # noqa: E402
    alarms,
    checks,
    reserve,
)

if __name__ == "__main__":
    given = json.loads(checks.own(checks.DESCRIPTION))
    try:
        reserve.keep(given["reserve_mb"])
    except OSError as error:
        print(f"<4>The reserve of the disk: {error}", flush=True)
    memory = alarms.load()
    rows, known = checks.look(given, memory, time.time(), thorough=False)
    alarms.save({**alarms.tell(given, memory, rows), **known})
