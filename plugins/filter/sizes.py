"""The filter sizes: the sizes of all services, derived from the facts of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sizes
short_description: Derive the sizes of the services from the RAM and the CPUs of a host
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - The defaults of the roles C(gunicorn), C(celery_worker), C(postgresql), C(redis), C(rabbitmq)
    and C(swap) are these sizes.
options:
  _input:
    description:
      - The facts of the host, C(ansible_facts), with memtotal_mb and processor_nproc.
      - Without them, the filter fails and names the subset of facts to gather.
    type: dict
    required: true
"""

EXAMPLES = r"""
# => 1 on a host with 1 GB, 3 on a host with 4 GB and 2 CPUs
- name: Show the number of processes of Gunicorn
  ansible.builtin.debug:
    msg: "{{ (ansible_facts | clink.django_stack.sizes).gunicorn_workers }}"
"""

RETURN = r"""
_value:
  description: The sizes by their names.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.clink.django_stack.plugins.plugin_utils.sizes import sizes


class FilterModule:
    """Gives Ansible the filter."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Return the filter by its name."""
        return {"sizes": sizes}
