"""The releases of an application on its host: fetched, built, tried, made live, taken back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_release
short_description: The releases of an application on its host
description:
  - A release is a directory below C(<root>/releases) with the code and its virtual environment;
    the link C(<root>/current) names the live one. The record of the releases is a local fact of
    the host, C(/etc/ansible/facts.d/<name>.fact).
  - The states follow each other in one deploy - C(requested), C(prepared), C(active), C(finished).
    The first one takes the lock, which the run of ansible-playbook holds until C(finished) or a
    failure gives it back.
  - Everything that root walks, links or reads belongs to root. Code of the project and of its
    packages runs in transient units of systemd with the sandbox of the services, as the build user
    (C(fetch), C(source), C(packages)) or as the application's user (all else), and ends with all
    its processes when a step ends.
options:
  state:
    description:
      - V(requested) locks the releases and finds out which release is asked for; with an
        unchanged release and environment it returns C(due=false).
      - V(prepared) builds that release if it is not there, writes its environment beside the one in
        use, and has Django check, migrate and collect, or another project migrate.
      - V(active) prepares the release if that is not done, installs the environment and makes the
        release live. With O(request=live) or O(request=rollback), which need nothing of the control
        machine, the same call also locks the releases.
      - V(reverted) makes the release before live again and marks this one as failed.
      - V(failed) marks the requested release as failed and gives back the lock.
      - V(finished) removes old releases and gives back the lock. Whatever gives it back also
        removes the environment before the switch, which may have an old secret.
      - V(listed) only tells what there is.
    type: str
    required: true
    choices: [requested, prepared, active, reverted, failed, finished, listed]
  application:
    description: The application, as the role C(app) describes it in C(vars/main.yml).
    type: dict
    required: true
  request:
    description:
      - For O(state=requested), whether the source, the live release or an earlier one is asked for.
    type: str
    choices: [source, live, rollback]
    default: source
  to:
    description: For O(request=rollback), the release to go back to; empty for the last good one.
    type: str
    default: ""
  retry:
    description: Whether a release that was taken back may become live again by a deploy.
    type: bool
    default: false
  unlock:
    description: Whether the lock of another run is taken although that run may go on.
    type: bool
    default: false
  past_migrations:
    description: Whether a rollback may leave migrations behind that the release does not know.
    type: bool
    default: false
  environment:
    description:
      - The variables of the release's processes. The action plugin of this name renders them, and
        the module gets the texts.
    type: dict
  owner_environment:
    description:
      - The variables of the steps and hooks that may change the tables of the database. Those that
        O(environment) has as well are left out.
    type: dict
  source:
    description: Where the code comes from, as C(app_source); the action plugin sends a local one.
    type: dict
  install_environment:
    description: Variables of the steps that fetch and install, as C(app_install_environment).
    type: dict
  settings:
    description: What processes read besides the environment; a change of it is a new environment.
    type: list
    elements: raw
  recipe:
    description: How a release is built; a change of it is a new release.
    type: list
    elements: raw
  build:
    description:
      - For O(state=prepared) and O(state=active), whether a local source is sent to the host.
    type: bool
    default: false
  gunicorn:
    description:
      - For O(state=prepared) and O(state=active), the configuration that Gunicorn has in the trial
        of a release.
    type: str
    default: ""
  enforced:
    description:
      - Whether a whole host is set up. Then the environment's files are compared with the
        description, too, and a release that was taken back leaves the live one as it is.
    type: bool
    default: false
  steps:
    description:
      - For O(state=prepared) and O(state=active), what the project is asked, in this order. Of a
        project without Django these are V(imports), V(keys), V(migrate) and V(trial).
    type: list
    elements: str
    default: []
  before_migrate:
    description:
      - For O(state=prepared) and O(state=active), commands that the application runs in the
        release first.
    type: list
    elements: str
    default: []
  after_switch:
    description:
      - For O(state=requested), the commands that run after a switch; O(state=requested) tells
        whether they have yet to run. For O(state=finished), those that have run.
    type: list
    elements: raw
  complete:
    description:
      - For O(state=prepared), whether this call ends the preparation. Without it the release stays
        the application's, and another call goes on.
    type: bool
    default: true
  step:
    description: For O(state=failed) and O(state=reverted), the step that failed.
    type: str
    default: ""
  output:
    description: For O(state=failed) and O(state=reverted), what that step has said.
    type: str
    default: ""
  agent:
    description:
      - The socket of a forwarded SSH agent that opens the repository, and those that packages come
        from; empty for none.
    type: str
    default: ""
extends_documentation_fragment: clink.django_stack.module
"""

EXAMPLES = r"""
- name: Ask for the release that the source holds
  clink.django_stack.app_release:
    state: requested
    application: "{{ __app_application }}"
    environment: "{{ __app_environment }}"
  register: __app_requested

- name: Build the release, test it beside the live one, and activate it
  clink.django_stack.app_release:
    state: active
    application: "{{ __app_application }}"
    environment: "{{ __app_environment }}"
    steps: [imports, check, plan, migrate, static, carry, trial]
  when: __app_requested.due

- name: Show the releases
  clink.django_stack.app_release:
    state: listed
    application: "{{ __app_application }}"
  register: __app_listed
"""

RETURN = r"""
release:
  description: The requested release; for O(state=listed) the live one.
  type: str
  returned: always
live:
  description: The release that was live when the run began; empty if none was.
  type: str
  returned: always
due:
  description: Whether the requested release, or its environment, is not in use yet.
  type: bool
  returned: always
build:
  description: Whether the requested release has to be built.
  type: bool
  returned: state=requested
hooks_due:
  description:
    - Whether the commands of O(after_switch) have changed since they ran, or failed.
  type: bool
  returned: state=requested
report:
  description: A sentence on what is live now; for O(state=listed) the table of the releases.
  type: str
  returned: state=active, state=finished, state=listed
holder:
  description: The other run that holds the lock, which the action plugin asks about.
  type: dict
  returned: when another run holds it
"""

import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.clink.django_stack.plugins.module_utils import (
    audit,
    files,
    memory,
    occupied_app,
    release_hints,
    releases,
)
from ansible_collections.clink.django_stack.plugins.module_utils.release_steps import (
    StepError,
    Steps,
)
from ansible_collections.clink.django_stack.plugins.module_utils.release_store import (
    PATIENCE,
    Host,
    Lock,
)
from ansible_collections.clink.django_stack.plugins.module_utils.releases import ReleaseError
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module
from ansible_collections.clink.django_stack.plugins.module_utils.units import UnitError

MOMENT = 2.0  # seconds that a module of another run gets to end
ROLLBACK = 60  # seconds that a step of a rollback gets: the live release may hinder it


class Deploy:
    """One call of the module: a state of the releases, reached under the lock."""

    def __init__(self, module: AnsibleModule) -> None:
        """Look at the host."""
        given = module.params
        self.module, self.given = module, given
        self.host = Host(given["application"])
        secrets = {"fetch": given["fetch_text"] or "", "install": given["install_text"] or ""}
        scripts = {**given["scripts"], "gunicorn.conf.py": given["gunicorn"]}
        self.steps = Steps(self.host, scripts, secrets)
        self.run = given["run"]
        self.lock: Lock | None = None

    # --- The lock ------------------------------------------------------------------------------

    def take(self) -> dict[str, Any]:
        """Take the lock, or tell who has it."""
        lock = self.lock = Lock(self.host.state / "lock", self.run)
        quiet = lock.quiet(PATIENCE if self.given["takeover"] else MOMENT)
        held = lock.read()
        if held and not lock.mine(held) and not self.given["takeover"]:
            age = round(time.time() - lock.path.stat().st_mtime)
            return {"holder": {**held, "age": age, "busy": not quiet}}
        if not quiet:
            raise ReleaseError(
                f"Nothing was done: another run works on {self.host.name} on the host, and has not "
                f"ended after {PATIENCE:.0f} s" + (f" ({held['by']})" if held.get("by") else "")
            )
        self.steps.settle()
        self.discard(".next", ".previous")  # of a run that was cut off
        lock.write({**self.run, "since": releases.clock()})
        self.tell("begins")
        return {}

    def tell(self, told: str) -> None:
        """Say in the journal what this run does, and which release is live."""
        play, by = self.given["play"], str(self.run["by"])
        told = f"{told}, live is {self.host.live() or 'none'}"
        audit.tell(audit.sentence(self.host.name, play, by, told))

    def held(self) -> dict[str, Any]:
        """Return what this run has written in the lock.

        Raises:
            ReleaseError: another run has taken the lock meanwhile.
        """
        lock = self.lock = self.lock or Lock(self.host.state / "lock", self.run)
        quiet = lock.quiet(PATIENCE)
        held = lock.read()
        if not quiet or not lock.mine(held):
            raise ReleaseError(
                f"{held.get('by', 'Another run')} has taken the lock of {self.host.name}: this run "
                "has stopped and changed nothing more"
            )
        return held

    def free(self) -> None:
        """Give back the lock; what only this run needed of the environment goes."""
        if self.lock:
            self.discard(".next", ".previous")
            self.lock.write({})
            self.tell("ends")

    def discard(self, *endings: str) -> None:
        """Remove files beside those of the environment: they have secrets, which may be old ones.

        Args:
            endings: ".next" for what `prepared` tests, ".previous" for what `reverted` installs.
        """
        for file in (self.host.environment_file, self.host.dotenv_file):
            for ending in endings:
                file.with_name(file.name + ending).unlink(missing_ok=True)

    # --- The states ----------------------------------------------------------------------------

    def requested(self) -> dict[str, Any]:
        """Lock the releases and find out which release is asked for."""
        kind, check, written = self.given["request"], self.module.check_mode, False
        others = occupied_app.others(self.host.name, self.host.record_file.parent)
        if others and not self.host.record_file.exists():
            raise ReleaseError(
                f"The host has the application {others[0]}, and not {self.host.name}. Nothing was "
                "done: use another host or app_name"
            )
        if not check:
            if other := self.take():
                return other
            self.host.own()
            written = self.keep_owner()
            if kind == "source":
                self.need_directories()
        record, live = self.host.record(), self.host.live()
        ref = ""
        if kind == "source":
            revision = self.revision()
            name = releases.name_of(revision, self.given["recipe"])
            ref = str(self.given["application"]["ref"]) if self.given["is_git"] else ""
            if self.is_taken_back(record, live, name):
                kind = "live"
        if kind != "source":
            name = live
            if kind == "rollback":
                name = releases.target(record, self.host.built(), live, self.given["to"])
            if not name:
                raise ReleaseError(f"{self.host.name} has no live release; run site.yml first")
            revision = releases.entry_of(record, name).get("revision", record.get("revision", ""))
        environment = record.get("environment", "") if kind == "rollback" else self.given["digest"]
        entry = releases.entry_of(record, name)
        if kind == "source":
            entry = {
                "revision": revision, "ref": ref, "by": self.run["by"], "at": releases.clock(),
                "migrated": [], "seconds": 0, "packages": entry.get("packages", ""),
            }  # fmt: skip
        request = {
            "kind": kind, "name": name, "revision": revision, "environment": environment,
            "entry": entry, "live": live, "begun": time.time(), "switched": False,
            "new_environment": environment != record.get("environment", "")
            or (self.given["enforced"] and self.drifted()),
        }  # fmt: skip
        due = name != live or request["new_environment"] or record.get("release") != name
        if self.lock:
            self.lock.write({**self.lock.read(), "request": request})
        build = name not in self.host.built()
        if build and live and (warning := memory.too_little(memory.MEMORY.read_text())):
            self.module.warn(warning)
        hooks = record.get("hooks", self.given["hooks"])  # an earlier version kept none
        return {
            "release": name, "live": live, "due": due, "build": build,
            "changed": due and check or written,
            "hooks_due": bool(self.given["hooks"]) and hooks != self.given["hooks"],
        }  # fmt: skip

    def need_directories(self) -> None:
        """Refuse a release whose links into the shared directories would lead nowhere.

        Raises:
            ReleaseError: the host lacks a directory, which site.yml makes.
        """
        shared = Path(self.given["application"]["shared"])
        wanted = self.given["application"]["shared_directories"]
        missing = [each for each in wanted if not (shared / each).is_dir()]
        if missing:
            raise ReleaseError(
                f"app_shared_directories: the host does not have {', '.join(missing)} yet. Run "
                "site.yml, which makes it and deploys as well. Nothing was done."
            )

    def is_taken_back(self, record: dict[str, Any], live: str, name: str) -> bool:
        """Return whether a rollback has taken a release back, so that the live one stays.

        Raises:
            ReleaseError: it has, and a deploy does nothing besides.
        """
        try:
            releases.refuse_left(record, live, name, self.given["retry"])
        except ReleaseError as error:
            if not self.given["enforced"] or not live:
                raise
            self.module.warn(f"{live} stays live, and the rest of the site is set up: {error}")
            return True
        return False

    def revision(self) -> str:
        """Return the revision of the source."""
        if self.given["revision"]:  # a directory or an archive of the control machine
            return str(self.given["revision"])
        return self.steps.fetch(self.module.check_mode, self.given["agent"])

    def files(self) -> list[tuple[Path, str]]:
        """Return the files of the environment, each with its text."""
        files = [(self.host.environment_file, self.given["environment_text"] or "")]
        if self.given["application"]["dotenv"]:
            files.append((self.host.dotenv_file, self.given["dotenv_text"] or ""))
        return files

    def keep_owner(self) -> bool:
        """Write the environment file with which the owner of the database migrates, if it differs.

        No service reads it, so that it is no part of an environment that is tested first.
        site.yml, which creates the role, writes the first one, and removes it where the owner has
        no other login. A deploy then leaves an empty file, so that the next one can write it again.
        """
        text, file = self.given["owner_text"], self.host.owner_file
        there = file.read_text(encoding="utf-8") if file.exists() else None
        wanted = None if self.given["enforced"] and not text else text
        if text is None or wanted == there or (there is None and not self.given["enforced"]):
            return False
        if wanted is None:
            file.unlink()
        else:
            files.replace(file, wanted, 0o600)
        return True

    def drifted(self) -> bool:
        """Return whether a file of the environment is not what the description makes of it."""
        return any(
            not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text
            for path, text in self.files()
        )

    def prepared(self) -> dict[str, Any]:
        """Build the requested release where it is missing, and have the project take it."""
        held = self.held()
        request = held["request"]
        name = request["name"]
        new = name not in self.host.built()
        environment = self.host.environment_file
        try:
            path = self.host.releases / name
            if new and not (request.get("laid_out") and path.is_dir()):
                self.receive()
                built = self.steps.build(
                    path, request["live"], request["revision"], self.given["agent"]
                )
                for each in self.steps.warnings:
                    self.module.warn(each)
                request["entry"]["packages"] = built
                request["laid_out"] = True
            if request["new_environment"]:
                group = pwd.getpwnam(self.given["application"]["user"]).pw_gid
                for file, text in self.files():
                    files.replace(file.with_name(file.name + ".next"), text, 0o640, gid=group)
                environment = environment.with_name(environment.name + ".next")
            with self.opened(name, new) as writes:
                told = self.ask_application(request, environment, writes, new)
        except ReleaseError as error:
            self.refuse(request, getattr(error, "step", ""), new)
            raise
        migrated = told.get("migrated", [])
        request["entry"]["migrated"] = sorted({*request["entry"].get("migrated", []), *migrated})
        cast(Lock, self.lock).write({**held, "request": request})
        self.warn(told)
        changed = new or bool(migrated)
        return {"release": name, "live": request["live"], "due": True, "changed": changed}

    def warn(self, told: dict[str, Any]) -> None:
        """Pass on what the project warns of, and which settings of Celery can lose tasks."""
        if told.get("warnings"):
            self.module.warn(f"Django's check --deploy warns of {', '.join(told['warnings'])}.")
        if told.get("debug"):
            self.module.warn(
                "DEBUG is on in the project's settings: set the variable that they read in "
                "app_environment."
            )
        for each in release_hints.setting_warnings(told):
            self.module.warn(each)
        silenced = told.get("silenced", [])
        celery = told.get("celery", {})
        for each in release_hints.celery_warnings(celery, silenced, self.steps.is_django):
            self.module.warn(each)

    @contextmanager
    def opened(self, name: str, new: bool) -> Iterator[tuple[str, ...]]:
        """Let the application write to a release that is prepared; seal it afterwards.

        A new release is the application's until the steps are done; of one that is complete only
        the static files are. The services cannot write there: their file system is read-only.

        Yields:
            The paths that the steps may write to.
        """
        path = self.host.releases / name
        static = path / ".staticfiles"
        user = self.given["application"]["user"]
        if new:
            self.host.give(path, user)
            yield (str(path),)
            if self.given["complete"]:
                self.host.seal(path)
                self.host.mark(path)
        elif static.is_dir() and not static.is_symlink():
            self.host.give(static, user)
            try:
                yield (str(static),)
            finally:
                self.host.seal(static)
        else:
            yield ()

    def ask_application(
        self, request: dict[str, Any], environment: Path, writes: tuple[str, ...], new: bool
    ) -> dict[str, Any]:
        """Run the commands and the steps that need the project's own code."""
        name, settings = request["name"], self.given["application"]
        path, record = self.host.releases / name, self.host.record()
        if new:
            self.steps.share(path, environment)
            self.host.remove(path / ".shared")
        if new and request["kind"] == "source":
            # npm and others write to their HOME; a /tmp that other users share is no place for it.
            home = {"HOME": "/tmp"} if settings["sandbox"].get("PrivateTmp") else {}
            for command in self.given["before_migrate"]:
                shell = ["/bin/sh", "-c", command]
                step = ["before_migrate"]
                self.steps.as_application(step, path, shell, environment, home, writes)
        steps = [step for step in self.given["steps"] if step != "trial"]
        if not steps:
            return {}
        hours = int(settings["static_keep"])
        carry = releases.carried(record, self.host.built(), request["live"], hours)
        migrated = releases.migrated_after(record, name)
        try:
            told = self.steps.ask(path, steps, environment, writes, carry, migrated)
        except StepError as error:
            if request["kind"] != "rollback":
                raise
            # The live release may be hostile: it runs as the same user and has the same database.
            hint = release_hints.HINTS[error.step][1]
            self.module.warn(
                f"{hint} The rollback goes on without Django: the record of the releases says "
                "which migrations have run, and no static files of other releases are copied."
            )
            told = {"behind": migrated}
        if told.get("behind") and not self.given["past_migrations"]:
            raise ReleaseError(
                f"{', '.join(told['behind'])}: these migrations have run, and the release {name} "
                "does not know them. A rollback does not undo them. If that code can live with "
                "the database as it is, say so with -e app_rollback_past_migrations=true. "
                "Nothing was done, and the site is as it was."
            )
        if "trial" in self.given["steps"]:
            self.steps.trial(path, environment)
        return told

    def receive(self) -> None:
        """Move the archive that the control machine has sent to where the build user reads it."""
        sent = self.given["archive"]
        if sent:
            group = pwd.getpwnam(self.given["application"]["build_user"]).pw_gid
            self.host.data.mkdir(mode=0o755, parents=True, exist_ok=True)
            with open(sent, "rb") as content:
                files.replace(self.host.data / "source.tar", content, 0o640, gid=group)
            os.unlink(sent)

    def active(self) -> dict[str, Any]:
        """Prepare the requested release, install its environment and make it live."""
        if self.given["request"] == "rollback":
            self.steps.limit = min(self.steps.limit, ROLLBACK)
        if self.given["request"] != "source":
            told = self.requested()
            if "holder" in told or not told["due"]:
                return {**told, "changed": False}
        self.prepared()
        held = self.held()
        request = held["request"]
        name, live = request["name"], request["live"]
        if name not in self.host.built():
            raise ReleaseError(f"{name} is not complete; deploy it again")
        if request["new_environment"]:
            for file, _text in self.files():
                self.swap(file)
        if request["kind"] == "source":
            request["entry"]["seconds"] = round(time.time() - request["begun"])
        request["switched"] = True
        record = self.host.record()
        cast(Lock, self.lock).write({**held, "request": request, "before": record})
        self.lead(name)
        self.host.remember(releases.activated(record, request, live, self.run, releases.clock()))
        before = f"and ran {live or 'none'} before" if name != live else "with a new environment"
        return {
            "release": name, "live": live, "due": False, "changed": True,
            "report": f"{self.host.name} runs release {name}, {before}",
        }  # fmt: skip

    def swap(self, file: Path) -> None:
        """Put the next file in the place of one in use, which stays beside it."""
        if file.exists():
            group, text = file.stat().st_gid, file.read_text(encoding="utf-8")
            files.replace(file.with_name(file.name + ".previous"), text, 0o640, gid=group)
        os.rename(file.with_name(file.name + ".next"), file)

    def lead(self, name: str) -> None:
        """Have `current` lead to a release."""
        new = self.host.current.with_name(f".{self.host.current.name}.new")
        with suppress(FileNotFoundError):
            new.unlink()
        new.symlink_to(f"releases/{name}")
        os.rename(new, self.host.current)

    def reverted(self) -> dict[str, Any]:
        """Make the release before live again; the environment before comes back with it."""
        held = self.held()
        request = held["request"]
        name, live = request["name"], request["live"]
        if request["switched"] and live:
            if request["new_environment"]:
                for file, _text in self.files():
                    with suppress(FileNotFoundError):
                        os.rename(file.with_name(file.name + ".previous"), file)
            self.lead(live)
            record = held["before"]
            if name != live:  # the environment alone is no release's fault
                record = releases.failed(record, request, self.given["step"])
            self.host.remember(record)
        return {"release": name, "live": live, "due": False, "changed": True}

    def refuse(self, request: dict[str, Any], step: str, new: bool) -> None:
        """Leave the site as it was: mark the release where it is to blame, and unlock."""
        name = request["name"]
        if request["kind"] == "source" and name != request["live"]:
            if step and release_hints.blames_release(step):
                self.host.remember(releases.failed(self.host.record(), request, step))
            if new:
                self.host.remove(self.host.releases / name)
        self.free()

    def failed(self) -> dict[str, Any]:
        """Mark the requested release as failed, unlock, and say what to mend."""
        held = self.held()
        request = held.get("request", {"switched": True})
        if request["switched"]:
            self.free()
        else:
            new = request["name"] not in self.host.built()
            self.refuse(request, self.given["step"], new)
        step, output = self.given["step"], self.given["output"]
        # The module app_services has looked for the cause already.
        explain = release_hints.explain_report if step == "services" else release_hints.explain
        raise ReleaseError(explain(step, output))

    def finished(self) -> dict[str, Any]:
        """Remove the oldest releases and what is half-made, and unlock."""
        self.held()
        host, keep = self.host, int(self.given["application"]["keep"])
        live, record = host.live(), host.record()
        for name in releases.pruned(record, host.present(), host.built(), live, keep):
            host.remove(host.releases / name)
        if self.given["hooks"] and record.get("hooks") != self.given["hooks"]:
            host.remember({**record, "hooks": self.given["hooks"]})
        self.free()
        report = f"{host.name} runs release {live}, live since {record.get('since', '-')}"
        return {"release": live, "live": live, "due": False, "changed": False, "report": report}

    def listed(self) -> dict[str, Any]:
        """Tell what there is."""
        path = self.host.state / "lock"
        holder = Lock(path, self.run).read() if path.exists() else {}
        live = self.host.live()
        text = releases.table(self.host.record(), self.host.built(), live, self.host.name, holder)
        return {"release": live, "live": live, "due": False, "changed": False, "report": text}

    def reach(self, state: str) -> dict[str, Any]:
        """Reach a state; return what is told of it.

        Raises:
            ReleaseError: the state was not reached; the lock is given back where nothing changed.
        """
        try:
            told: dict[str, Any] = getattr(self, state)()
        except ReleaseError:
            if state in ("requested", "prepared", "active"):
                self.give_up()
            raise
        finally:
            if self.lock:  # Mitogen runs all modules in one process, which must not keep the file
                if self.lock.mine(self.lock.read()):
                    self.discard(".next")  # the next call writes it again
                self.lock.file.close()
        return told

    def give_up(self) -> None:
        """Unlock where nothing was switched; a lock of another run stays."""
        if self.lock and self.lock.mine(self.lock.read()):
            self.free()


def main() -> None:
    """Run the module."""
    text = {"type": "str", "default": ""}
    flag = {"type": "bool", "default": False}
    states = [
        "requested", "prepared", "active", "reverted", "failed", "finished", "listed",
    ]  # fmt: skip
    module = new_module(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": states},
            "application": {"type": "dict", "required": True},
            "request": {
                "type": "str",
                "choices": ["source", "live", "rollback"],
                "default": "source",
            },
            "to": text,
            "retry": flag,
            "unlock": flag,
            "past_migrations": flag,
            "enforced": flag,
            "steps": {"type": "list", "elements": "str", "default": []},
            "complete": {"type": "bool", "default": True},
            "before_migrate": {"type": "list", "elements": "str", "default": []},
            "step": text,
            "output": text,
            "agent": text,
            "gunicorn": text,
            # What the action plugin adds.
            "run": {"type": "dict", "required": True},
            "play": text,
            "takeover": flag,
            "scripts": {"type": "dict", "default": {}},
            "recipe": text,
            "digest": text,
            "hooks": text,
            "revision": text,
            "is_git": flag,
            "archive": text,
            "environment_text": {"type": "str", "no_log": True},
            "dotenv_text": {"type": "str", "no_log": True},
            "owner_text": {"type": "str", "no_log": True},
            "fetch_text": {"type": "str", "no_log": True},
            "install_text": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    deploy = Deploy(module)
    state = module.params["state"]
    if module.check_mode and state not in ("requested", "listed"):
        module.exit_json(changed=False)
    try:
        told = deploy.reach(state)
    except (ReleaseError, UnitError) as error:
        module.fail_json(msg=str(error), step=getattr(error, "step", ""))
    except OSError as error:  # such as a disk that the application has filled
        module.fail_json(msg=f"{error.strerror}: {error.filename or 'no file named'}", step="")
    module.exit_json(**told)


if __name__ == "__main__":
    main()
