"""Run by `manage.py shell -c`: wait for this host's worker to answer; fail without an answer.

A worker that has been told to stop ends its running tasks first, which may take as long as they
take. The queue keeps the others until the next worker is there.
"""

import os
import socket
import subprocess
import time

from celery.app.utils import find_app

PATIENCE = 20.0  # seconds for a worker to start
ENDING = 5.0  # seconds after which one that is still ending its tasks is left to it

service = os.environ["CELERY_SERVICE"]
node = f"{service}@{socket.gethostname()}"
application = find_app(os.environ["CELERY_APPLICATION"])
show = ["systemctl", "show", "--property=ActiveState", "--value", f"{service}.service"]
begun = time.monotonic()
while True:
    state = subprocess.check_output(show, text=True).strip()
    waited = time.monotonic() - begun
    if state == "active" and application.control.ping(destination=[node], timeout=1.0):
        break
    if state == "deactivating" and waited > ENDING:
        print(f"{service}.service ends its running tasks first; the new release follows then")
        break
    if waited > PATIENCE:
        raise SystemExit(f"The worker {node} does not answer; journalctl -u {service} says why")
    time.sleep(0.1)
