"""Refuses to take over what a host already does for somebody, before the first change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: occupied_host
short_description: Refuses to take over services, data and files of others
description:
  - Looks for what a host already does for others in the places of the given roles, such as data in
    Redis, sites of nginx, databases, units and users with the same names, other programs at the
    same ports, and another application of this collection. Fails with all that it has found,
    before anything is touched.
  - What a later change undoes without a loss is only told in a warning, such as a port that the
    firewall closes.
  - A role's own word, such as C(redis_take_over), lets the run go on. Then the module keeps what
    the role is about to replace - files in copies beside them, with the ending
    C(.before-django-stack), and the data of Redis by an append-only file - and remembers the
    service, so that M(clink.django_stack.retired_services) never stops it.
  - What a role of this collection has set up is not looked at again. What came unchanged with a
    package belongs to nobody.
options:
  claims:
    description:
      - What the roles want of the host. Each has C(role), its C(kind), the value of its word in
        C(take_over), and what the functions of C(plugins/module_utils/occupied_*.py) ask for.
    type: list
    elements: dict
    required: true
  redis_hashes:
    description:
      - For a role that is used alone, the SHA-256 sums of the passwords that Redis is to have. It
        is refused to replace all passwords of a Redis that this collection has set up.
    type: list
    elements: str
    default: []
  run_tags:
    description: The tags of the run. Only the roles that it sets up are looked at.
    type: list
    elements: str
    default: [all]
  skip_tags:
    description: The tags that the run leaves out.
    type: list
    elements: str
    default: []
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Look for others who use Redis
  clink.django_stack.occupied_host:
    claims: ["{{ __redis_claim }}"]
"""

RETURN = r"""
kept:
  description: The files in which the host keeps what is about to be replaced.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import (
    descriptions,
    occupants,
    occupied_app,
    occupied_nginx,
    occupied_services,
    queues,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.occupants import Finding
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

Claim = dict[str, Any]
OURS = {
    "nginx": occupied_nginx.is_ours,
    "redis": occupied_services.redis_is_ours,
    "rabbitmq": occupied_services.rabbitmq_is_ours,
}


class Host:
    """What several looks need, read once and only if one of them needs it."""

    def __init__(self, hashes: list[str]) -> None:
        """Read nothing yet.

        Args:
            hashes: the SHA-256 sums of the passwords that Redis gets; empty if they do not matter.
        """
        self.hashes = hashes
        self._known: dict[str, str] | None = None
        self._listeners: list[occupants.Listener] | None = None

    @property
    def known(self) -> dict[str, str]:
        """Return the sums of the configuration files that came with packages."""
        if self._known is None:
            self._known = occupants.of_packages()
        return self._known

    @property
    def listeners(self) -> list[occupants.Listener]:
        """Return who listens on the host."""
        if self._listeners is None:
            self._listeners = occupants.listeners()
        return self._listeners

    def look(self, claim: Claim) -> list[Finding]:
        """Return what the host has in the places of a role."""
        kind = claim["kind"]
        if kind in OURS and OURS[kind]():
            return occupied_services.redis_of_others(self.hashes) if kind == "redis" else []
        if kind == "nginx":
            ports = [
                finding
                for port in claim["ports"]
                for finding in occupied_services.port_taken(
                    claim, "", self.listeners, "nginx[.]service", port
                )
            ]
            return [*ports, *occupied_nginx.look(claim, self.known)]
        if kind == "redis":
            return occupied_services.redis(claim, self.known, self.listeners)
        if kind == "rabbitmq":
            return occupied_services.rabbitmq(claim, self.listeners)
        if kind == "postgresql":
            return occupied_services.postgresql(claim, self)
        if kind == "ufw":
            return occupied_services.ufw(claim, self)
        return {"app": occupied_app.app, "units": occupied_app.units,
                "fail2ban": occupied_services.fail2ban}[kind](claim)  # fmt: skip

    def keep(self, claim: Claim) -> list[str]:
        """Keep what a role is about to replace; return where."""
        kind = claim["kind"]
        if kind in OURS and OURS[kind]():
            return []
        made = occupants.copy_beside(claim.get("files", []))
        if kind == "nginx":
            made += occupied_nginx.keep(self.known)
        if kind == "redis":
            occupied_services.keep_redis()
        if kind == "app":
            made += occupied_app.keep(claim)
        if kind == "units":
            made += occupants.copy_beside(f"/etc/systemd/system/{name}" for name in claim["units"])
        for unit in claim.get("retired", []):
            occupants.remember(unit)
        return made


def lines(claim: Claim, findings: list[Finding]) -> list[str]:
    """Return what the run says of a role's findings."""
    told = []
    for each in findings:
        ways = [each.advice] if each.advice else []
        if not each.final:
            ways = [f"say {claim['word']}: true", *ways]
        told.append(f"- {each.text}: {'; or '.join(ways)}.")
    return told


def main() -> None:
    """Run the module."""
    module = new_module(
        argument_spec={
            "claims": {"type": "list", "elements": "dict", "required": True},
            "redis_hashes": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "run_tags": {"type": "list", "elements": "str", "default": ["all"]},
            "skip_tags": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    host = Host(given["redis_hashes"])
    refused: list[str] = []
    taken: list[Claim] = []
    tags = given["run_tags"], given["skip_tags"]
    applied = descriptions.applied({claim["role"] for claim in given["claims"]}, *tags)
    try:
        for claim in given["claims"]:
            if claim["role"] not in applied:
                continue
            found = host.look(claim)
            findings = [each for each in found if not each.mild]
            for each in found:
                if each.mild:
                    module.warn(f"{each.text}: {each.advice}.")
            refused += lines(
                claim, [each for each in findings if each.final or not claim["take_over"]]
            )
            if findings and claim["take_over"]:
                taken.append(claim)
        if refused:
            told = "Nothing was touched. Somebody uses what this run would take over:"
            module.fail_json(msg="\n".join([told, *dict.fromkeys(refused)]))
        kept = [] if module.check_mode else [path for claim in taken for path in host.keep(claim)]
    except (units.UnitError, queues.QueueError, OSError) as error:
        module.fail_json(msg=f"Nothing was replaced. The data of others cannot be kept: {error}")
    if kept:
        module.warn(f"What is replaced is kept in: {', '.join(kept)}")
    module.exit_json(changed=bool(taken), kept=kept)


if __name__ == "__main__":
    main()
