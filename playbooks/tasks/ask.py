"""Run on the host: ask the site behind nginx for a page; exits 0 if its status is from 200 to 399.

    ask.py NAME PATH [https]

No certificate is verified: this host's own nginx answers, and its certificate may be self-signed.
"""

from __future__ import annotations

import http.client
import ssl
import sys


def main(name: str, path: str, scheme: str = "http") -> int:
    """Ask; return the exit code, and say what the answer was if it is not a good one."""
    port = 443 if scheme == "https" else 80
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.connect()
        if scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            server = None if ":" in name else name  # an address is asked for without a name
            connection.sock = context.wrap_socket(connection.sock, server_hostname=server)
        connection.request("GET", path, headers={"Host": name})
        answer = connection.getresponse()
    except OSError as error:
        print(f"GET {scheme}://{name}{path}: {error}")
        return 1
    if 200 <= answer.status < 400:
        return 0
    text = answer.read(2000).decode(errors="replace")
    print(f"GET {scheme}://{name}{path}: {answer.status} {answer.reason}\n{text}")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
