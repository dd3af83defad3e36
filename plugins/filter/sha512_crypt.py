"""The filter sha512_crypt: hashes a password in the form that nginx and Debian's login read."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sha512_crypt
short_description: Hash a password as crypt(3) does with SHA-512
description:
  - Returns the hash C($6$SALT$...) with 5000 rounds.
  - The same password and salt give the same hash with every version of ansible-core and Python.
    P(ansible.builtin.password_hash#filter) takes the salt for random bytes since ansible-core
    2.21, and needs passlib where Python has no crypt module, which is since 3.13.
options:
  _input:
    description: The password.
    type: str
    required: true
  salt:
    description: 1 to 16 letters, digits, dots and slashes. Give each password a salt of its own.
    type: str
    required: true
author:
  - The engineers of django_stack (@clink)
"""

EXAMPLES = r"""
- name: Hash a password
  ansible.builtin.debug:
    msg: "{{ 'Hello world!' | clink.django_stack.sha512_crypt('saltstring') }}"
"""

RETURN = r"""
_value:
  description: The hash.
  type: str
"""

import hashlib
import re
from collections.abc import Callable

from ansible.errors import AnsibleFilterError

ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ROUNDS = 5000  # the default of crypt(3); nginx computes them for each request
SIZE = 64  # bytes of a SHA-512 digest


def _repeated(digest: bytes, length: int) -> bytes:
    """Return a digest, repeated and cut to a length in bytes."""
    return (digest * (length // SIZE + 1))[:length]


def _encoded(digest: bytes) -> str:
    """Return a digest in crypt's base 64, its bytes in the order of the specification."""
    # Each group of four characters encodes three bytes, which are a third of the digest apart.
    first = [(i, i + 21, i + 42) for i in range(21)]
    groups = [(*at[i % 3 :], *at[: i % 3]) for i, at in enumerate(first)]
    text = ""
    for high, middle, low in groups:
        word = digest[high] << 16 | digest[middle] << 8 | digest[low]
        text += "".join(ALPHABET[word >> shift & 63] for shift in (0, 6, 12, 18))
    return text + ALPHABET[digest[63] & 63] + ALPHABET[digest[63] >> 6]


def sha512_crypt(password: object, salt: str) -> str:
    """Return the hash of a password.

    Args:
        password: a text, or a number that is taken as a text.
        salt: 1 to 16 letters, digits, dots and slashes.

    Raises:
        AnsibleFilterError: if the salt is another one, or the password has a NUL.

    Source: Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512".
    """
    key, salted = str(password).encode(), str(salt).encode()
    if not re.fullmatch(rb"[A-Za-z0-9./]{1,16}", salted):
        raise AnsibleFilterError("salt: should be 1 to 16 letters, digits, dots and slashes")
    if b"\0" in key:
        raise AnsibleFilterError("the password has a NUL character, at which crypt(3) would end")
    sha512 = hashlib.sha512
    alternate = sha512(key + salted + key).digest()
    start = sha512(key + salted + _repeated(alternate, len(key)))
    bits = len(key)
    while bits:
        start.update(alternate if bits & 1 else key)
        bits >>= 1
    digest = start.digest()
    password_part = _repeated(sha512(key * len(key)).digest(), len(key))
    salt_part = _repeated(sha512(salted * (16 + digest[0])).digest(), len(salted))
    for turn in range(ROUNDS):
        mixed = password_part if turn & 1 else digest
        if turn % 3:
            mixed += salt_part
        if turn % 7:
            mixed += password_part
        mixed += digest if turn & 1 else password_part
        digest = sha512(mixed).digest()
    return f"$6${salt}${_encoded(digest)}"


class FilterModule:
    """Gives Ansible the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"sha512_crypt": sha512_crypt}
