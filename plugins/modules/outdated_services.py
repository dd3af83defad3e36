"""Finds services that are older than the files that they read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: outdated_services
short_description: Finds services that are older than the files that they read
description:
  - An interrupted run of ansible-playbook may have installed files without a restart of the
    services that read them. The module compares the times of the files and of the services.
  - The module changes nothing, but it runs C(systemctl daemon-reload) if the file of a unit has
    changed.
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
author:
  - The engineers of django_stack
attributes:
  check_mode:
    support: full
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
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.clink.django_stack.plugins.module_utils import units


def main() -> None:
    """Run the module."""
    service = {
        "unit": {"type": "str", "required": True},
        "files": {"type": "list", "elements": "str", "required": True},
        "handler": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "services": {"type": "list", "elements": "dict", "required": True, "options": service}
        },
        supports_check_mode=True,
    )
    try:
        old = units.outdated(module.params["services"])
    except units.UnitError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, handlers=[each["handler"] for each in old])


if __name__ == "__main__":
    main()
