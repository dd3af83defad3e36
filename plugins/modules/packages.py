"""Which packages a host has; the action plugin of this name installs what is missing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Debian packages of several roles, looked up once
description:
  - Installs packages with M(ansible.builtin.apt), without what they only recommend, and without
    starting their services, which have no settings yet.
  - The host is asked once in a run which packages it has (C(ansible_facts.packages)); a task whose
    packages are all there asks nobody.
  - A task is changed, too, if an earlier one of the same run has installed one of its packages.
  - Where a package cannot be found the lists of packages are fetched, and it is tried once more.
options:
  names:
    description: The packages.
    type: list
    elements: str
    required: true
author:
  - The engineers of django_stack
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Install nginx
  clink.django_stack.packages:
    names: [nginx]
"""

RETURN = r"""
missing:
  description: The packages that were installed, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule

QUERY = ["/usr/bin/dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\\n"]


def main() -> None:
    """Tell which packages are installed."""
    module = AnsibleModule(
        argument_spec={"names": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    _, told, _ = module.run_command(QUERY, check_rc=True)
    lines = (line.split() for line in told.splitlines())
    installed: dict[str, list[str]] = {
        words[1]: [] for words in lines if len(words) == 2 and words[0][1:2] == "i"
    }
    missing = [name for name in module.params["names"] if name not in installed]
    module.exit_json(changed=False, missing=missing, ansible_facts={"packages": installed})


if __name__ == "__main__":
    main()
