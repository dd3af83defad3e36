"""Looks after the units of an application's processes and schedules."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_units
short_description: Starts the units of an application's processes and removes those left over
description:
  - The role C(processes) installs a unit for each process and each schedule. This module starts
    the described ones, and stops and removes those that are described no more. It knows them by a
    line in their files.
  - It never touches a unit that the role has not made.
options:
  application:
    description: The name of the application, with which the names of its units begin.
    type: str
    required: true
  units:
    description: The described units, services and timers.
    type: list
    elements: str
    default: []
  calendars:
    description: When the schedules run (C(OnCalendar=)), by their names in C(app_schedules).
    type: dict
    default: {}
  active:
    description: Those of O(units) that have to be active, now and after a boot.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(checked) fails if O(calendars) has a time that systemd does not understand, or if a unit
        of the same name exists that the role has not made. It changes nothing.
      - V(present) removes left units, and starts those of O(active).
      - V(stopped) ends all processes and schedules of the application, until V(started) starts them
        or the host boots. Both ignore O(units) and O(active).
    type: str
    choices: [checked, present, stopped, started]
    default: present
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Start the processes, and remove those that are described no more
  clink.django_stack.process_units:
    application: clinic
    units: [clinic-sendalerts.service, clinic-report.service, clinic-report.timer]
    active: [clinic-sendalerts.service, clinic-report.timer]
"""

RETURN = r"""
removed:
  description: The units that were removed.
  type: list
  elements: str
  returned: always
started:
  description: The units that were started.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import processes, units
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

STATES = ["checked", "present", "stopped", "started"]


def problems(given: dict[str, Any]) -> list[str]:
    """Return what makes the description unusable on this host, one line for each problem."""
    application = given["application"]
    told = []
    for name, said in processes.bad_calendars(given["calendars"]).items():
        moment = processes.of_cron(given["calendars"][name])
        should = (
            f'"{moment}", as systemd writes what cron writes like this'
            if moment
            else "a time of systemd.time(7) such as daily or Mon *-*-* 03:00"
        )
        told.append(f"app_schedules: {name}: on: it should be {should}. systemd says: {said}")
    own = processes.installed(application)
    for unit, place in processes.foreign(given["units"], own).items():
        name = unit.removeprefix(f"{application}-").rpartition(".")[0]
        told.append(
            f"app_processes, app_schedules: {name}: it should be another name, because the host "
            f"has a unit {unit} ({place}) that this collection has not made; or remove that unit"
        )
    return told


def starts(active: list[str]) -> list[tuple[str, list[str]]]:
    """Return the verbs of systemctl that let units run now and at boot, where any is due."""
    due = []
    told = units.show_all(active, "ActiveState", "UnitFileState")
    for name, each in zip(active, told, strict=True):
        verbs = ["enable"] if each.get("UnitFileState") != "enabled" else []
        verbs += ["start"] if each.get("ActiveState") in ("inactive", "failed") else []
        if verbs:
            due.append((name, verbs))
    return due


def switch(application: str, state: str, check_mode: bool) -> list[str]:
    """Stop or start all units of an application; return those for which it was due.

    Raises:
        UnitError: one does not stop or start.
    """
    names = processes.installed(application)
    timed = {name.replace(".timer", ".service") for name in names if name.endswith(".timer")}
    if state == "started":  # a timer starts its service
        names = [name for name in names if name not in timed]
    told = units.show_all(names, "ActiveState")
    idle = [each.get("ActiveState") in ("inactive", "failed") for each in told]
    due = [n for n, is_idle in zip(names, idle, strict=True) if is_idle == (state == "started")]
    if due and not check_mode:
        done = units.systemctl(
            "start" if state == "started" else "stop", *due, limit=units.RETIRING
        )
        if done.code:
            raise units.UnitError(done.output.strip())
    return due


def main() -> None:
    """Run the module."""
    module = new_module(
        argument_spec={
            "application": {"type": "str", "required": True},
            "units": {"type": "list", "elements": "str", "default": []},
            "calendars": {"type": "dict", "default": {}},
            "active": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": STATES, "default": "present"},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        if given["state"] == "checked":
            if found := problems(given):
                module.fail_json(msg="\n".join(["Nothing was touched; please correct:", *found]))
            module.exit_json(changed=False, removed=[], started=[])
        if given["state"] in ("stopped", "started"):
            names = switch(given["application"], given["state"], module.check_mode)
            started = names if given["state"] == "started" else []
            module.exit_json(changed=bool(names), removed=[], started=started)
        left = [
            name for name in processes.installed(given["application"]) if name not in given["units"]
        ]
        left.sort(key=lambda name: not name.endswith(".timer"))  # a timer starts its service
        due = starts(given["active"])
        if not module.check_mode:
            for name in left:
                processes.remove(name)
            for name, verbs in due:
                for verb in verbs:
                    done = units.systemctl(verb, name)
                    if done.code:
                        module.fail_json(msg=f"{name} does not start: {done.output.strip()}")
    except units.UnitError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(left or due),
        removed=left,
        started=[name for name, verbs in due if "start" in verbs],
    )


if __name__ == "__main__":
    main()
