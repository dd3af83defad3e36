"""A project of somebody else: the installed archive, an inventory, and plays with one role each.

Nothing of this repository's configuration is there: Ansible runs with its defaults.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from droplets import INVENTORY, PROJECT, SCENARIO, name_of
from testinfra.host import Host  # type: ignore[import-untyped]

LONG = 1800  # seconds for all plays; without pipelining each task is two connections more
EXAMPLES = PROJECT / "examples" / "roles"
LOGIN = SCENARIO / "inventory" / "group_vars" / "all" / "login.yml"
COMPANY = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=Company "
    "-keyout company-ca.key -out company-ca.crt"
).split()
LINE = (
    "{name} ansible_host=127.0.0.1 ansible_port={ansible_port} ansible_user={molecule_login} "
    "ansible_ssh_private_key_file={ansible_private_key_file} "
    "ansible_become_password='{molecule_password}' "
    "ansible_ssh_common_args='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null'\n"
)


class Foreign:
    """A project beside ours.

    Attributes:
        directory: of its plays and its inventory.
    """

    def __init__(self, directory: Path) -> None:
        """Write the project, and install the collection from its archive."""
        self.directory = directory
        shutil.copytree(EXAMPLES, directory, dirs_exist_ok=True)
        shutil.copytree(SCENARIO / "plays", directory, dirs_exist_ok=True)
        # The example of this role is the tasks of another role, and no play.
        (directory / "guarded_change.yml").rename(
            directory / "roles" / "mine" / "tasks" / "main.yml"
        )
        for project in ("django", "flask", "reports"):
            shutil.copytree(SCENARIO / project, directory / project)
        self.command(*COMPANY)
        inventory = yaml.safe_load((INVENTORY / "ansible_inventory.yml").read_text())["all"]
        login = yaml.safe_load(LOGIN.read_text())
        lines = [
            LINE.format(name=name, **login, **values) for name, values in inventory["hosts"].items()
        ]
        (directory / "hosts.ini").write_text("".join(lines))
        self.galaxy("build", str(PROJECT), f"--output-path={directory}")
        (archive,) = directory.glob("*.tar.gz")
        self.galaxy("install", str(archive), "--offline", "--no-deps")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as on a machine that has never seen this repository."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment = kept | {"HOME": str(self.directory), "ANSIBLE_NOCOLOR": "1"}
        return subprocess.run(
            words, cwd=self.directory, env=environment, capture_output=True, text=True,
            timeout=LONG,
        )  # fmt: skip

    def galaxy(self, *words: str) -> None:
        """Run ansible-galaxy."""
        done = self.command("ansible-galaxy", "collection", *words)
        assert done.returncode == 0, done.stdout + done.stderr

    def play(self, limit: str, *books: str, given: str = "") -> str:
        """Run plays by their names; return what Ansible has printed.

        Args:
            limit: the droplet.
            books: the names of the plays.
            given: the name of the file with the owner's values, besides those of all plays.
        """
        values = [f"--extra-vars=@{SCENARIO}/given/{name}.yml" for name in ("all", given) if name]
        done = self.command(
            "ansible-playbook", "--inventory=hosts.ini", f"--limit={limit}", *values,
            *(f"{name}.yml" for name in books),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """The project."""
    return Foreign(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def again(request: pytest.FixtureRequest, foreign: Foreign, host: Host) -> str:
    """Play the examples of a file of tests twice; return what the second runs have printed.

    PLAYS has the names of the plays by the file of values that they are given.
    """
    plays: dict[str, list[str]] = request.module.PLAYS
    told = ""
    for given, books in plays.items():
        foreign.play(name_of(host), *books, given=given)
        told += foreign.play(name_of(host), *books, given=given)
    return told
