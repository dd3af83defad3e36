"""How clients verify the server of a database or of a broker that is on another host.

A connection to another host must be encrypted, and the server must prove who it is, unless the URL
says otherwise.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from ansible_collections.clink.django_stack.plugins.module_utils import backups

from . import addresses

# Debian keeps all authorities here that it trusts, and adds those of `ca_certificates_files`.
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
REDIS = "ssl_cert_reqs"
# The schemes of brokers without TLS. The URL of a Sentinel does not tell.
PLAIN = frozenset({"redis", "amqp", "pyamqp", "librabbitmq"})


def database(url: str) -> dict[str, str]:
    """Return the variables with which libpq verifies the server of a database on another host.

    There are none if the URL has a sslmode, whose meaning PGSSLROOTCERT would change. Source:
    libpq, "SSL Support" and "Environment Variables".

    Args:
        url: of a database; or another text, such as `local`.
    """
    if backups.database_kind(url) != "dump":
        return {}
    known = backups.libpq_environment(url)
    hosts = known.get("PGHOST", "").split(",")
    here = [
        addresses.is_on_this_host(f"postgresql://{addresses.bracketed(host)}") for host in hosts
    ]
    if "PGSSLMODE" in known or all(here):
        return {}
    return {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": CA_BUNDLE}


def broker(url: str) -> str:
    """Return the URL of a broker; with rediss:// it says that the server is verified.

    Celery refuses a rediss:// URL that does not say whether it is. Source: Celery, "Using Redis".
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss" or REDIS in dict(parse_qsl(parts.query)):
        return url
    return f"{url}{'&' if parts.query else '?'}{REDIS}=required"


def is_plain(url: str) -> bool:
    """Return whether a broker's URL asks for a connection to another host without TLS.

    Args:
        url: of one server, or of several with semicolons between them.
    """
    return any(
        urlsplit(each.strip()).scheme in PLAIN and not addresses.is_on_this_host(each)
        for each in url.split(";")
    )
