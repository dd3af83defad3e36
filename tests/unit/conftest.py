"""What the tests of the roles share: descriptions of a host, rendered by Ansible."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

ROOT = Path(__file__).resolve().parents[2]
init_plugin_loader([str(ROOT / "collections")])
PARSERS = ROOT / ".cache" / "parsers"
SITE: dict[str, Any] = yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text())[0]
ROLES = [
    task["ansible.builtin.import_role"]["name"].rsplit(".", 1)[-1]
    for task in SITE["tasks"]
    if "ansible.builtin.import_role" in task
]
EXAMPLE: dict[str, Any] = yaml.safe_load((ROOT / "group_vars" / "all.yml").read_text())
ABSENT = object()
FACTS = {"distribution_release": "trixie", "processor_nproc": 2, "memtotal_mb": 2048}


class Unsafe(str):
    """A text that Ansible must not take for a template: `!unsafe` in a user's file."""


class _Dumper(yaml.SafeDumper):
    """Writes Unsafe texts with their tag."""


_Dumper.add_representer(
    Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"')
)


@dataclass(frozen=True)
class Told:
    """What a run told of each host: the failed task's message, and what `debug` printed."""

    failed: Mapping[str, str]
    said: Mapping[str, Any]


def play(directory: Path, hosts: Mapping[str, Mapping[str, Any]], tasks: list[Any]) -> Told:
    """Run tasks on hosts that exist only in an inventory, with site.yml's own variables.

    Args:
        directory: an empty one, which keeps the inventory and the secrets.
        hosts: each one's variables, over those that site.yml gives; ABSENT ones are not given.
            `facts` replaces what the host says of its hardware.
        tasks: as in a play.
    """
    facts = {
        "ansible.builtin.set_fact": {"cacheable": True} | {k: f"{{{{ facts.{k} }}}}" for k in FACTS}
    }
    described = {
        name: {
            k: v
            for k, v in ({"facts": FACTS} | SITE["vars"] | dict(values)).items()
            if v is not ABSENT
        }
        for name, values in hosts.items()
    }
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = directory / "inventory.yml"
    inventory.write_text(
        yaml.dump({"all": {"hosts": described, "vars": common}}, Dumper=_Dumper, allow_unicode=True)
    )
    playbook = directory / "play.yml"
    playbook.write_text(
        yaml.dump(
            # As in site.yml the roles are the play's, so each sees the defaults of all; none runs.
            [
                {
                    "hosts": "all",
                    "gather_facts": False,
                    "pre_tasks": [facts, *tasks, {"ansible.builtin.meta": "end_play"}],
                    "roles": ROLES,
                }
            ],
            sort_keys=False,
        )
    )
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_JINJA2_NATIVE_WARNING": "false",
        "ANSIBLE_DEVEL_WARNING": "false",
        "ANSIBLE_FORKS": "4",
    }
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    try:
        report = json.loads(run.stdout[run.stdout.index("{") :])
    except ValueError:
        pytest.fail(f"ansible-playbook ended with {run.returncode}:\n{run.stdout}\n{run.stderr}")
    failed: dict[str, str] = {}
    said: dict[str, Any] = {}
    for result in (task for part in report["plays"] for task in part["tasks"]):
        for host, told in result["hosts"].items():
            if told.get("failed"):
                failed[host] = str(told.get("msg", told))
            elif told.get("action") in ("debug", "ansible.builtin.debug") and "msg" in told:
                said[host] = told["msg"]
    assert set(report["stats"]) == set(hosts), "a host took no part"
    return Told(failed, said)


class Checker:
    """The action plugin `check_values` in this process, with the variables that site.yml has."""

    def __init__(self, directory: Path) -> None:
        """Read the roles' variables once.

        Args:
            directory: an empty one, which keeps the secrets.
        """
        self.directory = directory
        self.loader = DataLoader()
        self.base: dict[str, Any] = {
            "ansible_facts": FACTS,
            "inventory_hostname": "droplet",
            "inventory_dir": str(directory),
            "inventory_file": str(directory / "hosts.yml"),
            "omit": "__omit__",
        }
        for kind in ("defaults", "vars"):
            for path in sorted(ROOT.glob(f"roles/*/{kind}/**/*.yml")):
                self.base |= self.read(path) or {}
            if kind == "defaults":
                self.base |= self.read(ROOT / "playbooks" / "site.yml")[0]["vars"]
        self.base |= self.read(ROOT / "group_vars" / "all.yml")

    def read(self, path: Path) -> Any:  # noqa: ANN401
        """Return what a file of YAML says, its texts as templates."""
        return self.loader.load_from_file(str(path), trusted_as_template=True)

    def message(self, values: Mapping[str, Any], roles: list[str]) -> str:
        """Return what the plugin says of a host; an empty text where it finds nothing wrong.

        Args:
            values: over those of site.yml and group_vars/all.yml; ABSENT ones are not given.
            roles: whose variables are checked.
        """
        variables = self.base | dict(values)
        variables = {name: value for name, value in variables.items() if value is not ABSENT}
        from ansible_collections.clink.django_stack.plugins.action import check_values

        name = "clink.django_stack.check_values"
        action = check_values.ActionModule(
            task=Task.load({name: {"roles": roles}}, loader=self.loader),
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="unused")),
            play_context=None,
            loader=self.loader,
            templar=Templar(loader=self.loader, variables=variables),
            shared_loader_obj=None,
        )
        result = action.run(task_vars=variables)
        assert bool(result.get("failed")) == bool(result["complaints"])
        return str(result.get("msg", ""))


@pytest.fixture(scope="session")
def checker(tmp_path_factory):
    """Give the action plugin `check_values` without a run of Ansible."""
    return Checker(tmp_path_factory.mktemp("checked"))


@pytest.fixture(scope="session")
def parser():
    """Give the path of a program; where the machine has none, fetch it without installing it."""

    def path_of(program: str, package: str) -> list[str]:
        found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin")
        if found:
            return [found]
        place = PARSERS / package
        if not (place / ".complete").exists():
            _fetch(package, place)
        fetched = next(path for path in place.rglob(f"*bin/{program}"))
        libraries = {str(path.parent) for path in place.rglob("*.so*")}
        return ["env", f"LD_LIBRARY_PATH={':'.join(sorted(libraries))}", str(fetched)]

    return path_of


def _fetch(package: str, place: Path) -> None:
    """Unpack a Debian package, and those it needs that are not here, below a directory."""
    lists, archives = place / "apt" / "lists", place / "apt" / "archives"
    for directory in (lists, archives):
        (directory / "partial").mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-qq", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]
    apt += ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={place / 'apt'}"]
    subprocess.run([*apt, "update"], check=True)
    wanted = ["--yes", "--download-only", "--no-install-recommends", "install", package]
    subprocess.run([*apt, *wanted], check=True, stdout=subprocess.DEVNULL)
    for archive in archives.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", archive, place], check=True)
    shutil.rmtree(place / "apt")
    (place / ".complete").touch()
