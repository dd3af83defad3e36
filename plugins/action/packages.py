"""The action plugin of packages: installs the missing packages of a role."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.clink.django_stack.plugins.plugin_utils.apt import apt


class ActionModule(ActionBase):
    """Lists the packages of the host once in a run, and calls apt for missing ones only."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Install the missing packages."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        names = [str(name) for name in self._task.args.get("names") or []]
        seen = variables.get("ansible_facts") or {}
        facts: dict[str, Any] = {}
        known = seen.get("packages")
        if known is None:
            told = self._execute_module(
                "clink.django_stack.packages", {"names": names}, task_vars=variables
            )
            if told.get("failed"):
                return dict(told)
            facts = {"packages": told["ansible_facts"]["packages"]}
            known = facts["packages"]
        new = set(seen.get("packages_of_this_run") or [])
        missing = [name for name in names if name not in known]
        if not missing:
            # An earlier task of this run may have installed the packages: the role sees a change.
            return {"changed": bool(new & set(names)), "missing": [], "ansible_facts": facts}
        told = apt(self, variables, name=missing)
        if told.get("failed"):  # a new image may lack the lists of packages
            apt(self, variables, update_cache=True, cache_valid_time=0)
            told = apt(self, variables, name=missing)
        if not told.get("failed") and not self._task.check_mode:
            apt(self, variables, clean=True)  # the archives would only fill the disk
            facts = {
                "packages": {**known, **{name: [] for name in missing}},
                "packages_of_this_run": sorted({*new, *missing}),
            }
        return {**told, "missing": missing, "ansible_facts": facts}
