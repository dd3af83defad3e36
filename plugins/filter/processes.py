"""The filter processes: the units of the processes and schedules of an application."""

from __future__ import annotations

DOCUMENTATION = r"""
name: processes
short_description: Derive the units of systemd from app_processes and app_schedules
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - The list has the Celery workers first, then the commands that run for ever, then the schedules.
positional: _input, schedules, application, first_worker, stop_timeout
options:
  _input:
    description: The variable app_processes.
    type: dict
    required: true
  schedules:
    description: The variable app_schedules.
    type: dict
    required: true
  application:
    description: The application, with its name, environment_file and current.
    type: dict
    required: true
  first_worker:
    description: The command of the first Celery worker, word by word.
    type: list
    elements: str
    default: []
  stop_timeout:
    description: Seconds that the tasks of a worker get to end.
    type: int
    default: 300
"""

EXAMPLES = r"""
# => ['clinic-sendalerts.service', 'clinic-clearsessions.service']
- name: Show the units
  ansible.builtin.debug:
    msg: "{{ units | map(attribute='service.unit') }}"
  vars:
    units: "{{ app_processes | clink.django_stack.processes(app_schedules, __app_application) }}"
    app_processes: {sendalerts: manage.py sendalerts}
    app_schedules: {clearsessions: {command: manage.py clearsessions, on: daily}}
"""

RETURN = r"""
_value:
  description: >-
    The units, each with name, kind (worker, command or schedule), node, command, queues,
    stop_timeout, memory, sandbox, on, timeout, and with service and watched for the module
    app_services.
  type: list
  elements: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.clink.django_stack.plugins.plugin_utils.processes import units


class FilterModule:
    """Gives Ansible the filter."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        """Return the filter by its name."""
        return {"processes": units}
