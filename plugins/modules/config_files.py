"""The configuration files of a service: tried together, then replaced all or none."""

from __future__ import annotations

DOCUMENTATION = r"""
module: config_files
short_description: Configuration files that are tried together and replaced all or none
description:
  - Renders templates on the control machine, as M(ansible.builtin.template) does, and compares all
    of them with the host in one call.
  - If a file differs, the commands of O(validate) check all new files at their real paths in a
    separate mount namespace, together with the unchanged files. The files on the host are replaced
    only if each command succeeds; each file atomically, and either all files or none.
  - A link at a destination is replaced and not followed.
  - In check mode the files are compared without O(validate), because a blank host lacks the
    programs.
options:
  files:
    description: The files, directories and links, in the order in which they are made.
    type: list
    elements: dict
    required: true
    suboptions:
      dest:
        description: The path on the host.
        type: path
        required: true
      src:
        description: The template, found in the same places as by M(ansible.builtin.template).
        type: str
      vars:
        description: Variables of O(files[].src), beside those of the task.
        type: dict
        default: {}
      copy:
        description: The path of a file on the control machine, which is copied as it is.
        type: path
      content:
        description: The content, instead of a template.
        type: str
      state:
        description:
          - V(link) makes a symbolic link to O(files[].target). V(absent) removes a file or a link.
        type: str
        choices: [file, directory, link, absent]
        default: file
      target:
        description: The target of a link.
        type: str
      owner:
        description: The user that the file belongs to.
        type: str
        default: root
      group:
        description: The group of the file.
        type: str
        default: root
      mode:
        description: The mode, in quotes; the default for a directory is V(0755).
        type: str
        default: "0644"
      unit:
        description:
          - The type of the unit or of the drop-in. The module fails if systemd does not know a
            directive or value in it, because systemd itself would only warn.
        type: str
        choices: [service, slice, socket, swap, timer]
      reader:
        description: The unit that reads the file, if it is neither O(service) nor the file's own.
        type: str
      secret:
        description: Whether the content is hidden in the log and in the output of C(--diff).
        type: bool
        default: false
      never_looser:
        description:
          - What the file sets. A value of the host that is stricter than that of the file replaces
            it.
        type: str
        choices: [sshd, sysctl, fail2ban]
      own:
        description: Names to which O(files[].never_looser) does not apply.
        type: list
        elements: str
        default: []
  validate:
    description:
      - Commands that check the files at their paths. They run without a shell.
    type: list
    elements: str
    default: []
  trial:
    description:
      - A program of an application that tries the files before they are installed. It runs in the
        sandbox of the application's services, as a user that is not root, with the environment in
        use. C({files}) in an argument stands for a directory in which the new files are, below
        their paths.
      - It runs if a file of O(service) is about to be replaced, and if the application has a
        release. On a new host nothing could run the files yet.
    type: dict
    suboptions:
      application:
        description: The application, as the role C(app) describes it in C(vars/main.yml).
        type: dict
        required: true
      command:
        description: The program in the application's virtual environment, and its arguments.
        type: list
        elements: str
        required: true
  apply:
    description:
      - Commands that read the files at every run, such as systemd-tmpfiles, which also repairs
        what was changed by hand. They run without a shell, and do not count as a change.
    type: list
    elements: str
    default: []
  service:
    description:
      - The unit that reads the files. It is enabled, and started if it does not run. Handlers
        restart a running unit. A unit whose conditions (C(Condition...=)) the host does not meet
        is not started, such as systemd-timesyncd in a container.
      - The files from before are kept until the service runs with the new ones. If it does not
        start, they are installed again.
    type: str
extends_documentation_fragment: clink.django_stack.module
attributes:
  diff_mode:
    description: Shows the lines that change, without secrets.
    support: full
"""

EXAMPLES = r"""
- name: Install the nginx configuration
  clink.django_stack.config_files:
    files:
      - {src: nginx.conf.j2, dest: /etc/nginx/nginx.conf}
      - {src: site.conf.j2, dest: /etc/nginx/sites-available/clinic}
      - {dest: /etc/nginx/sites-enabled/clinic, state: link, target: ../sites-available/clinic}
    validate: [nginx -q -t]
    service: nginx.service
  notify: Reload nginx
"""

RETURN = r"""
files:
  description: The destinations that were changed.
  type: list
  elements: str
  returned: always
service_was_running:
  description: Whether the service ran before this task, and so has not read the new files.
  type: bool
  returned: always
"""

import grp
import os
import pwd
import shlex
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.clink.django_stack.plugins.module_utils import (
    kept_files,
    stricter,
    units,
)
from ansible_collections.clink.django_stack.plugins.module_utils.start import new_module

LIMIT = 120  # seconds for a command of validate
STAGE = "/run"  # a tmpfs that only root writes to
ROOT_READS = ("/etc/systemd/", "/etc/sysusers.d")
UNITS = Path("/etc/systemd/system")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class FilesError(Exception):
    """The files cannot be installed; the text says why."""


class RefusedError(FilesError):
    """The application refuses the files; the text is what it printed."""


def current(path: Path) -> os.stat_result | None:
    """Return the status of a path, without following a link; None if nothing is there."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def owners(file: dict[str, Any]) -> tuple[int, int]:
    """Return the ids of a file's owner and group; -1 for one that the host lacks."""
    try:
        owner = pwd.getpwnam(file["owner"]).pw_uid
    except KeyError:
        owner = -1
    try:
        group = grp.getgrnam(file["group"]).gr_gid
    except KeyError:
        group = -1
    return owner, group


def mode_of(file: dict[str, Any]) -> int:
    """Return a file's mode; the default for a directory is 0755."""
    mode = int(file["mode"], 8)
    return 0o755 if file["state"] == "directory" and mode == 0o644 else mode


def right(file: dict[str, Any], told: os.stat_result) -> bool:
    """Return whether owner, group and mode are right.

    A directory that only root reads may have a stricter mode, which the owner of a host has chosen.
    """
    mode, wanted = stat.S_IMODE(told.st_mode), mode_of(file)
    if file["state"] == "directory" and str(file["dest"]).startswith(ROOT_READS):
        wanted &= mode | 0o700
    return (told.st_uid, told.st_gid) == owners(file) and mode == wanted


def differs(file: dict[str, Any]) -> bool:
    """Return whether the host differs from the description of a file."""
    path, state = Path(file["dest"]), str(file["state"])
    told = current(path)
    if state == "absent" or told is None:
        return (state == "absent") != (told is None)
    if state == "link":
        return not stat.S_ISLNK(told.st_mode) or os.readlink(path) != str(file["target"])
    if state == "directory":
        return not stat.S_ISDIR(told.st_mode) or not right(file, told)
    if not stat.S_ISREG(told.st_mode) or not right(file, told):
        return True
    return path.read_bytes() != str(file["content"]).encode()


def dress(path: Path, file: dict[str, Any]) -> None:
    """Give a path its owner, group and mode."""
    owner, group = owners(file)
    if -1 in (owner, group):
        raise FilesError(
            f"{file['dest']}: there is no user {file['owner']} or group {file['group']}"
        )
    os.chown(path, owner, group, follow_symlinks=False)
    os.chmod(path, mode_of(file))


def directories(files: list[dict[str, Any]]) -> list[Path]:
    """Return the directories of changed files, without those below another one."""
    parents = {Path(file["dest"]).parent for file in files}
    return sorted(
        each for each in parents if not any(each.is_relative_to(o) for o in parents - {each})
    )


def place(path: Path, file: dict[str, Any]) -> None:
    """Put a file, a link or nothing at a path."""
    if file["state"] == "absent" or current(path) is not None:
        if path.is_dir() and not path.is_symlink():
            raise FilesError(f"{file['dest']} is a directory; it should be a file")
        path.unlink(missing_ok=True)
    if file["state"] == "link":
        path.symlink_to(file["target"])
    elif file["state"] == "file":
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            target.write(file["content"].encode())
        dress(path, file)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of the system; return what it printed."""
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=LIMIT, env=environment, cwd="/", check=False,
    )  # fmt: skip


def try_together(files: list[dict[str, Any]], commands: list[str]) -> None:
    """Check new files at their real paths, in a separate mount namespace.

    Raises:
        FilesError: a command refuses the files; the text has its output.
    """
    with tempfile.TemporaryDirectory(dir=STAGE, prefix="django_stack-") as name:
        stage = Path(name)
        mounts = []
        for number, directory in enumerate(directories(files)):
            copy = stage / str(number)
            run(["/usr/bin/cp", "-a", "--", str(directory), str(copy)])
            mounts.append(f"mount --bind {copy} {shlex.quote(str(directory))}")
            for file in files:
                if Path(file["dest"]).is_relative_to(directory):
                    place(copy / Path(file["dest"]).relative_to(directory), file)
        for command in commands:
            script = "\n".join([*mounts, f"exec {command}"])
            done = run(["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", script])
            if done.returncode:
                raise FilesError(
                    f"Nothing was replaced: `{command}` refuses the files.\n{done.stdout.strip()}"
                )


def try_out(files: list[dict[str, Any]], trial: dict[str, Any]) -> None:
    """Have an application try new files, as its own user and in its sandbox.

    Args:
        files: all files of the service, also those that do not change.
        trial: the application and its command.

    Raises:
        RefusedError: it refuses them.
    """
    application = trial["application"]
    current = os.path.realpath(application["current"])
    if not os.path.isdir(current):
        return
    with tempfile.TemporaryDirectory(dir=STAGE, prefix="django_stack-") as name:
        os.chmod(name, 0o755)
        for file in files:
            if file["state"] == "file" and not file["secret"]:
                path = Path(name, file["dest"].lstrip("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file["content"])
        limit = int(application["step_timeout"])
        command = [each.replace("{files}", name) for each in trial["command"]]
        variables = {
            **application["step_variables"],
            "HOME": application["root"],
            "PATH": f"{current}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        }
        sandbox = application["sandbox"]
        own = sandbox.get("ReadWritePaths", [])  # app_sandbox may have one text or a list of them
        properties = {
            **sandbox,
            "ReadWritePaths": [*(own if isinstance(own, list) else [own]), application["shared"]],
            "EnvironmentFile": application["environment_file"],
            "Nice": "5",
        }
        unit = f"{application['name']}-run-trial.service"
        argv = units.transient(
            unit, application["user"],
            os.path.join(current, application["directory"]), ["/usr/bin/env", *command],
            properties=properties, variables=variables, limit=limit,
        )  # fmt: skip
        begun = time.time()
        done = units.run(argv, limit + 10)
    if done.code:
        late = f"It had not ended after app_step_timeout, {limit} s, and was stopped."
        output = units.explained(done, unit, begun)
        raise RefusedError(output + (f"\n{late}" if done.seconds >= limit else ""))


def verify(file: dict[str, Any]) -> None:
    """Refuse a unit with a directive that systemd does not know and would ignore.

    Raises:
        FilesError: systemd warns of the unit.
    """
    unit = Path(STAGE, f"{os.getpid()}-verify.{file['unit']}")
    unit.write_text(file["content"])
    try:
        told = run(["/usr/bin/systemd-analyze", "verify", "--man=no", str(unit)]).stdout
    finally:
        unit.unlink()
    said = [
        line.replace(str(unit), file["dest"]) for line in told.splitlines() if f"{unit}:" in line
    ]
    if said:
        raise FilesError("Nothing was replaced: systemd does not know this.\n" + "\n".join(said))


def replace(files: list[dict[str, Any]]) -> None:
    """Replace all files or none: if one cannot be written, the old files are restored."""
    done: list[tuple[Path, Path | None]] = []
    staged = []
    try:
        for file in files:
            path = Path(file["dest"])
            new = path.with_name(f".{path.name}.django_stack-new")
            if file["state"] != "absent":
                staged.append((path, new))
                place(new, file)
        for file in files:
            path = Path(file["dest"])
            new = path.with_name(f".{path.name}.django_stack-new")
            old = path.with_name(f".{path.name}.django_stack-old")
            kept = None
            if current(path) is not None:
                old.unlink(missing_ok=True)
                if file["state"] == "absent":
                    os.rename(path, old)
                else:
                    os.link(path, old, follow_symlinks=False)
                kept = old
            done.append((path, kept))
            if file["state"] != "absent":
                os.rename(new, path)
    except OSError:
        for path, kept in reversed(done):
            if kept:
                os.rename(kept, path)
            else:
                path.unlink(missing_ok=True)
        raise
    finally:
        for _file, new in staged:
            new.unlink(missing_ok=True)
        for _path, kept in done:
            if kept:
                kept.unlink(missing_ok=True)


def readers(files: list[dict[str, Any]], service: str | None) -> dict[str, list[str]]:
    """Return the units that read changed files, with the paths of these files.

    Args:
        files: the files.
        service: the unit that reads those without a reader of their own; without it a file of a
            unit is that unit's.
    """
    told: dict[str, list[str]] = {}
    for each in files:
        path = Path(each["dest"])
        own = each["unit"] and path.parent == UNITS and not path.stem.endswith("@")
        if unit := each.get("reader") or service or (path.name if own else ""):
            told.setdefault(unit, []).append(str(path))
    return told


def keep(files: list[dict[str, Any]], service: str | None) -> list[str]:
    """Keep the files of units from before; return the units of which nothing was kept before."""
    return [unit for unit, paths in readers(files, service).items() if kept_files.keep(unit, paths)]


def install(
    due: list[dict[str, Any]],
    validate: list[str],
    service: str | None = None,
    try_them: Callable[[], None] | None = None,
) -> None:
    """Create the directories, check the files together and replace them.

    Args:
        due: the files that differ from those on the host.
        validate: commands that check the files.
        service: the unit that reads them; its files from before are kept.
        try_them: has an application try them, where they replace others.

    Raises:
        FilesError: the files are refused.
    """
    for each in due:
        if each["state"] == "directory":
            path = Path(each["dest"])
            path.mkdir(parents=True, exist_ok=True)
            dress(path, each)
    rest = [each for each in due if each["state"] != "directory"]
    for each in rest:
        if each["unit"]:
            verify(each)
    if rest and validate:
        try_together(rest, validate)
    if try_them and any(current(Path(each["dest"])) for each in rest):
        try_them()
    kept = keep(rest, service)
    try:
        replace(rest)
    except (OSError, FilesError):
        for unit in kept:
            kept_files.forget(unit)
        raise
    if any(each["unit"] for each in rest):
        units.systemctl("daemon-reload")


def apply(commands: list[str]) -> None:
    """Run the commands that read the files.

    Raises:
        FilesError: a command fails; the text has its output.
    """
    for command in commands:
        done = run(shlex.split(command))
        if done.returncode:
            raise FilesError(f"`{command}` failed:\n{done.stdout.strip()}")


def due_of(service: str) -> list[str]:
    """Return the commands of systemctl that let a service run now and at boot."""
    told = units.show(
        service, "ActiveState", "UnitFileState", "ConditionResult", "ConditionTimestamp"
    )
    due = ["enable"] if told.get("UnitFileState") == "disabled" else []
    stopped = told.get("ActiveState") in ("inactive", "failed")
    unfit = told.get("ConditionTimestamp") and told.get("ConditionResult") == "no"
    return [*due, *(["start"] if stopped and not unfit else [])]


def serve(service: str, due: list[str]) -> None:
    """Enable and start a service.

    Raises:
        FilesError: the service does not start; the text has the end of its log.
    """
    begun = time.time()
    for verb in due:
        done = units.systemctl(verb, service, limit=units.STARTING)
        if done.code:
            said = units.journal(service, begun).strip() or done.output.strip()
            told = f"{service} does not start; journalctl -u {service} says:\n{said}"
            raise FilesError(f"{told}\n{kept_files.recover([service])}".strip())


def shown(file: dict[str, Any]) -> dict[str, Any]:
    """Return the difference that C(--diff) shows of a file."""
    path = Path(file["dest"])
    secret = file["secret"] or file["state"] != "file"
    told = current(path)
    readable = told is not None and stat.S_ISREG(told.st_mode) and not secret
    before = path.read_text(errors="replace") if readable else ""
    after = "" if secret else file["content"]
    headers = {"before_header": file["dest"], "after_header": file["dest"]}
    return {"before": before, "after": after, **headers}


def main() -> None:
    """Run the module."""
    states = ["file", "directory", "link", "absent"]
    file = {
        "dest": {"type": "path", "required": True},
        "src": {"type": "str"},
        "vars": {"type": "dict", "default": {}},
        "copy": {"type": "path"},
        "content": {"type": "str"},
        "state": {"type": "str", "choices": states, "default": "file"},
        "target": {"type": "str"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "mode": {"type": "str", "default": "0644"},
        "unit": {"type": "str", "choices": ["service", "slice", "socket", "swap", "timer"]},
        "reader": {"type": "str"},
        "secret": {"type": "bool", "default": False},
        "never_looser": {"type": "str", "choices": ["sshd", "sysctl", "fail2ban"]},
        "own": {"type": "list", "elements": "str", "default": []},
    }
    module = new_module(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": file},
            "validate": {"type": "list", "elements": "str", "default": []},
            "trial": {
                "type": "dict",
                "options": {
                    "application": {"type": "dict", "required": True},
                    "command": {"type": "list", "elements": "str", "required": True},
                },
            },
            "apply": {"type": "list", "elements": "str", "default": []},
            # The contents of files with secret, by their paths. Ansible writes the other arguments
            # into the host's journal, an option of `files` with no_log included.
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "service": {"type": "str"},
        },
        supports_check_mode=True,
    )
    wanted = module.params["files"]
    for each in wanted:
        each["content"] = module.params["secrets"].get(each["dest"], each["content"])
        if kind := each["never_looser"]:
            each["content"] = stricter.kept(kind, each["dest"], each["content"], each["own"])
    service = module.params["service"]
    due = [each for each in wanted if differs(each)]
    told = {"changed": bool(due), "files": [each["dest"] for each in due]}
    if module._diff:
        told["diff"] = [shown(each) for each in due]
    try:
        if module.check_mode:
            runs = not service or "start" not in due_of(service)
            module.exit_json(**told, service_was_running=runs)
        trial = module.params["trial"]
        try_them = partial(try_out, wanted, trial) if trial else None
        install(due, module.params["validate"], service, try_them)
        apply(module.params["apply"])
        verbs = due_of(service) if service else []
        if service:
            serve(service, verbs)
    except RefusedError as error:
        # The action plugin looks for the cause, and removes what could be a secret.
        module.fail_json(msg="", refused=str(error), changed=False, files=[])
    except (FilesError, units.UnitError, OSError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=str(error), changed=False, files=[])
    told["changed"] = told["changed"] or bool(verbs)
    module.exit_json(**told, service_was_running="start" not in verbs)


if __name__ == "__main__":
    main()
