"""Lists the packages of a host; the action plugin of the same name installs missing ones."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Installs missing Debian packages
description:
  - Installs packages with M(ansible.builtin.apt), without recommended packages, and without
    starting their services, because their settings are not installed yet. C(needrestart) restarts
    no service meanwhile.
  - The first task of a run lists the packages of the host as C(ansible_facts.packages). Later tasks
    do not contact the host if it has all their packages.
  - A task is also changed if an earlier task of the same run has installed one of its packages.
  - The downloaded archives are removed afterwards.
  - If the installation fails, the lists of packages are updated, and it is tried once more.
options:
  names:
    description: The packages.
    type: list
    elements: str
    required: true
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Install nginx
  clink.django_stack.packages:
    names: [nginx]
"""

RETURN = r"""
missing:
  description: The installed packages; in check mode those that would be installed.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

QUERY = ["/usr/bin/dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\\n"]


def main() -> None:
    """List the installed packages."""
    module = new_module(
        argument_spec={"names": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    _code, told, _error = module.run_command(QUERY, check_rc=True)
    lines = (line.split() for line in told.splitlines())
    installed: dict[str, list[str]] = {
        words[1]: [] for words in lines if len(words) == 2 and words[0][1:2] == "i"
    }
    missing = [name for name in module.params["names"] if name not in installed]
    module.exit_json(changed=False, missing=missing, ansible_facts={"packages": installed})


if __name__ == "__main__":
    main()
