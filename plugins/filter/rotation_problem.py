"""The filter rotation_problem: says why playbooks/rotate.yml cannot replace a secret."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rotation_problem
short_description: Say why a secret of the application cannot be rotated
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - Some secrets belong to another server, or are set by the operator - playbooks/rotate.yml cannot
    replace them, and the operator has to do so.
positional: _input, database, broker, given, check_mode
options:
  _input:
    description: The secret, as C(app_rotate); empty if the operator named none.
    type: str
    required: true
  database:
    description: The value of C(app_database).
    type: str
    required: true
  broker:
    description: The value of C(app_broker).
    type: str
    required: true
  given:
    description: Whether the operator sets the secret, instead of a generated one.
    type: bool
    required: true
  check_mode:
    description: Whether the run is in check mode.
    type: bool
    required: true
"""

EXAMPLES = r"""
# => app_broker is none, so it has no password.
- name: Show the result
  ansible.builtin.debug:
    msg: "{{ secret | clink.django_stack.rotation_problem('local', 'none', false, false) }}"
  vars:
    secret: broker_password
"""

RETURN = r"""
_value:
  description: The problem and its solution; empty if the secret can be rotated.
  type: str
"""

from collections.abc import Callable

# The secrets of a server that may be another one: its variable, and how to replace them there.
SERVERS = {
    "database_password": (
        "app_database",
        "Create a second user there with the same rights (GRANT the first user to it, and "
        "ALTER ROLE ... SET role), write it into app_database, run playbooks/deploy.yml, and then "
        "remove the first user.",
    ),
    "broker_password": (
        "app_broker",
        "Create a second password or user there, write it into app_broker, run "
        "playbooks/deploy.yml, and then remove the first one.",
    ),
}
# How to replace a secret that the operator sets. playbooks/rotate.yml can change the owner's
# password in any case, because PostgreSQL has it.
GIVEN = {
    "broker_password": (
        "You set app_broker_password yourself. Write the new password there and the old one into "
        "app_broker_password_fallbacks, run site.yml, remove the old one again, and run site.yml."
    ),
    "secret_key": (
        "You set app_secret_key yourself. Write the new key into app_secret_key_fallbacks and run "
        "playbooks/deploy.yml, so that every process accepts it; then exchange the two keys, and "
        "run playbooks/deploy.yml again."
    ),
}
RABBITMQ = (
    "app_broker is rabbitmq, which knows one password at a time. Write a new one into the file "
    "broker_password of the directory app_secrets, such as that of `openssl rand -hex 20`, and run "
    "site.yml: RabbitMQ and the services restart with it. Tasks stay in their queues; publishing "
    "one fails meanwhile, for some seconds."
)


def rotation_problem(secret: str, database: str, broker: str, given: bool, check_mode: bool) -> str:
    """Return why a secret cannot be rotated; empty if it can.

    Args:
        secret: the value of app_rotate.
        database: the value of app_database.
        broker: the value of app_broker.
        given: whether the operator sets the secret.
        check_mode: whether the run is in check mode.
    """
    if not secret:
        return "Name the secret: -e app_rotate=database_password, broker_password or secret_key"
    if check_mode:
        return "A rotation has no check mode; nothing was changed"
    if secret in SERVERS:
        variable, advice = SERVERS[secret]
        server = database if variable == "app_database" else broker
        if server == "none":
            return f"{variable} is none, so it has no password."
        if server == "rabbitmq":
            return RABBITMQ
        if server != "local":
            return f"{variable} is on another server. {advice}"
    return GIVEN.get(secret, "") if given else ""


class FilterModule:
    """Gives Ansible the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filter by its name."""
        return {"rotation_problem": rotation_problem}
