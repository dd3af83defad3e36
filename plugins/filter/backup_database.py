"""The filter backup_database: says how a database is backed up, and how its programs reach it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_database
short_description: Read the database of the backups
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - Reads the value of C(backup_database), and returns how it is backed up.
positional: _input
options:
  _input:
    description: The database, as C(backup_database).
    type: str
    required: true
"""

EXAMPLES = r"""
# => {"kind": "dump", "text": "PGDATABASE=\"clinic\"..."}
- name: Show the result
  ansible.builtin.debug:
    msg: "{{ 'postgresql://ada:x@db.example.com/clinic' | clink.django_stack.backup_database }}"
"""

RETURN = r"""
_value:
  description:
    - The C(kind) (cluster, dump, none or foreign), and the C(text) of the environment file in which
      the programs of PostgreSQL reach the database, which is a secret.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import backups, releases
from ansible_collections.clink.django_stack.plugins.plugin_utils import verified


def backup_database(database: str) -> dict[str, str]:
    """Return how a database is backed up, and its environment file."""
    kind = backups.database_kind(str(database))
    known: dict[str, str] = {}
    if kind == "dump":
        known = verified.database(str(database)) | backups.libpq_environment(str(database))
    return {"kind": kind, "text": releases.environment_text(known, "# Ansible managed")}


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"backup_database": backup_database}
