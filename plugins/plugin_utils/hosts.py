"""What a host is: its distribution, its packages, and the versions of PostgreSQL and pgBackRest.

One shell command looks, as the user who connects and without Python on the host. So a host that the
collection does not support is refused before anything else is tried on it.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from . import sudo_rs
from .apt import apt

# VERSION_ID of os-release, and the name that role metadata has, by ID.
SUPPORTED = {
    "debian": {"12": "bookworm", "13": "trixie"},
    "ubuntu": {"24.04": "noble", "26.04": "resolute"},
}
# The names that they have without those of derivatives, some of which keep the ID.
NAMES = {"debian": "Debian GNU/Linux", "ubuntu": "Ubuntu"}
SUPPORTED_TEXT = "Debian 12 and 13, and Ubuntu 24.04 and 26.04"
OVERRIDE = "django_stack_untested_distribution"
VERSIONS = "django_stack_versions"  # the name of the fact

# Each line begins with a word that says what it is about; a login shell may print others.
LOOK = r"""
export LC_ALL=C
{ cat /etc/os-release || cat /usr/lib/os-release; } 2>/dev/null | sed 's/^/host-os /'
uname -s | sed 's/^/host-kernel /'
for each in apt-get dpkg-query python3; do
  command -v "$each" >/dev/null 2>&1 && echo "host-program $each"
done
"${sudo:-sudo}" --version 2>&1 | sed 's/^/host-sudo /;q'
form='host-package ${db:Status-Abbrev} ${Package} ${Version}\n'
dpkg-query --show --showformat="$form" 2>/dev/null
for each in /etc/postgresql/*/main /var/lib/postgresql/*/main; do
  [ -d "$each" ] || continue
  echo "host-cluster $each"
  [ ! -e "$each/conf.d/django_stack.conf" ] || echo "host-settings $each"
  sed -n "s#^\(manual\|disabled\).*#host-manual $each#p" "$each/start.conf" 2>/dev/null
done
for each in /etc/postgresql /etc/postgresql/* /etc/postgresql/*/main /var/lib/postgresql; do
  [ ! -d "$each" ] || [ -r "$each" -a -x "$each" ] || echo "host-hidden $each"
done
set -- /etc/postgresql/*/main
[ -d "$1" ] && [ -e /usr/bin/pgbackrest ] ||
  apt-cache policy postgresql pgbackrest 2>/dev/null | sed 's/^/host-offer /'
"""


@dataclass
class Host:
    """What the command has found.

    Attributes:
        system: the values of os-release.
        kernel: the name of the kernel, such as Linux.
        programs: those that a playbook needs.
        sudo: the first line that sudo prints of its version.
        packages: versions of installed packages.
        clusters: major versions of PostgreSQL's clusters named main.
        ours: those of them that have the collection's settings.
        manual: those of them that do not start by themselves, as pg_upgradecluster leaves them.
        offers: versions of packages that the host's package sources offer.
        hidden: directories that the connected user may not read.
    """

    system: dict[str, str] = field(default_factory=dict)
    kernel: str = ""
    programs: set[str] = field(default_factory=set)
    sudo: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    clusters: set[str] = field(default_factory=set)
    ours: set[str] = field(default_factory=set)
    manual: set[str] = field(default_factory=set)
    offers: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """What to call the host's system in a message."""
        name = self.system.get("NAME") or self.kernel or "an unknown system"
        version = self.system.get("VERSION_ID", "")
        return self.system.get("PRETTY_NAME") or f"{name} {version}".strip()

    @property
    def postgresql(self) -> str:
        """The major version of the host's cluster; without a cluster, the version on offer.

        A cluster keeps its version when the distribution or its package sources have a new one: a
        new cluster would be empty. Where several clusters are in use, nobody but the user knows
        which one is meant, and the text is empty.
        """
        if self.clusters:
            by_itself = self.clusters - self.manual
            found = (self.ours & by_itself) or by_itself or self.ours or self.clusters
            return next(iter(found)) if len(found) == 1 else ""
        offered = re.match(r"[1-9][0-9](?=[+.~-])", self.offers.get("postgresql", ""))
        return offered[0] if offered else ""

    @property
    def pgbackrest(self) -> str:
        """The version of the installed pgBackRest, or of the one on offer."""
        known = self.packages.get("pgbackrest") or self.offers.get("pgbackrest", "")
        found = re.match(r"[0-9]+(\.[0-9]+)+", known)
        return found[0] if found else ""

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that variables of the roles use."""
        return {
            "packages": {name: [] for name in self.packages},
            VERSIONS: {"postgresql": self.postgresql, "pgbackrest": self.pgbackrest},
        }


def read(printed: str) -> Host:
    """Return what the command LOOK has printed."""
    host = Host()
    package = ""
    for line in printed.splitlines():
        kind, _sep, rest = line.strip().partition(" ")
        words = rest.split()
        if kind == "host-os" and "=" in rest:
            name, _sep, value = rest.partition("=")
            host.system[name.strip()] = _unquoted(value)
        elif kind == "host-kernel":
            host.kernel = rest
        elif kind == "host-sudo":
            host.sudo = rest
        elif kind == "host-program":
            host.programs.add(rest)
        elif kind == "host-hidden":
            host.hidden.add(rest)
        elif kind == "host-package" and len(words) == 3 and words[0][1:2] == "i":
            host.packages[words[1]] = words[2]
        elif kind in ("host-cluster", "host-settings", "host-manual"):
            of_kind = {
                "host-cluster": host.clusters,
                "host-settings": host.ours,
                "host-manual": host.manual,
            }
            of_kind[kind].add(rest.split("/")[-2])
        elif kind == "host-offer" and len(words) == 1 and rest.endswith(":"):
            package = words[0].rstrip(":")
        elif kind == "host-offer" and words[:1] == ["Candidate:"] and words[1] != "(none)":
            host.offers[package] = words[1]
    return host


def _unquoted(value: str) -> str:
    """Return a value of os-release without its quotes."""
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value.strip("\"'")


def refusal(host: Host, name: str, untested: bool, has_interpreter: bool) -> str:
    """Return why the collection does not touch a host; an empty text for a supported one.

    Args:
        host: what it is.
        name: the host's name in the inventory.
        untested: the user wants to try another distribution.
        has_interpreter: the inventory names a Python.
    """
    kind, version = host.system.get("ID", ""), host.system.get("VERSION_ID", "")
    supported = version in SUPPORTED.get(kind, {}) and host.name.startswith(NAMES[kind])
    missing = sorted({"apt-get", "dpkg-query"} - host.programs)
    if not supported and (missing or not untested):
        without = f", without {' and '.join(missing)}" if missing else ""
        line = (
            f"Nothing was touched: {name} has {host.name}{without}; "
            f"this collection supports {SUPPORTED_TEXT}."
        )
        return line if missing else f"{line} At your own risk, try it with {OVERRIDE}: true"
    if "python3" not in host.programs and not has_interpreter:
        return (
            f"Nothing was touched: {name} ({host.name}) has no Python, which Ansible needs. "
            "Install it with `apt-get install python3`, or set ansible_python_interpreter"
        )
    return ""


def look(action: ActionBase, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts of the host of an action plugin.

    Args:
        action: the plugin.
        variables: all variables of the host.

    Raises:
        AnsibleActionFail: the collection does not support the host, or Ansible its sudo.
    """
    try:
        given = action._templar.template(variables.get(OVERRIDE, False))
        untested = boolean(given)
    except TypeError:
        raise AnsibleActionFail(f"{OVERRIDE}: it should be true or false, not {given!r}") from None
    host = _asked(action)
    name = str(variables.get("inventory_hostname", "the host"))
    if refused := refusal(host, name, untested, "ansible_python_interpreter" in variables):
        raise AnsibleActionFail(refused)
    if refused := sudo_rs.refusal(action._connection.become, host.sudo, name):
        raise AnsibleActionFail(refused)
    if not host.clusters and not host.offers:  # a new image may lack the lists of packages
        apt(action, variables, update_cache=True, cache_valid_time=0)
        host = _asked(action)
    if host.hidden:
        host = _asked(action, become=True)
    return host.facts


def _asked(action: ActionBase, become: bool = False) -> Host:
    """Return what the command LOOK finds on the host."""
    command = f"sudo={sudo_rs.program(action._connection.become)}\n{LOOK}"
    told = action._low_level_execute_command(command, sudoable=become, executable="/bin/sh")
    return read(str(told["stdout"]))


def text_of(action: ActionBase, path: str, variables: Mapping[str, Any]) -> str:
    """Return the text of a file of the host; empty if it is missing.

    Args:
        action: the plugin that runs.
        path: of the file.
        variables: all variables of the host.

    Raises:
        AnsibleActionFail: it cannot be read.
    """
    told = action._execute_module("ansible.builtin.slurp", {"src": path}, task_vars=variables)
    if told.get("failed"):
        if "not found" in str(told.get("msg", "")).lower():
            return ""
        raise AnsibleActionFail(f"{path} cannot be read: {told.get('msg')}")
    return base64.b64decode(told["content"]).decode(errors="replace")
