"""Documentation of the action plugin `host_facts`, which runs ansible.builtin.setup on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Gather the facts of a host, and refuse a distribution that is not supported
version_added: 0.1.0
extends_documentation_fragment: clink.django_stack.module
description:
  - Refuses a host with another distribution than Debian 12 and 13, and Ubuntu 24.04 and 26.04,
    before anything else is tried on it. The first look needs neither Python nor C(become).
  - C(django_stack_untested_distribution=true) lets another distribution with apt pass.
  - Then runs M(ansible.builtin.setup), and adds the facts C(packages), which
    M(clink.django_stack.packages) reads, and C(django_stack_versions), which defaults of the roles
    read.
  - M(clink.django_stack.check_values) does the same look for a role that is used alone.
options:
  gather_subset:
    description: As in M(ansible.builtin.setup).
    type: list
    elements: str
    default: [all]
attributes:
  check_mode:
    description: Works the same in check mode.
    support: full
  diff_mode:
    description: The plugin changes nothing.
    support: none
notes:
  - If the host has no lists of packages, they are fetched.
"""

EXAMPLES = r"""
- name: Gather the facts of the host
  clink.django_stack.host_facts:
    gather_subset: ["!all", "!min", distribution, hardware]
"""

RETURN = r"""
ansible_facts:
  description: Those of ansible.builtin.setup, and two more.
  type: dict
  returned: always
  contains:
    packages:
      description: The names of the installed packages.
      type: dict
    django_stack_versions:
      description:
        - C(postgresql) is the major version of the cluster C(main) of the host; without a cluster,
          the one that the package sources offer. It is empty where several clusters are in use.
        - C(pgbackrest) is the version of the installed pgBackRest, or of the one on offer.
      type: dict
      sample: {postgresql: "17", pgbackrest: "2.55.1"}
"""
