"""The lookup given: what the inventory gives to a variable that a play sets."""

from __future__ import annotations

DOCUMENTATION = r"""
name: given
short_description: The value that the inventory gives to a variable
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - A play's own C(vars) hide the values of the inventory. With this lookup a play adds to a value
    of the inventory, or keeps it.
  - Extra variables of the command line count as values of the inventory.
options:
  _terms:
    description: Names of variables.
    type: list
    elements: str
    required: true
  default:
    description: The value of a variable that is not given.
    type: raw
    default: ""
  plus:
    description:
      - A list or a dictionary of the play, which is added to what is given. It stands first in a
        list. Of a dictionary its keys win, except where both have a dictionary.
    type: raw
"""

EXAMPLES = r"""
- name: Keep what the inventory gives, and add a jail
  hosts: all
  vars:
    fail2ban_jails: "{{ lookup('clink.django_stack.given', 'fail2ban_jails', plus=['sshd']) }}"
    swap_file_mb: "{{ lookup('clink.django_stack.given', 'swap_file_mb', default=512) }}"
"""

RETURN = r"""
_list:
  description: The values, rendered with all variables of the play.
  type: list
  elements: raw
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.clink.django_stack.plugins.plugin_utils import inventory


class LookupModule(LookupBase):
    """Gives Ansible the lookup."""

    def run(
        self,
        terms: list[str],
        variables: Mapping[str, Any] | None = None,
        **options: Any,  # noqa: ANN401 - options of any type
    ) -> list[Any]:
        """Return the given values, or what the play has.

        Args:
            terms: names of variables.
            variables: all variables of the host, not rendered.
            options: default or plus.
        """
        self.set_options(var_options=variables, direct=options)
        known = inventory.given(variables or {})
        default, plus = self.get_option("default"), self.get_option("plus")
        values = [
            self._templar.template(known[name]) if name in known else default for name in terms
        ]
        if plus is None:
            return values
        return [
            inventory.merged(value, plus) if name in known else plus
            for name, value in zip(terms, values, strict=True)
        ]
