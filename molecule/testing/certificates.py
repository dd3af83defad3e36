"""Certificates as a client sees them, and the authority of prepare.yml that issues them."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from droplets import PROJECT
from testinfra.host import Host  # type: ignore[import-untyped]

# What site.yml does about certificates and what watches them, without the rest of it.
TAGS = "--tags=certificate,nginx,certbot,monitor"
STATUS = PROJECT / "playbooks" / "status.yml"


def served(address: str, name: str, believed: str) -> dict[str, Any]:
    """Return the certificate that a server shows to who asks for a name, once it is verified.

    Args:
        address: where to ask, on port 443.
        name: a domain or an IP address; of the latter the server is told nothing.
        believed: the authority's certificate in PEM.

    Raises:
        ssl.SSLCertVerificationError: if another authority has signed it, or for other names.
        ssl.SSLError: if the server ends the handshake.
    """
    context = ssl.create_default_context(cadata=believed)
    with (
        socket.create_connection((address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        certificate: dict[str, Any] | None = secure.getpeercert()
        assert certificate
        return certificate


def serves(address: str, name: str, believed: str) -> bool:
    """Return whether a server shows a certificate that can be verified; see `served`."""
    try:
        return bool(served(address, name, believed))
    except ssl.SSLError:
        return False


def root(host: Host) -> str:
    """Return the root of what Pebble has issued since it was started."""
    return str(host.check_output("curl -sk https://127.0.0.1:15000/roots/0"))
