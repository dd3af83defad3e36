"""Functions for hosts: domain names, and IP addresses, which `ipaddress` parses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

idna: ModuleType | None
try:
    import idna
except ImportError:
    idna = None

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LONGEST_NAME = 253  # characters without the dot at the end: RFC 1035
# Last labels of names that public name servers do not know: RFC 2606, 6762, 8375 and common use.
PRIVATE_SUFFIXES = frozenset(
    {"example", "internal", "invalid", "lan", "local", "localdomain", "localhost", "test"}
)


def parse_address(text: object) -> Address | None:
    """Return the IP address that a text is, or None.

    Args:
        text: such as `203.0.113.7`, `2001:db8::7` or `[2001:db8::7]`. A zone (`fe80::1%eth0`) is
            not part of an address that a name server, a certificate or a client could use.
    """
    if not isinstance(text, str):
        return None
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    if address.version == 4 and bare != text or "%" in bare:
        return None
    return address


def parse_network(text: object) -> Network | None:
    """Return the network that a text such as `10.0.0.0/8` or `::1` is, or None."""
    if not isinstance(text, str) or "%" in text or not re.fullmatch(r"[^/]+(/[0-9]{1,3})?", text):
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def is_domain(text: object) -> bool:
    """Return whether a text is a domain name in lower case, without a wildcard.

    A name whose last label is a number is refused: browsers read `1.2.3` as an IP address.
    """
    if not isinstance(text, str) or len(text) > LONGEST_NAME:
        return False
    labels = text.split(".")
    return all(LABEL.fullmatch(label) for label in labels) and not labels[-1].isdecimal()


def ascii_host(host: str) -> str:
    """Return a host as clients send it: an international name in Punycode (RFC 5890).

    A name that cannot be written so stays as it is; `is_host` refuses it. The package `idna` does
    as browsers do (UTS 46). Python's own codec, of IDNA 2003, would make other names of those that
    have one of its four deviating characters, so these need the package.
    """
    if host.isascii():
        return host
    wildcard = "*." if host.startswith("*.") else ""
    name = host.removeprefix("*.")
    try:
        if idna:
            return wildcard + str(idna.encode(name, uts46=True).decode())
        if not re.search("[ßς\u200c\u200d]", name):
            return wildcard + name.encode("idna").decode()
    except UnicodeError:
        pass
    return host


def is_host(text: object) -> bool:
    """Return whether a text is a domain name, `*.` before one, or an IP address.

    A domain name may be an international one, as its owner writes it, in lower case.
    """
    if parse_address(text):
        return True
    if not isinstance(text, str) or text != text.lower():
        return False
    name = ascii_host(text)
    return is_domain(name.removeprefix("*.")) and len(name) <= LONGEST_NAME


def is_name(text: object) -> bool:
    """Return whether a text is one domain name: a host without a wildcard, and no IP address."""
    return is_host(text) and "*" not in str(text) and not parse_address(text)


def likely_host(value: object) -> str:
    """Return the host that somebody meant who typed a URL, a port, a dot or capital letters.

    Returns:
        the host; empty where the value is one already, or nobody knows.
    """
    if not isinstance(value, str) or is_host(value):
        return ""
    text = re.sub(r"^[a-z][a-z0-9+.-]*://([^/@]*@)?", "", value.strip().lower())
    text = re.split(r"[/?#]", text)[0]
    if not parse_address(text):
        text = re.sub(r":[0-9]*$", "", text).rstrip(".")
    return text if is_host(text) else ""


def likely_name(value: object) -> str:
    """Return the domain name that somebody meant, as `likely_host` does."""
    likely = likely_host(value)
    return likely if is_name(likely) else ""


def is_port(value: object) -> bool:
    """Return whether a value is a port from 1 to 65535, without zeros in front."""
    return re.fullmatch(r"[1-9][0-9]{0,4}", str(value)) is not None and int(str(value)) <= 65535


def is_upstream(value: object) -> bool:
    """Return whether a text is a server of nginx's upstream: socket or host, then parameters."""
    if not isinstance(value, str) or not re.fullmatch(r"[ -~]+", value):
        return False
    server, *parameters = value.split(" ")
    if not all(re.fullmatch(r"[a-z_]+(=[a-z0-9]+)?", parameter) for parameter in parameters):
        return False
    if server.startswith("unix:"):
        return re.fullmatch(r"/[A-Za-z0-9_./-]+", server[len("unix:") :]) is not None
    address = parse_address(server)
    if address and not server.startswith("["):
        return address.version == 4
    host, port = re.fullmatch(r"(.*?)(?::([0-9]+))?", server).groups()  # type: ignore[union-attr]
    known = parse_address(host) is not None or is_domain(host.lower())
    return known and (port is None or is_port(port))


def is_public(text: str) -> bool:
    """Return whether a host can be reached from the internet, as far as its name tells."""
    address = parse_address(text)
    if address:
        # Networks for documentation (RFC 5737, RFC 3849) count as public: examples use them.
        documented = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
        return address.is_global or any(
            address in ipaddress.ip_network(network) for network in documented
        )
    return "." in text and text.rsplit(".", 1)[-1] not in PRIVATE_SUFFIXES


def is_on_this_host(url: object) -> bool:
    """Return whether a URL names a server of this host: a loopback address, or a socket.

    Args:
        url: of a database or a broker. It may list several servers, as those of PostgreSQL and
            Redis Sentinel do; one of them on this host is enough.
    """
    for each in str(url).split(";"):
        scheme, separator, rest = each.strip().partition("://")
        if not separator:
            continue
        servers = re.split("[/?#]", rest)[0].rpartition("@")[2]
        for server in servers.lower().split(","):
            host = re.fullmatch(r"(\[.*\]|[^:]*)(:.*)?", server)
            name = host[1] if host else server
            address = parse_address(name)
            if name == "localhost" or name.startswith("%2f") or (address and address.is_loopback):
                return True
            if not name and re.fullmatch("unix|.*socket|postgres.*", scheme.lower()):
                return True
    return False


def bracketed(host: str) -> str:
    """Return a host as a URL has it: an IPv6 address in brackets, a name in ASCII."""
    address = parse_address(host)
    return f"[{host.strip('[]')}]" if address and address.version == 6 else ascii_host(host)


def requestable(host: str) -> str:
    """Return a host that a request can name: `www` in the place of an asterisk, in ASCII."""
    return ascii_host(host).replace("*", "www")


def unbracketed(host: str) -> str:
    """Return a host as a command line has it: an IPv6 address without brackets."""
    return host.strip("[]") if parse_address(host) else host


def addresses(hosts: Iterable[str]) -> list[str]:
    """Return the hosts that are IP addresses, as they are written."""
    return [host for host in hosts if parse_address(host)]


def domains(hosts: Iterable[str]) -> list[str]:
    """Return the hosts that are no IP addresses, in ASCII."""
    return [ascii_host(host) for host in hosts if not parse_address(host)]


def with_addresses(groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names of those lists of hosts that have an IP address."""
    return [name for name, hosts in groups.items() if addresses(hosts)]


def certificate_groups(hosts: Iterable[str]) -> dict[str, list[str]]:
    """Return which hosts share a certificate of an authority, by the certificate's name.

    Each domain has its own certificate, so that one failure affects one domain. All addresses share
    one, because a TLS handshake for an address has no name. No domain has an underscore, so that a
    certificate for a wildcard has a name of its own.
    """
    hosts = list(hosts)
    groups = {domain.replace("*.", "wildcard_"): [domain] for domain in domains(hosts)}
    return groups | ({"addresses": addresses(hosts)} if addresses(hosts) else {})


def alternative_names(hosts: Iterable[str]) -> str:
    """Return hosts as OpenSSL's subjectAltName: `DNS:example.com,IP:203.0.113.7`."""
    return ",".join(
        f"IP:{unbracketed(host)}" if parse_address(host) else f"DNS:{ascii_host(host)}"
        for host in hosts
    )


def allowed_hosts(hosts: Iterable[str]) -> list[str]:
    """Return hosts as Django's ALLOWED_HOSTS: `.example.com` for a wildcard, IPv6 in brackets."""
    return [bracketed(host).removeprefix("*") for host in hosts]


def trusted_origins(hosts: Iterable[str]) -> list[str]:
    """Return hosts as Django's CSRF_TRUSTED_ORIGINS over HTTPS: `https://*.example.com`."""
    return [f"https://{bracketed(host)}" for host in hosts]


def networks_without(networks: Iterable[str], without: Iterable[str]) -> list[str]:
    """Return networks without parts of them, as the fewest networks that have the rest.

    A gateway of NAT64 leads from 64:ff9b::/96 to any IPv4 address, so that a network of IPv4 is
    left out there, too. Source: RFC 6052.

    Args:
        networks: such as `0.0.0.0/0`.
        without: networks or addresses to leave out.
    """
    left: list[Network] = [ipaddress.ip_network(each) for each in networks]
    for text in without:
        hole = ipaddress.ip_network(text)
        left = [part for each in left for part in _outside(each, hole)]
        if isinstance(hole, ipaddress.IPv4Network):
            there = NAT64[int(hole.network_address)]
            behind = ipaddress.ip_network(f"{there}/{96 + hole.prefixlen}")
            left = [part for each in left for part in _outside(each, behind)]
    versions: list[list[Any]] = [
        [each for each in left if each.version == version] for version in (4, 6)
    ]
    return [str(each) for group in versions for each in ipaddress.collapse_addresses(group)]


def _outside(network: Any, hole: Any) -> list[Any]:  # noqa: ANN401 - both of one version
    if network.version != hole.version or not network.overlaps(hole):
        return [network]
    return [] if network.subnet_of(hole) else list(network.address_exclude(hole))
