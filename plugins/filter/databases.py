"""The filters for the databases of PostgreSQL: what they need, and their roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import databases


class FilterModule:
    """The filters of this file; a YAML file documents each."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by their names."""
        return {
            "database_roles": databases.roles_of,
            "database_wishes": databases.wishes,
            "preloaded": databases.preloaded,
        }
