"""The action plugin of app_release: adds the run, the source and the environment."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.clink.django_stack.plugins.module_utils import releases
from ansible_collections.clink.django_stack.plugins.plugin_utils import pack, run
from ansible_collections.clink.django_stack.plugins.plugin_utils import source as local_source

BUILD = [
    "fetch.py", "python.sh", "source.sh", "packages.py", "imports.py", "prepare.py", "trial.py",
]  # fmt: skip
SCRIPTS = {"requested": ["fetch.py"], "prepared": BUILD, "active": BUILD}
SILENCE = 3600  # seconds after which the run of another machine counts as dead


class ActionModule(ActionBase):
    """Adds arguments that only the control machine knows."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the module; if another run holds the lock, check whether that run is alive."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        source = dict(arguments.pop("source", None) or {})
        install = dict(arguments.pop("install_environment", None) or {})
        environment = arguments.pop("environment", None)
        owner = arguments.pop("owner_environment", None)
        header = f"#\n# {variables.get('ansible_managed', 'Ansible managed')}\n#"
        recipe = self._with_contents(arguments.pop("recipe", []))
        hooks = arguments.pop("after_switch", None)
        build = bool(arguments.pop("build", False))
        state = str(arguments.get("state", ""))
        if environment is not None:
            arguments |= {
                "environment_text": releases.environment_text(environment, header),
                "dotenv_text": releases.dotenv_text(environment, header),
                "digest": releases.digest(environment, arguments.pop("settings", [])),
            }
        if environment is not None and owner is not None:
            others = {name: text for name, text in owner.items() if environment.get(name) != text}
            arguments["owner_text"] = releases.environment_text(others, header) if others else ""
        if hooks is not None:
            arguments["hooks"] = releases.digest(self._with_contents(hooks))
        arguments |= {
            "run": run.this(),
            "play": str(variables.get("ansible_play_name", "")),
            "scripts": {name: self._script(name) for name in SCRIPTS.get(state, [])},
            "recipe": releases.digest(recipe),
            "install_text": _text(install),
            "fetch_text": _text({**install, **_fetched(source)}),
            "is_git": "git" in source,
        }
        local = local_source.local(source, variables.get("inventory_dir"))
        if local and state == "requested" and arguments.get("request", "source") == "source":
            arguments["revision"] = self._revision(local)
        if local and build:
            arguments["archive"] = self._send(local)
        told = self._execute_module(
            module_name="clink.django_stack.app_release",
            module_args=arguments,
            task_vars=variables,
        )
        if holder := told.pop("holder", None):
            self._refuse_while_it_runs(holder, bool(arguments.get("unlock")), arguments)
            arguments["takeover"] = True
            told = self._execute_module(
                module_name="clink.django_stack.app_release",
                module_args=arguments,
                task_vars=variables,
            )
        self._remove_tmp_path(self._connection._shell.tmpdir)
        return dict(told)

    def _script(self, name: str) -> str:
        """Return a script of the role, which runs on the host."""
        return Path(self._find_needle("files", name)).read_text()

    def _with_contents(self, value: object) -> object:
        """Return a value in which each hook has the text of its file of tasks.

        Raises:
            AnsibleActionFail: a file does not exist.
        """
        if isinstance(value, (list, tuple)):
            return [self._with_contents(each) for each in value]
        if not isinstance(value, Mapping) or "tasks" not in value:
            return value
        try:
            text = Path(self._find_needle("tasks", str(value["tasks"]))).read_text()
        except (AnsibleError, OSError) as error:
            raise AnsibleActionFail(
                "app_before_migrate and app_after_switch: the file of a hook should exist on the "
                f"control machine. {error}"
            ) from error
        return {**value, "tasks": text}

    def _revision(self, source: Path) -> str:
        """Return the revision of a source on this machine."""
        try:
            return pack.pack(source)
        except (pack.SourceError, OSError) as error:
            raise AnsibleActionFail(
                "app_source: the directory or archive should exist on the control machine, or the "
                f"archive should be a URL. {error}"
            ) from error

    def _send(self, source: Path) -> str:
        """Pack a source of this machine and send it; return its path on the host."""
        remote = self._connection._shell.join_path(self._make_tmp_path(), "source.tar")
        with tempfile.TemporaryDirectory(prefix="django_stack-") as directory:  # mode 0700
            archive = Path(directory, "source.tar")
            pack.pack(source, archive)
            self._transfer_file(str(archive), remote)
        self._fixup_perms2((self._connection._shell.tmpdir, remote))
        return str(remote)

    def _refuse_while_it_runs(
        self, holder: dict[str, Any], unlock: bool, arguments: dict[str, Any]
    ) -> None:
        """Fail if the run that holds the lock is alive.

        Raises:
            AnsibleActionFail: the run is alive, or its state is unknown.
        """
        name = arguments["application"]["name"]
        told = (
            f"Nothing was done: {holder['by']} has been deploying {name} since {holder['since']}."
        )
        here = holder["machine"] == arguments["run"]["machine"]
        if here and not unlock and run.goes_on(int(holder["pid"]), holder["started"]):
            raise AnsibleActionFail(told)
        if not here and not unlock and (holder["busy"] or holder["age"] < SILENCE):
            minutes = holder["age"] // 60
            raise AnsibleActionFail(
                f"{told} If that run has ended (its last activity was {minutes} minutes ago), "
                "take the lock with -e app_unlock=true"
            )


def _text(values: dict[str, Any]) -> str:
    """Return the text of an environment file; empty without values."""
    return releases.environment_text(values, "#") if values else ""


def _fetched(source: dict[str, Any]) -> dict[str, str]:
    """Return the environment of fetch.py for a source; its URL may hold a secret."""
    if source.get("git"):
        return {"FETCH_GIT": str(source["git"]), "FETCH_REF": str(source.get("ref") or "HEAD")}
    if local_source.ARCHIVE_URL.match(str(source.get("archive") or "")):
        checksum = str(source.get("checksum") or "")
        return {"FETCH_ARCHIVE": str(source["archive"]), "FETCH_CHECKSUM": checksum}
    return {}
