"""The project: settings, URLs, the WSGI entry point and the Celery application."""

# Imported here so that @shared_task finds the application in every process.
from .celery import app as celery_app

__all__ = ["celery_app"]
__version__ = "1.0.0"
