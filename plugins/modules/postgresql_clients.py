"""Lets clients of other hosts connect to PostgreSQL, by lines of pg_hba.conf."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_clients
short_description: Lets clients of other hosts connect to PostgreSQL
description:
  - Writes a line for each client into C(pg_hba.conf), between two comments that say who has
    written them. The other lines of the file stay. The lines are at the end, and PostgreSQL takes
    the first line that fits a connection.
  - The running server checks the file (C(pg_hba_file_rules)) before it is told to read it. If
    PostgreSQL refuses a line, the file from before is installed again.
  - A client that is not listed any more loses its line. Its open connections stay until they end.
options:
  clients:
    description:
      - Who may connect, in the words of C(pg_hba.conf). Without clients the lines and the two
        comments are removed.
    type: list
    elements: dict
    required: true
    suboptions:
      type:
        description: V(hostssl) lets in connections with TLS only, V(host) those without it, too.
        type: str
        choices: [hostssl, host]
        default: hostssl
      database:
        description: The database, or a keyword such as V(all) or V(replication).
        type: str
        required: true
      user:
        description: The role, or V(all).
        type: str
        required: true
      address:
        description: An IP address, or a network such as V(10.0.0.0/24).
        type: str
        required: true
      method:
        description: How the client proves who it is.
        type: str
        choices: [scram-sha-256, cert]
        default: scram-sha-256
  port:
    description: The port of the server, which names its socket.
    type: int
    default: 5432
extends_documentation_fragment: clink.django_stack.module
attributes:
  diff_mode:
    description: Shows the lines that change.
    support: full
"""

EXAMPLES = r"""
- name: Let the hosts of a network connect to a database
  clink.django_stack.postgresql_clients:
    clients: [{database: shop, user: shop, address: 10.0.0.0/24}]
"""

RETURN = r"""
"""

import ipaddress
import json
import os
import pwd
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import files, units
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

BEGIN = "# Begin of the lines for postgresql_clients; clink.django_stack.postgresql replaces them."
END = "# End of the lines for postgresql_clients."
COLUMNS = ("type", "database", "user", "address", "method")
WRONG = "select row_to_json(r) from pg_hba_file_rules r where error is not null"
LOADED = "select extract(epoch from pg_conf_load_time())"
ANSWER = 20.0  # seconds for PostgreSQL


class ClientsError(Exception):
    """The clients cannot be let in; the text says why."""


def line_of(client: Mapping[str, str]) -> str:
    """Return the line of a client; an address without a prefix length is one host.

    Raises:
        ClientsError: its address is none.
    """
    try:
        network = ipaddress.ip_network(client["address"], strict=False)
    except ValueError as error:
        raise ClientsError(f"{client['address']} is no address and no network") from error
    return "\t".join({**client, "address": str(network)}[column] for column in COLUMNS)


def merged(text: str, clients: Iterable[Mapping[str, str]]) -> str:
    """Return the text of pg_hba.conf with lines for exactly these clients.

    Args:
        text: of the file. Lines of others stay where they are, and so does the place of ours.
        clients: who may connect.

    Raises:
        ClientsError: an address is none, or the comment at the end of our lines is missing.
    """
    before, there, after = parts(text)
    ours = [line_of(client) for client in clients]
    block = [BEGIN, *dict.fromkeys(ours), END] if ours else []
    return "\n".join([*before, *block, *after, ""]) if block or there else text


def parts(text: str) -> tuple[list[str], list[str], list[str]]:
    """Return the lines of pg_hba.conf before ours, ours with both comments, and those after ours.

    Args:
        text: of the file. Without lines of ours, all are before them.

    Raises:
        ClientsError: the comment at the end of our lines is missing.
    """
    lines = text.splitlines()
    if BEGIN not in lines:
        return lines, [], []
    first = lines.index(BEGIN)
    try:
        end = lines.index(END, first) + 1
    except ValueError as error:
        raise ClientsError(f"after line {first + 1} the line is missing: {END}") from error
    return lines[:first], lines[first:end], lines[end:]


def shown(text: str) -> str:
    """Return what a diff may show of pg_hba.conf: our lines, since others may hold passwords."""
    return "".join(f"{line}\n" for line in parts(text)[1])


@contextmanager
def acting_as(user: str) -> Iterator[None]:
    """Give the process the rights of a user on files, who owns the directory and could make links.

    Args:
        user: its name.
    """
    told, uid, gid, groups = pwd.getpwnam(user), os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(os.getgrouplist(user, told.pw_gid))
    os.setegid(told.pw_gid)
    os.seteuid(told.pw_uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


class Rules:
    """The file pg_hba.conf of the running server."""

    def __init__(self, port: int) -> None:
        """Ask the server for its file, and read it.

        Raises:
            ClientsError: the server does not answer.
            OSError: the file cannot be read.
        """
        self.port = port
        (name,) = self.asked("show hba_file")
        self.path = Path(name)
        with acting_as("postgres"):
            self.before = self.path.read_text(encoding="utf-8", errors="surrogateescape")

    def asked(self, statement: str) -> list[str]:
        """Return the lines that a statement prints.

        Raises:
            ClientsError: it fails.
        """
        done = units.run(units.psql(self.port, f"--command={statement}"), ANSWER)
        if done.code:
            raise ClientsError(f"PostgreSQL does not answer: {done.output.strip()}")
        return done.output.splitlines()

    def write(self, text: str) -> None:
        """Replace the file, with its owner and its mode.

        Raises:
            ClientsError: it belongs to somebody else than PostgreSQL's own user.
            OSError: it cannot be written.
        """
        with acting_as("postgres"):
            told = self.path.stat()
            if told.st_uid != os.geteuid():
                raise ClientsError(f"{self.path} does not belong to the user postgres")
            content = text.encode(errors="surrogateescape")
            files.replace(self.path, content, stat.S_IMODE(told.st_mode), gid=told.st_gid)

    def wrong(self) -> list[str]:
        """Return what PostgreSQL says of the lines that it refuses."""
        found = map(json.loads, self.asked(WRONG))
        return [
            f"{each.get('file_name') or self.path}, line {each['line_number']}: {each['error']}"
            for each in found
        ]

    def load(self) -> bool:
        """Have the server read the file, unless it has read it; return whether it had to."""
        changed = self.path.stat().st_mtime
        if self.loaded() > changed:
            return False
        self.asked("select pg_reload_conf()")
        begun = time.monotonic()
        while self.loaded() <= changed:
            if time.monotonic() - begun > ANSWER:
                raise ClientsError(f"PostgreSQL does not read {self.path} again")
            time.sleep(0.1)
        return True

    def loaded(self) -> float:
        """Return when the server has read its configuration, in seconds since 1970."""
        (seconds,) = self.asked(LOADED)
        return float(seconds)


def install(rules: Rules, wanted: str) -> None:
    """Write the file, and have the server check it.

    Args:
        rules: the file that is there.
        wanted: its new text.

    Raises:
        ClientsError: PostgreSQL refuses a line. The file is as it was.
    """
    new = wanted != rules.before
    if new:
        rules.write(wanted)
    try:
        wrong = rules.wrong()
    except ClientsError as error:
        wrong = [str(error)]
    if wrong:
        if new:
            rules.write(rules.before)
        lines = "\n".join(wrong)
        raise ClientsError(f"the rules in use stay, because PostgreSQL refuses lines.\n{lines}")


def main() -> None:
    """Run the module."""
    client = {
        "type": {"type": "str", "choices": ["hostssl", "host"], "default": "hostssl"},
        "database": {"type": "str", "required": True},
        "user": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "method": {"type": "str", "choices": ["scram-sha-256", "cert"], "default": "scram-sha-256"},
    }
    module = new_module(
        argument_spec={
            "clients": {"type": "list", "elements": "dict", "required": True, "options": client},
            "port": {"type": "int", "default": 5432},
        },
        supports_check_mode=True,
    )
    clients = module.params["clients"]
    told: dict[str, Any] = {}
    try:
        rules = Rules(module.params["port"])
        wanted = merged(rules.before, clients)
        changed = wanted != rules.before
        if module._diff and changed:
            headers = {"before_header": str(rules.path), "after_header": str(rules.path)}
            told["diff"] = {"before": shown(rules.before), "after": shown(wanted), **headers}
        if (clients or changed) and not module.check_mode:
            install(rules, wanted)
            changed = rules.load() or changed
    except (ClientsError, units.UnitError, OSError) as error:
        module.fail_json(msg=f"postgresql_clients: {error}")
    module.exit_json(changed=changed, **told)


if __name__ == "__main__":
    main()
