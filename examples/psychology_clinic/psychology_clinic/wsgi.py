"""The WSGI entry point Gunicorn loads: psychology_clinic.wsgi:application."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "psychology_clinic.settings")

application = get_wsgi_application()
