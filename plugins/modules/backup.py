"""The backups of a host: prepared, made, listed, and restored."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: The backups of a host
description:
  - Prepares the repositories that the role C(backup) describes on the host, makes and lists
    backups, and restores them.
  - A restore has two calls. V(fetched) restores the cluster and the directories beside those in
    use. V(exchanged) moves them to their places and keeps the old ones. A call that was interrupted
    is repeated. If the restored cluster does not start, the old one is in place again.
  - A database on another server is dumped by pg_dump, and its content is replaced in one
    transaction. The state before is a dump in the repository.
  - pgBackRest runs as the user of PostgreSQL and restic as a user that may read all files; each in
    a transient unit of systemd with a sandbox.
options:
  state:
    description:
      - V(ready) makes the repositories and starts the timers. A repository that does not answer is
        a warning, because the site works without it.
      - V(made) makes a backup of the database and of the files.
      - V(listed) returns the table of the backups.
      - V(fetched) restores beside what is in use. In check mode it says what it would do.
      - V(exchanged) makes the restored data the data in use. PostgreSQL restarts; the services of
        the application must not run.
      - V(forgotten) removes what earlier restores have kept.
    type: str
    required: true
    choices: [ready, made, listed, fetched, exchanged, forgotten]
  to:
    description:
      - For O(state=fetched), a moment with a time zone, as in V(2026-11-27 01:02:03+00), the label
        of a backup of the database, or V(latest).
    type: str
    default: ""
  database:
    description:
      - For O(state=fetched), whether the database is restored too; else only the files. O(to) can
        then be the name of a backup of files.
    type: bool
    default: true
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Show the backups
  clink.django_stack.backup:
    state: listed
  register: __backup_listed

- name: Restore the data of a moment beside the data in use
  clink.django_stack.backup:
    state: fetched
    to: "2026-11-27 01:02:03+00"
"""

RETURN = r"""
report:
  description: What was done or found, or in check mode what would be done, in sentences.
  type: str
  returned: always
as_before:
  description: Whether the data in use are those from before, after a failure of a restore.
  type: bool
  returned: failure
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.clink.django_stack.plugins.module_utils import backups, trees, units
from ansible_collections.clink.django_stack.plugins.module_utils.backup_command import this_host
from ansible_collections.clink.django_stack.plugins.module_utils.backup_host import NOW, STATE
from ansible_collections.clink.django_stack.plugins.module_utils.backups import BackupError
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

SOON = "3min"


class Call:
    """One call of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the description of the backups."""
        self.module, self.given = module, module.params
        self.host = this_host()

    def ready(self) -> dict[str, Any]:
        """Create what the backups need, and say what they do not protect from."""
        due = self.host.read("ready") != self.host.digest()
        due = due or "site.yml" in self.host.status()["problems"]
        stopped = [] if due else self.host.stopped_timers()
        if not self.module.check_mode:
            if due:
                due = self.prepare()
            elif stopped:
                self.host.begin()
        warning = backups.warning_of(
            {"survives_disk": self.host.survives_disk()}, str(self.host.config["repository"])
        )
        if warning:
            self.module.warn(warning.strip())
        if places := self.host.swaps():
            self.module.warn(
                "The key of the backups can get to the disk, because this host swaps to "
                f"{', '.join(places)}. swap_file_mb: 0 removes the swap file of this collection."
            )
        if self.host.config["database"] == "foreign":
            self.module.warn(
                "Only the files are backed up: backup_database is not PostgreSQL, and its server "
                "has to make its backups."
            )
        return {"changed": due or bool(stopped), "report": ""}

    def prepare(self) -> bool:
        """Make the repositories and start the timers; return whether that was possible."""
        try:
            empty = not self.host.initialise()
        except BackupError as error:
            self.module.warn(f"No backup is made on this host. {error}")
            return False
        if empty:  # when the rest of the host is set up
            first = [units.SYSTEMD_RUN, "--quiet", "--collect", f"--on-active={SOON}",
                     units.SYSTEMCTL, "start", "--no-block", NOW]  # fmt: skip
            self.host.must(units.run(first, 60), "The start of the first backup")
        return True

    def made(self) -> dict[str, Any]:
        """Make a backup now."""
        if not self.module.check_mode:
            begun = time.time()
            done = units.systemctl("start", NOW, limit=12 * 3600.0)
            if done.code:
                said = units.journal(NOW, begun, 1, printed=True).strip()
                raise BackupError(said or f"The backup failed: {done.output.strip()}")
        return {"changed": True, "report": self.host.listed()}

    def listed(self) -> dict[str, Any]:
        """List the backups."""
        return {"changed": False, "report": self.host.listed()}

    def fetched(self) -> dict[str, Any]:
        """Restore beside what is in use."""
        to = self.given["to"].strip()
        if self.module.check_mode:
            plan = self.host.planned(to, self.given["database"])
            return {"changed": True, "report": f"{plan.report()} Nothing was done."}
        with self.host.locked("files"), self.host.locked("database"):
            journal = self.host.fetch(to, self.given["database"])
            if not journal["swapping"]:
                self.give(journal)
        return {"changed": True, "report": backups.Plan(**journal["plan"]).report()}

    def give(self, journal: dict[str, Any]) -> None:
        """Give the restored directories to those that own the directories in use."""
        for new, path, _kept in self.host.exchangeable_files(journal):
            owner = path.stat()
            trees.give(new, owner.st_uid, owner.st_gid)

    def exchanged(self) -> dict[str, Any]:
        """Make the restored data the data in use."""
        if self.module.check_mode:
            return {"changed": True, "report": ""}
        with self.host.locked("files"), self.host.locked("database"):
            journal = self.host.journal()
            if not journal:
                raise BackupError("Nothing was restored that could be put in place")
            self.host.exchange(journal)
            return {"changed": True, "report": self.host.complete(journal)}

    def forgotten(self) -> dict[str, Any]:
        """Remove what earlier restores have kept."""
        kept = [path for each in self.host.restores() for path in each.get("kept", [])]
        if not self.module.check_mode:
            self.host.forget()
        return {
            "changed": bool(kept),
            "report": f"Removed: {', '.join(kept)}" if kept else "Nothing was kept.",
        }


def main() -> None:
    """Run the module."""
    states = ["ready", "made", "listed", "fetched", "exchanged", "forgotten"]
    module = new_module(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": states},
            "to": {"type": "str", "default": ""},
            "database": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        told = getattr(Call(module), module.params["state"])()
    except (BackupError, units.UnitError) as error:
        module.fail_json(msg=str(error), as_before=not (STATE / "restore.json").exists())
    module.exit_json(**told)


if __name__ == "__main__":
    main()
