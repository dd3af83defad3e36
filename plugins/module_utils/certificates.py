"""Reads the certificates that nginx serves on this host, and judges them."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess

DAY = 86400  # seconds
TIMEOUT = 10.0  # seconds for a handshake, and for openssl
FIELDS = ["-subject", "-issuer", "-serial", "-startdate", "-enddate"]


def served(name: str) -> dict[str, str]:
    """Return the fields of the certificate that nginx serves for a name.

    Raises:
        OSError: nginx does not answer, or has no certificate for the name.
        subprocess.SubprocessError: openssl cannot read the certificate.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = None if ":" in name else name  # a TLS handshake names no IP address
    with (
        socket.create_connection(("127.0.0.1", 443), timeout=TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=server) as secure,
    ):
        certificate = secure.getpeercert(binary_form=True)
    command = ["/usr/bin/openssl", "x509", "-inform", "der", "-noout", *FIELDS]
    told = subprocess.run(
        command, input=certificate, capture_output=True, check=True, timeout=TIMEOUT
    ).stdout
    return dict(line.split("=", 1) for line in told.decode().splitlines())


def judge(fields: dict[str, str], issued: bool, now: float) -> tuple[str, str]:
    """Return the description of a certificate and its problem, empty where there is none.

    Args:
        fields: of the certificate, as openssl tells them.
        issued: whether an authority has to have signed it.
        now: the time, in seconds since 1970.
    """
    own = fields["subject"] == fields["issuer"]
    begins, ends = (ssl.cert_time_to_seconds(fields[at]) for at in ("notBefore", "notAfter"))
    left, life = ends - now, ends - begins
    issuer = re.search(r"(?:CN|O) ?= ?([^,]*)$", fields["issuer"])
    by = "self-signed" if own else f"by {issuer[1] if issuer else fields['issuer']}"
    told = f"{by}, serial {fields['serial']}, until {fields['notAfter']}"
    told += f", {left / DAY:.0f} days left of {life / DAY:.0f}"
    wrong = []
    if own and issued:
        wrong.append("self-signed, where an authority's certificate is wanted")
    if left < life / 3 - min(DAY, life / 30):  # certbot renews by then; it runs twice a day
        wrong.append("less than a third of its life is left, and it has not been renewed")
    return told, "; ".join(wrong)
