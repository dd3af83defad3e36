"""The filter explain_failure: the message for a command of a hook that has failed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: explain_failure
short_description: Say why a command of the application has failed
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - Looks for a known cause in the output of a command, and returns what to do, the lines that tell
    why, and the state of the site.
positional: _input, step, consequence
options:
  _input:
    description: The output of the command.
    type: str
    required: true
  step:
    description: The step that the command belongs to, such as V(after_switch).
    type: str
    required: true
  consequence:
    description: The state of the site.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say why the command has failed
  ansible.builtin.fail:
    msg: "{{ ran.stdout | clink.django_stack.explain_failure('after_switch', 'it is live') }}"
  when: ran.rc != 0
"""

RETURN = r"""
_value:
  description: The message.
  type: str
"""

from collections.abc import Callable

from ansible_collections.clink.django_stack.plugins.module_utils import release_hints


def explain_failure(output: str, step: str, consequence: str) -> str:
    """Return the message for a command of the application that has failed.

    Args:
        output: what it printed.
        step: the step that it belongs to.
        consequence: the state of the site.
    """
    return release_hints.explain(step, output, consequence=consequence)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filters by their names."""
        return {"explain_failure": explain_failure}
