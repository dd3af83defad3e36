"""The filter ufw_due: says what ufw still has to change."""

from __future__ import annotations

DOCUMENTATION = r"""
name: ufw_due
short_description: Find out what ufw still has to change
description:
  - Compares what ufw has printed with what a host should have. Rules of the host that let
    only some addresses come in by SSH stay the only ones, a higher level of the log stays, and so
    does a default of V(reject).
options:
  _input:
    description: The level in C(/etc/ufw/ufw.conf), and what ufw status verbose prints.
    type: str
    required: true
  ports:
    description: The ports of SSH, which stay open.
    type: list
    elements: str
    required: true
  tcp:
    description: TCP ports and ranges that are open to everybody.
    type: list
    elements: str
    required: true
  udp:
    description: UDP ports that are open to everybody.
    type: list
    elements: str
    required: true
  logging:
    description: The lowest level of the log; V(off) for none.
    type: str
    required: true
author:
  - The engineers of django_stack (@clink)
"""

EXAMPLES = r"""
- name: Show what has to change
  ansible.builtin.debug:
    msg: "{{ printed | clink.django_stack.ufw_due([22], [80, 443], [], 'low') }}"
"""

RETURN = r"""
_value:
  description:
    - C(rules), those that are missing, as community.general.ufw takes them; C(default), the policy
      for incoming connections; C(logging); and C(closed), whether these two are in force.
  type: dict
"""

import re
from collections.abc import Callable
from typing import Any

LEVELS = ["off", "low", "medium", "high", "full"]
ROW = re.compile(r"^(\S.*?) +(ALLOW|LIMIT) IN +(\S.*?)(?: +#.*)?$", re.MULTILINE)
PROFILES = {"OpenSSH", "SSH"}  # profiles of ufw for port 22


def lets_in(to: str, port: str) -> bool:
    """Return whether a rule is about a TCP port, by what `ufw status` shows as its goal."""
    goal, _sep, interface = re.sub(r" \(.*", "", to).partition(" on ")
    goal = goal.split()[-1]
    if interface == "lo":
        return False
    if goal in PROFILES:
        return port == "22"
    ports, _sep, protocol = goal.partition("/")
    if protocol not in ("", "tcp"):
        return False
    if not re.fullmatch(r"[\d:,]+", ports) or ports.count(":") > 1:
        return True  # an address: all its ports
    ranges = [each.partition(":") for each in ports.split(",") if each]
    return any(int(first) <= int(port) <= int(last or first) for first, _sep, last in ranges)


def missing(rows: list[tuple[str, str, str]], port: str, proto: str, comment: str) -> list[Any]:
    """Return the rule that opens ports to everybody, unless it is there."""
    there = [to for to, action, origin in rows if action == "ALLOW" and origin == "Anywhere"]
    if not port or f"{port}/{proto}" in there:
        return []
    return [{"port": port, "comment": comment, "proto": proto}]


def ufw_due(
    told: str, ports: list[Any], tcp: list[Any], udp: list[Any], logging: str
) -> dict[str, Any]:
    """Return what ufw has to change; see DOCUMENTATION."""
    rows = ROW.findall(told)
    ssh = sorted(set(map(str, ports)))
    closed = [each for each in ssh if not any(lets_in(to, each) for to, _action, _source in rows)]
    rules = missing(rows, ",".join(closed), "tcp", "SSH")
    rules += missing(rows, ",".join(map(str, tcp)), "tcp", "open to everybody")
    rules += missing(rows, ",".join(map(str, udp)), "udp", "open to everybody")
    kept = re.findall(r"^LOGLEVEL=(\w+)$|^Logging: on \((\w+)\)$", told, re.MULTILINE)
    levels = [level for pair in kept for level in pair if level in LEVELS]
    level = "off" if logging == "off" else max([logging, *levels], key=LEVELS.index)
    said = re.search(r"^Default: (\w+) \(incoming\)", told, re.MULTILINE)
    policy = "reject" if said and said[1] == "reject" else "deny"
    logs = "Logging: off" if level == "off" else f"Logging: on ({level})"
    lines = told.splitlines()
    active = "Status: active" in lines and logs in lines and said and said[1] == policy
    return {"rules": rules, "default": policy, "logging": level, "closed": bool(active)}


class FilterModule:
    """Gives Ansible the filter."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Return the filter by its name."""
        return {"ufw_due": ufw_due}
