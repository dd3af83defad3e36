"""Run as the application: has Celery read the options of a service, which does not start.

The arguments are those of `celery`. It ends with 0 if a worker or beat would start with them.
"""

from __future__ import annotations

import sys
from typing import Any

import celery
from celery.bin.beat import beat
from celery.bin.celery import main
from celery.bin.worker import worker
from celery.utils.imports import load_extension_class_names, symbol_by_name


def load(context: Any) -> None:  # noqa: ANN401 - click's context, which has the options
    """Load the scheduler that beat would start with; Celery has read all other options by now."""
    application = context.obj.app
    application.loader.init_worker()
    application.finalize()
    if context.command is beat:
        name = context.params.get("scheduler") or application.conf.beat_scheduler
        symbol_by_name(name, aliases=dict(load_extension_class_names("celery.beat_schedulers")))


if __name__ == "__main__":
    celery.maybe_patch_concurrency()
    for command in (worker, beat):
        command.invoke = load
    sys.exit(main())
