"""The Celery application: `celery -A psychology_clinic worker` and `... beat`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "psychology_clinic.settings")

app = Celery("psychology_clinic")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
