"""Check the values of several roles; plugins/modules/check_values.py documents it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.clink.django_stack.plugins.module_utils import descriptions
from ansible_collections.clink.django_stack.plugins.plugin_utils import (
    hosts,
    inventory,
    nginx_site,
    secret_files,
    values,
)
from ansible_collections.clink.django_stack.plugins.plugin_utils import source as local
from ansible_collections.clink.django_stack.plugins.plugin_utils.source import Repository

ROLES = Path(__file__).resolve().parents[2] / "roles"


class ActionModule(ActionBase):
    """Looks what the host is, renders the variables of the roles and checks their values."""

    TRANSFERS_FILES = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Fail with all complaints of all roles.

        Args:
            tmp: not used.
            task_vars: all variables of the host, not rendered.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        _result, arguments = self.validate_argument_spec(
            {
                "roles": {"type": "list", "elements": "str", "required": True},
                "source": {"type": "bool", "default": False},
            }
        )
        roles = values.with_dependencies(arguments["roles"], ROLES)
        seen = variables.get("ansible_facts") or {}
        changes_host = any((ROLES / role.name / "tasks").is_dir() for role in roles)
        if changes_host and hosts.VERSIONS not in seen:  # a role that is used alone
            result["ansible_facts"] = hosts.look(self, variables)
            variables = {**variables, "ansible_facts": {**seen, **result["ansible_facts"]}}
            self._templar.available_variables = variables
        rendered: dict[str, Any] = {}
        for role in roles:
            for name in role.first:
                if name in variables:
                    rendered[name] = self._render(variables[name])
                    if values.is_wrong(name, rendered[name], role):
                        self._hide(name)
        if refused := self._refuse_other_secrets(rendered, variables):
            result.pop("ansible_facts", None)  # Ansible would print all of them with the failure
            return {**result, "failed": True, "complaints": [refused], "msg": refused}
        self._prepare_secrets(rendered, variables)
        wanted = [name for role in roles for name in role.options]
        wanted.append("app_foreign_variables")  # lists names for all roles
        tags = variables.get("ansible_run_tags", []), variables.get("ansible_skip_tags", [])
        applied = descriptions.applied({role.name for role in roles}, *tags)
        fetches = arguments["source"] or "app" in applied
        source = self._source(variables) if fetches else {}
        with Repository(source, self._render(variables.get("app_deploy_key", ""))) as repository:
            rendered |= self._render_once(
                {
                    name: variables[name]
                    for name in wanted
                    if name in variables and name not in rendered
                }
            )
            complaints = values.complaints(roles, rendered, variables)
            unknown = values.unknown_variables(roles, variables, rendered)
            # Where a role is used alone, another project's variables may begin like the role's, and
            # its plays may set what the inventory or the command line sets, too.
            is_alone = self._task._role is not None
            if not is_alone:
                complaints += unknown + self._passed_over(roles, rendered, variables)
            sources = variables.get("ansible_inventory_sources") or []
            complaints += inventory.misplaced(ROLES.parent, sources)
            if source and not any(line.startswith("app_source: ") for line in complaints):
                directory = str(rendered.get("app_directory", ""))
                base = variables.get("inventory_dir")
                is_django = nginx_site.is_true(rendered.get("app_django", True))
                complaints += local.complaints(source, base, directory, is_django)
                missing, warnings = repository.answer()
                complaints += missing
                result["warnings"] = warnings
        result["complaints"] = complaints
        result["changed"] = False
        hints = values.warnings(roles, rendered) + (unknown if is_alone else [])
        for hint in [] if complaints else hints:
            Display().warning(hint)
        if complaints:
            result.pop("ansible_facts", None)
            result["failed"] = True
            lines = ["Nothing was touched; please correct:", *complaints]
            if "app_name" in wanted and "app_name" not in variables:
                lines.append(inventory.places(variables))
            result["msg"] = "\n".join(lines)
        return result

    def _refuse_other_secrets(
        self, rendered: Mapping[str, object], variables: Mapping[str, Any]
    ) -> str:
        """Return why this machine's secrets must not reach the host; empty if they may.

        Rendering the variables would generate what is missing, so this comes before. The host is
        asked only if a secret is missing, or if it is not known to have those of this machine.

        Args:
            rendered: the variables that are rendered first.
            variables: all variables of the host, not rendered.
        """
        generated = secret_files.generated(variables)
        # Where a role is used alone, another project may back up with a key of its own.
        own = {"backup_key"} if self._task._role is not None else set()
        names = [name for name in generated if name not in own]
        if not names or "app_secrets" not in {*rendered} & {*self._templar.available_variables}:
            return ""
        directory = Path(str(rendered["app_secrets"]))
        host = str(variables.get("inventory_hostname", "the host"))
        try:
            if secret_files.is_known(directory, host, names):
                return ""
            file = str(self._render(variables.get("app_environment_file", "")))
            environment = hosts.text_of(self, file, variables) if file.startswith("/") else ""
            backup = hosts.text_of(self, secret_files.BACKUP_FILE, variables) if environment else ""
            found = secret_files.differences(directory, names, environment, backup)
            told = secret_files.refusal(directory, *found, host, file)
            is_all = names == generated
            if environment and not told and is_all and not self._task.check_mode:
                secret_files.know(directory, host)
        except (OSError, UnicodeError) as error:
            return f"app_secrets: the secrets in {directory} cannot be read: {error}"
        return told

    def _prepare_secrets(
        self, rendered: Mapping[str, object], variables: Mapping[str, Any]
    ) -> None:
        """Keep the secrets out of git, and go on after a killed run, before any is generated."""
        if "app_secrets" not in {*rendered} & {*self._templar.available_variables}:
            return
        directory = Path(str(rendered["app_secrets"]))
        if secret_files.generated(variables) or directory.is_dir():
            with suppress(OSError):  # nobody can write there: no secret is made either
                secret_files.hide(directory)
                secret_files.clear(directory)

    def _source(self, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the value of app_source; empty where it is no dictionary."""
        source = self._render(variables.get("app_source"))
        return source if isinstance(source, Mapping) else {}

    def _passed_over(
        self,
        roles: Iterable[values.Role],
        rendered: Mapping[str, Any],
        variables: Mapping[str, Any],
    ) -> list[str]:
        """Return one line for each value of the inventory that the play replaces.

        Args:
            roles: whose variables are checked.
            rendered: the values that the roles get.
            variables: all variables of the host, not rendered.
        """
        given = inventory.given(variables)
        play = self._task.get_play().vars if given else {}
        lines = []
        for role in roles:
            lines += [
                f"{name}: the value would not be used, because each role that includes {role.name} "
                "sets it"
                for name in sorted(role.passed & {*given})
            ]
            for name in sorted({*role.options} & {*given} & {*play} & {*rendered}):
                three = self._render(given[name]), rendered[name], self._render(play[name])
                if not any(isinstance(value, values.Unresolved) for value in three):
                    does = role.site.get(name, "sets it")
                    lines.append(inventory.complaint(name, *three, does))
        return [line for line in lines if line]

    def _hide(self, name: str) -> None:
        """Remove a wrong variable, so that templates that use it fail."""
        self._templar.available_variables = {
            known: value
            for known, value in self._templar.available_variables.items()
            if known != name
        }

    def _render_once(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return variables rendered; templates that use one of them get it rendered.

        Ansible renders a variable again for each template that uses it: that took twice as long.
        """
        rendered: dict[str, object] = {}
        known = {**self._templar.available_variables}
        self._templar.available_variables = known
        for name, value in given.items():
            rendered[name] = self._render(value)
            if name in known and not isinstance(rendered[name], values.Unresolved):
                known[name] = rendered[name]
        return rendered

    def _render(self, value: object) -> object:
        """Return a value with its templates rendered, or the reason why it cannot be rendered."""
        try:
            return self._templar.template(value)
        except AnsibleError as error:
            return values.Unresolved(" ".join(str(error).split())[:300])
