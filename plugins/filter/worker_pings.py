"""The filter worker_pings: how the monitor asks whether Celery's workers work."""

from __future__ import annotations

DOCUMENTATION = r"""
name: worker_pings
short_description: Commands that succeed if a Celery worker of this host answers
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - The application's user sends the ping, in the sandbox of the services.
positional: _input, run, celery
options:
  _input:
    description: The names of the workers, which are those of their units and nodes.
    type: list
    elements: str
    required: true
  run:
    description: The program that runs a command as the application's user (app_run).
    type: path
    required: true
  celery:
    description: The Celery application (app_celery).
    type: str
    required: true
"""

EXAMPLES = r"""
# => {'celery.service': 'APP_RUN_LIMIT=20 /usr/local/bin/clinic-run celery ... ping'}
- name: Show the commands
  ansible.builtin.debug:
    msg: "{{ ['celery'] | clink.django_stack.worker_pings('/usr/local/bin/clinic-run', 'clinic') }}"
"""

RETURN = r"""
_value:
  description: The commands by the names of the units.
  type: dict
"""

from collections.abc import Callable

from ansible_collections.clink.django_stack.plugins.plugin_utils.processes import worker_pings


class FilterModule:
    """Gives Ansible the filter."""

    def filters(self) -> dict[str, Callable[..., dict[str, str]]]:
        """Return the filter by its name."""
        return {"worker_pings": worker_pings}
