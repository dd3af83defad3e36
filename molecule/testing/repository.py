"""The repository that the tests deploy from: the sample with the overlay, released again and again.

    repository.py BUNDLE    builds it and packs it into one file (git bundle)

What the releases differ in is here, too: a number, or what breaks one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

PROJECT = Path(__file__).resolve().parents[2]
SAMPLE = PROJECT / "examples" / "psychology_clinic"
OVERLAY = PROJECT / "molecule" / "releases" / "overlay"
GOOD = 30  # how many good releases there are, the tags good-1, good-2 and so on
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*_cache", "*.sqlite3")
# The user's own configuration may want signatures or hooks.
ENVIRONMENT = {
    **os.environ,
    **{f"GIT_{who}_NAME": "Trials" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "trials@example.com" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def migration(*operations: str) -> str:
    """Return the code of a migration that follows the overlay's."""
    return f"""\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trials", "0001_initial")]
    operations = [{", ".join(operations)}]
"""


# Each branch is good-1 with one text at the end of one file, which may be a new one.
BRANCHES = {
    "no-import": ("psychology_clinic/wsgi.py", "raise ImportError(__name__)\n"),
    "no-health": ("trials/urls.py", "urlpatterns[:0] = [path('health/', lambda request: 1 / 0)]\n"),
    "no-worker": (
        "psychology_clinic/celery.py",
        "import sys\nif 'worker' in sys.argv:\n    raise RuntimeError(__name__)\n",
    ),
    "no-watch": (
        "trials/management/commands/watch.py",
        "\n\ntime.sleep = lambda seconds: 1 / 0\n",
    ),
    "no-requirements": ("requirements.txt", "no-such-package-of-the-trials==1.0\n"),
    "no-migration": (
        "trials/migrations/0002_broken.py",
        migration(
            "migrations.CreateModel('Broken', [('id', models.BigAutoField(primary_key=True))])",
            "migrations.RunPython(lambda apps, editor: 1 / 0)",
        ),
    ),
    "new-migration": (
        "trials/migrations/0002_note.py",
        migration("migrations.AddField('Mark', 'note', models.TextField(null=True))"),
    ),
}


def git(directory: Path, *arguments: str) -> None:
    """Run git in a directory."""
    subprocess.run(["git", *arguments], cwd=directory, env=ENVIRONMENT, check=True)


def commit(directory: Path, name: str) -> None:
    """Commit all there is."""
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", f"--message={name}")


def build(directory: Path) -> None:
    """Make the repository in an empty directory."""
    git(directory, "init", "--quiet", "--initial-branch=main")
    for source in (SAMPLE, OVERLAY):
        shutil.copytree(source, directory, ignore=LEFT_OUT, dirs_exist_ok=True)
    numbered = [directory / "trials" / name for name in ("number.py", "static/trials/style.css")]
    texts = {file: file.read_text() for file in numbered}
    for number in range(1, GOOD + 1):
        for file, text in texts.items():
            file.write_text(text.replace("1", f"{number}"))
        commit(directory, f"good-{number}")
        git(directory, "tag", f"good-{number}")
    for name, (path, text) in BRANCHES.items():
        git(directory, "switch", "--quiet", "--create", name, "good-1")
        with (directory / path).open("a") as changed:
            changed.write(text)
        commit(directory, name)
    git(directory, "switch", "--quiet", "main")


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        build(Path(temporary))
        git(Path(temporary), "bundle", "create", "--quiet", sys.argv[1], "--all")
