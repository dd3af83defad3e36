"""Installs a program of the package index in a virtual environment of its own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: index_program
short_description: Installs a program of the Python package index
description:
  - Makes a virtual environment of root and installs packages into it with pip, unless it has the
    program already.
  - The environment of pip may hold the password of an index. C(environment) of a task would show
    it in the list of processes and, through sudo, in the journal.
options:
  program:
    description: The path of the program, in C(bin) of the virtual environment.
    type: path
    required: true
  packages:
    description: The packages with their versions, as pip reads them.
    type: list
    elements: str
    required: true
  hashes:
    description:
      - The text of a requirements file with hashes. If it has all packages in these versions, pip
        installs the whole file and accepts nothing else. Otherwise the module warns.
    type: str
    default: ""
  variables:
    description:
      - The environment of pip, as JSON. Of a dictionary Ansible would take each value for a secret,
        and hide a C(1) wherever the module says one.
    type: str
    default: "{}"
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Install uv
  clink.django_stack.index_program:
    program: /opt/uv/0.13.9/bin/uv
    packages: [uv==0.13.9]
    hashes: "{{ lookup('ansible.builtin.file', 'uv.txt') }}"
    variables: "{{ app_install_environment | to_json }}"
"""

RETURN = r"""
"""

import json
from pathlib import Path

from ansible_collections.clink.django_stack.plugins.module_utils import diagnosis, files
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

PYTHON = "/usr/bin/python3"


def pinned(hashes: str) -> set[str]:
    """Return the packages with their versions that a requirements file has, as "uv==0.13.9"."""
    lines = [line for line in hashes.splitlines() if line[:1].strip(" #")]
    return {line.split()[0] for line in lines}


def main() -> None:
    """Run the module."""
    module = new_module(
        argument_spec={
            "program": {"type": "path", "required": True},
            "packages": {"type": "list", "elements": "str", "required": True},
            "hashes": {"type": "str", "default": ""},
            "variables": {"type": "str", "no_log": True, "default": "{}"},
        },
        supports_check_mode=True,
    )
    program = Path(module.params["program"])
    if program.exists() or module.check_mode:
        module.exit_json(changed=not program.exists())
    place = program.parents[1]
    given = json.loads(module.params["variables"])
    variables = {name: str(value) for name, value in given.items()}
    pip = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    wanted = module.params["packages"]
    if set(wanted) <= pinned(module.params["hashes"]):
        listed = place / "requirements.txt"
        files.replace(listed, module.params["hashes"], 0o644)
        wanted = ["--require-hashes", "--requirement", str(listed)]
    else:
        module.warn(f"No hash is known of {', '.join(wanted)}: the package index is trusted.")
    for command in [PYTHON, "-m", "venv", str(place)], [*pip, *wanted]:
        code, output, errors = module.run_command(command, environ_update=variables)
        if code:
            told = diagnosis.without_secrets(f"{output}\n{errors}".strip())
            module.fail_json(msg=f"{' '.join(command)} ended with {code}: {told}")
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
