"""Documentation of the action plugin `secret_files`, which does the work on the control machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secret_files
short_description: Copy the generated secrets of an application
version_added: 0.1.0
extends_documentation_fragment: clink.django_stack.module
description:
  - The generated secrets of an application are files on the control machine. This action makes an
    encrypted copy of them, reads one, or reads the secrets from a host that uses them.
options:
  state:
    description:
      - V(checked) warns if the secrets have changed since the last copy, or have none.
      - V(exported) writes all secrets to O(file), encrypted as by C(ansible-vault).
      - V(imported) writes the secrets of O(file) that O(directory) lacks.
      - V(recovered) writes the secrets of the host that O(directory) lacks.
      - The last two fail if O(directory) has another value of a secret.
    type: str
    required: true
    choices: [checked, exported, imported, recovered]
  directory:
    description: The directory of the secrets on the control machine, as C(app_secrets).
    type: path
    required: true
  file:
    description: The encrypted copy on the control machine.
    type: path
  password:
    description: The password of the copy, of 12 characters or more.
    type: str
    default: ""
  environment_file:
    description: For O(state=recovered), the application's environment file on the host.
    type: path
  backup_file:
    description: For O(state=recovered), the file with the key of the backups on the host.
    type: path
attributes:
  check_mode:
    description: Nothing is written in check mode.
    support: full
  diff_mode:
    description: Secrets are never shown.
    support: none
"""

EXAMPLES = r"""
- name: Make an encrypted copy of the secrets
  clink.django_stack.secret_files:
    state: exported
    directory: "{{ app_secrets }}"
    file: "{{ inventory_dir }}/secrets-{{ app_name }}.vault"
    password: "{{ vault_password_of_the_copy }}"
"""

RETURN = r"""
report:
  description: What was done, in sentences without secrets.
  type: str
  returned: always
"""
