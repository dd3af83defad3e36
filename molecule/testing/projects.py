"""Small Django projects, which a test writes and deploys to the droplet of molecule/projects.

def test_something(project):
    project.append("shop/settings.py", "DEBUG = False")
    told = done(project.deploy(app_static_url="/files/"))
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
from droplets import PROJECT, SCENARIO, playbook

BASE = SCENARIO / "project"  # the smallest one, which each test adds to
APP = "shop"
ROOT = f"/var/www/{APP}"
SITE, DEPLOY = PROJECT / "site.yml", PROJECT / "playbooks" / "deploy.yml"
Run = subprocess.CompletedProcess[str]


class Project:
    """A project on this machine, and what its description has besides the scenario's.

    Attributes:
        directory: of its files; it begins with those of BASE.
        description: variables of each run, such as {"app_database": "local"}.
    """

    def __init__(self, directory: Path) -> None:
        """Copy the smallest project into a directory that is not there yet."""
        copytree(BASE, directory, ignore=ignore_patterns("__pycache__"))
        self.directory = directory
        self.description: dict[str, object] = {}

    def text(self, path: str) -> str:
        """Return the text of a file."""
        return (self.directory / path).read_text()

    def write(self, files: Mapping[str, str | None]) -> None:
        """Write texts to files, by their paths in the project; None removes one."""
        for name, text in files.items():
            path = self.directory / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def append(self, path: str, text: str) -> None:
        """Append a text to a file."""
        self.write({path: self.text(path) + text})

    def site(self, *arguments: str, **more: object) -> Run:
        """Run site.yml.

        Args:
            *arguments: of ansible-playbook, such as "--tags=app,gunicorn".
            **more: variables of this run alone.
        """
        return self._run(SITE, *arguments, **more)

    def deploy(self, *arguments: str, **more: object) -> Run:
        """Run playbooks/deploy.yml; see `site`."""
        return self._run(DEPLOY, *arguments, **more)

    def play(self, name: str, *arguments: str, **more: object) -> Run:
        """Run another playbook by its name, such as "rollback"; see `site`."""
        return self._run(PROJECT / "playbooks" / f"{name}.yml", *arguments, **more)

    def _run(self, book: Path, *arguments: str, **more: object) -> Run:
        values = {"app_source": {"directory": str(self.directory)}, **self.description, **more}
        return playbook(*arguments, f"--extra-vars={json.dumps(values)}", book=book)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project of a file of tests."""
    return Project(tmp_path_factory.mktemp("project") / APP)


def done(run: Run) -> str:
    """Return what a run printed that should have worked."""
    if run.returncode:
        pytest.fail(run.stdout + run.stderr, pytrace=False)
    return run.stdout + run.stderr


def refused(run: Run) -> str:
    """Return what a run printed that should not have worked."""
    assert run.returncode, run.stdout
    return run.stdout + run.stderr
