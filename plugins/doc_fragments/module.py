"""What the documentation of most modules has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Gives Ansible the parts of a module's documentation."""

    DOCUMENTATION = r"""
author:
  - The engineers of django_stack (@clink)
attributes:
  check_mode:
    description: Says in check mode what it would change, and changes nothing.
    support: full
"""
