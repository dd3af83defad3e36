"""Gathers the facts of a supported host; plugins/modules/host_facts.py documents it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.clink.django_stack.plugins.plugin_utils import hosts


class ActionModule(ActionBase):
    """Looks what the host is, and runs ansible.builtin.setup on a supported one."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Refuse the host or return its facts."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        found = hosts.look(self, variables)
        told = self._execute_module(
            "ansible.builtin.setup", dict(self._task.args), task_vars=variables
        )
        told.pop("invocation", None)
        return {**told, "ansible_facts": {**told.get("ansible_facts", {}), **found}}
