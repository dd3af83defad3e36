"""Run by `manage.py shell -c` in a release that is being built: what does Django know about itself?

Imports what the services will import, so that a release that cannot start is found
before it is live, and prints one line of JSON.
"""

import json
import os

from django.conf import settings
from django.utils.module_loading import import_string

wsgi, celery = os.environ["APP_WSGI"], os.environ["APP_CELERY"]
try:
    import_string(wsgi.replace(":", "."))
except Exception as error:
    raise SystemExit(f"app_wsgi: {wsgi} cannot be imported: {error!r}") from error
if celery:
    try:
        from celery.app.utils import find_app

        application = find_app(celery)
    except BaseException as error:
        raise SystemExit(f"app_celery: {celery} cannot be imported: {error!r}") from error
    try:
        with application.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
    except Exception as error:
        raise SystemExit(
            f"app_broker: the broker of app_celery's settings does not answer: {error!r}"
        ) from error
print(
    json.dumps(
        {
            "debug": bool(settings.DEBUG),
            "static": "django.contrib.staticfiles" in settings.INSTALLED_APPS,
            "static_root": str(settings.STATIC_ROOT or ""),
            "static_url": settings.STATIC_URL or "",
            "media_root": str(settings.MEDIA_ROOT or ""),
            "allowed_hosts": list(settings.ALLOWED_HOSTS),
        }
    )
)
