"""The filter rabbitmq_hash: hashes a password in the form of RabbitMQ's definitions."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rabbitmq_hash
short_description: Hash a password for the definitions of RabbitMQ
description:
  - Returns the Base64 text of a salt of four bytes and of the SHA-256 digest of salt and password,
    as RabbitMQ's C(rabbit_password_hashing_sha256) stores it.
  - The salt is derived from the password, so that the same password gives the same file. That is
    enough for a long random password; a short one could be guessed in any case.
options:
  _input:
    description: The password.
    type: str
    required: true
author:
  - The engineers of django_stack (@clink)
"""

EXAMPLES = r"""
- name: Hash a password
  ansible.builtin.debug:
    msg: "{{ rabbitmq_password | clink.django_stack.rabbitmq_hash }}"
"""

RETURN = r"""
_value:
  description: The hash.
  type: str
"""

import base64
import hashlib
from collections.abc import Callable

SALT = 4  # bytes


def rabbitmq_hash(password: object) -> str:
    """Return the hash of a password.

    Source: RabbitMQ, "Credentials and Passwords", "Computing Password Hash".
    """
    key = str(password).encode()
    salt = hashlib.sha256(b"django_stack" + key).digest()[:SALT]
    return base64.b64encode(salt + hashlib.sha256(salt + key).digest()).decode()


class FilterModule:
    """Gives Ansible the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"rabbitmq_hash": rabbitmq_hash}
