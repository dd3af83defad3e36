"""sudo-rs, the sudo of Ubuntu 25.10 and later, which asks for a password in other words.

ansible-core waits for the words of the older sudo until its time is over, four times in two
minutes. No released version up to 2.21.5 knows those of sudo-rs. So the plugin itself is asked.
Source: ansible/ansible#85837.
"""

from __future__ import annotations

import copy
import shlex

from ansible.plugins.become import BecomeBase
from ansible.release import __version__

ASKED = "[sudo via ansible, key=abc] password:"


def program(become: BecomeBase | None) -> str:
    """Return the sudo that the inventory names, quoted for a shell."""
    if not become or become.name != "sudo":
        return "sudo"
    return shlex.quote(become.get_option("become_exe") or "sudo")


def is_known(become: BecomeBase) -> bool:
    """Return whether a become plugin recognises how sudo-rs asks for a password."""
    tried = copy.copy(become)
    tried.prompt = ASKED
    return bool(tried.check_password_prompt(f"[sudo: {ASKED}] Password: ".encode()))


def refusal(become: BecomeBase | None, version: str, name: str) -> str:
    """Return why Ansible cannot become root on a host; an empty text if it can.

    Args:
        become: the become plugin of the task.
        version: what sudo on the host prints of its version.
        name: the host's name in the inventory.
    """
    if not become or become.name != "sudo" or "sudo-rs" not in version:
        return ""
    if not become.get_option("become_pass") or is_known(become):
        return ""
    return (
        f"Nothing was touched: sudo on {name} is sudo-rs, and ansible-core {__version__} does not "
        "recognise how it asks for a password. Add one of these to the host in the inventory:\n"
        "ansible_become_method: clink.django_stack.sudo\n"
        "ansible_become_exe: sudo.ws    # if the host has the other sudo as well, as Ubuntu has"
    )
