"""Run by `manage.py shell -c`: ask this host's worker for an answer; fail without one."""

import os
import socket

from celery.app.utils import find_app

node = f"{os.environ['CELERY_NODE']}@{socket.gethostname()}"
application = find_app(os.environ["CELERY_APPLICATION"])
if not application.control.ping(destination=[node], timeout=2.0):
    raise SystemExit(
        f"The worker {node} does not answer; journalctl -u {os.environ['CELERY_NODE']} says why"
    )
