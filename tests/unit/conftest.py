"""What the tests of the roles share: descriptions of a host, rendered by Ansible."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import jinja2
import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.module_utils import basic
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.block import Block
from ansible.playbook.play import Play
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
PROJECT = ROOT / "inventories" / "group_vars" / "project.yml"
EXAMPLE: dict[str, Any] = yaml.safe_load(PROJECT.read_text())
ABSENT = object()
# The files that take longest begin first, so that no process waits for another one at the end.
LONGEST = (
    "templates", "bad_input", "ways_of_use", "inventory", "phases", "settings", "guarded_change",
)  # fmt: skip
FACTS = {
    "django_stack_versions": {"postgresql": "17", "pgbackrest": "2.55.1"},
    "processor_nproc": 2,
    "memtotal_mb": 2048,
}


_compile = jinja2.Environment.compile
_COMPILED: dict[tuple[object, ...], CodeType] = {}
# What a template's code depends on, beside its text.
_SYNTAX = (
    *("block_start_string", "variable_start_string", "comment_start_string"),
    *("block_end_string", "variable_end_string", "comment_end_string"),
    *("line_statement_prefix", "line_comment_prefix", "newline_sequence"),
    *("trim_blocks", "lstrip_blocks", "keep_trailing_newline"),
)


def _compile_once(
    self: jinja2.Environment, source: Any, name: Any = None, filename: Any = None, **more: Any
) -> Any:  # fmt: skip
    """Compile as Jinja does, but each text once: this took most of the time of these tests."""
    # Ansible has two ways to read a backslash.
    if more or not isinstance(source, str) or "\\" in source:
        return _compile(self, source, name, filename, **more)
    key = (type(self), str(source), name, filename, *(getattr(self, each) for each in _SYNTAX))
    if key not in _COMPILED:
        _COMPILED[key] = _compile(self, source, name, filename)
    return _COMPILED[key]


jinja2.Environment.compile = _compile_once  # type: ignore[method-assign]


class Unsafe(str):
    """A text that Ansible must not take for a template: `!unsafe` in a user's file."""


class _Dumper(yaml.SafeDumper):
    """Writes Unsafe texts with their tag."""


_Dumper.add_representer(
    Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"')
)


def _words(value: object) -> Iterator[str]:
    """Yield the words of all texts in a value: names of variables that it may use are there."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _words(each)
    else:
        yield from re.findall(r"\w+", str(value))


class Site:
    """The variables that site.yml has, read once, without a run of Ansible."""

    def __init__(self, directory: Path) -> None:
        """Read the roles' variables and those of the play.

        Args:
            directory: an empty one, which keeps the secrets.
        """
        self.directory = directory
        self.loader = DataLoader()
        self.weaker: dict[str, Any] = {
            "ansible_facts": FACTS,
            "inventory_hostname": "droplet",
            "inventory_dir": str(directory),
            "inventory_file": str(directory / "hosts.yml"),
            "omit": "__omit__",
        }
        self.weaker |= self._of_roles("defaults")
        self.weaker |= self.read(ROOT / "playbooks" / "site.yml")[0]["vars"]
        self.stronger = self._of_roles("vars")

    def _of_roles(self, kind: str) -> dict[str, Any]:
        """Return the variables of all roles in their directories of a name."""
        found: dict[str, Any] = {}
        for path in sorted(ROOT.glob(f"roles/*/{kind}/**/*.yml")):
            found |= self.read(path) or {}
        return found

    def read(self, path: Path) -> Any:  # noqa: ANN401
        """Return what a file of YAML says, its texts as templates."""
        return self.loader.load_from_file(str(path), trusted_as_template=True)

    def written(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values as Ansible reads them from a file of an inventory."""
        path = self.directory / "values.yml"
        path.write_text(yaml.dump(dict(values), Dumper=_Dumper, allow_unicode=True))
        return dict(self.loader.load_from_file(str(path), cache="none", trusted_as_template=True))

    def describe(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return all variables of a host that is described by these values."""
        return self.weaker | dict(values) | self.stronger


class Renderer(Site):
    """Renders as the action plugin `config_files` does."""

    def render(
        self,
        host: str,
        values: Mapping[str, Any],
        templates: Mapping[str, Path],
        expressions: Mapping[str, str],
    ) -> dict[str, Any]:
        """Return texts of a host, and values of expressions, by their names.

        Args:
            host: its name in the inventory.
            values: its description; `facts` replaces what it says of its hardware.
            templates: the file of each text.
            expressions: the text of each expression.
        """
        given = self.written(values)
        facts = {"ansible_facts": given.pop("facts", FACTS), "inventory_hostname": host}
        variables = self.describe(given | facts)
        templar = Templar(loader=self.loader, variables=variables)
        from ansible_collections.clink.django_stack.plugins.action import config_files

        told = {
            name: config_files.render(str(path), variables, self.loader, templar)
            for name, path in templates.items()
        }
        return told | templar.template(self.written(expressions))


class Checker(Site):
    """The action plugin `check_values` in this process."""

    def __init__(self, directory: Path) -> None:
        """Read the variables, and render them as far as no test changes them.

        Args:
            directory: an empty one, which keeps the secrets.
        """
        super().__init__(directory)
        self.base = self.describe(self.read(PROJECT))
        self.templar = Templar(loader=self.loader)
        words = {name: set(_words(value)) for name, value in self.base.items()}
        self.users = {
            used: {name for name, found in words.items() if used in found} for used in self.base
        }
        self.rendered: dict[str, Any] = {}
        known = self.templar.available_variables = dict(self.base)
        # What has a lookup stays a template: the plugin knows generated secrets by theirs.
        for name in [name for name, found in words.items() if "lookup" not in found]:
            with suppress(AnsibleError):
                self.rendered[name] = known[name] = self.templar.template(self.base[name])

    def variables(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the variables of a host. Those that use none of these values are rendered."""
        concerned, found = set(values), set(values)
        while found:
            found = {name for used in found for name in self.users.get(used, ())} - concerned
            concerned |= found
        rendered = {name: each for name, each in self.rendered.items() if name not in concerned}
        variables = self.base | rendered | dict(values)
        return {name: value for name, value in variables.items() if value is not ABSENT}

    def message(
        self, values: Mapping[str, Any], roles: list[str], files: Mapping[str, str] | None = None,
        alone: bool = False,
    ) -> str:  # fmt: skip
        """Return what the plugin says of a host; an empty text where it finds nothing wrong.

        Args:
            values: over those of site.yml and of the example; ABSENT ones are not given.
            roles: whose variables are checked.
            files: texts of files of the host, by their paths.
            alone: whether a role is used without the playbooks.
        """

        def slurp(name: str, given: Mapping[str, str], task_vars: object) -> dict[str, object]:
            text = (files or {}).get(given["src"])
            if text is None:
                return {"failed": True, "msg": f"file not found: {given['src']}"}
            return {"content": base64.b64encode(text.encode()).decode()}

        variables = self.variables(values)
        from ansible_collections.clink.django_stack.plugins.action import check_values

        name = "clink.django_stack.check_values"
        block = Block(play=Play.load({"hosts": "all"}, loader=self.loader))
        action = check_values.ActionModule(
            task=Task.load({name: {"roles": roles}}, block=block, loader=self.loader),
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir="unused")),
            play_context=None,
            loader=self.loader,
            templar=self.templar,
            shared_loader_obj=None,
        )
        self.templar.available_variables = variables
        action._execute_module = slurp  # type: ignore[method-assign]
        action._task._role = SimpleNamespace() if alone else None
        result = action.run(task_vars=variables)
        assert bool(result.get("failed")) == bool(result["complaints"])
        return str(result.get("msg", ""))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of LONGEST first; `--no-loadscope-reorder` keeps this order."""
    ranks = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


class Ended(Exception):
    """A module has ended; with what it returns."""


@pytest.fixture
def arguments(monkeypatch):
    """Give a function that sets the arguments which the next module reads."""

    def give(given: Mapping[str, Any]) -> None:
        text = json.dumps({"ANSIBLE_MODULE_ARGS": given})
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", text.encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)

    return give


@pytest.fixture
def run_module(monkeypatch, arguments):
    """Give a function that runs a module in this process, and returns what that returns."""

    def end(_, **told: Any) -> None:
        raise Ended(told)

    def run(module: Any, check: bool = False, **given: Any) -> dict[str, Any]:
        arguments(given | {"_ansible_check_mode": check})
        with pytest.raises(Ended) as told:
            module.main()
        return dict(told.value.args[0])

    monkeypatch.setattr(basic.AnsibleModule, "exit_json", end)
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", end)
    return run


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
