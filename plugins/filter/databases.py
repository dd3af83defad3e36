"""The filters database_wishes and preloaded: what the databases of PostgreSQL need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import databases


class FilterModule:
    """The filters of this file; a YAML file documents each."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by their names."""
        return {"database_wishes": databases.wishes, "preloaded": databases.preloaded}
