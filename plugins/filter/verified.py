"""The filters verified_broker and verified_database: servers on other hosts prove who they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.clink.django_stack.plugins.plugin_utils import verified


class FilterModule:
    """The filters of this file; a YAML file documents each."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by their names."""
        return {
            "verified_broker": lambda url: verified.broker(str(url)),
            "verified_database": lambda url: verified.database(str(url)),
        }
