"""The action plugin of packages: installs the missing packages of a role."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

# policy_rc_d: services start only after their settings are installed. lock_timeout: a new host may
# upgrade packages at its first boot.
APT = {
    "install_recommends": False,
    "policy_rc_d": 101,
    "update_cache": True,
    "cache_valid_time": 3600,
    "lock_timeout": 300,
}


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
        told = self._apt(variables, name=missing)
        if told.get("failed"):  # a new image may lack the lists of packages
            self._apt(variables, update_cache=True, cache_valid_time=0)
            told = self._apt(variables, name=missing)
        if not told.get("failed") and not self._task.check_mode:
            self._apt(variables, clean=True)  # the archives would only fill the disk
            facts = {
                "packages": {**known, **{name: [] for name in missing}},
                "packages_of_this_run": sorted({*new, *missing}),
            }
        return {**told, "missing": missing, "ansible_facts": facts}

    def _apt(self, variables: dict[str, Any], **arguments: object) -> dict[str, Any]:
        """Run ansible.builtin.apt; the lists of packages are fetched in check mode as well."""
        checked = self._task.check_mode
        self._task.check_mode = checked and "name" in arguments
        try:
            return dict(
                self._execute_module(
                    "ansible.builtin.apt", {**APT, **arguments}, task_vars=variables
                )
            )
        finally:
            self._task.check_mode = checked
