"""Remembers which description site.yml has applied, and compares a later one with it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: applied_description
short_description: Remembers the description that a host has, and names what has changed since
description:
  - The action plugin of this name finds out which variables of the collection's roles are given in
    the inventory or on the command line, and computes digests of their values. The module keeps the
    digests on the host, in a file that only root reads.
  - A variable that is not given has its default and is not compared.
options:
  application:
    description: The name of the application.
    type: str
    required: true
  roles:
    description:
      - For O(state=applied), names of the roles of the play, short or full. Names of other roles
        are ignored. O(state=compared) compares all roles that the host remembers.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(applied) remembers the description, once a run has applied it. A run with tags has applied
        the roles of its tags only.
      - V(compared) warns of the variables that have changed since, and that only C(site.yml)
        applies. C(checks.yml) of a role lists the others under C(no_site).
    type: str
    required: true
    choices: [applied, compared]
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Warn of changes that a deploy does not apply
  clink.django_stack.applied_description:
    application: clinic
    state: compared
"""

RETURN = r"""
variables:
  description: The variables that have changed.
  type: list
  elements: str
  returned: state=compared
"""

import json
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import descriptions, files
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

PLACE = Path("/var/lib/django_stack")


def read(path: Path) -> descriptions.Roles:
    """Return what a file remembers; empty if it is not there or is damaged."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def main() -> None:
    """Run the module."""
    states = ["applied", "compared"]
    module = new_module(
        argument_spec={
            "application": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": states},
            # The digests that the action plugin makes. A short secret can be guessed from its
            # digest, so no log shows them.
            "given": {"type": "dict", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params["given"]
    path = PLACE / module.params["application"] / "description.json"
    before = read(path)
    if module.params["state"] == "applied":
        after = {**before, **given}
        if after != before and not module.check_mode:
            files.replace(path, json.dumps(after, indent=1, sort_keys=True), 0o600)
        module.exit_json(changed=False)  # the description, and nothing that serves
    changed = descriptions.changed(before, given)
    if changed:
        module.warn(
            f"A deploy does not apply these changes of the description: {', '.join(changed)}. Run "
            "site.yml, which deploys as well."
        )
    module.exit_json(changed=False, variables=changed)


if __name__ == "__main__":
    main()
