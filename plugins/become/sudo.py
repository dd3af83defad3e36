"""Becoming root with sudo, also where sudo is sudo-rs and asks for a password."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sudo
short_description: sudo of all kinds, sudo-rs with a password among them
version_added: 0.1.0
author: The engineers of django_stack (@clink)
description:
  - Does what P(ansible.builtin.sudo#become) does. It also recognises how sudo-rs, the sudo of
    Ubuntu 25.10 and later, asks for a password. The plugin of ansible-core waits for the question
    until its time is over.
  - C(ansible_become_method=clink.django_stack.sudo) selects it.
options:
  become_user:
    description: The user to become.
    default: root
    keyword:
      - name: become_user
    vars:
      - name: ansible_become_user
      - name: ansible_sudo_user
  become_exe:
    description: The program.
    default: sudo
    keyword:
      - name: become_exe
    vars:
      - name: ansible_become_exe
      - name: ansible_sudo_exe
  become_flags:
    description: Options of the program.
    default: -H -S -n
    keyword:
      - name: become_flags
    vars:
      - name: ansible_become_flags
      - name: ansible_sudo_flags
  become_pass:
    description: The password of the user who logs in.
    required: false
    vars:
      - name: ansible_become_password
      - name: ansible_become_pass
      - name: ansible_sudo_pass
  sudo_chdir:
    description: The directory to change to before sudo.
    required: false
    vars:
      - name: ansible_sudo_chdir
"""

from ansible.plugins.become.sudo import BecomeModule as Sudo

FAILED = "sudo-rs: Authentication failed, try again."
MISSING = "sudo-rs: interactive authentication is required"


class BecomeModule(Sudo):
    """The plugin of ansible-core, which also reads what sudo-rs prints."""

    name = "sudo"
    fail = (*Sudo.fail, FAILED)
    missing = (*Sudo.missing, MISSING)

    def check_password_prompt(self, b_output: bytes) -> bool:
        """Return whether sudo asks: sudo-rs writes "[sudo: PROMPT] Password:"."""
        return bool(self.prompt) and self.prompt.strip().encode() in b_output
