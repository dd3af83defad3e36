"""Installs the users of Redis, and lets the running Redis load them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_users
short_description: Installs the users of Redis and loads them without a restart
description:
  - Writes the file of the users (C(aclfile)), and lets the running Redis load it. Its clients stay
    connected.
  - The module adds the user V(root), who may do all. Only root of the host can read its password,
    which the module generates.
  - If Redis refuses the file, the file from before comes back, and the module fails.
options:
  path:
    description: The file of the users.
    type: path
    required: true
  users:
    description: Rules by the names of the users. The first one is the default user.
    type: dict
    required: true
  root_password_file:
    description: The file of the password of the user V(root).
    type: path
    required: true
  passwords:
    description: Passwords of the default user, for a Redis that does not know the user V(root) yet.
    type: list
    elements: str
    default: []
  address:
    description: The address of Redis.
    type: str
    default: 127.0.0.1
  port:
    description: The port of Redis.
    type: int
    default: 6379
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Let the default user read and write only
  clink.django_stack.redis_users:
    path: /etc/redis/users.acl
    users:
      default: "on #{{ 'a password' | hash('sha256') }} ~* &* -@all +@read +@write -@dangerous"
    root_password_file: /etc/django_stack/redis-root-password
"""

RETURN = r"""
restart:
  description: Whether Redis has to restart, because it knows neither the users nor their file.
  type: bool
  returned: success
"""

import grp
import hashlib
import os
import re
import secrets
import stat
from contextlib import closing, suppress
from pathlib import Path

from ansible_collections.clink.django_stack.plugins.module_utils import files, queues
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

ADMINISTRATOR = "root"
LONGEST = 200  # bytes of a password file that are read
MODE = 0o640  # of the file of the users
GROUP = "redis"


def password_in(path: Path) -> str:
    """Return the password of a file; empty if there is none."""
    with suppress(FileNotFoundError), path.open(encoding="ascii") as file:
        return file.read(LONGEST).strip()
    return ""


def own_content(path: Path) -> bytes | None:
    """Return the content of a file; None if it is not root's own file.

    Redis may write to the directory: root reads no file that a link would lead to.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        told = os.fstat(descriptor)
        if not stat.S_ISREG(told.st_mode) or told.st_nlink != 1 or told.st_uid != os.geteuid():
            return None
        return file.read()


def text_of(users: dict[str, str], password: str) -> str:
    """Return the file of the users, with the administrator after the default user.

    Args:
        users: rules by the names.
        password: of the administrator.
    """
    digest = hashlib.sha256(password.encode()).hexdigest()
    (first, rules), *others = users.items()
    own = (ADMINISTRATOR, f"on #{digest} ~* &* +@all")
    return "".join(f"user {name} {' '.join(its.split())}\n" for name, its in [
        (first, rules), own, *others
    ])  # fmt: skip


def refused(answer: str) -> str:
    """Return what is wrong with the users by Redis's answer; empty if the file itself is unknown.

    The answer can quote a password, so only the number of the line is kept.
    """
    if "ACL errors detected" not in answer and "Error in" not in answer:
        return ""
    line = re.search(r":(\d+):", answer)
    where = f" of line {line[1]}" if line else ""
    return (
        f"Redis refuses the rules{where} of its users: check redis_users and redis_commands. The "
        "users in use stay"
    )


def load(address: str, port: int, logins: list[tuple[str, ...]]) -> str:
    """Let Redis load the file of its users.

    Args:
        address: of Redis.
        port: of Redis.
        logins: the arguments of AUTH; the first one that Redis accepts and that may load is used.

    Returns:
        the refusal of Redis; empty if it has loaded the file.

    Raises:
        OSError: Redis does not answer.
    """
    host = f"[{address}]" if ":" in address else address
    said = ""
    for login in logins:
        with closing(queues.Client(f"redis://{host}:{port}")) as client:
            with suppress(queues.QueueError):  # a Redis without passwords needs no login
                client.ask("AUTH", *login)
            try:
                client.ask("ACL", "LOAD")
            except queues.QueueError as error:
                said = str(error)
                if said.startswith(("NOAUTH", "NOPERM")):
                    continue
            else:
                said = ""
            return said
    return said


def put(path: Path, text: bytes) -> None:
    """Replace the file of the users, which Redis reads and nobody else."""
    files.replace(path, text, MODE, 0, grp.getgrnam(GROUP).gr_gid)


def main() -> None:
    """Run the module."""
    module = new_module(
        argument_spec={
            "path": {"type": "path", "required": True},
            "users": {"type": "dict", "required": True, "no_log": True},
            "root_password_file": {"type": "path", "required": True, "no_log": False},
            "passwords": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 6379},
        },
        supports_check_mode=True,
    )
    given = module.params
    path, secret = Path(given["path"]), Path(given["root_password_file"])
    known = password_in(secret)
    password = known or secrets.token_hex(20)
    old = own_content(path)
    text = text_of(given["users"], password).encode()
    changed = not known or old != text
    if module.check_mode:
        module.exit_json(changed=changed, restart=False)
    try:
        if not known:
            files.replace(secret, f"{password}\n", 0o600, 0, 0)
        if old != text:
            put(path, text)
        logins = [(ADMINISTRATOR, password), *((each,) for each in given["passwords"])]
        said = load(given["address"], given["port"], logins)
        wrong = refused(said)
        if wrong and old is not None:
            put(path, old)
    except ConnectionRefusedError:  # a stopped Redis reads the file at its next start
        module.exit_json(changed=changed, restart=False)
    except OSError as error:
        module.fail_json(msg=f"{path}: the users of Redis are not in force: {error}")
    if wrong:
        module.fail_json(msg=wrong)
    module.exit_json(changed=changed, restart=bool(said))


if __name__ == "__main__":
    main()
