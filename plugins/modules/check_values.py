"""Documentation of the action plugin `check_values`, which does the work on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_values
short_description: Check the values of the variables of several roles at once
version_added: 0.1.0
extends_documentation_fragment: clink.django_stack.module
description:
  - Compares the variables of roles of this collection with their C(meta/argument_specs.yml) and
    C(checks.yml), before the first change. Fails with all complaints of all roles in one message,
    a line for each.
  - Refuses an unknown variable with a role's prefix, and names the most similar known one. In a
    role that is used alone, this is a warning.
    C(app_foreign_variables) of the application's description lists variables of other roles with
    such names.
  - Checks the dependencies of the roles, too. The plugin runs on the control machine.
  - It contacts a host that M(clink.django_stack.host_facts) has not looked at, as when a role is
    used alone, and refuses a distribution that is not supported.
  - Refuses to go on if the application on the host uses generated secrets that C(app_secrets) does
    not have, or another key. It asks the host only if a secret is missing, or if the host is not
    known to have those of this machine; the directory C(.hosts) below C(app_secrets) remembers
    that. A refusal leaves no new file behind.
options:
  roles:
    description:
      - Names of roles, short or full. Names of other roles are ignored, so that
        C(ansible_play_role_names) can be given.
    type: list
    elements: str
    required: true
  source:
    description:
      - Whether the run fetches C(app_source), so that it should be there. A run that sets up the
        role C(app) always does.
    type: bool
    default: false
attributes:
  check_mode:
    description: Works the same in check mode.
    support: full
  diff_mode:
    description: The plugin changes nothing.
    support: none
notes:
  - The value of a variable that C(checks.yml) calls secret is in no message.
"""

EXAMPLES = r"""
- name: Check the values of all roles of the play
  clink.django_stack.check_values:
    roles: "{{ ansible_play_role_names }}"

- name: Check the application's description only
  clink.django_stack.check_values:
    roles: [app_description]
"""

RETURN = r"""
complaints:
  description: One line for each wrong value.
  type: list
  elements: str
  returned: always
  sample: ["redis_port: it should be a port from 1 to 65535, not 70000"]
"""
