"""Finds the TCP ports at which a host is reached by SSH."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_ports
short_description: Find the TCP ports at which a host is reached by SSH
description:
  - The port of an inventory is not always one of the host. A router or a container engine can lead
    it to another one.
  - The module takes the port at which the current connection has reached sshd. Programs such as
    sudo hide it from the module, so that the module looks for it in the processes that have
    started it.
  - It adds the ports of the configuration of sshd, those at which C(ssh.service) listens, which its
    command line can set, and those of C(ssh.socket), which systemd opens for sshd.
extends_documentation_fragment: clink.django_stack.module
attributes:
  check_mode:
    description: Works the same in check mode, because the module changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Find the ports of SSH
  clink.django_stack.ssh_ports:
  register: found
"""

RETURN = r"""
ports:
  description: The ports; an empty list on a host that is reached by another way.
  type: list
  elements: int
  returned: always
  sample: [22, 2222]
"""

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ansible_collections.clink.django_stack.plugins.module_utils import occupants, units
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

PROC = Path("/proc")
PARENTS = 100  # more than any login has
ANSWER = 20.0  # seconds for sshd


def connection(pid: int) -> list[int]:
    """Return the local port of the connection that has started a process; empty if there is none.

    sshd tells it to its children by SSH_CONNECTION: the client's address and port, then the
    server's.

    Args:
        pid: of the process.
    """
    for _parent in range(PARENTS):
        try:
            variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
            told = (PROC / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return []
        for variable in variables:
            name, _sep, value = variable.decode(errors="replace").partition("=")
            words = value.split()
            if name == "SSH_CONNECTION" and len(words) == 4 and words[3].isdecimal():
                return [int(words[3])]
        pid = int(told.rpartition(")")[2].split()[1])  # the name before may have any characters
        if not pid:
            break
    return []


def listening(pid: int) -> list[int]:
    """Return the TCP ports at which a process listens for other hosts.

    Args:
        pid: of the process.
    """
    held = set()
    for descriptor in (PROC / str(pid) / "fd").glob("*"):
        with suppress(OSError):
            held.add(os.readlink(descriptor))
    sockets = occupants.sockets(occupants.text_of(PROC / "net" / name) for name in ("tcp", "tcp6"))
    return [
        port
        for inode, (port, is_reached) in sockets.items()
        if is_reached and f"socket:[{inode}]" in held
    ]


def configured(sshd: str | None) -> list[int]:
    """Return the ports of the configuration of sshd.

    Args:
        sshd: the path of the program; None on a host without it.
    """
    if not sshd:
        return []
    told = units.run([sshd, "-T"], ANSWER).output
    return [int(port) for port in re.findall(r"^port (\d+)$", told, re.MULTILINE)]


def opened(listens: Iterable[str]) -> list[int]:
    """Return the ports of a socket of systemd.

    Args:
        listens: the values of its property Listen.
    """
    found = (re.fullmatch(r"[\d.]*(?:\[.*\])?:(\d+) \(Stream\)", each) for each in listens)
    return [int(each[1]) for each in found if each]


def of_systemd() -> list[int]:
    """Return the ports at which ssh.service listens, and those that ssh.socket has open.

    Raises:
        UnitError: systemctl fails.
    """
    service = units.show("ssh.service", "MainPID")
    found = listening(int(service.get("MainPID") or 0))
    socket = units.systemctl("show", "--property=ActiveState,Listen", "ssh.socket").output
    lines = socket.splitlines()
    if "ActiveState=active" in lines:
        found += opened(line.removeprefix("Listen=") for line in lines)
    return found


def main() -> None:
    """Run the module."""
    module = new_module(argument_spec={}, supports_check_mode=True)
    try:
        of_units = of_systemd()
    except units.UnitError as error:
        module.fail_json(msg=str(error))
    found = [
        *connection(os.getpid()),
        *configured(shutil.which("sshd", path=units.ENVIRONMENT["PATH"])),
        *of_units,
    ]
    module.exit_json(changed=False, ports=sorted(set(found)))


if __name__ == "__main__":
    main()
