"""The action plugin of applied_description: finds the variables that are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.clink.django_stack.plugins.module_utils import descriptions, releases
from ansible_collections.clink.django_stack.plugins.plugin_utils import inventory, values

ROLES = Path(__file__).resolve().parents[2] / "roles"


class ActionModule(ActionBase):
    """Adds the digests of the given variables, which the host remembers or compares."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the module.

        Args:
            tmp: not used.
            task_vars: all variables of the host, not rendered.
        """
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        roles = {str(name).rsplit(".", 1)[-1] for name in arguments.pop("roles", [])}
        if arguments.get("state") == "applied":
            tags = variables.get("ansible_run_tags", []), variables.get("ansible_skip_tags", [])
            roles = descriptions.applied(roles, *tags)
        else:
            roles = {path.name for path in ROLES.iterdir()}
        given = inventory.given(variables)
        arguments["given"] = {
            role.name: self._digests(role, given)
            for role in values.with_dependencies(sorted(roles), ROLES)
            if role.name in roles
        }
        return dict(
            self._execute_module(
                module_name="clink.django_stack.applied_description",
                module_args=arguments,
                task_vars=variables,
            )
        )

    def _digests(self, role: values.Role, given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Return the digests of a role's variables that are given and need site.yml."""
        told = {}
        for name in sorted({*role.options} & {*given} - {*role.no_site}):
            try:
                value = self._templar.template(given[name])
                rendered = releases.digest(name, inventory.in_texts(value))
            except AnsibleError:
                rendered = ""
            told[name] = [releases.digest(name, inventory.in_texts(given[name])), rendered]
        return told
