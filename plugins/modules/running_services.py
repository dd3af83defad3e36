"""Checks that services stay up."""

from __future__ import annotations

DOCUMENTATION = r"""
module: running_services
short_description: Checks that services stay up
description:
  - systemd starts a service again and again that ends, and tells of it that it is active. This
    module watches a service that is young until it is older than it has become before. A service
    that has ended without an error, soon after its start, does not stay up either.
  - If a service ends meanwhile, the module installs the files that
    M(clink.django_stack.config_files) has replaced since the service ran, and fails with the end of
    its log. A unit that nobody has started of late is no failure.
options:
  services:
    description: The names of the units, as in V(nginx.service).
    type: list
    elements: str
    required: true
extends_documentation_fragment: clink.django_stack.module
attributes:
  check_mode:
    description: Nothing is looked at in check mode.
    support: full
"""

EXAMPLES = r"""
- name: Check that Redis stays up
  clink.django_stack.running_services:
    services: [redis-server.service]
"""

RETURN = r"""
"""

from ansible_collections.clink.django_stack.plugins.module_utils import staying, units
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module


def main() -> None:
    """Run the module."""
    module = new_module(
        argument_spec={"services": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    if not module.check_mode:
        try:
            staying.confirm(module.params["services"], staying.STEADY)
        except (staying.StayingError, units.UnitError) as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
