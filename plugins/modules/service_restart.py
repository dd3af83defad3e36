"""Restarts or reloads a service, and goes back to its files from before if that fails."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_restart
short_description: Restarts a service, or goes back to its files from before
description:
  - Restarts or reloads a unit whose files M(clink.django_stack.config_files) has changed.
  - If the service does not start with them, or ends at once, the module installs the files from
    before again, restarts the service with them, and fails with the end of the service's log.
options:
  name:
    description: The unit, as in V(nginx.service).
    type: str
    required: true
  reader:
    description:
      - The unit for which M(clink.django_stack.config_files) has changed the files, if it is
        another one, such as the service of a socket.
    type: str
  verb:
    description: What to do.
    type: str
    choices: [restart, reload]
    default: restart
  postgresql_port:
    description:
      - Of a cluster of PostgreSQL, its port. The module then reloads the unit, and restarts it only
        if the unit was changed since its start, or if a setting needs a restart.
    type: int
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Restart Redis
  clink.django_stack.service_restart:
    name: redis-server.service

- name: Apply the settings of PostgreSQL
  clink.django_stack.service_restart:
    name: postgresql@17-main.service
    postgresql_port: 5432
"""

RETURN = r"""
"""

import os
import time

from ansible_collections.clink.django_stack.plugins.module_utils import (
    diagnosis,
    kept_files,
    staying,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

FORKS = ("notify", "notify-reload", "forking", "dbus")  # types whose start says that they work
PENDING = "SELECT name FROM pg_settings WHERE pending_restart"
ANSWER = 20.0  # seconds for PostgreSQL
MOMENT = 2.0  # seconds for which a service of another type is watched


def restart(name: str, verb: str) -> str:
    """Restart or reload a unit; return what is wrong with it, empty if it works.

    Raises:
        UnitError: systemctl fails.
    """
    begun = time.time()
    units.systemctl("daemon-reload")
    done = units.systemctl(verb, name, limit=units.STARTING)
    if done.code:
        said = units.journal(name, begun, staying.LOG) or done.output
        what = f"{name} does not {'start' if verb == 'restart' else 'reload'}"
        return diagnosis.report(f"{what}; journalctl -u {name} says:", said)
    if not name.endswith(".service"):
        return ""
    young = 0.0 if units.show(name, "Type").get("Type") in FORKS else MOMENT
    wrong = staying.broken([name], young)
    return staying.reason(name, wrong[name]) if wrong else ""


def reload_suffices(name: str, port: int) -> bool:
    """Reload the unit of a cluster of PostgreSQL, and return whether all settings are in force.

    Args:
        name: the unit.
        port: of the cluster.

    Raises:
        UnitError: systemctl fails.
    """
    units.systemctl("daemon-reload")
    told = units.show(name, "ActiveState", "ActiveEnterTimestamp", "DropInPaths", "FragmentPath")
    paths = [told.get("FragmentPath", ""), *told.get("DropInPaths", "").split()]
    since = units.moment(told.get("ActiveEnterTimestamp", ""))
    if told.get("ActiveState") != "active" or not since:
        return False
    if any(os.path.exists(path) and os.stat(path).st_mtime > since for path in paths):
        return False
    if units.systemctl("reload", name, limit=units.STARTING).code:
        return False
    waiting = units.run(units.psql(port, f"--command={PENDING}"), ANSWER)
    return not waiting.code and not waiting.output.strip()


def main() -> None:
    """Run the module."""
    module = new_module(
        argument_spec={
            "name": {"type": "str", "required": True},
            "reader": {"type": "str"},
            "verb": {"type": "str", "choices": ["restart", "reload"], "default": "restart"},
            "postgresql_port": {"type": "int"},
        },
        supports_check_mode=True,
    )
    name, verb = module.params["name"], module.params["verb"]
    if module.check_mode:
        module.exit_json(changed=True)
    port = module.params["postgresql_port"]
    try:
        if port and reload_suffices(name, port):
            module.exit_json(changed=True)
        wrong = restart(name, verb)
        if wrong:
            back = kept_files.recover([module.params["reader"] or name], verb)
            module.fail_json(msg=f"{wrong}\n{back}".strip())
    except units.UnitError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
