"""Filters for settings that an operator passes to programs; each has a YAML file of its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.clink.django_stack.plugins.plugin_utils import settings


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by their names."""
        return {
            "merge_headers": settings.merge_headers,
            "merge_sysctl": settings.merge_sysctl,
            "setting_lines": settings.lines,
        }
