"""Stops the services that the description of a host has had and no longer has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: retired_services
short_description: Stops the services that a description no longer has
description:
  - Stops each service now and at boot, and removes the files that let it run. Its packages, its
    settings and its data stay.
  - A service that this collection has not installed is left alone. The file in C(own) tells. So is
    one that somebody used before a role took it over.
options:
  services:
    description: The services that a role would set up and that the description does not have.
    type: list
    elements: dict
    required: true
    suboptions:
      unit:
        description: The name of the unit, as in V(celery.service).
        type: str
        required: true
      own:
        description: A file that only the role has written. It is removed at the end.
        type: str
        required: true
      text:
        description: What the file contains if it is the role's; empty if its path says enough.
        type: str
        default: ""
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Stop the Celery worker of an application that has none any more
  clink.django_stack.retired_services:
    services:
      - unit: celery.service
        own: /etc/systemd/system/celery.service
        text: Description=Celery worker of clinic
"""

RETURN = r"""
stopped:
  description: The units that were stopped.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.clink.django_stack.plugins.module_utils import units
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module


def main() -> None:
    """Run the module."""
    module = new_module(
        argument_spec={
            "services": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": units.RETIRED,
            }
        },
        supports_check_mode=True,
    )
    ours = [each for each in module.params["services"] if units.installed(each)]
    stopped = [each["unit"] for each in ours]
    try:
        for each in ours if not module.check_mode else []:
            units.retire(each["unit"], each["own"])
    except units.UnitError as error:
        module.fail_json(msg=str(error), stopped=stopped)
    if stopped:
        module.warn(
            f"The description has no need of {', '.join(stopped)} any more: stopped, now and at "
            "boot. The packages and the data stay."
        )
    module.exit_json(changed=bool(stopped), stopped=stopped)


if __name__ == "__main__":
    main()
