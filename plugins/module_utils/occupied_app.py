"""Whose application a host has: its units, its users and its directories."""

from __future__ import annotations

import json
import pwd
import re
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import occupants, releases
from ansible_collections.clink.django_stack.plugins.module_utils.occupants import Finding

FACTS = Path("/etc/ansible/facts.d")
Given = dict[str, Any]


def others(application: str, facts: Path | None = None) -> list[str]:
    """Return the other applications that this collection has set up on the host.

    Args:
        application: the name of this one.
        facts: the directory of the records; that of Ansible's facts if it is not given.
    """
    found = []
    for path in sorted((facts or FACTS).glob("*.fact")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        ours = isinstance(record, dict) and {"release", "environment"} <= set(record)
        if ours and path.stem != application and releases.NAME.match(str(record["release"])):
            found.append(path.stem)
    return found


def belonging(application: str) -> Finding:
    """Return the finding that the host is another application's."""
    return Finding(
        f"the host has the application {application} of this collection. A host has one: this run "
        "would replace its units, its settings of nginx and its password of Redis",
        "use another host, or remove that application as the README says",
    )


def app(claim: Given) -> list[Finding]:
    """Return what the application's names mean on the host already.

    Args:
        claim: what the role wants: its `application`, `root`, `user`, and `declared`, the files of
            systemd-sysusers and systemd-tmpfiles that only the role writes.
    """
    name, root = claim["application"], Path(claim["root"])
    found = [belonging(other) for other in others(name)]
    users, directories = (occupants.text_of(path) for path in claim["declared"])
    if directories and (now := re.search(r"^d (\S+)/releases ", directories, re.MULTILINE)):
        if now[1] != str(root):
            found.append(
                Finding(f"{name} is in {now[1]} on this host, and not in {root}",
                        f"set app_root: {now[1]}")
            )  # fmt: skip
        return found
    if root.is_dir() and any(root.iterdir()):
        found.append(
            Finding(f"{root} has files of somebody else. They would stay, and belong to root",
                    "set app_root to another directory")
        )  # fmt: skip
    if not users:
        try:
            known = pwd.getpwnam(claim["user"])
        except KeyError:
            return found
        found.append(
            Finding(f"the host has a user {claim['user']} (number {known.pw_uid}, {known.pw_dir}), "
                    "who would run the application", "set app_user to another name")
        )  # fmt: skip
    return found


def units(claim: Given) -> list[Finding]:
    """Return the units of the host with the names of those that a role installs.

    Args:
        claim: what the role wants: its `application`, its `units`, and the `variable` with their
            name.
    """
    found = []
    for name in claim["units"]:
        files = occupants.unit_files(name)
        if not files:
            continue
        owner = occupants.owner_of(occupants.text_of(files[0]))
        if owner is None:
            found.append(
                Finding(f"{files[0]} is a unit of somebody else and would be replaced",
                        f"set {claim['variable']} to another name")
            )  # fmt: skip
        elif owner != claim["application"]:
            found.append(
                Finding(f"{files[0]} belongs to the application {owner} of this collection and "
                        "would be replaced", f"set {claim['variable']} to another name")
            )  # fmt: skip
    return found


def keep(claim: Given) -> list[str]:
    """Put the records of other applications aside; return their new places."""
    moved = []
    for other in others(claim["application"]):
        path = FACTS / f"{other}.fact"
        moved.append(str(path.rename(path.with_name(path.name + occupants.SUFFIX))))
    return moved
