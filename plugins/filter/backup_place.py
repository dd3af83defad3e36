"""The filter backup_place: says where a repository of backups lies, in the words of each tool."""

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_place
short_description: Read a repository of backups
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - Reads the value of C(backup_repository) and returns it as pgBackRest, restic and ssh name it.
positional: _input, name
options:
  _input:
    description: The repository, as C(backup_repository).
    type: str
    required: true
  name:
    description: The name of the backups, as C(backup_name).
    type: str
    required: true
"""

EXAMPLES = r"""
# => {"kind": "posix", "directory": "/srv/backups/clinic", ...}
- name: Show the result
  ansible.builtin.debug:
    msg: "{{ '/srv/backups' | clink.django_stack.backup_place('clinic') }}"
"""

RETURN = r"""
_value:
  description:
    - The C(kind) (posix, s3 or sftp), C(directory) (empty for another host), C(pgbackrest) (a
      dictionary of its options), C(restic) (the repository) and C(known_as) (the host in
      known_hosts).
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.clink.django_stack.plugins.module_utils import backups


def backup_place(repository: str, name: str) -> dict[str, Any]:
    """Return where a repository lies.

    Raises:
        AnsibleFilterError: the text is no repository.
    """
    try:
        place = backups.place_of(str(repository), str(name))
    except ValueError as error:
        raise AnsibleFilterError(f"{repository} is no repository of backups") from error
    host = place.pgbackrest.get("repo1-sftp-host", "")
    port = place.pgbackrest.get("repo1-sftp-host-port", "22")
    return {
        "kind": place.pgbackrest["repo1-type"],
        "directory": place.directory,
        "pgbackrest": place.pgbackrest,
        "restic": place.restic,
        "known_as": host if port == "22" else f"[{host}]:{port}",
    }


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by its name."""
        return {"backup_place": backup_place}
