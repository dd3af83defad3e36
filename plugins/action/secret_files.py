"""Copy the generated secrets; plugins/modules/secret_files.py documents it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.clink.django_stack.plugins.plugin_utils import hosts, secret_files
from ansible_collections.clink.django_stack.plugins.plugin_utils.secret_files import SecretsError


class ActionModule(ActionBase):
    """Works on the control machine, and reads two files of the host for O(state=recovered)."""

    TRANSFERS_FILES = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Do what the state asks for."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        states = ["checked", "exported", "imported", "recovered"]
        _result, given = self.validate_argument_spec(
            {
                "state": {"type": "str", "required": True, "choices": states},
                "directory": {"type": "path", "required": True},
                "file": {"type": "path"},
                "password": {"type": "str", "no_log": True, "default": ""},
                "environment_file": {"type": "path"},
                "backup_file": {"type": "path"},
            }
        )
        directory = Path(given["directory"])
        result |= {"changed": False, "report": ""}
        try:
            if given["state"] == "checked":
                self._check(directory)
            elif self._task.check_mode:
                result["report"] = "Nothing was done in check mode."
            else:
                result |= self._copy(given, directory, task_vars or {})
        except SecretsError as error:
            result |= {"failed": True, "msg": str(error)}
        return result

    def _check(self, directory: Path) -> None:
        """Warn of secrets without a copy."""
        if not secret_files.is_copied(directory):
            Display().warning(
                f"The secrets in {directory} have no copy. Without them the backups cannot be "
                "restored. Make one: playbooks/secrets.yml -e secrets_do=export"
            )

    def _copy(
        self, given: dict[str, Any], directory: Path, variables: dict[str, Any]
    ) -> dict[str, Any]:
        """Export, import or recover; return what was done."""
        file = Path(given["file"] or "")
        if given["state"] == "exported":
            names = secret_files.export(directory, file, given["password"])
            return {
                "changed": True,
                "report": f"{file} has {', '.join(names)}, encrypted. Keep it and its password "
                "away from this machine and from the host.",
            }
        if given["state"] == "imported":
            secrets = secret_files.imported(file, given["password"])
        else:
            secrets = secret_files.of_host(
                hosts.text_of(self, given["environment_file"], variables),
                hosts.text_of(self, given["backup_file"], variables),
                hosts.text_of(self, f"{given['environment_file']}_owner", variables),
            )
            if not secrets:
                raise SecretsError("The host has none of the secrets: has site.yml run there?")
        names = secret_files.write(directory, secrets)
        if given["state"] == "imported":
            secret_files.mark(directory, secrets)
        told = f"Written to {directory}: {', '.join(names)}." if names else (
            f"{directory} has all of them already."
        )  # fmt: skip
        return {"changed": bool(names), "report": told}
