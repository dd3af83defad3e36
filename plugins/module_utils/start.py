"""How a module of this collection starts on a host."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

UMASK = 0o022


def new_module(**settings: Any) -> AnsibleModule:  # noqa: ANN401 - as AnsibleModule has them
    """Return the running module, with the usual umask of a service.

    The login of a hardened host has 077 or 027 instead. Files that a module makes, and those of the
    programs that it starts, would then be unreadable for the services that need them.

    Args:
        **settings: those of AnsibleModule.
    """
    os.umask(UMASK)
    return AnsibleModule(**settings)
