"""The filter parents: the directories that lead to others."""

from __future__ import annotations

DOCUMENTATION = r"""
name: parents
short_description: Find the directories that lead to others
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - Returns the directories above relative paths, each once and each before those below it.
options:
  _input:
    description: The paths.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
# => [a, a/b]
- name: Show the directories
  ansible.builtin.debug:
    msg: "{{ ['a/b/c', 'a/d', 'media'] | clink.django_stack.parents }}"
"""

RETURN = r"""
_value:
  description: The directories.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath


def parents(paths: Iterable[str]) -> list[str]:
    """Return the directories above relative paths, each once and each before those below it."""
    above = {parent for path in paths for parent in PurePosixPath(path).parents}
    return sorted(str(path) for path in above if path.parts)


class FilterModule:
    """Gives Ansible the filter."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Return the filter by its name."""
        return {"parents": parents}
