"""Filters for domain names and IP addresses; each is documented in the YAML file of its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.clink.django_stack.plugins.plugin_utils import addresses


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by their names."""
        return {
            "addresses": addresses.addresses,
            "allowed_hosts": addresses.allowed_hosts,
            "alternative_names": addresses.alternative_names,
            "bracketed": addresses.bracketed,
            "certificate_groups": addresses.certificate_groups,
            "domains": addresses.domains,
            "is_on_this_host": addresses.is_on_this_host,
            "networks_without": addresses.networks_without,
            "requestable": addresses.requestable,
            "trusted_origins": addresses.trusted_origins,
            "unbracketed": addresses.unbracketed,
            "with_addresses": addresses.with_addresses,
        }
