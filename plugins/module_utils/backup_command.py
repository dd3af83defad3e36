"""Runs a command of the backups; the timers of the role C(backup) start it as a program.

The command is its argument: `now`, `files` or `drill`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from ansible_collections.clink.django_stack.plugins.module_utils import units
from ansible_collections.clink.django_stack.plugins.module_utils.backup_dumps import Elsewhere
from ansible_collections.clink.django_stack.plugins.module_utils.backup_host import ETC, Busy, Host
from ansible_collections.clink.django_stack.plugins.module_utils.backups import BackupError


def this_host() -> Host:
    """Return the backups of this host, as /etc/django_stack/backup describes them.

    Raises:
        BackupError: the role backup has not run on this host.
    """
    try:
        config = json.loads((ETC / "config.json").read_text())
    except FileNotFoundError as error:
        raise BackupError("This host makes no backups: run site.yml first") from error
    return Host(config) if config["database"] == "cluster" else Elsewhere(config)


def run(host: Host, command: str) -> None:
    """Run a command, and remember for monitoring whether it has failed.

    Raises:
        BackupError: it has.
    """
    if command == "drill":
        print(host.drill())  # which remembers its own result
        return
    try:
        if command == "files":
            host.take_files(0, always=False)
        else:
            host.take()
    except Busy:
        if command != "files":  # files are looked for again soon
            raise
        return
    except BackupError as error:
        host.record(problems={command: str(error)})
        raise
    host.record(problems={command: "", "files": ""})  # each command backs up the files


def main(arguments: Sequence[str]) -> int:
    """Run a command of the timers: `now`, `files` or `drill`."""
    try:
        host = this_host()
        if not host.read("ready"):
            raise BackupError("The repository is not ready: run site.yml, which says why")
        run(host, arguments[0])
    except (BackupError, units.UnitError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
