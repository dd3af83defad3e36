"""Calls ansible.builtin.apt from an action plugin."""

from __future__ import annotations

from collections.abc import Mapping
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
# needrestart must not restart services in the middle of a run. It keeps in mind that there was an
# upgrade, and looks after the next one. Source: needrestart(1).
ENVIRONMENT = {"NEEDRESTART_SUSPEND": "1"}


def apt(action: ActionBase, variables: Mapping[str, Any], **arguments: object) -> dict[str, Any]:
    """Run ansible.builtin.apt; the lists of packages are fetched in check mode as well.

    Args:
        action: the plugin.
        variables: all variables of the host.
        arguments: of the module, beside or instead of APT.
    """
    task = action._task
    checked, environment = task.check_mode, task.environment
    task.check_mode = checked and "name" in arguments
    task.environment = [*(environment or []), ENVIRONMENT]
    try:
        return dict(
            action._execute_module(
                "ansible.builtin.apt", {**APT, **arguments}, task_vars=dict(variables)
            )
        )
    finally:
        task.check_mode, task.environment = checked, environment
