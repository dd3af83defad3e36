"""Filters for the configuration of nginx; each is documented in the YAML file of its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.clink.django_stack.plugins.plugin_utils import nginx_site


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by their names."""
        return {
            "free_defaults": nginx_site.free_defaults,
            "header_names": nginx_site.header_names,
            "missing_types": nginx_site.missing_types,
            "nginx_directives": nginx_site.directives,
            "nginx_places": nginx_site.places,
            "nginx_servers": nginx_site.servers,
        }
