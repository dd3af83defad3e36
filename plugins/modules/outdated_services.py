"""Finds services that are older than their files, or that the description no longer has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: outdated_services
short_description: Finds services that are older than their files, or that are described no more
description:
  - An interrupted run of ansible-playbook may have installed files without a restart of the
    services that read them. The module compares the times of the files and of the services.
  - It fails if one of the other services fails again and again; of such a service it installs the
    files from before that M(clink.django_stack.config_files) has kept.
  - The module changes nothing else, but it runs C(systemctl daemon-reload) if the file of a unit
    has changed.
options:
  services:
    description: The services.
    type: list
    elements: dict
    required: true
    suboptions:
      unit:
        description: The name of the unit, as in V(nginx.service).
        type: str
        required: true
      files:
        description: The files that the service reads.
        type: list
        elements: str
        required: true
      handler:
        description: The handler to run after a change of the files.
        type: str
        required: true
  retired:
    description:
      - The services that a role would set up and that the description does not have, as for the
        module M(clink.django_stack.retired_services).
    type: list
    elements: dict
    default: []
    suboptions:
      unit:
        description: The name of the unit, as in V(celery.service).
        type: str
        required: true
      own:
        description: A file that only the role has written.
        type: str
        required: true
      text:
        description: What the file contains if it is the role's; empty if its path says enough.
        type: str
        default: ""
  application:
    description: The name of the application whose processes and schedules RV(left) names.
    type: str
    default: ""
  processes:
    description: The units of the processes and schedules that the description has.
    type: list
    elements: str
    default: []
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Find stale services
  clink.django_stack.outdated_services:
    services:
      - {unit: nginx.service, files: [/etc/nginx/nginx.conf], handler: Restart nginx}
  register: outdated
"""

RETURN = r"""
handlers:
  description: The handlers of the stale services.
  type: list
  elements: str
  returned: always
retired:
  description: Those of O(retired) that the host still has, without those that others use, too.
  type: list
  elements: dict
  returned: always
left:
  description: The units of processes and schedules that the description no longer has.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.clink.django_stack.plugins.module_utils import (
    occupied_services,
    processes,
    staying,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module


def main() -> None:
    """Run the module."""
    service = {
        "unit": {"type": "str", "required": True},
        "files": {"type": "list", "elements": "str", "required": True},
        "handler": {"type": "str", "required": True},
    }
    module = new_module(
        argument_spec={
            "services": {"type": "list", "elements": "dict", "required": True, "options": service},
            "retired": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": units.RETIRED,
            },
            "application": {"type": "str", "default": ""},
            "processes": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        old = units.outdated(module.params["services"])
        stale = [each["unit"] for each in old]
        if not module.check_mode:
            staying.confirm(
                each["unit"] for each in module.params["services"] if each["unit"] not in stale
            )
    except (staying.StayingError, units.UnitError) as error:
        module.fail_json(msg=str(error))
    application = module.params["application"]
    retired = []
    for each in filter(units.installed, module.params["retired"]):
        if others := occupied_services.others_in(each["unit"], application):
            module.warn(f"{each['unit']} goes on: it holds {', '.join(others)}, of others.")
        else:
            retired.append(each)
    present = processes.installed(application) if application else []
    module.exit_json(
        changed=False,
        handlers=[each["handler"] for each in old],
        retired=retired,
        left=[unit for unit in present if unit not in module.params["processes"]],
    )


if __name__ == "__main__":
    main()
