"""Run on the host: print the certificates that it serves, as lines of JSON.

    certificates.py none|selfsigned|files|letsencrypt NAME...

Each line has "name", the requested name; "told", the description of its certificate; and "wrong",
the problem for an operator, empty where there is none.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import time

DAY = 86400  # seconds
FIELDS = ["-subject", "-issuer", "-serial", "-startdate", "-enddate"]


def served(name: str) -> dict[str, str]:
    """Return the fields of the certificate that nginx serves for a name.

    Raises:
        OSError: nginx does not answer, or has no certificate for the name.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = None if ":" in name else name  # a TLS handshake names no IP address
    with (
        socket.create_connection(("127.0.0.1", 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=server) as secure,
    ):
        certificate = secure.getpeercert(binary_form=True)
    command = ["openssl", "x509", "-inform", "der", "-noout", *FIELDS]
    told = subprocess.run(command, input=certificate, capture_output=True, check=True).stdout
    return dict(line.split("=", 1) for line in told.decode().splitlines())


def inspect(source: str, name: str) -> dict[str, str]:
    """Return the description and the problem of a name's certificate."""
    try:
        certificate = served(name)
    except OSError as error:
        return {"name": name, "told": f"no certificate: {error}", "wrong": f"no answer: {error}"}
    own = certificate["subject"] == certificate["issuer"]
    begins, ends = (ssl.cert_time_to_seconds(certificate[at]) for at in ("notBefore", "notAfter"))
    left, life = ends - time.time(), ends - begins
    issuer = re.search(r"(?:CN|O) ?= ?([^,]*)$", certificate["issuer"])
    by = "self-signed" if own else f"by {issuer[1] if issuer else certificate['issuer']}"
    told = f"{by}, serial {certificate['serial']}, until {certificate['notAfter']}"
    wrong = []
    if own and source == "letsencrypt":
        wrong.append("self-signed, where an authority's certificate is wanted")
    if left < life / 3 - min(DAY, life / 30):  # certbot renews by then; it runs twice a day
        wrong.append("less than a third of its life is left, and it has not been renewed")
    told += f", {left / DAY:.0f} days left of {life / DAY:.0f}"
    return {"name": name, "told": told, "wrong": "; ".join(wrong)}


if __name__ == "__main__":
    for each in sys.argv[2:]:
        print(json.dumps(inspect(sys.argv[1], each)))
