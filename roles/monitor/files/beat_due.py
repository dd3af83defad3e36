"""Prints when Celery beat has to send its next task, in seconds since 1970; nothing without a task.

The monitor runs it in the live release as the application's user, because it loads the project:
    beat_due.py APPLICATION [SCHEDULER] TIME
TIME is when beat has sent its last task. Without SCHEDULER it is that of the settings.
Source: Celery, celery/beat.py and celery/schedules.py; django-celery-beat, schedulers.py.
"""

import os
import sys
from datetime import datetime
from typing import Any

sys.path[0] = os.getcwd()

from celery.app.utils import find_app  # noqa: E402
from celery.beat import PersistentScheduler, Scheduler  # noqa: E402
from celery.utils.imports import symbol_by_name  # noqa: E402


def due(entry: Any, last: datetime, now: float) -> float:  # noqa: ANN401 - its class is the scheduler's
    """Return when a task is due again, in seconds since 1970."""
    seconds = entry.schedule.remaining_estimate(last).total_seconds()
    begins = getattr(getattr(entry, "model", None), "start_time", None)  # of django-celery-beat
    return max(now + seconds, begins.timestamp() if begins else 0)


def main(name: str, *scheduler: str, last: float) -> None:
    """Print when the first task is due."""
    app = find_app(name)
    kind = symbol_by_name(*scheduler or [app.conf.beat_scheduler])
    # beat has the file of the schedule open, so the settings are read. `lazy` writes nothing.
    plan = Scheduler(app=app) if kind is PersistentScheduler else kind(app=app, lazy=True)
    sent, now = datetime.fromtimestamp(last, app.timezone), datetime.now().timestamp()
    moments = [due(entry, sent, now) for entry in plan.schedule.values()]
    if moments:
        print(min(moments))


if __name__ == "__main__":
    main(*sys.argv[1:-1], last=float(sys.argv[-1]))
