"""The filter merge_directives: adds an operator's directives of systemd to those of a role."""

from __future__ import annotations

DOCUMENTATION = r"""
name: merge_directives
short_description: Merge directives of systemd into those of a role
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - Where the role has a list, a list or one text is added at its end, as by a drop-in of systemd.
    An empty text in front makes systemd drop the values before it. Any other value is replaced.
    C(null) leaves the directive out.
positional: _input, more
options:
  _input:
    description: The directives of the role, by their names.
    type: dict
    required: true
  more:
    description: The directives of the operator, by their names.
    type: dict
    required: true
"""

EXAMPLES = r"""
# => {'PrivateTmp': false, 'ReadWritePaths': ['/run', '/srv/cache']}
- name: Show the result
  ansible.builtin.debug:
    msg: "{{ own | clink.django_stack.merge_directives(more) }}"
  vars:
    own: {PrivateTmp: true, ReadWritePaths: [/run]}
    more: {PrivateTmp: false, ReadWritePaths: /srv/cache}
"""

RETURN = r"""
_value:
  description: The merged directives.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any


def merge_directives(own: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge an operator's directives into those of a role.

    Args:
        own: values, or lists of them, by the names of directives.
        more: the same; they are added to lists of the role, and replace its other values.
    """
    merged = dict(own)
    for name, value in more.items():
        if value is None:
            merged.pop(name, None)
            continue
        if isinstance(merged.get(name), list):
            value = [*merged[name], *(value if isinstance(value, list) else [value])]
        merged[name] = value
    return merged


class FilterModule:
    """Gives Ansible the filter."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Return the filter by its name."""
        return {"merge_directives": merge_directives}
