"""Shows what a person wants to know of a host, in one table."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_status
short_description: Checks a host, and returns what it has seen
description:
  - Runs the checks that the role C(monitor) has installed a description of, and some that an alarm
    does not need. It asks the site for its health page, the units, the Celery worker, the queue,
    PostgreSQL, the file systems, the memory, the certificates, the report of the last backup and
    apt.
  - The module changes nothing, and does not fail where something is wrong with the host.
options: {}
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Check the host
  clink.django_stack.host_status:
  register: status

- name: Fail with the problems
  ansible.builtin.fail:
    msg: "{{ status.problems | join('\n') }}"
  when: status.problems | length > 0
"""

RETURN = r"""
rows:
  description: The result of each check.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: What was checked, such as V(celery.service) or V(disk /).
      type: str
    told:
      description: What was seen.
      type: str
    wrong:
      description: What is wrong; empty if nothing is.
      type: str
    advice:
      description: What to do about it.
      type: str
problems:
  description: A line for each problem, with what to do.
  type: list
  elements: str
  returned: always
table:
  description: The rows as a table.
  type: str
  returned: always
"""

import json
import time

from ansible_collections.clink.django_stack.plugins.module_utils import alarms, checks
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module


def main() -> None:
    """Run the module."""
    module = new_module(argument_spec={}, supports_check_mode=True)
    try:
        described = checks.own(checks.DESCRIPTION)
    except OSError as error:
        module.fail_json(msg=str(error))
    if not described:
        module.fail_json(msg=f"{checks.DESCRIPTION} says what to check, and is missing: run "
                             "site.yml, with the role monitor")  # fmt: skip
    given, now = json.loads(described), time.time()
    rows, _memory = checks.look(given, alarms.load(), now, thorough=True)
    module.exit_json(
        changed=False,
        rows=checks.as_json(rows),
        problems=checks.problems(rows),
        table=checks.table(given["host"], rows, now),
    )


if __name__ == "__main__":
    main()
